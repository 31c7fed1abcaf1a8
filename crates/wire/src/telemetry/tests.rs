//! Telemetry API deliveries as Lambda sends them, well and badly.

use model::{
    InitReport, InitStart, InitializationType, InvocationReport, LogLine, Millis, Phase, PlatformSpan,
    Record, RequestId, RestoreStart, RuntimeDone, Start, Status, TelemetryRecord, Text, UnixNanos,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde_json::Value;

use super::{NotAnArray, TelemetryBatch, decode, encode, encode_record};

const TIME: &str = "2024-07-30T19:55:53.018Z";

fn at(record: Record) -> TelemetryRecord {
    TelemetryRecord { time: UnixNanos::parse_rfc3339(TIME).unwrap(), record }
}

fn ms(n: f64) -> Millis {
    Millis::new(n).unwrap()
}

fn id(text: &str) -> RequestId {
    RequestId::new(text).unwrap()
}

fn element(kind: &str, record: &str) -> String {
    format!(r#"{{"time":"{TIME}","type":"{kind}","record":{record}}}"#)
}

fn one(kind: &str, record: &str) -> Record {
    let mut batch = decode(format!("[{}]", element(kind, record)).as_bytes()).unwrap();
    assert_eq!((batch.records.len(), batch.malformed), (1, 0), "{kind} {record}");
    batch.records.remove(0).record
}

// --- the documented shapes, both ways

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn records_as_lambda_writes_them() {
    let check = |kind: &str, json: &str, want: Record| {
        assert_eq!(one(kind, json), want);
        let back: Value = serde_json::from_slice(&encode_record(&at(want))).unwrap();
        let expected: Value = serde_json::from_str(&element(kind, json)).unwrap();
        assert_eq!(back, expected);
    };
    check(
        "platform.initStart",
        r#"{"initializationType":"on-demand","phase":"init","functionName":"orders","functionVersion":"$LATEST",
            "runtimeVersion":"provided:al2023.v1","runtimeVersionArn":"arn:aws:lambda:eu-west-1::runtime:0",
            "instanceId":"2026/11/21/[$LATEST]0","instanceMaxMemory":256,"functionArn":"arn:aws:lambda:eu-west-1::f"}"#,
        Record::InitStart(InitStart {
            initialization_type: InitializationType::OnDemand,
            phase: Phase::Init,
            function_name: Some("orders".into()),
            function_version: Some("$LATEST".into()),
            runtime_version: Some("provided:al2023.v1".into()),
            runtime_version_arn: Some("arn:aws:lambda:eu-west-1::runtime:0".into()),
            instance_id: Some("2026/11/21/[$LATEST]0".into()),
            instance_max_memory_mb: Some(256),
            function_arn: Some("arn:aws:lambda:eu-west-1::f".into()),
        }),
    );
    check(
        "platform.restoreStart",
        r#"{"functionName":"orders","functionVersion":"7","instanceId":"i","instanceMaxMemory":128}"#,
        Record::RestoreStart(RestoreStart {
            function_name: Some("orders".into()),
            function_version: Some("7".into()),
            runtime_version: None,
            runtime_version_arn: None,
            instance_id: Some("i".into()),
            instance_max_memory_mb: Some(128),
        }),
    );
    check(
        "platform.initRuntimeDone",
        r#"{"initializationType":"snap-start","phase":"snap-start","status":"error","errorType":"Runtime.ExitError"}"#,
        Record::InitRuntimeDone {
            initialization_type: InitializationType::SnapStart,
            phase: Phase::SnapStart,
            status: Status::Error,
            error_type: Some("Runtime.ExitError".into()),
        },
    );
    check(
        "platform.initReport",
        r#"{"initializationType":"provisioned-concurrency","phase":"invoke","status":"success","metrics":{"durationMs":125.33}}"#,
        Record::InitReport(InitReport {
            initialization_type: InitializationType::ProvisionedConcurrency,
            phase: Phase::Invoke,
            status: Some(Status::Success),
            duration: ms(125.33),
            error_type: None,
        }),
    );
    check(
        "platform.start",
        r#"{"requestId":"r1","version":"7","functionArn":"arn:aws:lambda:eu-west-1::f","tenantId":"blue",
            "tracing":{"type":"X-Amzn-Trace-Id","value":"Root=1-2-3;Sampled=1"}}"#,
        Record::Start(Start {
            request_id: id("r1"),
            version: Some("7".into()),
            trace_header: Some("Root=1-2-3;Sampled=1".into()),
            function_arn: Some("arn:aws:lambda:eu-west-1::f".into()),
            tenant_id: Some("blue".into()),
        }),
    );
    check(
        "platform.restoreReport",
        r#"{"status":"error","errorType":"Runtime.ExitError","metrics":{"durationMs":70.5}}"#,
        Record::RestoreReport {
            status: Status::Error,
            duration: Some(ms(70.5)),
            error_type: Some("Runtime.ExitError".into()),
        },
    );
    check(
        "platform.restoreRuntimeDone",
        r#"{"status":"timeout","errorType":"T"}"#,
        Record::RestoreRuntimeDone { status: Status::Timeout, error_type: Some("T".into()) },
    );
    check(
        "platform.extension",
        r#"{"name":"datadog-agent","state":"InitError","events":["INVOKE","SHUTDOWN"],"errorType":"Ext.Bad"}"#,
        Record::Extension {
            name: "datadog-agent".into(),
            state: "InitError".into(),
            events: vec!["INVOKE".into(), "SHUTDOWN".into()],
            error_type: Some("Ext.Bad".into()),
        },
    );
    check(
        "platform.telemetrySubscription",
        r#"{"name":"datadog-agent","state":"Subscribed","types":["platform","function"]}"#,
        Record::TelemetrySubscription {
            name: "datadog-agent".into(),
            state: "Subscribed".into(),
            types: vec!["platform".into(), "function".into()],
        },
    );
    check(
        "platform.logsDropped",
        r#"{"droppedBytes":12345,"droppedRecords":123,"reason":"slow consumer"}"#,
        Record::LogsDropped { bytes: 12_345, records: 123, reason: "slow consumer".into() },
    );
    check(
        "function",
        r#""hello \"you\"\n""#,
        Record::FunctionLog(LogLine::Text("hello \"you\"\n".to_owned())),
    );
    check(
        "extension",
        r#"{"b": 1, "a": "x"}"#,
        Record::ExtensionLog(LogLine::Json(r#"{"b": 1, "a": "x"}"#.to_owned())),
    );
}

#[test]
fn the_end_of_an_invocation() {
    let spans = r#"[{"name":"responseLatency","start":"2024-07-30T19:55:53.018Z","durationMs":23.0},
                    {"name":"bad","durationMs":1.0},7]"#;
    let span = PlatformSpan {
        name: "responseLatency".into(),
        start: UnixNanos::parse_rfc3339(TIME).unwrap(),
        duration: ms(23.0),
    };
    let json = format!(
        r#"{{"requestId":"r1","status":"success","tracing":{{}},"tenantId":"t","spans":{spans},
            "metrics":{{"durationMs":140,"producedBytes":16}}}}"#
    );
    let done = RuntimeDone {
        request_id: id("r1"),
        status: Status::Success,
        error_type: None,
        duration: Some(ms(140.0)),
        produced_bytes: Some(16),
        spans: vec![span.clone()],
        trace_header: None,
        tenant_id: Some("t".into()),
    };
    assert_eq!(one("platform.runtimeDone", &json), Record::RuntimeDone(done));
    let bare = one("platform.runtimeDone", r#"{"requestId":"r1","status":"napping"}"#);
    let Record::RuntimeDone(bare) = bare else { panic!("{bare:?}") };
    assert_eq!((bare.status, bare.duration), (Status::Other("napping".into()), None));

    let on_demand = r#"{"requestId":"r1","status":"success","metrics":{"durationMs":101.51,"billedDurationMs":300,
        "memorySizeMB":512,"maxMemoryUsedMB":33,"initDurationMs":116.67,"restoreDurationMs":2}}"#;
    let report = InvocationReport {
        request_id: id("r1"),
        status: Some(Status::Success),
        error_type: None,
        duration: ms(101.51),
        billed_ms: Some(300),
        memory_size_mb: Some(512),
        max_memory_used_mb: Some(33),
        init_duration: Some(ms(116.67)),
        restore_duration: Some(ms(2.0)),
        spans: vec![],
        trace_header: None,
        tenant_id: None,
    };
    assert_eq!(one("platform.report", on_demand), Record::Report(report.clone()));
    let managed =
        format!(r#"{{"requestId":"r1","status":"success","metrics":{{"durationMs":9.5}},"spans":{spans}}}"#);
    let report = InvocationReport {
        duration: ms(9.5),
        billed_ms: None,
        memory_size_mb: None,
        max_memory_used_mb: None,
        init_duration: None,
        restore_duration: None,
        spans: vec![span],
        ..report
    };
    assert_eq!(one("platform.report", &managed), Record::Report(report));
}

