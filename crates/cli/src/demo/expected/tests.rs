//! A made-up demo in which everything arrived, and what is said when something is taken out of it.

use std::time::Duration;

use intake::{Limits, Store};
use model::{
    Batch, Log, LogLevel, RequestId, Sketch, SketchSeries, Span, SpanId, SpanLink, Tags, TraceChunk, TraceId,
    TracerPayload, UnixNanos,
};

use super::{API, CUSTOM_METRIC, Sent, WORKER, expected, lambda, metrics, trace};
use crate::callers::Caller;

struct World {
    sent: Sent,
    spans: Vec<Span>,
    logs: Vec<Log>,
    metrics: Vec<SketchSeries>,
}

impl World {
    fn complete() -> Self {
        let now = UnixNanos::from_secs(1_700_000_000);
        let caller = |service| Caller::of_message(service, "SendMessage", now);
        let sent = Sent {
            shop: Caller::over_http("web-shop", "POST /orders", now),
            producers: [caller("checkout"), caller("subscriptions")],
            request_ids: ["r-api", "r-batch", "r-bad"].map(|id| Some(id.to_owned())),
        };
        let mut world = Self { sent, spans: Vec::new(), logs: Vec::new(), metrics: Vec::new() };
        world.http();
        world.messages();
        let failed = TraceId::new(1, 1).unwrap();
        let bad = world.span(failed, "aws.lambda", WORKER, 30, None, (0, 5));
        bad.error = true;
        bad.meta.insert(lambda::REQUEST_ID, "r-bad");
        bad.meta.insert(trace::ERROR_MESSAGE, "told to fail");
        for (function, invocations) in [(API, 1), (WORKER, 3)] {
            let each = [
                metrics::INVOCATIONS,
                metrics::DURATION,
                metrics::BILLED_DURATION,
                metrics::MAX_MEMORY_USED,
                metrics::RUNTIME_DURATION,
            ];
            each.into_iter().for_each(|name| world.metric(name, function, invocations));
            world.metric(metrics::INIT_DURATION, function, 1);
        }
        world.metric(metrics::ERRORS, WORKER, 1);
        world.metric(CUSTOM_METRIC, API, 1);
        world
    }

    fn http(&mut self) {
        let Caller { trace_id, span_id, .. } = self.sent.shop;
        self.span(trace_id, "aws.httpapi", "POST /orders", 1, Some(span_id.get()), (1, 90));
        self.span(trace_id, "aws.lambda.cold_start", API, 2, Some(1), (0, 20));
        self.span(trace_id, "aws.lambda", API, 3, Some(1), (21, 60)).meta.insert(lambda::REQUEST_ID, "r-api");
        self.span(trace_id, "validate_order", "", 4, Some(3), (22, 1));
        self.span(trace_id, "internal", "price_order", 5, Some(3), (23, 1));
        self.span(trace_id, "aws.request", "Lambda.Invoke", 6, Some(3), (24, 50));
        self.span(trace_id, "aws.lambda.cold_start", WORKER, 7, Some(6), (25, 20));
        self.span(trace_id, "aws.lambda", WORKER, 8, Some(6), (46, 20))
            .meta
            .insert(lambda::REQUEST_ID, "r-inner");
        self.span(trace_id, "fulfil", "", 9, Some(8), (47, 5));
        self.span(trace_id, "pack_order", "", 10, Some(9), (48, 1));
        self.log(API, "r-api", 4);
        self.log(WORKER, "r-inner", 9);
    }

    fn messages(&mut self) {
        let [Caller { trace_id, span_id, .. }, second] = self.sent.producers;
        self.span(trace_id, "aws.sqs", "orders-queue", 20, Some(span_id.get()), (0, 40));
        let link = SpanLink {
            trace_id: Some(second.trace_id),
            span_id: Some(second.span_id),
            attributes: Tags::new(),
            tracestate: "".into(),
            flags: 0,
        };
        self.span(trace_id, "aws.lambda", WORKER, 21, Some(20), (40, 5)).links.push(link);
    }

    fn span(
        &mut self,
        trace_id: TraceId,
        name: &'static str,
        resource: &'static str,
        id: u64,
        parent: Option<u64>,
        (start, length): (u64, u64),
    ) -> &mut Span {
        let mut span = Span::new(name, trace_id, SpanId::new(id).unwrap(), parent.and_then(SpanId::new));
        span.resource = resource.into();
        span.start = UnixNanos::from_secs(1_700_000_000) + Duration::from_millis(start);
        span.duration = Duration::from_millis(length);
        span.meta.insert(trace::TID, format!("{:016x}", trace_id.high()));
        self.spans.push(span);
        self.spans.last_mut().unwrap()
    }

