//! Settings from `datadog.yaml` beside the function's code.

use std::path::PathBuf;
use std::time::Duration;

use crate::agent::Agent;
use crate::arrives;
use crate::fake_lambda::FakeLambda;
use crate::faults::invocation;
use crate::watched::Intake;

/// A folder with the file, which goes with it.
pub(crate) struct Root(pub(crate) PathBuf);

impl Root {
    pub(crate) fn new(name: &str, file: &str) -> Self {
        let path = std::env::temp_dir().join(format!("datadog-yaml-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("datadog.yaml"), file).unwrap();
        Self(path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A key of digits is a key, a version of digits is no number, and a variable goes before the file.
#[tokio::test]
async fn what_the_file_says_holds() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let url = intake.url();
    let text = format!(
        "# For all functions\napi_key: 01234567890123456789012345678901\nenv: file\nversion: 1.10\ndd_url: {url}\n\
         apm_config:\n  apm_dd_url: {url}\nlogs_config:\n  logs_dd_url: {url}\nprocess_config:\n  enabled: true\n"
    );
    let root = Root::new("good", &text);
    let variables =
        [("DD_API_KEY", ""), ("DD_ENV", "variable"), ("LAMBDA_TASK_ROOT", root.0.to_str().unwrap())];
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    arrives(&intake, "metrics", |s| !s.metrics("aws.lambda.enhanced.invocations").is_empty()).await;
    let metrics = intake.store().snapshot().metrics;
    let metric = metrics.iter().find(|m| m.name == "aws.lambda.enhanced.invocations").unwrap();
    assert_eq!((metric.tag("env"), metric.tag("version")), (Some("variable"), Some("1.10")));
    let printed = agent.printed();
    assert!(
        printed.contains("datadog.yaml: not known here, and ignored: process_config.enabled"),
        "{printed}"
    );
    assert!(printed.contains("api_key") || !printed.contains("0123456789012"), "{printed}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_told_and_the_function_runs() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let root = Root::new("bad", "site: datadoghq.eu\n\tenv: x\n");
    let url = intake.url();
    let mut variables = crate::to(&url).to_vec();
    variables.push(("LAMBDA_TASK_ROOT", root.0.to_str().unwrap()));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    arrives(&intake, "a span", |s| s.counts().spans > 0).await;
    let printed = agent.printed();
    assert!(
        printed.contains("datadog.yaml: line 2: a tab cannot indent; nothing of it is used"),
        "{printed}"
    );
    assert_eq!(printed.lines().count(), 1, "{printed}");
}
