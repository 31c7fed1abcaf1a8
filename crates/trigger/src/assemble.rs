//! Inferred spans as they are sent, once the invocation that they led to is known.
//!
//! Called at the end of an invocation, by whoever makes its `aws.lambda` span.

use std::time::Duration;

use model::keys::{lambda, trace};
use model::{Span, SpanId, Text, UnixNanos};

use crate::{InferredEnd, InferredSpan, Invocation};

/// The longest that any source keeps a message (Kinesis: a year). A start before that is an error of the
/// producer's clock or unit.
const MAX_AGE: Duration = Duration::from_secs(366 * 24 * 3600);

/// Makes spans, outermost first, each the parent of the next; the parent of `aws.lambda` is the last one.
/// There are as many as the shorter of `inferred` and `ids`.
///
/// The clocks of the services and of the function differ, and so do their resolutions: a start that lies
/// behind that of the next span is moved to it, and no duration is negative.
pub fn assemble(inferred: &[InferredSpan], ids: &[SpanId], invocation: &Invocation<'_>) -> Vec<Span> {
    let starts = starts(inferred, invocation.start);
    let callees = inferred.iter().skip(1).map(|next| &*next.service).chain([invocation.service]);
    let mut parent = invocation.parent_id;
    let mut spans = Vec::with_capacity(inferred.len());
    for (((source, id), start), callee) in inferred.iter().zip(ids).zip(starts).zip(callees) {
        let mut span = Span::new(source.name.clone(), invocation.trace_id, *id, parent);
        span.service = source.service.clone();
        span.resource = source.resource.clone();
        span.kind = source.kind.clone();
        span.start = start;
        span.duration = end(source.end, invocation).since(start);
        span.error = invocation.error;
        span.meta = source.tags.clone();
        add_common_tags(&mut span, source, callee, invocation);
        parent = Some(*id);
        spans.push(span);
    }
    spans
}

/// When each span starts: in order, not after the invocation, not absurdly before it.
fn starts(inferred: &[InferredSpan], invoked: UnixNanos) -> Vec<UnixNanos> {
    let mut latest = invoked;
    let mut starts: Vec<_> = inferred
        .iter()
        .rev()
        .map(|span| {
            let absurd = span.start.0 == 0 || invoked.since(span.start) > MAX_AGE;
            latest = if absurd { latest } else { latest.min(span.start) };
            latest
        })
        .collect();
    starts.reverse();
    starts
}

fn end(end: InferredEnd, invocation: &Invocation<'_>) -> UnixNanos {
    match end {
        InferredEnd::InvocationStart => invocation.start,
        InferredEnd::InvocationEnd => invocation.end.max(invocation.start),
        InferredEnd::At(moment) => moment.min(invocation.start),
    }
}

