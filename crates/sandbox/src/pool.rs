//! All sandboxes of one function. One task owns them: it asks [`Fleet`] which of them takes an invocation, opens and
//! closes them, and ends when all are gone. Used by [`crate::Lambda`].

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use model::{RequestId, UnixNanos};
use platform::{Config, EnvironmentId, Fleet, FleetEffect, FleetInput, Invocation, Mode, Platform, Scaling};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::api::{About, Api};
use crate::clock::Clock;
use crate::config::{FunctionConfig, LambdaConfig};
use crate::driver::{Caller, Driver, INBOX, Message, Notices, Site};
use crate::environment::Place;
use crate::ids;
use crate::leash::Leash;
use crate::log::Level;
use crate::ports::{self, PortBlock};
use crate::private::{self, Private};
use crate::timeline::Timeline;

/// A file of this name in `/opt` turns the Extensions API off.
const EXTENSIONS_OFF: &str = "disable-extensions-jwigqn8j";

/// Beyond the timeout of the function: a worker that was not back by then hangs.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a pool is told from outside.
#[derive(Debug)]
pub(crate) enum Ask {
    Invoke {
        invocation: Invocation,
        caller: Caller,
    },
    /// The function is another from now on.
    Renew,
    Shutdown,
}

/// All that it takes to make a sandbox of a function.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) function: FunctionConfig,
    pub(crate) lambda: LambdaConfig,
    /// The Invoke API.
    pub(crate) endpoint: String,
    /// By name, in the order in which they start.
    pub(crate) extensions: Vec<(Arc<str>, PathBuf)>,
    pub(crate) clock: Clock,
    pub(crate) timeline: Timeline,
    pub(crate) leash: Leash,
}

#[derive(Debug)]
pub(crate) struct Pool {
    blueprint: Blueprint,
    fleet: Fleet,
    inbox: mpsc::Receiver<Ask>,
    /// What drivers tell: two facts per invocation, so never many.
    notices: mpsc::UnboundedReceiver<FleetInput>,
    sender: mpsc::UnboundedSender<FleetInput>,
    sandboxes: BTreeMap<EnvironmentId, Sandbox>,
    /// One task per sandbox, which ends with it. Dropping them ends them.
    tasks: JoinSet<()>,
    /// Of invocations that no sandbox has yet.
    callers: HashMap<RequestId, Caller>,
}

#[derive(Debug)]
struct Sandbox {
    inbox: mpsc::Sender<Message>,
    task: tokio::task::Id,
}

