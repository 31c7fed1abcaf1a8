//! Says what the library and the extension make of an event: `cargo run -p trigger --example explain < event.json`,
//! for a person; with `--json`, as data. `--region` and `--account` are those of the function.

use std::io::{ErrorKind, Read, Write};
use std::process::ExitCode;

use model::{SamplingPriority, SpanLink, Tags, Text};
use serde_json::{Value, json};
use trigger::{Function, InferredEnd, InferredSpan, Reading, Settings};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str, default: &str| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).map_or(default, String::as_str).to_owned()
    };
    let function = Function {
        name: "function".to_owned(),
        region: after("--region", "us-east-1"),
        account: after("--account", "123456789012"),
    };
    let mut text = Vec::new();
    let event = std::io::stdin().read_to_end(&mut text).map_err(|error| error.to_string());
    let event = event.and_then(|_| serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string()));
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            eprintln!("explain: this is not an event: {error}");
            return ExitCode::FAILURE;
        }
    };
    let reading = trigger::read(&event, &function, &Settings::default());
    let text = match args.iter().any(|arg| arg == "--json") {
        true => format!("{:#}\n", as_json(&reading)),
        false => reading.to_string(),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn end_text(end: InferredEnd) -> String {
    match end {
        InferredEnd::InvocationStart => "when the function starts".to_owned(),
        InferredEnd::InvocationEnd => "when the function is done".to_owned(),
        InferredEnd::At(moment) => moment.to_rfc3339_millis(),
    }
}

fn as_json(reading: &Reading) -> Value {
    let tags = |tags: &Tags<Text>| tags.iter().map(|(k, v)| (k.to_string(), json!(v))).collect::<Value>();
    let link = |link: &SpanLink| {
        json!({"trace_id": link.trace_id.map(|id| id.to_string()), "span_id": link.span_id.map(|id| id.to_string()),
            "attributes": tags(&link.attributes)})
    };
    let span = |span: &InferredSpan| {
        json!({"name": span.name, "service": span.service, "resource": span.resource, "type": span.kind,
            "start": span.start.as_nanos(), "end": end_text(span.end), "tags": tags(&span.tags)})
    };
    let parent = reading.parent.as_ref().map(|p| {
        json!({"trace_id": p.trace_id.to_string(), "span_id": p.span_id.map(|id| id.to_string()),
            "priority": p.priority.map(SamplingPriority::as_i8), "origin": p.origin, "tags": tags(&p.tags),
            "tracestate": p.tracestate, "baggage": tags(&p.baggage)})
    });
    json!({
        "kind": format!("{:?}", reading.kind),
        "event_source": reading.event_source,
        "event_source_arn": reading.event_source_arn,
        "is_http": reading.is_http,
        "parent": parent,
        "found_in": reading.found_in,
        "links": reading.links.iter().map(link).collect::<Vec<_>>(),
        "inferred": reading.inferred.iter().map(span).collect::<Vec<_>>(),
        "tags": tags(&reading.tags),
    })
}
