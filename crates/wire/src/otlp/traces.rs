//! OTLP traces to Datadog's spans, as in the agent.
//! <https://github.com/DataDog/datadog-agent/blob/main/pkg/trace/transform/transform.go>

use std::collections::HashMap;
use std::time::Duration;

use model::{
    Attribute, Chunk, Span, SpanEvent, SpanId, SpanLink, Tags, Text, TraceId, TracerInfo, UnixNanos, keys,
};
use protobuf::{Reader, Value as Field};

use super::container;
use super::names::{self, Named};
use super::value::{Attributes, Value};
use super::{DecodeError, Scope};

/// How spans are made. [`Settings::default`] is what the agent does unless told otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The service of spans whose resource names none.
    pub default_service: Text,
    /// The span's name is the operation, by the older rules of naming.
    pub span_name_as_resource_name: bool,
    /// Other names for operations, by the older rules of naming.
    pub span_name_remappings: Vec<(Text, Text)>,
    /// The older rules of naming hold.
    pub first_rules: bool,
    /// What `datadog.…` attributes do not say stays empty.
    pub ignore_missing_datadog_fields: bool,
    /// Spans are top-level by their kind.
    pub top_level_by_kind: bool,
    /// Of 100 traces, how many are kept.
    pub sampling_percentage: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_service: Text::default(),
            span_name_as_resource_name: false,
            span_name_remappings: Vec::new(),
            first_rules: false,
            ignore_missing_datadog_fields: false,
            top_level_by_kind: false,
            sampling_percentage: 100.0,
        }
    }
}

/// What a request held.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Decoded {
    /// One for each resource, with what it says of the tracer; each chunk is one trace.
    pub resources: Vec<(TracerInfo, Vec<Chunk>)>,
    /// Spans that could not be read or have no ids.
    pub dropped_spans: u64,
}

/// What decides that a trace is kept: the agent's hash and mark.
const HASH: u64 = 1_111_111_111_111_111_111;
const SAMPLED_BY_RULE: &str = "-9";

/// Reads an `ExportTraceServiceRequest`.
///
/// # Errors
/// When the body is not whole; what is wrong within it costs a span, or the rest of a scope.
pub fn decode(body: &[u8], settings: &Settings) -> Result<Decoded, DecodeError> {
    let (mut request, mut decoded) = (Reader::new(body), Decoded::default());
    while let Some((number, field)) = request.field()? {
        if number != 1 {
            continue;
        }
        let attributes = super::resource(field.message());
        let (mut chunks, mut places): (Vec<Chunk>, HashMap<TraceId, usize>) = Default::default();
        let mut dropped = 0;
        dropped += super::for_each(field.message(), |scope, message| {
            match Raw::read(message).ok().and_then(|raw| raw.into_span(&attributes, scope, settings)) {
                None => dropped += 1,
                Some(span) => {
                    let at = *places.entry(span.trace_id).or_insert(chunks.len());
                    if at == chunks.len() {
                        chunks.push(Chunk::default());
                    }
                    if let Some(chunk) = chunks.get_mut(at) {
                        chunk.spans.push(span);
                    }
                }
            }
        });
        decoded.dropped_spans += dropped;
        chunks.retain_mut(|chunk| is_kept(chunk, settings.sampling_percentage));
        if !chunks.is_empty() {
            decoded.resources.push((tracer(&attributes, settings), chunks));
        }
    }
    Ok(decoded)
}

/// Samples a trace, and says in its first span that it is kept, and which trace it is in full.
fn is_kept(chunk: &mut Chunk, percentage: f64) -> bool {
    let is_decided = chunk.spans.iter().any(|span| span.metrics.contains(keys::trace::SAMPLING_PRIORITY));
    let Some(first) = chunk.spans.first_mut() else { return false };
    let rate = (percentage / 100.0).clamp(0.0, 1.0);
    let limit = (rate * u64::MAX as f64) as u64;
    if !is_decided {
        if rate < 1.0 && first.trace_id.low().wrapping_mul(HASH) >= limit {
            return false;
        }
        first.metrics.insert(keys::trace::SAMPLING_PRIORITY, 1.0);
        first.metrics.insert("_dd.otlp_sr", rate);
        first.meta.insert(keys::trace::DECISION_MAKER, SAMPLED_BY_RULE);
    }
    if first.trace_id.high() != 0 && !first.meta.contains(keys::trace::TID) {
        first.meta.insert(keys::trace::TID, format!("{:016x}", first.trace_id.high()));
    }
    true
}

