//! The JSON of the logs intake: an array of entries.
//! <https://docs.datadoghq.com/api/latest/logs/#send-logs>
//!
//! A Lambda log line stands one level down, in `message`, beside the invocation it belongs to; the backend
//! lifts it.

use model::{DurableExecution, Log, LogLevel, RequestId, Text, UnixNanos};
use serde::Serialize;
use serde_json::Value;

use crate::DecodeError;

const SOURCE: &str = "lambda";

#[derive(Serialize)]
struct Entry<'a> {
    message: Message<'a>,
    hostname: &'a str,
    service: &'a str,
    ddtags: &'a str,
    ddsource: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    message: &'a str,
    lambda: Lambda<'a>,
    timestamp: u64,
    status: &'static str,
}

#[derive(Serialize)]
struct Lambda<'a> {
    arn: &'a str,
    request_id: Option<&'a str>,
    #[serde(rename = "durable_function.execution_id", skip_serializing_if = "Option::is_none")]
    execution_id: Option<&'a str>,
    #[serde(rename = "durable_function.execution_name", skip_serializing_if = "Option::is_none")]
    execution_name: Option<&'a str>,
    #[serde(rename = "durable_function.first_invocation", skip_serializing_if = "Option::is_none")]
    first_invocation: Option<bool>,
    #[serde(rename = "durable_function.execution_status", skip_serializing_if = "Option::is_none")]
    execution_status: Option<&'a str>,
}

/// Writes the body of a `/api/v2/logs` request. Times are whole milliseconds there.
pub fn encode(logs: &[Log]) -> Vec<u8> {
    let mut body = Vec::with_capacity(logs.iter().map(Log::weight).sum::<usize>() + 2);
    body.push(b'[');
    for (n, log) in logs.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        write(&mut body, log);
    }
    body.push(b']');
    body
}

/// Writes one entry as it stands in a body.
pub(crate) fn write(body: &mut Vec<u8>, log: &Log) {
    let durable = log.durable.as_deref();
    let entry = Entry {
        message: Message {
            message: &log.message,
            lambda: Lambda {
                arn: &log.arn,
                request_id: log.request_id.as_ref().map(RequestId::as_str),
                execution_id: durable.map(|durable| &*durable.id),
                execution_name: durable.map(|durable| &*durable.name),
                first_invocation: durable.and_then(|durable| durable.first_invocation),
                execution_status: durable.and_then(|durable| durable.status.as_deref()),
            },
            timestamp: log.time.as_millis(),
            status: log.level.as_str(),
        },
        hostname: &log.arn,
        service: &log.service,
        ddtags: &log.tags,
        ddsource: SOURCE,
    };
    // Writing a structure of texts and numbers into a vector cannot fail.
    let written = serde_json::to_writer(body, &entry);
    debug_assert!(written.is_ok());
}

/// Reads the body of a `/api/v2/logs` request: an array of entries, or a single one. Entries of other
/// senders, whose `message` is a plain text, are read too; what an entry lacks is empty.
pub fn decode(body: &[u8]) -> Result<Vec<Log>, DecodeError> {
    match serde_json::from_slice(body).map_err(|_| DecodeError::Malformed)? {
        Value::Array(all) => all.iter().map(read).collect(),
        one => Ok(vec![read(&one)?]),
    }
}

fn read(entry: &Value) -> Result<Log, DecodeError> {
    if !entry.is_object() {
        return Err(DecodeError::Malformed);
    }
    let text = |path: &str| entry.pointer(path).and_then(Value::as_str);
    let owned = |text: Option<&str>| Text::Owned(text.unwrap_or_default().to_owned());
    let message = entry.get("message").unwrap_or(&Value::Null);
    let time = entry.pointer("/message/timestamp").or_else(|| entry.get("timestamp"));
    Ok(Log {
        message: match message.get("message").unwrap_or(message) {
            Value::String(line) => line.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        },
        level: text("/message/status").or(text("/status")).and_then(LogLevel::parse).unwrap_or_default(),
        time: UnixNanos::from_millis(time.and_then(Value::as_u64).unwrap_or(0)),
        request_id: text("/message/lambda/request_id").and_then(RequestId::new),
        arn: owned(text("/message/lambda/arn").or(text("/hostname"))),
        service: owned(text("/service")),
        tags: owned(text("/ddtags")),
        durable: durable(entry).map(Box::new),
    })
}

