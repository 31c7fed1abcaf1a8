// Loaded first where the function cannot have a network and files of its own: Datadog's library and tracer are told that
// there is an extension, and on which port it takes metrics. All else can be set by variables.

const fs = require("fs");

const EXTENSION = "/opt/extensions/datadog-agent";

const existsSync = fs.existsSync;
fs.existsSync = (path) => path === EXTENSION || existsSync(path);
const access = fs.promises.access;
fs.promises.access = async (path, mode) => path === EXTENSION || access(path, mode);

const { LambdaDogStatsD } = require("datadog-lambda-js/dist/metrics/dogstatsd");
LambdaDogStatsD.PORT = Number(process.env.DD_DOGSTATSD_PORT);
