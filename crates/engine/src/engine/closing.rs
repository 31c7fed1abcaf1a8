//! What becomes of invocations that nothing more is to be known of.

use super::Engine;
use crate::flush::Telemetry;
use crate::invocation::Invocation;
use crate::stages::More;

impl Engine {
    /// Derives what is left of an invocation that nothing more is to be known of.
    pub(super) fn close(&mut self, one: Option<Invocation>) {
        let Some(mut one) = one else { return };
        let verdict = self.boot.last_verdict(one.is_first);
        let made = self.stages.derive(self.now, &mut one, verdict, More::Nothing);
        if let Some(context) = made.filter(|_| one.is_first) {
            self.boot.note_context(context);
        }
    }

    /// Where Lambda is silent, the next INVOKE is the last that is heard of an invocation.
    pub(super) fn close_forerunner(&mut self) {
        if self.telemetry != Telemetry::Silent {
            return;
        }
        if let Some(one) = self.invocations.live_mut() {
            let verdict = self.boot.last_verdict(one.is_first);
            self.stages.derive(self.now, one, verdict, More::Nothing);
        }
    }

    /// At the end of an invocation the next one has not begun: what is known of any but those that were
    /// announced is about a sandbox before this one, and complete.
    pub(super) fn close_strangers(&mut self) {
        for stranger in self.invocations.take_strangers() {
            self.close(Some(stranger));
        }
    }

    pub(super) fn close_all(&mut self) {
        self.derive();
        self.invocations.cut_off(self.cut_off.take().as_ref());
        // They stay: records that come while the last data is on its way join them, and count once.
        let mut context = None;
        for one in self.invocations.all_mut() {
            let verdict = self.boot.last_verdict(one.is_first);
            let made = self.stages.derive(self.now, one, verdict, More::Nothing);
            context = context.or(made.filter(|_| one.is_first));
        }
        if let Some(context) = context {
            self.boot.note_context(context);
        }
        self.stages.logs.release_all();
        self.stages.derive_boot(self.now, &mut self.boot, true);
    }
}
