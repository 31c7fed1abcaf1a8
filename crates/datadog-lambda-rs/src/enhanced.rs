//! The metrics about invocations. Their number and errors only where no extension tells them, as log lines for
//! the Datadog Forwarder; what is seen here alone always.

use std::time::Duration;

use model::keys::{lambda, metrics};
use model::{Metric, Text};

use crate::cold_start::Verdict;
use crate::invocation::Invocation;
use crate::settings::Settings;

pub(crate) fn tags(
    settings: &Settings,
    function: &trigger::Function,
    lambda: &lambda_runtime::Context,
    verdict: Verdict,
) -> Vec<Text> {
    // Of an alias it is the version behind it that is executed.
    let qualifier = lambda.invoked_function_arn.split(':').nth(7).unwrap_or_default();
    let is_alias = qualifier.starts_with(|c: char| c.is_alphabetic());
    let resource = match qualifier.trim_start_matches('$') {
        "" => function.name.clone(),
        qualifier => format!("{}:{qualifier}", function.name),
    };
    let executed = if is_alias { settings.function_version.clone() } else { String::new() };
    let all = [
        (lambda::REGION, function.region.clone()),
        (lambda::ACCOUNT_ID, function.account.clone()),
        (lambda::FUNCTION_NAME, function.name.to_lowercase()),
        (lambda::RESOURCE, resource),
        (lambda::EXECUTED_VERSION, executed),
        (lambda::MEMORY_SIZE, settings.memory_size.clone()),
        (lambda::COLD_START, verdict.cold.to_string()),
        (lambda::PROACTIVE_INITIALIZATION, if verdict.proactive { "true".to_owned() } else { String::new() }),
        (lambda::DATADOG_LAMBDA, concat!("v", env!("CARGO_PKG_VERSION")).to_owned()),
    ];
    let known = all.into_iter().filter(|(_, value)| !value.is_empty());
    known.map(|(key, value)| Text::Owned(format!("{key}:{value}"))).collect()
}

pub(crate) fn invoked(invocation: &Invocation) {
    count(invocation, metrics::INVOCATIONS);
}

pub(crate) fn ended(invocation: &Invocation, error: bool) {
    if error {
        count(invocation, metrics::ERRORS);
    }
}

/// An HTTP function has answered with an error of the server's, which to Lambda is a success: where there is an
/// extension that makes no span of it, this is all that it is told.
pub(crate) fn server_error(invocation: &Invocation) {
    if invocation.datadog.has_agent() && !invocation.is_told() {
        send(invocation, metrics::ERRORS, 1.0);
    }
}

/// Messages of a batch that the handler wants again.
pub(crate) fn failed_items(invocation: &Invocation, failed: usize) {
    send(invocation, metrics::BATCH_ITEM_FAILURES, failed as f64);
}

/// Milliseconds until a stream's first bytes were there.
pub(crate) fn first_byte(invocation: &Invocation, after: Duration) {
    send(invocation, metrics::TIME_TO_FIRST_BYTE, after.as_secs_f64() * 1000.0);
}

/// The extension knows these by itself.
fn count(invocation: &Invocation, name: &'static str) {
    if !invocation.datadog.has_agent() {
        send(invocation, name, 1.0);
    }
}

fn send(invocation: &Invocation, name: &'static str, value: f64) {
    let datadog = &invocation.datadog;
    if datadog.settings.enhanced_metrics {
        let mut metric = Metric::distribution(name, value);
        metric.tags.clone_from(&invocation.enhanced_tags);
        datadog.send_own_metric(&metric);
    }
}
