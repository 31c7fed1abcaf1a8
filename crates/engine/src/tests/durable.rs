//! Durable functions: log lines say whose part their invocation is, and those that come before that is known can wait.

use std::fmt::Write;

use model::{Batch, Signal};

use super::{Answer, World, settings};
use crate::Settings;

const EXECUTION: &str = "aws.durable.execution_id=i-1,aws.durable.execution_name=order-7";

fn logs(held: usize) -> Settings {
    Settings { enhanced_metrics: false, durable_hold: held, ..settings() }
}

/// What was delivered of log lines, each with what it says of an execution, in the order of delivery.
fn lines(world: &World) -> String {
    let mut out = String::new();
    for batch in &world.delivered {
        let Batch::Logs(logs) = batch else { continue };
        for log in logs {
            write!(out, "{}", log.message.split(' ').next().unwrap_or_default()).unwrap();
            match &log.durable {
                None => writeln!(out, ": -").unwrap(),
                Some(d) => {
                    let first = d.first_invocation.map_or(String::new(), |first| format!(" first={first}"));
                    let status = d.status.as_ref().map_or(String::new(), |status| format!(" {status}"));
                    writeln!(out, ": {}/{}{first}{status}", d.name, d.id).unwrap();
                }
            }
        }
    }
    out
}

fn run(settings: Settings, facts: &str) -> World {
    let mut world = World::new(settings);
    world.drain();
    for line in facts.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.line(line);
        world.answer_all(Answer::Ok);
    }
    world
}

#[track_caller]
fn check(settings: Settings, facts: &str, want: &str) {
    let got = lines(&run(settings, facts));
    let want: String =
        want.lines().map(|line| format!("{}\n", line.trim())).filter(|line| line != "\n").collect();
    assert_eq!(got, want);
}

/// The library's span comes at the end of the invocation, and with it what all its lines have waited for.
#[test]
fn lines_wait_for_the_span_that_says_whose_part_they_are() {
    let tags = format!("{EXECUTION},aws.durable.first_invocation=true,aws.durable.execution_status=PENDING");
    let facts = format!(
        "0 init-start on-demand version=python:3.13.DurableFunction.v6
         10 invoke r1
         11 start r1
         12 log hello
         13 traces a/1:aws.lambda:orders:request_id=r1,{tags}
         14 done r1 success 3
         15 log afterwards
         20 shutdown spindown
         21 report r1 success billed=4 size=128
         200 tick"
    );
    let want = "START: order-7/i-1 first=true
                INIT_START: order-7/i-1
                hello: order-7/i-1
                END: order-7/i-1 first=true PENDING
                afterwards: order-7/i-1
                REPORT: order-7/i-1 first=true";
    let world = run(logs(5), &facts);
    let mut got: Vec<_> = lines(&world).lines().map(str::to_owned).collect();
    let mut want: Vec<_> = want.lines().map(|line| line.trim().to_owned()).collect();
    // They have times: in which order they are sent means nothing.
    got.sort_unstable();
    want.sort_unstable();
    assert_eq!(got, want);
}

/// Where the extension makes the span, the answer says what became of the execution: on the span and in the line of the
/// end. An answer of the same look from another function says nothing.
#[test]
fn what_became_of_the_execution_is_read_from_the_answer() {
    let facts = |event: &str| {
        format!(
            "0 init-start on-demand version=python:3.13.DurableFunction.v6
             10 invoke r1
             11 start r1
             12 start-call r1 {event}
             13 end-call r1 execution=SUCCEEDED
             14 done r1 success 3
             15 shutdown spindown
             16 report r1 success billed=4 size=128
             200 tick"
        )
    };
    let spans = |world: &World| {
        let spans: Vec<_> = world.out.lines().filter(|line| line.starts_with("span ")).collect();
        spans.join("\n")
    };
    let world = run(logs(0), &facts("durable=order-7/i-1"));
    assert!(spans(&world).contains("aws.durable.execution_status=SUCCEEDED"), "{}", spans(&world));
    let told = lines(&world);
    assert!(told.contains("END: order-7/i-1 SUCCEEDED\n"), "{told}");
    assert_eq!(told.matches("SUCCEEDED").count(), 1, "{told}");
    let world = run(logs(0), &facts("source=sqs"));
    assert!(spans(&world).contains("aws.lambda") && !world.out.contains("SUCCEEDED"), "{}", world.out);
}

/// On managed instances the report is the end.
#[test]
fn the_report_of_a_managed_instance_says_what_became_of_the_execution() {
    let world = run(
        Settings { managed_instances: true, ..logs(0) },
        "0 init-start on-demand version=python:3.13.DurableFunction.v6
         11 start r1
         12 start-call r1 durable=order-7/i-1
         13 end-call r1 execution=FAILED
         14 report r1 success duration=3
         15 shutdown spindown
         200 tick",
    );
    let told = lines(&world);
    assert!(told.contains("REPORT: order-7/i-1 FAILED\n"), "{told}");
}

