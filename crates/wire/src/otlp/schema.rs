//! The messages of OTLP as far as they are read: names in JSON, numbers in protobuf, types.
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>

/// The fields of a message: the name in JSON, the number, what is in it.
pub(super) type Message = &'static [(&'static str, u32, Type)];

#[derive(Clone, Copy)]
pub(super) enum Type {
    Text,
    /// Bytes that JSON writes in hexadecimal: ids.
    Hex,
    /// Bytes that JSON writes in base64.
    Base64,
    Bool,
    /// `int32`, `int64`, `uint32`, `uint64` and enums: names of enums begin with the text.
    Int(&'static [&'static str]),
    /// `sint32`
    Signed,
    Fixed64,
    /// `sfixed64`
    SignedFixed64,
    Fixed32,
    Double,
    /// A message, whose table is given by a function since messages nest.
    Message(fn() -> Message),
}

use Type::{Base64, Bool, Double, Fixed32, Fixed64, Hex, Int, Signed, SignedFixed64, Text};

const PLAIN: Type = Int(&[]);

pub(super) fn traces() -> Message {
    &[("resourceSpans", 1, Type::Message(resource_spans))]
}

pub(super) fn metrics() -> Message {
    &[("resourceMetrics", 1, Type::Message(resource_metrics))]
}

pub(super) fn logs() -> Message {
    &[("resourceLogs", 1, Type::Message(resource_logs))]
}

fn resource_spans() -> Message {
    &[("resource", 1, Type::Message(resource)), ("scopeSpans", 2, Type::Message(scope_spans))]
}

fn resource_metrics() -> Message {
    &[("resource", 1, Type::Message(resource)), ("scopeMetrics", 2, Type::Message(scope_metrics))]
}

fn resource_logs() -> Message {
    &[("resource", 1, Type::Message(resource)), ("scopeLogs", 2, Type::Message(scope_logs))]
}

fn resource() -> Message {
    &[("attributes", 1, Type::Message(key_value))]
}

fn scope_spans() -> Message {
    &[("scope", 1, Type::Message(scope)), ("spans", 2, Type::Message(span))]
}

fn scope_metrics() -> Message {
    &[("scope", 1, Type::Message(scope)), ("metrics", 2, Type::Message(metric))]
}

fn scope_logs() -> Message {
    &[("scope", 1, Type::Message(scope)), ("logRecords", 2, Type::Message(log_record))]
}

fn scope() -> Message {
    &[("name", 1, Text), ("version", 2, Text), ("attributes", 3, Type::Message(key_value))]
}

fn key_value() -> Message {
    &[("key", 1, Text), ("value", 2, Type::Message(any_value))]
}

fn any_value() -> Message {
    &[
        ("stringValue", 1, Text),
        ("boolValue", 2, Bool),
        ("intValue", 3, PLAIN),
        ("doubleValue", 4, Double),
        ("arrayValue", 5, Type::Message(array_value)),
        ("kvlistValue", 6, Type::Message(key_value_list)),
        ("bytesValue", 7, Base64),
    ]
}

fn array_value() -> Message {
    &[("values", 1, Type::Message(any_value))]
}

fn key_value_list() -> Message {
    &[("values", 1, Type::Message(key_value))]
}

const KINDS: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

fn span() -> Message {
    &[
        ("traceId", 1, Hex),
        ("spanId", 2, Hex),
        ("traceState", 3, Text),
        ("parentSpanId", 4, Hex),
        ("name", 5, Text),
        ("kind", 6, Int(KINDS)),
        ("startTimeUnixNano", 7, Fixed64),
        ("endTimeUnixNano", 8, Fixed64),
        ("attributes", 9, Type::Message(key_value)),
        ("events", 11, Type::Message(event)),
        ("links", 13, Type::Message(link)),
        ("status", 15, Type::Message(status)),
        ("flags", 16, Fixed32),
    ]
}

fn event() -> Message {
    &[("timeUnixNano", 1, Fixed64), ("name", 2, Text), ("attributes", 3, Type::Message(key_value))]
}

