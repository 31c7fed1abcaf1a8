//! The JSON of the intakes for events and for service checks, which are requests of their own: nothing of them is
//! put together. <https://docs.datadoghq.com/api/latest/events/#post-an-event>,
//! <https://docs.datadoghq.com/api/latest/service-checks/#submit-a-service-check>

use model::{Event, ServiceCheck, Text, UnixNanos};
use serde::Serialize;

pub const EVENTS_PATH: &str = "/api/v1/events";
pub const CHECKS_PATH: &str = "/api/v1/check_run";
/// Of both.
pub const CONTENT_TYPE: &str = "application/json";

#[derive(Serialize)]
struct EventBody<'a> {
    title: &'a str,
    text: &'a str,
    date_happened: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    aggregation_key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    priority: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    source_type_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    alert_type: &'a str,
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
struct CheckBody<'a> {
    check: &'a str,
    host_name: &'a str,
    timestamp: u64,
    status: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    tags: Vec<&'a str>,
}

/// Writes one event. `now` is when it came, `tags` go with its own.
pub fn encode_event(event: &Event, tags: &[Text], now: UnixNanos) -> Vec<u8> {
    json(&EventBody {
        title: &event.title,
        text: &event.text,
        date_happened: event.time.unwrap_or(now).as_secs(),
        host: &event.host,
        aggregation_key: &event.aggregation_key,
        priority: &event.priority,
        source_type_name: &event.source_type,
        alert_type: &event.alert_type,
        tags: joined(&event.tags, tags),
    })
}

/// Writes service checks. `host` stands where a check names none.
pub fn encode_checks(checks: &[ServiceCheck], tags: &[Text], host: &str, now: UnixNanos) -> Vec<u8> {
    let mut bodies = Vec::with_capacity(checks.len());
    for check in checks {
        bodies.push(CheckBody {
            check: &check.name,
            host_name: if check.host.is_empty() { host } else { &check.host },
            timestamp: check.time.unwrap_or(now).as_secs(),
            status: check.status,
            message: &check.message,
            tags: joined(&check.tags, tags),
        });
    }
    json(&bodies)
}

fn joined<'a>(own: &'a [Text], more: &'a [Text]) -> Vec<&'a str> {
    own.iter().chain(more).map(|tag| &**tag).collect()
}

/// Writing texts and numbers cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = UnixNanos::from_secs(1_700_000_000);

    #[test]
    fn json_of_an_event() {
        let check = |event: Event, want: &str| {
            let body = encode_event(&event, &["functionname:orders".into()], NOW);
            assert_eq!(std::str::from_utf8(&body).unwrap(), want);
        };
        check(
            Event { title: "a \"b\"".into(), text: "c\nd".into(), ..Event::default() },
            r#"{"title":"a \"b\"","text":"c\nd","date_happened":1700000000,"tags":["functionname:orders"]}"#,
        );
        check(
            Event {
                title: "a".into(),
                text: "b".into(),
                time: Some(UnixNanos::from_secs(5)),
                host: "h".into(),
                aggregation_key: "k".into(),
                priority: "low".into(),
                source_type: "s".into(),
                alert_type: "error".into(),
                tags: vec!["x:1".into()],
            },
            r#"{"title":"a","text":"b","date_happened":5,"host":"h","aggregation_key":"k","priority":"low","source_type_name":"s","alert_type":"error","tags":["x:1","functionname:orders"]}"#,
        );
    }

    #[test]
    fn json_of_service_checks() {
        let one =
            ServiceCheck { name: "db".into(), status: 2, message: "gone".into(), ..ServiceCheck::default() };
        let other = ServiceCheck {
            host: "own".into(),
            time: Some(UnixNanos::from_secs(7)),
            name: "x".into(),
            ..ServiceCheck::default()
        };
        let body = encode_checks(&[one, other], &["a:b".into()], "arn", NOW);
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"[{"check":"db","host_name":"arn","timestamp":1700000000,"status":2,"message":"gone","tags":["a:b"]},{"check":"x","host_name":"own","timestamp":7,"status":0,"tags":["a:b"]}]"#
        );
    }
}
