//! OpenTelemetry's spans in Datadog's words. Pure: what is in a finished span decides.
//!
//! The name of a span is both its operation and its resource unless `operation.name` and `resource.name`
//! say otherwise; `service.name` and `span.type` override likewise. Numbers become metrics, all else tags.
//! <https://docs.datadoghq.com/opentelemetry/mapping/semantic_mapping/>

use model::keys::{lambda, trace};
use model::{Attribute, Span, SpanEvent, SpanLink, Tags, Text};
use opentelemetry::trace::{Event, Link, SpanContext, SpanKind, Status};
use opentelemetry::{Array, Key, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

use crate::ids;

/// What the agent cuts values at: more would only cost.
const MAX_VALUE: usize = 25_000;

/// The tags that every span of the function carries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Common {
    pub(crate) service: Text,
    pub(crate) env: Option<Text>,
    pub(crate) version: Option<Text>,
}

impl Common {
    pub(crate) fn apply(&self, span: &mut Span) {
        if span.service.is_empty() {
            span.service = self.service.clone();
        }
        span.meta.insert(trace::ORIGIN, lambda::ORIGIN_LAMBDA);
        if let Some(env) = &self.env {
            span.meta.insert(trace::ENV, env.clone());
        }
        if let Some(version) = &self.version
            && span.service == self.service
        {
            span.meta.insert(trace::VERSION, version.clone());
        }
    }
}

/// `None` for a span whose ids cannot be Datadog's: zero, or zero in the low half.
pub(crate) fn span(data: SpanData, common: &Common) -> Option<Span> {
    let trace_id = ids::from_otel_trace(data.span_context.trace_id())?;
    let span_id = ids::from_otel_span(data.span_context.span_id())?;
    let name = cut(data.name);
    let parent_id = ids::from_otel_span(data.parent_span_id);
    let mut span = Span::new(name.clone(), trace_id, span_id, parent_id);
    if parent_id.is_none() || data.parent_span_is_remote {
        span.metrics.insert(trace::DD_TOP_LEVEL, 1.0);
    }
    span.resource = name;
    span.service = common.service.clone();
    span.start = ids::nanos(data.start_time);
    span.duration = ids::nanos(data.end_time).since(span.start);
    span.meta.insert(trace::SPAN_KIND, kind_name(&data.span_kind));
    let typed_by = data.attributes.iter().map(|kv| kv.key.as_str());
    span.kind = span_type(&data.span_kind, typed_by).into();
    for attribute in data.attributes {
        set_attribute(&mut span, attribute);
    }
    if span.service != common.service {
        span.meta.insert(trace::BASE_SERVICE, common.service.clone());
    }
    common.apply(&mut span);
    for event in data.events.events {
        add_event(&mut span, event);
    }
    span.links.extend(data.links.links.into_iter().map(link));
    set_status(&mut span, data.status);
    Some(span)
}

/// Sets one attribute, be it a tag, a metric or one of the span's own fields.
pub(crate) fn set_attribute(span: &mut Span, attribute: KeyValue) {
    let KeyValue { key, value, .. } = attribute;
    match key.as_str() {
        "operation.name" => span.name = plain(value),
        "resource.name" => span.resource = plain(value),
        "service.name" => span.service = plain(value),
        "span.type" => span.kind = plain(value),
        trace::OTEL_HTTP_STATUS_CODE | trace::HTTP_STATUS_CODE => {
            span.meta.insert(trace::HTTP_STATUS_CODE, plain(value));
        }
        trace::OTEL_HTTP_METHOD => span.meta.insert(trace::HTTP_METHOD, plain(value)),
        _ => match value {
            Value::I64(n) => span.metrics.insert(to_text(key), n as f64),
            Value::F64(n) if n.is_finite() => span.metrics.insert(to_text(key), n),
            value => span.meta.insert(to_text(key), plain(value)),
        },
    }
}

