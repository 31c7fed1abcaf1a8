//! Settings of Datadog's extension that mean nothing here, and why. One that is set, and not off, is told once: what was
//! expected of it does not happen.

use super::boolean;
use crate::config::Problem;

const APPSEC: &str = "App and API Protection is not supported";

/// By name, in the order of the page.
const TABLE: &[(&str, &str)] = &[
    ("DD_SERVERLESS_APPSEC_ENABLED", APPSEC),
    ("DD_APPSEC_ENABLED", APPSEC),
    ("DD_APPSEC_RULES", APPSEC),
    ("DD_APPSEC_WAF_TIMEOUT", APPSEC),
    ("DD_API_SECURITY_ENABLED", APPSEC),
    ("DD_API_SECURITY_SAMPLE_DELAY", APPSEC),
    ("DD_SPAN_DEDUP_TIMEOUT", "spans that come twice are known without waiting"),
    ("DD_DOGSTATSD_BUFFER_SIZE", "datagrams of any size are taken"),
    ("DD_DOGSTATSD_QUEUE_SIZE", "what waits is bounded by DD_LAMBDA_EXTENSION_MEMORY"),
    ("DD_DEBUG_WAIT_FOR_ATTACH", "the extension never waits for a debugger"),
    (
        "DD_PROXY_HTTP",
        "Datadog is reached over https, for which DD_PROXY_HTTPS is, and http addresses directly",
    ),
    ("DD_LOGS_CONFIG_FORCE_USE_TCP", "logs are sent over https"),
    ("DD_LOGS_CONFIG_FORCE_USE_HTTP", "logs are sent over https"),
    ("DD_DOGSTATSD_TAGS", "DD_TAGS is for all data"),
    ("DD_EXTRA_TAGS", "DD_TAGS is for all data"),
    ("DD_HOSTNAME", "the host of a function is its ARN"),
    ("DD_APM_MAX_TPS", "tracers decide what is sampled"),
    ("DD_TRACE_PROPAGATION_HTTP_BAGGAGE_ENABLED", "headers `ot-baggage-…` are not read"),
    ("DD_REMOTE_CONFIGURATION_ENABLED", "a sandbox has no background process to be told of changes"),
];

/// What is set of these.
pub(crate) fn told(variable: impl Fn(&str) -> Option<String>) -> Vec<Problem> {
    let told = |(name, why): &(&str, &str)| {
        let value = variable(name)?;
        let is_meant = !value.trim().is_empty() && boolean(value.trim()) != Some(false);
        is_meant.then(|| Problem {
            name: (*name).to_owned(),
            value: None,
            expects: "",
            instead: format!("has no effect here: {why}"),
        })
    };
    TABLE.iter().filter_map(told).collect()
}

/// The table as Markdown, as it stands in `docs/configuration.md`.
#[cfg(test)]
pub(super) fn to_markdown() -> String {
    let head = "| Variable | Why it has no effect |\n|---|---|\n";
    let rows = TABLE.iter().map(|(name, why)| format!("| `{name}` | {why} |\n"));
    std::iter::once(head.to_owned()).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    #[test]
    fn what_is_set_and_not_off_is_told() {
        let check = |name: &str, value: &str, want: &str| {
            let problems = told(|n| (n == name).then(|| value.to_owned()));
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(lines.join("\n"), want, "{name}={value}");
        };
        let appsec = "DD_SERVERLESS_APPSEC_ENABLED";
        check(appsec, "true", &format!("{appsec}: has no effect here: {APPSEC}"));
        check(appsec, " false ", "");
        check(appsec, "", "");
        check("DD_SITE", "datadoghq.eu", "");
    }

    #[test]
    fn none_of_them_is_a_setting() {
        for (name, _) in TABLE {
            assert!(!settings::all().any(|setting| setting.names().any(|known| known == *name)), "{name}");
        }
    }
}
