//! What fuzzing found, replayed: `fuzz/corpus`. `UPDATE_SEEDS=1 cargo test -p wire --test corpus` writes the
//! seeds anew: one body of each kind as a sender writes it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of a test")]

mod checks;

use std::path::{Path, PathBuf};

use model::{Chunk, Span, SpanEvent, SpanId, SpanLink, Tags, TraceId, TracerInfo, UnixNanos};
use wire::otlp::{Signal, to_protobuf};

type Check = fn(&[u8]);

const TARGETS: [(&str, Check); 13] = [
    ("v04", checks::v04),
    ("v05", checks::v05),
    ("v07", checks::v07),
    ("v1", checks::v1),
    ("stats", checks::stats),
    ("otlp_traces", checks::otlp_traces),
    ("otlp_metrics", checks::otlp_metrics),
    ("otlp_logs", checks::otlp_logs),
    ("lifecycle", checks::lifecycle),
    ("runtime_api", checks::runtime_api),
    ("telemetry", checks::telemetry),
    ("extensions", checks::extensions),
    ("dogstatsd", checks::dogstatsd),
];

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

#[test]
fn the_corpus_holds() {
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        seeds();
    }
    for (target, check) in TARGETS {
        let folder = folder(target);
        let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        for file in files {
            check(&std::fs::read(file).unwrap());
        }
    }
}

fn chunks() -> Vec<Chunk> {
    let trace = TraceId::new(0, 7).unwrap();
    let mut span = Span::new("web.request", trace, SpanId::new(8).unwrap(), SpanId::new(9));
    (span.service, span.resource, span.kind) = ("shop".into(), "GET /".into(), "web".into());
    (span.start, span.error) = (UnixNanos(1_722_369_353_000_000_000), true);
    span.meta.insert("k", "v");
    span.metrics.insert("n", 1.5);
    span.meta_struct.insert("s", vec![0x81, 0xa1, b'k', 1]);
    let attributes = [("k", "v")].into_iter().collect();
    let (tracestate, flags) = ("dd=s:1".into(), 1);
    span.links.push(SpanLink { trace_id: Some(trace), span_id: None, attributes, tracestate, flags });
    let attributes = [("a", "b")].into_iter().collect();
    span.events.push(SpanEvent { time: UnixNanos(5), name: "e".into(), attributes });
    vec![Chunk { spans: vec![span.clone(), span] }]
}

