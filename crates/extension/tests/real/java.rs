//! A function in Java with a runtime of our own, AWS's being no part that could be had here: what differs from other
//! languages is how Java speaks HTTP. `HttpClient` offers HTTP/2 with each request, which neither the Runtime API nor
//! the extension takes up.

use serde_json::json;

use crate::no_library::{Function, PARENT, TRACE, callers, check, named};
use crate::ports::Ports;

const FUNCTION: &str = include_str!("java/Function.java");

async fn speaks(client: &str) {
    let java = std::env::var("REAL_JAVA").expect("REAL_JAVA: cargo xtask test --only Java");
    let otlp = format!("127.0.0.1:{}", Ports::free().traces);
    let span = json!({
        "traceId": format!("{TRACE:032x}"), "spanId": "00000000000012ff", "parentSpanId": format!("{PARENT:016x}"),
        "name": "java.otlp", "kind": 1, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000001000000",
    });
    let spans = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]});
    let function = Function {
        command: [&java, "-XX:TieredStopAtLevel=1", "-Xshare:auto", "Function.java", client]
            .map(str::to_owned)
            .to_vec(),
        file: ("Function.java", FUNCTION),
        thrown: "Function.handle(Function.java",
        variables: vec![
            ("CALLERS_TRACE", TRACE.to_string()),
            ("CALLERS_SPAN", PARENT.to_string()),
            ("OTLP_TRACES", spans.to_string()),
            ("DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT", otlp),
        ],
    };
    let (answer, state) = check(&function).await;
    assert_eq!(answer["sent"], json!([200, 200]));
    let trace = callers(&state);
    let roots = named(trace, "aws.lambda");
    let work: Vec<_> =
        trace.spans.iter().filter(|span| [4711, 0x12ff].contains(&span.span_id.get())).collect();
    assert_eq!(work.len(), 2, "{trace:#?}");
    for span in work {
        assert!(roots.iter().any(|root| span.parent_id == Some(root.span_id)), "{trace:#?}");
    }
}

#[tokio::test]
#[ignore = "needs Java: cargo xtask test --only Java"]
async fn a_java_function_whose_http_client_offers_http_2() {
    speaks("HttpClient").await;
}

#[tokio::test]
#[ignore = "needs Java: cargo xtask test --only Java"]
async fn a_java_function_with_the_older_http_client() {
    speaks("HttpURLConnection").await;
}