/// Without the setting nothing waits; what comes after it is known says it all the same.
#[test]
fn without_the_setting_no_line_waits() {
    let facts = format!(
        "0 init-start on-demand version=python:3.13.DurableFunction.v6
         10 invoke r1
         11 start r1
         12 log before
         13 traces a/1:aws.lambda:orders:request_id=r1,{EXECUTION}
         14 log behind
         15 done r1 success 3"
    );
    check(
        logs(0),
        &facts,
        "INIT_START: -
         START: -
         before: -
         behind: order-7/i-1
         END: order-7/i-1",
    );
}

/// Some of Datadog's libraries have other names for these tags.
#[test]
fn tags_of_either_name_are_known() {
    let facts = format!(
        "0 init-start on-demand version=java:21.DurableFunction.v6
         10 invoke r1
         11 traces a/1:aws.lambda:x:resource=dd-tracer-serverless-span
         12 start r1
         13 traces a/2:aws.lambda:x:request_id=r1,{}
         14 log behind
         15 done r1 success 3",
        "aws_lambda.durable_function.execution_id=i-2,aws_lambda.durable_function.execution_name=other"
    );
    check(
        logs(0),
        &facts,
        "INIT_START: -
         START: -
         behind: other/i-2
         END: other/i-2",
    );
}

/// A function that is none has nothing to wait for.
#[test]
fn lines_of_other_functions_do_not_wait() {
    let facts = "0 init-start on-demand version=python:3.13.v6
         10 invoke r1
         11 start r1
         12 log hello
         13 done r1 success 3";
    check(logs(5), facts, "INIT_START: -\nSTART: -\nhello: -\nEND: -");
}

/// What the SDK prints names its execution itself.
#[test]
fn a_line_that_names_its_execution_does_not_wait() {
    let arn = "arn:aws:lambda:eu-west-1:123456789012:function:orders:1/durable-execution/order-7/i-1";
    let facts = format!(
        r#"0 init-start on-demand version=python:3.13.DurableFunction.v6
         10 invoke r1
         11 start r1
         12 json {{"executionArn":"{arn}","requestId":"r1","level":"INFO"}}
         13 json {{"executionArn":"nonsense","requestId":"r1"}}
         14 done r1 success 3"#
    );
    let world = run(logs(5), &facts);
    let told: Vec<_> = world
        .delivered
        .iter()
        .filter_map(|b| if let Batch::Logs(l) = b { Some(l) } else { None })
        .flatten()
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].durable.as_ref().map(|d| &*d.id), Some("i-1"));
}

/// More invocations than may wait: the oldest one's lines go as they are, and at the end all do. None is lost.
#[test]
fn no_more_wait_than_may() {
    let mut facts = "0 init-start on-demand version=python:3.13.DurableFunction.v6\n".to_owned();
    for n in 1..=5 {
        let at = n * 100;
        writeln!(facts, "{at} invoke r{n}\n{at} start r{n}\n{at} log l{n}\n{at} done r{n} success 3")
            .unwrap();
    }
    let mut world = run(Settings { platform_logs: false, ..logs(2) }, &facts);
    assert_eq!(lines(&world), "l1: -\nl2: -\nl3: -\n");
    assert_eq!(world.engine.held(Signal::Logs), 2);
    world.line("900 shutdown spindown");
    world.accept_all();
    world.advance(super::T0 + std::time::Duration::from_secs(2));
    world.accept_all();
    assert!(world.exited || world.engine.held(Signal::Logs) == 0);
    assert_eq!(lines(&world), "l1: -\nl2: -\nl3: -\nl4: -\nl5: -\n");
}

/// Nor more bytes.
#[test]
fn no_more_bytes_wait_than_may() {
    let mut facts = "0 init-start on-demand version=python:3.13.DurableFunction.v6\n".to_owned();
    for n in 1..=4 {
        let (at, big) = (n * 100, "x".repeat(400_000));
        writeln!(facts, "{at} invoke r{n}\n{at} start r{n}\n{at} log l{n} {big}\n{at} done r{n} success 3")
            .unwrap();
    }
    let mut world = run(Settings { platform_logs: false, ..logs(500) }, &facts);
    assert_eq!(world.engine.held(Signal::Logs), 2);
    assert_eq!(lines(&world).lines().count(), 2);
}

/// The hold has no part in what a metric says: the tag is there from the first invocation on.
#[test]
fn metrics_say_that_the_function_is_durable() {
    let world = run(
        settings(),
        "0 init-start on-demand version=python:3.13.DurableFunction.v6
         10 invoke r1
         11 start r1
         12 done r1 success 3",
    );
    let sketches =
        world.delivered.iter().filter_map(|b| if let Batch::Sketches(s) = b { Some(s) } else { None });
    let invocations: Vec<_> =
        sketches.flatten().filter(|s| s.name == "aws.lambda.enhanced.invocations").collect();
    assert_eq!(invocations.len(), 1);
    assert!(
        invocations[0].tags.iter().any(|tag| tag == "durable_function:true"),
        "{:?}",
        invocations[0].tags
    );
}
