//! The real process beside real parts: the key in all the places that it may be in, of an AWS that checks signatures and
//! permissions; functions of AWS's own runtimes, with Datadog's libraries and without; OpenTelemetry's exporters and
//! DogStatsD clients; Datadog's own trace agent. What of it stands for what is in `docs/compatibility-tracers.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(dead_code, reason = "shared with the process tests, which use all of it")]

mod adapter;
#[path = "../process/agent.rs"]
mod agent;
#[path = "../../../secrets/tests/aws/mod.rs"]
mod aws;
#[path = "../process/cloud.rs"]
mod cloud;
mod exporters;
#[path = "../process/fake_lambda.rs"]
mod fake_lambda;
mod functions;
mod http2;
mod java;
mod no_library;
mod node;
mod oracle;
#[path = "../process/ports.rs"]
mod ports;
mod python;
#[path = "../process/records.rs"]
mod records;
mod statsd;

use std::collections::BTreeMap;
use std::time::Duration;

use agent::Agent;
use aws::{Aws, KEY};
use cloud::Cloud;
use fake_lambda::FakeLambda;
use records::{delivery, runtime_done, start, traces};

const TRACES: &str = "/api/v0.2/traces";

/// One invocation with one span, and the end; gives what the process printed.
async fn live(aws: &Aws, role: &BTreeMap<String, String>, way: (&str, &str), cloud: &Cloud) -> String {
    let lambda = FakeLambda::start().await;
    let mut variables = aws.variables(role, way.0, way.1);
    variables.push(("DD_API_KEY", ""));
    for name in ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"] {
        variables.push((name, &cloud.url));
    }
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", Duration::from_secs(60));
    agent.telemetry(&delivery(&[start("r-1")])).await;
    assert_eq!(agent.put_traces(&traces(1)).await.status, 200);
    agent.telemetry(&delivery(&[runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    agent.printed()
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn every_way_leads_to_the_key() {
    let aws = Aws::start();
    assert_eq!(aws.ways.len(), 9);
    for (name, variable, value) in &aws.ways {
        let cloud = Cloud::start(&[], KEY).await;
        let printed = live(&aws, &aws.allowed, (variable, value), &cloud).await;
        assert!(!cloud.taken(TRACES).is_empty(), "{name}: {printed}\n{:#?}", cloud.seen());
        assert_eq!(printed, "", "{name}");
    }
}

#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn a_role_that_may_not_is_told_what_it_lacks() {
    let aws = Aws::start();
    for (name, variable, value) in &aws.ways {
        let cloud = Cloud::start(&[], KEY).await;
        let printed = live(&aws, &aws.denied, (variable, value), &cloud).await;
        assert!(cloud.taken(TRACES).is_empty(), "{name}");
        let action = match &**variable {
            "DD_API_KEY_SECRET_ARN" => "secretsmanager:GetSecretValue",
            "DD_KMS_API_KEY" => "kms:Decrypt",
            _ => "ssm:GetParameter",
        };
        assert!(printed.contains(&format!("{variable}: ")), "{name}: {printed}");
        assert!(printed.contains(&format!("role {action}")), "{name}: {printed}");
        assert_eq!(printed.matches("ERROR |").count(), 1, "{name}: {printed}");
    }
}

/// The server does check: nobody gets the key with a secret access key that is not the role's.
#[tokio::test]
#[ignore = "needs moto: cargo xtask test --only real"]
async fn a_wrong_signature_is_told() {
    let aws = Aws::start();
    let mut role = aws.allowed.clone();
    role.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "another".to_owned());
    for (name, variable, value) in &aws.ways {
        let cloud = Cloud::start(&[], KEY).await;
        let printed = live(&aws, &role, (variable, value), &cloud).await;
        assert!(cloud.taken(TRACES).is_empty(), "{name}");
        assert!(printed.contains("SignatureDoesNotMatch"), "{name}: {printed}");
        assert!(printed.contains("AWS_SECRET_ACCESS_KEY"), "{name}: {printed}");
        assert!(!printed.contains("another"), "{name}: {printed}");
    }
}
