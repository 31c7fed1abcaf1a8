//! What a runtime tells Lambda of the end of an invocation, as one who stands between reads it: error bodies, the
//! trailers of a response that broke off, the beginning of a streamed web response. Header names and paths are in
//! `lambda_headers`. Texts are cut to what a span can hold.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::Text;
use serde_json::Value;

/// How a streamed web response begins: a JSON object, eight zero bytes, then the body.
const INTEGRATION: &str = "application/vnd.awslambda.http-integration-response";

/// Bytes of a text that describes an error.
const MAX_TEXT: usize = 16 << 10;
/// Lines, or frames, of a stack.
const MAX_LINES: usize = 500;

/// How a handler failed, in the words of its runtime. Empty texts were not given.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RuntimeError {
    pub message: Text,
    pub kind: Text,
    pub stack: Text,
}

impl RuntimeError {
    /// Reads the body of `/error`. `kind` is the header `Lambda-Runtime-Function-Error-Type`, which holds when the
    /// body names none. A body of any other shape gives an error without words.
    pub fn decode(body: &[u8], kind: Option<&str>) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| body.get(key).and_then(Value::as_str).map(short);
        // Python and Java, Node, others.
        let told = ["stackTrace", "trace", "stack"].into_iter().find_map(|key| body.get(key));
        Self {
            message: text("errorMessage").unwrap_or_default(),
            kind: text("errorType").or_else(|| kind.map(short)).unwrap_or_default(),
            stack: short(&told.map(stack).unwrap_or_default()),
        }
    }

    /// Reads the trailers of a streamed response: its error type, and its error body in base64. `None`: it did
    /// not break off.
    pub fn in_trailers(kind: Option<&str>, body: Option<&str>) -> Option<Self> {
        if kind.is_none() && body.is_none() {
            return None;
        }
        let body = body.and_then(|body| STANDARD.decode(body.trim()).ok()).unwrap_or_default();
        Some(Self::decode(&body, kind))
    }
}

/// What stands before the body of a streamed web response: an object with `statusCode`, as a handler's whole
/// response has it. `None` for other responses.
pub fn prelude<'b>(content_type: Option<&str>, body: &'b [u8]) -> Option<&'b [u8]> {
    content_type
        .is_some_and(|kind| kind.starts_with(INTEGRATION))
        .then(|| body.split(|byte| *byte == 0).next())?
}

/// A text, lines, or frames with `label`, `path` and `line`, as Go's runtime writes them.
fn stack(told: &Value) -> String {
    match told {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().take(MAX_LINES).filter_map(line).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

fn line(told: &Value) -> Option<String> {
    match told {
        Value::String(text) => Some(text.trim_end().to_owned()),
        Value::Object(frame) => {
            let text = |key: &str| frame.get(key).and_then(Value::as_str).unwrap_or_default();
            let line = frame.get("line").map(Value::to_string).unwrap_or_default();
            Some(format!("{} {}:{line}", text("label"), text("path")))
        }
        _ => None,
    }
}

fn short(text: &str) -> Text {
    text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default().to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_every_runtime() {
        let check = |body: &str, kind: Option<&str>, want: [&str; 3]| {
            let error = RuntimeError::decode(body.as_bytes(), kind);
            assert_eq!([&*error.message, &*error.kind, &*error.stack], want, "{body}");
        };
        let python = r#"{"errorMessage":"no","errorType":"ValueError","requestId":"r","stackTrace":["  File \"a.py\", line 1\n    f()\n","  File \"b.py\"\n"]}"#;
        check(
            python,
            Some("Runtime.X"),
            ["no", "ValueError", "  File \"a.py\", line 1\n    f()\n  File \"b.py\""],
        );
        let node =
            r#"{"errorType":"TypeError","errorMessage":"x","trace":["TypeError: x","    at f (a.js:1:2)"]}"#;
        check(node, None, ["x", "TypeError", "TypeError: x\n    at f (a.js:1:2)"]);
        let go = r#"{"errorMessage":"m","errorType":"E","stackTrace":[{"path":"a.go","line":7,"label":"main.f"}]}"#;
        check(go, None, ["m", "E", "main.f a.go:7"]);
        check(
            r#"{"errorMessage":"m","stackTrace":"one\ntwo"}"#,
            Some("Function.X"),
            ["m", "Function.X", "one\ntwo"],
        );
        check(r#"{"errorMessage":7,"stackTrace":[[1],null]}"#, None, ["", "", ""]);
        for garbage in ["", "garbage", "[]", "null", "\"text\"", "{\"errorMessage\":\"cut off"] {
            check(garbage, Some("Runtime.Unknown"), ["", "Runtime.Unknown", ""]);
        }
        let long = format!(r#"{{"errorMessage":"{}"}}"#, "é".repeat(MAX_TEXT));
        assert_eq!(RuntimeError::decode(long.as_bytes(), None).message.len(), MAX_TEXT);
    }

    #[test]
    fn errors_behind_a_stream() {
        assert_eq!(RuntimeError::in_trailers(None, None), None);
        let body = STANDARD.encode(r#"{"errorMessage":"half way","errorType":"E"}"#);
        let error = RuntimeError::in_trailers(Some("Runtime.X"), Some(&body)).unwrap();
        assert_eq!((&*error.message, &*error.kind), ("half way", "E"));
        let error = RuntimeError::in_trailers(Some("Runtime.X"), Some("no base64!")).unwrap();
        assert_eq!((&*error.message, &*error.kind), ("", "Runtime.X"));
    }

    #[test]
    fn preludes() {
        let body = b"{\"statusCode\":502}\0\0\0\0\0\0\0\0<html>";
        assert_eq!(prelude(Some(INTEGRATION), body), Some(&b"{\"statusCode\":502}"[..]));
        assert_eq!(prelude(Some("application/json"), body), None);
        assert_eq!(prelude(None, body), None);
    }
}
