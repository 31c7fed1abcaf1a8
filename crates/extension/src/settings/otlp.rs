//! The settings of OpenTelemetry's protocol: whether exporters are listened for, and what becomes of what they
//! send. Names as the agent has them.
//! <https://docs.datadoghq.com/opentelemetry/setup/otlp_ingest_in_the_agent/>

use serde_json::Value;
use wire::otlp::{Signal, metrics, traces};

use super::{BOOL, PORT_OF, Setting, boolean, maybe, set};
use crate::sources::otlp::{Histograms, Initial, Points};

/// What is taken by OTLP, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Otlp {
    /// `None`: not listened on.
    pub http_port: Option<u16>,
    pub grpc_port: Option<u16>,
    /// Bytes of a message over gRPC.
    pub max_message: usize,
    pub takes_traces: bool,
    pub takes_metrics: bool,
    pub takes_logs: bool,
    pub traces: traces::Settings,
    pub metrics: metrics::Settings,
    pub points: Points,
}

impl Otlp {
    pub(crate) fn takes(&self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.takes_traces,
            Signal::Metrics => self.takes_metrics,
            Signal::Logs => self.takes_logs,
        }
    }

    pub(crate) fn is_listened_for(&self) -> bool {
        self.http_port.is_some() || self.grpc_port.is_some()
    }
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            http_port: None,
            grpc_port: None,
            max_message: 4 << 20,
            takes_traces: true,
            takes_metrics: true,
            takes_logs: false,
            traces: traces::Settings::default(),
            metrics: metrics::Settings::default(),
            points: Points::default(),
        }
    }
}

