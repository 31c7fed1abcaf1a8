//! Event source mappings: the local Lambda's functions driven by queues and streams of the AWS API server.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use mappings::{Happened, Mapping};
use sandbox::{FunctionConfig, Lambda, LambdaConfig};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::sqs::queue;
use crate::world::{binaries, boto, endpoint, python_program, sdk_config};

const PATIENCE: Duration = Duration::from_secs(120);

/// A function that is driven by one source.
struct Driven {
    lambda: Arc<Lambda>,
    happened: Arc<Mutex<Vec<Happened>>>,
    /// Changes with each of these, by when the function's answer is there.
    changes: watch::Receiver<usize>,
    mapping: JoinHandle<()>,
}

impl Driven {
    /// `source` as on the command line, but for the function.
    async fn by(source: &str) -> Self {
        let python = python_program().to_string_lossy().into_owned();
        let command = [python, "-m".to_owned(), "awslambdaric".to_owned(), "mapped.handler".to_owned()];
        let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real");
        let function = FunctionConfig::new("mapped", command)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .working_dir(tests)
            .timeout(PATIENCE)
            .init_limit(PATIENCE)
            .max_sandboxes(1);
        let lambda = Arc::new(Lambda::start(vec![function], LambdaConfig::default()).await.unwrap());
        let (source, options) = source.split_once(',').unwrap_or((source, "batch-size=10"));
        let spec = format!("{source}=mapped,{options}").parse().unwrap();
        let mapping = Mapping::open(spec, &sdk_config()).await.unwrap();
        let happened: Arc<Mutex<Vec<Happened>>> = Arc::default();
        let (to, told) = (lambda.clone(), happened.clone());
        let (count, changes) = watch::channel(0);
        let tell = move |what| {
            told.lock().unwrap().push(what);
            count.send_modify(|count| *count += 1);
        };
        let run = async move { match mapping.run(to, tell).await {} };
        Self { lambda, happened, changes, mapping: tokio::spawn(run) }
    }

    /// The events that the function has answered.
    fn events(&self) -> Vec<Value> {
        let answered = self.lambda.recorded(0).into_iter().filter(|one| one.answer.is_some());
        answered.map(|one| serde_json::from_slice(&one.payload).unwrap()).collect()
    }

    /// What the records of each event say of themselves.
    fn said(&self) -> Vec<Vec<Value>> {
        let read = |record: &Value| -> Value {
            let text = match record.pointer("/kinesis/data") {
                Some(data) => BASE64_STANDARD.decode(data.as_str().unwrap()).unwrap(),
                None => record["body"].as_str().unwrap().as_bytes().to_vec(),
            };
            serde_json::from_slice(&text).unwrap()
        };
        let records = |event: &Value| event["Records"].as_array().unwrap().iter().map(read).collect();
        self.events().iter().map(records).collect()
    }