// --- tolerance

#[test]
fn unknown_types_and_odd_shapes_become_unknown() {
    let check = |kind: &str, record: &str| {
        assert_eq!(one(kind, record), Record::Unknown { kind: Text::Owned(kind.to_owned()) }, "{record}");
    };
    check("platform.end", r#"{"requestId":"r1"}"#);
    check("platform.fault", r#""boom""#);
    check("platform.somethingNew", "[[[]]]");
    check("platform.start", "{}");
    check("platform.start", r#"{"requestId":""}"#);
    check("platform.start", r#"{"requestId":7}"#);
    check("platform.start", "null");
    check("platform.report", r#"{"requestId":"r1","status":"success"}"#);
    check("platform.report", r#"{"requestId":"r1","metrics":{"durationMs":-1}}"#);
    check("platform.runtimeDone", r#"{"requestId":"r1"}"#);
    check("platform.restoreStart", "5");
    check("function", "null");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    check("platform.start", &deep);
}

#[test]
fn a_bad_optional_field_costs_itself() {
    let record = r#"{"requestId":"r1","version":5,"tracing":"odd"}"#;
    let start = Start {
        request_id: id("r1"),
        version: None,
        trace_header: None,
        function_arn: None,
        tenant_id: None,
    };
    assert_eq!(one("platform.start", record), Record::Start(start));
    let record = r#"{"requestId":"r1","status":"error","metrics":{"durationMs":1,"billedDurationMs":2.0,
        "memorySizeMB":"512","maxMemoryUsedMB":-3},"spans":"none","errorType":null}"#;
    let Record::Report(report) = one("platform.report", record) else { panic!() };
    assert_eq!((report.billed_ms, report.memory_size_mb, report.max_memory_used_mb), (Some(2), None, None));
}

#[test]
fn malformed_elements_are_counted_and_siblings_stay() {
    let good = element("function", r#""line""#);
    let bad = [
        "5",
        "null",
        "[]",
        "{}",
        r#"{"type":"function","record":"x"}"#,
        r#"{"time":"yesterday","type":"function","record":"x"}"#,
        r#"{"time":"2024-07-30T19:55:53.018Z","record":"x"}"#,
        r#"{"time":5,"type":"function","record":"x"}"#,
        r#"{"time":"2024-07-30T19:55:53.018Z","type":7,"record":"x"}"#,
    ];
    for bad in bad {
        let batch = decode(format!("[{good},{bad},{good}]").as_bytes()).unwrap();
        assert_eq!((batch.records.len(), batch.malformed), (2, 1), "{bad}");
    }
    // A lone half of a surrogate pair is JSON syntax but no text.
    let batch = decode(format!("[{good},{}]", element("function", r#""\ud800""#)).as_bytes()).unwrap();
    assert_eq!(batch.records[1].record, Record::Unknown { kind: "function".into() });
}

#[test]
fn bytes_that_are_no_utf8_cost_themselves() {
    let mut body = format!("[{}]", element("function", r#""a?b""#)).into_bytes();
    let at = body.iter().position(|b| *b == b'?').unwrap();
    body[at] = 0xff;
    let batch = decode(&body).unwrap();
    assert_eq!(batch.records[0].record, Record::FunctionLog(LogLine::Text("a\u{fffd}b".to_owned())));
}

#[test]
fn odd_log_lines_are_kept_as_text() {
    for (json, text) in [("12", "12"), ("true", "true"), ("[1, 2]", "[1, 2]"), (r#""""#, "")] {
        assert_eq!(one("function", json), Record::FunctionLog(LogLine::Text(text.to_owned())));
    }
    let line = LogLine::Json("{not json".to_owned());
    let back = decode(&encode(&[at(Record::FunctionLog(line))])).unwrap();
    assert_eq!(back.records[0].record, Record::FunctionLog(LogLine::Text("{not json".to_owned())));
}

#[test]
fn bodies_that_are_no_arrays() {
    for body in ["", "{}", "null", "[", "[1,", "[1]x", "5", "\u{feff}[]"] {
        assert_eq!(decode(body.as_bytes()), Err(NotAnArray), "{body}");
    }
    assert_eq!(decode(b" [ ] "), Ok(TelemetryBatch::default()));
}

// --- any record

fn word() -> impl Strategy<Value = Text> {
    prop_oneof!["[a-zA-Z.$]{1,12}", any::<String>()].prop_map(Text::Owned)
}

fn request_id() -> impl Strategy<Value = RequestId> {
    "[0-9a-f-]{1,36}".prop_filter_map("empty", |text| RequestId::new(&text))
}

fn millis() -> impl Strategy<Value = Millis> {
    (0..1u64 << 40).prop_map(|n| ms(n as f64 / 100.0))
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![Just("success"), Just("error"), Just("failure"), Just("timeout"), Just("new")]
        .prop_map(Status::parse)
}

fn phase() -> impl Strategy<Value = Phase> {
    prop_oneof![Just("init"), Just("invoke"), Just("snap-start"), Just("new")].prop_map(Phase::parse)
}

fn initialization_type() -> impl Strategy<Value = InitializationType> {
    let words = ["on-demand", "provisioned-concurrency", "snap-start", "lambda-managed-instances", "new"];
    proptest::sample::select(words.to_vec()).prop_map(InitializationType::parse)
}

fn time() -> impl Strategy<Value = UnixNanos> {
    (0..1u64 << 43).prop_map(UnixNanos::from_millis)
}

fn spans() -> impl Strategy<Value = Vec<PlatformSpan>> {
    vec(
        (word(), time(), millis()).prop_map(|(name, start, duration)| PlatformSpan { name, start, duration }),
        0..3,
    )
}

fn log_line() -> impl Strategy<Value = LogLine> {
    prop_oneof![any::<String>().prop_map(LogLine::Text), Just(LogLine::Json(r#"{"a":[1,{}]}"#.to_owned()))]
}

fn report() -> impl Strategy<Value = Record> {
    let whole = || option::of(0..1u64 << 50);
    let head = (request_id(), option::of(status()), option::of(word()), millis());
    let rest = (whole(), whole(), whole(), option::of(millis()), option::of(millis()), spans());
    (head, rest, whose()).prop_map(|((request_id, status, error_type, duration), rest, whose)| {
        let (trace_header, tenant_id) = whose;
        let (billed_ms, memory_size_mb, max_memory_used_mb, init_duration, restore_duration, spans) = rest;
        Record::Report(InvocationReport {
            request_id,
            status,
            error_type,
            duration,
            billed_ms,
            memory_size_mb,
            max_memory_used_mb,
            init_duration,
            restore_duration,
            spans,
            trace_header,
            tenant_id,
        })
    })
}

fn whose() -> impl Strategy<Value = (Option<Text>, Option<Text>)> {
    (option::of(word()), option::of(word()))
}

fn starts() -> impl Strategy<Value = Record> {
    let text = || option::of(word());
    let made = || (text(), text(), text(), text(), text(), option::of(0..1u64 << 50));
    prop_oneof![
        (initialization_type(), phase(), made(), text()).prop_map(
            |(initialization_type, phase, (name, version, runtime, arn, instance, memory), function)| {
                Record::InitStart(InitStart {
                    initialization_type,
                    phase,
                    function_name: name,
                    function_version: version,
                    runtime_version: runtime,
                    runtime_version_arn: arn,
                    instance_id: instance,
                    instance_max_memory_mb: memory,
                    function_arn: function,
                })
            }
        ),
        made().prop_map(|(name, version, runtime, arn, instance, memory)| Record::RestoreStart(
            RestoreStart {
                function_name: name,
                function_version: version,
                runtime_version: runtime,
                runtime_version_arn: arn,
                instance_id: instance,
                instance_max_memory_mb: memory,
            }
        )),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let text = || option::of(word());
    prop_oneof![
        starts(),
        (initialization_type(), phase(), option::of(status()), millis(), text()).prop_map(
            |(initialization_type, phase, status, duration, error_type)| Record::InitReport(InitReport {
                initialization_type,
                phase,
                status,
                duration,
                error_type,
            })
        ),
        (request_id(), text(), whose(), text()).prop_map(
            |(request_id, version, (trace_header, tenant_id), function_arn)| Record::Start(Start {
                request_id,
                version,
                trace_header,
                function_arn,
                tenant_id
            })
        ),
        ((request_id(), status(), text(), option::of(millis()), option::of(0..1u64 << 50), spans()), whose())
            .prop_map(|(done, (trace_header, tenant_id))| {
                let (request_id, status, error_type, duration, produced_bytes, spans) = done;
                Record::RuntimeDone(RuntimeDone {
                    request_id,
                    status,
                    error_type,
                    duration,
                    produced_bytes,
                    spans,
                    trace_header,
                    tenant_id,
                })
            }),
        report(),
        (status(), option::of(millis()), text()).prop_map(|(status, duration, error_type)| {
            Record::RestoreReport { status, duration, error_type }
        }),
        (word(), word(), vec(word(), 0..3), text()).prop_map(|(name, state, events, error_type)| {
            Record::Extension { name, state, events, error_type }
        }),
        (any::<u64>(), any::<u64>(), word()).prop_map(|(bytes, records, reason)| Record::LogsDropped {
            bytes,
            records,
            reason
        }),
        log_line().prop_map(Record::FunctionLog),
        log_line().prop_map(Record::ExtensionLog),
        "platform.new[A-Z]".prop_map(|kind| Record::Unknown { kind: kind.into() }),
    ]
}

fn records() -> impl Strategy<Value = Vec<TelemetryRecord>> {
    vec((time(), record()).prop_map(|(time, record)| TelemetryRecord { time, record }), 0..6)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(records in records()) {
        let body = encode(&records);
        prop_assert_eq!(decode(&body), Ok(TelemetryBatch { records, malformed: 0 }));
        for end in 0..body.len() {
            prop_assert_eq!(decode(&body[..end]), Err(NotAnArray));
        }
    }

    #[test]
    fn elements_are_joined_by_commas(records in records()) {
        let all: Vec<_> = records.iter().map(encode_record).collect();
        prop_assert_eq!([b"[", all.join(&b',').as_slice(), b"]"].concat(), encode(&records));
    }

    #[test]
    fn any_bytes_do_no_harm(body in vec(any::<u8>(), 0..300)) {
        let _ = decode(&body);
    }

    #[test]
    fn any_json_in_a_record_does_no_harm(kind in record(), junk in "[\\[\\]{}:,\"a-z0-9. ]{0,40}") {
        let kind = serde_json::from_slice::<Value>(&encode_record(&at(kind))).unwrap()["type"].clone();
        let _ = decode(format!(r#"[{{"time":"{TIME}","type":{kind},"record":{junk}}}]"#).as_bytes());
    }
}
