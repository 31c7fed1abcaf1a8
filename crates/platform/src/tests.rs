//! Stories (facts in, effects out, as text), every input in every state, and random inputs.

mod modes;
mod properties;
mod snapshot;
mod stories;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use model::{Record, RequestId, UnixNanos};

use crate::{
    AgentId, Answer, Body, CallId, Config, Effect, ErrorReport, ExitStatus, Input, Invocation, Platform,
    ProcessId, Program, Registration, Reply, Subscriptions,
};

const START: UnixNanos = UnixNanos::from_secs(1_700_000_000);

/// A machine with a clock and a short language for facts.
struct World {
    lambda: Platform,
    now: UnixNanos,
    calls: u64,
}

impl World {
    fn new(config: Config) -> Self {
        Self { lambda: Platform::new(config), now: START, calls: 0 }
    }

    /// One fact per word group: `+250ms`, `invoke a`, `register ext INVOKE SHUTDOWN`, `next ext`, `runtime next`,
    /// `response a`, `error a`, `exit 1 7`, … Gives what came of it.
    fn tell(&mut self, fact: &str) -> String {
        let words: Vec<&str> = fact.split_whitespace().collect();
        if let [time] = words[..]
            && let Some(ms) = time.strip_prefix('+').and_then(|t| t.strip_suffix("ms"))
        {
            self.now = self.now + Duration::from_millis(ms.parse().unwrap());
            self.lambda.tick(self.now);
            return self.effects();
        }
        let input = self.input(&words);
        self.lambda.handle(self.now, input);
        self.effects()
    }

    fn input(&mut self, words: &[&str]) -> Input {
        self.calls += 1;
        let call = CallId(self.calls);
        let id = |name: &str| AgentId(format!("id-{name}").into());
        let report = |kind: &str| ErrorReport { error_type: Some(kind.to_owned()), body: Arc::from(*b"{}") };
        match words {
            ["invoke", id] => Input::Invoke(Invocation::new(RequestId::new(id).unwrap(), b"{}")),
            ["shutdown"] => Input::Shutdown,
            ["launch-failed", process] => Input::LaunchFailed {
                process: ProcessId(process.parse().unwrap()),
                reason: "permission denied".to_owned(),
                denied: true,
            },
            ["exit", process, code] => Input::Exited {
                process: ProcessId(process.parse().unwrap()),
                status: ExitStatus::Code(code.parse().unwrap()),
            },
            ["killed", process] => {
                Input::Exited { process: ProcessId(process.parse().unwrap()), status: ExitStatus::Signal(9) }
            }
            ["out-of-memory"] => Input::OutOfMemory,
            ["memory", mb] => Input::Memory { used_mb: mb.parse().unwrap() },
            ["prepare"] => Input::Prepare,
            ["flushed"] => Input::Flushed,
            ["runtime", "next"] => Input::RuntimeNext { call },
            ["runtime", "restore-next"] => Input::RuntimeRestoreNext { call },
            ["runtime", "restore-error", kind] => Input::RuntimeRestoreError { call, report: report(kind) },
            ["runtime", "init-error", kind] => Input::RuntimeInitError { call, report: report(kind) },
            ["response", id, rest @ ..] => Input::RuntimeResponse {
                call,
                request_id: (*id).to_owned(),
                attempt: rest.iter().find_map(|w| w.strip_prefix("attempt=")).map(str::to_owned),
                began: self.now,
                body: match rest.first() {
                    Some(&"truncated") => Body::Truncated,
                    Some(&"mode") => Body::UnknownMode,
                    Some(size) if size.parse::<u64>().is_ok() => Body::TooLarge(size.parse().unwrap()),
                    _ => Body::Whole(Arc::from(*b"\"ok\"")),
                },
            },
            ["error", id, kind] => Input::RuntimeError {
                call,
                request_id: (*id).to_owned(),
                attempt: None,
                began: self.now,
                report: report(kind),
            },
            ["register", name, events @ ..] => Input::Register {
                call,
                registration: Registration {
                    id: id(name),
                    name: name.trim_matches('-').to_owned(),
                    events: events.iter().map(|e| (*e).to_owned()).collect(),
                },
            },
            ["next", name] => Input::AgentNext { call, agent: id(name) },
            ["init-error", name] => {
                Input::AgentInitError { call, agent: id(name), error_type: "Ext.Bad".into() }
            }
            ["exit-error", name] => {
                Input::AgentExitError { call, agent: id(name), error_type: "Ext.Bad".into() }
            }
            ["subscribe", name] => {
                Input::Subscribe { call, agent: id(name), types: Ok(vec!["platform".into()]) }
            }
            ["subscribe", name, fault] => {
                Input::Subscribe { call, agent: id(name), types: Err((*fault).to_owned()) }
            }
            other => panic!("no such fact: {other:?}"),
        }
    }

    fn effects(&mut self) -> String {
        let mut out = String::new();
        while let Some(effect) = self.lambda.poll() {
            writeln!(out, "{}", self.show(&effect)).unwrap();
        }
        out
    }

    fn since(&self, at: UnixNanos) -> u128 {
        at.since(START).as_millis()
    }