/// Exceptions become the span's error tags, whatever its status; every event stays an event.
pub(crate) fn add_event(span: &mut Span, event: Event) {
    let text = |key: &str| {
        event.attributes.iter().find(|kv| kv.key.as_str() == key).map(|kv| plain(kv.value.clone()))
    };
    // tracing-opentelemetry names the event of `tracing::error!` after its message.
    let message = text("exception.message").or_else(|| {
        let is_error = text("level").is_some_and(|level| level == "ERROR");
        is_error.then(|| cut(event.name.clone()))
    });
    let found = [
        (trace::ERROR_MESSAGE, message),
        (trace::ERROR_TYPE, text("exception.type")),
        (trace::ERROR_STACK, text("exception.stacktrace")),
    ];
    for (key, value) in found {
        if let Some(value) = value.filter(|v| !v.is_empty()) {
            span.meta.insert(key, value);
        }
    }
    let attributes: Tags<Attribute> =
        event.attributes.into_iter().map(|kv| (to_text(kv.key), typed(kv.value))).collect();
    span.events.push(SpanEvent { time: ids::nanos(event.timestamp), name: cut(event.name), attributes });
}

/// What a status says of the error goes before what events said.
pub(crate) fn set_status(span: &mut Span, status: Status) {
    match status {
        Status::Error { description } => {
            span.error = true;
            if !description.is_empty() {
                span.meta.insert(trace::ERROR_MESSAGE, cut(description));
            }
        }
        Status::Ok => span.error = false,
        Status::Unset => {}
    }
}

pub(crate) fn link(link: Link) -> SpanLink {
    link_to(&link.span_context, link.attributes)
}

pub(crate) fn link_to(context: &SpanContext, attributes: Vec<KeyValue>) -> SpanLink {
    SpanLink {
        trace_id: ids::from_otel_trace(context.trace_id()),
        span_id: ids::from_otel_span(context.span_id()),
        attributes: attributes.into_iter().map(|kv| (to_text(kv.key), plain(kv.value))).collect(),
        tracestate: context.trace_state().header().into(),
        flags: (1 << 31) | u32::from(context.trace_flags().to_u8()),
    }
}

/// At most [`MAX_VALUE`] bytes of a text.
pub(crate) fn cut(text: Text) -> Text {
    if text.len() <= MAX_VALUE {
        return text;
    }
    let end = text.floor_char_boundary(MAX_VALUE);
    match text {
        Text::Borrowed(all) => Text::Borrowed(all.get(..end).unwrap_or_default()),
        Text::Owned(mut all) => {
            all.truncate(end);
            Text::Owned(all)
        }
    }
}

fn plain(value: Value) -> Text {
    cut(match value {
        Value::Bool(true) => "true".into(),
        Value::Bool(false) => "false".into(),
        Value::String(text) => String::from(text).into(),
        other => other.to_string().into(),
    })
}

/// A value as an event keeps it: with its type.
fn typed(value: Value) -> Attribute {
    match value {
        Value::Bool(yes) => Attribute::Bool(yes),
        Value::I64(n) => Attribute::Int(n),
        Value::F64(n) => Attribute::Double(n),
        Value::Array(Array::Bool(all)) => Attribute::List(all.into_iter().map(Attribute::Bool).collect()),
        Value::Array(Array::I64(all)) => Attribute::List(all.into_iter().map(Attribute::Int).collect()),
        Value::Array(Array::F64(all)) => Attribute::List(all.into_iter().map(Attribute::Double).collect()),
        Value::Array(Array::String(all)) => Attribute::List(
            all.into_iter().map(|text| Attribute::Text(cut(String::from(text).into()))).collect(),
        ),
        other => Attribute::Text(plain(other)),
    }
}

fn to_text(key: Key) -> Text {
    String::from(key).into()
}

fn kind_name(kind: &SpanKind) -> &'static str {
    match kind {
        SpanKind::Client => "client",
        SpanKind::Server => "server",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
        SpanKind::Internal => "internal",
    }
}

