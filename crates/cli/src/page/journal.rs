//! What the local Lambda's journal says of its execution environments, as the page draws it: each environment as
//! its cycles from thaw to freeze, each cycle as lanes of who worked when. Who had to wait for whom is what the
//! lanes of one cycle show side by side. Reads the journal and decides nothing.

mod flights;

use std::collections::HashMap;

use model::{InitializationType, InvocationReport, Record, UnixNanos};
use sandbox::{Process, TimelineEvent, What};
use serde::Serialize;

use flights::Flight;

/// Cycles told of one environment; the oldest go first.
const MAX_CYCLES: usize = 200;
/// Moments told of one cycle, and bars of one lane.
const MAX_MARKS: usize = 200;
const MAX_BARS: usize = 500;

/// One execution environment. All times of it are nanoseconds from its first event.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) id: String,
    pub(crate) function: String,
    pub(crate) start_ns: u64,
    pub(crate) state: State,
    pub(crate) invocations: usize,
    /// The time of its last event.
    pub(crate) last: u64,
    /// Older cycles that are not told.
    pub(crate) forgotten: usize,
    pub(crate) cycles: Vec<Cycle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Running,
    Frozen,
    Gone,
}

/// What happens between being thawed and being frozen, or the part of it that is for one purpose.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Cycle {
    pub(crate) kind: Kind,
    pub(crate) request_id: Option<String>,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
    /// Frozen from its end on; until when, if that is over.
    pub(crate) frozen: bool,
    pub(crate) thawed: Option<u64>,
    /// When the runtime was given the event, and when it asked for the next.
    pub(crate) started: Option<u64>,
    pub(crate) runtime_done: Option<u64>,
    pub(crate) answered: Option<u64>,
    pub(crate) status: Option<String>,
    pub(crate) error_type: Option<String>,
    /// As Lambda reports it, in milliseconds.
    pub(crate) duration_ms: Option<f64>,
    pub(crate) init_ms: Option<f64>,
    /// What is paid for the invocation, its initialisation included.
    pub(crate) billed_ms: Option<u64>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) marks: Vec<Mark>,
    /// Invocations that run beside each other, and how many older ones are not told.
    pub(crate) flights: Vec<Flight>,
    pub(crate) more_flights: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Thawed, and not yet known what for.
    #[default]
    Thawed,
    Init,
    Invoke,
    /// Several invocations beside each other.
    Serve,
    Shutdown,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Lane {
    pub(crate) process: String,
    pub(crate) extension: bool,
    pub(crate) bars: Vec<Bar>,
}

/// It worked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Bar {
    pub(crate) what: &'static str,
    pub(crate) from: u64,
    pub(crate) to: Option<u64>,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Mark {
    pub(crate) at: u64,
    /// Whose it is; `None` for Lambda's own.
    pub(crate) process: Option<String>,
    pub(crate) text: String,
}

/// All environments, in the order in which they were made.
pub(crate) fn environments(timeline: &[TimelineEvent]) -> Vec<Environment> {
    let mut all: Vec<Reader> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for event in timeline {
        let at = *places.entry(&event.sandbox).or_insert_with(|| {
            all.push(Reader { seen: Environment::new(event), now: Cycle::default(), is_managed: false });
            all.len() - 1
        });
        if let Some(reader) = all.get_mut(at) {
            reader.learn(event);
        }
    }
    all.into_iter().map(Reader::finish).collect()
}

/// Reads the events of one environment, oldest first.
#[derive(Debug)]
struct Reader {
    seen: Environment,
    /// The cycle that goes on, or the last: what is told late is told of it.
    now: Cycle,
    /// It runs several invocations beside each other.
    is_managed: bool,
}

impl Environment {
    fn new(event: &TimelineEvent) -> Self {
        Self {
            id: event.sandbox.to_string(),
            function: event.function.to_string(),
            start_ns: event.at.as_nanos(),
            state: State::Running,
            invocations: 0,
            last: 0,
            forgotten: 0,
            cycles: Vec::new(),
        }
    }

    /// The same without its cycles.
    pub(crate) fn in_short(self) -> Self {
        Self { forgotten: self.forgotten + self.cycles.len(), cycles: Vec::new(), ..self }
    }
}

