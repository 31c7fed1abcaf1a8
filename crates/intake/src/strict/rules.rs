//! What Datadog wants of requests: each rule with what becomes of what breaks it. One table, beside the pages that say
//! so; what no page says is what Datadog's own agent does before it sends.
//!
//! - series: <https://docs.datadoghq.com/api/latest/metrics/#submit-metrics>
//! - distributions: <https://docs.datadoghq.com/api/latest/metrics/#submit-distribution-points>
//! - names and tags: <https://docs.datadoghq.com/metrics/custom_metrics/#naming-custom-metrics>,
//!   <https://docs.datadoghq.com/getting_started/tagging/#define-tags>
//! - logs: <https://docs.datadoghq.com/api/latest/logs/#send-logs>
//! - events: <https://docs.datadoghq.com/api/latest/events/#post-an-event>
//! - service checks: <https://docs.datadoghq.com/api/latest/service-checks/>
//! - spans and statistics: <https://github.com/DataDog/datadog-agent/tree/main/pkg/trace>

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    /// Behind "is …, not ".
    pub(super) wants: &'static str,
    /// What Datadog does.
    pub(super) effect: &'static str,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $id:ident, $name:literal, $wants:literal, $effect:literal;)*) => {
        $($(#[$doc])* pub(super) const $id: Rule = Rule { name: $name, wants: $wants, effect: $effect };)*
        #[cfg(test)]
        pub(super) const ALL: &[Rule] = &[$($id),*];
    };
}

