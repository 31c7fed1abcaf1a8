//! What holds whatever the event. Called by the fuzz target, and by the test that replays its corpus.

use std::time::Duration;

use model::{SpanId, TraceId, UnixNanos};
use propagation::Behavior;
use serde_json::Value;
use trigger::{Function, Invocation, ServiceMapping, Settings};

pub(crate) fn event(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Value>(bytes) else { return };
    let function = Function { name: "f".into(), region: "eu-west-1".into(), account: "1".into() };
    let settings = Settings::default();
    let reading = trigger::read(&event, &function, &settings);
    assert_eq!(reading.kind, trigger::identify(&event));
    assert!(reading.links.len() <= 300 && reading.inferred.len() <= 6);
    assert_eq!(reading, trigger::read(&event, &function, &settings));
    let names = reading.inferred.iter().flat_map(|span| [&span.service, &span.resource]);
    let tags = reading.inferred.iter().flat_map(|span| span.tags.iter()).chain(reading.tags.iter());
    assert!(names.chain(tags.map(|(_, value)| value)).all(|text| text.len() <= 5000));
    let _ = reading.to_string();
    durations(&reading.inferred);
    let others = Settings {
        extract_behavior: Behavior::Restart,
        extract_first: true,
        service_mapping: ServiceMapping::parse("lambda_sqs:q"),
        service_representation: false,
        managed_services: false,
        decode_authorizer: false,
        span_pointers: false,
        ..settings.clone()
    };
    assert_eq!(trigger::read(&event, &function, &others).parent, None);
    for record in trigger::records(&event).take(10) {
        let _ = trigger::record_context(record, &settings);
    }
    if let Some(context) = trigger::client_context(&event, &settings) {
        let mut answer = event.clone();
        trigger::encode_authorizer(&mut answer, &event, &context, UnixNanos(1), &settings.extract_styles);
    }
}

fn durations(inferred: &[trigger::InferredSpan]) {
    let (Some(trace_id), Some(id)) = (TraceId::new(0, 1), SpanId::new(1)) else { return };
    let start = UnixNanos::from_secs(1_800_000_000);
    let invocation = Invocation {
        trace_id,
        parent_id: None,
        request_id: "r",
        service: "s",
        start,
        end: start + Duration::from_secs(900),
        error: false,
        http_status_code: None,
    };
    let spans = trigger::assemble(inferred, &vec![id; inferred.len()], &invocation);
    for pair in spans.windows(2) {
        let [outer, inner] = pair else { continue };
        assert!(outer.start <= inner.start);
    }
    for span in spans {
        assert!(span.start <= start && span.duration <= Duration::from_secs(367 * 24 * 3600));
    }
}
