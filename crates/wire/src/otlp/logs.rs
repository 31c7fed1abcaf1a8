//! OTLP log records to JSON lines, as the function itself would print them: the body is the message, what
//! places it stands under Datadog's names, and the attributes beside it.
//! <https://opentelemetry.io/docs/specs/otel/logs/data-model/>

use model::{LogLine, Text, TraceId, UnixNanos};
use protobuf::Reader;
use serde_json::{Map, Value as Json};

use super::metrics::{Settings, resource_tags};
use super::traces::id;
use super::value::{Attributes, Value};
use super::{DecodeError, Scope};

/// What a request held.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Decoded {
    /// When each was printed (`None`: not told), and the line.
    pub lines: Vec<(Option<UnixNanos>, LogLine)>,
    /// Records that could not be read.
    pub dropped: u64,
}

/// Reads an `ExportLogsServiceRequest`.
///
/// # Errors
/// When the body is not whole; what is wrong within it costs a record, or the rest of a scope.
pub fn decode(body: &[u8]) -> Result<Decoded, DecodeError> {
    let (mut request, mut decoded) = (Reader::new(body), Decoded::default());
    while let Some((number, field)) = request.field()? {
        if number != 1 {
            continue;
        }
        let resource = super::resource(field.message());
        let tags = resource_tags(&resource, Settings::default()).join(",");
        let mut lost = 0;
        lost += super::for_each(field.message(), |scope, message| match Record::read(message) {
            Ok(record) => decoded.lines.push(record.into_line(&resource, scope, &tags)),
            Err(_) => lost += 1,
        });
        decoded.dropped += lost;
    }
    Ok(decoded)
}

#[derive(Default)]
struct Record {
    time: u64,
    observed: u64,
    severity: u64,
    severity_text: Text,
    body: Option<Value>,
    attributes: Attributes,
    trace_id: u128,
    span_id: u64,
    event_name: Text,
}

impl Record {
    fn read(mut message: Reader<'_>) -> Result<Self, DecodeError> {
        let mut record = Self::default();
        while let Some((number, field)) = message.field()? {
            match number {
                1 => record.time = field.uint(),
                2 => record.severity = field.uint(),
                3 => record.severity_text = field.text(),
                5 => record.body = Value::read(field.message()),
                6 => record.attributes.read(field),
                9 => record.trace_id = id(field),
                10 => record.span_id = id(field) as u64,
                11 => record.observed = field.uint(),
                12 => record.event_name = field.text(),
                _ => {}
            }
        }
        Ok(record)
    }

    fn into_line(self, resource: &Attributes, scope: &Scope, tags: &str) -> (Option<UnixNanos>, LogLine) {
        let level = self.level();
        let request = self.attributes.text(&["faas.invocation_id"]).map(std::borrow::Cow::into_owned);
        let mut line = Map::new();
        let mut put = |key: &str, value: Json| {
            line.insert(key.to_owned(), value);
        };
        let mut own_tags = None;
        for (key, value) in resource.iter().chain(scope.attributes.iter()) {
            put(key, value.clone().into_json());
        }
        for (key, value) in self.attributes.into_iter() {
            match (&*key, &value) {
                ("ddtags", Value::Text(tags)) => own_tags = Some(tags.clone()),
                _ => put(&key, value.into_json()),
            }
        }
        // A body of parts is logged as such; the names below are Datadog's whatever it says.
        let message = match self.body {
            Some(Value::Json(Json::Object(parts))) => {
                parts.into_iter().for_each(|(key, value)| put(&key, value));
                None
            }
            body => Some(body.map_or(Json::Null, Value::into_json)),
        };
        match message {
            Some(Json::String(text)) => put("message", text.into()),
            Some(Json::Null) | None => {}
            Some(other) => put("message", other.to_string().into()),
        }
        put("status", level.into());
        if let Some(trace) = TraceId::from_u128(self.trace_id) {
            put("dd.trace_id", trace.low().to_string().into());
            put("otel.trace_id", trace.to_string().into());
        }
        if self.span_id != 0 {
            put("dd.span_id", self.span_id.to_string().into());
            put("otel.span_id", format!("{:016x}", self.span_id).into());
        }
        let texts = [
            ("otel.severity_text", &self.severity_text),
            ("otel.event_name", &self.event_name),
            ("otel.scope.name", &scope.name),
        ];
        for (key, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            put(key, text.clone().into_owned().into());
        }
        // As Lambda's own JSON lines name their invocation.
        if let Some(request) = request {
            put("requestId", request.into());
        }
        if self.severity != 0 {
            put("otel.severity_number", self.severity.into());
        }
        let all_tags: Vec<&str> =
            [Some(tags), own_tags.as_deref()].into_iter().flatten().filter(|tags| !tags.is_empty()).collect();
        if !all_tags.is_empty() {
            put("ddtags", all_tags.join(",").into());
        }
        let time = [self.time, self.observed].into_iter().find(|time| *time != 0).map(UnixNanos);
        (time, LogLine::Json(Json::Object(line).to_string()))
    }

    /// Datadog's word for the level.
    fn level(&self) -> &'static str {
        let told = model::LogLevel::parse(&self.severity_text);
        match (told, self.severity) {
            (Some(level), _) => level.as_str(),
            (None, 0) => "info",
            (None, ..=4) => "trace",
            (None, 5..=8) => "debug",
            (None, 9..=12) => "info",
            (None, 13..=16) => "warn",
            (None, 17..=20) => "error",
            (None, _) => "critical",
        }
    }
}
