//! Trace context in and out of headers.
//!
//! [`extract`] reads a [`TraceContext`] out of a [`Carrier`] (HTTP headers, message attributes, the JSON
//! object `_datadog`), [`inject`] writes one. One file per header style, each with `read` and `write`.
//! Not here: where a Lambda event keeps its carrier (that is `trigger`).
//!
//! ```
//! use propagation::{extract, inject, DEFAULT_STYLES};
//!
//! let headers = vec![("X-Datadog-Trace-Id", "123"), ("X-Datadog-Parent-Id", "456")];
//! let context = extract(&headers, DEFAULT_STYLES).unwrap();
//! let mut out: Vec<(String, String)> = Vec::new();
//! inject(&context, DEFAULT_STYLES, &mut out);
//! assert_eq!(out[0], ("x-datadog-trace-id".to_owned(), "123".to_owned()));
//! ```

use std::borrow::Cow;

use model::{SamplingPriority, SpanId, SpanLink, Tags, Text, TraceId, keys};

mod b3;
mod baggage;
mod carrier;
mod datadog;
mod text;
mod tracecontext;
mod tracestate;
mod xray;

pub use baggage::baggage;
pub use xray::{XRAY_HEADER, XRay};

/// Where a trace comes from: what one service tells the next.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceContext {
    pub trace_id: TraceId,
    /// The caller's span: the parent of what is started here. Absent in a context that names only a trace.
    pub span_id: Option<SpanId>,
    /// `None` when the caller did not decide.
    pub priority: Option<SamplingPriority>,
    pub origin: Option<Text>,
    /// Tags for the first span that is started here: `_dd.p.*`, which travel on, except `_dd.p.tid`, which
    /// is the high half of `trace_id`; and `_dd.parent_id` (16 hex digits), which does not: the last span
    /// that a Datadog tracer made before this one, when `span_id` is another vendor's.
    pub tags: Tags<Text>,
    /// The W3C `tracestate` members of other vendors, to be passed on.
    pub tracestate: Option<Text>,
    pub baggage: Tags<Text>,
    /// Contexts of other traces that the carrier held beside this one.
    pub links: Vec<SpanLink>,
}

impl TraceContext {
    /// A context with its ids, and everything else empty.
    pub fn new(trace_id: TraceId, span_id: Option<SpanId>) -> Self {
        Self {
            trace_id,
            span_id,
            priority: None,
            origin: None,
            tags: Tags::new(),
            tracestate: None,
            baggage: Tags::new(),
            links: Vec::new(),
        }
    }

    /// This context as a link from a span of another trace. `None` when it does not name a span.
    pub fn to_link(&self) -> Option<SpanLink> {
        let sampled = self.priority.is_none_or(SamplingPriority::is_keep);
        Some(SpanLink {
            trace_id: Some(self.trace_id),
            span_id: Some(self.span_id?),
            attributes: Tags::new(),
            tracestate: tracestate::write(self).map(Text::Owned).unwrap_or_default(),
            flags: FLAGS_SET | u32::from(sampled),
        })
    }
}

/// Bit 31 of a link's flags says that the others mean something.
const FLAGS_SET: u32 = 1 << 31;

/// Something that holds headers. Names are given in lower case and found in any.
pub trait Carrier {
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// Something that headers can be written to.
pub trait CarrierMut {
    fn set(&mut self, name: &'static str, value: String);
}

/// A header format. The order in a list is the order of trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Datadog,
    TraceContext,
    /// One header.
    B3,
    /// Several headers.
    B3Multi,
    /// AWS X-Ray's header, by whomever it was made.
    XRay,
    /// Travels beside a trace context, and names no trace.
    Baggage,
}

/// What is read and written when nothing is set.
pub const DEFAULT_STYLES: &[Style] = &[Style::Datadog, Style::TraceContext, Style::Baggage];

impl Style {
    /// Each of them.
    pub const ALL: [Self; 6] =
        [Self::Datadog, Self::TraceContext, Self::B3, Self::B3Multi, Self::XRay, Self::Baggage];

