//! The settings of the way out: proxy, TLS, and further places that data goes to. One row each, as in the table of
//! `settings`.

use secrets::{ApiKey, Proxy};
use serde_json::{Map, Value};

use super::{ADDRESS, AS_ALL, BOOL, PROXY, Setting, address, boolean, maybe, set};
use crate::address::Address;
use crate::config::{Config, Problem, Target, shorten};
use crate::egress::Protocol;
use crate::tls::MinTls;

/// One signal goes to so many further places at most.
const MAX_TARGETS: usize = 8;
const LEVEL: &str = "a level of zstd, 1 to 22";
const EXCEPTIONS: &str = "domains, addresses or networks, separated by commas";
const ENDPOINTS: &str = "a JSON object of addresses, each with a list of API keys";
const LOG_ENDPOINTS: &str = "a JSON array of objects with api_key, Host and Port";

/// In the order of the page.
pub(super) const TABLE: &[Setting] = &[
    Setting {
        key: "DD_PROXY_HTTPS",
        aliases: &["HTTPS_PROXY", "https_proxy"],
        default: "none",
        expects: PROXY,
        doc: "The proxy that all https connections go over, those for the key too: `http://user:password@host:port`, also \
              with `https`. Connections to http addresses and to this machine are made directly.",
        secret: false,
        read: |config, value| maybe(&mut config.proxy, Proxy::parse(value)),
    },
    Setting {
        key: "DD_PROXY_NO_PROXY",
        aliases: &[],
        default: "none",
        expects: EXCEPTIONS,
        doc: "What is reached without the proxy: domains with all below them, addresses, networks (`10.0.0.0/8`), each with a \
              port if only that is meant (`datadoghq.eu:443`), or `*`. Separated by commas or blanks. Names are not looked \
              up: a network stands for what is set as an address.",
        secret: false,
        read: |config, value| exceptions(config, "DD_PROXY_NO_PROXY", value),
    },
    Setting {
        key: "NO_PROXY",
        aliases: &["no_proxy"],
        default: "none",
        expects: EXCEPTIONS,
        doc: "The same, beside what `DD_PROXY_NO_PROXY` says.",
        secret: false,
        read: |config, value| exceptions(config, "NO_PROXY", value),
    },
    Setting {
        key: "DD_TLS_CERT_FILE",
        aliases: &[],
        default: "none",
        expects: "an absolute path",
        doc: "A PEM file of certificate authorities to trust beside the usual ones, as for a proxy of one's own.",
        secret: false,
        read: |config, value| maybe(&mut config.tls_cert_file, value.starts_with('/').then(|| value.into())),
    },
    Setting {
        key: "DD_SKIP_SSL_VALIDATION",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether the certificates of intakes are taken unseen. Those of servers that give the key are always checked. \
              `DD_TLS_CERT_FILE` is the safe way to the same end.",
        secret: false,
        read: |config, value| set(&mut config.skip_ssl_validation, boolean(value)),
    },
    Setting {
        key: "DD_MIN_TLS_VERSION",
        aliases: &[],
        default: "tlsv1.2",
        expects: "one of tlsv1.2, tlsv1.3",
        doc: "The lowest version of TLS that is spoken: `tlsv1.2` or `tlsv1.3`. Older ones never are.",
        secret: false,
        read: |config, value| {
            let known = match value.to_ascii_lowercase().as_str() {
                "tlsv1.2" => Some(MinTls::V12),
                "tlsv1.3" => Some(MinTls::V13),
                _ => None,
            };
            set(&mut config.min_tls_version, known)
        },
    },
    Setting {
        key: "DD_HTTP_PROTOCOL",
        aliases: &[],
        default: "http1",
        expects: "one of auto, http1, http2",
        doc: "The version of HTTP that intakes are spoken to in. `auto`: HTTP/2 where the server takes it, which it says with \
              TLS, also through a proxy; HTTP/1.1 elsewhere. `http2`: the same, and `http` addresses too, which have to \
              speak it; a server that does not is told of, and spoken to in HTTP/1.1. Lambda, and whoever gives the key, are \
              always asked over HTTP/1.1.",
        secret: false,
        read: |config, value| {
            let known = match value.to_ascii_lowercase().as_str() {
                "auto" => Some(Protocol::Auto),
                "http1" => Some(Protocol::Http1),
                "http2" => Some(Protocol::Http2),
                _ => None,
            };
            set(&mut config.http_protocol, known)
        },
    },
    Setting {
        key: "DD_ADDITIONAL_ENDPOINTS",
        aliases: &[],
        default: "none",
        expects: ENDPOINTS,
        doc: "Where metrics go too: `{\"https://api.datadoghq.eu\": [\"<key>\"]}`. So for all additional endpoints: each gets a \
              copy, also while the main intake is down, with the keys that stand here; one that fails holds back \
              nothing else.",
        secret: true,
        read: |config, value| {
            let targets = endpoints(config, "DD_ADDITIONAL_ENDPOINTS", value);
            set(&mut config.additional.metrics, targets)
        },
    },
    Setting {
        key: "DD_APM_ADDITIONAL_ENDPOINTS",
        aliases: &[],
        default: "none",
        expects: ENDPOINTS,
        doc: "Where traces and their statistics go too: `{\"https://trace.agent.datadoghq.eu\": [\"<key>\"]}`.",
        secret: true,
        read: |config, value| {
            let targets = endpoints(config, "DD_APM_ADDITIONAL_ENDPOINTS", value);
            set(&mut config.additional.traces, targets)
        },
    },
    Setting {
        key: "DD_APM_PROFILING_ADDITIONAL_ENDPOINTS",
        aliases: &[],
        default: "none",
        expects: ENDPOINTS,
        doc: "Where profiles go too: `{\"https://intake.profile.datadoghq.eu\": [\"<key>\"]}`.",
        secret: true,
        read: |config, value| {
            let targets = endpoints(config, "DD_APM_PROFILING_ADDITIONAL_ENDPOINTS", value);
            set(&mut config.additional.profiling, targets)
        },
    },
    Setting {
        key: "DD_APM_DEBUGGER_ADDITIONAL_ENDPOINTS",
        aliases: &[],
        default: "none",
        expects: ENDPOINTS,
        doc: "Where what the debugger found goes too: `{\"https://http-intake.logs.datadoghq.eu\": [\"<key>\"]}`.",
        secret: true,
        read: |config, value| {
            let targets = endpoints(config, "DD_APM_DEBUGGER_ADDITIONAL_ENDPOINTS", value);
            set(&mut config.additional.debugger, targets)
        },
    },
    Setting {
        key: "DD_APM_DEBUGGER_DIAGNOSTICS_ADDITIONAL_ENDPOINTS",
        aliases: &[],
        default: "none",
        expects: ENDPOINTS,
        doc: "Where what the debugger says of itself goes too: `{\"https://debugger-intake.datadoghq.eu\": [\"<key>\"]}`.",
        secret: true,
        read: |config, value| {
            let targets = endpoints(config, "DD_APM_DEBUGGER_DIAGNOSTICS_ADDITIONAL_ENDPOINTS", value);
            set(&mut config.additional.debugger_diagnostics, targets)
        },
    },
    Setting {
        key: "DD_APM_TELEMETRY_ADDITIONAL_ENDPOINTS",
        aliases: &[],
        default: "none",
        expects: ENDPOINTS,
        doc: "Where tracers' telemetry of themselves goes too: `{\"https://instrumentation-telemetry-intake.datadoghq.eu\": \
              [\"<key>\"]}`.",
        secret: true,
        read: |config, value| {
            let targets = endpoints(config, "DD_APM_TELEMETRY_ADDITIONAL_ENDPOINTS", value);
            set(&mut config.additional.telemetry, targets)
        },
    },
    Setting {
        key: "DD_EVP_PROXY_CONFIG_ADDITIONAL_ENDPOINTS",
        aliases: &[],
        default: "none",
        expects: ENDPOINTS,
        doc: "Where what tracers send to `/evp_proxy/` goes too: sites, `{\"datadoghq.eu\": [\"<key>\"]}`, before which the name of \
              the intake is put, or whole addresses, with `https://`.",
        secret: true,
        read: evp_endpoints,
    },
    Setting {
        key: "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS",
        aliases: &[],
        default: "none",
        expects: LOG_ENDPOINTS,
        doc: "Where logs go too: `[{\"api_key\": \"<key>\", \"Host\": \"http-intake.logs.datadoghq.eu\", \"Port\": 443}]`, over \
              https unless `Host` begins with `http://`.",
        secret: true,
        read: |config, value| {
            let targets = log_endpoints(config, value);
            set(&mut config.additional.logs, targets)
        },
    },
    Setting {
        key: "DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_ENABLED",
        aliases: &[],
        default: "false",
        expects: BOOL,
        doc: "Whether logs go to a worker of Observability Pipelines instead: as plain JSON, not compressed.",
        secret: false,
        read: |config, value| set(&mut config.pipelines_enabled, boolean(value)),
    },
    Setting {
        key: "DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_URL",
        aliases: &[],
        default: "none",
        expects: ADDRESS,
        doc: "The whole address of that worker, path and all.",
        secret: false,
        read: |config, value| address(&mut config.pipelines_url, value),
    },
    Setting {
        key: "DD_LOGS_CONFIG_USE_COMPRESSION",
        aliases: &[],
        default: "true",
        expects: BOOL,
        doc: "Whether logs are compressed on their way.",
        secret: false,
        read: |config, value| set(&mut config.logs_compression, boolean(value)),
    },
    Setting {
        key: "DD_COMPRESSION_LEVEL",
        aliases: &[],
        default: "1",
        expects: LEVEL,
        doc: "How hard data is compressed, with zstd: 1, the fastest, to 22. A higher level saves a few per cent for many times the \
              work, and takes memory.",
        secret: false,
        read: |config, value| set(&mut config.compression.all, level(value)),
    },
    Setting {
        key: "DD_APM_CONFIG_COMPRESSION_LEVEL",
        aliases: &[],
        default: AS_ALL,
        expects: LEVEL,
        doc: "The same for traces alone.",
        secret: false,
        read: |config, value| maybe(&mut config.compression.traces, level(value)),
    },
    Setting {
        key: "DD_METRICS_CONFIG_COMPRESSION_LEVEL",
        aliases: &[],
        default: AS_ALL,
        expects: LEVEL,
        doc: "The same for metrics alone.",
        secret: false,
        read: |config, value| maybe(&mut config.compression.metrics, level(value)),
    },
    Setting {
        key: "DD_LOGS_CONFIG_COMPRESSION_LEVEL",
        aliases: &[],
        default: AS_ALL,
        expects: LEVEL,
        doc: "The same for logs alone.",
        secret: false,
        read: |config, value| maybe(&mut config.compression.logs, level(value)),
    },
];

