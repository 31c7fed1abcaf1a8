//! `SnapStart`: what was initialised is stopped where its runtime asks for `restore/next`, or for its first event; the
//! first invocation lets it go on, and waits until the runtime has run what it runs after a restore.
//!
//! ```text
//! Init ──► Idle, frozen (the snapshot) ──invocation──► Restore ──runtime asks for its event──► Invoke
//! ```
//! Lambda makes any number of environments of one snapshot; here each is one process that is stopped once.
//! <https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks.html>

use std::time::Duration;

use model::{Record, RestoreStart, Status, UnixNanos};

use crate::invocation::Live;
use crate::io::{Answer, CallId, ErrorReport, Invocation, Reply};
use crate::machine::{Cause, Fatal, Platform, Stage, Timer};
use crate::refusal::Refusal;
use crate::runtime::{self, RuntimeState};

/// Longest time for what runs after a restore.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Restore {
    began: UnixNanos,
    invocation: Invocation,
}

impl Platform {
    /// Lets what was stopped go on, for this invocation.
    pub(crate) fn begin_restore(&mut self, now: UnixNanos, invocation: Invocation) {
        self.thaw();
        self.snapshot = false;
        self.record_restore_start(now);
        self.timers.insert(Timer::Restore, now + LIMIT);
        self.stage = Stage::Restore(Box::new(Restore { began: now, invocation }));
        if let Some(runtime) = self.runtime.as_mut().filter(|r| r.state == RuntimeState::RestoreReady) {
            runtime.state = RuntimeState::Restoring;
            if let Some(call) = runtime.waiting.take() {
                self.reply(call, Reply::Restored);
            }
        }
        self.advance_restore(now);
    }

    fn record_restore_start(&mut self, now: UnixNanos) {
        let start = RestoreStart {
            function_name: Some(self.config.function_name.clone()),
            function_version: Some(self.config.function_version.clone()),
            runtime_version: None,
            runtime_version_arn: None,
            instance_id: self.config.instance_id.clone(),
            instance_max_memory_mb: Some(self.config.memory_mb),
        };
        self.record(now, Record::RestoreStart(start));
    }

    /// Begins the invocation when the runtime has asked for its event.
    pub(crate) fn advance_restore(&mut self, now: UnixNanos) {
        if self.runtime.as_ref().is_none_or(|r| r.state != RuntimeState::Ready) {
            return;
        }
        let Stage::Restore(restore) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        self.timers.remove(&Timer::Restore);
        let duration = now.since(restore.began).into();
        self.restore_duration = Some(duration);
        self.record(now, Record::RestoreRuntimeDone { status: Status::Success, error_type: None });
        self.record(
            now,
            Record::RestoreReport { status: Status::Success, duration: Some(duration), error_type: None },
        );
        self.begin_invocation(now, restore.invocation);
    }

    pub(crate) fn fail_restore(&mut self, now: UnixNanos, restore: Restore, cause: &Cause) {
        self.timers.remove(&Timer::Restore);
        let (status, error_type) = (cause.status(), cause.error_type());
        let done = Record::RestoreRuntimeDone { status: status.clone(), error_type: error_type.clone() };
        self.record(now, done);
        let duration = Some(now.since(restore.began).into());
        self.record(now, Record::RestoreReport { status, duration, error_type });
        let mut live = Live::new(now, restore.invocation, now + self.config.timeout);
        if *cause == Cause::Timeout {
            let message = format!("The runtime did not restore within {} seconds.", LIMIT.as_secs());
            let answer = Answer::Failure { error_type: "SnapStartTimeoutException".into(), message };
            self.answer(live.invocation.request_id.clone(), answer);
            live.answered = true;
        }
        self.fail_invocation(now, live, cause);
    }

    /// `GET /runtime/restore/next`: the point at which the snapshot is taken.
    pub(crate) fn runtime_restore_next(&mut self, now: UnixNanos, call: CallId) {
        if !self.config.mode.snapshots() {
            return self.refuse(call, Refusal::not_found());
        }
        let Some(runtime) = &mut self.runtime else { return self.refuse(call, Refusal::internal()) };
        let Some(state) = runtime.state.restore_next() else {
            let to = RuntimeState::RestoreReady.name();
            let refusal = Refusal::runtime_transition(runtime.state.name(), to);
            return self.refuse(call, refusal);
        };
        runtime.state = state;
        if matches!(&self.stage, Stage::Init(init) if init.live.is_some()) {
            // Somebody waits: there is no snapshot to be made.
            runtime.state = RuntimeState::Restoring;
            return self.reply(call, Reply::Restored);
        }
        if let Some(older) = runtime.waiting.replace(call) {
            self.refuse(older, Refusal::internal());
        }
        self.advance_init(now);
    }

    /// `POST /runtime/restore/error`.
    pub(crate) fn runtime_restore_error(&mut self, now: UnixNanos, call: CallId, report: ErrorReport) {
        if !self.config.mode.snapshots() {
            return self.refuse(call, Refusal::not_found());
        }
        let Some(runtime) = &mut self.runtime else { return self.refuse(call, Refusal::internal()) };
        let Some(state) = runtime.state.restore_error() else {
            let to = RuntimeState::RestoreError.name();
            let refusal = Refusal::runtime_transition(runtime.state.name(), to);
            return self.refuse(call, refusal);
        };
        runtime.state = state;
        self.reply(call, Reply::Accepted);
        let error_type = runtime::error_type(report.error_type.as_deref());
        let fatal = Fatal { error_type: error_type.into(), message: String::new(), body: Some(report.body) };
        let first = self.fatal.get_or_insert(fatal).clone();
        self.fail(now, Cause::Fatal(first));
    }
}
