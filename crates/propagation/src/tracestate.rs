//! The W3C `tracestate` header: Datadog's member `dd=s:2;o:rum;p:00f067aa0ba902b7;t.dm:-4`, and those of other
//! vendors, which are passed on.
//!
//! `s` is the sampling priority, `o` the origin, `p` the last span of a Datadog tracer, `t.x` the tag
//! `_dd.p.x`. In values `=` is written `~`.

use std::fmt::Write;

use model::keys::trace;
use model::{SamplingPriority, Text};

use crate::TraceContext;
use crate::datadog::{is_travelling, travelling};
use crate::text::{cleaned, hex, printable};

/// The W3C limit.
const MAX_MEMBERS: usize = 32;
/// The W3C limit for one member's value.
const MAX_MEMBER: usize = 256;
/// Longer headers are ignored: none of the known vendors comes near it.
const MAX_HEADER: usize = 4096;

/// Adds what the header says to a context whose priority is the flag of its `traceparent`.
pub(crate) fn read(header: &str, context: &mut TraceContext) {
    if header.len() > MAX_HEADER {
        return;
    }
    let mut others = String::new();
    let members = header.split(',').map(str::trim).filter(|m| m.chars().all(printable));
    for member in members.take(MAX_MEMBERS) {
        match member.split_once('=') {
            Some(("dd", value)) => read_datadog(value, context),
            Some((key, _)) if !key.is_empty() => {
                let comma = if others.is_empty() { "" } else { "," };
                let _ = write!(others, "{comma}{member}");
            }
            _ => {}
        }
    }
    context.tracestate = (!others.is_empty()).then_some(Text::Owned(others));
}

/// `None` when there is nothing to say.
pub(crate) fn write(context: &TraceContext) -> Option<String> {
    let mut dd = String::new();
    let mut add = |key: &str, value: &str| {
        if dd.len() + key.len() + value.len() + 2 <= MAX_MEMBER {
            let semicolon = if dd.is_empty() { "" } else { ";" };
            let _ = write!(dd, "{semicolon}{key}:{value}");
        }
    };
    if let Some(priority) = context.priority {
        add("s", &priority.as_i8().to_string());
    }
    if let Some(origin) = &context.origin {
        add("o", &encoded(origin));
    }
    if let Some(span_id) = context.span_id {
        add("p", &span_id.to_string());
    }
    for (key, value) in travelling(&context.tags) {
        let key = key.strip_prefix(trace::PROPAGATED_PREFIX).unwrap_or(key);
        if !key.contains([';', ':', '~']) {
            add(&format!("t.{key}"), &encoded(value));
        }
    }
    let others = context.tracestate.iter().flat_map(|t| t.split(','));
    let members = others.filter(|m| !m.is_empty() && !m.starts_with("dd=")).take(MAX_MEMBERS - 1);
    let mut out = if dd.is_empty() { String::new() } else { format!("dd={dd}") };
    for member in members {
        let comma = if out.is_empty() { "" } else { "," };
        let _ = write!(out, "{comma}{}", cleaned(member, printable));
    }
    (!out.is_empty()).then_some(out)
}

fn read_datadog(member: &str, context: &mut TraceContext) {
    let mut stated = None;
    for (key, value) in member.split(';').filter_map(|field| field.split_once(':')) {
        match key.strip_prefix("t.") {
            // The trace id itself says it better.
            Some("tid") => {}
            Some(tag) => {
                let (key, value) = (format!("{}{tag}", trace::PROPAGATED_PREFIX), decoded(value));
                if is_travelling(&key, &value) {
                    context.tags.insert(key, value);
                }
            }
            None => match key {
                "s" => stated = value.parse().ok().map(SamplingPriority::from_i64),
                "o" if !value.is_empty() => context.origin = Some(Text::Owned(decoded(value))),
                "p" if hex(value, 16).is_some() => context.tags.insert(trace::PARENT_ID, value.to_owned()),
                _ => {}
            },
        }
    }
    decide(stated, context);
}

/// The flag of `traceparent` is the newer word on keeping the trace. Where the two agree, `s` says it more
/// exactly; where they do not, who decided is no longer true either.
fn decide(stated: Option<SamplingPriority>, context: &mut TraceContext) {
    let kept = context.priority.is_some_and(SamplingPriority::is_keep);
    match stated {
        Some(stated) if stated.is_keep() == kept => context.priority = Some(stated),
        Some(_) if kept => context.tags.insert(trace::DECISION_MAKER, "-0"),
        Some(_) => drop(context.tags.remove(trace::DECISION_MAKER)),
        None => {}
    }
}

fn encoded(value: &str) -> String {
    cleaned(value, |c| printable(c) && !matches!(c, ',' | ';' | '~')).replace('=', "~")
}

fn decoded(value: &str) -> String {
    value.replace('~', "=")
}