impl Reader {
    fn learn(&mut self, event: &TimelineEvent) {
        let at = event.at.since(UnixNanos(self.seen.start_ns)).as_nanos();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        self.seen.last = at;
        match &event.what {
            What::Invoked { .. } => self.seen.invocations += 1,
            What::Spawned { process, .. } => self.begun(Kind::Init, at).work(process, "init", at),
            What::Thawed => self.thaw(at),
            What::Frozen => {
                self.now.end(at);
                self.now.frozen = true;
                self.seen.state = State::Frozen;
            }
            What::Event { extension, event } => {
                let (kind, what) =
                    if *event == "SHUTDOWN" { (Kind::Shutdown, "shutdown") } else { (Kind::Invoke, "work") };
                self.begun(kind, at).work(&Process::Extension(extension.clone()), what, at);
            }
            What::Asked { process } => self.now.rest(process, at),
            What::Answered { request_id, .. } => {
                if let Some(flight) = self.flight(request_id.as_str()) {
                    flight.answered = Some(at);
                } else if let Some(cycle) = self.of_request(request_id.as_str()) {
                    cycle.answered = Some(at);
                }
            }
            What::Terminated { process } => self.now.mark(at, process, "asked to end (SIGTERM)"),
            What::Killed { process } => self.now.mark(at, process, "killed (SIGKILL)"),
            What::Exited { process, status } => {
                let cycle = &mut self.now;
                cycle.rest(process, at);
                cycle.mark(at, process, &format!("ended: {status}"));
            }
            What::LaunchFailed { process, reason } => {
                let text = format!("cannot be started: {reason}");
                self.begun(Kind::Init, at).mark(at, process, &text);
            }
            What::Delivered { extension, records, bytes } => {
                let text = format!("got {records} telemetry records ({bytes} bytes)");
                self.now.mark(at, &Process::Extension(extension.clone()), &text);
            }
            What::DeliveryFailed { extension, records, reason } => {
                let text = format!("did not take {records} telemetry records: {reason}");
                self.now.mark(at, &Process::Extension(extension.clone()), &text);
            }
            What::Record(record) => self.record(record, at),
            What::Destroyed => {
                self.now.end(at);
                self.seen.state = State::Gone;
            }
            _ => {}
        }
    }

    fn record(&mut self, record: &Record, at: u64) {
        match record {
            Record::InitStart(init) => {
                self.is_managed = init.initialization_type == InitializationType::ManagedInstances;
                self.begun(Kind::Init, at);
            }
            Record::InitRuntimeDone { status, error_type, .. } => {
                let cycle = &mut self.now;
                cycle.runtime_done = Some(at);
                cycle.status = Some(status.as_str().to_owned());
                cycle.error_type = error_type.as_deref().map(str::to_owned);
            }
            Record::InitReport(report) => {
                self.now.init_ms = Some(report.duration.get());
                // Nothing freezes it afterwards: it waits for whatever comes.
                if self.is_managed {
                    self.now.end(at);
                }
            }
            Record::Start(start) if self.is_managed => self.begin_flight(start.request_id.as_str(), at),
            Record::Start(start) => {
                let id = start.request_id.as_str();
                if self.now.request_id.as_ref().is_some_and(|other| other != id) {
                    self.open(Kind::Invoke, at);
                }
                let cycle = self.begun(Kind::Invoke, at);
                cycle.request_id = Some(id.to_owned());
                cycle.started = Some(at);
                cycle.work(&Process::Function, "work", at);
            }
            Record::RuntimeDone(done) => {
                if let Some(cycle) = self.of_request(done.request_id.as_str()) {
                    cycle.runtime_done = Some(at);
                    cycle.status = Some(done.status.as_str().to_owned());
                    cycle.error_type = done.error_type.as_deref().map(str::to_owned);
                }
            }
            Record::Report(report) if self.end_flight(report, at) => {}
            Record::Report(report) => self.report(report),
            Record::LogsDropped { records, reason, .. } => {
                let text = format!("{records} telemetry records dropped: {reason}");
                self.now.note(Mark { at, process: None, text });
            }
            _ => {}
        }
    }