fn link() -> Message {
    &[
        ("traceId", 1, Hex),
        ("spanId", 2, Hex),
        ("traceState", 3, Text),
        ("attributes", 4, Type::Message(key_value)),
        ("flags", 6, Fixed32),
    ]
}

fn status() -> Message {
    &[("message", 2, Text), ("code", 3, Int(&["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"]))]
}

fn metric() -> Message {
    &[
        ("name", 1, Text),
        ("unit", 3, Text),
        ("gauge", 5, Type::Message(gauge)),
        ("sum", 7, Type::Message(sum)),
        ("histogram", 9, Type::Message(histogram)),
        ("exponentialHistogram", 10, Type::Message(exponential_histogram)),
        ("summary", 11, Type::Message(summary)),
    ]
}

const TEMPORALITY: Type = Int(&[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
]);

fn gauge() -> Message {
    &[("dataPoints", 1, Type::Message(number))]
}

fn sum() -> Message {
    &[
        ("dataPoints", 1, Type::Message(number)),
        ("aggregationTemporality", 2, TEMPORALITY),
        ("isMonotonic", 3, Bool),
    ]
}

fn histogram() -> Message {
    &[("dataPoints", 1, Type::Message(histogram_point)), ("aggregationTemporality", 2, TEMPORALITY)]
}

fn exponential_histogram() -> Message {
    &[("dataPoints", 1, Type::Message(exponential_point)), ("aggregationTemporality", 2, TEMPORALITY)]
}

fn summary() -> Message {
    &[("dataPoints", 1, Type::Message(summary_point))]
}

fn number() -> Message {
    &[
        ("startTimeUnixNano", 2, Fixed64),
        ("timeUnixNano", 3, Fixed64),
        ("asDouble", 4, Double),
        ("asInt", 6, SignedFixed64),
        ("attributes", 7, Type::Message(key_value)),
        ("flags", 8, PLAIN),
    ]
}

fn histogram_point() -> Message {
    &[
        ("startTimeUnixNano", 2, Fixed64),
        ("timeUnixNano", 3, Fixed64),
        ("count", 4, Fixed64),
        ("sum", 5, Double),
        ("bucketCounts", 6, Fixed64),
        ("explicitBounds", 7, Double),
        ("attributes", 9, Type::Message(key_value)),
        ("flags", 10, PLAIN),
        ("min", 11, Double),
        ("max", 12, Double),
    ]
}

fn exponential_point() -> Message {
    &[
        ("attributes", 1, Type::Message(key_value)),
        ("startTimeUnixNano", 2, Fixed64),
        ("timeUnixNano", 3, Fixed64),
        ("count", 4, Fixed64),
        ("sum", 5, Double),
        ("scale", 6, Signed),
        ("zeroCount", 7, Fixed64),
        ("positive", 8, Type::Message(buckets)),
        ("negative", 9, Type::Message(buckets)),
        ("flags", 10, PLAIN),
        ("min", 12, Double),
        ("max", 13, Double),
    ]
}

fn buckets() -> Message {
    &[("offset", 1, Signed), ("bucketCounts", 2, PLAIN)]
}

fn summary_point() -> Message {
    &[
        ("startTimeUnixNano", 2, Fixed64),
        ("timeUnixNano", 3, Fixed64),
        ("count", 4, Fixed64),
        ("sum", 5, Double),
        ("quantileValues", 6, Type::Message(quantile)),
        ("attributes", 7, Type::Message(key_value)),
        ("flags", 8, PLAIN),
    ]
}

fn quantile() -> Message {
    &[("quantile", 1, Double), ("value", 2, Double)]
}

fn log_record() -> Message {
    &[
        ("timeUnixNano", 1, Fixed64),
        ("severityNumber", 2, PLAIN),
        ("severityText", 3, Text),
        ("body", 5, Type::Message(any_value)),
        ("attributes", 6, Type::Message(key_value)),
        ("flags", 8, Fixed32),
        ("traceId", 9, Hex),
        ("spanId", 10, Hex),
        ("observedTimeUnixNano", 11, Fixed64),
        ("eventName", 12, Text),
    ]
}