/// Keeps what can be used and tells of the rest.
fn level(value: &str) -> Option<i32> {
    value.parse().ok().filter(|level| (1..=22).contains(level))
}

fn exceptions(config: &mut Config, name: &str, list: &str) -> bool {
    for bad in config.no_proxy.add(list) {
        config.problems.push(Problem {
            name: name.to_owned(),
            value: Some(shorten(bad)),
            expects: "a domain, an address or a network",
            instead: "what else is in the list is reached without the proxy".to_owned(),
        });
    }
    true
}

/// `{address: [key, …], …}`
fn endpoints(config: &mut Config, name: &str, value: &str) -> Option<Vec<Target>> {
    let Ok(Value::Object(all)) = serde_json::from_str(value) else { return None };
    let mut targets = Vec::new();
    for (url, keys) in all {
        let keys = match keys {
            Value::Array(keys) => keys,
            key => vec![key],
        };
        for key in keys {
            target(config, name, &mut targets, Address::parse(&url), &url, &key);
        }
    }
    Some(targets)
}

/// The same, of addresses and sites.
fn evp_endpoints(config: &mut Config, value: &str) -> bool {
    let Ok(Value::Object(all)) = serde_json::from_str(value) else { return false };
    let (addresses, sites): (Map<_, _>, Map<_, _>) =
        all.into_iter().partition(|(url, _)| url.contains("://"));
    let mut read = |all: Map<String, Value>| {
        let name = "DD_EVP_PROXY_CONFIG_ADDITIONAL_ENDPOINTS";
        endpoints(config, name, &Value::from(all).to_string()).unwrap_or_default()
    };
    let (evp, evp_sites) = (read(addresses), read(sites));
    (config.additional.evp, config.additional.evp_sites) = (evp, evp_sites);
    true
}

