//! Initialisation: the extensions register, then the runtime starts and asks for its first event, then all agents
//! ask for theirs. And the calls of agents, which mean most here.
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-ib>

use std::sync::Arc;

use model::{InitReport, InitStart, Millis, Phase, Record, Status, Text, UnixNanos};

use crate::agent::{Agent, AgentState, Origin};
use crate::invocation::Live;
use crate::io::{
    AgentId, CallId, Effect, ErrorReport, Invocation, Program, Registration, Reply, Subscriptions,
};
use crate::machine::{Cause, Fatal, Platform, Stage, Timer};
use crate::managed::Serving;
use crate::mode::Mode;
use crate::refusal::{MAX_AGENTS, Refusal};
use crate::runtime::{self, Runtime, RuntimeState};

#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) began: UnixNanos,
    pub(crate) step: Step,
    /// The invocation inside which it runs; `None` in the init phase proper.
    pub(crate) live: Option<Box<Live>>,
}

/// What an initialisation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Every external extension to register.
    Registering,
    /// The runtime to ask for its first event.
    Starting,
    /// Every agent to ask for its first event.
    Readying,
}

impl Init {
    fn phase(&self, mode: Mode) -> Phase {
        mode.init_phase(self.live.is_some())
    }
}

impl Platform {
    /// Starts the extensions; with `live`, inside that invocation and on its time.
    pub(crate) fn begin_init(&mut self, now: UnixNanos, live: Option<Box<Live>>) {
        if live.is_none() {
            self.timers.insert(Timer::Init, now + self.config.init_limit);
        }
        self.memory_used_mb = 0;
        self.out_of_memory = false;
        let init = Init { began: now, step: Step::Registering, live };
        self.effect(Effect::Subscriptions(Subscriptions::Open));
        self.record(
            now,
            Record::InitStart(InitStart {
                initialization_type: self.config.mode.initialization_type(),
                phase: init.phase(self.config.mode),
                function_name: Some(self.config.function_name.clone()),
                function_version: Some(self.config.function_version.clone()),
                runtime_version: None,
                runtime_version_arn: None,
                instance_id: self.config.instance_id.clone(),
                instance_max_memory_mb: Some(self.config.memory_mb),
                function_arn: self.managed_arn(),
            }),
        );
        self.stage = Stage::Init(init);
        for (n, name) in self.config.extensions.clone().into_iter().enumerate() {
            if n == MAX_AGENTS {
                let message = format!("Extension limit ({MAX_AGENTS}) reached");
                let fatal = Fatal { error_type: "Extension.LaunchError".into(), message, body: None };
                return self.fail(now, Cause::Fatal(fatal));
            }
            let process = self.spawn(Program::Extension(name.clone()));
            self.agents.push(Agent::new(name, Some(process)));
        }
        self.advance_init(now);
    }

    pub(crate) fn begin_suppressed_init(&mut self, now: UnixNanos, invocation: Invocation) {
        let live = Live::new(now, invocation, now + self.config.timeout);
        self.timers.insert(Timer::Invoke, live.deadline);
        self.begin_init(now, Some(Box::new(live)));
    }

    /// Takes every step whose wait is over.
    pub(crate) fn advance_init(&mut self, now: UnixNanos) {
        let Stage::Init(init) = &self.stage else { return };
        let phase = init.phase(self.config.mode);
        let mut step = init.step;
        if step == Step::Registering && self.agents.iter().all(Agent::registered) {
            let process = self.spawn(Program::Runtime);
            self.runtime = Some(Runtime::new(process));
            step = Step::Starting;
        }
        let ready = self.runtime.as_ref().is_some_and(|r| r.state.is_initialised());
        if step == Step::Starting && ready {
            self.init_runtime_done(now, phase, Status::Success, None);
            step = Step::Readying;
        }
        if let Stage::Init(init) = &mut self.stage {
            init.step = step;
        }
        if step == Step::Readying && self.agents.iter().all(|a| a.state == AgentState::Ready) {
            self.finish_init(now);
        }
    }

