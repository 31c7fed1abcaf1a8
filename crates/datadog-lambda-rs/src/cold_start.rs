//! What is known of the sandbox's start: when the process began, when it was ready for its first event, and
//! which invocation was the first. A fact about the sandbox, not about any invocation.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::UnixNanos;

use crate::agent::lock;

/// A sandbox that waits longer than this for its first event was started ahead of it.
const PROACTIVE_AFTER: Duration = Duration::from_secs(10);

/// Lambda ends an initialisation at 10 s, and repeats it in the first invocation for at most 15 min: a start
/// further back is not one of this process.
const LONGEST_INIT: Duration = Duration::from_secs(15 * 60);

/// The unit of `/proc/self/stat`: `USER_HZ`, 100 on every architecture that Lambda has. See proc(5).
const TICKS_PER_SECOND: u64 = 100;

/// Phases of the start that are kept.
const MAX_PHASES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct ColdStart {
    began: Option<UnixNanos>,
    invoked: AtomicBool,
    ready: Mutex<Option<UnixNanos>>,
    /// The process is part of a snapshot: when it was ready says nothing until it is restored.
    in_snapshot: AtomicBool,
    phases: Mutex<Vec<Phase>>,
}

/// A part of the start that the user has marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) start: UnixNanos,
    pub(crate) end: UnixNanos,
}

/// What the start means for one invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// The first of its sandbox, and somebody waited for the start.
    pub(crate) cold: bool,
    /// The first of its sandbox, which had been started ahead.
    pub(crate) proactive: bool,
    /// From the start of the process until it was ready: only when `cold`.
    pub(crate) load: Option<(UnixNanos, UnixNanos)>,
}

impl ColdStart {
    /// The handler is in place: from here on the process only waits. The first call counts.
    pub(crate) fn ready(&self, now: UnixNanos) {
        lock(&self.ready).get_or_insert(now);
    }

    /// The sandbox was made of a snapshot just now. Each of those made of it has a first invocation.
    pub(crate) fn restored(&self, now: UnixNanos) {
        *lock(&self.ready) = Some(now);
        self.in_snapshot.store(false, Ordering::Relaxed);
    }

    pub(crate) fn in_snapshots(self, is_so: bool) -> Self {
        self.in_snapshot.store(is_so, Ordering::Relaxed);
        self
    }

    /// To be asked once by each invocation.
    pub(crate) fn invoked(&self, now: UnixNanos) -> Verdict {
        if self.invoked.swap(true, Ordering::AcqRel) {
            return Verdict::default();
        }
        let ready = *lock(&self.ready).get_or_insert(now);
        if now.since(ready) > PROACTIVE_AFTER && !self.in_snapshot.load(Ordering::Relaxed) {
            return Verdict { proactive: true, ..Verdict::default() };
        }
        let end = ready.min(now);
        // The span is what makes the extension send its own: it is there even when its start cannot be true.
        let likely = |start: UnixNanos| if end.since(start) <= LONGEST_INIT { start.min(end) } else { end };
        let load = self.began.map(|start| (likely(start), end));
        Verdict { cold: true, proactive: false, load }
    }

    /// Of a process that was started then.
    pub(crate) fn of(began: Option<UnixNanos>) -> Self {
        Self { began, ..Self::default() }
    }

    pub(crate) fn began(&self) -> Option<UnixNanos> {
        self.began
    }

    /// Whether there was an invocation.
    pub(crate) fn is_over(&self) -> bool {
        self.invoked.load(Ordering::Acquire)
    }

    pub(crate) fn add_phase(&self, phase: Phase) {
        let mut phases = lock(&self.phases);
        if phases.len() < MAX_PHASES && !self.is_over() {
            phases.push(phase);
        }
    }

    pub(crate) fn take_phases(&self) -> Vec<Phase> {
        std::mem::take(&mut lock(&self.phases))
    }
}

/// When this process was started: never before it was, perhaps some milliseconds after. A load span that begins
/// before the sandbox does would look longer than the cold start that it is a part of.
///
/// The kernel tells the start to a hundredth of a second, and the present likewise: each is taken at its worst.
/// What the main thread has run and has waited for its turn is told in nanoseconds, and is the better answer
/// for a start that takes less. `None` where there is no `/proc`.
pub(crate) fn process_start() -> Option<UnixNanos> {
    let read = |path| std::fs::read_to_string(path).ok();
    let lived = read("/proc/self/stat").zip(read("/proc/uptime")).and_then(|(stat, up)| lived(&stat, &up));
    let ran = read("/proc/self/schedstat").as_deref().and_then(ran);
    let age = lived.into_iter().chain(ran).max()?;
    // Asked last: what has passed since makes the start later, not earlier.
    Some(crate::ids::now() - age)
}