fn durable(entry: &Value) -> Option<DurableExecution> {
    let lambda = entry.pointer("/message/lambda")?;
    let text = |key: &str| Some(Text::Owned(lambda.get(key)?.as_str()?.to_owned()));
    Some(DurableExecution {
        id: text("durable_function.execution_id")?,
        name: text("durable_function.execution_name")?,
        first_invocation: lambda.get("durable_function.first_invocation").and_then(Value::as_bool),
        status: text("durable_function.execution_status"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_a_line_of_a_durable_execution() {
        let log = Log {
            message: "m".to_owned(),
            level: LogLevel::Info,
            time: UnixNanos::from_millis(5),
            request_id: RequestId::new("r1"),
            arn: "a".into(),
            service: "s".into(),
            tags: "t:u".into(),
            durable: Some(Box::new(DurableExecution {
                id: "i-1".into(),
                name: "order-7".into(),
                first_invocation: Some(true),
                status: Some("PENDING".into()),
            })),
        };
        let want = concat!(
            r#"[{"message":{"message":"m","lambda":{"arn":"a","request_id":"r1","durable_function.execution_id":"i-1","#,
            r#""durable_function.execution_name":"order-7","durable_function.first_invocation":true,"#,
            r#""durable_function.execution_status":"PENDING"},"timestamp":5,"status":"info"},"hostname":"a","#,
            r#""service":"s","ddtags":"t:u","ddsource":"lambda"}]"#
        );
        let all = [log];
        assert_eq!(std::str::from_utf8(&encode(&all)).unwrap(), want);
        assert_eq!(decode(want.as_bytes()).unwrap(), all);
    }

    #[test]
    fn json_of_a_body() {
        let log = |message: &str, request_id| Log {
            message: message.to_owned(),
            level: LogLevel::Warn,
            time: UnixNanos::from_millis(1_700_000_000_123),
            request_id,
            arn: "arn:aws:lambda:eu-west-1:123456789012:function:orders".into(),
            service: "orders".into(),
            tags: "env:prod,version:7".into(),
            durable: None,
        };
        let all = [log("a \"line\"\n", RequestId::new("r1")), log(r#"{"k":1}"#, None)];
        let want = r#"[{"message":{"message":"a \"line\"\n","lambda":{"arn":"arn:aws:lambda:eu-west-1:123456789012:function:orders","request_id":"r1"},"timestamp":1700000000123,"status":"warn"},"hostname":"arn:aws:lambda:eu-west-1:123456789012:function:orders","service":"orders","ddtags":"env:prod,version:7","ddsource":"lambda"},{"message":{"message":"{\"k\":1}","lambda":{"arn":"arn:aws:lambda:eu-west-1:123456789012:function:orders","request_id":null},"timestamp":1700000000123,"status":"warn"},"hostname":"arn:aws:lambda:eu-west-1:123456789012:function:orders","service":"orders","ddtags":"env:prod,version:7","ddsource":"lambda"}]"#;
        assert_eq!(std::str::from_utf8(&encode(&all)).unwrap(), want);
        assert_eq!(encode(&[]), b"[]");
    }

    #[test]
    fn bodies_of_other_senders() {
        let check = |body: &str, want: &[(&str, LogLevel, u64, &str)]| {
            let read = decode(body.as_bytes()).unwrap();
            let read: Vec<_> =
                read.iter().map(|l| (l.message.as_str(), l.level, l.time.as_millis(), &*l.arn)).collect();
            assert_eq!(read, want, "{body}");
        };
        check(
            r#"[{"message":"plain","status":"error","timestamp":5,"hostname":"h"},{"ddtags":"a:b"}]"#,
            &[("plain", LogLevel::Error, 5, "h"), ("", LogLevel::Info, 0, "")],
        );
        check(r#"{"message":"alone"}"#, &[("alone", LogLevel::Info, 0, "")]);
        check(
            r#"[{"message":{"message":{"k":1},"status":"odd"}}]"#,
            &[(r#"{"k":1}"#, LogLevel::Info, 0, "")],
        );
        check(r#"[{"message":{"other":1},"service":null}]"#, &[(r#"{"other":1}"#, LogLevel::Info, 0, "")]);
        for bad in ["", "5", "[5]", "[", r#""line""#] {
            assert_eq!(decode(bad.as_bytes()), Err(DecodeError::Malformed), "{bad}");
        }
    }
}
