//! The page in a real browser: the real `dd-lambda`, a headless Chromium, clicks and keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod chromium;
mod hostile;
mod news;
mod pictures;
mod stack;

use std::sync::{Mutex, MutexGuard, PoisonError};

use chromium::{Chromium, text};
use stack::{Stack, gauge, link, logs, pointer, post, program, send, span, trace_id, traces};

/// One browser at a time: several are slower together than one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A local Datadog alone: it, and where agents send to.
fn intake() -> (Stack, String) {
    let mut stack = Stack::start(&["intake"]);
    let url = stack.word("intake");
    (stack, url)
}

/// A log line that names its span.
fn line(message: &str, trace: u64, span: u64) -> String {
    let trace = trace_id(trace).to_string();
    serde_json::json!({ "message": message, "dd.trace_id": trace, "dd.span_id": span.to_string() })
        .to_string()
}

/// Two traces with a link and a pointer between them, logs, a metric.
fn fill(url: &str) {
    let mut root = span(1, 1, 0, "aws.lambda", 0, 50_000);
    root.resource = "orders-api".into();
    root.meta.insert("request_id", "r-1");
    let mut call = span(1, 3, 1, "aws.request", 12_000, 30_000);
    call.links.push(pointer("abc123", "d"));
    let mut failed = span(1, 4, 3, "fulfil", 14_000, 2000);
    failed.error = true;
    failed.service = "worker".into();
    failed.meta.insert("error.message", "no coffee left");
    let price = span(1, 2, 1, "price_order", 1000, 9000);
    send(url, &traces(vec![root, price, call, failed]));
    let mut other = span(2, 11, 0, "read_receipt", 90_000, 4000);
    other.resource = "receipts".into();
    other.links.extend([pointer("abc123", "u"), link(1, 2)]);
    send(url, &traces(vec![other]));
    send(
        url,
        &logs(&[line("a price was found", 1, 2), line("the coffee is gone", 1, 4), "plain words".to_owned()]),
    );
    send(url, &gauge("orders.open", "env:test", &[1.0, 4.0, 2.5]));
}

const SPAN_TITLE: &str = "document.querySelector('.traces .side h2')?.textContent";
const CHOSEN: &str = "document.querySelector('.fall .row[aria-selected=true] b')?.textContent";