/// How long a process has lived at the least.
fn lived(stat: &str, uptime: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses, and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let up: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    let up = Duration::try_from_secs_f64(up).ok()?;
    // Started at some time within the tick.
    let after_boot = Duration::from_millis(ticks.checked_add(1)?.checked_mul(1000 / TICKS_PER_SECOND)?);
    Some(up.saturating_sub(after_boot))
}

/// How long a thread has run, or waited for its turn to run. See proc(5) and the kernel's sched-stats.
fn ran(schedstat: &str) -> Option<Duration> {
    let mut fields = schedstat.split_ascii_whitespace().map(|field| field.parse::<u64>().ok());
    let (ran, waited) = (fields.next()??, fields.next()??);
    Some(Duration::from_nanos(ran.saturating_add(waited)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_a_process_is_at_its_latest() {
        let fields = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 350000 9 9 9";
        let check = |stat: String, uptime: &str, expect: Option<u64>| {
            assert_eq!(lived(&stat, uptime), expect.map(Duration::from_millis), "{stat}");
        };
        check(format!("1 (boot strap) x) {fields}"), "3501.25 0.00", Some(1240));
        check(format!("1 (a) {fields}"), "3500.00 0.00", Some(0));
        check(format!("1 (a) {fields}"), "3499.99 0.00", Some(0));
        check(format!("1 (a) {fields}"), "-1 0", None);
        check("1 (a) S 1".to_owned(), "3501.25 0.00", None);
        check(String::new(), "", None);
        assert_eq!(ran("1500000 500000 3\n"), Some(Duration::from_millis(2)));
        assert_eq!((ran(""), ran("a b c"), ran("1")), (None, None, None));
    }

    const CHILD: &str = "cold_start::tests::child";

    #[test]
    #[ignore = "the process that the next test starts"]
    fn child() {
        println!("began={}", process_start().unwrap().as_nanos());
    }

    /// A real process, many times: the error of a source shows as a start before the process was asked for.
    #[test]
    fn a_process_begins_after_it_was_started() {
        for _ in 0..10 {
            let before = crate::ids::now();
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            let output = command.args(["--exact", CHILD, "--ignored", "--nocapture"]).output().unwrap();
            let after = crate::ids::now();
            let text = String::from_utf8(output.stdout).unwrap();
            let (_, began) = text.split_once("began=").unwrap_or_else(|| panic!("{text}"));
            let began = UnixNanos(began.lines().next().unwrap().parse().unwrap());
            assert!(before <= began && began <= after, "{before:?} {began:?} {after:?}");
        }
    }

    #[test]
    fn only_the_first_invocation_is_cold() {
        let secs = UnixNanos::from_secs;
        let start = ColdStart::of(Some(secs(99)));
        start.ready(secs(100));
        start.ready(secs(105));
        assert!(!start.is_over());
        let first = start.invoked(secs(101));
        assert_eq!(first, Verdict { cold: true, proactive: false, load: Some((secs(99), secs(100))) });
        assert_eq!(start.invoked(secs(102)), Verdict::default());
        assert!(start.is_over());
    }

    #[test]
    fn a_sandbox_started_ahead_is_not_cold() {
        let start = ColdStart::of(Some(UnixNanos::from_secs(99)));
        start.ready(UnixNanos::from_secs(100));
        let verdict = start.invoked(UnixNanos::from_secs(111));
        assert_eq!(verdict, Verdict { cold: false, proactive: true, load: None });
    }

    #[test]
    fn a_restored_sandbox_starts_when_it_is_restored() {
        let secs = UnixNanos::from_secs;
        let check = |restored: Option<u64>, cold, proactive| {
            let start = ColdStart::of(None).in_snapshots(true);
            start.ready(secs(100));
            restored.into_iter().for_each(|at| start.restored(secs(at)));
            let verdict = start.invoked(secs(100_000));
            assert_eq!((verdict.cold, verdict.proactive), (cold, proactive), "{restored:?}");
        };
        check(Some(99_999), true, false);
        check(Some(99_000), false, true);
        // The user's own runtime loop did not say when.
        check(None, true, false);
    }

    #[test]
    fn a_start_that_cannot_be_gives_a_span_without_length() {
        let secs = UnixNanos::from_secs;
        let whole = Some((secs(100_000), secs(100_000)));
        for (start, load) in [(None, None), (Some(secs(200_000)), whole), (Some(secs(1)), whole)] {
            let verdict = ColdStart::of(start).invoked(secs(100_000));
            assert_eq!(verdict, Verdict { cold: true, proactive: false, load }, "{start:?}");
        }
    }

    #[test]
    fn phases_are_bounded_and_end_with_the_start() {
        let start = ColdStart::default();
        let phase = Phase { name: "load".to_owned(), start: UnixNanos(1), end: UnixNanos(2) };
        for _ in 0..1000 {
            start.add_phase(phase.clone());
        }
        assert_eq!(start.take_phases().len(), MAX_PHASES);
        start.invoked(UnixNanos(3));
        start.add_phase(phase);
        assert_eq!(start.take_phases(), []);
    }
}