    fn show(&self, effect: &Effect) -> String {
        match effect {
            Effect::Spawn { process, program: Program::Runtime } => format!("spawn {} runtime", process.0),
            Effect::Spawn { process, program: Program::Extension(name) } => {
                format!("spawn {} {name}", process.0)
            }
            Effect::Terminate(p) => format!("terminate {}", p.0),
            Effect::Kill(p) => format!("kill {}", p.0),
            Effect::Freeze => "freeze".to_owned(),
            Effect::Thaw => "thaw".to_owned(),
            Effect::Reply { call, reply } => format!("reply #{} {}", call.0, self.show_reply(reply)),
            Effect::Answer { request_id, answer } => format!("answer {request_id} {}", show_answer(answer)),
            Effect::Record(r) => format!("{} @{}", show_record(&r.record), self.since(r.time)),
            Effect::Subscriptions(Subscriptions::Open) => "subscriptions open".to_owned(),
            Effect::Subscriptions(Subscriptions::Closed) => "subscriptions closed".to_owned(),
            Effect::Subscriptions(Subscriptions::Flush) => "subscriptions flush".to_owned(),
            Effect::Destroyed => "destroyed".to_owned(),
        }
    }

    fn show_reply(&self, reply: &Reply) -> String {
        match reply {
            Reply::Invocation(d) => {
                format!("invocation {} until {}", d.invocation.request_id, self.since(d.deadline))
            }
            Reply::Invoke(d) => {
                format!("INVOKE {} until {}", d.invocation.request_id, self.since(d.deadline))
            }
            Reply::Shutdown { reason, deadline } => {
                format!("SHUTDOWN {} until {}", reason.as_str(), self.since(*deadline))
            }
            Reply::Restored => "restored".to_owned(),
            Reply::Accepted => "accepted".to_owned(),
            Reply::Registered { agent } => format!("registered {agent}"),
            Reply::Subscribed => "subscribed".to_owned(),
            Reply::Refused(r) => format!("{} {}: {}", r.status, r.error_type, r.message),
        }
    }
}

fn show_answer(answer: &Answer) -> String {
    match answer {
        Answer::Response(body) => format!("response {}", String::from_utf8_lossy(body)),
        Answer::Error(body) => format!("error {}", String::from_utf8_lossy(body)),
        Answer::Failure { error_type, message } => format!("failure {error_type}: {message}"),
        Answer::Rejected(why) => format!("rejected {why:?}"),
    }
}

fn show_record(record: &Record) -> String {
    let error = |e: &Option<model::Text>| e.as_ref().map(|e| format!(" {e}")).unwrap_or_default();
    match record {
        Record::InitStart(r) => format!("initStart {}", r.phase.as_str()),
        Record::InitRuntimeDone { phase, status, error_type, .. } => {
            format!("initRuntimeDone {} {}{}", phase.as_str(), status.as_str(), error(error_type))
        }
        Record::InitReport(r) => format!(
            "initReport {} {} {}ms{}",
            r.phase.as_str(),
            r.status.as_ref().unwrap().as_str(),
            r.duration.get(),
            error(&r.error_type)
        ),
        Record::RestoreStart(_) => "restoreStart".to_owned(),
        Record::RestoreRuntimeDone { status, error_type } => {
            format!("restoreRuntimeDone {}{}", status.as_str(), error(error_type))
        }
        Record::RestoreReport { status, duration, error_type } => {
            let (ms, error) = (duration.unwrap().get(), error(error_type));
            format!("restoreReport {} {ms}ms{error}", status.as_str())
        }
        Record::Start(r) => format!("start {}", r.request_id),
        Record::RuntimeDone(r) => {
            let spans: String = r.spans.iter().map(|s| format!(" {}={}", s.name, s.duration.get())).collect();
            let (ms, status) = (r.duration.unwrap().get(), r.status.as_str());
            format!("runtimeDone {} {status} {ms}ms{}{spans}", r.request_id, error(&r.error_type))
        }
        Record::Report(r) => {
            let spans: String = r.spans.iter().map(|s| format!(" {}={}", s.name, s.duration.get())).collect();
            let init = r.init_duration.map(|i| format!(" init {}ms", i.get())).unwrap_or_default();
            let restore = r.restore_duration.map(|i| format!(" restore {}ms", i.get())).unwrap_or_default();
            let billed = r.billed_ms.map(|ms| format!(" billed {ms}ms")).unwrap_or_default();
            let used = r.max_memory_used_mb.map(|mb| format!(" used {mb}MB")).unwrap_or_default();
            format!(
                "report {} {} {}ms{billed}{used}{init}{restore}{}{spans}",
                r.request_id,
                r.status.as_ref().unwrap().as_str(),
                r.duration.get(),
                error(&r.error_type)
            )
        }
        Record::Extension { name, state, events, error_type } => {
            format!("extension {name} {state} {events:?}{}", error(error_type))
        }
        Record::TelemetrySubscription { name, types, .. } => {
            format!("telemetrySubscription {name} {types:?}")
        }
        other => format!("{other:?}"),
    }
}

/// A function with one external extension, `ext`.
fn with_extension() -> Config {
    Config { extensions: vec!["ext".into()], ..Config::new("f") }
}
