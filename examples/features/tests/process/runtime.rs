//! Sandboxes that are made ahead of their first event, and of a snapshot: in the local Lambda; and with a Runtime API
//! that is acted by a server of this test, where the first event lets them wait.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use sandbox::Mode;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::{Mutex, Notify};

use crate::agent::{answer, read};
use crate::concurrent::head;
use crate::seen::{Seen, Span};
use crate::world::{PATIENCE, World};

/// Longer than a sandbox waits that was started because somebody needs it.
const AHEAD: Duration = Duration::from_millis(10_500);

/// Gives a function two events, the first of them some time after it has asked for it: what it printed, and what it
/// asked for.
async fn run(program: &str, how: &str, first_after: Duration) -> (Seen, Vec<String>) {
    let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut command = Command::new(program);
    let env = [
        ("AWS_LAMBDA_RUNTIME_API", api.local_addr().unwrap().to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "shop".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", how.to_owned()),
    ];
    command.env_clear().envs(env).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let (asked, idle) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let served = tokio::spawn({
        let (asked, idle) = (asked.clone(), idle.clone());
        async move {
            while let Ok((stream, _)) = api.accept().await {
                tokio::spawn(connection(stream, first_after, asked.clone(), idle.clone()));
            }
        }
    });
    let over = tokio::time::timeout(PATIENCE, idle.notified()).await;
    child.start_kill().unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    served.abort();
    let printed = String::from_utf8(output.stdout).unwrap();
    let asked = std::mem::take(&mut *asked.lock().await);
    over.unwrap_or_else(|_| panic!("{how}: {asked:?} {printed}"));
    // What it prints of an invocation is there before it asks for the next.
    (Seen::of_lines(&printed.lines().map(ToOwned::to_owned).collect::<Vec<_>>()), asked)
}

async fn connection(
    mut stream: TcpStream,
    first_after: Duration,
    asked: Arc<Mutex<Vec<String>>>,
    idle: Arc<Notify>,
) {
    while let Some(request) = read(&mut stream).await {
        let path = request.line().split(' ').nth(1).unwrap().trim_start_matches("/2018-06-01/runtime/");
        asked.lock().await.push(path.to_owned());
        let given = asked.lock().await.iter().filter(|path| *path == "invocation/next").count();
        match (path, given) {
            ("invocation/next", 1 | 2) => {
                // It is this long that it has nothing to do, and this is what is looked at.
                tokio::time::sleep(if given == 1 { first_after } else { Duration::ZERO }).await;
                answer(&mut stream, &head(given as u64), r#"{"order": 17}"#).await;
            }
            ("invocation/next", _) => {
                idle.notify_one();
                return std::future::pending().await;
            }
            _ => answer(&mut stream, "202 Accepted", "{}").await,
        }
    }
}

/// `cold_start` and `proactive_initialization` of both invocations.
fn starts(seen: &Seen) -> [(&str, &str); 2] {
    let of = |span: &'static str| {
        let root = seen.root(span);
        (root.tag("cold_start"), root.tag("proactive_initialization"))
    };
    [of("req-1"), of("req-2")]
}

fn spans_of_the_start(seen: &Seen) -> Vec<&str> {
    let all = seen.spans.iter().map(|span: &Span| span.name.as_str());
    all.filter(|name| name.starts_with("aws.lambda.")).collect()
}

#[tokio::test]
async fn a_sandbox_that_is_started_ahead() {
    let program = env!("CARGO_BIN_EXE_logs");
    let (on_demand, provisioned, at_once) = tokio::join!(
        run(program, "on-demand", AHEAD),
        run(program, "provisioned-concurrency", AHEAD),
        run(program, "on-demand", Duration::ZERO),
    );
    for (seen, _) in [&on_demand, &provisioned] {
        assert_eq!(starts(seen), [("false", "true"), ("false", "")], "{seen:#?}");
        // Nobody has waited for it.
        assert_eq!(spans_of_the_start(seen), [""; 0]);
    }
    let (seen, _) = &at_once;
    assert_eq!(starts(seen), [("true", ""), ("false", "")], "{seen:#?}");
    assert_eq!(spans_of_the_start(seen), ["aws.lambda.cold_start", "aws.lambda.load"]);
}

/// The library's own runtime, and one that the user has built.
#[tokio::test]
async fn a_sandbox_that_is_made_of_a_snapshot() {
    let programs = [env!("CARGO_BIN_EXE_logs"), env!("CARGO_BIN_EXE_stack")];
    for program in &programs[..1] {
        let (at_once, later) =
            tokio::join!(run(program, "snap-start", Duration::ZERO), run(program, "snap-start", AHEAD));
        for ((seen, asked), expect) in [(&at_once, ("true", "")), (&later, ("false", "true"))] {
            // The snapshot is made before, and each that is made of it has a first invocation.
            assert_eq!(asked[..2], ["restore/next", "invocation/next"]);
            assert_eq!(starts(seen), [expect, ("false", "")], "{seen:#?}");
            assert_eq!(spans_of_the_start(seen), [""; 0]);
        }
    }
    // Its handler takes no such event, which is told, and known to be the first one.
    let (seen, asked) = run(programs[1], "snap-start", AHEAD).await;
    assert_eq!(asked[..2], ["restore/next", "invocation/next"]);
    assert_eq!(starts(&seen), [("false", "true"), ("false", "")], "{seen:#?}");
    assert!(seen.root("req-1").failure().starts_with("PayloadError: "), "{seen:#?}");
}

/// Nobody has waited for the program to load, so no span says so.
#[tokio::test]
async fn sandboxes_of_the_local_lambda_that_are_made_ahead() {
    for mode in [Mode::SnapStart, Mode::ProvisionedConcurrency] {
        let program = env!("CARGO_BIN_EXE_logs");
        let beside = World::beside(program, |config| config.mode(mode)).await;
        let alone = World::alone(program, |config| config.mode(mode)).await;
        for world in [beside, alone] {
            let (first, second) = (world.invoke(r#"{"order": 17}"#).await, world.invoke("{}").await);
            let seen = world.end(|seen| seen.count("aws.lambda") == 2 && seen.count("reserve") == 2).await;
            let first = seen.root(first.request_id.as_str());
            // A machine that is busy may take its time between the two.
            assert!([first.tag("cold_start"), first.tag("proactive_initialization")].contains(&"true"));
            assert_eq!(seen.root(second.request_id.as_str()).tag("cold_start"), "false");
            assert_eq!(seen.count("aws.lambda.load"), 0, "{mode:?} {seen:#?}");
        }
    }
}