    fn report(&mut self, report: &InvocationReport) {
        if let Some(cycle) = self.of_request(report.request_id.as_str()) {
            cycle.duration_ms = Some(report.duration.get());
            cycle.billed_ms = report.billed_ms;
            cycle.init_ms = report.init_duration.map(model::Millis::get);
            cycle.status = report.status.as_ref().map(|status| status.as_str().to_owned());
            cycle.error_type = report.error_type.as_deref().map(str::to_owned);
        }
    }

    fn of_request(&mut self, id: &str) -> Option<&mut Cycle> {
        let all = std::iter::once(&mut self.now).chain(self.seen.cycles.iter_mut().rev());
        all.into_iter().find(|cycle| cycle.request_id.as_deref() == Some(id))
    }

    fn thaw(&mut self, at: u64) {
        self.now.thawed = self.now.frozen.then_some(at);
        self.seen.state = State::Running;
        self.open(Kind::Thawed, at);
    }

    /// The cycle that goes on, for this purpose from now on.
    fn begun(&mut self, kind: Kind, at: u64) -> &mut Cycle {
        match (self.now.kind, kind) {
            (now, wanted) if now == wanted => {}
            (Kind::Thawed, _) => self.now.kind = kind,
            // A new initialisation within an invocation is part of it.
            (Kind::Invoke, Kind::Init) => {}
            _ => self.open(kind, at),
        }
        &mut self.now
    }

    /// Who is at work goes on with it.
    fn open(&mut self, kind: Kind, at: u64) {
        let mut lanes: Vec<Lane> = Vec::new();
        for lane in &mut self.now.lanes {
            let mut bars = Vec::new();
            if let Some(bar) = lane.bars.last_mut().filter(|bar| bar.to.is_none()) {
                bar.to = Some(at);
                bars.push(Bar { what: bar.what, from: at, to: None });
            }
            lanes.push(Lane { process: lane.process.clone(), extension: lane.extension, bars });
        }
        let next = Cycle { kind, from: at, lanes, ..Cycle::default() };
        let done = std::mem::replace(&mut self.now, next);
        self.keep(Cycle { to: done.to.or(Some(at)), ..done });
    }

    fn keep(&mut self, cycle: Cycle) {
        // Before its first event an environment has no cycle.
        if cycle.kind == Kind::Thawed && cycle.lanes.is_empty() && cycle.marks.is_empty() {
            return;
        }
        self.seen.cycles.push(cycle);
        if self.seen.cycles.len() > MAX_CYCLES {
            self.seen.cycles.remove(0);
            self.seen.forgotten += 1;
        }
    }

    fn finish(mut self) -> Environment {
        let last = std::mem::take(&mut self.now);
        self.keep(last);
        self.seen
    }
}

impl Cycle {
    fn lane(&mut self, process: &Process) -> Option<&mut Lane> {
        let (name, extension) = (process.name(), matches!(process, Process::Extension(_)));
        let same = |lane: &Lane| lane.process == name && lane.extension == extension;
        if !self.lanes.iter().any(same) {
            self.lanes.push(Lane { process: name.to_owned(), extension, bars: Vec::new() });
        }
        self.lanes.iter_mut().find(|lane| same(lane))
    }

    fn work(&mut self, process: &Process, what: &'static str, at: u64) {
        self.rest(process, at);
        if let Some(lane) = self.lane(process).filter(|lane| lane.bars.len() < MAX_BARS) {
            lane.bars.push(Bar { what, from: at, to: None });
        }
    }

    fn rest(&mut self, process: &Process, at: u64) {
        if let Some(bar) = self.lane(process).and_then(|lane| lane.bars.last_mut()) {
            bar.to.get_or_insert(at);
        }
    }

    fn end(&mut self, at: u64) {
        self.to.get_or_insert(at);
        for bar in self.lanes.iter_mut().flat_map(|lane| &mut lane.bars) {
            bar.to.get_or_insert(at);
        }
        for flight in &mut self.flights {
            flight.to.get_or_insert(at);
        }
    }

    fn mark(&mut self, at: u64, process: &Process, text: &str) {
        self.note(Mark { at, process: Some(process.name().to_owned()), text: text.to_owned() });
    }

