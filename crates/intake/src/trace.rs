//! Traces put together: spans of many payloads, from several functions, as one tree.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::{SamplingPriority, Span, SpanId, Tags, Text, TraceId, UnixNanos};
use serde::{Serialize, Serializer};

use crate::id;
use crate::summary::TraceSummary;

/// One trace: all spans that arrived, depth first, siblings by start.
#[derive(Clone, Debug, Serialize)]
pub struct TraceView {
    #[serde(serialize_with = "id::trace")]
    pub trace_id: TraceId,
    #[serde(serialize_with = "id::time")]
    pub start: UnixNanos,
    pub start_ns: u64,
    /// From the first start to the last end.
    pub duration_ns: u64,
    pub services: BTreeSet<String>,
    /// Spans with an error.
    pub errors: usize,
    /// Parents that spans name and that did not arrive, in the order in which they stand in `spans`.
    pub missing_parents: Vec<String>,
    pub spans: Vec<SpanView>,
}

/// One span and its place in the tree.
#[derive(Clone, Debug, Serialize)]
pub struct SpanView {
    /// 0 for a root; 1 for a span below a parent that did not arrive.
    pub depth: u32,
    pub parent: Parent,
    #[serde(serialize_with = "id::span")]
    pub span_id: SpanId,
    #[serde(serialize_with = "id::span_option")]
    pub parent_id: Option<SpanId>,
    pub name: String,
    pub service: String,
    pub resource: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub start_ns: u64,
    /// From the start of the trace.
    pub offset_ns: u64,
    pub duration_ns: u64,
    pub error: bool,
    #[serde(serialize_with = "map")]
    pub meta: Tags<Text>,
    #[serde(serialize_with = "map")]
    pub metrics: Tags<f64>,
    pub links: Vec<LinkView>,
    pub events: Vec<EventView>,
    pub priority: Option<i8>,
    pub origin: String,
    /// How often it arrived: more than once is a sender's mistake or a resent request.
    pub copies: u32,
    /// The number of the request that brought it; 0 when none did.
    pub request: u64,
}

/// What is above a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Parent {
    /// It is a root.
    None,
    /// The span before it with a smaller depth.
    Present,
    /// A span that did not arrive.
    Missing,
    /// Itself, over one or more others: broken ids.
    Loop,
}

/// A pointer to another span.
#[derive(Clone, Debug, Serialize)]
pub struct LinkView {
    #[serde(serialize_with = "id::trace_option")]
    pub trace_id: Option<TraceId>,
    #[serde(serialize_with = "id::span_option")]
    pub span_id: Option<SpanId>,
    #[serde(serialize_with = "map")]
    pub attributes: Tags<Text>,
}

/// A moment within a span.
#[derive(Clone, Debug, Serialize)]
pub struct EventView {
    pub name: String,
    /// From the start of the trace.
    pub offset_ns: u64,
    #[serde(serialize_with = "map")]
    pub attributes: Tags<Text>,
}

/// A span as it arrived, with what its chunk says of it.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) span: Span,
    /// The high half of the trace id, when its chunk told it.
    pub(crate) high: Option<u64>,
    pub(crate) priority: Option<SamplingPriority>,
    pub(crate) origin: Text,
    pub(crate) request: u64,
}

/// All traces among spans with the same low half. Spans whose chunk did not tell the high half belong to the
/// only trace there is, or stand alone when there are several.
pub(crate) fn assemble(low: u64, arrived: &[Arrived]) -> Vec<TraceView> {
    apart(low, arrived).into_iter().map(|(id, spans)| tree(id, &spans)).collect()
}

/// The same traces in short.
pub(crate) fn summarise(low: u64, arrived: &[Arrived]) -> Vec<TraceSummary> {
    let summary = |(id, spans): (TraceId, Vec<&Arrived>)| {
        let once: Vec<&Span> = without_copies(&spans).0.values().map(|a| &a.span).collect();
        TraceSummary::new(id, spans.len(), &once)
    };
    apart(low, arrived).into_iter().map(summary).collect()
}

fn apart(low: u64, arrived: &[Arrived]) -> Vec<(TraceId, Vec<&Arrived>)> {
    let highs: BTreeSet<u64> = arrived.iter().filter_map(|a| a.high).collect();
    let only = if highs.len() > 1 { 0 } else { highs.first().copied().unwrap_or(0) };
    let mut groups: Vec<(u64, Vec<&Arrived>)> = Vec::new();
    for span in arrived {
        let high = span.high.unwrap_or(only);
        match groups.iter_mut().find(|(h, _)| *h == high) {
            Some((_, spans)) => spans.push(span),
            None => groups.push((high, vec![span])),
        }
    }
    groups.into_iter().filter_map(|(high, spans)| Some((TraceId::new(high, low)?, spans))).collect()
}

