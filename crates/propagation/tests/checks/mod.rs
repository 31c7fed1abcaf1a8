//! What holds whatever a header says. Called by the fuzz targets, and by the test that replays their corpus.

use propagation::{Style, baggage, extract, extract_first, inject};

/// Lines are the values of the style's headers, in the order of `names`.
pub(crate) fn header(style: Style, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let carrier: Vec<(&str, &str)> = names(style).iter().copied().zip(text.split('\n')).collect();
    let _ = baggage(&carrier);
    // Beside a context of another style, this one is the second word.
    let mut both = carrier.clone();
    both.extend([
        ("x-datadog-trace-id", "5"),
        ("traceparent", "00-00000000000000010000000000000005-0000000000000006-01"),
    ]);
    let _ = extract(&both, &Style::ALL);
    let Some(context) = extract(&carrier, &[style, Style::Baggage]) else { return };
    assert_eq!(extract_first(&carrier, &[style]).map(|c| c.trace_id), Some(context.trace_id));
    let mut out: Vec<(String, String)> = Vec::new();
    inject(&context, &[style, Style::Baggage], &mut out);
    for (name, value) in &out {
        assert!(value.len() <= 16 * 1024, "{name} is too long");
        assert!(value.chars().all(|c| matches!(c, ' '..='~')), "{name}: {value:?}");
    }
    if context.span_id.is_some() {
        let again = extract(&out, &[style]);
        assert_eq!(
            again.as_ref().map(|c| (c.trace_id, c.span_id)),
            Some((context.trace_id, context.span_id))
        );
    }
}

fn names(style: Style) -> &'static [&'static str] {
    match style {
        Style::Datadog => &[
            "x-datadog-trace-id",
            "x-datadog-parent-id",
            "x-datadog-sampling-priority",
            "x-datadog-origin",
            "x-datadog-tags",
        ],
        Style::TraceContext => &["traceparent", "tracestate"],
        Style::B3 => &["b3"],
        Style::B3Multi => &["x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"],
        Style::XRay => &["x-amzn-trace-id"],
        Style::Baggage => &["baggage"],
    }
}
