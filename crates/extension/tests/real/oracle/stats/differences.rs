//! What Datadog's own trace agent for serverless platforms does in another way with statistics, and why.

use crate::oracle::differences::{Difference, EVERY, row};

const OTEL: &str = "a tracer that was told to use OpenTelemetry's names";
const SAMPLE: &str = "the trace stands for four, as to the agent of hosts";
const TWICE: &str = "what a tracer sends again after it was frozen is the same span";
const OWN: &str = "the tracer counts it, too: it would be counted twice";

/// Of what is made from traces.
pub(crate) const MADE: [Difference; 23] = [
    row(EVERY, 0, "payload.ClientComputed", "-", "true", "as Datadog's extension for Lambda has it"),
    row(EVERY, 0, "group.SpanKind", "Client", "client", "a kind is the same in any case"),
    row(EVERY, 0, "sender.Service", "-", "shop", "the function's service"),
    row(EVERY, 0, "sender.Version", "-", "1.2", "the function's version, which it tells if a tracer does"),
    row(
        EVERY,
        0,
        "sketch.offset",
        "1338.5",
        "1.8761281912861705",
        "bins begin where those of the backend do, so that nothing is lost when it adds them up",
    ),
    row("HTTP", 6, "group.HTTPEndpoint", "-", "/a", "an empty endpoint is none, as to the agent of hosts"),
    row("HTTP", 0, "group.HTTPMethod", "-", "PUT", OTEL),
    row("HTTP", 7, "group.HTTPStatusCode", "-", "404", OTEL),
    row("HTTP status as a number", 4, "group.HTTPStatusCode", "-", "404", OTEL),
    row("a sampled trace", 1, "group.Duration", "1000000", "4000000", SAMPLE),
    row("a sampled trace", 1, "group.Hits group.TopLevelHits", "1", "4", SAMPLE),
    row("a span twice", 2, "group.Duration", "2000000", "1000000", TWICE),
    row("a span twice", 2, "group.Hits group.TopLevelHits", "2", "1", TWICE),
    row(
        "a span twice",
        2,
        "group.OkSummary",
        "2 durations, 0 of nothing",
        "1 durations, 0 of nothing",
        TWICE,
    ),
    row(
        "a synthetic test",
        0,
        "group.Synthetics",
        "-",
        "true",
        "the origin `lambda`, which it sets, hides the test's",
    ),
    row("a tracer with statistics of its own", 1, "*", "*", "-", OWN),
    row("an end long ago", 1, "bucket.Start", "now", "1000000000000000000", "it is counted when it was"),
    row("another environment", 1, "sender.Env", "staging", "prod", "the function's tags are true"),
    row("another environment", 1, "sender.Version", "9", "1.2", "the same"),
    row(
        "peer tags by kind",
        5,
        "group.PeerTags",
        "*",
        "-",
        "a server calls nobody, as to the agent of hosts",
    ),
    row("peer tags by kind", 9, "group.PeerTags", "*", "-", "nor does a kind that nobody knows"),
    row(
        "peer tags by kind",
        0,
        "group.PeerTags",
        "*",
        "*",
        "a tag without a value is none, as to the agent of hosts",
    ),
    row(
        "peer tags with addresses",
        8,
        "group.PeerTags",
        "*",
        "*",
        "a zone belongs to an address, as to the agent of hosts",
    ),
];

const KNOWN: &str =
    "what a tracer does not say and the function knows is filled in, as by the agent of hosts";
const START: &str = "the first span of time stays when it was";
const LATER: &str = "what tracers will send later is passed on, too";
const ANSWER: &str = "it is the tracer's mistake";

/// Of what a tracer made.
pub(crate) const PASSED_ON: [Difference; 12] = [
    row("every tracer", 0, "sender.ContainerID", "-", "c1", KNOWN),
    row("every tracer", 0, "sender.Env", "-", "prod", KNOWN),
    row("every tracer", 0, "sender.Lang", "-", "python", KNOWN),
    row("every tracer", 0, "sender.Service", "-", "shop", KNOWN),
    row("every tracer", 0, "sender.TracerVersion", "-", "4.16", KNOWN),
    row("every tracer", 0, "sender.Version", "-", "1.2", KNOWN),
    row("every tracer", 0, "sender.Stats.0.Start", "now", "as told", START),
    row("spans of long ago", 0, "sender.Stats.0.Start", "now", "1500000000000000000", START),
    row("a field of later", 0, "sender.Later sender.Stats.0.Stats.0.Later", "-", "*", LATER),
    row("no statistics", 0, "*", "*", "-", "nothing is not sent"),
    row("no map", 0, "answer", "500", "400", ANSWER),
    row("cut off", 0, "answer", "500", "400", ANSWER),
];
