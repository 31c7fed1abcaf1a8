//! A scenario file: which functions, which events, which faults, and what has to come of it. Read here, played in
//! [`play`], judged in [`expect`]. Every field is described, with an example, in docs/scenarios.md.

mod check;
mod expect;
mod play;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use intake::{Fault, FaultKind, Where};
use model::Signal;
use sandbox::{Batches, ClockJump, Faults, Kill, Process};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::function::{Events, Extension, Program, Spec};
use crate::mode::Kind;
use crate::scenario::expect::{AnswerExpectation, Expect};

/// Lambda's own, before an event that failed is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(60);

pub(crate) use play::run;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// For whoever reads the results.
    #[serde(default)]
    title: String,
    /// All of it, from the first event on.
    #[serde(default)]
    timeout: Option<Length>,
    /// Variables of every function.
    #[serde(default)]
    settings: BTreeMap<String, Setting>,
    functions: BTreeMap<String, Function>,
    events: Vec<Event>,
    /// What the intake does wrong.
    #[serde(default)]
    intake: IntakeTable,
    #[serde(default)]
    expect: Expect,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Function {
    command: Option<Vec<String>>,
    package: Option<String>,
    #[serde(default)]
    settings: BTreeMap<String, Setting>,
    /// `none`, or a path; the one beside dd-lambda when not given.
    extension: Option<String>,
    #[serde(default)]
    layers: Vec<PathBuf>,
    timeout: Option<Length>,
    memory_mb: Option<u32>,
    handler: Option<String>,
    runtime: Option<String>,
    #[serde(default)]
    mode: Kind,
    max_sandboxes: Option<usize>,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    retries: u32,
    retry_delay: Option<Length>,
    on_failure: Option<String>,
    on_success: Option<String>,
    #[serde(default)]
    stream_limit: bool,
    #[serde(default)]
    faults: FaultTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultTable {
    telemetry_delay: Option<Length>,
    #[serde(default)]
    telemetry_drop: BatchTable,
    #[serde(default)]
    telemetry_duplicate: BatchTable,
    #[serde(default)]
    kill: Vec<KillTable>,
    #[serde(default)]
    clock: Vec<ClockTable>,
    cpu: Option<f64>,
}

/// One of `forward` and `back`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockTable {
    #[serde(default = "first")]
    invocation: u64,
    forward: Option<Length>,
    back: Option<Length>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(untagged, expecting = "\"all\", or numbers of batches from 1 on")]