fn tracer(resource: &Attributes, settings: &Settings) -> TracerInfo {
    let text =
        |key: &str| resource.text(&[key]).map(|text| Text::Owned(text.into_owned())).unwrap_or_default();
    let version = text("telemetry.sdk.version");
    TracerInfo {
        language: text("telemetry.sdk.language"),
        tracer_version: if version.is_empty() { "otlp".into() } else { format!("otlp-{version}").into() },
        container_id: text("container.id"),
        container_tags: container::tags(resource),
        computed_stats: text("_dd.stats_computed") == "true",
        computed_top_level: settings.top_level_by_kind,
        ..TracerInfo::default()
    }
}

/// A span as it is sent.
#[derive(Default)]
struct Raw {
    trace_id: u128,
    span_id: u64,
    parent_id: u64,
    trace_state: Text,
    name: Text,
    kind: u64,
    start: u64,
    end: u64,
    attributes: Attributes,
    events: Vec<Event>,
    links: Vec<SpanLink>,
    status: u64,
    status_message: Text,
}

#[derive(Default)]
struct Event {
    time: u64,
    name: Text,
    attributes: Attributes,
}

const ERROR: u64 = 2;

impl Raw {
    fn read(mut message: Reader<'_>) -> Result<Self, DecodeError> {
        let mut raw = Self::default();
        while let Some((number, field)) = message.field()? {
            match number {
                1 => raw.trace_id = id(field),
                2 => raw.span_id = id(field) as u64,
                3 => raw.trace_state = field.text(),
                4 => raw.parent_id = id(field) as u64,
                5 => raw.name = field.text(),
                6 => raw.kind = field.uint(),
                7 => raw.start = field.uint(),
                8 => raw.end = field.uint(),
                9 => raw.attributes.read(field),
                11 => raw.events.push(event(field.message())?),
                13 => raw.links.push(link(field.message())?),
                15 => (raw.status, raw.status_message) = status(field.message())?,
                _ => {}
            }
        }
        Ok(raw)
    }

    fn into_span(self, resource: &Attributes, scope: &Scope, settings: &Settings) -> Option<Span> {
        let (trace_id, span_id) = (TraceId::from_u128(self.trace_id)?, SpanId::new(self.span_id)?);
        let mut span = Span::new("", trace_id, span_id, SpanId::new(self.parent_id));
        span.start = UnixNanos(self.start);
        span.duration = Duration::from_nanos(self.end.saturating_sub(self.start));
        self.name(&mut span, resource, scope, settings);
        self.tag(&mut span, resource, scope);
        self.fail(&mut span);
        self.overrule(&mut span, resource);
        if settings.top_level_by_kind {
            let is_top = span.parent_id.is_none() || matches!(self.kind, names::SERVER | names::CONSUMER);
            let is_measured = matches!(self.kind, names::CLIENT | names::PRODUCER);
            span.metrics.extend(is_top.then_some((keys::trace::DD_TOP_LEVEL, 1.0)));
            span.metrics.extend(is_measured.then_some((keys::trace::MEASURED, 1.0)));
        }
        span.events = self.events.into_iter().map(Event::into_event).collect();
        span.links = self.links;
        Some(span)
    }

    fn name(&self, span: &mut Span, resource: &Attributes, scope: &Scope, settings: &Settings) {
        let remapped = &settings.span_name_remappings;
        let first_rules = settings.first_rules || settings.span_name_as_resource_name || !remapped.is_empty();
        let named = Named {
            name: &self.name,
            kind: self.kind,
            scope: &scope.name,
            span: &self.attributes,
            resource,
            first_rules,
        };
        // A field that a `datadog.…` attribute is there for.
        let told = |key: &str, derive: &dyn Fn() -> String| -> Text {
            match self.attributes.text(&[key]).or_else(|| resource.text(&[key])) {
                Some(told) => told.into_owned().into(),
                None if settings.ignore_missing_datadog_fields => Text::default(),
                None => derive().into(),
            }
        };
        let operation = || match first_rules {
            true => named.first_operation(settings.span_name_as_resource_name),
            false => named.operation(),
        };
        let remap = |name: String| match remapped.iter().find(|(from, _)| *from == name) {
            Some((_, to)) => to.clone().into_owned(),
            None => name,
        };
        let service =
            || match self.attributes.text(&["service.name"]).or_else(|| resource.text(&["service.name"])) {
                Some(service) => service.into_owned(),
                None => settings.default_service.clone().into_owned(),
            };
        span.service = told("datadog.service", &service);
        span.name = told("datadog.name", &|| remap(operation()));
        span.resource = told("datadog.resource", &|| named.resource());
        span.kind = told("datadog.type", &|| named.kind_of_span());
        let kind = told("datadog.span.kind", &|| names::kind(self.kind).to_owned());
        if !kind.is_empty() {
            span.meta.push(keys::trace::SPAN_KIND.into(), kind);
        }
        let request = self.attributes.text(&["faas.invocation_id", "faas.execution"]);
        if let Some(request) = request.filter(|_| named.is_invocation()) {
            span.meta.insert(keys::lambda::REQUEST_ID, request.into_owned());
        }
        for (key, own, keys) in [
            (keys::trace::ENV, "datadog.env", &["deployment.environment.name", "deployment.environment"][..]),
            (keys::trace::VERSION, "datadog.version", &["service.version"]),
        ] {
            let derive = || named.text(keys).unwrap_or_default().into_owned();
            let value = told(own, &derive);
            if !value.is_empty() {
                span.meta.insert(key, value);
            }
        }
    }