    /// The numbers of records, event by event, once there are enough events.
    async fn numbers(&self, enough: impl Fn(&[Vec<u64>]) -> bool) -> Vec<Vec<u64>> {
        let mut changes = self.changes.clone();
        let numbers = || -> Vec<Vec<u64>> {
            self.said()
                .iter()
                .map(|event| event.iter().map(|one| one["n"].as_u64().unwrap()).collect())
                .collect()
        };
        let wait = async {
            while !enough(&numbers()) {
                changes.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{:?} {:?}", self.said(), self.happened.lock().unwrap());
        numbers()
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.mapping.abort();
    }
}

/// How many messages are left, seen or not.
fn left(url: &str) -> u64 {
    let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
    let told = boto("sqs", "get_queue_attributes", json!({"QueueUrl": url, "AttributeNames": names}));
    names.iter().map(|name| told["Attributes"][name].as_str().unwrap().parse::<u64>().unwrap()).sum()
}

/// Deleting comes after the answer: it is asked for until it is done.
async fn is_emptied(url: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while left(url) > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{} messages are left", left(url));
        tokio::task::yield_now().await;
    }
}

fn send(url: &str, bodies: &[Value]) {
    for body in bodies {
        boto("sqs", "send_message", json!({"QueueUrl": url, "MessageBody": body.to_string()}));
    }
}

/// What is worked on is deleted. What failed, alone or with its batch, comes again when its visibility is over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn mapped_sqs() {
    let url = queue("mapped");
    let visibility = json!({"QueueUrl": url, "Attributes": {"VisibilityTimeout": "3"}});
    boto("sqs", "set_queue_attributes", visibility);
    let mut bodies: Vec<_> = (0..12).map(|n| json!({"n": n})).collect();
    bodies[5] = json!({"n": 5, "fail": 1});
    bodies[11] = json!({"n": 11, "raise": 1});
    send(&url, &bodies);
    let driven = Driven::by(&format!("sqs:{url},batch-size=5")).await;
    let times = |events: &[Vec<u64>], n: u64| events.iter().flatten().filter(|one| **one == n).count();
    let numbers = driven.numbers(|events| {
        (0..12).all(|n| times(events, n) > 0) && times(events, 5) > 1 && times(events, 11) > 1
    });
    let numbers = numbers.await;
    assert!(numbers.iter().all(|event| (1..=5).contains(&event.len())), "{numbers:?}");
    is_emptied(&url).await;
    let again: Vec<_> = driven.events();
    let records = again.iter().flat_map(|event| event["Records"].as_array().unwrap());
    let of_five = records.filter(|record| record["body"].as_str().unwrap().contains("fail"));
    let counts: Vec<_> = of_five
        .map(|record| record["attributes"]["ApproximateReceiveCount"].as_str().unwrap().to_owned())
        .collect();
    assert!(counts.starts_with(&["1".to_owned(), "2".to_owned()]), "{counts:?}");
    let happened = driven.happened.lock().unwrap();
    assert!(
        happened.iter().any(|what| matches!(what, Happened::Delivered { failed: 1, .. })),
        "{happened:?}"
    );
    assert!(
        happened
            .iter()
            .any(|what| matches!(what, Happened::Failed { why, .. } if why.contains("as asked for")))
    );
}

/// Where failures are not reported, an answer is an answer.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn mapped_sqs_without_reports() {
    let url = queue("mapped-plain");
    send(&url, &[json!({"n": 0, "fail": 100})]);
    let driven = Driven::by(&format!("sqs:{url},report-failures=false")).await;
    driven.numbers(|events| !events.is_empty()).await;
    is_emptied(&url).await;
    assert_eq!(*driven.happened.lock().unwrap(), [Happened::Delivered { records: 1, failed: 0 }]);
}

/// Messages are gathered for as long as the window is.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn mapped_sqs_in_a_window() {
    let url = queue("mapped-window");
    send(&url, &(0..25).map(|n| json!({"n": n})).collect::<Vec<_>>());
    let driven = Driven::by(&format!("sqs:{url},batch-size=25,window=60")).await;
    let numbers = driven.numbers(|events| !events.is_empty()).await;
    assert_eq!(numbers[0].len(), 25, "{numbers:?}");
    is_emptied(&url).await;
}

fn put(stream: &str, all: &[Value]) {
    boto("kinesis", "create_stream", json!({"StreamName": stream, "ShardCount": 1}));
    for said in all {
        let data = json!({"base64": BASE64_STANDARD.encode(said.to_string())});
        boto("kinesis", "put_record", json!({"StreamName": stream, "PartitionKey": "k", "Data": data}));
    }
}

/// A shard is read in order: from the first record that failed a batch is tried again, and in halves if that is wanted.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn mapped_kinesis() {
    let said = [
        json!({"n": 0}),
        json!({"n": 1, "fail": 1}),
        json!({"n": 2}),
        json!({"n": 3}),
        json!({"n": 4, "raise": 1}),
    ];
    put("mapped", &said);
    let driven = Driven::by("kinesis:mapped,from=trim-horizon,batch-size=3,bisect").await;
    let numbers = driven.numbers(|events| events.iter().filter(|event| event.contains(&4)).count() > 1).await;
    // What failed once as a whole is tried again in halves.
    assert_eq!(numbers, [vec![0, 1, 2], vec![1], vec![2], vec![3, 4], vec![3], vec![4]]);
    let event = driven.events().remove(0);
    assert_eq!(event["Records"][0]["eventSourceARN"], "arn:aws:kinesis:eu-west-1:123456789012:stream/mapped");
}

