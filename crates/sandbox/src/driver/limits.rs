//! What a sandbox does to its processes besides what Lambda's rules say: the limit of its memory, and kills that were
//! asked for.

use std::time::Duration;

use model::UnixNanos;
use platform::{Input, PhaseName};
use rustix::process::Signal;

use super::Driver;
use crate::memory;
use crate::timeline::What;

/// How often the memory of what runs is looked at. Calls are occasions besides.
const INTERVAL: Duration = Duration::from_millis(10);

impl Driver {
    /// An invocation begins: those kills that are meant for it have a time now.
    pub(super) fn plan_kills(&mut self, begins: UnixNanos) {
        self.invocations += 1;
        let number = self.invocations;
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

    /// When the memory has to be looked at: while something runs that has a limit.
    pub(super) fn memory_deadline(&self) -> Option<UnixNanos> {
        let runs = matches!(self.platform.phase(), PhaseName::Init | PhaseName::Invoke);
        (self.site.memory.is_some() && runs).then_some(self.look)
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
        self.processes.values().any(|running| running.process == crate::timeline::Process::Function)
    }
}