/// In the order of the page.
pub(super) const TABLE: &[Setting] = &[
    Setting {
        key: "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_HTTP_ENDPOINT",
        aliases: &[],
        default: "none",
        expects: PORT_OF,
        doc: "Where OpenTelemetry exporters send to over HTTP, such as `localhost:4318`: only the port counts. Nothing is listened on unless it is set.",
        secret: false,
        read: |config, value| maybe(&mut config.otlp.http_port, port(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_GRPC_ENDPOINT",
        aliases: &[],
        default: "none",
        expects: PORT_OF,
        doc: "Where OpenTelemetry exporters send to over gRPC, such as `localhost:4317`: only the port counts. Nothing is listened on unless it is set.",
        secret: false,
        read: |config, value| maybe(&mut config.otlp.grpc_port, port(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_RECEIVER_PROTOCOLS_GRPC_MAX_RECV_MSG_SIZE_MIB",
        aliases: &[],
        default: "4",
        expects: "a number of MiB, 1 to 50",
        doc: "The largest message that is taken over gRPC, in MiB.",
        secret: false,
        read: |config, value| {
            let mib: Option<usize> = value.parse().ok().filter(|mib| (1..=50).contains(mib));
            set(&mut config.otlp.max_message, mib.map(|mib| mib << 20))
        },
    },
    Setting {
        key: "DD_OTLP_CONFIG_TRACES_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether OTLP traces are taken.",
        secret: false,
        read: |config, value| set(&mut config.otlp.takes_traces, boolean(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_METRICS_ENABLED",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether OTLP metrics are taken.",
        secret: false,
        read: |config, value| set(&mut config.otlp.takes_metrics, boolean(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_LOGS_ENABLED",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether OTLP logs are taken. Off, since what a function logs is mostly printed too.",
        secret: false,
        read: |config, value| set(&mut config.otlp.takes_logs, boolean(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_TRACES_SPAN_NAME_AS_RESOURCE_NAME",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether the operation of an OTLP span is its name.",
        secret: false,
        read: |config, value| set(&mut config.otlp.traces.span_name_as_resource_name, boolean(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_TRACES_SPAN_NAME_REMAPPINGS",
        aliases: &[],
        default: "none",
        expects: "a JSON object of names",
        doc: "Other names for the operations of OTLP spans: `{\"FROM\":\"TO\"}`.",
        secret: false,
        read: |config, value| {
            let names = serde_json::from_str::<Value>(value).ok();
            let names = names.as_ref().and_then(Value::as_object).and_then(|names| {
                let pair = |(from, to): (&String, &Value)| {
                    Some((from.clone().into(), to.as_str()?.to_owned().into()))
                };
                names.iter().map(pair).collect()
            });
            set(&mut config.otlp.traces.span_name_remappings, names)
        },
    },
    Setting {
        key: "DD_OTLP_CONFIG_TRACES_IGNORE_MISSING_DATADOG_FIELDS",
        aliases: &["DD_OTLP_CONFIG_IGNORE_MISSING_DATADOG_FIELDS"],
        default: "false",
        expects: BOOL,
        doc: "Whether a field of an OTLP span stays empty when no `datadog.…` attribute says it, rather than being derived.",
        secret: false,
        read: |config, value| set(&mut config.otlp.traces.ignore_missing_datadog_fields, boolean(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_TRACES_PROBABILISTIC_SAMPLER_SAMPLING_PERCENTAGE",
        aliases: &[],
        default: "100",
        expects: "a percentage, above 0 to 100",
        doc: "Of 100 OTLP traces that nothing was decided about, how many are kept.",
        secret: false,
        read: |config, value| {
            let percentage =
                value.parse().ok().filter(|percentage| *percentage > 0.0 && *percentage <= 100.0);
            set(&mut config.otlp.traces.sampling_percentage, percentage)
        },
    },
    Setting {
        key: "DD_OTLP_CONFIG_METRICS_RESOURCE_ATTRIBUTES_AS_TAGS",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether OTLP metrics are tagged with all attributes of their resource, beside its service, version and environment.",
        secret: false,
        read: |config, value| set(&mut config.otlp.metrics.resource_attributes_as_tags, boolean(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_METRICS_HISTOGRAMS_MODE",
        aliases: &[],
        default: "distributions",
        expects: "distributions, counters or nobuckets",
        doc: "What OTLP histograms become: `distributions`, a count for each bucket (`counters`), or nothing but aggregations (`nobuckets`).",
        secret: false,
        read: |config, value| {
            let mode = match value {
                "distributions" => Some(Histograms::Distributions),
                "counters" => Some(Histograms::Counters),
                "nobuckets" => Some(Histograms::Nothing),
                _ => None,
            };
            set(&mut config.otlp.points.histograms, mode)
        },
    },
    Setting {
        key: "DD_OTLP_CONFIG_METRICS_HISTOGRAMS_SEND_AGGREGATION_METRICS",
        aliases: &["DD_OTLP_CONFIG_METRICS_HISTOGRAMS_SEND_COUNT_SUM_METRICS"],
        default: "false",
        expects: BOOL,
        doc: "Whether `.count`, `.sum`, `.min` and `.max` of OTLP histograms are metrics of their own too.",
        secret: false,
        read: |config, value| set(&mut config.otlp.points.histogram_aggregations, boolean(value)),
    },
    Setting {
        key: "DD_OTLP_CONFIG_METRICS_SUMS_CUMULATIVE_MONOTONIC_MODE",
        aliases: &[],
        default: "to_delta",
        expects: "to_delta or raw_value",
        doc: "What OTLP sums since a start become: counts of what is new (`to_delta`), or gauges (`raw_value`).",
        secret: false,
        read: |config, value| {
            let raw = ["to_delta", "raw_value"].iter().position(|mode| *mode == value);
            set(&mut config.otlp.points.raw_sums, raw.map(|at| at == 1))
        },
    },
    Setting {
        key: "DD_OTLP_CONFIG_METRICS_SUMS_INITIAL_CUMULATIVE_MONOTONIC_VALUE",
        aliases: &[],
        default: "auto",
        expects: "auto, drop or keep",
        doc: "What the first value of such a sum is: counted (`keep`), not (`drop`), or counted when the sum began after the extension did (`auto`).",
        secret: false,
        read: |config, value| {
            let initial = match value {
                "auto" => Some(Initial::Auto),
                "drop" => Some(Initial::Drop),
                "keep" => Some(Initial::Keep),
                _ => None,
            };
            set(&mut config.otlp.points.initial, initial)
        },
    },
    Setting {
        key: "DD_OTLP_CONFIG_METRICS_SUMMARIES_MODE",
        aliases: &[],
        default: "gauges",
        expects: "gauges or noquantiles",
        doc: "Whether the quantiles of OTLP summaries are sent (`gauges`) or not (`noquantiles`).",
        secret: false,
        read: |config, value| {
            let none = ["gauges", "noquantiles"].iter().position(|mode| *mode == value);
            set(&mut config.otlp.points.quantiles, none.map(|at| at == 0))
        },
    },
    Setting {
        key: "DD_APM_FEATURES",
        aliases: &[],
        default: "none",
        expects: "a list of names",
        doc: "Of the agent's switches: `disable_operation_and_resource_name_logic_v2` (older names of OTLP spans) and `enable_otlp_compute_top_level_by_span_kind`. Others have no effect.",
        secret: false,
        read: |config, value| {
            let has = |name| value.split([',', ' ']).any(|feature| feature.trim() == name);
            config.otlp.traces.first_rules = has("disable_operation_and_resource_name_logic_v2");
            config.otlp.traces.top_level_by_kind = has("enable_otlp_compute_top_level_by_span_kind");
            true
        },
    },
];

/// The port of `host:port`, `:port` or `port`.
fn port(endpoint: &str) -> Option<u16> {
    let digits = endpoint.rsplit(':').next()?.trim_end_matches('/');
    digits.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn endpoints() {
        let check = |endpoint: &str, want: Option<u16>| assert_eq!(port(endpoint), want, "{endpoint}");
        check("0.0.0.0:4318", Some(4318));
        check("localhost:4318", Some(4318));
        check("http://localhost:4318/", Some(4318));
        check("[::1]:4317", Some(4317));
        check(":4318", Some(4318));
        check("4318", Some(4318));
        check("localhost", None);
        check("localhost:", None);
        check("localhost:70000", None);
        check("localhost:0", None);
    }

    #[test]
    fn names_and_features() {
        let read = |name: &str, value: &str| Config::parse(|n| (n == name).then(|| value.to_owned()));
        let names = read("DD_OTLP_CONFIG_TRACES_SPAN_NAME_REMAPPINGS", r#"{"a.b":"c"}"#);
        assert_eq!(names.otlp.traces.span_name_remappings, [("a.b".into(), "c".into())]);
        assert_eq!(read("DD_OTLP_CONFIG_TRACES_SPAN_NAME_REMAPPINGS", r#"{"a":1}"#).problems.len(), 1);
        let features = read("DD_APM_FEATURES", "x, enable_otlp_compute_top_level_by_span_kind").otlp.traces;
        assert_eq!((features.first_rules, features.top_level_by_kind), (false, true));
        assert_eq!(read("DD_OTLP_CONFIG_METRICS_HISTOGRAMS_MODE", "all").problems.len(), 1);
    }
}
