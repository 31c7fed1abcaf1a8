//! Log lines for Lambda and Datadog: one JSON object each, with the keys that Lambda filters by and the ids of
//! the trace at its root, where Datadog looks for them.
//! <https://docs.datadoghq.com/tracing/other_telemetry/connect_logs_and_traces/>

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use model::{TraceId, UnixNanos};
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context as LayerContext;

use crate::datadog::{Datadog, datadog};
use crate::ids;
use crate::invocation::Invocation;

/// What one line may take: CloudWatch splits at 256 KiB.
const MAX_TEXT: usize = 64 * 1024;

/// A `tracing_subscriber` layer that writes each event as one line of JSON on stdout:
///
/// `{"timestamp":…,"level":"INFO","message":…,"target":…,"requestId":…,"fields":{…},"dd.trace_id":…,"dd.span_id":…,"dd.service":…}`
///
/// Part of what [`crate::init`] installs; alone:
/// ```
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let subscriber = tracing_subscriber::registry().with(datadog_lambda_rs::log_layer());
/// ```
pub fn log_layer() -> LogLayer {
    LogLayer { datadog: datadog().clone() }
}

/// Made by [`log_layer`].
#[derive(Clone, Debug)]
pub struct LogLayer {
    pub(crate) datadog: Arc<Datadog>,
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: LayerContext<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.message.is_empty()
            && let Some(Value::String(error)) = fields.others.get("error")
        {
            // As `#[instrument(err)]` logs what a function returns.
            fields.message.clone_from(error);
        }
        let metadata = event.metadata();
        write(&self.datadog, metadata.level().as_str(), metadata.target(), &fields.message, &fields.others);
    }
}

/// Writes one line, with what there is to say of where it was written.
pub(crate) fn write(
    datadog: &Datadog,
    level: &str,
    target: &str,
    message: &str,
    fields: &Map<String, Value>,
) {
    let request_id = Invocation::current().map(|invocation| invocation.request_id.clone());
    let ids = log_fields_of(datadog);
    let line = Line {
        timestamp: ids::now().to_rfc3339_millis(),
        level,
        message,
        target,
        request_id: request_id.as_deref(),
        fields: (!fields.is_empty()).then_some(fields),
        ids: &ids,
    };
    datadog.out.line(&line.to_json());
}

/// What ties a log line to its trace, for those with a log format of their own: to be put at the root of each
/// line's object. `dd.trace_id`, `dd.span_id`, `dd.service`, `dd.env` and `dd.version`, as far as there are such;
/// empty with `DD_LOGS_INJECTION=false`.
///
/// ```
/// let mut line = serde_json::json!({"message": "order received"});
/// for (key, value) in datadog_lambda_rs::log_fields() {
///     line[key] = value.into();
/// }
/// ```
pub fn log_fields() -> BTreeMap<&'static str, String> {
    log_fields_of(datadog())
}

fn log_fields_of(datadog: &Datadog) -> BTreeMap<&'static str, String> {
    let settings = &datadog.settings;
    if !settings.logs_injection {
        return BTreeMap::new();
    }
    let span = Context::map_current(|context| context.span().span_context().clone());
    let all = [
        ("dd.trace_id", ids::from_otel_trace(span.trace_id()).map(|id| logged(id, settings.long_ids_logged))),
        ("dd.span_id", ids::from_otel_span(span.span_id()).map(|id| id.get().to_string())),
        ("dd.service", Some(datadog.common.service.to_string())),
        ("dd.env", settings.env.clone()),
        ("dd.version", settings.version.clone()),
    ];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Datadog joins a line to its trace by 32 digits of hex, or by the lower half of the id in decimal.
fn logged(id: TraceId, long: bool) -> String {
    if long && id.high() != 0 { id.to_string() } else { id.low().to_string() }
}

/// A line about nothing that runs.
pub(crate) fn plain_line(level: &'static str, message: &str, now: UnixNanos) -> String {
    let timestamp = now.to_rfc3339_millis();
    let target = env!("CARGO_CRATE_NAME");
    Line { timestamp, level, message, target, request_id: None, fields: None, ids: &BTreeMap::new() }
        .to_json()
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    message: &'a str,
    target: &'a str,
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<&'a Map<String, Value>>,
    #[serde(flatten)]
    ids: &'a BTreeMap<&'static str, String>,
}

