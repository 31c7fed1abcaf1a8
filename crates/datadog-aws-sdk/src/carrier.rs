//! What a call tells whoever gets what it sends: the headers of the trace context, in the forms that requests
//! have them in.

use std::collections::{BTreeMap, HashMap};

use model::keys::headers;
use model::{SamplingPriority, SpanId, TraceId};
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, global};
use propagation::{Style, TraceContext};

/// Headers by name.
pub(crate) type Headers = BTreeMap<String, String>;

/// The headers of one context, and the few without which there would be no trace: for where there is no room
/// for all, such as much baggage.
#[derive(Debug, Default)]
pub(crate) struct Carrier {
    pub(crate) all: Headers,
    pub(crate) ids: Headers,
}

impl Carrier {
    /// As the global propagator writes them, and in `styles` where that does not write Datadog's. `None` when there
    /// is no trace.
    pub(crate) fn of(context: &Context, styles: &[Style]) -> Option<Self> {
        let own = trace_context(context)?;
        let mut all = HashMap::new();
        global::get_text_map_propagator(|propagator| propagator.inject_context(context, &mut all));
        if !all.contains_key(headers::TRACE_ID) {
            propagation::inject(&own, styles, &mut all);
        }
        if all.is_empty() {
            return None;
        }
        let all: Headers = all.into_iter().collect();
        let mut ids = all.clone();
        if all.contains_key(headers::TRACE_ID) {
            let needed = [headers::TRACE_ID, headers::PARENT_ID, headers::SAMPLING_PRIORITY, headers::TAGS];
            ids.retain(|name, _| needed.contains(&name.as_str()));
        } else {
            ids.remove(headers::BAGGAGE);
        }
        Some(Self { all, ids })
    }

    /// Both as JSON objects, first the one that is to be preferred.
    pub(crate) fn texts(&self) -> [String; 2] {
        [json(&self.all), json(&self.ids)]
    }
}

/// Headers as a JSON object of strings.
pub(crate) fn json(headers: &Headers) -> String {
    serde_json::to_string(headers).unwrap_or_default()
}

fn trace_context(context: &Context) -> Option<TraceContext> {
    let span = context.span();
    let span = span.span_context();
    let trace_id = TraceId::from_u128(u128::from_be_bytes(span.trace_id().to_bytes()))?;
    let span_id = SpanId::new(u64::from_be_bytes(span.span_id().to_bytes()))?;
    let mut context = TraceContext::new(trace_id, Some(span_id));
    let sampled = span.is_sampled();
    context.priority = Some(if sampled { SamplingPriority::AutoKeep } else { SamplingPriority::AutoReject });
    Some(context)
}