impl Pool {
    pub(crate) fn new(blueprint: Blueprint, inbox: mpsc::Receiver<Ask>) -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        let function = &blueprint.function;
        // Ports that are given cannot be had twice.
        let fixed = function.env.iter().any(|(name, _)| ports::SETTINGS.iter().any(|(n, _)| n == name));
        let scaling = Scaling {
            limit: if fixed && function.private.is_none() { 1 } else { function.max_sandboxes },
            ahead: if function.mode.is_ahead() { function.ahead.max(1) } else { 0 },
            concurrency: function.mode.concurrency(),
            idle_limit: function.idle_limit,
            patience: function.timeout + PATIENCE,
        };
        Self {
            blueprint,
            fleet: Fleet::new(scaling),
            inbox,
            notices,
            sender,
            sandboxes: BTreeMap::new(),
            tasks: JoinSet::new(),
            callers: HashMap::new(),
        }
    }

    /// Runs until it was shut down and no sandbox is left.
    pub(crate) async fn run(mut self) {
        self.carry_out(self.blueprint.clock.now()).await;
        while !self.fleet.is_gone() {
            let due = self.fleet.deadline();
            let wake = self.blueprint.clock.instant(due.unwrap_or(UnixNanos(u64::MAX / 2)));
            let fact = tokio::select! {
                // A caller who was answered and invokes again must find the sandbox as it is.
                biased;
                notice = self.notices.recv() => notice,
                Some(ended) = self.tasks.join_next_with_id() => {
                    self.ended(ended.map_or_else(|e| e.id(), |(id, ())| id))
                }
                ask = self.inbox.recv() => Some(self.asked(ask)),
                () = tokio::time::sleep_until(wake), if due.is_some() => None,
            };
            let now = self.blueprint.clock.now();
            if let Some(fact) = fact {
                self.fleet.handle(now, fact);
            }
            self.fleet.tick(now);
            self.carry_out(now).await;
        }
    }

    fn asked(&mut self, ask: Option<Ask>) -> FleetInput {
        match ask {
            Some(Ask::Invoke { invocation, caller }) => {
                self.callers.insert(invocation.request_id.clone(), caller);
                FleetInput::Invoke(invocation)
            }
            Some(Ask::Renew) => FleetInput::Renew,
            Some(Ask::Shutdown) | None => FleetInput::Shutdown,
        }
    }

    fn ended(&mut self, task: tokio::task::Id) -> Option<FleetInput> {
        let id = self.sandboxes.iter().find(|(_, s)| s.task == task).map(|(id, _)| *id)?;
        self.sandboxes.remove(&id);
        Some(FleetInput::Ended(id))
    }

    async fn carry_out(&mut self, now: UnixNanos) {
        while let Some(effect) = self.fleet.poll() {
            match effect {
                FleetEffect::Prepare(environment) => {
                    match self.open(environment, self.blueprint.function.mode) {
                        Ok(()) => self.tell(environment, Message::Prepare).await,
                        Err(e) => self.open_failed(now, environment, None, &e),
                    }
                }
                FleetEffect::Open { environment, invocation } => {
                    match self.open(environment, self.blueprint.mode_on_demand()) {
                        Ok(()) => self.assign(environment, invocation).await,
                        Err(e) => self.open_failed(now, environment, Some(invocation), &e),
                    }
                }
                FleetEffect::Assign { environment, invocation } => self.assign(environment, invocation).await,
                FleetEffect::Close(environment) => self.tell(environment, Message::Shutdown).await,
                FleetEffect::Answer { request_id, answer } => {
                    if let Some(caller) = self.callers.remove(&request_id) {
                        caller.answer(answer, None);
                    }
                }
            }
        }
    }

    fn open_failed(
        &mut self,
        now: UnixNanos,
        environment: EnvironmentId,
        invocation: Option<Invocation>,
        why: &io::Error,
    ) {
        let reason = format!("another sandbox cannot be made: {why}");
        self.fleet.handle(now, FleetInput::OpenFailed { environment, invocation, reason });
    }

    async fn assign(&mut self, environment: EnvironmentId, invocation: Invocation) {
        if let Some(caller) = self.callers.remove(&invocation.request_id) {
            self.tell(environment, Message::Invoke { invocation, caller }).await;
        }
    }

    /// A driver always takes what it is told, and soon: it never waits for us.
    async fn tell(&self, environment: EnvironmentId, message: Message) {
        if let Some(sandbox) = self.sandboxes.get(&environment) {
            let _ = sandbox.inbox.send(message).await;
        }
    }

    /// Makes a sandbox: its API listens, its machine waits for an invocation.
    fn open(&mut self, environment: EnvironmentId, mode: Mode) -> io::Result<()> {
        let blueprint = &self.blueprint;
        let private = blueprint.private()?;
        let (listener, port) = match &private {
            Some(private) => (private.listen(private::API_PORT)?, private::API_PORT),
            None => {
                let block = PortBlock::take()?;
                block.listener.set_nonblocking(true)?;
                (TcpListener::from_std(block.listener)?, block.first)
            }
        };
        let (sender, inbox) = mpsc::channel(INBOX);
        let (mut site, platform) = blueprint.site(port, mode);
        if let Some(private) = &private {
            private.bridge(&site.function_vars)?;
        }
        site.private = private;
        let api = Api::new(sender.clone(), blueprint.about(mode), blueprint.clock);
        let notices = Notices { environment, sender: self.sender.clone() };
        let driver = Driver::new(site, platform, inbox, sender.clone(), notices);
        let task = self.tasks.spawn(async move {
            tokio::select! {
                () = driver.run() => {}
                () = serve(listener, api.router()) => {}
            }
        });
        self.sandboxes.insert(environment, Sandbox { inbox: sender, task: task.id() });
        Ok(())
    }
}