fn span_type<'a>(kind: &SpanKind, mut keys: impl Iterator<Item = &'a str>) -> &'static str {
    match kind {
        SpanKind::Server => "web",
        SpanKind::Producer | SpanKind::Consumer => "queue",
        SpanKind::Client if keys.any(|key| key.starts_with("db.")) => "db",
        SpanKind::Client => "http",
        SpanKind::Internal => "custom",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    use super::*;

    fn context(trace: u128, span: u64) -> SpanContext {
        SpanContext::new(
            TraceId::from(trace),
            SpanId::from(span),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        )
    }

    fn data(kind: SpanKind, attributes: Vec<KeyValue>) -> SpanData {
        let start_time = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        SpanData {
            span_context: context(0x000a_0000_0000_0000_000b, 0xc),
            parent_span_id: SpanId::from(0xd),
            parent_span_is_remote: false,
            span_kind: kind,
            name: "price_order".into(),
            start_time,
            end_time: start_time + Duration::from_millis(7),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    fn common() -> Common {
        Common { service: "orders".into(), env: Some("dev".into()), version: Some("7".into()) }
    }

    /// One line of all that says something.
    fn show(data: SpanData) -> String {
        let s = span(data, &common()).unwrap();
        let meta: Vec<_> = s.meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let metrics: Vec<_> = s.metrics.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let error = if s.error { " ERROR" } else { "" };
        let names = [&s.service, &s.name, &s.resource, &s.kind].map(AsRef::as_ref).join("|");
        format!("{names}{error} {} {}", meta.join(","), metrics.join(",")).trim_end().to_owned()
    }

    #[test]
    fn attributes() {
        let check =
            |kind, attributes: Vec<KeyValue>, expect: &str| assert_eq!(show(data(kind, attributes)), expect);
        check(
            SpanKind::Internal,
            vec![],
            "orders|price_order|price_order|custom span.kind=internal,_dd.origin=lambda,env=dev,version=7",
        );
        check(
            SpanKind::Client,
            vec![KeyValue::new("db.system.name", "postgresql"), KeyValue::new("operation.name", "pg.query")],
            "orders|pg.query|price_order|db span.kind=client,db.system.name=postgresql,_dd.origin=lambda,env=dev,version=7",
        );
        check(
            SpanKind::Server,
            vec![
                KeyValue::new("resource.name", "GET /"),
                KeyValue::new("service.name", "front"),
                KeyValue::new("span.type", "web2"),
                KeyValue::new("http.response.status_code", 200),
                KeyValue::new("items", 3),
                KeyValue::new("ratio", 0.5),
                KeyValue::new("nan", f64::NAN),
                KeyValue::new("gift", true),
                KeyValue::new("ids", Value::Array(vec![1i64, 2].into())),
            ],
            "front|price_order|GET /|web2 span.kind=server,http.status_code=200,nan=NaN,gift=true,ids=[1,2],\
             _dd.base_service=orders,_dd.origin=lambda,env=dev items=3,ratio=0.5",
        );
    }

    #[test]
    fn errors() {
        let failed = |status, events: Vec<Event>| {
            let mut data = data(SpanKind::Internal, vec![]);
            data.status = status;
            data.events.events = events;
            show(data)
                .replace("orders|price_order|price_order|custom", "")
                .replace(" span.kind=internal,_dd.origin=lambda,env=dev,version=7", "")
        };
        let event = |name: &'static str, attributes| Event::new(name, SystemTime::UNIX_EPOCH, attributes, 0);
        assert_eq!(failed(Status::error("no stock"), vec![]), " ERROR,error.message=no stock");
        assert_eq!(failed(Status::Unset, vec![event("sold", vec![])]), "");
        let exception = vec![
            KeyValue::new("exception.message", "empty"),
            KeyValue::new("exception.type", "StockError"),
            KeyValue::new("exception.stacktrace", "at main"),
        ];
        assert_eq!(
            failed(Status::error(""), vec![event("exception", exception)]),
            " ERROR,error.message=empty,error.type=StockError,error.stack=at main"
        );
        let logged = vec![KeyValue::new("level", "ERROR")];
        assert_eq!(
            failed(Status::error(""), vec![event("it broke", logged)]),
            " ERROR,error.message=it broke"
        );
    }

    #[test]
    fn ids_times_and_links() {
        let mut data = data(SpanKind::Internal, vec![]);
        data.links.links.push(Link::with_context(context(1 << 70 | 5, 6)));
        let span = span(data.clone(), &common()).unwrap();
        assert_eq!((span.trace_id.to_u128(), span.span_id.get()), (0x000a_0000_0000_0000_000b, 0xc));
        assert_eq!(span.parent_id.unwrap().get(), 0xd);
        assert_eq!((span.start.as_millis(), span.duration.as_millis()), (5000, 7));
        assert_eq!(span.links[0].trace_id.unwrap().to_u128(), 1 << 70 | 5);
        assert_eq!(span.links[0].flags, 0x8000_0001);
        data.span_context = context(1 << 64, 1);
        assert_eq!(super::span(data, &common()), None);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let text = cut(Text::Owned("ä".repeat(MAX_VALUE)));
        assert!(text.len() <= MAX_VALUE && text.chars().all(|c| c == 'ä'));
    }
}