fn row(list: &str, words: &str) -> String {
    format!(
        "[...document.querySelectorAll('{list} .row')].find((row) => row.textContent.includes('{words}'))"
    )
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn from_an_invocation_to_a_span_to_its_log() {
    let _alone = alone();
    let function = format!("orders={}", program("orders-worker").display());
    let stack = Stack::start(&["dev", "--function", &function]);
    let mut page = Chromium::start();
    page.open(&stack.page);
    page.until("document.querySelector('#view').innerText.includes('Nothing has been invoked yet')");

    // It is live: what is invoked now appears by itself.
    let endpoint = page.until("fetch('/local/run').then((one) => one.json()).then((run) => run.endpoint)");
    let path = "/2015-03-31/functions/orders/invocations";
    for event in [r#"{"id":7}"#, r#"{"id":8,"fail":true}"#] {
        assert_eq!(post(&text(&endpoint), path, &[], event.as_bytes()), 200);
    }
    page.until("document.querySelectorAll('.invocations .row').length === 2");
    page.until("document.querySelectorAll('.invocations .row .tag.error').length === 1");
    let cold = page.until("document.querySelector('.invocations .row:last-child .tag.cold')?.textContent");
    assert!(text(&cold).starts_with("cold "), "{cold}");
    for column in [".du", ".bi", ".me"] {
        page.until(&format!(
            "/\\d/.test(document.querySelector('.invocations .row:last-child {column}').textContent)"
        ));
    }

    page.click("document.querySelector('.invocations .row:last-child')");
    page.until(
        "document.querySelector('.invocations .side [aria-label=Event]')?.textContent.includes('id: 7')",
    );
    page.until("document.querySelector('.invocations .side').textContent.includes('order fulfilled')");
    page.click("document.querySelector('.invocations .side a.strong')");
    page.until(&format!("{SPAN_TITLE} === 'aws.lambda'"));
    page.click(&row(".fall", "fulfil"));
    page.until(&format!("{SPAN_TITLE} === 'fulfil'"));
    page.until("document.querySelector('.traces .side .logline')?.textContent.includes('order fulfilled')");
    page.until("document.querySelector('.under .row.here')?.textContent.includes('order fulfilled')");
    // And back: the log line leads to its span.
    page.press("Home");
    page.until(&format!("{SPAN_TITLE} === 'aws.lambda'"));
    page.click(&row(".under", "order fulfilled"));
    page.until(&format!("{SPAN_TITLE} === 'fulfil' && {CHOSEN} === 'fulfil'"));

    // The timeline of the sandbox, from the invocation.
    page.press("1");
    page.click("document.querySelector('.invocations .row:last-child')");
    page.click(
        "[...document.querySelectorAll('.side a.jump')].find((one) => one.textContent.includes('timeline'))",
    );
    page.until("document.querySelector('.cycle.chosen .story').textContent.includes('The caller had its answer after')");
    page.until("document.querySelectorAll('.cycle').length >= 3");
    // Not the inner text: that has only what is painted already.
    for words in ["Initialisation", "Invocation", "datadog-agent", "frozen", "billed", "Ready after"] {
        page.until(&format!("document.querySelector('.cycles').textContent.includes('{words}')"));
    }
    page.assert_quiet(&stack.page);
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn a_trace_is_read_with_the_mouse_and_its_address_is_kept() {
    let _alone = alone();
    let (stack, url) = intake();
    fill(&url);
    let mut page = Chromium::start();
    page.open(&format!("{}#view=traces", stack.page));
    page.click(&row("aside", "orders-api"));
    page.until("document.querySelectorAll('.fall .row').length === 4");

    // Search: what is not meant steps back, Enter goes on.
    page.click("document.querySelector('.traces .middle .find')");
    page.write("status:error");
    page.until("document.querySelectorAll('.fall .span.dim').length === 3");
    page.press("Enter");
    page.until(&format!("{SPAN_TITLE} === 'fulfil'"));
    page.until("document.querySelector('.alarm').textContent.includes('no coffee left')");
    page.press("Escape");
    page.until("document.querySelectorAll('.fall .span.dim').length === 0");

    // What is logged later appears by itself, beside the trace and beside its span.
    page.until("document.querySelectorAll('.under .row').length === 2");
    send(&url, &logs(&[line("nobody bought it", 1, 4)]));
    page.until("document.querySelectorAll('.under .row').length === 3");
    page.until("document.querySelector('.traces .side').textContent.includes('nobody bought it')");

    // The flame graph, a span of it, and the same after a reload.
    page.click("document.querySelector('.mode[data-as=flame]')");
    page.until("document.querySelector('#view').dataset.painted.includes('flame')");
    page.press("f");
    page.until("document.activeElement.className === 'flame'");
    for (key, name) in [
        ("ArrowUp", "aws.request"),
        ("ArrowUp", "aws.lambda"),
        ("ArrowDown", "price_order"),
        ("ArrowRight", "aws.request"),
    ] {
        page.press(key);
        page.until(&format!("{SPAN_TITLE} === '{name}'"));
    }
    let address = text(&page.eval("location.href"));
    let title = text(&page.eval(SPAN_TITLE));
    page.reload();
    page.until("document.querySelector('.flame canvas').width > 100");
    page.until(&format!("{SPAN_TITLE} === '{title}' && location.href === '{address}'"));
    page.until("document.querySelector('.mode[data-as=flame]').getAttribute('aria-pressed') === 'true'");
    let painted = "(() => { const c = document.querySelector('.flame canvas'); \
                   return c.getContext('2d').getImageData(0, 30, c.width, 10).data.some((one) => one > 0); })()";
    page.until(painted);

    // A link and a pointer lead to the other trace and back.
    page.open(&format!("{}#view=traces&trace={}&span=11", stack.page, trace_id(2)));
    page.click("[...document.querySelectorAll('.side a.jump')].find((one) => one.textContent.includes('the same aws.s3.object'))");
    page.until(&format!("{SPAN_TITLE} === 'aws.request'"));
    page.open(&format!("{}#view=traces&trace={}&span=11", stack.page, trace_id(2)));
    page.click("[...document.querySelectorAll('.side a.jump')].find((one) => one.textContent.includes('orders-api') && one.textContent.includes('span 2'))");
    page.until(&format!("{SPAN_TITLE} === 'price_order'"));
    page.assert_quiet(&stack.page);
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn all_views_are_reached_and_left_by_keys_alone() {
    let _alone = alone();
    let (stack, url) = intake();
    fill(&url);
    let mut page = Chromium::start();
    page.open(&stack.page);
    for (key, view) in [
        ("1", "invocations"),
        ("2", "traces"),
        ("3", "logs"),
        ("4", "metrics"),
        ("5", "sandboxes"),
        ("6", "requests"),
    ] {
        page.press(key);
        page.until(&format!("document.querySelector('#view.{view}') && document.querySelector('[aria-current=page]').hash === '#view={view}'"));
    }
    // A tree: down, in, out, closed.
    page.open(&format!("{}#view=traces&trace={}", stack.page, trace_id(1)));
    page.until(&format!("{CHOSEN} === 'aws.lambda'"));
    page.eval("document.querySelector('.fall').focus()");
    for (key, name) in [
        ("ArrowDown", "price_order"),
        ("ArrowDown", "aws.request"),
        ("ArrowRight", "fulfil"),
        ("ArrowLeft", "aws.request"),
    ] {
        page.press(key);
        page.until(&format!("{CHOSEN} === '{name}' && {SPAN_TITLE} === '{name}'"));
    }
    page.press("ArrowLeft");
    page.until("document.querySelectorAll('.fall .row').length === 3");
    page.until(
        "document.querySelector('.fall .row[aria-selected=true]').getAttribute('aria-expanded') === 'false'",
    );
    page.until("document.querySelector('.fall').getAttribute('aria-activedescendant') === document.querySelector('.fall .row[aria-selected=true]').id");
    page.press("f");
    page.until("document.activeElement.className === 'flame'");
    page.press("w");
    page.until("document.activeElement.classList.contains('fall')");
    // Search, and out of it again.
    page.press("/");
    page.until("document.activeElement.type === 'search'");
    page.write("name:price");
    page.until("document.querySelector('.hits').textContent.startsWith('1 span')");
    page.press("Escape");
    page.until("!location.hash.includes('in=') && document.activeElement.classList.contains('fall')");
    // Help opens and closes.
    page.press("?");
    page.until("document.querySelector('dialog').open");
    page.press("Escape");
    page.until("!document.querySelector('dialog').open");
    // Everything that takes the focus has a name.
    for view in ["invocations", "traces", "logs", "metrics", "sandboxes", "requests"] {
        page.open(&format!("{}#view={view}", stack.page));
        let nameless = page.eval(
            "[...document.querySelectorAll('button, a[href], input, select, [tabindex=\"0\"]')].filter((one) => one.offsetParent && \
             !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).map((one) => one.outerHTML)",
        );
        assert_eq!(nameless, serde_json::json!([]), "{view}");
        let mut seen = Vec::new();
        for _ in 0..12 {
            page.press("Tab");
            seen.push(text(&page.eval("document.activeElement.tagName + document.activeElement.className")));
        }
        assert!(seen.iter().any(|one| one.starts_with('A')), "{view}: {seen:?}");
        // Where nothing is there it is the command that would bring something.
        let goal = |one: &String| match view {
            "invocations" | "sandboxes" => one.starts_with("PRE"),
            _ => one.starts_with("INPUT") || one.contains("list"),
        };
        assert!(seen.iter().any(goal), "{view}: {seen:?}");
    }
    page.assert_quiet(&stack.page);
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn who_is_faster_than_the_answers_is_not_in_their_way() {
    let _alone = alone();
    let (stack, url) = intake();
    fill(&url);
    let mut page = Chromium::start();
    page.open(&stack.page);
    for _ in 0..20 {
        for key in ["2", "3", "4", "5", "6", "1"] {
            page.press(key);
        }
        page.press("2");
        page.until("Boolean(document.querySelector('#view.traces .fall .row'))");
    }
    page.assert_quiet(&stack.page);
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn logs_metrics_and_requests_are_searched_and_shown() {
    let _alone = alone();
    let (stack, url) = intake();
    fill(&url);
    let mut page = Chromium::start();
    page.open(&format!("{}#view=logs", stack.page));
    page.until("document.querySelectorAll('.logs .row').length === 3");
    page.click("document.querySelector('.logs .find')");
    page.write("coffee -price");
    page.until("document.querySelectorAll('.logs .row').length === 1 && location.hash.includes('q=coffee')");
    page.click("document.querySelector('.logs .row')");
    page.click("document.querySelector('.logs .side a.strong')");
    page.until(&format!("{SPAN_TITLE} === 'fulfil'"));

    page.press("4");
    page.until("document.querySelector('.metric h3')?.textContent === 'orders.open'");
    page.until("document.querySelector('.metric canvas')?.width > 50");
    let told = page.eval("document.querySelector('.plot').getAttribute('aria-label')");
    assert!(text(&told).contains("orders.open over time"), "{told}");

    page.press("6");
    page.until("document.querySelectorAll('.requests .row').length === 4");
    page.click(&row(".requests", "/api/v0.2/traces"));
    page.until("document.querySelector('.json')?.textContent.includes('read_receipt')");
    page.click("[...document.querySelectorAll('.mode')].find((one) => one.textContent === 'Raw')");
    page.until("/^000000  [0-9a-f]{2} /.test(document.querySelector('.hex')?.textContent)");
    page.assert_quiet(&stack.page);
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn it_is_dark_where_that_is_wished_and_narrow_where_it_has_to_be() {
    let _alone = alone();
    let (stack, url) = intake();
    fill(&url);
    let mut page = Chromium::start();
    page.dark(false);
    page.open(&format!("{}#view=traces", stack.page));
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = text(&page.eval(ground));
    page.dark(true);
    page.until(&format!("{ground} !== '{light}'"));
    let dark = text(&page.eval(ground));
    // By hand: light, whatever the system says; then dark; then as the system again.
    for (theme, colour) in [("light", &light), ("dark", &dark), ("system", &dark)] {
        page.press("t");
        page.until(&format!(
            "document.documentElement.dataset.theme === '{theme}' && {ground} === '{colour}'"
        ));
    }
    page.window(400, 800);
    for view in ["invocations", "traces", "logs", "metrics", "sandboxes", "requests"] {
        page.open(&format!("{}#view={view}", stack.page));
        let wide =
            page.eval("[document.documentElement.scrollWidth, document.querySelector('main').scrollWidth]");
        assert_eq!(wide, serde_json::json!([400, 400]), "{view}");
    }
    page.open(&format!("{}#view=traces", stack.page));
    page.click(&row("aside", "orders-api"));
    page.click(&row(".fall", "price_order"));
    page.until("Boolean(document.querySelector('.traces .side h2').offsetParent)");
    page.click("document.querySelector('.traces .side .close')");
    page.until("!document.querySelector('.traces .side').offsetHeight");
    page.assert_quiet(&stack.page);
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn a_trace_of_ten_thousand_spans_is_painted_soon() {
    const SPANS: u64 = 10_000;
    let _alone = alone();
    let (stack, url) = intake();
    let spans = (1..=SPANS).map(|id| {
        let parent = match id {
            1 => 0,
            batch if batch % 100 == 2 => 1,
            item => (item - 2) / 100 * 100 + 2,
        };
        let mut span = span(1, id, parent, "work", id * 10, 500);
        span.meta.insert("http.url", format!("/orders/{id}"));
        span.error = id % 500 == 0;
        span
    });
    let spans: Vec<_> = spans.collect();
    for part in spans.chunks(2500) {
        send(&url, &traces(part.to_vec()));
    }
    let mut page = Chromium::start();
    send(&url, &traces(vec![span(2, 20_001, 0, "small", 0, 10)]));
    page.open(&format!("{}#view=traces&trace={}", stack.page, trace_id(2)));
    page.until(&format!("Boolean({})", row("aside", "10,000 spans")));
    // From the click to the frame after the one that shows the rows.
    page.eval(
        "document.addEventListener('click', () => { const from = performance.now(); const look = () => \
         document.querySelectorAll('.fall .row').length > 10 ? requestAnimationFrame(() => { window.took = performance.now() - from; }) \
         : requestAnimationFrame(look); requestAnimationFrame(look); }, { once: true, capture: true })",
    );
    page.click(&row("aside", "10,000 spans"));
    let took = page.until("window.took").as_f64().unwrap();
    // Only what is seen is there.
    let rows = page.eval("document.querySelectorAll('.fall .row').length").as_u64().unwrap();
    assert!(rows < 100, "{rows}");
    let timed = |page: &mut Chromium, act: &str, done: &str| -> f64 {
        let script = format!(
            "new Promise((told) => {{ const from = performance.now(); {act}; const look = () => ({done}) \
             ? requestAnimationFrame(() => told(performance.now() - from)) : requestAnimationFrame(look); look(); }})"
        );
        page.eval(&script).as_f64().unwrap()
    };
    let end = timed(
        &mut page,
        "document.querySelector('.fall').scrollTop = 1e9",
        "document.querySelector('.fall .row:last-child').getAttribute('aria-posinset') === '10000'",
    );
    let flame = timed(
        &mut page,
        "document.querySelector('.mode[data-as=flame]').click()",
        "document.querySelector('#view').dataset.painted.includes('flame') && document.querySelector('.flame canvas')?.width > 100",
    );
    let found = timed(
        &mut page,
        "const field = document.querySelector('.traces .middle .find'); field.value = 'status:error'; field.dispatchEvent(new Event('input'))",
        "document.querySelector('.hits').textContent.startsWith('20 spans')",
    );
    eprintln!(
        "10,000 spans: painted {took:.0} ms after the click; to the end {end:.0} ms, flame graph {flame:.0} ms, search {found:.0} ms"
    );
    assert!(
        took < 15_000.0 && end < 5000.0 && flame < 5000.0 && found < 5000.0,
        "{took} {end} {flame} {found}"
    );
    page.assert_quiet(&stack.page);
}