    /// As `DD_TRACE_PROPAGATION_STYLE` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Datadog => "datadog",
            Self::TraceContext => "tracecontext",
            Self::B3 => "b3",
            Self::B3Multi => "b3multi",
            Self::XRay => "xray",
            Self::Baggage => "baggage",
        }
    }

    /// The style of a name, in any case. `None` for `none` and for what is unknown.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.trim();
        let old = name.eq_ignore_ascii_case("b3 single header").then_some(Self::B3);
        Self::ALL.into_iter().find(|style| style.name().eq_ignore_ascii_case(name)).or(old)
    }

    /// A list as in `DD_TRACE_PROPAGATION_STYLE`: comma-separated, each style once. `none` gives no style.
    pub fn parse_list(text: &str) -> Vec<Self> {
        let mut styles = Vec::new();
        for style in text.split(',').filter_map(Self::parse) {
            if !styles.contains(&style) {
                styles.push(style);
            }
        }
        styles
    }

    fn read<C: Carrier + ?Sized>(self, carrier: &C) -> Option<TraceContext> {
        match self {
            Self::Datadog => datadog::read(carrier),
            Self::TraceContext => tracecontext::read(carrier),
            Self::B3 => b3::read(carrier),
            Self::B3Multi => b3::read_multi(carrier),
            Self::XRay => xray::read(carrier),
            Self::Baggage => None,
        }
    }

    fn write<C: CarrierMut + ?Sized>(self, context: &TraceContext, carrier: &mut C) {
        match self {
            Self::Datadog => datadog::write(context, carrier),
            Self::TraceContext => tracecontext::write(context, carrier),
            Self::B3 => b3::write(context, carrier),
            Self::B3Multi => b3::write_multi(context, carrier),
            Self::XRay => xray::write(context, carrier),
            Self::Baggage => baggage::write(&context.baggage, carrier),
        }
    }
}

/// What is done with the caller's context: `DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Behavior {
    /// The caller's trace goes on here.
    #[default]
    Continue,
    /// A new trace begins, with a link to the caller's, and with its baggage.
    Restart,
    /// The caller is not looked at.
    Ignore,
}

impl Behavior {
    /// As the setting spells it. `None` for what is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [("continue", Self::Continue), ("restart", Self::Restart), ("ignore", Self::Ignore)];
        all.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text.trim())).map(|(_, behavior)| behavior)
    }
}

/// Reads the context that a carrier holds, or `None` when it holds none that is valid.
///
/// The first style that gives one is the primary. `tracecontext` of the same trace adds its `tracestate`,
/// and its span id wins, since the last hop may have been another vendor's. A context of another trace
/// becomes a link.
pub fn extract<C: Carrier + ?Sized>(carrier: &C, styles: &[Style]) -> Option<TraceContext> {
    let mut found = styles.iter().filter_map(|&style| Some((style, style.read(carrier)?)));
    let (_, mut primary) = found.next()?;
    for (style, other) in found {
        if !same_trace(&primary, &other) {
            primary.links.extend(terminated(style, &other));
        } else if style == Style::TraceContext {
            let datadog = || styles.contains(&Style::Datadog).then(|| datadog::read(carrier)).flatten();
            merge(&mut primary, other, datadog);
        }
    }
    add_baggage(&mut primary, carrier, styles);
    Some(primary)
}

/// Like [`extract`], but the first style that gives a context has the only word:
/// `DD_TRACE_PROPAGATION_EXTRACT_FIRST`. Baggage is read all the same.
pub fn extract_first<C: Carrier + ?Sized>(carrier: &C, styles: &[Style]) -> Option<TraceContext> {
    let mut context = styles.iter().find_map(|style| style.read(carrier))?;
    add_baggage(&mut context, carrier, styles);
    Some(context)
}

fn add_baggage<C: Carrier + ?Sized>(context: &mut TraceContext, carrier: &C, styles: &[Style]) {
    if styles.contains(&Style::Baggage) {
        context.baggage = baggage(carrier);
    }
}

/// Writes a context in every style given. `tracecontext` needs a span id: without one it is left out.
pub fn inject<C: CarrierMut + ?Sized>(context: &TraceContext, styles: &[Style], carrier: &mut C) {
    for style in styles {
        style.write(context, carrier);
    }
}

/// A 64-bit context is of the same trace as a 128-bit one with its low half.
fn same_trace(a: &TraceContext, b: &TraceContext) -> bool {
    let (a, b) = (a.trace_id, b.trace_id);
    a.low() == b.low() && (a.high() == b.high() || a.high() == 0 || b.high() == 0)
}

/// Adds what the W3C headers say of the same trace, as Datadog's tracers do.
fn merge(primary: &mut TraceContext, w3c: TraceContext, datadog: impl FnOnce() -> Option<TraceContext>) {
    if primary.trace_id.high() == 0 {
        primary.trace_id = w3c.trace_id;
    }
    if primary.tracestate.is_none() {
        primary.tracestate = w3c.tracestate;
    }
    if primary.span_id == w3c.span_id {
        return;
    }
    let last_datadog = w3c.tags.get(keys::trace::PARENT_ID).cloned();
    let last_datadog = last_datadog.or_else(|| Some(datadog()?.span_id?.to_string().into()));
    if let Some(id) = last_datadog {
        primary.tags.insert(keys::trace::PARENT_ID, id);
    }
    primary.span_id = w3c.span_id;
}

fn terminated(style: Style, context: &TraceContext) -> Option<SpanLink> {
    let mut link = context.to_link()?;
    link.attributes.insert("reason", "terminated_context");
    link.attributes.insert("context_headers", style.name());
    Some(link)
}

#[cfg(test)]
mod tests;