impl Blueprint {
    /// The namespaces of a new sandbox, if it has its own.
    fn private(&self) -> io::Result<Option<Private>> {
        let function = &self.function;
        let Some(command) = &function.private else { return Ok(None) };
        let in_layer = |path: &PathBuf| function.opt.as_ref().is_some_and(|opt| path.starts_with(opt));
        let extensions = self.extensions.iter().map(|(_, path)| path);
        let extensions: Vec<_> = extensions.filter(|path| !in_layer(path)).cloned().collect();
        let (task, opt) = (function.task_root(), function.opt.as_deref());
        Private::open(command, &self.leash, &task, opt, &extensions).map(Some)
    }

    /// Of a sandbox that is made for an invocation: beyond those that are provisioned it is as without them.
    /// <https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html>
    fn mode_on_demand(&self) -> Mode {
        match self.function.mode {
            Mode::ProvisionedConcurrency => Mode::OnDemand,
            mode => mode,
        }
    }

    /// The JSON log format, and its level. Managed instances have no other.
    fn json_logs(&self, mode: Mode) -> Option<Level> {
        let chosen = self.function.setting("AWS_LAMBDA_LOG_FORMAT") == Some("JSON");
        let level = self.function.setting("AWS_LAMBDA_LOG_LEVEL").map_or(Level::Info, Level::parse);
        (chosen || mode.concurrency().is_some()).then_some(level)
    }

    fn site(&self, port: u16, mode: Mode) -> (Site, Platform) {
        let (function, clock) = (&self.function, self.clock);
        let sandbox = ids::environment();
        let date = clock.now().to_rfc3339_millis();
        let date = date.split('T').next().unwrap_or_default().replace('-', "/");
        let place = Place {
            function,
            lambda: &self.lambda,
            mode,
            port,
            endpoint: &self.endpoint,
            log_stream: &format!("{date}/[{}]{sandbox}", function.version),
        };
        let platform = Platform::new(Config {
            mode,
            function_name: function.name.clone().into(),
            function_version: function.version.clone().into(),
            extensions: self.extensions.iter().map(|(name, _)| name.clone()).collect(),
            timeout: function.timeout,
            init_limit: function.init_limit.unwrap_or_else(|| mode.init_limit(function.timeout)),
            memory_mb: u64::from(function.memory_mb),
            function_arn: Some(self.lambda.arn(&function.name).into()),
            instance_id: Some(place.log_stream.to_owned().into()),
        });
        let site = Site {
            function: function.name.as_str().into(),
            sandbox: sandbox.into(),
            mode,
            command: function.whole_command(),
            dir: function.task_root(),
            function_vars: place.of_function(),
            extensions: self.extensions.clone(),
            extension_vars: place.of_extension(),
            memory: function.memory_limit.then_some(u64::from(function.memory_mb)),
            faults: function.faults.clone(),
            private: None,
            json_logs: self.json_logs(mode),
            clock,
            timeline: self.timeline.clone(),
            leash: self.leash.clone(),
        };
        (site, platform)
    }

    fn about(&self, mode: Mode) -> About {
        let off = |opt: &PathBuf| opt.join(EXTENSIONS_OFF).exists();
        About {
            mode,
            extensions_off: self.function.opt.as_ref().is_some_and(off),
            function_name: self.function.name.clone(),
            function_version: self.function.version.clone(),
            handler: self.function.handler.clone(),
            account: self.lambda.account.clone(),
            stream_limit: self.function.stream_limit,
        }
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, router: axum::Router) {
    let listener = listener.tap_io(|stream| {
        // Without it each answer may wait 40 ms for an acknowledgement.
        let _ = stream.set_nodelay(true);
    });
    // Only ends by being dropped: accept errors are retried inside.
    let _ = axum::serve(listener, router).await;
}