    fn finish_init(&mut self, now: UnixNanos) {
        let Stage::Init(init) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        self.timers.remove(&Timer::Init);
        self.report_init(now, &init, Status::Success, None);
        match init.live {
            Some(live) => self.start_invocation(now, live),
            None => self.await_invocations(now, now.since(init.began).into()),
        }
    }

    /// Initialised before any invocation.
    fn await_invocations(&mut self, now: UnixNanos, took: Millis) {
        if self.config.mode.is_managed() {
            self.stage = Stage::Serving(Serving::default());
            return;
        }
        self.snapshot = self.config.mode.snapshots();
        // An environment of a snapshot did not initialise itself.
        self.init_duration = (!self.snapshot).then_some(took);
        self.pump(now);
    }

    pub(crate) fn fail_init(&mut self, now: UnixNanos, init: Init, cause: &Cause) {
        if init.step != Step::Readying {
            self.init_runtime_done(now, init.phase(self.config.mode), cause.status(), cause.error_type());
        }
        self.report_init(now, &init, cause.status(), cause.error_type());
        self.suppress_init = true;
        match init.live {
            Some(live) => self.fail_invocation(now, *live, cause),
            None => self.stop(now, cause.shutdown_reason(), None),
        }
    }

    fn init_runtime_done(&mut self, now: UnixNanos, phase: Phase, status: Status, error_type: Option<Text>) {
        let initialization_type = self.config.mode.initialization_type();
        self.record(now, Record::InitRuntimeDone { initialization_type, phase, status, error_type });
    }

    fn report_init(&mut self, now: UnixNanos, init: &Init, status: Status, error_type: Option<Text>) {
        let agents: Vec<_> = self.agents.iter().map(extension_record).collect();
        for record in agents {
            self.record(now, record);
        }
        self.record(
            now,
            Record::InitReport(InitReport {
                initialization_type: self.config.mode.initialization_type(),
                phase: init.phase(self.config.mode),
                status: Some(status),
                duration: now.since(init.began).into(),
                error_type,
            }),
        );
        self.effect(Effect::Subscriptions(Subscriptions::Closed));
    }

    pub(crate) fn runtime_init_error(&mut self, now: UnixNanos, call: CallId, report: ErrorReport) {
        let Some(runtime) = &mut self.runtime else { return self.refuse(call, Refusal::internal()) };
        let Some(state) = runtime.state.init_error() else {
            let refusal = Refusal::runtime_transition(runtime.state.name(), RuntimeState::InitError.name());
            return self.refuse(call, refusal);
        };
        runtime.state = state;
        self.reply(call, Reply::Accepted);
        let error_type = runtime::error_type(report.error_type.as_deref());
        let fatal = Fatal { error_type: error_type.into(), message: String::new(), body: Some(report.body) };
        let first = self.fatal.get_or_insert(fatal).clone();
        self.fail(now, Cause::Fatal(first));
    }

    pub(crate) fn register(&mut self, now: UnixNanos, call: CallId, registration: Registration) {
        let Registration { id, name, events } = registration;
        if name.is_empty() {
            return self.refuse(call, Refusal::empty_extension_name());
        }
        let external = self.agents.iter().position(|a| a.external() && *a.name == *name);
        let origin = if external.is_some() { Origin::External } else { Origin::Internal };
        for event in &events {
            if let Some(fault) = self.config.mode.event_fault(origin, event) {
                return self.refuse(call, Refusal::invalid_event(event, fault));
            }
        }
        let agent = match external.and_then(|at| self.agents.get_mut(at)) {
            Some(agent) => agent,
            None => {
                if let Err(refusal) = self.may_create_internal(&name) {
                    return self.refuse(call, refusal);
                }
                self.agents.push(Agent::new(Arc::from(name.as_str()), None));
                let Some(agent) = self.agents.last_mut() else { return };
                agent
            }
        };
        let Some(state) = agent.state.register() else {
            let to = AgentState::Registered.name();
            let refusal = Refusal::agent_transition(agent.state.name(), to, &agent.name);
            return self.refuse(call, refusal);
        };
        agent.state = state;
        agent.id = Some(id.clone());
        agent.wants_invoke = events.iter().any(|e| e == "INVOKE");
        agent.wants_shutdown = events.iter().any(|e| e == "SHUTDOWN");
        self.reply(call, Reply::Registered { agent: id });
        self.advance_init(now);
    }

