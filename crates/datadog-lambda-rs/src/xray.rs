//! Traces that X-Ray draws as well: what its daemon is told so that both can be put together.
//! <https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html>

use std::net::{SocketAddr, UdpSocket};

use model::{SpanId, UnixNanos};
use propagation::{TraceContext, XRay};
use serde_json::{Value, json};

use crate::ids;

/// The daemon's own bound for a datagram.
const MAX_DATAGRAM: usize = 64 * 1024;

/// A header of X-Ray's own whose trace is recorded: without active tracing Lambda sets it too, with
/// `Sampled=0`, and there is no trace then.
pub(crate) fn recorded(header: &str) -> Option<XRay> {
    XRay::parse(header).filter(|xray| xray.sampled == Some(true) && !xray.is_datadog())
}

/// What the subsegment of a trace that came with the event says.
pub(crate) fn trace(context: &TraceContext) -> Value {
    json!({
        "trace-id": context.trace_id.low().to_string(),
        "parent-id": context.span_id.map_or(0, SpanId::get).to_string(),
        "sampling-priority": context.priority.map_or(1, model::SamplingPriority::as_i8).to_string(),
    })
}

/// Tells the daemon, without waiting. Nobody there is no error.
pub(crate) fn send(daemon: SocketAddr, xray: &XRay, key: &str, what: &Value, now: UnixNanos) {
    let text = segment(xray, key, what, now);
    let any = if daemon.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    if text.len() <= MAX_DATAGRAM
        && let Ok(socket) = UdpSocket::bind(any)
        && socket.set_nonblocking(true).is_ok()
    {
        let _ = socket.send_to(text.as_bytes(), daemon);
    }
}

/// A subsegment without length, which only carries data.
fn segment(xray: &XRay, key: &str, what: &Value, now: UnixNanos) -> String {
    let seconds = now.as_nanos() as f64 / 1e9;
    let segment = json!({
        "id": ids::span_id().to_string(),
        "trace_id": format!("1-{:08x}-{:024x}", xray.epoch, xray.unique),
        "parent_id": xray.parent.map(|id| id.to_string()),
        "name": "datadog-metadata",
        "start_time": seconds,
        "end_time": seconds,
        "type": "subsegment",
        "metadata": {"datadog": {key: what}},
    });
    format!("{{\"format\": \"json\", \"version\": 1}}\n{segment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_xray_records_is_merged() {
        let check = |header: &str, expect| assert_eq!(recorded(header).is_some(), expect, "{header}");
        check("Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e;Sampled=1", true);
        check("Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e;Sampled=0", false);
        check("Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e", false);
        check("Root=1-65eb7350-000000006dfd06bf489aa4e5;Parent=48cc02b6aafae897;Sampled=1", false);
        check("", false);
    }

    #[test]
    fn a_subsegment() {
        let xray = recorded(
            "Root=1-5ce31dc2-2c779014b90ce44db5e03875;Parent=0b11cc4230d3e09e;Sampled=1;Lineage=a:0",
        );
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let now = UnixNanos::from_millis(1_500);
        send(receiver.local_addr().unwrap(), &xray.unwrap(), "trace", &json!({"trace-id": "5"}), now);
        let mut buffer = [0; 4096];
        let n = receiver.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..n]).unwrap();
        let (head, body) = text.split_once('\n').unwrap();
        assert_eq!(head, r#"{"format": "json", "version": 1}"#);
        let mut body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["id"].take().as_str().unwrap().len(), 16);
        let expect = json!({
            "id": null, "trace_id": "1-5ce31dc2-2c779014b90ce44db5e03875", "parent_id": "0b11cc4230d3e09e",
            "name": "datadog-metadata", "start_time": 1.5, "end_time": 1.5, "type": "subsegment",
            "metadata": {"datadog": {"trace": {"trace-id": "5"}}},
        });
        assert_eq!(body, expect);
    }
}
