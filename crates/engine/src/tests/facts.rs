//! Facts written as text.
//!
//! ```text
//! invoke r1 deadline=3000          start-call [r1] trace=a parent=b priority=1 inferred=aws.sqs:queue:900 http
//!                                             durable=NAME/ID
//! shutdown spindown deadline=2000  end-call [r1] span=c trace=a parent=b status=502 error=Boom execution=PENDING
//! init-start on-demand             traces [lang=rust] a/1<b:name:service:k=v,k=v a/2<1:name2 | next chunk
//! init-report 120 [on-demand]      metric name:1:2|c|@0.5|#tag,tag   (types c g d h ms s)
//! start r1                         dropped spans 3
//! done r1 success 15.5 bytes=10 type=T
//! report r1 success duration=16 billed=17 size=128 max=64 init=120 restore=80   latency=5 response=6
//! restore-start                    restore-report 80
//! event-seen, answer-seen: as start-call and end-call, of the Runtime API proxy
//! log text…      json {…}      ext text…
//! ```
//! `at=5` on a record gives its own time, when it came later.

use std::time::Duration;

use model::{
    Chunk, ClientStats, Forward, InitReport, InitStart, InitializationType, InvocationReport, LogLine,
    Metric, MetricKind, Millis, Phase, PlatformSpan, Record, RequestId, RestoreStart, RuntimeDone,
    SamplingPriority, Span, SpanId, Start, Status, Tags, TelemetryRecord, Text, TraceId, TracerInfo,
    UnixNanos, keys::lambda,
};
use propagation::TraceContext;
use trigger::{InferredEnd, InferredSpan, Kind, Reading};

use super::T0;
use crate::{Dropped, EndCall, Input, InvocationError, StartCall};

/// The words of a line: bare ones in order, `key=value` ones by key.
struct Words<'a> {
    bare: std::vec::IntoIter<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Self {
        let (named, bare): (Vec<_>, Vec<_>) = text.split_whitespace().partition(|word| word.contains('='));
        let named = named.into_iter().filter_map(|word| word.split_once('=')).collect();
        Self { bare: bare.into_iter(), named }
    }

    fn next(&mut self) -> &'a str {
        self.bare.next().unwrap_or_else(|| panic!("a word is missing"))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.named.iter().find(|(k, _)| *k == key).map(|(_, v)| *v)
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.get(key).map(|v| v.parse().ok().unwrap_or_else(|| panic!("{key}={v}: a number")))
    }

    fn has(&self, word: &str) -> bool {
        self.bare.as_slice().contains(&word)
    }

    fn span_id(&self, key: &str) -> Option<SpanId> {
        self.get(key).and_then(span_id)
    }

    /// A bare word that is a request id.
    fn request_id(&mut self) -> Option<RequestId> {
        let first = *self.bare.as_slice().first()?;
        first.starts_with('r').then(|| self.next()).and_then(RequestId::new)
    }

    fn context(&self) -> Option<TraceContext> {
        Some(TraceContext {
            trace_id: trace_id(self.get("trace")?),
            span_id: self.span_id("parent"),
            priority: self.number("priority").map(SamplingPriority::from_i64),
            origin: None,
            tags: Tags::new(),
            tracestate: None,
            baggage: Tags::new(),
            links: Vec::new(),
        })
    }
}

