//! What the page tells of what goes on: answers and errors of invocations, several at a time in one sandbox, what is
//! built anew, and what is not as Datadog wants it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::alone;
use crate::chromium::{Chromium, text};
use crate::stack::{Stack, post, program};

/// A function that runs four invocations at a time, each as long as its event says.
const FUNCTION: &str = r##"
use std::io::{BufRead, BufReader, Read, Write};
fn call(host: &str, head: &str, body: &str) -> (String, String) {
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let rest = format!("host: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(format!("{head} HTTP/1.1\r\n{rest}").as_bytes()).unwrap();
    let (mut reader, mut id, mut length, mut line) = (BufReader::new(stream), String::new(), 0, String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            match name {
                "lambda-runtime-aws-request-id" => id = value.to_owned(),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (id, String::from_utf8(body).unwrap())
}
fn serve() {
    let host = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    loop {
        let (id, event) = call(&host, "GET /2018-06-01/runtime/invocation/next", "");
        let ms: String = event.chars().filter(char::is_ascii_digit).collect();
        std::thread::sleep(std::time::Duration::from_millis(ms.parse().unwrap_or(0)));
        call(&host, &format!("POST /2018-06-01/runtime/invocation/{id}/response"), "{\"done\":true}");
    }
}
fn main() {
    let more: Vec<_> = (0..3).map(|_| std::thread::spawn(serve)).collect();
    serve();
    drop(more);
}
"##;

fn folder(name: &str) -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(folder.join("src")).unwrap();
    folder
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn an_invocation_shows_what_it_was_answered() {
    let _alone = alone();
    let function = format!("orders={}", program("orders-worker").display());
    let stack = Stack::start(&["dev", "--function", &function]);
    let endpoint = text(&stack.ask("local/run")["endpoint"]);
    for event in [r#"{"id":7}"#, r#"{"id":8,"fail":true}"#] {
        assert_eq!(post(&endpoint, "/2015-03-31/functions/orders/invocations", &[], event.as_bytes()), 200);
    }
    let mut page = Chromium::start();
    page.window(1400, 900);
    page.open(&stack.page);
    page.click("document.querySelector('.invocations .row:last-child')");
    page.until("[...document.querySelectorAll('.side .json')].some((one) => one.textContent.includes('fulfilled: 1'))");
    page.until(
        "[...document.querySelectorAll('.side .json')].some((one) => one.textContent.includes('id: 7'))",
    );
    page.picture("answer");
    page.click("document.querySelector('.invocations .row:first-child')");
    page.until(
        "[...document.querySelectorAll('.side h3')].some((one) => one.textContent.startsWith('Error'))",
    );
    let said = page
        .until("[...document.querySelectorAll('.side .alarm')].map((one) => one.textContent).join(' | ')");
    let answered = stack.ask(&format!("local/invocations/{}", text(&last(&stack)["request_id"])));
    let message = text(&answered["answer"]["payload"]["errorMessage"]);
    assert!(message.len() > 5 && text(&said).contains(&message), "{said}: {answered}");
    page.picture("answer-error");
    page.assert_quiet(&stack.page);
}

fn last(stack: &Stack) -> Value {
    stack.ask("local/run")["invocations"].as_array().unwrap().last().unwrap().clone()
}

/// Several invocations stand beside each other, each from its begin to its end.
#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn invocations_of_managed_instances_stand_beside_each_other() {
    let _alone = alone();
    let folder = folder("managed");
    let (source, bootstrap) = (folder.join("function.rs"), folder.join("bootstrap"));
    std::fs::write(&source, FUNCTION).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc).args(["--edition=2021", "-o"]).arg(&bootstrap).arg(&source).status();
    assert!(built.unwrap().success());
    drop(program("orders-worker"));
    let function = format!("many={}", bootstrap.display());
    let stack = Stack::start(&["dev", "--mode", "managed-instances:4", "--function", &function]);
    let endpoint = text(&stack.ask("local/run")["endpoint"]);
    let calls: Vec<_> = [600, 300, 450, 200]
        .into_iter()
        .map(|ms| {
            let endpoint = endpoint.clone();
            std::thread::spawn(move || {
                post(
                    &endpoint,
                    "/2015-03-31/functions/many/invocations",
                    &[],
                    format!("{{\"ms\":{ms}}}").as_bytes(),
                )
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.join().unwrap(), 200);
    }
    let mut page = Chromium::start();
    page.window(1400, 900);
    page.open(&format!("{}#view=sandboxes", stack.page));
    page.until("document.querySelectorAll('.many .flight').length === 4");
    page.until(
        "[...document.querySelectorAll('.many .flight')].every((one) => one.textContent.includes('success'))",
    );
    // They overlap: all of them begin before the first of them ends.
    let boxes = page.eval(
        "[...document.querySelectorAll('.many .flight .bar')].map((one) => [one.getBoundingClientRect().left, one.getBoundingClientRect().right])",
    );
    let boxes: Vec<[f64; 2]> = serde_json::from_value(boxes).unwrap();
    let (last_begin, first_end) =
        boxes.iter().fold((f64::MIN, f64::MAX), |(a, b), [from, to]| (a.max(*from), b.min(*to)));
    assert!(last_begin < first_end, "{boxes:?}");
    page.picture("managed-light");
    page.dark(true);
    page.picture("managed-dark");
    page.window(800, 900);
    page.picture("half-managed-dark");
    page.click("document.querySelector('.many .flight a')");
    page.until("document.querySelector('.invocations .side h2')?.textContent === 'many'");
    page.assert_quiet(&stack.page);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn what_is_built_anew_is_told() {
    let _alone = alone();
    let folder = folder("rebuilt");
    let source = folder.join("src/main.rs");
    let manifest = "[package]\nname = \"many\"\nedition = \"2021\"\n[workspace]\n";
    std::fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    std::fs::write(&source, FUNCTION).unwrap();
    let stack = Stack::start_in(&folder, &["dev", "--package", "many", "--no-extension"]);
    let mut page = Chromium::start();
    page.window(1400, 900);
    page.open(&stack.page);
    page.until("document.querySelector('#view').textContent.includes('Nothing has been invoked yet')");
    assert_eq!(page.eval("document.querySelector('#rebuilt').hidden"), true);

    std::fs::write(&source, "fn main() { broken }").unwrap();
    page.until(
        "document.querySelector('#rebuilt .failed pre')?.textContent.includes('cannot find value `broken`')",
    );
    let said = text(&page.eval("document.querySelector('#rebuilt').textContent"));
    assert!(
        said.contains("many does not build, and serves on as it was") && said.contains("src/main.rs changed"),
        "{said}"
    );
    page.picture("rebuilt-failed");
    std::fs::write(&source, FUNCTION.replace("true", "false")).unwrap();
    page.until("document.querySelector('#rebuilt .swapped')?.textContent.includes('many was built anew in')");
    page.picture("rebuilt-swapped");
    page.assert_quiet(&stack.page);
    drop(stack);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
#[ignore = "needs chromium: cargo xtask test --only browser"]
fn what_is_not_as_datadog_wants_it_is_told() {
    let _alone = alone();
    let mut stack = Stack::start(&["intake"]);
    let url = stack.word("intake");
    let key = "0123456789abcdef0123456789abcdef";
    let headers = [("dd-api-key", key), ("content-type", "application/json")];
    let logs = json!([{ "message": "hi", "ddsource": "lambda", "service": "orders" }]).to_string();
    assert_eq!(post(&url, "/api/v2/logs", &headers, logs.as_bytes()), 202);
    let mut page = Chromium::start();
    page.window(1400, 900);
    page.open(&stack.page);
    page.until("document.querySelector('nav a:last-child b').textContent === '1'");
    assert_eq!(page.eval("document.querySelector('#broken').hidden"), true);

    let old =
        json!({ "series": [{ "metric": "1st <b>", "type": 1, "points": [{ "timestamp": 5, "value": 1 }] }] });
    assert_eq!(post(&url, "/api/v2/series", &headers, old.to_string().as_bytes()), 202);
    page.until("document.querySelector('#broken').textContent === '⚠ 3 violations'");
    page.click("document.querySelector('#broken')");
    page.until("document.querySelectorAll('.requests .row').length === 1");
    page.click("document.querySelector('.requests .row')");
    for words in ["metric-name", "series[0].metric is 1st <b>", "metric-time", "metric-interval", "→ dropped"]
    {
        page.until(&format!("document.querySelector('.side .rules')?.textContent.includes('{words}')"));
    }
    page.picture("violations-light");
    page.dark(true);
    page.picture("violations-dark");
    page.window(800, 900);
    page.picture("half-violations-dark");
    // Narrow, the head is two lines all the same.
    page.window(400, 800);
    page.until("document.querySelector('#keys').getBoundingClientRect().bottom < document.querySelector('nav').getBoundingClientRect().top + 4");
    page.until("document.querySelector('#keys').getBoundingClientRect().top < 20");
    page.press("Escape");
    page.picture("narrow-violations-dark");
    page.window(800, 900);
    page.click("document.querySelector('.requests .find')");
    page.write("rule:span-name");
    page.until("document.querySelectorAll('.requests .row').length === 0");
    page.assert_quiet(&stack.page);
}
