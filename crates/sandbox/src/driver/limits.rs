//! What a sandbox does to its processes besides what Lambda's rules say: the limit of its memory, its share of a
//! processor, and what was asked for to go wrong.

use std::time::Duration;

use model::{Record, TelemetryRecord, UnixNanos};
use platform::{ExitStatus, Input, PhaseName, Reply};
use rustix::process::Signal;

use super::Driver;
use crate::cgroup::Cgroup;
use crate::memory;
use crate::timeline::{Process, What};

/// How often the memory of what runs is looked at. Calls are occasions besides.
const INTERVAL: Duration = Duration::from_millis(10);
/// Within each of which processes run for their share of the processor. Lambda's is 20 ms; ours is longer, since
/// each turn costs two signals to every process.
const CPU_PERIOD: Duration = Duration::from_millis(50);

/// How far the clock of the processes is from Lambda's: what Lambda tells them seems that far from now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Skew {
    by: Duration,
    /// The processes are ahead: what they are told seems long ago.
    ahead: bool,
}

impl Skew {
    fn time(self, at: UnixNanos) -> UnixNanos {
        match self.ahead {
            true => UnixNanos::default() + at.since(UnixNanos::default() + self.by),
            false => at + self.by,
        }
    }

    pub(super) fn record(self, record: TelemetryRecord) -> TelemetryRecord {
        if self.by.is_zero() {
            return record;
        }
        let TelemetryRecord { time, mut record } = record;
        let spans = match &mut record {
            Record::RuntimeDone(done) => done.spans.as_mut_slice(),
            Record::Report(report) => report.spans.as_mut_slice(),
            _ => &mut [],
        };
        spans.iter_mut().for_each(|span| span.start = self.time(span.start));
        TelemetryRecord { time: self.time(time), record }
    }

    pub(super) fn reply(self, mut reply: Reply) -> Reply {
        match &mut reply {
            Reply::Invocation(delivery) | Reply::Invoke(delivery) => {
                delivery.deadline = self.time(delivery.deadline);
            }
            Reply::Shutdown { deadline, .. } => *deadline = self.time(*deadline),
            _ => {}
        }
        reply
    }
}

/// Where a sandbox with less than a processor is in its turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    stopped: bool,
    /// When that changes; `None` before the first turn.
    turn: Option<UnixNanos>,
}

impl Driver {
    /// An invocation begins: those kills that are meant for it have a time now, and the clock may jump.
    pub(super) fn plan_faults(&mut self, begins: UnixNanos) {
        self.invocations += 1;
        let number = self.invocations;
        if let Some(jump) = self.site.faults.clock.iter().find(|jump| jump.invocation == number) {
            self.skew = Skew { by: jump.by, ahead: jump.forward };
        }
        let kills = self.site.faults.kills.iter().filter(|kill| kill.invocation == number);
        self.kills.extend(kills.map(|kill| (begins + kill.after, kill.process.clone())));
    }

    /// Kills what was asked to be killed by now.
    pub(super) fn kill_due(&mut self, now: UnixNanos) {
        let due: Vec<_> = self.kills.extract_if(.., |(due, _)| *due <= now).collect();
        for (_, victim) in due {
            let found = self.processes.iter().find(|(_, running)| running.process == victim);
            if let Some(id) = found.map(|(id, _)| *id) {
                self.signal(id, Signal::KILL, |process| What::Killed { process });
            }
        }
    }

    /// When processes have to be stopped, or may go on: while something runs that has less than a processor.
    pub(super) fn cpu_deadline(&self) -> Option<UnixNanos> {
        let runs = !matches!(self.platform.phase(), PhaseName::Cold | PhaseName::Idle | PhaseName::Gone);
        (self.site.faults.cpu.is_some() && runs).then(|| self.cpu.turn.unwrap_or_default())
    }

    pub(super) fn share_cpu(&mut self, now: UnixNanos) {
        let Some(share) = self.site.faults.cpu else { return };
        let Some(due) = self.cpu_deadline() else {
            self.cpu = Cpu::default();
            return;
        };
        if due > now {
            return;
        }
        let running = CPU_PERIOD.mul_f64(share.clamp(0.01, 1.0));
        let (stop, length) = match self.cpu {
            Cpu { turn: Some(_), stopped: false } => (true, CPU_PERIOD.saturating_sub(running)),
            Cpu { .. } => (false, running),
        };
        for process in self.processes.values() {
            process.group.signal(if stop { Signal::STOP } else { Signal::CONT });
        }
        self.cpu = Cpu { stopped: stop, turn: Some(now + length) };
    }

    /// Puts a process that was just started under the limit of the memory, where the kernel has one for us.
    pub(super) fn confine(&mut self, process: &Process, pid: u32) {
        let Some(limit) = self.site.memory else { return };
        if self.group.is_none() {
            self.group = Cgroup::make(&self.site.leash).ok();
        }
        let Some(group) = &mut self.group else { return };
        let function = *process == Process::Function;
        let added = group.add(pid, function);
        // Before there is a function there is none to be killed for what extensions take.
        if function && added.is_ok() {
            // Without a limit the memory is looked at.
            let _ = group.limit(limit);
        }
    }

    /// The kernel killed one of the processes for the memory of all: that this one ended by a signal is a consequence.
    pub(super) fn killed_for_memory(&mut self, status: ExitStatus) -> bool {
        status == ExitStatus::Signal(9) && self.group.as_mut().is_some_and(Cgroup::has_killed)
    }

    /// When the memory has to be looked at: while something runs that has a limit which the kernel does not know.
    pub(super) fn memory_deadline(&self) -> Option<UnixNanos> {
        let runs = matches!(self.platform.phase(), PhaseName::Init | PhaseName::Restore | PhaseName::Invoke);
        let known = self.group.as_ref().is_some_and(Cgroup::is_limited);
        (self.site.memory.is_some() && !known && runs).then_some(self.look)
    }

    pub(super) fn look_at_memory(&mut self, now: UnixNanos) {
        if self.memory_deadline().is_some_and(|due| due <= now) && self.is_out_of_memory(now) {
            self.carry_out();
        }
    }

    /// Looks; tells the machine when all processes together have more than they may.
    pub(super) fn is_out_of_memory(&mut self, now: UnixNanos) -> bool {
        let Some(limit) = self.site.memory.filter(|_| self.memory_deadline().is_some()) else { return false };
        self.look = now + INTERVAL;
        if memory::resident_mb(self.processes.values().map(|p| p.group.0)) <= limit {
            return false;
        }
        self.platform.handle(now, Input::OutOfMemory);
        // There may be no function yet that could be killed.
        self.processes.values().any(|running| running.process == Process::Function)
    }
}