fn tree(trace_id: TraceId, arrived: &[&Arrived]) -> TraceView {
    let (spans, copies) = without_copies(arrived);
    let start = spans.values().map(|a| a.span.start).min().unwrap_or_default();
    let end = spans.values().map(|a| a.span.end()).max().unwrap_or_default();
    let mut view = TraceView {
        trace_id,
        start,
        start_ns: start.as_nanos(),
        duration_ns: end.as_nanos().saturating_sub(start.as_nanos()),
        services: spans.values().map(|a| a.span.service.to_string()).collect(),
        errors: spans.values().filter(|a| a.span.error).count(),
        missing_parents: Vec::new(),
        spans: Vec::with_capacity(spans.len()),
    };
    for (id, depth, parent) in walk(&spans) {
        let Some(arrived) = spans.get(&id) else { continue };
        let copies = copies.get(&id).copied().unwrap_or(1);
        let span = SpanView::new(arrived, start, depth, parent, copies);
        let missing = span.parent_id.filter(|_| parent == Parent::Missing).map(|id| id.get().to_string());
        view.missing_parents.extend(missing.filter(|id| view.missing_parents.last() != Some(id)));
        view.spans.push(span);
    }
    view
}

type ById<'a> = HashMap<SpanId, &'a Arrived>;

/// The last that arrived under each id, and how many did.
fn without_copies<'a>(arrived: &[&'a Arrived]) -> (ById<'a>, HashMap<SpanId, u32>) {
    let (mut spans, mut copies) = (HashMap::new(), HashMap::new());
    for span in arrived {
        spans.insert(span.span.span_id, *span);
        *copies.entry(span.span.span_id).or_insert(0) += 1;
    }
    (spans, copies)
}

/// Every span once: roots and orphans by start with their descendants, then what hangs in loops. Not recursive:
/// a trace may be as deep as it has spans.
fn walk(spans: &ById<'_>) -> Vec<(SpanId, u32, Parent)> {
    let mut sorted: Vec<&Span> = spans.values().map(|a| &a.span).collect();
    sorted.sort_by_key(|span| (span.start, span.span_id));
    let mut children: HashMap<SpanId, Vec<SpanId>> = HashMap::new();
    let mut tops: Vec<(Option<SpanId>, Vec<SpanId>)> = Vec::new();
    for span in &sorted {
        match span.parent_id {
            Some(parent) if spans.contains_key(&parent) => {
                children.entry(parent).or_default().push(span.span_id);
            }
            // Orphans of one parent stand together, at the place of the first.
            Some(parent) => match tops.iter_mut().find(|(missing, _)| *missing == Some(parent)) {
                Some((_, orphans)) => orphans.push(span.span_id),
                None => tops.push((Some(parent), vec![span.span_id])),
            },
            None => tops.push((None, vec![span.span_id])),
        }
    }
    let mut order = Vec::with_capacity(spans.len());
    let mut seen = HashSet::new();
    for (missing, group) in tops {
        let (depth, parent) = if missing.is_some() { (1, Parent::Missing) } else { (0, Parent::None) };
        for id in group {
            descend((id, depth, parent), &children, &mut seen, &mut order);
        }
    }
    for span in sorted {
        descend((span.span_id, 0, Parent::Loop), &children, &mut seen, &mut order);
    }
    order
}

fn descend(
    top: (SpanId, u32, Parent),
    children: &HashMap<SpanId, Vec<SpanId>>,
    seen: &mut HashSet<SpanId>,
    order: &mut Vec<(SpanId, u32, Parent)>,
) {
    let mut stack = vec![top];
    while let Some((id, depth, parent)) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        order.push((id, depth, parent));
        let below = children.get(&id).map(Vec::as_slice).unwrap_or_default();
        stack.extend(below.iter().rev().map(|child| (*child, depth + 1, Parent::Present)));
    }
}

impl SpanView {
    fn new(arrived: &Arrived, trace_start: UnixNanos, depth: u32, parent: Parent, copies: u32) -> Self {
        let Arrived { span, priority, origin, request, .. } = arrived;
        let offset = |time: UnixNanos| time.as_nanos().saturating_sub(trace_start.as_nanos());
        let links = span.links.iter().map(|link| LinkView {
            trace_id: link.trace_id,
            span_id: link.span_id,
            attributes: link.attributes.clone(),
        });
        let events = span.events.iter().map(|event| EventView {
            name: event.name.to_string(),
            offset_ns: offset(event.time),
            attributes: event.attributes.iter().map(|(k, v)| (k.clone(), v.to_string())).collect(),
        });
        Self {
            depth,
            parent,
            span_id: span.span_id,
            parent_id: span.parent_id,
            name: span.name.to_string(),
            service: span.service.to_string(),
            resource: span.resource.to_string(),
            kind: span.kind.to_string(),
            start_ns: span.start.as_nanos(),
            offset_ns: offset(span.start),
            duration_ns: u64::try_from(span.duration.as_nanos()).unwrap_or(u64::MAX),
            error: span.error,
            meta: span.meta.clone(),
            metrics: span.metrics.clone(),
            links: links.collect(),
            events: events.collect(),
            priority: priority.map(SamplingPriority::as_i8),
            origin: origin.to_string(),
            copies,
            request: *request,
        }
    }

