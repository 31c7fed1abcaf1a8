//! The pairs of examples, by their own `run.sh`: deployed to the AWS API server, changed, removed; and run on this
//! machine, where both functions have to be in one trace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use sandbox::{FunctionConfig, Lambda, LambdaConfig};
use serde_json::{Value, json};

use crate::world::{binaries, boto, endpoint, python_program};

const PATIENCE: Duration = Duration::from_secs(120);
const REGION: &str = "eu-west-1";
/// A zip with nothing in it.
const EMPTY_ZIP: &str = "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// `run.sh` of a pair, at the AWS API server, with the command line of AWS that the tests have installed.
fn run(pair: &str, arguments: &[&str]) -> Output {
    run_at(endpoint(), pair, arguments)
}

fn run_at(endpoint: &str, pair: &str, arguments: &[&str]) -> Output {
    let python = python_program();
    let old = std::env::var_os("PATH").unwrap_or_default();
    let path = [python.parent().unwrap().to_owned()].into_iter().chain(std::env::split_paths(&old));
    let mut run = Command::new("bash");
    run.arg(root().join("examples").join(pair).join("run.sh")).args(arguments).envs([
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_PAGER", ""),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("DD_API_KEY", "0123456789abcdef0123456789abcdef"),
    ]);
    for settings in ["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SESSION_TOKEN", "DD_SITE", "DD_ENV"] {
        run.env_remove(settings);
    }
    run.env("PATH", std::env::join_paths(path).unwrap()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it prints, when it succeeds.
fn succeed(pair: &str, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = run(pair, arguments);
    assert!(status.success(), "{pair} {arguments:?}: {status}\n{}\n{}", text(&stdout), text(&stderr));
    text(&stdout)
}

/// What it says, when it fails.
fn fails(pair: &str, arguments: &[&str]) -> String {
    let output = run(pair, arguments);
    assert!(!output.status.success(), "{pair} {arguments:?}");
    text(&output.stderr)
}

fn here(pair: &str) {
    let said = succeed(pair, &["local", "--binaries", binaries().to_str().unwrap()]);
    let count = |text: &str| said.lines().filter(|line| line.trim_start().starts_with(text)).count();
    assert_eq!(count("trace "), 1, "{said}");
    assert_eq!(count("aws.lambda "), 2, "{said}");
    assert_eq!(count("fulfil_order "), 1, "{said}");
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn sqs_lambda_here() {
    here("SQS-Lambda");
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn rust_sqs_producer_here() {
    here("Rust-SQS-Producer");
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn sns_lambda_here() {
    here("SNS-Lambda");
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn rust_sns_producer_here() {
    here("Rust-SNS-Producer");
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn eventbridge_lambda_here() {
    here("EventBridge-Lambda");
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn rust_eventbridge_producer_here() {
    here("Rust-EventBridge-Producer");
}

/// Without arguments each pair says all that it can do. What is missing or wrong is said before anything is made.
#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn the_pairs_say_what_they_can_do() {
    let pairs = [
        "SQS-Lambda",
        "Rust-SQS-Producer",
        "SNS-Lambda",
        "Rust-SNS-Producer",
        "EventBridge-Lambda",
        "Rust-EventBridge-Producer",
    ];
    for pair in pairs {
        let usage = succeed(pair, &[]);
        let words = ["build", "deploy", "update", "invoke", "destroy", "local", "--role-arn", "--debug"];
        for word in words {
            assert!(usage.contains(&format!("\n  {word} ")), "{pair}: no {word} in {usage}");
        }
    }
    let check = |arguments: &[&str], says: &str| {
        let said = fails("SQS-Lambda", arguments);
        assert!(said.contains(says), "{arguments:?}: {said}");
    };
    check(&["deploy"], "--role-arn is missing");
    check(&["deploy", "--role-arn"], "--role-arn needs a value");
    check(&["deploy", "--role"], "there is no --role");
    check(&["fly"], "there is no command fly");
}

/// The role of functions, and the layer for Python that Datadog publishes.
fn given() -> (String, String) {
    static GIVEN: OnceLock<(String, String)> = OnceLock::new();
    let given = GIVEN.get_or_init(|| {
        let role = json!({"RoleName": "pairs", "AssumeRolePolicyDocument": "{}"});
        let role = boto("iam", "create_role", role)["Role"]["Arn"].as_str().unwrap().to_owned();
        let layer = json!({"LayerName": "Datadog-Python313", "Content": {"ZipFile": {"base64": EMPTY_ZIP}}});
        let layer = boto("lambda", "publish_layer_version", layer)["LayerVersionArn"].clone();
        (role, layer.as_str().unwrap().to_owned())
    });
    given.clone()
}

/// A function's configuration, when there is one.
fn function(name: &str) -> Option<Value> {
    let all = boto("lambda", "list_functions", json!({}));
    let mut all = all["Functions"].as_array().unwrap().iter();
    all.find(|function| function["FunctionName"] == name).cloned()
}

fn layers(function: &Value) -> Vec<&str> {
    let layers = function["Layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["Arn"].as_str().unwrap()).collect()
}

/// What one of the pairs makes on AWS: all that its commands do, by what they leave behind.
struct Deployed {
    pair: &'static str,
    package: &'static str,
    /// Which of the functions is the Rust one.
    rust: &'static str,
    /// What the producer is told of what is between.
    variable: &'static str,
}

impl Deployed {
    fn name(&self, function: &str) -> String {
        format!("{}-{function}", self.package)
    }

    fn extension_versions(&self) -> usize {
        let versions = boto("lambda", "list_layers", json!({}));
        let own = self.name("extension");
        let found = versions["Layers"].as_array().unwrap().iter().any(|layer| layer["LayerName"] == own);
        let list = || boto("lambda", "list_layer_versions", json!({"LayerName": own}));
        if found { list()["LayerVersions"].as_array().unwrap().len() } else { 0 }
    }

    /// Both functions with their layers, of this version of the extension; gives them, the producer first.
    fn functions(&self, python_layer: &str, version: usize) -> [Value; 2] {
        ["producer", "consumer"].map(|which| {
            let function = function(&self.name(which)).expect(which);
            let extension = format!(":layer:{}:{version}", self.name("extension"));
            let (runtime, handler, count) = if which == self.rust {
                ("provided.al2023", "bootstrap", 1)
            } else {
                ("python3.13", "datadog_lambda.handler.handler", 2)
            };
            assert_eq!((&function["Runtime"], &function["Handler"]), (&json!(runtime), &json!(handler)));
            let layers = layers(&function);
            assert_eq!(layers.len(), count, "{layers:?}");
            assert!(layers.iter().any(|layer| layer.ends_with(&extension)), "{layers:?}");
            assert_eq!(layers.contains(&python_layer), count == 2, "{layers:?}");
            let variables = &function["Environment"]["Variables"];
            assert_eq!(variables["DD_API_KEY"], "0123456789abcdef0123456789abcdef");
            assert_eq!(variables["DD_SERVICE"], self.name(which));
            assert!(variables[self.variable].as_str().unwrap().contains(&self.name("orders")), "{variables}");
            function
        })
    }

    /// Builds of these programs, deploys, checks with `between`, invokes, updates and destroys.
    fn check(&self, programs: &Path, between: impl Fn(&Self) -> bool) {
        let (role, python_layer) = given();
        let region = ["--region", REGION];
        let with = |command: &'static str, more: &[&'static str]| -> Vec<&str> {
            [&[command][..], &region, more].concat()
        };
        succeed(self.pair, &["build", "--binaries", programs.to_str().unwrap()]);
        let mut deploy = with("deploy", &["--role-arn"]);
        deploy.extend([role.as_str(), "--python-layer", python_layer.as_str()]);
        succeed(self.pair, &deploy);
        let [_, before] = self.functions(&python_layer, 1);
        assert_eq!(self.extension_versions(), 1);
        assert!(between(self), "what is between the functions of {}", self.pair);
        // There a function answers with its event.
        assert_eq!(succeed(self.pair, &with("invoke", &["--event", r#"{"id": 5}"#])), "{\"id\": 5}\n");
        // What was built anew: here, for the consumer, something that is told from what was there.
        let out = root().join("target/pairs").join(self.package);
        std::fs::copy(out.join("layer.zip"), out.join("consumer.zip")).unwrap();
        succeed(self.pair, &with("update", &[]));
        let [_, after] = self.functions(&python_layer, 2);
        assert_ne!(before["CodeSha256"], after["CodeSha256"]);
        assert!(between(self), "what is between the functions of {}, after the update", self.pair);
        // Also when there is nothing, as after one that was cut off: once for each service.
        let times = if self.rust == "consumer" { 2 } else { 1 };
        for _ in 0..times {
            succeed(self.pair, &with("destroy", &[]));
            assert_eq!(["producer", "consumer"].map(|which| function(&self.name(which))), [None, None]);
            assert_eq!(self.extension_versions(), 0);
            assert!(!between(self), "what is left between the functions of {}", self.pair);
        }
    }

    fn queue_is_mapped(&self) -> bool {
        let name = self.name("orders");
        let queues = boto("sqs", "list_queues", json!({"QueueNamePrefix": name}));
        let mappings = boto("lambda", "list_event_source_mappings", json!({}));
        let mut mappings = mappings["EventSourceMappings"].as_array().unwrap().iter();
        let arn = format!("arn:aws:sqs:{REGION}:123456789012:{name}");
        let mapping = mappings.find(|mapping| mapping["EventSourceArn"] == arn);
        assert_eq!(mapping.is_some(), queues["QueueUrls"].is_array(), "{queues}");
        mapping.is_some_and(|mapping| {
            let function = mapping["FunctionArn"].as_str().unwrap();
            function.ends_with(&self.name("consumer")) && mapping["BatchSize"] == 10
        })
    }

    fn topic_is_subscribed(&self) -> bool {
        let all = boto("sns", "list_subscriptions", json!({}));
        let mut all = all["Subscriptions"].as_array().unwrap().iter();
        let topics = boto("sns", "list_topics", json!({})).to_string();
        let mine = all.find(|one| one["TopicArn"].as_str().unwrap().ends_with(&self.name("orders")));
        assert_eq!(mine.is_some(), topics.contains(&self.name("orders")), "{topics}");
        mine.is_some_and(|one| {
            let function = one["Endpoint"].as_str().unwrap();
            one["Protocol"] == "lambda" && function.ends_with(&self.name("consumer")) && self.may_be_invoked()
        })
    }

    fn rule_has_target(&self) -> bool {
        let name = self.name("orders");
        let buses = boto("events", "list_event_buses", json!({"NamePrefix": name}));
        if buses["EventBuses"].as_array().unwrap().is_empty() {
            return false;
        }
        let targets = boto("events", "list_targets_by_rule", json!({"Rule": "orders", "EventBusName": name}));
        let function = targets["Targets"][0]["Arn"].as_str().unwrap();
        function.ends_with(&self.name("consumer")) && self.may_be_invoked()
    }

    fn may_be_invoked(&self) -> bool {
        let policy = boto("lambda", "get_policy", json!({"FunctionName": self.name("consumer")}));
        policy["Policy"].as_str().unwrap().contains("lambda:InvokeFunction")
    }
}

/// Programs of a few bytes: what is in them is nothing to an AWS API server that does not run them.
fn stand_ins() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pairs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pairs = ["rust-sqs-producer", "sns-lambda", "rust-sns-producer", "eventbridge-lambda"];
        for program in pairs.into_iter().chain(["datadog-agent", "rust-eventbridge-producer"]) {
            std::fs::write(folder.join(program), "#!/bin/sh\n").unwrap();
        }
        folder
    })
}

const fn consumer(pair: &'static str, package: &'static str, variable: &'static str) -> Deployed {
    Deployed { pair, package, rust: "consumer", variable }
}

const fn producer(pair: &'static str, package: &'static str, variable: &'static str) -> Deployed {
    Deployed { pair, package, rust: "producer", variable }
}

/// With the programs themselves; the others with stand-ins.
#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn sqs_lambda_deployed() {
    consumer("SQS-Lambda", "sqs-lambda", "QUEUE_URL").check(binaries(), Deployed::queue_is_mapped);
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn rust_sqs_producer_deployed() {
    let deployed = producer("Rust-SQS-Producer", "rust-sqs-producer", "QUEUE_URL");
    deployed.check(stand_ins(), Deployed::queue_is_mapped);
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn sns_lambda_deployed() {
    consumer("SNS-Lambda", "sns-lambda", "TOPIC_ARN").check(stand_ins(), Deployed::topic_is_subscribed);
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn rust_sns_producer_deployed() {
    let deployed = producer("Rust-SNS-Producer", "rust-sns-producer", "TOPIC_ARN");
    deployed.check(stand_ins(), Deployed::topic_is_subscribed);
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn eventbridge_lambda_deployed() {
    let deployed = consumer("EventBridge-Lambda", "eventbridge-lambda", "EVENT_BUS");
    deployed.check(stand_ins(), Deployed::rule_has_target);
}

#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn rust_eventbridge_producer_deployed() {
    let deployed = producer("Rust-EventBridge-Producer", "rust-eventbridge-producer", "EVENT_BUS");
    deployed.check(stand_ins(), Deployed::rule_has_target);
}

/// A build is all there or not at all, and what is no zip does not go to AWS.
#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn builds_are_whole() {
    // A pair of its own, by name, so that nobody else's build is touched.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("whole-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("examples/Whole")).unwrap();
    let lib = std::fs::read(root().join("examples/lib.sh")).unwrap();
    std::fs::write(folder.join("examples/lib.sh"), lib).unwrap();
    std::fs::write(folder.join("examples/Whole/app.py"), "").unwrap();
    let run_sh = "title=whole service=sqs rust=consumer package=sqs-lambda\nsource \"$(dirname \"${BASH_SOURCE[0]}\")/../lib.sh\"\n";
    std::fs::write(folder.join("examples/Whole/run.sh"), run_sh).unwrap();
    let pair = folder.join("examples/Whole");
    let pair = pair.to_str().unwrap();
    let programs = folder.join("programs");
    std::fs::create_dir_all(&programs).unwrap();
    let build = ["build", "--binaries", programs.to_str().unwrap()];
    std::fs::write(programs.join("datadog-agent"), "").unwrap();
    std::fs::write(programs.join("sqs-lambda"), "#!/bin/sh\n").unwrap();
    assert!(fails(pair, &build).contains("is empty"));
    let out = folder.join("target/pairs");
    let left = || std::fs::read_dir(&out).map_or(0, Iterator::count);
    assert_eq!(left(), 0, "a build that failed leaves nothing");
    std::fs::write(programs.join("datadog-agent"), "#!/bin/sh\n").unwrap();
    succeed(pair, &build);
    let before = std::fs::read(out.join("sqs-lambda/layer.zip")).unwrap();
    // Another that fails leaves what was built.
    std::fs::write(programs.join("sqs-lambda"), "").unwrap();
    fails(pair, &build);
    assert_eq!((left(), std::fs::read(out.join("sqs-lambda/layer.zip")).unwrap()), (1, before.clone()));
    for part in [&before[..0], &before[..before.len() / 2]] {
        std::fs::write(out.join("sqs-lambda/layer.zip"), part).unwrap();
        let said = fails(pair, &["deploy", "--role-arn", "arn:aws:iam::1:role/x", "--region", REGION]);
        assert!(said.contains("./run.sh build") || said.contains("is not a whole zip"), "{said}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// The answer of a producer that runs, here in the local Lambda, and the error of one that fails.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn producers_are_invoked() {
    let python = python_program().to_string_lossy().into_owned();
    let command = [python, "-m".to_owned(), "awslambdaric".to_owned(), "mapped.handler".to_owned()];
    let function = FunctionConfig::new("sqs-lambda-producer", command)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .working_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real"))
        .timeout(PATIENCE)
        .init_limit(PATIENCE);
    let lambda = Lambda::start(vec![function], LambdaConfig::default()).await.unwrap();
    let endpoint = lambda.endpoint();
    let invoke = move |event: &'static str| {
        let endpoint = endpoint.clone();
        tokio::task::spawn_blocking(move || run_at(&endpoint, "SQS-Lambda", &["invoke", "--event", event]))
    };
    let Output { status, stdout, stderr } = invoke(r#"{"Records": []}"#).await.unwrap();
    assert!(status.success(), "{}", text(&stderr));
    assert_eq!(text(&stdout), "{\"batchItemFailures\": []}\n");
    let Output { status, stderr, .. } = invoke("{}").await.unwrap();
    assert!(
        !status.success() && text(&stderr).contains("the producer failed: Unhandled"),
        "{}",
        text(&stderr)
    );
}