impl Line<'_> {
    /// Nothing in a line can fail to be written.
    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What an event says: its message, and the rest.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
    text: usize,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        if self.text < MAX_TEXT {
            self.others.insert(field.name().to_owned(), value);
        }
    }

    fn set_text(&mut self, field: &Field, mut text: String) {
        text.truncate(text.floor_char_boundary(MAX_TEXT.saturating_sub(self.text)));
        self.text += text.len();
        if field.name() == "message" {
            self.message = text;
        } else {
            self.set(field, Value::String(text));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let (Some(error), true) = (cause, text.len() < MAX_TEXT) {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        self.set_text(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set_text(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::agent::lock;
    use crate::out::Out;
    use crate::settings::Settings;

    /// The lines that `act` logs, read back.
    fn lines(settings: Settings, act: impl FnOnce(&Arc<Datadog>)) -> Vec<Value> {
        let datadog = Arc::new(Datadog::new(settings, Out::Memory(Mutex::default())));
        let subscriber = tracing_subscriber::registry().with(LogLayer { datadog: datadog.clone() });
        tracing::subscriber::with_default(subscriber, || act(&datadog));
        let Out::Memory(lines) = &datadog.out else { unreachable!() };
        lock(lines).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn settings() -> Settings {
        let text = |text: &str| Some(text.to_owned());
        Settings { service: text("orders"), env: text("dev"), version: text("7"), ..Settings::default() }
    }

    #[test]
    fn a_line_has_its_keys_at_the_root() {
        let all = lines(settings(), |datadog| {
            let lambda = lambda_runtime::Context::default();
            let mut lambda = lambda;
            lambda.request_id = "req-1".to_owned();
            let invocation = Invocation::start(datadog, &Value::Null, None, &lambda, ids::now());
            let _in = invocation.otel_context().attach();
            let error: Box<dyn Error> = "gone".into();
            tracing::warn!(items = 3, gift = true, error = &*error, note = ?Some("x"), "order {} \"taken\"", 5);
        });
        // The first line is the enhanced metric of the invocation.
        let line = &all[1];
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "order 5 \"taken\"");
        assert_eq!(line["requestId"], "req-1");
        assert_eq!(
            line["fields"],
            serde_json::json!({"items": 3, "gift": true, "error": "gone", "note": "Some(\"x\")"})
        );
        let trace = line["dd.trace_id"].as_str().unwrap();
        assert!(trace.len() == 32 && trace.bytes().all(|b| b.is_ascii_hexdigit()), "{trace}");
        assert!(line["dd.span_id"].as_str().unwrap().parse::<u64>().unwrap() > 0);
        assert_eq!(
            (&line["dd.service"], &line["dd.env"], &line["dd.version"]),
            (&"orders".into(), &"dev".into(), &"7".into())
        );
        let time = line["timestamp"].as_str().unwrap();
        assert!(UnixNanos::parse_rfc3339(time).is_some(), "{time}");
        assert_eq!(line["target"], module_path!());
    }

    #[test]
    fn outside_of_an_invocation_there_are_no_ids() {
        let all = lines(settings(), |_| tracing::info!("up"));
        let keys: Vec<_> = all[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["dd.env", "dd.service", "dd.version", "level", "message", "target", "timestamp"]);
        let all = lines(Settings { logs_injection: false, ..settings() }, |_| tracing::info!("up"));
        let keys: Vec<_> = all[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["level", "message", "target", "timestamp"]);
    }

    #[test]
    fn an_error_alone_is_the_message() {
        let all = lines(settings(), |_| {
            tracing::error!(error = %"no stock");
            tracing::error!(error = %"no stock", "sold out");
        });
        assert_eq!(all[0]["message"], "no stock");
        assert_eq!(
            (&all[1]["message"], &all[1]["fields"]["error"]),
            (&"sold out".into(), &"no stock".into())
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "ä".repeat(MAX_TEXT);
        let all = lines(settings(), |_| tracing::info!(a = long.as_str(), b = long.as_str(), "{long}"));
        assert!(all[0].to_string().len() < 2 * MAX_TEXT);
    }
}