/// `[{"api_key": …, "Host": …, "Port": …}, …]`, names in any case.
fn log_endpoints(config: &mut Config, value: &str) -> Option<Vec<Target>> {
    let Ok(Value::Array(all)) = serde_json::from_str(value) else { return None };
    let mut targets = Vec::new();
    for one in all {
        let field = |name: &str| {
            let fields = one.as_object().into_iter().flatten();
            fields.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let host = field("host").and_then(Value::as_str).unwrap_or_default();
        let port = match field("port") {
            Some(Value::Number(port)) => Some(port.to_string()),
            Some(Value::String(port)) => Some(port.clone()),
            _ => None,
        };
        let url = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let key = field("api_key").cloned().unwrap_or_default();
        let name = "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS";
        target(config, name, &mut targets, Address::parse(&url), &url, &key);
    }
    Some(targets)
}

/// Keeps one, or tells what is wrong with it; a key is never printed.
fn target(
    config: &mut Config,
    name: &str,
    targets: &mut Vec<Target>,
    address: Option<Address>,
    url: &str,
    key: &Value,
) {
    let key = key.as_str().and_then(ApiKey::new);
    let expects = match (address, key) {
        (Some(address), Some(key)) if targets.len() < MAX_TARGETS => {
            return targets.push(Target { address, key });
        }
        (Some(_), Some(_)) => "one of the first eight endpoints",
        (Some(_), None) => "an address with a key of printable characters",
        (None, _) => ADDRESS,
    };
    config.problems.push(Problem {
        name: name.to_owned(),
        value: (!url.contains('@')).then(|| shorten(url)),
        expects,
        instead: "the other endpoints are used".to_owned(),
    });
}

#[cfg(test)]
mod tests {
    use model::Signal;

    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Config {
        Config::parse(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    fn problems(config: &Config) -> Vec<String> {
        config.problems.iter().map(ToString::to_string).collect()
    }

    /// What is said of one signal goes before what is said of all.
    #[test]
    fn levels_of_compression() {
        let check = |variables: &[(&str, &str)], want: [i32; 3], problems: usize| {
            let config = parse(variables);
            let signals = [Signal::Traces, Signal::Sketches, Signal::Logs];
            let levels = signals.map(|signal| config.compression.of(signal));
            assert_eq!((levels, config.problems.len()), (want, problems), "{variables:?}");
        };
        check(&[], [1, 1, 1], 0);
        check(&[("DD_COMPRESSION_LEVEL", "6")], [6, 6, 6], 0);
        check(&[("DD_COMPRESSION_LEVEL", "6"), ("DD_METRICS_CONFIG_COMPRESSION_LEVEL", "2")], [6, 2, 6], 0);
        check(
            &[("DD_APM_CONFIG_COMPRESSION_LEVEL", "22"), ("DD_LOGS_CONFIG_COMPRESSION_LEVEL", "0")],
            [22, 1, 1],
            1,
        );
        check(&[("DD_COMPRESSION_LEVEL", "23")], [1, 1, 1], 1);
    }

    #[test]
    fn proxies() {
        let host = |variables: &[(&str, &str)]| parse(variables).proxy.map(|proxy| proxy.base.authority());
        assert_eq!(host(&[]), None);
        assert_eq!(host(&[("https_proxy", "http://a:1")]).as_deref(), Some("a:1"));
        assert_eq!(host(&[("HTTPS_PROXY", "b:2"), ("https_proxy", "a:1")]).as_deref(), Some("b:2"));
        assert_eq!(host(&[("DD_PROXY_HTTPS", "c"), ("HTTPS_PROXY", "b")]).as_deref(), Some("c"));
        let bad = parse(&[("HTTPS_PROXY", "socks5://me:secret@x")]);
        assert_eq!(
            problems(&bad),
            ["HTTPS_PROXY: the value is not the address of an HTTP proxy; none is used"]
        );
    }

    #[test]
    fn exceptions_add_up_and_bad_ones_are_told() {
        let config = parse(&[("DD_PROXY_NO_PROXY", "a.b 10.0.0.0/99"), ("NO_PROXY", "c.d,10.0.0.0/8")]);
        for host in ["a.b", "x.c.d", "10.1.1.1"] {
            assert!(config.no_proxy.has(host, 443), "{host}");
        }
        assert_eq!(
            problems(&config),
            [
                "DD_PROXY_NO_PROXY: \"10.0.0.0/99\" is not a domain, an address or a network; what else is in the list is \
              reached without the proxy"
            ]
        );
    }

    #[test]
    fn protocols() {
        assert_eq!(parse(&[("DD_MIN_TLS_VERSION", "TLSv1.3")]).min_tls_version, MinTls::V13);
        assert_eq!(parse(&[("DD_HTTP_PROTOCOL", "HTTP1")]), Config::default());
        assert_eq!(parse(&[("DD_HTTP_PROTOCOL", "auto")]).http_protocol, Protocol::Auto);
        assert_eq!(parse(&[("DD_HTTP_PROTOCOL", "http2")]).http_protocol, Protocol::Http2);
        let bad = parse(&[("DD_MIN_TLS_VERSION", "tlsv1.1"), ("DD_HTTP_PROTOCOL", "http3")]);
        assert_eq!(
            problems(&bad),
            [
                "DD_MIN_TLS_VERSION: \"tlsv1.1\" is not one of tlsv1.2, tlsv1.3; tlsv1.2 is used",
                "DD_HTTP_PROTOCOL: \"http3\" is not one of auto, http1, http2; http1 is used"
            ]
        );
    }

    #[test]
    fn further_places() {
        let show = |targets: &[Target]| -> Vec<String> {
            let mut all: Vec<_> =
                targets.iter().map(|t| format!("{} {}", t.address.authority(), t.key.as_str())).collect();
            all.sort_unstable();
            all
        };
        let config = parse(&[
            ("DD_ADDITIONAL_ENDPOINTS", r#"{"https://api.a.eu": ["k1", "k2\n"], "b:8": "k3"}"#),
            ("DD_APM_ADDITIONAL_ENDPOINTS", r#"{"https://t.a.eu": ["k4"]}"#),
            (
                "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS",
                r#"[{"api_key":"k5","Host":"l.eu","Port":443,"is_reliable":true},{"api_key":"k6","host":"http://m","port":"80"},
                    {"api_key":"k7","host":"n"}]"#,
            ),
        ]);
        assert_eq!(problems(&config), [""; 0]);
        assert_eq!(show(&config.additional.metrics), ["api.a.eu k1", "api.a.eu k2", "b:8 k3"]);
        assert_eq!(show(&config.additional.traces), ["t.a.eu k4"]);
        assert_eq!(show(&config.additional.logs), ["l.eu k5", "m k6", "n k7"]);
        assert!(!format!("{config:?}").contains("k5"));
    }

    #[test]
    fn further_places_that_cannot_be_used_are_told_without_their_keys() {
        let config = parse(&[
            ("DD_ADDITIONAL_ENDPOINTS", r#"{"ftp://a": ["secret"], "https://b": [7, "good"]}"#),
            ("DD_APM_ADDITIONAL_ENDPOINTS", "secret"),
            ("DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS", r#"[{"api_key":"secret"}]"#),
        ]);
        let told = problems(&config);
        assert_eq!(
            told,
            [
                "DD_ADDITIONAL_ENDPOINTS: \"ftp://a\" is not an http or https address; the other endpoints are used",
                "DD_ADDITIONAL_ENDPOINTS: \"https://b\" is not an address with a key of printable characters; the other endpoints are used",
                "DD_APM_ADDITIONAL_ENDPOINTS: the value is not a JSON object of addresses, each with a list of API keys; \
                 none is used",
                "DD_LOGS_CONFIG_ADDITIONAL_ENDPOINTS: \"\" is not an http or https address; the other endpoints are used",
            ]
        );
        assert_eq!(config.additional.metrics.len(), 1);
    }

    #[test]
    fn a_worker_without_an_address_is_told() {
        let config = parse(&[("DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_ENABLED", "true")]);
        assert_eq!(problems(&config).len(), 1, "{:?}", config.problems);
        let url = ("DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_URL", "http://worker:8282/in");
        let config = parse(&[("DD_OBSERVABILITY_PIPELINES_WORKER_LOGS_ENABLED", "true"), url]);
        assert_eq!(problems(&config).len(), 0);
        assert_eq!(config.pipelines().map(|worker| worker.prefix.as_str()), Some("/in"));
        assert_eq!(parse(&[url]).pipelines(), None);
    }
}
