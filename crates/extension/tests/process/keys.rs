//! Where the key comes from while the process runs, and what it costs the function when it does not come.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::agent::Agent;
use crate::cloud::{Cloud, Seen};
use crate::fake_lambda::{FakeLambda, PATIENCE};
use crate::faults::invocation;

const GOOD: &str = "0123456789abcdef0123456789abcdef";
const OLD: &str = "ffffffffffffffffffffffffffffffff";
const TRACES: &str = "/api/v0.2/traces";

/// A process whose key is a secret, and whose world is a cloud.
fn start(lambda: &FakeLambda, cloud: &Cloud, more: &[(&'static str, &str)]) -> Agent {
    let mut variables = vec![
        ("DD_API_KEY", ""),
        ("DD_API_KEY_SECRET_ARN", "dd"),
        ("AWS_ENDPOINT_URL", &cloud.url),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "hush"),
        ("DD_DD_URL", &cloud.url),
        ("DD_APM_DD_URL", &cloud.url),
        ("DD_LOGS_CONFIG_LOGS_DD_URL", &cloud.url),
    ];
    variables.extend_from_slice(more);
    Agent::start(lambda, &variables)
}

async fn shut_down(lambda: &FakeLambda, agent: &mut Agent) {
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
}

/// Being ready waits for no secret: its answer waits for the process to be ready.
#[tokio::test]
async fn a_secret_is_searched_beside_the_start_and_used() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[GOOD], GOOD).await);
    cloud.hold(true);
    let mut agent = start(&lambda, &cloud, &[]);
    lambda.asked(1).await;
    cloud.until("the search begins without an invocation", |c| c.searches("dd") == 1).await;
    cloud.hold(false);
    for number in 1..4 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    shut_down(&lambda, &mut agent).await;
    cloud.until("traces", |c| !c.taken(TRACES).is_empty()).await;
    assert_eq!(cloud.searches("dd"), 1, "{:#?}", cloud.seen());
    assert!(cloud.taken(TRACES).iter().all(|key| key == GOOD));
    assert_eq!(agent.printed(), "");
}

#[tokio::test]
async fn what_is_sent_before_the_key_is_there_is_kept() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[GOOD], GOOD).await);
    cloud.hold(true);
    let mut agent = start(&lambda, &cloud, &[("DD_FLUSH_TIMEOUT", "0.3")]);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    assert_eq!(cloud.taken(TRACES), [""; 0]);
    cloud.hold(false);
    shut_down(&lambda, &mut agent).await;
    cloud.until("traces", |c| !c.taken(TRACES).is_empty()).await;
}

#[tokio::test]
async fn a_key_that_was_replaced_is_searched_again_and_nothing_is_lost() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[OLD, GOOD], GOOD).await);
    let mut agent = start(&lambda, &cloud, &[]);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    shut_down(&lambda, &mut agent).await;
    cloud.until("traces", |c| !c.taken(TRACES).is_empty()).await;
    assert_eq!(cloud.searches("dd"), 2, "{:#?}", cloud.seen());
    assert!(!agent.printed().contains("are lost"), "{}", agent.printed());
}

#[tokio::test]
async fn a_key_that_stays_bad_is_not_searched_for_without_end() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[OLD], GOOD).await);
    let mut agent = start(&lambda, &cloud, &[("DD_SITE", "datadoghq.eu")]);
    lambda.asked(1).await;
    for number in 1..5 {
        agent.metric("orders:1|c");
        invocation(&lambda, &agent, number, number as u64).await;
    }
    shut_down(&lambda, &mut agent).await;
    assert_eq!(cloud.taken(TRACES), [""; 0]);
    assert!(cloud.searches("dd") <= 3, "{:#?}", cloud.seen());
    let printed = agent.printed();
    assert_eq!(printed.matches("403 Forbidden").count(), 1, "{printed}");
    assert!(printed.contains("DD_API_KEY_SECRET_ARN gives a valid key"), "{printed}");
    assert!(!printed.contains(OLD), "{printed}");
}

#[tokio::test]
async fn a_secret_that_is_denied_is_told_once_and_the_function_runs() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[GOOD], GOOD).await);
    cloud.deny("AccessDeniedException");
    let mut agent = start(&lambda, &cloud, &[]);
    lambda.asked(1).await;
    for number in 1..4 {
        invocation(&lambda, &agent, number, number as u64).await;
    }
    assert!(agent.is_alive());
    shut_down(&lambda, &mut agent).await;
    assert_eq!(cloud.taken(TRACES), [""; 0]);
    assert_eq!(cloud.searches("dd"), 1, "{:#?}", cloud.seen());
    let printed = agent.printed();
    assert_eq!(printed.matches("AccessDeniedException").count(), 1, "{printed}");
    for part in ["DD_API_KEY_SECRET_ARN: Secrets Manager", "not for you", "secretsmanager:GetSecretValue"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    assert!(!printed.contains("hush"), "{printed}");
}

