//! The origin that the metrics intake attributes a metric to: it decides what a metric is billed as.

/// Three numbers of Datadog's metric origin registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) product: u32,
    pub(crate) category: u32,
    pub(crate) service: u32,
}

const SERVERLESS: u32 = 1;
const LAMBDA: u32 = 38;
const CUSTOM: u32 = 472;
const ENHANCED: u32 = 473;
const RUNTIME: u32 = 474;

/// `None` for metrics of Datadog's own, which have no origin here.
pub(crate) fn origin(name: &str) -> Option<Origin> {
    let of = |prefix| name.starts_with(prefix);
    let service = match () {
        () if of("datadog.") => return None,
        () if of("aws.lambda.") => ENHANCED,
        () if of("jvm.") || of("runtime.") => RUNTIME,
        () => CUSTOM,
    };
    Some(Origin { product: SERVERLESS, category: LAMBDA, service })
}
