//! The metrics that are derived from an invocation's facts: `aws.lambda.enhanced.*`, each once, as soon as
//! its facts are there. Units as Datadog's extension gives them
//! (<https://docs.datadoghq.com/serverless/aws_lambda/metrics/>).

use model::keys::{measured, metrics};
use model::{Metric, Millis, PlatformSpan, Status, Text, UnixNanos};

use crate::boot::Verdict;
use crate::invocation::{Done, Invocation, Reported};
use crate::pricing;

/// Metrics of one invocation, with their tags.
struct Sink<'a> {
    tags: &'a [Text],
    metrics: Vec<Metric>,
}

impl Sink<'_> {
    fn push(&mut self, name: &'static str, value: f64, time: UnixNanos) {
        let metric = Metric::distribution(name, value);
        self.metrics.push(Metric { tags: self.tags.to_vec(), time: Some(time), ..metric });
    }
}

/// Gives what can be derived now and was not given before, with the tags of the sandbox on it. `closing`: no more
/// facts will come. `price`: dollars for a gigabyte-second.
pub(crate) fn derive(
    invocation: &mut Invocation,
    verdict: Verdict,
    sandbox: &[Text],
    price: Option<f64>,
    closing: bool,
) -> Vec<Metric> {
    let tags = verdict.tags().iter().map(|(k, v)| Text::from(format!("{k}:{v}")));
    let tags: Vec<Text> = tags.chain(sandbox.iter().cloned()).collect();
    let mut sink = Sink { tags: &tags, metrics: Vec::new() };

    // At its own START where that is told, so that it does not matter when INVOKE was read.
    let begun = invocation.started.or(invocation.invoked);
    let is_begun = invocation.invoked.is_some() && invocation.started.is_some();
    if let Some(begun) = begun.filter(|_| is_begun || closing) {
        once(&mut invocation.given.invocations, || sink.push(metrics::INVOCATIONS, 1.0, begun));
    }

    let reported = invocation.report.as_ref().map(|reported| reported.time);
    let over = invocation.done.as_ref().map(|done| done.time).or(reported);
    let over = over.or_else(|| invocation.answered().or(begun).filter(|_| closing));
    if let Some(over) = over {
        if invocation.is_error() || invocation.error_told {
            once(&mut invocation.given.errors, || sink.push(metrics::ERRORS, 1.0, over));
        }
        if invocation.status() == Some(&Status::Timeout) {
            once(&mut invocation.given.timeouts, || sink.push(metrics::TIMEOUTS, 1.0, over));
        }
    }
    if let Some(time) = invocation.out_of_memory {
        once(&mut invocation.given.out_of_memory, || sink.push(metrics::OUT_OF_MEMORY, 1.0, time));
    }
    if let Some(done) = &invocation.done {
        once(&mut invocation.given.runtime, || runtime(&mut sink, done));
        response(&mut sink, &done.spans, done.time, &mut invocation.given.response);
        for (name, value) in std::mem::take(&mut invocation.usage) {
            sink.push(name, value, done.time);
        }
    }
    if let Some(reported) = &invocation.report {
        // Managed instances have no other record.
        response(&mut sink, &reported.report.spans, reported.time, &mut invocation.given.response);
        once(&mut invocation.given.report, || report(&mut sink, reported, price));
        let runtime = invocation.done.as_ref().and_then(|done| done.duration).map(Millis::get);
        if let Some(runtime) = runtime.filter(|ms| *ms > 0.0) {
            let post = (reported.report.duration.get() - runtime).max(0.0);
            once(&mut invocation.given.post_runtime, || {
                sink.push(metrics::POST_RUNTIME_DURATION, post, reported.time);
            });
        }
    }
    sink.metrics
}

fn runtime(sink: &mut Sink<'_>, done: &Done) {
    if let Some(duration) = done.duration {
        sink.push(metrics::RUNTIME_DURATION, duration.get(), done.time);
    }
    if let Some(bytes) = done.produced_bytes {
        sink.push(metrics::PRODUCED_BYTES, bytes as f64, done.time);
    }
}

/// What Lambda measured of the answer, in the first record that has it.
fn response(sink: &mut Sink<'_>, spans: &[PlatformSpan], time: UnixNanos, given: &mut bool) {
    let known = [
        (measured::RESPONSE_LATENCY, metrics::RESPONSE_LATENCY),
        (measured::RESPONSE_DURATION, metrics::RESPONSE_DURATION),
    ];
    let told = |name: &str| spans.iter().find(|span| span.name == name).map(|span| span.duration.get());
    let told: Vec<_> = known.iter().filter_map(|(name, metric)| Some((*metric, told(name)?))).collect();
    if !told.is_empty() {
        once(given, || told.into_iter().for_each(|(metric, ms)| sink.push(metric, ms, time)));
    }
}

fn report(sink: &mut Sink<'_>, Reported { time, report }: &Reported, price: Option<f64>) {
    sink.push(metrics::DURATION, report.duration.as_secs(), *time);
    if let Some(billed) = report.billed_ms {
        sink.push(metrics::BILLED_DURATION, billed as f64 / 1000.0, *time);
    }
    if let Some(max) = report.max_memory_used_mb {
        sink.push(metrics::MAX_MEMORY_USED, max as f64, *time);
    }
    if let Some(size) = report.memory_size_mb {
        sink.push(metrics::MEMORY_SIZE, size as f64, *time);
    }
    if let (Some(billed), Some(size), Some(price)) = (report.billed_ms, report.memory_size_mb, price) {
        sink.push(metrics::ESTIMATED_COST, pricing::invocation(price, billed, size), *time);
    }
}

fn once(given: &mut bool, give: impl FnOnce()) {
    if !std::mem::replace(given, true) {
        give();
    }
}
