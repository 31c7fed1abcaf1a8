//! Many events at once in one process, as on managed instances: with a Runtime API that is acted by a server of this
//! test and gives out all events at the very same moment, and in the local Lambda, beside the real extension and alone.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use model::Record;
use sandbox::{FunctionConfig, Mode, TimelineEvent, What};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

use crate::agent::{answer, read, serve};
use crate::seen::{Seen, Span};
use crate::world::{PATIENCE, World};

const AT_ONCE: u64 = 50;

#[tokio::test]
async fn fifty_invocations_at_once_with_an_extension() {
    let seen: Arc<Mutex<Vec<Span>>> = Arc::default();
    let (kept, (all, mut there)) = (seen.clone(), watch::channel(0));
    let agent = serve(move |request| {
        let chunks = wire::v04::decode(&request.body).unwrap().chunks;
        for chunk in chunks {
            let high = chunk.spans[0].meta.get("_dd.p.tid").unwrap();
            let high = u64::from_str_radix(high, 16).unwrap();
            kept.lock().unwrap().extend(chunk.spans.iter().map(|span| Span::of_chunk(high, span)));
            all.send_modify(|n| *n += 1);
        }
        Some("200 OK")
    })
    .await;
    let (answers, printed) = run(Some(agent.port), r#""message":"done""#).await;
    let all = there.wait_for(|chunks| *chunks == AT_ONCE);
    let in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
    let spans = std::mem::take(&mut *seen.lock().unwrap());
    assert!(in_time, "{spans:#?} {printed:#?}");
    let logs = Seen::of_lines(&printed).logs;
    check(&Seen { spans, logs, ..Seen::default() }, &answers);
}

#[tokio::test]
async fn fifty_invocations_at_once_without_one() {
    let (answers, printed) = run(None, r#"{"traces""#).await;
    let seen = Seen::of_lines(&printed);
    assert_eq!(seen.total("aws.lambda.enhanced.invocations"), (50, 50.0));
    check(&seen, &answers);
}

#[tokio::test]
async fn fifty_invocations_at_once_on_a_managed_instance() {
    for extension in [true, false] {
        let stock = stock().await;
        let change = |config: FunctionConfig| {
            let concurrency = u16::try_from(AT_ONCE).unwrap();
            config.mode(Mode::ManagedInstances { concurrency }).max_sandboxes(1).env("STOCK", &stock)
        };
        let program = env!("CARGO_BIN_EXE_concurrent");
        let world = Arc::new(match extension {
            true => World::beside(program, change).await,
            false => World::alone(program, change).await,
        });
        // Before that, Lambda refuses who comes.
        let is_ready = |e: &TimelineEvent| matches!(e.what, What::Record(Record::InitReport(_)));
        world.until(|timeline| timeline.iter().any(is_ready)).await;
        let mut invoked = JoinSet::new();
        for n in 1..=AT_ONCE {
            let world = world.clone();
            invoked.spawn(async move {
                let answer = world.invoke(json!({"order": n}).to_string()).await;
                (n, answer.request_id.to_string(), serde_json::from_slice(&answer.payload).unwrap())
            });
        }
        let answers: Answers = Arc::new(Mutex::new(invoked.join_all().await));
        let at_once = usize::try_from(AT_ONCE).unwrap();
        let done = |seen: &Seen| seen.logs.iter().filter(|line| line["message"] == "done").count();
        let there = |seen: &Seen| {
            let spans = ["aws.lambda", "take", "price"].iter().all(|name| seen.count(name) == at_once);
            spans && done(seen) == at_once
        };
        // It is never frozen, and what it sends after a response may be on its way for as long as it lives.
        let seen = world.seen(there).await;
        assert!(there(&seen), "{seen:#?}");
        world.lambda.shutdown().await;
        check(&seen, &answers);
    }
}

/// None is in a wrong trace, none is missing.
fn check(seen: &Seen, answers: &Answers) {
    let answers = answers.lock().unwrap();
    assert_eq!((answers.len(), seen.count("aws.lambda")), (50, 50));
    for (n, id, answer) in answers.iter() {
        assert_eq!(answer, &json!({"order": n, "price": n * 3, "left": n + 1000}));
        let root = seen.root(id);
        let spans: Vec<_> = seen.spans.iter().filter(|span| span.trace == root.trace).collect();
        let parent = |span: &Span| {
            let parent = spans.iter().find(|other| Some(other.id) == span.parent);
            parent.map(|parent| parent.name.clone()).unwrap_or_default()
        };
        let mut tree: Vec<_> = spans
            .iter()
            .filter(|span| !span.name.starts_with("aws.lambda."))
            .map(|span| format!("{} in {:?}", span.name, parent(span)))
            .collect();
        tree.sort();
        let round = format!(r#"round_{n} in "price""#);
        let expect = [
            r#"ask_stock in "reserve""#,
            r#"aws.lambda in """#,
            r#"find_shelf in "reserve""#,
            r#"price in "aws.lambda""#,
            r#"reserve in "aws.lambda""#,
            &round,
            r#"take in "reserve""#,
        ];
        assert_eq!(tree, expect, "of {n}");
        let of_order = ["ask_stock", "find_shelf", "price", "reserve", "take"];
        for span in spans.iter().filter(|span| of_order.contains(&span.name.as_str())) {
            assert_eq!(span.field("order"), n.to_string(), "{span:?}");
        }
        let logged = seen.logs.iter().filter(|line| line["fields"]["order"] == *n);
        let logged: Vec<_> = logged.map(|l| (l["requestId"].clone(), l["dd.trace_id"].clone())).collect();
        assert_eq!(logged, [(json!(id), json!(root.trace))]);
    }
    let at_once = |moment: u64| {
        seen.all("aws.lambda").iter().filter(|root| root.start <= moment && moment <= root.end()).count()
    };
    let most = seen.all("aws.lambda").iter().map(|root| at_once(root.start)).max();
    assert_eq!(most, Some(50));
    assert!(seen.count("aws.lambda.load") <= 1);
}

/// The number of the order, the id of the request, the answer.
type Answers = Arc<Mutex<Vec<(u64, String, Value)>>>;

/// Runs the function until it has answered all, and has sent all that it sends; gives what it printed, which is 50
/// lines with this in them at the least.
async fn run(agent: Option<u16>, line: &str) -> (Answers, Vec<String>) {
    let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_concurrent"));
    let env = [
        ("AWS_LAMBDA_RUNTIME_API", api.local_addr().unwrap().to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "shop".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "7".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances".to_owned()),
        ("AWS_LAMBDA_MAX_CONCURRENCY", AT_ONCE.to_string()),
        ("STOCK", stock().await),
    ];
    command.env_clear().envs(env).stdout(Stdio::piped()).kill_on_drop(true);
    if let Some(port) = agent {
        command.env("DD_TRACE_AGENT_PORT", port.to_string());
    }
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (answers, (count, mut answered)) = (Answers::default(), watch::channel(0));
    tokio::spawn(serve_events(api, answers.clone(), count));
    let mut printed: Vec<String> = Vec::new();
    let prints = async {
        while printed.iter().filter(|printed| printed.contains(line)).count() < 50 {
            printed.push(lines.next_line().await.unwrap().unwrap());
        }
    };
    let all = async { tokio::join!(prints, answered.wait_for(|answered| *answered == AT_ONCE)) };
    let in_time = tokio::time::timeout(PATIENCE, all).await.is_ok();
    assert!(in_time, "{answers:?} {printed:#?}");
    // What it sends may still be on its way: it lives until its test ends.
    tokio::spawn(async move { child.wait().await });
    (answers, printed)
}

/// The service that the function asks, which answers none before all have asked.
async fn stock() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut asked = Vec::new();
        for _ in 0..AT_ONCE {
            let mut stream = listener.accept().await.unwrap().0;
            asked.push((stream.read_u64().await.unwrap(), stream));
        }
        for (order, mut stream) in asked {
            stream.write_u64(order + 1000).await.unwrap();
        }
    });
    address
}

/// The Runtime API: everyone has to have asked before anyone gets an event, and who asks again is left waiting.
async fn serve_events(api: TcpListener, answers: Answers, count: watch::Sender<u64>) {
    let (all_asked, given) = (Arc::new(Barrier::new(50)), Arc::new(Mutex::new(0_u64)));
    while let Ok((mut stream, _)) = api.accept().await {
        let (answers, count) = (answers.clone(), count.clone());
        let (all_asked, given) = (all_asked.clone(), given.clone());
        tokio::spawn(async move {
            while let Some(request) = read(&mut stream).await {
                let line = request.line().to_owned();
                if !line.contains("/invocation/next") {
                    let id = line.split('/').find_map(|part| part.strip_prefix("req-")).unwrap();
                    assert!(line.contains("/response"), "{line}");
                    let response = serde_json::from_slice(&request.body).unwrap();
                    answers.lock().unwrap().push((id.parse().unwrap(), format!("req-{id}"), response));
                    count.send_modify(|n| *n += 1);
                    answer(&mut stream, "202 Accepted", "").await;
                    continue;
                }
                all_asked.wait().await;
                let n = {
                    let mut given = given.lock().unwrap();
                    *given += 1;
                    *given
                };
                if n > AT_ONCE {
                    return std::future::pending().await;
                }
                answer(&mut stream, &head(n), &json!({"order": n}).to_string()).await;
            }
        });
    }
}

/// How Lambda gives the event of that number.
pub(crate) fn head(n: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    format!(
        "200 OK\r\nLambda-Runtime-Aws-Request-Id: req-{n}\r\nLambda-Runtime-Deadline-Ms: {}\r\n\
         Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:123456789012:function:shop",
        now + 60_000
    )
}