rules! {
    KEY, "key", "a key", "refused: 403, or 401 where logs go";
    KEY_SHAPE, "key-shape", "32 hexadecimal digits", "refused: 403";
    KEY_TWICE, "key-twice", "there once", "one of them counts, and it is not said which";
    TYPE_JSON, "content-type", "application/json", "not documented: it may be refused";
    TYPE_PROTOBUF, "content-type", "application/x-protobuf", "not documented: it may be refused";
    TYPE_MSGPACK, "content-type", "application/msgpack", "not documented: it may be refused";
    ENCODING, "content-encoding", "gzip, deflate, zstd or none", "refused: 415";
    BODY, "body", "what its headers and its path say", "refused: 400";
    NOT_PACKED, "not-packed", "packed", "taken; it costs many times the traffic";
    EMPTY, "empty", "one element at least", "taken; a request for nothing";
    SIZE_TRACES, "body-size", "at most 12,000,000 bytes", "refused: 413";
    SIZE_SERIES, "body-size", "at most 512,000 bytes packed and 5,242,880 unpacked", "refused: 413";
    SIZE_V1, "body-size", "at most 3,200,000 bytes packed and 62,914,560 unpacked", "refused: 413";
    SIZE_SKETCHES, "body-size", "at most 2,621,440 bytes packed and 4,194,304 unpacked", "refused: 413";
    SIZE_LOGS, "body-size", "at most 5,000,000 bytes unpacked", "refused: 413";

    METRIC_NAME, "metric-name", "up to 200 ASCII letters, digits, _ and ., beginning with a letter",
        "renamed: other characters become _, what is longer is cut, without a letter it is dropped";
    METRIC_TYPE, "metric-type", "0 to 3: unspecified, count, rate, gauge", "refused: 400";
    METRIC_TYPE_V1, "metric-type", "gauge, count or rate", "refused: 400";
    METRIC_INTERVAL, "metric-interval", "a number of seconds above 0, as a count or a rate needs it",
        "taken; as_rate() and as_count() show wrong numbers";
    METRIC_POINTS, "metric-points", "one point at least", "dropped";
    METRIC_TIME, "metric-time", "whole seconds since 1970, at most an hour ago and at most 10 minutes ahead",
        "dropped";
    METRIC_VALUE, "metric-value", "a finite number", "dropped, or the request is refused: 400";
    METRIC_TWICE, "metric-twice", "one point of the same time, name and tags",
        "the last one counts, what was sent before is lost";
    METRIC_AGAIN, "metric-again", "a count sent once for its time and tags",
        "the last one counts, what was sent before is lost";
    TAG, "metric-tag", "up to 200 letters, digits and _-:./, beginning with a letter, not ending with :",
        "renamed: other characters become _, what is longer is cut";
    TAG_TWICE, "metric-tag-twice", "there once", "taken; sent for nothing";

    SKETCH_BINS, "sketch-bins", "up to 4096 bins, keys in rising order within 16 bits, each with a count above 0",
        "dropped, or merged into other values";
    SKETCH_COUNT, "sketch-count", "the sum of its bins, above 0", "taken; averages and percentiles are wrong";
    SKETCH_FIGURES, "sketch-figures", "finite, with min <= avg <= max and avg = sum / count",
        "taken; averages and percentiles are wrong";

    LOG_SHAPE, "log-shape", "an object", "refused: 400";
    LOG_ENTRIES, "log-entries", "at most 1000 entries", "beyond what is documented: it may be refused";
    LOG_SIZE, "log-size", "at most 1,000,000 bytes", "cut there";
    LOG_MESSAGE, "log-message", "a text or an object", "taken and paid for; nothing to read";
    LOG_SOURCE, "log-source", "a source", "taken; no pipeline reads it";
    LOG_SERVICE, "log-service", "a service", "taken; belongs to no service";
    LOG_TIME, "log-time", "milliseconds since 1970, at most 18 hours ago and at most 2 hours ahead",
        "dropped, or dated by its arrival";
    LOG_TAGS, "log-tags", "up to 100 tags of up to 256 characters, between commas", "what is more is dropped";

    CHUNK_EMPTY, "chunk-empty", "one span at least", "taken; sent for nothing";
    CHUNK_PRIORITY, "chunk-priority", "-1, 0, 1 or 2", "whether it is kept is left to chance";
    CHUNK_TRACES, "chunk-traces", "of one trace", "counted and sampled as the first of them";
    CHUNK_TID, "trace-id-high", "16 hexadecimal digits", "the trace falls apart: its high half is not known";
    TRACE_ID, "trace-id", "not zero", "dropped, or the request is refused: 400";
    SPAN_ID, "span-id", "not zero", "dropped, or the request is refused: 400";
    SPAN_TWICE, "span-twice", "there once", "shown and counted twice, or one of them lost";
    SPAN_PARENT, "span-parent", "another span", "taken as a root";
    SPAN_DURATION, "span-duration", "0 or more nanoseconds, ending before 2262", "taken as 0";
    SPAN_START, "span-start", "nanoseconds since 1970, after 2000", "dated by its arrival";
    SPAN_FUTURE, "span-future", "at most 10 minutes ahead", "taken; shown where nobody looks";
    SPAN_SERVICE, "span-service",
        "up to 100 lower-case letters, digits and _:./-, beginning with a letter",
        "renamed: other characters become _, what is longer is cut, without any it is unnamed-service";
    SPAN_NAME, "span-name", "up to 100 ASCII letters, digits, _ and ., beginning with a letter",
        "renamed: other characters become _, what is longer is cut, without any it is unnamed_operation";
    SPAN_RESOURCE, "span-resource", "1 to 5000 bytes", "cut there; without one it is the span's name";
    SPAN_TYPE, "span-type", "at most 100 bytes", "cut there";
    SPAN_TAG_KEY, "span-tag-key", "1 to 200 characters", "cut there";
    SPAN_TAG_VALUE, "span-tag-value", "at most 25,000 characters", "cut there";
    SPAN_NUMBER, "span-number", "a finite number", "dropped";
    SPAN_STATUS_CODE, "span-status-code", "100 to 599", "dropped";
    SPAN_TOP_LEVEL, "span-top-level", "marked with _top_level, as the first span of its service",
        "no hits, errors and latency of its service are counted";
    SPAN_LINK, "span-link", "with a trace id and a span id, or a pointer", "leads nowhere";

    STATS_EMPTY, "stats-empty", "one bucket with one group at least", "taken; sent for nothing";
    STATS_BUCKET, "stats-bucket", "a start after 2000 and a duration above 0", "dropped";
    STATS_GROUP, "stats-group", "named by its service, name and resource", "dropped, or counted under no name";
    STATS_COUNTS, "stats-counts", "hits above 0, and not below errors and top level hits", "shown wrong";

    EVENT_TITLE, "event-title", "1 to 500 characters", "refused: 400";
    EVENT_TEXT, "event-text", "1 to 4000 characters", "refused: 400, or cut there";
    EVENT_TIME, "event-time", "seconds since 1970, at most 18 hours ago", "dropped";
    EVENT_WORD, "event-word", "a word that is known there", "refused: 400, or taken as the default";
    CHECK_NAME, "check-name", "a name", "refused: 400";
    CHECK_STATUS, "check-status", "0 to 3", "refused: 400";
}
