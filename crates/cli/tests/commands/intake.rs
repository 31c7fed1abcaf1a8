//! `dd-lambda intake`: what it tells of requests, TLS, keys and limits of rate.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::common::{Folder, Running, bootstrap, dd_lambda, http, run};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Where it says that something is: the last word of its line.
fn place(intake: &Running, what: &str) -> String {
    let line = intake.line(|line| line.split_whitespace().next() == Some(what));
    line.split_whitespace().last().unwrap().to_owned()
}

#[test]
fn the_intake_alone_tells_every_request_and_what_is_wrong_with_it() {
    let folder = Folder::new("intake");
    let whole = r#"[{"message":"m","ddsource":"lambda","service":"s"}]"#;
    for (key, body, status, says, code) in [
        (KEY, whole, 202, "/api/v2/logs  1 items", 0),
        (KEY, "{broken", 400, "not readable as logs", 1),
        (
            KEY,
            r#"[{"message":"m","service":"s"}]"#,
            202,
            "log-source [0].ddsource is missing, not a source",
            1,
        ),
        (
            "hush",
            whole,
            202,
            "key-shape header DD-API-KEY is of 4 characters, not 32 hexadecimal digits: refused",
            1,
        ),
    ] {
        let args = ["intake", "--strict", "--requests", "1"];
        let mut intake = Running::start(dd_lambda(&folder.0, &args), true);
        let url = place(&intake, "intake");
        let head =
            format!("POST /api/v2/logs HTTP/1.1\r\ncontent-type: application/json\r\ndd-api-key: {key}");
        assert_eq!(http(&url, &head, body).0, status, "{body}");
        let line = intake.line(|line| line.contains(says));
        assert!(line.trim_start().starts_with(&status.to_string()) || status == 202, "{line}");
        assert_eq!(intake.child.wait().unwrap().code(), Some(code), "{body}");
    }
}

#[test]
fn keys_and_rates_are_as_they_were_asked_for() {
    let folder = Folder::new("rates");
    let args = ["intake", "--key", KEY, "--rate", "1/4000000000", "--requests", "3", "--json"];
    let mut intake = Running::start(dd_lambda(&folder.0, &[&args[..], &["--port", "0"]].concat()), true);
    let url = place(&intake, "intake");
    let get = |key: &str| http(&url, &format!("GET /api/v1/validate HTTP/1.1\r\ndd-api-key: {key}"), "").0;
    assert_eq!([get("0123456789abcdef0123456789abcdee"), get(KEY), get(KEY)], [403, 429, 429]);
    assert_eq!(intake.child.wait().unwrap().code(), Some(0));
    for (args, says) in [
        (&["intake", "--rate", "often"][..], "such as 100/60: 100 requests in 60 seconds"),
        (&["intake", "--rate", "1/0"], "such as 100/60"),
        (&["intake", "--ca-out", "x.pem"], "--tls"),
    ] {
        let (status, _, said) = run(&folder.0, args);
        assert!(status == Some(2) && said.contains(says), "{args:?}: {said}");
    }
    let (status, _, said) = run(&folder.0, &["intake", "--tls", "--ca-out", "none/x.pem", "--requests", "0"]);
    assert!(status == Some(1) && said.contains("--ca-out none/x.pem"), "{said}");
}

/// The extension, which lies beside dd-lambda once it is built.
fn extension() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).current_dir(root).args(["build", "--quiet", "--package", "extension"]).status();
    assert!(built.unwrap().success());
    Path::new(env!("CARGO_BIN_EXE_dd-lambda")).with_file_name("datadog-agent")
}

/// The real extension trusts the authority that it is told of, and nothing that it sends breaks a rule.
#[test]
fn the_extension_sends_over_tls_what_datadog_wants() {
    let folder = Folder::new("tls");
    let root = &folder.0;
    let extension = extension();
    let intake = Running::start(dd_lambda(root, &["intake", "--tls", "--ca-out", "ca.pem"]), true);
    let url = place(&intake, "intake");
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let page = place(&intake, "page");
    let settings = intake.line(|line| line.contains("DD_TLS_CERT_FILE="));
    let authority = root.canonicalize().unwrap().join("ca.pem");
    assert!(settings.ends_with(&format!(" DD_TLS_CERT_FILE={}", authority.display())), "{settings}");

    let function = format!("tiny={}", bootstrap().display());
    let mut args = vec!["invoke", "--function", &function, "--extension", extension.to_str().unwrap()];
    let names = ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"];
    let variables: Vec<_> = names.iter().map(|name| format!("{name}={url}")).collect();
    let trusted = format!("DD_TLS_CERT_FILE={}", authority.display());
    for variable in variables.iter().chain([&trusted]) {
        args.extend(["--env", variable]);
    }
    let (status, answer, said) = run(root, &args);
    assert_eq!((status, &*answer), (Some(0), "{\"event\":{},\"version\":\"one\"}\n"), "{said}");

    let ask = |path: &str| -> Value {
        let (status, body) = http(&page, &format!("GET {path} HTTP/1.1"), "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(ask("/local/wait?logs=1&points=1&timeout_ms=60000")["satisfied"], true, "{said}");
    let state = ask("/local/state");
    assert_eq!(state["violations"], json!([]), "{said}");
    assert_eq!(state["counts"]["failed_requests"], 0, "{state}");
    assert_eq!(ask("/local/run")["authority"], authority.to_str().unwrap());
    assert_eq!(intake.interrupt(), Some(0));
}