/// What fails as often as it may is passed over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn mapped_kinesis_gives_up() {
    put("mapped-failing", &[json!({"n": 0, "raise": 100}), json!({"n": 1})]);
    let driven = Driven::by("kinesis:mapped-failing,from=trim-horizon,batch-size=1,retries=1").await;
    let numbers = driven.numbers(|events| events.iter().any(|event| event.contains(&1))).await;
    assert_eq!(numbers, [vec![0], vec![0], vec![1]]);
    assert!(driven.happened.lock().unwrap().contains(&Happened::GivenUp { records: 1 }));
}

/// From now on is from when it was opened.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn mapped_kinesis_from_now_on() {
    put("mapped-latest", &[json!({"n": 0})]);
    let driven = Driven::by("kinesis:mapped-latest").await;
    let data = json!({"base64": BASE64_STANDARD.encode("{\"n\": 1}")});
    boto("kinesis", "put_record", json!({"StreamName": "mapped-latest", "PartitionKey": "k", "Data": data}));
    assert_eq!(driven.numbers(|events| !events.is_empty()).await, [[1]]);
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn mapped_sources_that_are_not_there_are_said() {
    for (source, says) in [
        (format!("sqs:{}/123456789012/none=f", endpoint()), "QueueDoesNotExist"),
        ("kinesis:none=f".to_owned(), "ResourceNotFoundException"),
        ("dynamodb:none=f".to_owned(), "no stream"),
    ] {
        let error = Mapping::open(source.parse().unwrap(), &sdk_config()).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// `dd-lambda dev` with sources, at the AWS API server.
fn dd_lambda(arguments: &[&str]) -> Command {
    let python = python_program();
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real");
    let mut command = Command::new(binaries().join("dd-lambda"));
    command
        .args(["dev", "--no-watch", "--no-extension", "--json", "--timeout", "60"])
        .args(["--command", &format!("mapped={} -m awslambdaric mapped.handler", python.display())])
        .args(["--env", &format!("PYTHONPATH={tests}"), "--env", "PYTHONDONTWRITEBYTECODE=1"])
        .args(arguments)
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .envs([
            ("AWS_ENDPOINT_URL", endpoint()),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ])
        .env_remove("AWS_PROFILE")
        .stdin(Stdio::null());
    command
}

/// What a user types: a queue drives a local function, and each delivery is told.
#[test]
#[ignore = "needs moto: cargo xtask test --only real"]
fn mapped_by_the_command_line() {
    let url = queue("mapped-command");
    boto("sqs", "set_queue_attributes", json!({"QueueUrl": url, "Attributes": {"VisibilityTimeout": "1"}}));
    send(&url, &[json!({"n": 0, "fail": 1})]);
    let source = format!("sqs:{url}=mapped");
    let mut running =
        dd_lambda(&["--source", &source]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let output = BufReader::new(running.stdout.take().unwrap());
    let (told, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        let lines = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
        lines.filter(|line| line["event"] == "delivered").try_for_each(|line| told.send(line)).ok();
    });
    for failed in [1, 0] {
        let expect = json!({"event": "delivered", "source": source, "records": 1, "failed": failed});
        assert_eq!(wait.recv_timeout(PATIENCE), Ok(expect));
    }
    running.kill().unwrap();
    running.wait().unwrap();

    let url = format!("{}/123456789012/none", endpoint());
    for (source, says) in [
        (format!("sqs:{url}=other"), "there is no function other; there is mapped"),
        (format!("sqs:{url}=mapped"), "QueueDoesNotExist"),
        ("sqs:orders=mapped".to_owned(), "is not the URL of a queue"),
    ] {
        let Output { status, stderr, .. } = dd_lambda(&["--source", &source]).output().unwrap();
        let stderr = String::from_utf8_lossy(&stderr);
        assert!(!status.success() && stderr.contains(says), "{source}: {stderr}");
    }
}