#[tokio::test]
async fn a_plain_key_stands_in_for_a_secret_that_is_not_there() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[OLD], GOOD).await);
    cloud.deny("ResourceNotFoundException");
    let mut agent = start(&lambda, &cloud, &[("DD_API_KEY", GOOD)]);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    shut_down(&lambda, &mut agent).await;
    cloud.until("traces", |c| !c.taken(TRACES).is_empty()).await;
    let printed = agent.printed();
    assert!(printed.contains("ResourceNotFoundException"), "{printed}");
    assert!(printed.contains("So DD_API_KEY is used instead"), "{printed}");
}

/// The proof is a question to STS that only the role can have signed, which nobody asked.
#[tokio::test]
async fn a_role_gets_a_key_for_its_proof() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[], GOOD).await);
    let delegated =
        [("DD_API_KEY_SECRET_ARN", ""), ("AWS_ENDPOINT_URL", ""), ("DD_ORG_UUID", "organisation-1")];
    let mut agent = start(&lambda, &cloud, &delegated);
    lambda.asked(1).await;
    invocation(&lambda, &agent, 1, 1).await;
    shut_down(&lambda, &mut agent).await;
    cloud.until("traces", |c| !c.taken(TRACES).is_empty()).await;
    let seen = cloud.seen();
    let proofs: Vec<_> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Proof(proof) => Some(proof.strip_prefix("Delegated ").unwrap()),
            _ => None,
        })
        .collect();
    assert_eq!(proofs.len(), 1, "{seen:#?}");
    let text = |part: &str| match part {
        "POST" => part.to_owned(),
        part => String::from_utf8(STANDARD.decode(part).unwrap()).unwrap(),
    };
    let parts: Vec<_> = proofs[0].split('|').map(text).collect();
    assert_eq!(parts[0], "Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!(parts[2..], ["POST", "https://sts.eu-west-1.amazonaws.com/"]);
    let headers: serde_json::Value = serde_json::from_str(&parts[1]).unwrap();
    assert_eq!(headers["x-ddog-org-id"][0], "organisation-1");
    let signature = headers["authorization"][0].as_str().unwrap();
    assert!(signature.contains("Credential=AKID/") && signature.contains("x-ddog-org-id"), "{signature}");
    assert!(!parts[1].contains("hush") && !agent.printed().contains("hush"));
}

/// The key that is there is used until the other one is: no invocation waits for it.
#[tokio::test]
async fn a_key_that_is_old_is_searched_again() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[GOOD], GOOD).await);
    let mut agent = start(&lambda, &cloud, &[("DD_API_KEY_SECRET_RELOAD_INTERVAL", "1")]);
    lambda.asked(1).await;
    let begun = std::time::Instant::now();
    let mut number = 0;
    while cloud.searches("dd") < 3 {
        assert!(begun.elapsed() < PATIENCE * 2, "{:#?}", cloud.seen().len());
        number += 1;
        invocation(&lambda, &agent, number, number as u64).await;
    }
    // No more than one each second.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    shut_down(&lambda, &mut agent).await;
    assert_eq!(agent.printed(), "");
}

/// What is frozen into a snapshot is the same in every sandbox made of it: no key is, and no connection.
#[tokio::test]
async fn before_a_restore_nothing_is_searched() {
    let (lambda, cloud) = (FakeLambda::start().await, Cloud::start(&[GOOD], GOOD).await);
    let snapped = [("DD_API_KEY_SECRET_ARN", "snapped"), ("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")];
    let mut agent = start(&lambda, &cloud, &snapped);
    lambda.asked(1).await;
    // Another process begins later and has searched: time enough for the first one.
    let other_lambda = FakeLambda::start().await;
    let mut other = start(&other_lambda, &cloud, &[]);
    cloud.until("the search of the other", |c| c.searches("dd") == 1).await;
    assert_eq!(cloud.searches("snapped"), 0);
    invocation(&lambda, &agent, 1, 1).await;
    cloud.until("the search after the restore", |c| c.searches("snapped") == 1).await;
    shut_down(&lambda, &mut agent).await;
    shut_down(&other_lambda, &mut other).await;
    cloud.until("traces", |c| !c.taken(TRACES).is_empty()).await;
}