    /// A text tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.meta.get(key).map(AsRef::as_ref)
    }

    /// When it ended, in nanoseconds since 1970.
    pub fn end_ns(&self) -> u64 {
        self.start_ns.saturating_add(self.duration_ns)
    }
}

impl TraceView {
    /// The span with this id.
    pub fn span(&self, id: SpanId) -> Option<&SpanView> {
        self.spans.iter().find(|span| span.span_id == id)
    }

    /// The spans directly below this one, by start.
    pub fn children(&self, id: SpanId) -> impl Iterator<Item = &SpanView> {
        self.spans.iter().filter(move |span| span.parent_id == Some(id))
    }
}

fn map<V: Serialize, S: Serializer>(tags: &Tags<V>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(tags.iter())
}

#[cfg(test)]
mod tests {
    use super::{Arrived, assemble};
    use model::{Span, SpanId, TraceId, UnixNanos};
    use std::time::Duration;

    /// `id<parent@start`, parent 0 for none; an optional `^high`.
    fn arrived(text: &str) -> Arrived {
        let (text, high) = match text.split_once('^') {
            Some((text, high)) => (text, Some(high.parse().unwrap())),
            None => (text, None),
        };
        let (id, rest) = text.split_once('<').unwrap();
        let (parent, start) = rest.split_once('@').unwrap();
        let ids = |text: &str| SpanId::new(text.parse().unwrap());
        let mut span = Span::new("work", TraceId::new(0, 9).unwrap(), ids(id).unwrap(), ids(parent));
        span.start = UnixNanos(start.parse().unwrap());
        span.duration = Duration::from_nanos(10);
        Arrived { span, high, priority: None, origin: "".into(), request: 1 }
    }

    fn check(spans: &str, want: &str) {
        let spans: Vec<_> = spans.split_whitespace().map(arrived).collect();
        let traces = assemble(9, &spans).into_iter().map(|trace| {
            let spans: Vec<_> = trace
                .spans
                .iter()
                .map(|s| {
                    let copies = if s.copies > 1 { format!("x{}", s.copies) } else { String::new() };
                    format!("{}{}:{:?}{copies}", "-".repeat(s.depth as usize), s.span_id.get(), s.parent)
                })
                .collect();
            format!("{:x} {}", trace.trace_id.high(), spans.join(" "))
        });
        assert_eq!(traces.collect::<Vec<_>>().join("\n"), want);
    }

    #[test]
    fn spans_become_a_tree_in_any_order() {
        check("3<1@5 1<0@1 2<1@2 4<2@3", "0 1:None -2:Present --4:Present -3:Present");
        check("4<2@3 2<1@2 1<0@1 3<1@5", "0 1:None -2:Present --4:Present -3:Present");
    }

    #[test]
    fn orphans_stand_together_under_their_missing_parent() {
        check("2<1@2 3<7@3 4<1@4 5<2@5 6<0@1", "0 6:None -2:Missing --5:Present -4:Missing -3:Missing");
        let spans: Vec<_> = ["2<1@2", "3<7@3", "4<1@4"].map(arrived).into();
        assert_eq!(assemble(9, &spans)[0].missing_parents, ["1", "7"]);
    }

    #[test]
    fn loops_end() {
        check("1<1@1", "0 1:Loop");
        check("1<2@1 2<1@2 3<2@3", "0 1:Loop -2:Present --3:Present");
    }

    #[test]
    fn a_span_that_came_twice_is_there_once() {
        check("1<0@1 1<0@1 2<1@2", "0 1:Nonex2 -2:Present");
    }

    #[test]
    fn the_high_half_comes_from_any_chunk() {
        check("1<0@1^5 2<1@2", "5 1:None -2:Present");
        check("1<0@1^5 2<1@2^6 3<1@3", "5 1:None\n6 -2:Missing\n0 -3:Missing");
    }

    #[test]
    fn a_deep_trace_does_not_overflow() {
        let spans: Vec<_> = (1..50_000).map(|n| arrived(&format!("{n}<{}@{n}", n - 1))).collect();
        let traces = assemble(9, &spans);
        assert_eq!(traces[0].spans.last().unwrap().depth, 49_998);
        assert_eq!((traces[0].start_ns, traces[0].duration_ns), (1, 50_008));
    }
}