    fn tag(&self, span: &mut Span, resource: &Attributes, scope: &Scope) {
        for (key, value) in self.attributes.iter() {
            match (value, number_key(key)) {
                (Value::Int(n), Some(key)) => put_number(span, key, *n as f64),
                (Value::Double(n), Some(key)) => put_number(span, key, *n),
                _ => put_text(span, key, value),
            }
        }
        let trace = format!("{}", span.trace_id);
        span.meta.insert("otel.trace_id", trace);
        let known = [
            ("otel.scope.name", &scope.name),
            ("otel.library.name", &scope.name),
            ("otel.scope.version", &scope.version),
            ("otel.library.version", &scope.version),
            ("otel.status_description", &self.status_message),
            ("w3c.tracestate", &self.trace_state),
        ];
        span.meta.extend(known.into_iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| (k, v.clone())));
        let status = match self.status {
            ERROR => "Error",
            1 => "Ok",
            _ => "Unset",
        };
        span.meta.insert("otel.status_code", status);
        let has_exception = self.events.iter().any(|event| event.name == EXCEPTION);
        span.meta.extend(has_exception.then_some(("_dd.span_events.has_exception", "true")));
        for (key, value) in resource.iter().chain(scope.attributes.iter()) {
            put_text(span, key, value);
        }
        let database = span.meta.get("db.namespace").filter(|_| !span.meta.contains("db.name")).cloned();
        span.meta.extend(database.map(|name| ("db.name", name)));
    }

    /// Says what failed: by the exception, the status, or the answer's code.
    fn fail(&self, span: &mut Span) {
        if self.status != ERROR {
            return;
        }
        span.error = true;
        for event in self.events.iter().filter(|event| event.name == EXCEPTION) {
            for (key, from) in [
                (keys::trace::ERROR_MSG, "exception.message"),
                (keys::trace::ERROR_TYPE, "exception.type"),
                (keys::trace::ERROR_STACK, "exception.stacktrace"),
            ] {
                if let Some(text) = event.attributes.text(&[from]) {
                    span.meta.insert(key, text.into_owned());
                }
            }
        }
        if span.meta.contains(keys::trace::ERROR_MSG) {
            return;
        }
        let code = span.metrics.get(keys::trace::HTTP_STATUS_CODE).map(|code| *code as u16);
        if !self.status_message.is_empty() {
            span.meta.insert(keys::trace::ERROR_MSG, self.status_message.clone());
        } else if let Some(code) = code {
            span.meta
                .insert(keys::trace::ERROR_MSG, format!("{code} {}", reason(code)).trim_end().to_owned());
        }
    }

    /// What attributes say of Datadog's own fields holds over what was derived.
    fn overrule(&self, span: &mut Span, resource: &Attributes) {
        let told = |key: &str| self.attributes.get(key).or_else(|| resource.get(key));
        if let Some(error) = told("datadog.error") {
            span.error = error.as_int() == Some(1) || *error == Value::Bool(true);
        }
        if let Some(code) = told("datadog.http_status_code").and_then(Value::as_int) {
            span.metrics.insert(keys::trace::HTTP_STATUS_CODE, code as f64);
        }
        for (key, from) in [
            (keys::trace::ERROR_MSG, "datadog.error.msg"),
            (keys::trace::ERROR_TYPE, "datadog.error.type"),
            (keys::trace::ERROR_STACK, "datadog.error.stack"),
        ] {
            if let Some(value) = told(from) {
                span.meta.insert(key, value.to_text().into_owned());
            }
        }
        // Said in the span's own fields by now.
        let told: Vec<Text> =
            span.meta.iter().map(|(key, _)| key.clone()).filter(|key| is_own(key)).collect();
        for key in told {
            span.meta.remove(&key);
        }
        span.metrics.remove("datadog.error");
        span.metrics.remove("datadog.http_status_code");
    }
}

const EXCEPTION: &str = "exception";

/// Attributes that name a field of Datadog's span.
fn is_own(key: &str) -> bool {
    const OWN: [&str; 8] =
        ["service", "name", "resource", "type", "span.kind", "env", "version", "http_status_code"];
    key.strip_prefix("datadog.").is_some_and(|rest| OWN.contains(&rest) || rest.starts_with("error"))
}

