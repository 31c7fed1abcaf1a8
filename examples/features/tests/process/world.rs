//! One function in a local Lambda, with the real extension beside it and a local Datadog behind that, or alone; and
//! all that became of it in one form, wherever it was read.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use intake::{Intake, State};
use model::Record;
use sandbox::{
    FunctionConfig, InvokeOptions, InvokeResult, Lambda, LambdaConfig, Process, TimelineEvent, What,
};
use serde_json::Value;

use crate::seen::Seen;

/// Longer than anything here takes, also on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The name of every function: its own process is what it is known by.
pub(crate) const NAME: &str = "shop";

/// The function's service with all these tests.
pub(crate) const SERVICE: &str = "shop-service";

pub(crate) struct World {
    pub(crate) lambda: Lambda,
    /// Of the extension; without one the function's output is all there is.
    intake: Option<Intake>,
}

impl World {
    /// The program beside the extension, and alone.
    pub(crate) async fn both(program: &str, env: &[(&str, &str)]) -> [Self; 2] {
        let change = |config: FunctionConfig| with_env(config, env);
        [Self::beside(program, change).await, Self::alone(program, change).await]
    }

    pub(crate) async fn beside(program: &str, change: impl FnOnce(FunctionConfig) -> FunctionConfig) -> Self {
        let intake = Intake::start().await.unwrap();
        let url = intake.url();
        let env = [
            ("DD_API_KEY", "0123456789abcdef"),
            ("DD_DD_URL", &url),
            ("DD_APM_DD_URL", &url),
            ("DD_LOGS_CONFIG_LOGS_DD_URL", &url),
        ];
        let config = with_env(function(program), &env).extension(extension());
        Self { lambda: start(change(config)).await, intake: Some(intake) }
    }

    pub(crate) async fn alone(program: &str, change: impl FnOnce(FunctionConfig) -> FunctionConfig) -> Self {
        Self { lambda: start(change(function(program))).await, intake: None }
    }

    /// What is seen of it comes from the extension.
    pub(crate) fn has_extension(&self) -> bool {
        self.intake.is_some()
    }

    pub(crate) async fn invoke(&self, event: impl Into<Bytes>) -> InvokeResult {
        self.invoke_with(event, InvokeOptions::default()).await
    }

    pub(crate) async fn invoke_with(&self, event: impl Into<Bytes>, options: InvokeOptions) -> InvokeResult {
        let answer = self.lambda.invoke(NAME, event.into(), options);
        tokio::time::timeout(PATIENCE, answer).await.expect("an answer").unwrap()
    }

    /// Ends the sandbox as Lambda does, and gives all that was seen, once it is enough.
    pub(crate) async fn end(&self, enough: impl Fn(&Seen) -> bool) -> Seen {
        // Lambda ends no sandbox before it is frozen.
        self.until(|timeline| {
            let last = timeline.iter().rev().find(|e| matches!(e.what, What::Frozen | What::Thawed));
            last.is_none_or(|e| e.what == What::Frozen)
        })
        .await;
        self.lambda.shutdown().await;
        let seen = self.seen(&enough).await;
        assert!(enough(&seen), "not all is there: {seen:#?}\n{}", self.story());
        seen
    }

    /// All that there is as soon as it is enough, or after a long while.
    pub(crate) async fn seen(&self, enough: impl Fn(&Seen) -> bool) -> Seen {
        let Some(intake) = &self.intake else {
            let lines = || Seen::of_lines(&self.lines());
            let mut watch = self.lambda.watch();
            let there = async {
                while !enough(&lines()) {
                    watch.changed().await.unwrap();
                }
            };
            let _ = tokio::time::timeout(PATIENCE, there).await;
            return lines();
        };
        let of = |state: &State| enough(&Seen::of_intake(state));
        intake.store().wait_until(of, Instant::now() + PATIENCE).await;
        intake.store().read(Seen::of_intake)
    }

    /// Waits until the timeline is so.
    pub(crate) async fn until(&self, is_so: impl Fn(&[TimelineEvent]) -> bool) {
        let mut watch = self.lambda.watch();
        let there = async {
            while !is_so(&self.lambda.timeline()) {
                watch.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, there).await.is_err() {
            panic!("not seen:\n{}", self.story());
        }
    }

    /// What the function printed.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.lambda.timeline().into_iter().filter_map(|e| match e.what {
            What::Line { process: Process::Function, text } => Some(text),
            _ => None,
        });
        lines.collect()
    }

    /// Ends the sandbox, and gives what the function printed, once it is enough.
    pub(crate) async fn end_and_read(&self, enough: impl Fn(&Seen) -> bool) -> Seen {
        self.end(|_| true).await;
        self.until(|_| enough(&Seen::of_lines(&self.lines()))).await;
        Seen::of_lines(&self.lines())
    }

    /// When, in the order of all things, the function printed this, and when it was ready for the next event.
    pub(crate) fn places(&self, line: &str) -> (Vec<usize>, Vec<usize>) {
        let timeline = self.lambda.timeline();
        let of = |like: &dyn Fn(&What) -> bool| {
            timeline.iter().enumerate().filter(|(_, e)| like(&e.what)).map(|(n, _)| n).collect()
        };
        let printed = of(
            &|what| matches!(what, What::Line { process: Process::Function, text } if text.contains(line)),
        );
        (printed, of(&|what| matches!(what, What::Record(Record::RuntimeDone(_)))))
    }

    /// For the reader of a failure.
    pub(crate) fn story(&self) -> String {
        let timeline = self.lambda.timeline();
        timeline.iter().map(|event| format!("{:?}\n", event.what)).collect()
    }
}

pub(crate) fn json(answer: &InvokeResult) -> Value {
    serde_json::from_slice(&answer.payload).unwrap()
}

pub(crate) fn with_env(config: FunctionConfig, env: &[(&str, &str)]) -> FunctionConfig {
    env.iter().fold(config, |config, (name, value)| config.env(*name, *value))
}

fn function(program: &str) -> FunctionConfig {
    FunctionConfig::new(NAME, [program]).timeout(PATIENCE).init_limit(PATIENCE).env("DD_SERVICE", SERVICE)
}

async fn start(config: FunctionConfig) -> Lambda {
    Lambda::start(vec![config], LambdaConfig::default()).await.unwrap()
}

/// Cargo tells tests where the programs of their own package are; those of others are beside them.
fn extension() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_spans")).with_file_name("datadog-agent");
    assert!(
        path.exists(),
        "{} is not there: `cargo build --package extension --bins` builds it",
        path.display()
    );
    path
}
