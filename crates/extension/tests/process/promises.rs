//! What the page of troubles promises: that each test it names is there, and some of those tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use intake::{Fault, FaultKind, State};

use crate::agent::{Agent, http};
use crate::fake_lambda::FakeLambda;
use crate::faults::invocation;
use crate::records::{delivery, log, report, runtime_done, start};
use crate::watched::Intake;
use crate::{arrives, to};

const MINUTE: Duration = Duration::from_secs(60);

fn total(state: &State, name: &str) -> u64 {
    let name = format!("aws.lambda.enhanced.{name}");
    state.metrics(&name).iter().filter(|m| m.name == name).map(|m| m.total.count()).sum()
}

/// Every row of `docs/troubles.md` and of the pages of traps ends with the names of its tests.
#[test]
fn the_pages_of_troubles_and_traps_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages: Vec<_> = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is_one = |path: &&PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name == "troubles.md" || name.starts_with("traps") && name.ends_with(".md")
    };
    let pages: Vec<_> = pages.iter().filter(is_one).collect();
    assert!(pages.len() >= 2, "{pages:?}");
    for page in pages {
        let text = fs::read_to_string(page).unwrap();
        let is_head = |line: &str| line.ends_with("| Tests |");
        let rows: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("| ") && !line.contains("---") && !is_head(line))
            .collect();
        assert!(rows.len() > 20, "{} rows in {page:?}", rows.len());
        for row in rows {
            let tests = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
            let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "no test in {row}");
            for test in named {
                let (folder, name) = test.split_once("::").unwrap_or_else(|| panic!("{test}: crate::name"));
                assert!(has_test(&root.join("crates").join(folder), name), "{test} is not there");
            }
        }
    }
}

fn has_test(folder: &Path, name: &str) -> bool {
    let wanted = format!("fn {name}(");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return has_test(&path, name);
        }
        path.extension().is_some_and(|kind| kind == "rs")
            && is_test_of(&fs::read_to_string(&path).unwrap(), &wanted)
    })
}

/// A function of this name that is marked as a test.
fn is_test_of(source: &str, wanted: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    lines.iter().enumerate().filter(|(_, line)| line.contains(wanted)).any(|(at, _)| {
        let above = lines.iter().take(at).rev().take_while(|line| line.starts_with(['#', '/']));
        above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// It does not wait for its deadline, which is longer than this test has patience.
#[tokio::test]
async fn a_sandbox_that_was_never_used_ends_at_once() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.shutdown(MINUTE);
    assert!(agent.ended().await.success());
    intake.store().read(|s| assert_eq!((total(s, "unused_init"), total(s, "invocations")), (1, 0)));
}

/// An emulator that says yes to the subscription and delivers nothing: no invocation waits for what will not come,
/// and what libraries tell arrives.
#[tokio::test]
async fn an_emulator_without_telemetry_holds_nothing_up() {
    const INVOCATIONS: usize = 30;
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    lambda.has_no_telemetry();
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    for number in 1..=INVOCATIONS {
        let id = format!("r-{number}");
        lambda.invoke(&id, Duration::from_secs(900));
        let header = [("lambda-runtime-aws-request-id", &*id)];
        for path in ["/lambda/start-invocation", "/lambda/end-invocation"] {
            assert_eq!(http(agent.ports.lifecycle, "POST", path, &header, b"{}").await.status, 200);
        }
        lambda.asked(number + 1).await;
    }
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert_eq!(agent.printed().matches("Telemetry.NotSupported").count(), 1, "{}", agent.printed());
    intake.store().read(|s| {
        assert_eq!(total(s, "invocations"), INVOCATIONS as u64);
        let spans = s.traces().iter().flat_map(|t| &t.spans).filter(|s| s.name == "aws.lambda").count();
        assert_eq!(spans, INVOCATIONS);
    });
}

/// A delivery that Lambda makes again, its answer having been lost.
#[tokio::test]
async fn a_delivery_that_comes_twice_counts_once() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    lambda.invoke("r-1", MINUTE);
    let records = delivery(&[start("r-1"), runtime_done("r-1"), report("r-1")]);
    agent.telemetry(&records).await;
    agent.telemetry(&records).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    intake.store().read(|s| {
        for name in ["invocations", "runtime_duration", "duration", "billed_duration", "init_duration"] {
            assert_eq!(total(s, name), 1, "{name}");
        }
    });
}

/// Half a second is all that some sandboxes have: it leaves in time, and says what did not.
#[tokio::test]
async fn a_short_shutdown_with_a_dead_intake_ends_in_time_and_says_what_is_lost() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    intake.fail(Fault { signal: None, kind: FaultKind::Hang, count: 1000 });
    let url = intake.url();
    let mut variables = to(&url).to_vec();
    variables.push(("DD_FLUSH_TIMEOUT", "0.3"));
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    lambda.shutdown(Duration::from_millis(500));
    assert!(agent.ended().await.success());
    let printed = agent.printed();
    assert!(printed.contains("of its data was lost: ") && printed.contains("1 of traces"), "{printed}");
}

/// What a function prints over and over does not come back as lines of our own.
#[tokio::test]
async fn the_extension_prints_nothing_for_lines_or_invocations() {
    let (lambda, intake) = (FakeLambda::start().await, Intake::start().await.unwrap());
    let mut agent = Agent::start(&lambda, &to(&intake.url()));
    lambda.asked(1).await;
    for number in 1..=5 {
        let id = format!("r-{number}");
        lambda.invoke(&id, MINUTE);
        let lines: Vec<String> = (0..20).map(|line| log(&format!("line {line}"))).collect();
        agent.telemetry(&delivery(&[vec![start(&id)], lines, vec![runtime_done(&id)]].concat())).await;
        lambda.asked(number + 1).await;
    }
    arrives(&intake, "all lines", |s| s.counts().logs >= 100).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    assert_eq!(agent.printed(), "");
}
