//! What arrives may be written by anybody, and a browser has other pages open.

use std::io::Read;
use std::net::TcpListener;

use crate::chromium::{Chromium, PATIENCE, text};
use crate::stack::{gauge, logs, pointer, post, send, span, traces};
use crate::{alone, fill, intake, line};

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn nothing_that_arrives_becomes_markup() {
    let _alone = alone();
    let (stack, url) = intake();
    let evil = "<img src=x onerror=\"window.hurt=1\"><script>window.hurt=1</script>";
    let mut root = span(1, 1, 0, evil, 0, 5000);
    root.service = evil.into();
    root.resource = evil.into();
    root.kind = evil.into();
    root.error = true;
    for key in ["error.message", "error.type", "error.stack", "request_id", evil] {
        root.meta.insert(key, evil);
    }
    let mut child = span(1, 2, 1, evil, 1000, 2000);
    child.links.push(pointer(evil, evil));
    send(&url, &traces(vec![root, child]));
    send(&url, &logs(&[line(evil, 1, 1), evil.to_owned()]));
    send(&url, &gauge(evil, &format!("{evil}:{evil}"), &[1.0, 2.0]));
    post(&url, "/api/v2/unknown", &[("dd-api-key", "k"), ("x-evil", evil)], evil.as_bytes());
    let mut page = Chromium::start();
    let places = [
        "invocations",
        "traces",
        "traces&as=flame",
        "traces&span=1",
        "traces&span=2",
        "logs",
        "metrics",
        "sandboxes",
        "requests",
    ];
    let details = ["requests&n=1", "requests&n=2", "requests&n=4", "requests&n=4&raw=yes"];
    for place in places.iter().chain(&details) {
        page.open(&format!("{}#view={place}", stack.page));
        if place.starts_with("traces") {
            page.until("document.querySelector('.traces .middle h2').textContent.includes('<img')");
        }
        page.eval("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
        let made = page.eval("document.querySelectorAll('main img, main script').length");
        assert_eq!((made, page.eval("window.hurt ?? null")), (0.into(), serde_json::Value::Null), "{place}");
    }
    page.open(&format!("{}#view=logs", stack.page));
    page.until("document.querySelectorAll('.logs .row').length === 2");
    page.click("document.querySelector('.logs .row')");
    page.until("document.querySelector('.logs .side pre').textContent.includes('<img')");
    // The address is data as well.
    page.open(&format!("{}#view=logs&q=%3Cimg%20src%3Dx%20onerror%3Dhurt%3D1%3E&line=%3Cb%3E", stack.page));
    assert_eq!(page.eval("document.querySelectorAll('main img').length"), 0);
    page.assert_quiet(&stack.page);
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn neither_the_page_nor_a_web_site_gets_past_this_machine() {
    let _alone = alone();
    let (stack, url) = intake();
    fill(&url);
    let mut page = Chromium::start();
    page.open(&stack.page);
    // Without a local Lambda there is nothing to invoke: what arrived comes first.
    page.until(
        "document.querySelector('#view.traces') && document.querySelectorAll('.fall .row').length === 4",
    );
    page.assert_quiet(&stack.page);
    // Whatever had itself run in the page could neither load nor tell anything.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    for (directive, act) in [
        ("connect-src", "fetch(elsewhere).catch(() => {})"),
        ("connect-src", "navigator.sendBeacon(elsewhere)"),
        ("img-src", "new Image().src = elsewhere"),
        (
            "script-src-elem",
            "document.head.append(Object.assign(document.createElement('script'), { src: elsewhere }))",
        ),
        (
            "script-src-elem",
            "document.head.append(Object.assign(document.createElement('script'), { text: 'window.hurt = 1' }))",
        ),
        (
            "style-src-elem",
            "document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: elsewhere }))",
        ),
        (
            "frame-src",
            "document.body.append(Object.assign(document.createElement('iframe'), { src: elsewhere }))",
        ),
        (
            "form-action",
            "(() => { const form = document.createElement('form'); form.action = elsewhere; document.body.append(form); form.submit(); })()",
        ),
    ] {
        let refused = page.eval(&format!(
            "new Promise((told) => {{ const elsewhere = 'http://127.0.0.1:{port}/'; document.addEventListener('securitypolicyviolation', \
             (event) => told(event.effectiveDirective), {{ once: true }}); {act}; }})"
        ));
        assert_eq!(text(&refused), directive, "{act}");
    }
    assert_eq!(page.eval("window.hurt ?? null"), serde_json::Value::Null);
    // A web site in the same browser can neither read nor change what is here.
    let web_site = [("origin", "https://example.org"), ("content-type", "text/plain")];
    assert_eq!(post(stack.page.trim_end_matches('/'), "/local/faults", &web_site, b"{\"hang\":true}"), 403);
    assert_eq!(stack.ask("local/faults"), serde_json::json!([]));
    // The browser may have opened a connection in advance, but nobody said anything on it.
    drop(page);
    while let Ok((mut connection, _)) = elsewhere.accept() {
        connection.set_nonblocking(false).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut told = Vec::new();
        let _ = connection.read_to_end(&mut told);
        assert_eq!(String::from_utf8_lossy(&told), "");
    }
}