/// Datadog's name of an attribute; `None` for those that are fields of a span.
fn renamed(key: &str) -> Option<Text> {
    const NAMES: [(&str, &str); 11] = [
        ("client.address", "http.client_ip"),
        ("http.response.body.size", "http.response.content_length"),
        ("http.response.status_code", keys::trace::HTTP_STATUS_CODE),
        ("http.request.body.size", "http.request.content_length"),
        ("http.request.header.referrer", "http.referrer"),
        ("http.request.method", keys::trace::HTTP_METHOD),
        ("http.route", keys::trace::HTTP_ROUTE),
        ("network.protocol.version", "http.version"),
        ("server.address", "http.server_name"),
        ("url.full", keys::trace::HTTP_URL),
        ("user_agent.original", "http.useragent"),
    ];
    if let Some((_, name)) = NAMES.iter().find(|(from, _)| *from == key) {
        return Some(Text::Borrowed(name));
    }
    if let Some(header) = key.strip_prefix("http.request.header.") {
        return Some(format!("http.request.headers.{header}").into());
    }
    let is_field = ["service.name", "operation.name", "resource.name", "span.type"].contains(&key);
    (!is_field).then(|| Text::Owned(key.to_owned()))
}

fn number_key(key: &str) -> Option<Text> {
    match key {
        "sampling.priority" => Some(keys::trace::SAMPLING_PRIORITY.into()),
        key => renamed(key),
    }
}

fn put_number(span: &mut Span, key: Text, value: f64) {
    if !span.metrics.contains(&key) {
        span.metrics.push(key, value);
    }
}

/// What is there already stays: a span's own attributes come before its resource's.
fn put_text(span: &mut Span, key: &str, value: &Value) {
    let Some(name) = renamed(key) else { return };
    if key == "analytics.event" {
        let on = f64::from(u8::from(["true", "1"].contains(&&*value.to_text())));
        return put_number(span, "_dd1.sr.eausr".into(), on);
    }
    if !span.meta.contains(&name) && !span.metrics.contains(&name) {
        span.meta.push(name, value.to_text().into_owned().into());
    }
}

fn reason(code: u16) -> &'static str {
    const REASONS: [(u16, &str); 14] = [
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (408, "Request Timeout"),
        (409, "Conflict"),
        (422, "Unprocessable Entity"),
        (429, "Too Many Requests"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"),
        (502, "Bad Gateway"),
        (503, "Service Unavailable"),
        (504, "Gateway Timeout"),
    ];
    REASONS.iter().find(|(known, _)| *known == code).map(|(_, text)| *text).unwrap_or_default()
}

/// An id of any length; fewer bytes than it has are the lower ones.
pub(super) fn id(field: Field<'_>) -> u128 {
    field.bytes().iter().fold(0, |id, byte| id << 8 | u128::from(*byte))
}

fn event(mut message: Reader<'_>) -> Result<Event, DecodeError> {
    let mut event = Event::default();
    while let Some((number, field)) = message.field()? {
        match number {
            1 => event.time = field.uint(),
            2 => event.name = field.text(),
            3 => event.attributes.read(field),
            _ => {}
        }
    }
    Ok(event)
}

impl Event {
    fn into_event(self) -> SpanEvent {
        let mut attributes: Tags<Attribute> = Tags::new();
        for (key, value) in self.attributes.into_iter() {
            attributes.push(key, value.into_attribute());
        }
        SpanEvent { time: UnixNanos(self.time), name: self.name, attributes }
    }
}

fn link(mut message: Reader<'_>) -> Result<SpanLink, DecodeError> {
    let mut link = SpanLink {
        trace_id: None,
        span_id: None,
        attributes: Tags::new(),
        tracestate: Text::default(),
        flags: 0,
    };
    let mut attributes = Attributes::default();
    while let Some((number, field)) = message.field()? {
        match number {
            1 => link.trace_id = TraceId::from_u128(id(field)),
            2 => link.span_id = SpanId::new(id(field) as u64),
            3 => link.tracestate = field.text(),
            4 => attributes.read(field),
            // Bit 31 says in Datadog's links that the flags are known.
            6 => link.flags = (field.uint() as u32 & 0xff) | 1 << 31,
            _ => {}
        }
    }
    for (key, value) in attributes.into_iter() {
        link.attributes.push(key, value.to_text().into_owned().into());
    }
    Ok(link)
}

fn status(mut message: Reader<'_>) -> Result<(u64, Text), DecodeError> {
    let mut status = (0, Text::default());
    while let Some((number, field)) = message.field()? {
        match number {
            2 => status.1 = field.text(),
            3 => status.0 = field.uint(),
            _ => {}
        }
    }
    Ok(status)
}