    fn may_create_internal(&self, name: &str) -> Result<(), Refusal> {
        match &self.stage {
            Stage::Init(init) if init.step != Step::Readying => {}
            _ => return Err(Refusal::registration_closed()),
        }
        if self.agents.iter().any(|a| *a.name == *name) {
            return Err(Refusal::name_taken());
        }
        if self.agents.len() >= MAX_AGENTS {
            return Err(Refusal::too_many_agents());
        }
        Ok(())
    }

    pub(crate) fn agent_next(&mut self, now: UnixNanos, call: CallId, id: &AgentId) {
        let Some(agent) = self.agents.iter_mut().find(|a| a.id.as_ref() == Some(id)) else {
            return self.refuse(call, Refusal::unknown_agent(id));
        };
        let Some(state) = agent.state.next() else {
            let to = AgentState::Ready.name();
            let refusal = Refusal::agent_transition(agent.state.name(), to, &id.0);
            return self.refuse(call, refusal);
        };
        agent.state = state;
        agent.waiting = Some(call);
        match self.stage {
            Stage::Init(_) => self.advance_init(now),
            Stage::Invoke(_) => self.advance_invocation(now),
            Stage::Stopping(_) => self.tell_shutdown(),
            Stage::Cold | Stage::Idle | Stage::Restore(_) | Stage::Serving(_) | Stage::Gone => {}
        }
    }

    /// An agent says that it failed. Nothing comes of it before its process ends.
    pub(crate) fn agent_reports(&mut self, call: CallId, id: &AgentId, to: AgentState, error_type: &str) {
        let Some(agent) = self.agents.iter_mut().find(|a| a.id.as_ref() == Some(id)) else {
            return self.refuse(call, Refusal::unknown_agent_reports());
        };
        let init = to == AgentState::InitError;
        let allowed = if init { agent.state.init_error() } else { agent.state.exit_error() };
        let Some(state) = allowed else {
            let refusal = Refusal::agent_transition(agent.state.name(), to.name(), &id.0);
            return self.refuse(call, refusal);
        };
        agent.state = state;
        agent.error_type = Some(error_type.to_owned().into());
        let kind = if init { "Extension.InitError" } else { "Extension.ExitError" };
        let message = error_type.to_owned();
        self.fatal.get_or_insert(Fatal { error_type: kind.into(), message, body: None });
        self.reply(call, Reply::Accepted);
    }

    pub(crate) fn subscribe(
        &mut self,
        now: UnixNanos,
        call: CallId,
        id: &AgentId,
        types: Result<Vec<Text>, String>,
    ) {
        let open = matches!(self.stage, Stage::Init(_));
        let Some(agent) = self.agents.iter_mut().find(|a| a.id.as_ref() == Some(id)) else {
            return self.refuse(call, Refusal::unknown_agent(id));
        };
        let types = match types {
            Ok(types) => types,
            Err(why) => return self.refuse(call, Refusal::invalid_subscription(why)),
        };
        if !open {
            return self.refuse(call, Refusal::subscription_closed());
        }
        if std::mem::replace(&mut agent.subscribed, true) {
            return self.refuse(call, Refusal::internal());
        }
        let name = agent.name.to_string().into();
        self.reply(call, Reply::Subscribed);
        self.record(now, Record::TelemetrySubscription { name, state: "Subscribed".into(), types });
    }
}

fn extension_record(agent: &Agent) -> Record {
    Record::Extension {
        name: agent.name.to_string().into(),
        state: agent.state.name().into(),
        events: agent.events().map(Text::Borrowed).collect(),
        error_type: agent.error_type.clone(),
    }
}