    fn log(&mut self, function: &str, request_id: &str, span_id: u64) {
        let trace_id = self.sent.shop.trace_id;
        self.logs.push(Log {
            message: format!(r#"{{"message":"hi","dd.trace_id":"{trace_id}","dd.span_id":"{span_id}"}}"#),
            level: LogLevel::Info,
            time: UnixNanos::default(),
            request_id: RequestId::new(request_id),
            arn: format!("arn:aws:lambda:us-east-1:123456789012:function:{function}").into(),
            service: "".into(),
            tags: "".into(),
            durable: None,
        });
    }

    fn metric(&mut self, name: &'static str, function: &str, count: u64) {
        let mut sketch = Sketch::default();
        sketch.insert(1.0, count);
        let points = vec![(UnixNanos::default(), sketch)];
        self.metrics.push(SketchSeries {
            name: name.into(),
            tags: vec![format!("functionname:{function}").into()],
            points,
        });
    }

    fn missing(&self) -> String {
        let store = Store::new(Limits::default());
        let Sent { shop, producers: [first, second], .. } = self.sent;
        let now = UnixNanos::from_secs(1_700_000_000);
        [shop, first, second].iter().for_each(|c| store.add(c.span(now, Duration::from_millis(100))));
        // Each span in a payload of its own, as if every one came in another request.
        let payload = |span: &Span| TracerPayload {
            chunks: vec![TraceChunk { spans: vec![span.clone()], ..TraceChunk::default() }],
            ..TracerPayload::default()
        };
        store.add(Batch::Traces(self.spans.iter().map(payload).collect()));
        store.add(Batch::Logs(self.logs.clone()));
        store.add(Batch::Sketches(self.metrics.clone()));
        let missing = expected(&store.snapshot(), &self.sent);
        let lines: Vec<_> = missing.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    fn at(&mut self, id: u64) -> &mut Span {
        self.spans.iter_mut().find(|span| span.span_id.get() == id).unwrap()
    }
}

fn check(change: impl FnOnce(&mut World), want: &[&str]) {
    let mut world = World::complete();
    change(&mut world);
    let said = world.missing();
    assert!(!want.is_empty() && !said.is_empty(), "nothing was said; wanted {want:?}");
    for part in want {
        assert!(said.contains(part), "wanted {part:?} in:\n{said}");
    }
}

#[test]
fn nothing_is_missing_when_all_is_there() {
    assert_eq!(World::complete().missing(), "");
}

#[test]
fn each_span_is_missed() {
    for id in World::complete().spans.iter().map(|span| span.span_id.get()).collect::<Vec<_>>() {
        let mut world = World::complete();
        let name = world.at(id).name.clone();
        let resource = world.at(id).resource.clone();
        world.spans.retain(|span| span.span_id.get() != id);
        let said = world.missing();
        assert!(
            said.contains(&*name) || said.contains(&*resource),
            "{name} {resource} is not missed:\n{said}"
        );
    }
}

#[test]
fn each_metric_and_log_line_is_missed() {
    for at in 0..World::complete().metrics.len() {
        let mut world = World::complete();
        let gone = world.metrics.remove(at);
        let said = world.missing();
        assert!(said.contains(&*gone.name) && said.lines().count() == 1, "{gone:?}:\n{said}");
    }
    check(|w| drop(w.logs.remove(0)), &["no log line of orders-api with its dd.trace_id"]);
    check(|w| drop(w.logs.remove(1)), &["no log line of orders-worker with its dd.trace_id"]);
}

#[test]
fn what_is_wrong_is_said() {
    check(
        |w| w.at(3).parent_id = SpanId::new(77),
        &["aws.lambda of orders-api is not directly below aws.httpapi", "77"],
    );
    check(|w| w.at(6).parent_id = SpanId::new(1), &["aws.request is not below aws.lambda of orders-api"]);
    check(|w| w.at(6).parent_id = SpanId::new(8), &["aws.request is not below aws.lambda of orders-api"]);
    check(|w| w.at(8).parent_id = SpanId::new(3), &["no span aws.request of the AWS SDK"]);
    check(|w| w.at(9).duration = Duration::from_secs(1), &["fulfil ends after its parent aws.lambda"]);
    check(|w| w.at(5).start = UnixNanos::from_secs(1), &["internal begins before its parent aws.lambda"]);
    check(|w| w.at(21).links.clear(), &["no span link to the second producer"]);
    check(|w| w.at(30).error = false, &["r-bad, which fails: its span aws.lambda is not marked"]);
    check(|w| w.sent.request_ids[2] = None, &["Lambda refused it"]);
    check(|w| w.logs[0].request_id = None, &["orders-api has not the request id"]);
    check(|w| w.logs[0].arn = "x".into(), &["no log line of orders-api"]);
    check(
        |w| w.logs[0].message = w.logs[0].message.replace("\"4\"", "\"5555\""),
        &["no dd.span_id of a span"],
    );
    check(
        |w| w.logs[0].message = w.logs[0].message.replace("dd.trace_id", "x.trace_id"),
        &["at the JSON root"],
    );
    check(|w| w.metric(metrics::INVOCATIONS, API, 1), &["aws.lambda.enhanced.invocations has 2 of 1"]);
    check(
        |w| {
            w.spans.clear();
            w.logs.clear();
            w.metrics.clear();
        },
        &[
            "HTTP request: no span aws.httpapi",
            "no span aws.lambda of orders-api",
            "has 0 of 3",
            "orders.received",
        ],
    );
}