fn seeds() {
    let tracer = TracerInfo { language: "rust".into(), ..TracerInfo::default() };
    let otlp = |signal, json: &str| to_protobuf(signal, json.as_bytes()).unwrap();
    let resource = r#""resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]}"#;
    let traces = format!(
        r#"{{"resourceSpans":[{{{resource},"scopeSpans":[{{"scope":{{"name":"l"}},"spans":[{{"traceId":"66a1b2c300000000000000000000002a","spanId":"000000000000000a","name":"n","kind":3,"startTimeUnixNano":"5","endTimeUnixNano":"9","attributes":[{{"key":"db.system","value":{{"stringValue":"mysql"}}}},{{"key":"l","value":{{"arrayValue":{{"values":[{{"intValue":1}}]}}}}}}],"events":[{{"name":"exception","timeUnixNano":5}}],"links":[{{"traceId":"0b","spanId":"0c"}}],"status":{{"code":2,"message":"m"}}}}]}}]}}]}}"#
    );
    let metrics = format!(
        r#"{{"resourceMetrics":[{{{resource},"scopeMetrics":[{{"metrics":[{{"name":"c","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{{"asInt":"5","timeUnixNano":"5"}}]}}}},{{"name":"g","gauge":{{"dataPoints":[{{"asDouble":1.5}}]}}}},{{"name":"h","histogram":{{"aggregationTemporality":1,"dataPoints":[{{"count":2,"sum":3.0,"bucketCounts":[1,1],"explicitBounds":[1]}}]}}}},{{"name":"e","exponentialHistogram":{{"dataPoints":[{{"count":1,"scale":2,"positive":{{"offset":-1,"bucketCounts":[1]}}}}]}}}},{{"name":"s","summary":{{"dataPoints":[{{"count":1,"sum":2,"quantileValues":[{{"quantile":0.5,"value":1}}]}}]}}}}]}}]}}]}}"#
    );
    let logs = format!(
        r#"{{"resourceLogs":[{{{resource},"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"5","severityNumber":9,"severityText":"INFO","body":{{"kvlistValue":{{"values":[{{"key":"k","value":{{"boolValue":true}}}}]}}}},"traceId":"66a1b2c300000000000000000000002a","spanId":"0a"}}]}}]}}]}}"#
    );
    let v05 =
        b"\x92\x93\xa0\xa1k\xa1v\x91\x91\x9c\x01\x02\x01\x07\x08\x09\x0a\x0b\x01\x81\x01\x02\x81\x01\x03\x02";
    let end = b"lambda-runtime-aws-request-id: r-1\nx-datadog-span-id: 9\nx-datadog-trace-id: 7\nx-datadog-tags: _dd.p.tid=66a1b2c300000000\nx-datadog-sampling-priority: 1\nx-datadog-invocation-error: true\nx-datadog-invocation-error-msg: Ym9vbQ==\nx-datadog-invocation-error-type: E\n\n{\"statusCode\":\"502\"}";
    let stream = b"k: application/vnd.awslambda.http-integration-response\nb: eyJlcnJvck1lc3NhZ2UiOiJoYWxmIn0=\n\n{\"errorMessage\":\"m\",\"errorType\":\"E\",\"stackTrace\":[{\"path\":\"a.go\",\"line\":7,\"label\":\"f\"},\"  x\"]}\0\0";
    let records = br#"[{"time":"2024-07-30T19:55:53.018Z","type":"platform.initStart","record":{"initializationType":"on-demand","phase":"init","runtimeVersion":"r"}},{"time":"2024-07-30T19:55:53.018Z","type":"platform.start","record":{"requestId":"r-1","version":"$LATEST","tracing":{"spanId":"s","type":"X-Amzn-Trace-Id","value":"Root=1"}}},{"time":"2024-07-30T19:55:53.018Z","type":"function","record":{"level":"INFO","message":"m"}},{"time":"2024-07-30T19:55:53.018Z","type":"extension","record":"text"},{"time":"2024-07-30T19:55:53.018Z","type":"platform.runtimeDone","record":{"requestId":"r-1","status":"timeout","errorType":"T","metrics":{"durationMs":1.5,"producedBytes":3},"spans":[{"name":"responseLatency","start":"2024-07-30T19:55:53.018Z","durationMs":2}]}},{"time":"2024-07-30T19:55:53.018Z","type":"platform.report","record":{"requestId":"r-1","status":"success","metrics":{"durationMs":1.5,"billedDurationMs":2,"memorySizeMB":128,"maxMemoryUsedMB":64,"initDurationMs":9.5,"restoreDurationMs":1}}},{"time":"2024-07-30T19:55:53.018Z","type":"platform.logsDropped","record":{"reason":"r","droppedRecords":1,"droppedBytes":2}}]"#;
    let invoke = br#"{"eventType":"INVOKE","deadlineMs":1722369353018,"requestId":"r-1","invokedFunctionArn":"arn:aws:lambda:eu-west-1:1:function:f","tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1"}}"#;
    let subscription = br#"{"schemaVersion":"2022-12-13","types":["platform","function"],"buffering":{"maxItems":1000,"maxBytes":262144,"timeoutMs":25},"destination":{"protocol":"HTTP","URI":"http://sandbox:8999/"}}"#;
    let shutdown = br#"{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":"5","events":["INVOKE"],"configurationKeys":[],"functionName":"f","accountId":"1","errorMessage":"m","errorType":"e"}"#;
    let datagram = b"orders:3:4|d|@0.5|#size:l,b|T1722369353|c:x|e:it\n_e{5,4}:title|text|d:1|h:h|k:k|p:low|s:s|t:error|#a:b\n_sc|check|2|d:1|h:h|#a|m:words\nnot one\nt:1|ms\nu:x|s\n";
    let all: [(&str, Vec<u8>); 18] = [
        ("v04/seed", wire::v04::encode(&chunks())),
        ("v05/seed", v05.to_vec()),
        ("v07/seed", wire::v07::encode(&tracer, &Tags::new(), &chunks())),
        ("v1/seed", wire::v1::encode(&tracer, &chunks())),
        ("stats/seed", b"\x83\xa8Hostname\xa1h\xa3Env\xa0\xa5Stats\x91\x81\xa5Start\x01".to_vec()),
        ("otlp_traces/seed", otlp(Signal::Traces, &traces)),
        ("otlp_traces/json", traces.into_bytes()),
        ("otlp_metrics/seed", otlp(Signal::Metrics, &metrics)),
        ("otlp_metrics/json", metrics.into_bytes()),
        ("otlp_logs/seed", otlp(Signal::Logs, &logs)),
        ("otlp_logs/json", logs.into_bytes()),
        ("lifecycle/seed", end.to_vec()),
        ("runtime_api/seed", stream.to_vec()),
        ("telemetry/seed", records.to_vec()),
        ("extensions/invoke", invoke.to_vec()),
        ("extensions/shutdown", shutdown.to_vec()),
        ("extensions/subscription", subscription.to_vec()),
        ("dogstatsd/seed", datagram.to_vec()),
    ];
    for (name, body) in all {
        let path = folder(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, body).unwrap();
    }
}
