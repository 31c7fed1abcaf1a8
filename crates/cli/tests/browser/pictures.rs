//! Pictures of every view, in light and in dark, in `target/screenshots`: for people to look at. What can be said of
//! a picture without eyes is asserted. With `UPDATE_DOCS=1` the picture of the README is made anew:
//!
//! ```sh
//! UPDATE_DOCS=1 cargo xtask test --only browser
//! ```

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::UnixNanos;
use serde_json::{Value, json};

use crate::chromium::{Chromium, text};
use crate::stack::{Stack, gauge, post, program, send, span, trace_id, traces};

/// Where the README looks.
const PICTURE: &str = "../../docs/images/trace.png";
const MOST_BYTES: usize = 300_000;

fn now() -> UnixNanos {
    UnixNanos::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// `POST /orders` through an API Gateway HTTP API by the span 77 of this trace.
fn http(trace: u64, now: UnixNanos) -> String {
    json!({
        "version": "2.0",
        "routeKey": "POST /orders",
        "rawPath": "/orders",
        "rawQueryString": "",
        "headers": {
            "content-type": "application/json",
            "host": "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
            "user-agent": "web-shop/2.4",
            "x-datadog-trace-id": trace.to_string(),
            "x-datadog-parent-id": "77",
            "x-datadog-sampling-priority": "1",
            "x-datadog-tags": format!("_dd.p.dm=-1,_dd.p.tid={:016x}", trace_id(trace).high()),
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
            "http": { "method": "POST", "path": "/orders", "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7" },
            "requestId": "JKJaXmPLvHcESHA=",
            "stage": "$default",
            "timeEpoch": now.as_millis(),
        },
        "body": json!({ "id": 1001, "item": "espresso machine" }).to_string(),
        "isBase64Encoded": false,
    })
    .to_string()
}

fn message(now: UnixNanos) -> String {
    let sent = (now - Duration::from_millis(12)).as_millis().to_string();
    json!({ "Records": [{
        "messageId": "059f36b4-87a3-44ab-83d2-661975830a7d",
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": json!({ "id": 2001, "item": "coffee beans" }).to_string(),
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": sent,
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": now.as_millis().to_string(),
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:orders-queue",
        "awsRegion": "us-east-1",
    }] })
    .to_string()
}

/// Two functions that were invoked some times, one of them by the other: the address of their Invoke API, and of
/// the local Datadog.
fn orders() -> Stack {
    let [api, worker] =
        ["orders-api", "orders-worker"].map(|name| format!("{name}={}", program(name).display()));
    let mut stack = Stack::start(&[
        "dev",
        "--function",
        &api,
        "--function",
        &worker,
        "--env",
        "ORDERS_WORKER=orders-worker",
    ]);
    let intake = stack.word("intake");
    let run = stack.ask("local/run");
    let endpoint = run["endpoint"].as_str().unwrap();
    let invoke = |name: &str, event: &str| {
        post(endpoint, &format!("/2015-03-31/functions/{name}/invocations"), &[], event.as_bytes())
    };
    for trace in [0x0b50_2f52_652d_d9f1, 0x0b50_2f52_652d_d9f2] {
        let start = UnixNanos::from_millis(now().as_millis());
        assert_eq!(invoke("orders-api", &http(trace, start)), 200);
        let mut shop = span(trace, 77, 0, "http.request", 0, 0);
        (shop.service, shop.resource, shop.kind) = ("web-shop".into(), "POST /orders".into(), "http".into());
        (shop.start, shop.duration) = (start, now().since(start));
        send(&intake, &traces(vec![shop]));
    }
    assert_eq!(invoke("orders-worker", &message(now())), 200);
    assert_eq!(invoke("orders-worker", r#"{"id":3001,"fail":true}"#), 200);
    send(&intake, &gauge("queue.depth", "env:local", &[3.0, 8.0, 5.0, 6.5, 2.0, 0.0, 4.0]));
    stack
}

/// Waits until the trace of the last invocation is there, and something of every other.
fn arrived(stack: &Stack) {
    let end = Instant::now() + crate::chromium::PATIENCE;
    let run = stack.ask("local/run");
    let all: Vec<_> =
        run["invocations"].as_array().unwrap().iter().map(|one| text(&one["request_id"])).collect();
    loop {
        let overview = stack.ask("local/overview");
        if all.iter().all(|id| overview["traces"].to_string().contains(id)) {
            return;
        }
        assert!(Instant::now() < end, "{all:?}: {overview}");
        stack.ask(&format!("local/wait?after={}&timeout_ms=5000", overview["version"]));
    }
}

/// What is looked at: the name of the picture, the place, and what is there when it is done.
fn places(stack: &Stack) -> Vec<(&'static str, String, &'static str)> {
    let overview = stack.ask("local/overview");
    let run = stack.ask("local/run");
    let last = run["invocations"].as_array().unwrap().last().unwrap()["request_id"].clone();
    let of = |words: &str| -> String {
        let all = overview["traces"].as_array().unwrap().iter();
        let mut found = all.filter(|trace| trace.to_string().contains(words));
        text(&found.next().unwrap_or_else(|| panic!("{words}: {overview}"))["trace_id"])
    };
    let [shop, failed] = [trace_id(0x0b50_2f52_652d_d9f1).to_string(), of(&text(&last))];
    let logs = "document.querySelectorAll('.under .row').length > 2";
    vec![
        ("invocations", "invocations".to_owned(), "document.querySelectorAll('.row').length === 6"),
        ("invocation", format!("invocations&id={}", text(&last)), "document.querySelector('.side a.strong')"),
        ("waterfall", format!("traces&trace={shop}"), logs),
        ("flame", format!("traces&trace={shop}&as=flame"), logs),
        ("found", format!("traces&trace={shop}&in=name:aws.lambda"), "document.querySelector('.dim')"),
        ("error", format!("traces&trace={failed}"), "document.querySelector('.alarm')"),
        ("logs", "logs".to_owned(), "document.querySelectorAll('.row').length > 6"),
        ("metrics", "metrics".to_owned(), "document.querySelectorAll('.metric canvas').length > 3"),
        ("sandboxes", "sandboxes".to_owned(), "document.querySelectorAll('.cycle').length > 1"),
        ("requests", "requests&n=2".to_owned(), "document.querySelector('.json')"),
        ("request-raw", "requests&n=2&raw=yes".to_owned(), "document.querySelector('.hex')"),
    ]
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn every_view_has_its_picture() {
    let _alone = crate::alone();
    let stack = orders();
    arrived(&stack);
    let mut page = Chromium::start();
    for (theme, dark) in [("light", false), ("dark", true)] {
        page.dark(dark);
        page.window(1400, 900);
        for (name, place, done) in places(&stack) {
            page.open(&format!("{}#view={place}", stack.page));
            page.until(&format!("Boolean({done})"));
            let file = page.picture(&format!("{name}-{theme}"));
            if (name, theme) == ("waterfall", "light") {
                keep(&file);
            }
            assert_eq!(overlaps(&mut page), json!([]), "{name}, {theme}");
        }
        page.press("?");
        page.until("document.querySelector('dialog').open");
        page.picture(&format!("help-{theme}"));
        page.window(800, 900);
        for (name, place, done) in places(&stack) {
            page.open(&format!("{}#view={place}", stack.page));
            page.until(&format!("Boolean({done})"));
            page.picture(&format!("half-{name}-{theme}"));
            assert_eq!(overlaps(&mut page), json!([]), "{name}, {theme}, 800");
        }
        page.window(400, 800);
        for (name, place, done) in places(&stack) {
            if ["invocations", "waterfall", "sandboxes", "logs"].contains(&name) {
                page.open(&format!("{}#view={place}", stack.page));
                page.until(&format!("Boolean({done})"));
                page.picture(&format!("narrow-{name}-{theme}"));
            }
        }
    }
    page.assert_quiet(&stack.page);
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn where_nothing_is_there_is_what_to_do() {
    let _alone = crate::alone();
    // Nobody invokes it: any program will do.
    let function = format!("orders-worker={}", env!("CARGO_BIN_EXE_dd-lambda"));
    for (kind, stack) in [
        ("dev", Stack::start(&["dev", "--no-extension", "--function", &function])),
        ("intake", Stack::start(&["intake"])),
    ] {
        let mut page = Chromium::start();
        page.window(1400, 900);
        page.dark(kind == "dev");
        for view in ["invocations", "traces", "logs", "metrics", "sandboxes", "requests"] {
            page.open(&format!("{}#view={view}", stack.page));
            let told = page.until(
                "[...document.querySelectorAll('.empty')].filter((one) => one.offsetParent).map((one) => one.innerText).join()",
            );
            page.picture(&format!("empty-{kind}-{view}"));
            assert!(text(&told).len() > 60, "{kind}, {view}: {told}");
        }
        page.assert_quiet(&stack.page);
    }
}

/// Takes the picture over into the docs when that is asked for. It has to be small.
fn keep(file: &Path) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let picture = std::fs::read(file).unwrap();
        assert!(picture.len() < MOST_BYTES, "{} bytes", picture.len());
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(PICTURE), picture).unwrap();
    }
}

/// Parts of the frame that lie on each other or stick out of the window.
fn overlaps(page: &mut Chromium) -> Value {
    page.eval(
        "(() => { const wrong = []; const seen = [...document.querySelectorAll('header > *, main > *')].filter((one) => one.offsetParent); \
         const boxes = seen.map((one) => [one.className || one.id || one.tagName, one.getBoundingClientRect()]).filter(([, box]) => box.width && box.height); \
         boxes.forEach(([name, box], at) => { \
           if (box.right > innerWidth + 1 || box.bottom > innerHeight + 1 || box.left < -1) wrong.push(`${name} sticks out`); \
           for (const [other, two] of boxes.slice(at + 1)) { \
             if (Math.min(box.right, two.right) - Math.max(box.left, two.left) > 1 && Math.min(box.bottom, two.bottom) - Math.max(box.top, two.top) > 1) wrong.push(`${name} lies on ${other}`); } }); \
         return wrong; })()",
    )
}
