// What a user writes: a span, a line in the log, a metric. What it does is told by the event's `do`.

const { sendDistributionMetric } = require("datadog-lambda-js");
const tracer = require("dd-trace");

class OutOfStock extends Error {}
OutOfStock.prototype.name = "OutOfStock";

exports.handler = async (event) =>
  tracer.trace("work", { resource: "order 17", tags: { order: "17", items: 3 } }, async () => {
    console.log("working on order 17");
    sendDistributionMetric("orders.value", 12.5, "shop:test");
    if (event.do === "raise") {
      throw new OutOfStock("none left");
    }
    if (event.do === "hang") {
      await new Promise((resolve) => setTimeout(resolve, 3600 * 1000));
    }
    return { statusCode: 200, body: "done" };
  });
