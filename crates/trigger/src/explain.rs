//! A [`Reading`] as a person would want to see it: for debugging, for the example `explain`, for snapshots.

use std::fmt;

use model::{SpanLink, Tags, Text};

use crate::{InferredEnd, InferredSpan, Reading};

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source    {:?}", self.kind)?;
        if let Some(name) = self.event_source {
            write!(f, " ({name})")?;
        }
        writeln!(f, "{}", if self.is_http { ", waits for a web response" } else { "" })?;
        writeln!(f, "arn       {}", self.event_source_arn.as_deref().unwrap_or("-"))?;
        self.show_parent(f)?;
        let is_pointer = |link: &&SpanLink| link.trace_id.is_none();
        for link in self.links.iter().filter(|link| !is_pointer(link)) {
            show_link(f, "link", link)?;
        }
        for pointer in self.links.iter().filter(is_pointer) {
            show_link(f, "pointer", pointer)?;
        }
        writeln!(f, "spans")?;
        for (depth, span) in self.inferred.iter().enumerate() {
            show_span(f, depth, span)?;
        }
        let depth = self.inferred.len();
        writeln!(f, "  {}└─ aws.lambda", indent(depth))?;
        show_tags(f, depth, &self.tags)
    }
}

impl Reading {
    fn show_parent(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.parent {
            None => writeln!(f, "parent    none: a new trace")?,
            Some(parent) => {
                let span = parent.span_id.map_or("no span".to_owned(), |id| format!("span {id}"));
                let priority =
                    parent.priority.map_or("undecided".to_owned(), |p| format!("priority {}", p.as_i8()));
                writeln!(f, "parent    trace {} {span}, {priority}", parent.trace_id)?;
                writeln!(
                    f,
                    "          in {}",
                    self.found_in.as_deref().unwrap_or("the headers of the call")
                )?;
                let origin = parent.origin.iter().map(|origin| ("origin", origin));
                let state = parent.tracestate.iter().map(|state| ("tracestate", state));
                let tags = parent.tags.iter().map(|(key, value)| (&**key, value));
                for (key, value) in origin.chain(state).chain(tags) {
                    writeln!(f, "          {key} = {value}")?;
                }
            }
        }
        let baggage = self.parent.as_ref().map_or(&self.baggage, |parent| &parent.baggage);
        baggage.iter().try_for_each(|(key, value)| writeln!(f, "          baggage {key} = {value}"))
    }
}

fn show_link(f: &mut fmt::Formatter<'_>, what: &str, link: &SpanLink) -> fmt::Result {
    write!(f, "{what:<9}")?;
    if let (Some(trace), Some(span)) = (link.trace_id, link.span_id) {
        write!(f, " trace {trace} span {span}")?;
    }
    link.attributes.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))?;
    writeln!(f)
}

fn show_span(f: &mut fmt::Formatter<'_>, depth: usize, span: &InferredSpan) -> fmt::Result {
    let InferredSpan { name, service, resource, kind, start, end, tags } = span;
    let end = match end {
        InferredEnd::InvocationStart => "when the function starts".to_owned(),
        InferredEnd::InvocationEnd => "when the function is done".to_owned(),
        InferredEnd::At(moment) => moment.to_rfc3339_millis(),
    };
    writeln!(f, "  {}└─ {name} [{kind}] {service}: {resource}", indent(depth))?;
    writeln!(f, "  {}     {} → {end}", indent(depth), start.to_rfc3339_millis())?;
    show_tags(f, depth, tags)
}

fn show_tags(f: &mut fmt::Formatter<'_>, depth: usize, tags: &Tags<Text>) -> fmt::Result {
    tags.iter().try_for_each(|(key, value)| writeln!(f, "  {}     {key} = {}", indent(depth), cut(value)))
}

fn indent(depth: usize) -> String {
    "   ".repeat(depth)
}

/// A receipt handle is no pleasure to read.
fn cut(text: &str) -> String {
    match text.char_indices().nth(120).and_then(|(at, _)| text.get(..at)) {
        Some(start) => format!("{start}…"),
        None => text.to_owned(),
    }
}