    fn note(&mut self, mark: Mark) {
        if self.marks.len() < MAX_MARKS {
            self.marks.push(mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::{
        InitReport, InitStart, InitializationType, InvocationReport, Millis, Phase, Record, RequestId,
        RuntimeDone, Start, Status, UnixNanos,
    };
    use sandbox::{Process, TimelineEvent, What};

    use super::{Flight, environments};

    const BASE: u64 = 1_700_000_000_000;

    /// `12 spawn function`: milliseconds, and what happened.
    fn event(line: &str) -> TimelineEvent {
        let mut words = line.split_whitespace();
        let at = BASE + words.next().unwrap().parse::<u64>().unwrap();
        let (what, name) = (words.next().unwrap(), words.next().unwrap_or_default());
        let process = match name {
            "function" => Process::Function,
            other => Process::Extension(other.to_owned()),
        };
        let id = || RequestId::new(name).unwrap();
        let what = match what {
            "invoked" => What::Invoked { request_id: id() },
            "answered" => What::Answered { request_id: id(), function_error: None, bytes: 2 },
            "spawn" => What::Spawned { process, pid: 1 },
            "asked" => What::Asked { process },
            "exited" => What::Exited { process, status: "exit status 1".to_owned() },
            "INVOKE" => What::Event { extension: name.to_owned(), event: "INVOKE" },
            "SHUTDOWN" => What::Event { extension: name.to_owned(), event: "SHUTDOWN" },
            "frozen" => What::Frozen,
            "thawed" => What::Thawed,
            "destroyed" => What::Destroyed,
            other => What::Record(record(other, name)),
        };
        TimelineEvent {
            at: UnixNanos::from_millis(at),
            function: Arc::from("f"),
            sandbox: Arc::from("s"),
            what,
        }
    }

    fn record(kind: &str, name: &str) -> Record {
        let id = || RequestId::new(name).unwrap();
        match kind {
            "initStart" | "managed" => Record::InitStart(InitStart {
                initialization_type: match kind {
                    "managed" => InitializationType::ManagedInstances,
                    _ => InitializationType::OnDemand,
                },
                phase: Phase::Init,
                function_name: None,
                function_version: None,
                runtime_version: None,
                runtime_version_arn: None,
                instance_id: None,
                instance_max_memory_mb: None,
                function_arn: None,
            }),
            "initReport" => Record::InitReport(InitReport {
                initialization_type: InitializationType::ManagedInstances,
                phase: Phase::Init,
                status: None,
                duration: Millis::new(9.0).unwrap(),
                error_type: None,
            }),
            "start" => Record::Start(Start {
                request_id: id(),
                version: None,
                trace_header: None,
                function_arn: None,
                tenant_id: None,
            }),
            "done" => Record::RuntimeDone(RuntimeDone {
                request_id: id(),
                status: Status::Success,
                error_type: None,
                duration: None,
                produced_bytes: None,
                spans: Vec::new(),
                trace_header: None,
                tenant_id: None,
            }),
            "report" => Record::Report(InvocationReport {
                request_id: id(),
                status: Some(Status::Success),
                error_type: None,
                duration: Millis::new(8.0).unwrap(),
                billed_ms: Some(18),
                memory_size_mb: None,
                max_memory_used_mb: None,
                init_duration: Millis::new(10.0),
                restore_duration: None,
                spans: Vec::new(),
                trace_header: None,
                tenant_id: None,
            }),
            other => panic!("{other}"),
        }
    }

    fn check(story: &str, want: &str) {
        let events: Vec<_> = story.trim().lines().map(event).collect();
        let ms = |ns: u64| (ns / 1_000_000).to_string();
        let end = |ns: Option<u64>| ns.map_or("…".to_owned(), ms);
        let mut text = Vec::new();
        for environment in environments(&events) {
            text.push(format!("{:?}, {} invocations", environment.state, environment.invocations));
            for cycle in environment.cycles {
                let billed = cycle.billed_ms.map(|ms| format!(" billed {ms}")).unwrap_or_default();
                let frozen =
                    if cycle.frozen { format!(" frozen to {}", end(cycle.thawed)) } else { String::new() };
                let id = cycle.request_id.unwrap_or_default();
                let (from, to) = (ms(cycle.from), end(cycle.to));
                text.push(format!("{:?} {id} {from}-{to}{billed}{frozen}", cycle.kind).replace("  ", " "));
                for lane in cycle.lanes {
                    let bars = lane.bars.iter().map(|b| format!(" {} {}-{}", b.what, ms(b.from), end(b.to)));
                    text.push(format!("  {}:{}", lane.process, bars.collect::<String>()));
                }
                for flight in &cycle.flights {
                    let (from, to, took) =
                        (ms(flight.from), end(flight.to), flight.duration_ms.unwrap_or(-1.0));
                    let answered =
                        flight.answered.map(|at| format!(" answered {}", ms(at))).unwrap_or_default();
                    let Flight { request_id, status, .. } = flight;
                    text.push(format!("  {request_id} {from}-{to}{answered} {status} {took} ms"));
                }
                text.extend(cycle.marks.iter().map(|mark| format!("  @{} {}", ms(mark.at), mark.text)));
            }
        }
        let want: Vec<_> =
            want.trim().lines().map(|line| line.strip_prefix("            ").unwrap_or(line)).collect();
        assert_eq!(text.join("\n"), want.join("\n"));
    }

    const COLD: &str = "0 invoked a\n0 initStart\n0 spawn agent\n2 spawn function\n4 asked agent\n10 asked function\n\
        10 INVOKE agent\n10 start a\n14 answered a\n15 asked function\n15 done a\n18 asked agent\n18 report a\n18 frozen\n";

    #[test]
    fn a_cold_start_is_an_initialisation_and_an_invocation() {
        check(
            COLD,
            "Frozen, 1 invocations
            Init 0-10
              agent: init 0-4
              function: init 2-10
            Invoke a 10-18 billed 18 frozen to …
              agent: work 10-18
              function: work 10-15",
        );
    }

    #[test]
    fn a_warm_one_is_thawed_and_the_end_is_a_shutdown() {
        let more = "50 thawed\n50 invoked b\n50 INVOKE agent\n51 start b\n52 asked function\n52 done b\n53 asked agent\n\
            53 frozen\n90 thawed\n90 SHUTDOWN agent\n95 exited agent\n95 destroyed";
        check(
            &format!("{COLD}{more}"),
            "Gone, 2 invocations
            Init 0-10
              agent: init 0-4
              function: init 2-10
            Invoke a 10-18 billed 18 frozen to 50
              agent: work 10-18
              function: work 10-15
            Invoke b 50-53 frozen to 90
              agent: work 50-53
              function: work 51-52
            Shutdown 90-95
              agent: shutdown 90-95
              function:
              @95 ended: exit status 1",
        );
    }

    #[test]
    fn a_crash_is_followed_by_an_initialisation_of_the_same_invocation() {
        check(
            "0 thawed\n0 INVOKE agent\n0 start a\n5 exited function\n5 spawn function\n9 asked function",
            "Running, 0 invocations
            Invoke a 0-…
              agent: work 0-…
              function: work 0-5 init 5-9
              @5 ended: exit status 1",
        );
    }

    #[test]
    fn managed_instances_run_several_beside_each_other() {
        check(
            "0 managed\n0 spawn agent\n1 spawn function\n3 asked agent\n8 asked function\n9 initReport\n20 start a\n\
            21 start b\n30 answered a\n31 report a\n40 report b\n900 start c\n910 report c\n3000 start d\n3005 report d\n\
            5000 SHUTDOWN agent\n5002 exited agent\n5002 destroyed",
            "Gone, 0 invocations
            Init 0-9
              agent: init 0-3
              function: init 1-8
            Serve 20-910
              a 20-31 answered 30 success 8 ms
              b 21-40 success 8 ms
              c 900-910 success 8 ms
            Serve 3000-3005
              d 3000-3005 success 8 ms
            Shutdown 5000-5002
              agent: shutdown 5000-5002
              @5002 ended: exit status 1",
        );
    }

    #[test]
    fn an_event_alone_is_no_reason_to_fail() {
        for line in ["0 frozen", "0 asked agent", "0 report x", "0 destroyed", "0 thawed"] {
            assert_eq!(environments(&[event(line)]).len(), 1, "{line}");
        }
    }
}