fn add_common_tags(span: &mut Span, source: &InferredSpan, callee: &str, invocation: &Invocation<'_>) {
    // The function's own tags do not hold for a managed service: the backend is told not to add them.
    span.meta.insert(lambda::INFERRED_TAG_SOURCE, "self");
    let sync = if source.end == InferredEnd::InvocationEnd { "sync" } else { "async" };
    let defaults: [(&'static str, Text); 5] = [
        (lambda::INFERRED_SYNCHRONICITY, Text::Borrowed(sync)),
        (trace::SPAN_KIND, Text::Borrowed("server")),
        (trace::OPERATION_NAME, source.name.clone()),
        (trace::RESOURCE_NAMES, source.resource.clone()),
        (lambda::REQUEST_ID, Text::Owned(invocation.request_id.to_owned())),
    ];
    for (key, value) in defaults {
        if !span.meta.contains(key) {
            span.meta.insert(key, value);
        }
    }
    span.meta.insert(trace::PEER_SERVICE, callee.to_owned());
    if let Some(code) = invocation.http_status_code {
        span.meta.insert(trace::HTTP_STATUS_CODE, code.to_owned());
    }
    span.metrics.insert(lambda::INFERRED_SPAN, 1.0);
}

#[cfg(test)]
mod tests {
    use model::{Tags, TraceId};
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    fn inferred(name: &'static str, start: UnixNanos, end: InferredEnd) -> InferredSpan {
        let service = Text::Owned(format!("{name}-service"));
        InferredSpan {
            name: name.into(),
            service,
            resource: "r".into(),
            kind: "web".into(),
            start,
            end,
            tags: Tags::new(),
        }
    }

    fn invocation(start: UnixNanos, end: UnixNanos) -> Invocation<'static> {
        Invocation {
            trace_id: TraceId::new(1, 2).unwrap(),
            parent_id: SpanId::new(3),
            request_id: "req",
            service: "orders",
            start,
            end,
            error: true,
            http_status_code: Some("500"),
        }
    }

    fn ids(n: u64) -> Vec<SpanId> {
        (10..10 + n).filter_map(SpanId::new).collect()
    }

    #[test]
    fn spans_are_a_chain_from_the_caller_to_the_function() {
        let ms = UnixNanos::from_millis;
        let chain = [
            inferred("aws.sns", ms(1_000), InferredEnd::At(ms(1_400))),
            inferred("aws.sqs", ms(1_400), InferredEnd::InvocationStart),
        ];
        let spans = assemble(&chain, &ids(2), &invocation(ms(2_000), ms(2_300)));
        let shown: Vec<_> = spans
            .iter()
            .map(|s| (s.name.as_ref(), s.parent_id.unwrap().get(), s.span_id.get(), s.duration.as_millis()))
            .collect();
        assert_eq!(shown, [("aws.sns", 3, 10, 400), ("aws.sqs", 10, 11, 600)]);
        let tag = |n: usize, key| spans[n].meta.get(key).map(AsRef::as_ref);
        assert_eq!(tag(0, "peer.service"), Some("aws.sqs-service"));
        assert_eq!(tag(1, "peer.service"), Some("orders"));
        assert_eq!(tag(1, "_inferred_span.tag_source"), Some("self"));
        assert_eq!(tag(1, "_inferred_span.synchronicity"), Some("async"));
        assert_eq!(tag(1, "http.status_code"), Some("500"));
        assert_eq!(tag(1, "request_id"), Some("req"));
        assert!(spans.iter().all(|s| s.error && s.metrics.get("_dd._inferred_span") == Some(&1.0)));
    }

    #[test]
    fn a_synchronous_span_ends_with_the_invocation() {
        let ms = UnixNanos::from_millis;
        let spans = assemble(
            &[inferred("aws.httpapi", ms(1_950), InferredEnd::InvocationEnd)],
            &ids(1),
            &invocation(ms(2_000), ms(2_300)),
        );
        assert_eq!(spans[0].duration.as_millis(), 350);
        assert_eq!(spans[0].meta.get("_inferred_span.synchronicity").unwrap(), "sync");
    }

    #[test]
    fn no_start_is_absurd() {
        let (ms, now) = (UnixNanos::from_millis, 1_700_000_000_000);
        let check = |start: u64, expect: u64| {
            let spans = assemble(
                &[inferred("aws.sqs", ms(start), InferredEnd::InvocationStart)],
                &ids(1),
                &invocation(ms(now), ms(now + 5)),
            );
            assert_eq!(spans[0].duration.as_millis(), u128::from(expect), "{start}");
        };
        check(now - 20, 20);
        // A producer's clock that runs ahead; a time that was not given; seconds where milliseconds belong.
        check(now + 20, 0);
        check(0, 0);
        check(now / 1000, 0);
    }

    proptest! {
        #[test]
        fn any_clocks_give_an_ordered_chain(times in proptest::array::uniform6(any::<u64>()), n in 0u64..4) {
            let [a, b, c, at, start, end] = times.map(UnixNanos);
            let chain = [
                inferred("a", a, InferredEnd::At(at)),
                inferred("b", b, InferredEnd::InvocationStart),
                inferred("c", c, InferredEnd::InvocationEnd),
            ];
            let spans = assemble(&chain, &ids(n), &invocation(start, end));
            prop_assert!(spans.len() == chain.len().min(n as usize));
            for pair in spans.windows(2) {
                prop_assert!(pair[0].start <= pair[1].start);
                prop_assert!(Some(pair[0].span_id) == pair[1].parent_id);
            }
            for span in spans {
                prop_assert!(span.start <= start && start.since(span.start) <= MAX_AGE);
                prop_assert!(span.end() <= start.max(end));
            }
        }
    }
}