enum BatchTable {
    #[default]
    None,
    All(All),
    These(Vec<u64>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum All {
    All,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KillTable {
    /// `function`, or the name of an extension.
    process: String,
    #[serde(default = "first")]
    invocation: u64,
    after: Option<Length>,
}

fn first() -> u64 {
    1
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct IntakeTable {
    #[serde(default)]
    faults: Vec<IntakeFault>,
}

/// What the next requests get instead of an answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IntakeFault {
    /// `traces`, `series`, `sketches`, `logs`, `stats` or `forwards`; all when not given.
    signal: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    hang: bool,
    #[serde(default)]
    close: bool,
    #[serde(default)]
    cut: bool,
    delay: Option<Length>,
    #[serde(default = "once")]
    count: u32,
    /// Only requests whose path begins so.
    path: Option<String>,
    probability: Option<f64>,
}

fn once() -> u32 {
    1
}

impl IntakeFault {
    fn fault(&self) -> anyhow::Result<(Fault, Where)> {
        let find = |name: &String| Signal::ALL.into_iter().find(|signal| signal.as_str() == name);
        let signal = match &self.signal {
            None => None,
            Some(name) => {
                let names = Signal::ALL.map(Signal::as_str).join(", ");
                Some(find(name).with_context(|| format!("no signal {name}; there is {names}"))?)
            }
        };
        let kinds = [
            self.status.map(FaultKind::Status),
            self.hang.then_some(FaultKind::Hang),
            self.close.then_some(FaultKind::Close),
            self.cut.then_some(FaultKind::Cut),
            self.delay.map(|length| FaultKind::Delay(length.0)),
        ];
        let mut kinds = kinds.into_iter().flatten();
        let (Some(kind), None) = (kinds.next(), kinds.next()) else {
            bail!("give one of status, hang, close, cut and delay");
        };
        if self.probability.is_some_and(|part| !(part > 0.0 && part <= 1.0)) {
            bail!("probability: above 0 and up to 1");
        }
        let place = Where { path: self.path.clone(), probability: self.probability };
        Ok((Fault { signal, kind, count: self.count }, place))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    /// What it is called in results.
    name: Option<String>,
    /// The first function when not given.
    function: Option<String>,
    json: Option<String>,
    file: Option<PathBuf>,
    sample: Option<String>,
    #[serde(default = "one")]
    times: usize,
    #[serde(default = "one")]
    concurrency: usize,
    /// Nothing happens for so long before it: sandboxes stay frozen.
    wait: Option<Length>,
    #[serde(rename = "type", default)]
    kind: EventType,
    client_context: Option<String>,
    cognito_identity: Option<String>,
    tenant_id: Option<String>,
    #[serde(default)]
    expect: AnswerExpectation,
}

fn one() -> usize {
    1
}

/// Whether somebody waits for the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum EventType {
    #[default]
    Sync,
    Async,
    /// It is only looked at whether it could be invoked.
    DryRun,
}

/// A variable: text, or what is written as text.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "text, a number, true or false")]
enum Setting {
    Text(String),
    Flag(bool),
    Whole(i64),
    Number(f64),
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// A length of time: `"250ms"`, `"3s"`, `"2m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Length(pub(crate) Duration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Length;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as \"250ms\", \"3s\" or \"2m\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Length, E> {
                length(text).map(Length).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_str(Text)
    }
}

fn length(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(unit)?;
    let number: f64 = number.trim().parse().ok()?;
    let millis = match unit {
        "ms" => number,
        "s" => number * 1e3,
        "m" => number * 60e3,
        _ => return None,
    };
    (0.0..=3_600_000.0).contains(&millis).then(|| Duration::from_secs_f64(millis / 1e3))
}

impl Scenario {
    /// Reads and checks a file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// What the types do not say.
    fn check(&self) -> anyhow::Result<()> {
        if self.functions.is_empty() {
            bail!("there is no [functions.NAME]");
        }
        for (name, function) in &self.functions {
            if function.command.is_some() == function.package.is_some() {
                bail!("[functions.{name}]: give either command or package");
            }
            let faults = &function.faults;
            if faults.clock.iter().any(|jump| jump.forward.is_some() == jump.back.is_some()) {
                bail!("[functions.{name}.faults]: clock: give either forward or back");
            }
            if faults.cpu.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
                bail!("[functions.{name}.faults]: cpu is a part of one processor, above 0 and up to 1");
            }
        }
        for (n, event) in self.events.iter().enumerate() {
            let place = format!("event {} ({})", n + 1, event.label(self));
            let sources = [event.json.is_some(), event.file.is_some(), event.sample.is_some()]
                .into_iter()
                .filter(|s| *s);
            if sources.count() > 1 {
                bail!("{place}: give one of json, file and sample");
            }
            if let Some(name) = event.function.as_ref().filter(|name| !self.functions.contains_key(*name)) {
                let names: Vec<_> = self.functions.keys().map(String::as_str).collect();
                bail!("{place}: there is no function {name}; there is {}", names.join(", "));
            }
            if let Some(name) =
                event.sample.as_ref().filter(|name| !crate::samples::names().any(|n| n == **name))
            {
                bail!("{place}: there is no sample {name}; `dd-lambda invoke --samples` lists them");
            }
            if let Some(Err(why)) =
                event.json.as_ref().map(|text| serde_json::from_str::<de::IgnoredAny>(text))
            {
                bail!("{place}: json is not JSON: {why}");
            }
            if event.times == 0 || event.concurrency == 0 {
                bail!("{place}: times and concurrency are at least 1");
            }
            if event.kind == EventType::Async && event.expect.is_given() {
                bail!("{place}: nobody gets the answer of an async event, so nothing can be expected of it");
            }
        }
        self.faults().context("[[intake.faults]]")?;
        self.expect.check()
    }

    /// What the intake does wrong.
    fn faults(&self) -> anyhow::Result<Vec<(Fault, Where)>> {
        self.intake.faults.iter().map(IntakeFault::fault).collect()
    }

    /// The functions, as the rest of this program describes them.
    fn specs(&self) -> Vec<Spec> {
        let specs = self.functions.iter().map(|(name, function)| function.spec(name, &self.settings));
        specs.collect()
    }

    /// The function of an event.
    fn function_of<'a>(&'a self, event: &'a Event) -> &'a str {
        let first = || self.functions.keys().next().map(String::as_str).unwrap_or_default();
        event.function.as_deref().unwrap_or_else(first)
    }
}

impl Event {
    fn label(&self, scenario: &Scenario) -> String {
        self.name.clone().unwrap_or_else(|| {
            let what = self.sample.as_deref().unwrap_or("an event");
            format!("{what} to {}", scenario.function_of(self))
        })
    }
}

impl Function {
    fn spec(&self, name: &str, shared: &BTreeMap<String, Setting>) -> Spec {
        let program = match (&self.command, &self.package) {
            (_, Some(package)) => Program::Package(package.clone()),
            (command, None) => Program::Command(command.clone().unwrap_or_default()),
        };
        let settings = shared.iter().chain(&self.settings);
        let mut spec = Spec::new(name, program);
        spec.settings = settings.map(|(name, value)| (name.clone(), value.to_string())).collect();
        spec.extension = match self.extension.as_deref() {
            None => Extension::Beside,
            Some("none") => Extension::None,
            Some(path) => Extension::At(path.into()),
        };
        spec.layers.clone_from(&self.layers);
        spec.timeout = self.timeout.map_or(spec.timeout, |length| length.0);
        spec.memory_mb = self.memory_mb;
        spec.handler.clone_from(&self.handler);
        spec.runtime.clone_from(&self.runtime);
        spec.kind = self.mode;
        spec.max_sandboxes = self.max_sandboxes;
        spec.private = self.private;
        spec.events = Some(Events {
            retries: self.retries,
            retry_delay: self.retry_delay.map_or(RETRY_DELAY, |length| length.0),
            on_failure: self.on_failure.clone(),
            on_success: self.on_success.clone(),
        });
        spec.stream_limit = self.stream_limit;
        spec.faults = self.faults.faults();
        spec
    }
}

impl FaultTable {
    fn faults(&self) -> Faults {
        let kill = |kill: &KillTable| Kill {
            process: match kill.process.as_str() {
                "function" => Process::Function,
                name => Process::Extension(name.to_owned()),
            },
            invocation: kill.invocation,
            after: kill.after.map(|length| length.0).unwrap_or_default(),
        };
        let jump = |jump: &ClockTable| ClockJump {
            invocation: jump.invocation,
            by: jump.forward.or(jump.back).map(|length| length.0).unwrap_or_default(),
            forward: jump.forward.is_some(),
        };
        Faults {
            telemetry_delay: self.telemetry_delay.map(|length| length.0).unwrap_or_default(),
            telemetry_drop: self.telemetry_drop.batches(),
            telemetry_duplicate: self.telemetry_duplicate.batches(),
            kills: self.kill.iter().map(kill).collect(),
            clock: self.clock.iter().map(jump).collect(),
            cpu: self.cpu,
        }
    }
}

impl BatchTable {
    fn batches(&self) -> Batches {
        match self {
            Self::None => Batches::None,
            Self::All(All::All) => Batches::All,
            Self::These(numbers) => Batches::These(numbers.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Scenario, length};
    use std::time::Duration;

    #[test]
    fn lengths_have_units() {
        let check =
            |text: &str, ms: Option<u64>| assert_eq!(length(text), ms.map(Duration::from_millis), "{text}");
        check("250ms", Some(250));
        check("1.5s", Some(1500));
        check("2m", Some(120_000));
        for wrong in ["", "3", "3h", "ms", "-1s", "1e9s", "NaNs"] {
            check(wrong, None);
        }
    }

    #[test]
    fn what_is_wrong_with_a_scenario_is_said() {
        let check = |text: &str, says: &str| {
            let why = format!("{:#}", Scenario::parse(text).unwrap_err());
            assert!(why.contains(says), "{text}: {why}");
        };
        let f = "[functions.f]\ncommand = ['./f']\n";
        assert!(Scenario::parse(&format!("{f}[[events]]\n")).is_ok());
        check("", "missing field `functions`");
        check("[[events]]\n[functions]", "no [functions.NAME]");
        check("[[events]]\n[functions.f]\n", "either command or package");
        check(&format!("{f}[[events]]\nbody = 'x'"), "unknown field `body`");
        check(&format!("{f}[[events]]\nfunction = 'g'"), "there is no function g; there is f");
        check(&format!("{f}[[events]]\nsample = 'pigeon'"), "--samples");
        check(&format!("{f}[[events]]\njson = '{{'"), "is not JSON");
        check(&format!("{f}[[events]]\njson = '1'\nsample = 'sqs'"), "one of json, file and sample");
        check(&format!("{f}[[events]]\nwait = '3 hours'"), "250ms");
        check(&format!("{f}[[events]]\ntimes = 0"), "at least 1");
        check(&format!("{f}[[events]]\ntype = 'async'\nexpect.status = 200"), "nobody gets the answer");
        check(&format!("{f}timeout = 5\n[[events]]"), "a length of time");
        check(&format!("{f}faults.telemetry_drop = 'some'\n[[events]]"), "\"all\", or numbers");
        check(&format!("{f}mode = 'warm'\n[[events]]"), "there is on-demand");
        check(&format!("{f}faults.cpu = 0\n[[events]]"), "above 0 and up to 1");
        check(&format!("{f}faults.clock = [{{}}]\n[[events]]"), "either forward or back");
        check(&format!("{f}[[events]]\n[[intake.faults]]\nsignal = 'smoke'\nhang = true"), "there is traces");
        check(&format!("{f}[[events]]\n[[intake.faults]]\nstatus = 500\nhang = true"), "one of status");
        check(&format!("{f}[[events]]\n[[expect.spans]]\nservice = 'x'"), "name or path");
    }
}
