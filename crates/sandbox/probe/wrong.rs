//! Calls that Lambda does not accept, in every state of an extension.

use std::env;
use std::thread;

use crate::{SUBSCRIPTION, call, say};

const REGISTER: &str = "/2020-01-01/extension/register";
const NEXT: &str = "/2020-01-01/extension/event/next";
const INIT_ERROR: &str = "/2020-01-01/extension/init/error";
const EXIT_ERROR: &str = "/2020-01-01/extension/exit/error";
const TELEMETRY: &str = "/2022-07-01/telemetry";
const NOBODY: (&str, &str) = ("lambda-extension-identifier", "00000000-0000-4000-8000-000000000000");
const BAD: (&str, &str) = ("lambda-extension-function-error-type", "Ext.Bad");

/// Every way to register wrongly, or to call wrongly.
pub(crate) fn registrations(api: &str, name: &str) {
    let named = [("lambda-extension-name", name)];
    call(api, "POST", REGISTER, &[], b"{}").report("no name");
    call(api, "POST", REGISTER, &named, br#"{"events":["BOGUS"]}"#).report("bogus");
    call(api, "POST", REGISTER, &[("lambda-extension-name", "inside")], br#"{"events":["SHUTDOWN"]}"#)
        .report("inside");
    call(api, "POST", REGISTER, &named, br#"{"configurationKeys":["x"],"events":[]}"#).report("keys");
    call(api, "POST", REGISTER, &named, b"{").report("not JSON");
    call(api, "GET", NEXT, &[], b"").report("no id");
    call(api, "GET", NEXT, &[("lambda-extension-identifier", "x")], b"").report("no uuid");
    call(api, "GET", NEXT, &[NOBODY], b"").report("unknown");
    call(api, "POST", EXIT_ERROR, &[NOBODY], b"").report("no type");
    call(api, "GET", "/2018-06-01/ping", &[], b"").report("ping");
}

/// Before registering: while the runtime is not there, so that there may be agents inside it.
pub(crate) fn unregistered(api: &str) {
    let inside = [("lambda-extension-name", "inside")];
    let answer = call(api, "POST", REGISTER, &inside, br#"{"events":[]}"#);
    answer.report("inside, at first");
    call(api, "POST", REGISTER, &inside, br#"{"events":["INVOKE"]}"#).report("inside");
    // An initialisation waits for every agent to ask for an event.
    let (host, inner) = (api.to_owned(), answer.header("lambda-extension-identifier"));
    thread::spawn(move || call(&host, "GET", NEXT, &[("lambda-extension-identifier", &inner)], b""));
}

/// After registering, before the first event.
pub(crate) fn registered(api: &str, id: &str, name: &str) {
    let (me, named) = (("lambda-extension-identifier", id), ("lambda-extension-name", name));
    say(&format!("id {id}"));
    call(api, "POST", REGISTER, &[named], br#"{"events":["INVOKE"]}"#).report("registered again");
    call(api, "POST", EXIT_ERROR, &[me], b"").report("exit error without a type");
    call(api, "POST", EXIT_ERROR, &[NOBODY, BAD], b"").report("error of nobody");
}

/// While an invocation runs, whose function waits for the gate.
pub(crate) fn running(api: &str, id: &str, name: &str) {
    let (me, named) = (("lambda-extension-identifier", id), ("lambda-extension-name", name));
    call(api, "POST", REGISTER, &[named], br#"{"events":["INVOKE"]}"#).report("registered while running");
    let late = [("lambda-extension-name", "late-comer")];
    call(api, "POST", REGISTER, &late, br#"{"events":["INVOKE"]}"#).report("late");
    call(api, "POST", INIT_ERROR, &[me, BAD], b"").report("init error while running");
    call(api, "PUT", TELEMETRY, &[me], SUBSCRIPTION).report("late subscription");
    // Of two at a time the second is wrong; the first waits for as long as there is no event.
    let gate = env::var("PROBE_GATE").unwrap_or_default();
    let calls = [(), ()].map(|()| {
        let (api, id, gate) = (api.to_owned(), id.to_owned(), gate.clone());
        thread::spawn(move || {
            let answer = call(&api, "GET", NEXT, &[("lambda-extension-identifier", &id)], b"");
            if answer.status == 403 {
                answer.report("second next");
                let _ = std::fs::write(gate, "");
            } else {
                say("first next is over");
                std::process::exit(0);
            }
        })
    });
    for call in calls {
        let _ = call.join();
    }
}

/// Reports twice, asks for an event, and ends.
pub(crate) fn exit_error(api: &str, id: &str) {
    let me = ("lambda-extension-identifier", id);
    say(&format!("id {id}"));
    for _ in 0..2 {
        call(api, "POST", EXIT_ERROR, &[me, BAD], b"").report("exit/error");
    }
    call(api, "GET", NEXT, &[me], b"").report("next after it");
    std::process::exit(1);
}

/// Every field of a subscription in every wrong way, then a right one.
pub(crate) fn subscriptions(api: &str, id: &str) {
    let good = [
        ("schemaVersion", "\"2022-12-13\""),
        ("types", "[\"platform\"]"),
        ("buffering", "{}"),
        ("destination", r#"{"protocol":"TCP","port":9}"#),
    ];
    let wrong = [
        ("schemaVersion", ""),
        ("schemaVersion", "7"),
        ("schemaVersion", "\"2020-01-01\""),
        ("types", ""),
        ("types", "\"platform\""),
        ("types", "[]"),
        ("types", "[7]"),
        ("types", "[\"bogus\"]"),
        ("types", "[\"platform\",\"platform\"]"),
        ("buffering", "7"),
        ("buffering", r#"{"maxItems":999}"#),
        ("buffering", r#"{"maxItems":10001}"#),
        ("buffering", r#"{"maxItems":"1000"}"#),
        ("buffering", r#"{"maxBytes":262143}"#),
        ("buffering", r#"{"maxBytes":1048577}"#),
        ("buffering", r#"{"timeoutMs":24}"#),
        ("buffering", r#"{"timeoutMs":30001}"#),
        ("destination", ""),
        ("destination", "7"),
        ("destination", r#"{"protocol":"UDP","port":9}"#),
        ("destination", r#"{"protocol":"TCP"}"#),
        ("destination", r#"{"protocol":"TCP","port":0}"#),
        ("destination", r#"{"protocol":"TCP","port":65536}"#),
        ("destination", r#"{"protocol":"TCP","port":9001}"#),
        ("destination", r#"{"protocol":"HTTP"}"#),
        ("destination", r#"{"protocol":"HTTP","URI":"http://localhost:9"}"#),
        ("destination", r#"{"protocol":"HTTP","URI":"https://sandbox:9"}"#),
        ("destination", r#"{"protocol":"HTTP","URI":"http://sandbox:9001"}"#),
        ("destination", r#"{"protocol":"HTTP","URI":"\u0000"}"#),
    ];
    let me = [("lambda-extension-identifier", id)];
    let body = |field: &str, value: &str| {
        let fields: Vec<String> = good
            .iter()
            .map(|(name, right)| (name, if *name == field { value } else { right }))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(","))
    };
    for (field, value) in wrong {
        let answer = call(api, "PUT", TELEMETRY, &me, body(field, value).as_bytes());
        answer.report(&format!("subscription {field} {value}"));
    }
    call(api, "PUT", TELEMETRY, &me, b"[]").report("subscription as a list");
    call(api, "PUT", TELEMETRY, &me, b"").report("subscription of nothing");
    call(api, "PUT", TELEMETRY, &me, body("", "").as_bytes()).report("valid");
}