pub(super) fn parse(at: UnixNanos, line: &str) -> Input {
    let (verb, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let mut words = Words::new(rest);
    match verb {
        "invoke" => Input::Invoke {
            request_id: request_id(words.next()),
            arn: None,
            deadline: at + Duration::from_millis(words.number("deadline").unwrap_or(3000)),
        },
        "shutdown" => Input::Shutdown {
            reason: words.next().to_owned().into(),
            deadline: at + Duration::from_millis(words.number("deadline").unwrap_or(2000)),
        },
        "start-call" => Input::StartCall(Box::new(start_call(&mut words))),
        "end-call" => Input::EndCall(Box::new(end_call(&mut words))),
        "event-seen" => Input::EventSeen(Box::new(start_call(&mut words))),
        "answer-seen" => Input::AnswerSeen(Box::new(end_call(&mut words))),
        "traces" => {
            let tracer = TracerInfo {
                language: words.get("lang").unwrap_or_default().to_owned().into(),
                ..TracerInfo::default()
            };
            let spans = rest.trim_start_matches(|c: char| c != ' ' && rest.starts_with("lang=")).trim();
            let chunk =
                |text: &str| Chunk { spans: text.split_whitespace().map(|word| span(at, word)).collect() };
            Input::Traces { tracer, chunks: spans.split('|').map(chunk).collect() }
        }
        "metric" => Input::Metrics(vec![metric(rest)]),
        "flush" => Input::Flush,
        "stats" => Input::Stats(ClientStats::Sent(rest.into())),
        "forward" => {
            let (subdomain, path) = rest.split_once('/').unwrap();
            let (subdomain, path) = (subdomain.to_owned().into(), format!("/{path}").into());
            Input::Forward(Box::new(Forward { subdomain, path, ..Forward::default() }))
        }
        "dropped" => {
            let what = match words.next() {
                "spans" => Dropped::Spans,
                "metrics" => Dropped::Metrics,
                "records" => Dropped::Records,
                "datagrams" => Dropped::Datagrams,
                other => panic!("dropped {other}?"),
            };
            Input::Dropped { what, count: words.next().parse().unwrap() }
        }
        _ => {
            let time = words.number("at").map_or(at, after_t0);
            Input::Telemetry(vec![TelemetryRecord { time, record: record(verb, rest, &mut words) }])
        }
    }
}

fn record(verb: &str, rest: &str, words: &mut Words<'_>) -> Record {
    match verb {
        "init-start" => Record::InitStart(InitStart {
            initialization_type: InitializationType::parse(words.next()),
            phase: Phase::Init,
            function_name: None,
            function_version: None,
            runtime_version: Some(words.get("version").unwrap_or("provided:al2023").to_owned().into()),
            runtime_version_arn: None,
            instance_id: None,
            instance_max_memory_mb: None,
            function_arn: None,
        }),
        "init-report" => Record::InitReport(InitReport {
            duration: millis(words.next()),
            initialization_type: InitializationType::parse(words.bare.next().unwrap_or("on-demand")),
            phase: Phase::Init,
            status: Some(Status::Success),
            error_type: None,
        }),
        "start" => Record::Start(Start {
            request_id: request_id(words.next()),
            version: None,
            trace_header: None,
            function_arn: None,
            tenant_id: None,
        }),
        "done" => Record::RuntimeDone(RuntimeDone {
            request_id: request_id(words.next()),
            status: Status::parse(words.next()),
            duration: words.bare.next().map(millis),
            error_type: words.get("type").map(|t| t.to_owned().into()),
            produced_bytes: words.number("bytes"),
            spans: platform_spans(words),
            trace_header: None,
            tenant_id: None,
        }),
        "report" => Record::Report(InvocationReport {
            request_id: request_id(words.next()),
            status: Some(Status::parse(words.next())),
            error_type: None,
            duration: millis(words.get("duration").unwrap_or("1")),
            billed_ms: words.number("billed"),
            memory_size_mb: words.number("size"),
            max_memory_used_mb: words.number("max"),
            init_duration: words.get("init").map(millis),
            restore_duration: words.get("restore").map(millis),
            spans: platform_spans(words),
            trace_header: None,
            tenant_id: None,
        }),
        "restore-start" => Record::RestoreStart(RestoreStart::default()),
        "restore-report" => Record::RestoreReport {
            status: Status::Success,
            duration: words.bare.next().map(millis),
            error_type: None,
        },
        "log" => Record::FunctionLog(LogLine::Text(rest.to_owned())),
        "ext" => Record::ExtensionLog(LogLine::Text(rest.to_owned())),
        "json" => Record::FunctionLog(LogLine::Json(rest.to_owned())),
        "logs-dropped" => {
            Record::LogsDropped { bytes: 100, records: words.next().parse().unwrap(), reason: "slow".into() }
        }
        "unknown" => Record::Unknown { kind: "platform.new".into() },
        _ => panic!("{verb:?}: no such fact"),
    }
}

/// `latency=5 response=6`
fn platform_spans(words: &Words<'_>) -> Vec<PlatformSpan> {
    let known = [("latency", "responseLatency"), ("response", "responseDuration")];
    let told = known.iter().filter_map(|(word, name)| Some((name, words.get(word)?)));
    told.map(|(name, ms)| PlatformSpan { name: (*name).into(), start: T0, duration: millis(ms) }).collect()
}

fn start_call(words: &mut Words<'_>) -> StartCall {
    let request_id = words.request_id();
    let inferred = words.get("inferred").into_iter().flat_map(|list| list.split(',')).map(|text| {
        let parts: Vec<&str> = text.split(':').collect();
        InferredSpan {
            name: parts[0].to_owned().into(),
            service: parts[1].to_owned().into(),
            resource: parts[1].to_owned().into(),
            kind: "web".into(),
            start: T0 + Duration::from_millis(parts[2].parse().unwrap()),
            end: if words.has("http") { InferredEnd::InvocationEnd } else { InferredEnd::InvocationStart },
            tags: Tags::new(),
        }
    });
    let source = words.get("source").map(|source| ("function_trigger.event_source", source.to_owned()));
    let durable = words.get("durable").and_then(|execution| execution.split_once('/'));
    let execution = durable.into_iter().flat_map(|(name, id)| {
        let names = [lambda::DURABLE_EXECUTION_NAME[0], lambda::DURABLE_EXECUTION_ID[0]];
        names.into_iter().zip([name.to_owned(), id.to_owned()])
    });
    StartCall {
        request_id,
        reading: Reading {
            parent: words.context(),
            inferred: inferred.collect(),
            is_http: words.has("http"),
            kind: durable.map_or_else(Kind::default, |_| Kind::Durable),
            tags: source.into_iter().chain(execution).collect(),
            ..Reading::default()
        },
    }
}

fn end_call(words: &mut Words<'_>) -> EndCall {
    EndCall {
        request_id: words.request_id(),
        context: words.context(),
        span_id: words.span_id("span"),
        http_status_code: words.number("status"),
        execution_status: ["SUCCEEDED", "FAILED", "PENDING"]
            .into_iter()
            .find(|s| words.get("execution") == Some(s)),
        error: words.get("error").map(|message| InvocationError {
            message: message.to_owned().into(),
            kind: "Error".into(),
            stack: Text::default(),
        }),
        tags: Tags::new(),
    }
}

/// `trace/span[<parent]:name[:service[:key=value,…]]`, ids in hex, values that are numbers as metrics. The
/// span begins where the text is told and takes a millisecond.
fn span(at: UnixNanos, text: &str) -> Span {
    let mut parts = text.splitn(4, ':');
    let ids = parts.next().unwrap_or_default();
    let (trace, ids) = ids.split_once('/').unwrap_or_else(|| panic!("{text}: no trace/span"));
    let (id, parent) = ids.split_once('<').map_or((ids, None), |(id, parent)| (id, Some(parent)));
    let name = parts.next().unwrap_or_default().to_owned();
    let mut span = Span::new(name, trace_id(trace), span_id(id).unwrap(), parent.and_then(span_id));
    span.service = parts.next().unwrap_or("orders").to_owned().into();
    span.resource = span.name.clone();
    span.start = at;
    span.duration = Duration::from_millis(1);
    for (key, value) in
        parts.next().into_iter().flat_map(|tags| tags.split(',')).filter_map(|tag| tag.split_once('='))
    {
        match (key, value.parse::<f64>()) {
            ("resource", _) => span.resource = value.to_owned().into(),
            ("http.status_code", _) | (_, Err(_)) => span.meta.insert(key.to_owned(), value.to_owned()),
            (_, Ok(number)) => span.metrics.insert(key.to_owned(), number),
        }
    }
    span
}

fn metric(text: &str) -> Metric {
    let mut parts = text.split('|');
    let (name, values) = parts.next().unwrap_or_default().split_once(':').unwrap();
    let kind = match parts.next().unwrap() {
        "c" => MetricKind::Count,
        "g" => MetricKind::Gauge,
        "d" => MetricKind::Distribution,
        "h" => MetricKind::Histogram,
        "ms" => MetricKind::Timing,
        "s" => MetricKind::Set,
        other => panic!("{other}: no metric type"),
    };
    let values = values.split(':').map(|v| v.parse().unwrap()).collect();
    let mut metric = Metric { kind, values, ..Metric::distribution(name.to_owned(), 0.0) };
    for part in parts {
        match part.split_at(1) {
            ("@", rate) => metric.sample_rate = rate.parse().unwrap(),
            ("#", tags) => metric.tags = tags.split(',').map(|t| t.to_owned().into()).collect(),
            ("T", ms) => metric.time = Some(after_t0(ms.parse().unwrap())),
            _ => panic!("{part}: no part of a metric"),
        }
    }
    metric
}

fn after_t0(ms: i64) -> UnixNanos {
    let length = Duration::from_millis(ms.unsigned_abs());
    if ms < 0 { T0 - length } else { T0 + length }
}

fn request_id(text: &str) -> RequestId {
    RequestId::new(text).unwrap()
}

fn trace_id(text: &str) -> TraceId {
    TraceId::from_u128(u128::from_str_radix(text, 16).unwrap_or_else(|_| panic!("{text}: no trace id")))
        .unwrap()
}

fn span_id(text: &str) -> Option<SpanId> {
    SpanId::new(u64::from_str_radix(text, 16).unwrap_or_else(|_| panic!("{text}: no span id")))
}

fn millis(text: &str) -> Millis {
    Millis::new(text.parse().unwrap_or_else(|_| panic!("{text}: no duration"))).unwrap()
}
