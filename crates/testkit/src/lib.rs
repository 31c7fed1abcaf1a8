//! Lambda events written for the tests. What each is, and where its shape comes from, is in the README.
//!
//! A test gets one by name, or all of them, to check that something holds whatever the event.

/// The text of an event of the corpus.
///
/// # Panics
/// When there is no event of this name: a test names what does not exist.
pub fn event(name: &str) -> &'static str {
    let found = EVENTS.iter().find(|(n, _)| *n == name);
    #[expect(clippy::panic, reason = "for tests only, where a wrong name must be seen")]
    found.map_or_else(|| panic!("no event {name:?} in testkit"), |(_, text)| text)
}

/// Name and text of every event of the corpus.
pub fn events() -> &'static [(&'static str, &'static str)] {
    EVENTS
}

macro_rules! corpus {
    ($($name:literal,)*) => {
        &[$(($name, include_str!(concat!("../events/", $name, ".json"))),)*]
    };
}

const EVENTS: &[(&str, &str)] = corpus![
    "activemq",
    "alb",
    "alb-multi-value",
    "api-authorizer-request",
    "api-authorizer-token",
    "appsync-batch",
    "appsync-resolver",
    "cloudfront",
    "cloudwatch-logs",
    "cognito",
    "cognito-sync",
    "direct",
    "direct-headers",
    "distributed-map",
    "documentdb",
    "durable",
    "durable-first",
    "dynamodb",
    "eventbridge",
    "eventbridge-plain",
    "eventbridge-s3",
    "eventbridge-step-functions",
    "firehose",
    "function-url",
    "http-api",
    "http-api-authorizer",
    "http-api-authorizer-request",
    "http-api-v1",
    "http-api-w3c",
    "iot-authorizer",
    "iot-rule",
    "kinesis",
    "lattice-v1",
    "lattice-v2",
    "msk",
    "msk-indices",
    "pipes-sqs",
    "rabbitmq",
    "rest-api",
    "rest-api-authorizer",
    "rest-api-authorizer-cached",
    "rest-api-ids",
    "rest-api-multi-value",
    "s3",
    "schedule",
    "scheduler",
    "self-managed-kafka",
    "ses",
    "sns",
    "sns-binary",
    "sns-eventbridge",
    "sns-s3",
    "sqs",
    "sqs-aws-trace-header",
    "sqs-aws-trace-header-xray",
    "sqs-batch",
    "sqs-binary",
    "sqs-eventbridge",
    "sqs-none",
    "sqs-s3",
    "sqs-sns",
    "sqs-sns-eventbridge",
    "sqs-sns-no-attributes",
    "sqs-sns-raw",
    "sqs-step-functions",
    "step-functions",
    "step-functions-lambda-root",
    "step-functions-legacy",
    "step-functions-legacy-started",
    "step-functions-nested",
    "step-functions-of-api",
    "step-functions-payload",
    "step-functions-redrive",
    "step-functions-retry",
    "websocket-connect",
    "websocket-message",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_file_is_listed_and_explained() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = std::fs::read_dir(here.join("events")).unwrap().map(|file| file.unwrap().path());
        let files: BTreeSet<_> = files.map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        let listed: BTreeSet<_> = super::events().iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(files, listed);
        let readme = std::fs::read_to_string(here.join("README.md")).unwrap();
        for name in listed {
            assert!(readme.contains(&format!("\n| {name} | ")), "{name} has no row in the README");
        }
    }
}
