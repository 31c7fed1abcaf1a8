//! Effects as text. Function tags and other tags that are the same everywhere are left out; a test of their
//! own looks at them.

use std::fmt::Write;

use model::{Batch, ClientStats, Log, Series, SketchSeries, Span, Text, TraceChunk, UnixNanos};

use super::T0;
use crate::{Effect, Receivers};

pub(super) fn effect(out: &mut String, ms: u128, effect: &Effect) {
    match effect {
        Effect::Next => writeln!(out, "{ms} next").unwrap(),
        Effect::Exit => writeln!(out, "{ms} exit").unwrap(),
        Effect::Send { id, batch, deadline, to } => {
            let to = match to {
                Receivers::Main => "",
                Receivers::All => " to all",
                Receivers::Others => " to others",
            };
            let (signal, until) = (batch.signal().as_str(), at(*deadline));
            writeln!(out, "{ms} send #{}{to} {signal} until {until}", id.0).unwrap();
            for line in lines(batch) {
                writeln!(out, "{line}").unwrap();
            }
        }
    }
}

/// What a batch holds, item by item.
pub(super) fn lines(batch: &Batch) -> Vec<String> {
    match batch {
        Batch::Traces(payloads) => payloads
            .iter()
            .flat_map(|payload| {
                let language = payload.tracer.language.as_ref();
                payload
                    .chunks
                    .iter()
                    .flat_map(move |chunk| chunk.spans.iter().map(move |s| span(language, chunk, s)))
            })
            .collect(),
        Batch::Series(all) => all.iter().flat_map(series).collect(),
        Batch::Sketches(all) => all.iter().flat_map(sketches).collect(),
        Batch::Logs(all) => all.iter().map(log).collect(),
        Batch::Stats(all) => all.iter().map(stats).collect(),
        Batch::Forwards(all) => all
            .iter()
            .map(|one| format!("forward {}{} of {} bytes", one.subdomain, one.path, one.body.len()))
            .collect(),
    }
}

fn span(language: &str, chunk: &TraceChunk, span: &Span) -> String {
    const USUAL: [&str; 6] =
        ["functionname", "origin", "_dd.origin", "_dd.compute_stats", "_dd.base_service", "span.kind"];
    let mut tags: Vec<String> = span
        .meta
        .iter()
        .filter(|(k, _)| !USUAL.contains(&k.as_ref()))
        .map(|(k, v)| format!("{k}={v}"))
        .chain(span.metrics.iter().map(|(k, v)| format!("{k}={v}")))
        .collect();
    tags.sort();
    let parent = span.parent_id.map(|id| format!("<{:x}", id.get())).unwrap_or_default();
    let trace = span.trace_id.to_u128();
    let mut text = format!("span {trace:x}/{:x}{parent} {} {}", span.span_id.get(), span.name, span.service);
    if span.resource != span.name {
        write!(text, " resource={}", span.resource).unwrap();
    }
    write!(text, " {}+{}", at(span.start), span.duration.as_secs_f64() * 1000.0).unwrap();
    if span.error {
        text += " ERROR";
    }
    if let Some(priority) = chunk.priority {
        write!(text, " p{}", priority.as_i8()).unwrap();
    }
    if !language.is_empty() {
        write!(text, " by {language}").unwrap();
    }
    write!(text, " [{}]", tags.join(" ")).unwrap();
    text
}

fn series(series: &Series) -> Vec<String> {
    let point = |(time, value): &(UnixNanos, f64)| {
        format!("{:?} {} {} {value} [{}]", series.kind, series.name, at(*time), tags(&series.tags))
    };
    series.points.iter().map(point).collect()
}

fn sketches(sketch: &SketchSeries) -> Vec<String> {
    let values = |s: &model::Sketch| match s.count() {
        1 => format!("{}", s.sum()),
        n => format!("{n} values, sum {}", s.sum()),
    };
    let name = sketch.name.strip_prefix("aws.lambda.").unwrap_or(&sketch.name);
    sketch
        .points
        .iter()
        .map(|(time, s)| format!("{name} {} {} [{}]", at(*time), values(s), tags(&sketch.tags)))
        .collect()
}

fn log(log: &Log) -> String {
    let id = log.request_id.as_ref().map_or("-", |id| id.as_str());
    let own = log.tags.strip_prefix("functionname:orders").unwrap_or(&log.tags);
    format!(
        "log {id} {} {} {}{}",
        at(log.time),
        log.level.as_str(),
        log.message,
        if own.is_empty() { String::new() } else { format!(" [{own}]") }
    )
}

fn tags(tags: &[Text]) -> String {
    let usual = ["functionname:", "runtime:provided.al2023"];
    let own: Vec<&str> = tags
        .iter()
        .map(Text::as_ref)
        .filter(|tag| !usual.iter().any(|usual| tag.starts_with(usual)))
        .collect();
    own.join(" ")
}

fn at(time: UnixNanos) -> i128 {
    (i128::from(time.as_nanos()) - i128::from(T0.as_nanos())) / 1_000_000
}

fn stats(stats: &ClientStats) -> String {
    let made = match stats {
        ClientStats::Sent(body) => return format!("stats of {} bytes", body.len()),
        ClientStats::Made(made) => made,
    };
    let mut text = format!("stats of {} {} {}", made.env, made.service, made.language);
    for bucket in &made.buckets {
        assert_eq!(bucket.start.as_nanos() % bucket.duration.as_nanos() as u64, 0);
        for (key, group) in &bucket.groups {
            text.push_str(&format!(
                "\n {} {} {} {} {} {}{:?}: {} hits {} top {} errors {} ns",
                key.service,
                key.name,
                key.resource,
                key.span_kind,
                key.http_status,
                if key.is_trace_root { "root " } else { "" },
                key.peer_tags,
                group.hits,
                group.top_level_hits,
                group.errors,
                group.duration,
            ));
        }
    }
    text
}
