//! HTTP from every front end that Lambda has, through tower layers of the user's own; and HTTP to others.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::agent::{Request, serve};
use crate::seen::Span;
use crate::world::{World, json as body};

const TRACE: &str = "66a1b2c300000000112210f47de98115";

fn status(span: &Span) -> String {
    span.tag("http.status_code").to_owned()
}

#[tokio::test]
async fn a_stack_of_layers_behind_every_front_end() {
    /// No span says that a load balancer was there: an event of one does not tell when it came.
    const FRONT_ENDS: [(&str, &str, &str, &str); 4] = [
        ("http-api", "aws.httpapi", "api-gateway", "GET"),
        ("rest-api", "aws.apigateway", "api-gateway", "POST"),
        ("function-url", "aws.lambda.url", "lambda-function-url", "GET"),
        ("alb", "", "application-load-balancer", "GET"),
    ];
    for world in World::both(env!("CARGO_BIN_EXE_stack"), &[]).await {
        let mut answers = Vec::new();
        for (event, ..) in FRONT_ENDS {
            let answer = world.invoke(testkit::event(event)).await;
            let response = body(&answer);
            assert_eq!(response["statusCode"], 200, "{event}: {response}");
            // A REST API's stage is part of the path.
            assert!(response["body"].as_str().unwrap().ends_with("/orders/17"), "{event}: {response}");
            let headers =
                [&response["headers"], &response["multiValueHeaders"]].map(Value::to_string).concat();
            assert!(headers.contains("shop"), "the layer's own header in {response}");
            answers.push(answer);
        }
        let seen = world.end(|seen| seen.count("aws.lambda") == FRONT_ENDS.len()).await;
        for (answer, (event, name, source, method)) in answers.iter().zip(FRONT_ENDS) {
            let root = seen.root(answer.request_id.as_str());
            let of_root = "aws.lambda 200\n  measure\n  handler\n".to_owned();
            let below = of_root.lines().map(|line| format!("  {line}\n")).collect::<String>();
            let (front, expect) = match seen.spans.iter().find(|span| Some(span.id) == root.parent) {
                Some(front) => (front, format!("{name} 200\n{below}")),
                None => (root, of_root),
            };
            assert_eq!(front.name, if name.is_empty() { "aws.lambda" } else { name }, "{event}");
            assert_eq!(seen.tree(front, status), expect);
            assert_eq!((front.trace.as_str(), front.parent), (TRACE, Some(987_654_321)), "{event}");
            assert_eq!(
                (root.tag("function_trigger.event_source"), root.tag("http.method")),
                (source, method)
            );
        }
        let sizes = seen.logs.iter().filter(|line| line["message"] == "event");
        assert_eq!(sizes.count(), FRONT_ENDS.len());
    }
}

#[tokio::test]
async fn requests_of_reqwest() {
    let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
    let kept = asked.clone();
    let stock = serve(move |request| {
        let status = if request.line().contains("/bucket/") { "403 Forbidden" } else { "200 OK" };
        kept.lock().unwrap().push(request);
        Some(status)
    })
    .await;
    let url = format!("http://127.0.0.1:{}", stock.port);
    for world in World::both(env!("CARGO_BIN_EXE_client"), &[("STOCK_URL", &url)]).await {
        let answer = world.invoke("{}").await;
        assert_eq!(body(&answer), json!({"stock": 200, "signed": 403}));
        let seen = world.end(|seen| seen.count("http.request") == 2).await;
        let root = seen.root(answer.request_id.as_str());
        let expect = "aws.lambda\n  handler\n    http.request 200\n    http.request 403\n";
        assert_eq!(seen.tree(root, status), expect);
        let [signed, told] = [(); 2].map(|()| asked.lock().unwrap().pop().unwrap());
        let requests = seen.all("http.request");
        let of = |path: &str| {
            let found = requests.iter().find(|span| span.tag("http.url") == format!("{url}{path}"));
            found.unwrap_or_else(|| panic!("{path} in {requests:?}"))
        };
        let found = of("/stock/17");
        assert_eq!(told.header("x-datadog-parent-id"), Some(found.id.to_string().as_str()));
        assert_eq!(
            told.header("traceparent"),
            Some(format!("00-{}-{:016x}-01", root.trace, found.id).as_str())
        );
        assert!(!format!("{seen:?}").contains("s3cret"));
        // A header more, and its signature would be wrong.
        assert!(of("/bucket/order-17").error);
        for name in ["x-datadog-trace-id", "traceparent", "tracestate", "baggage"] {
            assert_eq!(signed.header(name), None);
        }
    }
}
