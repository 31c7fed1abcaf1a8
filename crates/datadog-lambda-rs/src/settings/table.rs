//! The rows: every setting with what reads its value.

use std::time::Duration;

use propagation::Style;
use tracing::level_filters::LevelFilter;

use super::egress::{address, agent_port, agent_socket, agent_url, api_key, no_proxy, port, proxy};
use super::{MAX_DEPTH, MAX_TAGS, Read, Setting, Settings, Unread};
use crate::sampling::Rule;

/// Ordered such that of two settings of one thing the later wins.
pub(super) const TABLE: &[Setting] = &[
    row("DD_TRACE_ENABLED", "true", "Whether spans are made at all.", |s, v| flag(&mut s.tracing, v)),
    row("DD_SERVICE", "the function's name", "The service of the function's own spans.", |s, v| {
        text(&mut s.service, v)
    }),
    row("DD_ENV", "", "The tag `env`.", |s, v| text(&mut s.env, v)),
    row("DD_VERSION", "", "The tag `version`.", |s, v| text(&mut s.version, v)),
    row("DD_LOGS_INJECTION", "true", "Whether log lines carry the ids of trace and span.", |s, v| {
        flag(&mut s.logs_injection, v)
    }),
    row("AWS_LAMBDA_LOG_LEVEL", "INFO", "The least level of log lines.", level),
    row(
        "RUST_LOG",
        "",
        "Levels by target, `warn,my_function=debug`; goes before AWS_LAMBDA_LOG_LEVEL.",
        |s, v| {
            v.parse::<tracing_subscriber::filter::Targets>().map_err(|e| e.to_string())?;
            text(&mut s.log_levels, v)
        },
    ),
    row(
        "DD_TRACE_PROPAGATION_STYLE",
        "datadog,tracecontext,baggage",
        "Header styles read and written.",
        |s, v| styles(&mut s.inject_styles, v).and(styles(&mut s.trigger.extract_styles, v)),
    ),
    row("DD_TRACE_PROPAGATION_STYLE_EXTRACT", "", "Header styles read, in the order of trial.", |s, v| {
        styles(&mut s.trigger.extract_styles, v)
    }),
    row("DD_TRACE_PROPAGATION_STYLE_INJECT", "", "Header styles written.", |s, v| {
        styles(&mut s.inject_styles, v)
    }),
    row(
        "DD_TRACE_PROPAGATION_EXTRACT_FIRST",
        "false",
        "Whether the first style that gives a context has the only word.",
        |s, v| flag(&mut s.trigger.extract_first, v),
    ),
    row(
        "DD_TRACE_PROPAGATION_BEHAVIOR_EXTRACT",
        "continue",
        "What is done with a caller's trace: `continue` it, `restart` with a link to it, or `ignore` it.",
        |s, v| {
            s.trigger.extract_behavior =
                propagation::Behavior::parse(v).ok_or_else(|| format!("{v:?} is not known"))?;
            Ok(())
        },
    ),
    row(
        "DD_TRACE_SAMPLE_RATE",
        "",
        "The share of new traces to keep, 0 to 1. What a caller has decided stays.",
        |s, v| {
            let rate = v.parse().ok().filter(|rate| (0.0..=1.0).contains(rate));
            s.sample_rate = Some(rate.ok_or_else(|| format!("{v:?} is not between 0 and 1"))?);
            Ok(())
        },
    ),
    row(
        "DD_TRACE_SAMPLING_RULES",
        "",
        "Shares by service, name, resource and tags, as JSON: `[{\"resource\":\"health-*\",\"sample_rate\":0.1}]`. The first that fits holds; DD_TRACE_SAMPLE_RATE is the last of them.",
        |s, v| {
            s.sampling_rules = Rule::parse_list(v)?;
            Ok(())
        },
    ),
    row("DD_TRACE_RATE_LIMIT", "100", "Traces per second that rules and rate may keep.", |s, v| {
        let limit = v.parse().ok().filter(|limit: &f64| limit.is_finite() && *limit >= 0.0);
        s.rate_limit = limit.ok_or_else(|| format!("{v:?} is not a rate"))?;
        Ok(())
    }),
    row(
        "DD_TRACE_128_BIT_TRACEID_GENERATION_ENABLED",
        "true",
        "Whether the ids of new traces have 128 bits; else 64.",
        |s, v| flag(&mut s.long_ids, v),
    ),
    row(
        "DD_TRACE_128_BIT_TRACEID_LOGGING_ENABLED",
        "true",
        "Whether log lines carry all 128 bits of a trace id, in hex; else the lower 64, in decimal.",
        |s, v| flag(&mut s.long_ids_logged, v),
    ),
    row(
        "DD_TRACE_X_DATADOG_TAGS_MAX_LENGTH",
        "512",
        "The longest `x-datadog-tags` that is written, 0 to 512; a longer one is left out, and 0 writes none.",
        |s, v| {
            let max = v.parse().ok().filter(|max| *max <= MAX_TAGS);
            s.max_tags = max.ok_or_else(|| format!("{v:?} is not 0 to {MAX_TAGS}"))?;
            Ok(())
        },
    ),
    row(
        "DD_TRACE_PARTIAL_FLUSH_ENABLED",
        "true",
        "Whether an invocation with many spans sends those that are finished before its end.",
        |s, v| flag(&mut s.partial_flush, v),
    ),
    row("DD_TRACE_PARTIAL_FLUSH_MIN_SPANS", "300", "How many finished spans that takes.", |s, v| {
        let spans = v.parse().ok().filter(|spans| *spans > 0);
        s.partial_flush_spans = spans.ok_or_else(|| format!("{v:?} is not a number above 0"))?;
        Ok(())
    }),
    row(
        "DD_UNIVERSAL_INSTRUMENTATION",
        "false",
        "Whether the extension makes the span of the invocation and those of the services before it, of what it is told at its start and end. While it does not answer they are made here.",
        |s, v| flag(&mut s.universal, v),
    ),
    row(
        "DD_LAMBDA_LIFECYCLE_PORT",
        "8124",
        "The port that the extension is told of starts and ends at.",
        |s, v| {
            s.lifecycle_port = port(v)?;
            Ok(())
        },
    ),
    row(
        "DD_DATA_STREAMS_ENABLED",
        "false",
        "Whether checkpoints of Data Streams Monitoring are set: of what an event was taken from, and, with `datadog-aws-sdk`, of what is sent.",
        |s, v| flag(&mut s.data_streams, v),
    ),
    row(
        "DD_DSM_EXCHANGE_NAME",
        "",
        "The event bus that events of EventBridge come by, which they do not tell: a tag of their checkpoints.",
        |s, v| text(&mut s.exchange, v),
    ),
    row(
        "DD_LOG_LEVEL",
        "info",
        "The least level of the library's own log lines; `debug` tells of each send, `off` of nothing.",
        |s, v| {
            s.own_level = own_level(v).ok_or_else(|| format!("{v:?} is not a level"))?;
            Ok(())
        },
    ),
    row(
        "DD_MERGE_XRAY_TRACES",
        "false",
        "Whether the trace is put together with that of X-Ray's active tracing.",
        |s, v| flag(&mut s.merge_xray, v),
    ),
    row(
        "DD_DECODE_AUTHORIZER_CONTEXT",
        "true",
        "Whether the context that a Lambda authorizer left is used.",
        |s, v| flag(&mut s.trigger.decode_authorizer, v),
    ),
    row(
        "DD_ENCODE_AUTHORIZER_CONTEXT",
        "true",
        "Whether a Lambda authorizer's policy gets the context for the function behind it.",
        |s, v| flag(&mut s.encode_authorizer, v),
    ),
    row(
        "DD_TRACE_AWS_ADD_SPAN_POINTERS",
        "true",
        "Whether the span links to the objects and items that its event is about.",
        |s, v| flag(&mut s.trigger.span_pointers, v),
    ),
    row(
        "DD_CAPTURE_LAMBDA_PAYLOAD",
        "false",
        "Whether event and response become tags of the span. Values under keys like `password` or `token` do not.",
        |s, v| flag(&mut s.capture_payload, v),
    ),
    row("DD_CAPTURE_LAMBDA_PAYLOAD_MAX_DEPTH", "10", "How deep; what is below is text.", |s, v| {
        s.capture_depth = v
            .parse()
            .ok()
            .filter(|depth| *depth <= MAX_DEPTH)
            .ok_or_else(|| format!("{v:?} is not 0 to {MAX_DEPTH}"))?;
        Ok(())
    }),
    row(
        "DD_APM_FLUSH_DEADLINE_MILLISECONDS",
        "100",
        "How long before the deadline a running invocation is sent as timed out.",
        |s, v| {
            s.flush_deadline = Duration::from_millis(
                v.parse().map_err(|_| format!("{v:?} is not a number of milliseconds"))?,
            );
            Ok(())
        },
    ),
    row("DD_TAGS", "", "Tags of all spans where no extension adds them, `key:value,…`.", |s, v| {
        let fits = |key: &str, value: &str| !key.is_empty() && !value.is_empty();
        let (pairs, others) = pairs(v, &[',', ' '], fits);
        s.tags = pairs;
        rest_of(others, "is not key:value")
    }),
    row("DD_SERVICE_MAPPING", "", "New names for inferred services, `key:value,…`.", |s, v| {
        s.trigger.service_mapping = trigger::ServiceMapping::parse(v);
        let names = |from: &str, to: &str| ![from, to].contains(&"") && from != to && !to.contains(':');
        rest_of(pairs(v, &[','], names).1, "gives no service a new name")
    }),
    row("DD_TRACE_MANAGED_SERVICES", "true", "Whether spans of managed services are inferred.", |s, v| {
        flag(&mut s.trigger.managed_services, v)
    }),
    row(
        "DD_TRACE_AWS_SERVICE_REPRESENTATION_ENABLED",
        "true",
        "Whether services are named by instance.",
        |s, v| flag(&mut s.trigger.service_representation, v),
    ),
    row("DD_COLD_START_TRACING", "true", "Whether the first invocation has a span of the start.", |s, v| {
        flag(&mut s.cold_start_tracing, v)
    }),
    row(
        "DD_MIN_COLD_START_DURATION",
        "3",
        "Milliseconds that a marked phase of the start takes at least to become a span.",
        |s, v| {
            s.min_phase = Duration::from_millis(
                v.parse().map_err(|_| format!("{v:?} is not a number of milliseconds"))?,
            );
            Ok(())
        },
    ),
    row(
        "DD_ENHANCED_METRICS",
        "true",
        "Whether invocations and errors are counted without extension.",
        |s, v| flag(&mut s.enhanced_metrics, v),
    ),
    row("DD_APM_RECEIVER_PORT", "8126", "The port that the extension takes traces at.", agent_port),
    row(
        "DD_APM_RECEIVER_SOCKET",
        "",
        "A Unix socket that the extension takes traces at; goes before its port.",
        agent_socket,
    ),
    row(
        "DD_TRACE_AGENT_PORT",
        "8126",
        "The same as DD_APM_RECEIVER_PORT; goes before it and the socket.",
        agent_port,
    ),
    row(
        "DD_TRACE_AGENT_URL",
        "",
        "`http://host:port` or `unix:///path`; goes before all of these.",
        agent_url,
    ),
    row(
        "DD_FLUSH_TO_LOG",
        "false",
        "Whether all is printed for the Datadog Forwarder, even where there is an extension.",
        |s, v| flag(&mut s.flush_to_log, v),
    ),
    row("DD_DOGSTATSD_PORT", "8125", "The port that the extension takes metrics at.", |s, v| {
        s.statsd_port = port(v)?;
        Ok(())
    }),
    row(
        "DD_SITE",
        "datadoghq.com",
        "The Datadog site that metrics go to where there is no extension.",
        |s, v| {
            let is_domain = v.chars().all(|c| c.is_ascii_alphanumeric() || "._:-".contains(c));
            if !is_domain {
                return Err(format!("{v:?} is not a domain").into());
            }
            word(&mut s.site, v)
        },
    ),
    row("DD_URL", "", "Where metrics go then, instead of `https://api.SITE`.", |s, v| {
        address(&mut s.metrics_url, v)
    }),
    row("DD_DD_URL", "", "The same; goes before it.", |s, v| address(&mut s.metrics_url, v)),
    row(
        "DD_TLS_CERT_FILE",
        "",
        "A PEM file of certificate authorities to trust beside the usual ones then.",
        |s, v| text(&mut s.tls_cert_file, v),
    ),
    row("https_proxy", "", "The same as HTTPS_PROXY, which goes before it.", proxy),
    row("HTTPS_PROXY", "", "The same as DD_PROXY_HTTPS, which goes before it.", proxy),
    row(
        "DD_PROXY_HTTPS",
        "",
        "The proxy that https connections go over then, those for the key too: `http://user:password@host:port`.",
        proxy,
    ),
    row("no_proxy", "", "The same as DD_PROXY_NO_PROXY; all that are set count.", no_proxy),
    row("NO_PROXY", "", "The same as DD_PROXY_NO_PROXY; all that are set count.", no_proxy),
    row(
        "DD_PROXY_NO_PROXY",
        "",
        "Domains, addresses and networks that are reached without the proxy, separated by commas.",
        no_proxy,
    ),
    row("DATADOG_API_KEY", "", "The same as DD_API_KEY, which goes before it.", api_key),
    row(
        "DD_API_KEY",
        "",
        "The API key. With a key, without an extension and with the feature `api-metrics` the metrics of the handler go straight to Datadog; without one they are printed for the Datadog Forwarder.",
        api_key,
    ),
    row(
        "DD_KMS_API_KEY",
        "",
        "The key as KMS has encrypted it, in base64, without an encryption context or with `LambdaFunctionName`; goes before DD_API_KEY.",
        |s, v| {
            if !secrets::is_ciphertext(v) {
                return Err("the value is not base64".to_owned().into());
            }
            text(&mut s.keys.ciphertext, v)
        },
    ),
    row("DD_API_KEY_SSM_ARN", "", "The same as DD_API_KEY_SSM_NAME.", |s, v| text(&mut s.keys.parameter, v)),
    row(
        "DD_API_KEY_SSM_NAME",
        "",
        "A parameter of Parameter Store that holds the key, by name or ARN; goes before DD_KMS_API_KEY.",
        |s, v| text(&mut s.keys.parameter, v),
    ),
    row(
        "DD_API_KEY_SECRET_ARN",
        "",
        "A secret of Secrets Manager that holds the key, alone or as `dd_api_key` of a JSON object; goes before all of these. One that fails is reported, and the next is tried.",
        |s, v| text(&mut s.keys.secret, v),
    ),
    row(
        "DD_LAMBDA_FIPS_MODE",
        "true in GovCloud, else false",
        "Whether nothing may leave but by validated cryptography: metrics are then printed for the Datadog Forwarder.",
        |s, v| {
            let mut fips = false;
            flag(&mut fips, v)?;
            s.keys.fips = Some(fips);
            Ok(())
        },
    ),
    row("AWS_ACCESS_KEY_ID", "", CREDENTIALS, |s, v| word(&mut s.keys.credentials.access_key_id, v)),
    row("AWS_SECRET_ACCESS_KEY", "", CREDENTIALS, |s, v| word(&mut s.keys.credentials.secret_access_key, v)),
    row("AWS_SESSION_TOKEN", "", CREDENTIALS, |s, v| word(&mut s.keys.credentials.session_token, v)),
    row("AWS_CONTAINER_CREDENTIALS_FULL_URI", "", CREDENTIALS, |s, v| {
        address(&mut s.keys.credentials.uri, v)
    }),
    row("AWS_CONTAINER_AUTHORIZATION_TOKEN", "", CREDENTIALS, |s, v| {
        word(&mut s.keys.credentials.uri_token, v)
    }),
    row("AWS_ENDPOINT_URL", "", "Where AWS's services are that are asked for the key.", |s, v| {
        address(&mut s.keys.endpoints.all, v)
    }),
    row("AWS_ENDPOINT_URL_SECRETS_MANAGER", "", "Where Secrets Manager is.", |s, v| {
        address(&mut s.keys.endpoints.secrets_manager, v)
    }),
    row("AWS_ENDPOINT_URL_SSM", "", "Where Parameter Store is.", |s, v| {
        address(&mut s.keys.endpoints.ssm, v)
    }),
    row("AWS_ENDPOINT_URL_KMS", "", "Where KMS is.", |s, v| address(&mut s.keys.endpoints.kms, v)),
    row("AWS_LAMBDA_FUNCTION_NAME", "", "Set by Lambda.", |s, v| word(&mut s.function_name, v)),
    row("AWS_LAMBDA_FUNCTION_VERSION", "", "Set by Lambda.", |s, v| word(&mut s.function_version, v)),
    row("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "", "Set by Lambda.", |s, v| word(&mut s.memory_size, v)),
    row("AWS_LAMBDA_INITIALIZATION_TYPE", "", "Set by Lambda.", |s, v| word(&mut s.initialization_type, v)),
    row("AWS_REGION", "", "Set by Lambda.", |s, v| word(&mut s.region, v)),
    row("AWS_LAMBDA_RUNTIME_API", "", "Set by Lambda. Requests to it are not traced.", |s, v| {
        word(&mut s.runtime_api, v)
    }),
    row("AWS_XRAY_DAEMON_ADDRESS", "", "Set by Lambda: where X-Ray is told of merged traces.", |s, v| {
        s.xray_daemon = Some(v.parse().map_err(|_| format!("{v:?} is not address:port"))?);
        Ok(())
    }),
];

const CREDENTIALS: &str = "Set by Lambda: who the function's role is to AWS, where the key is asked for.";

const fn row(
    key: &'static str,
    default: &'static str,
    doc: &'static str,
    read: fn(&mut Settings, &str) -> Read,
) -> Setting {
    Setting { key, default, doc, read }
}

/// `true` and `1`, `false` and `0`, in any case, as Datadog's tracers take them.
fn flag(to: &mut bool, value: &str) -> Read {
    *to = match value {
        "1" => true,
        "0" => false,
        v if v.eq_ignore_ascii_case("true") => true,
        v if v.eq_ignore_ascii_case("false") => false,
        other => return Err(format!("{other:?} is neither true nor false").into()),
    };
    Ok(())
}

fn text(to: &mut Option<String>, value: &str) -> Read {
    *to = Some(value.to_owned());
    Ok(())
}

/// What is `key:value` of a list and fits, and what else is in it.
fn pairs<'a>(
    text: &'a str,
    between: &[char],
    fits: impl Fn(&str, &str) -> bool,
) -> (Vec<(String, String)>, Vec<&'a str>) {
    let (mut pairs, mut others) = (Vec::new(), Vec::new());
    for one in text.split(between).map(str::trim).filter(|one| !one.is_empty()) {
        match one.split_once(':').map(|(key, value)| (key.trim(), value.trim())) {
            Some((key, value)) if fits(key, value) => pairs.push((key.to_owned(), value.to_owned())),
            _ => others.push(one),
        }
    }
    (pairs, others)
}

/// Of a list what cannot be used is told, and the rest of it counts.
fn rest_of(others: Vec<&str>, what: &str) -> Read {
    let Some(first) = others.first() else { return Ok(()) };
    let more = if others.len() > 1 { format!(", and {} more", others.len() - 1) } else { String::new() };
    Err(Unread { reason: format!("{first:?} {what}{more}"), in_part: true })
}

fn word(to: &mut String, value: &str) -> Read {
    value.clone_into(to);
    Ok(())
}

fn level(settings: &mut Settings, value: &str) -> Read {
    // Lambda knows FATAL, tracing does not.
    let level = if value.eq_ignore_ascii_case("fatal") { "error" } else { value };
    level.parse::<LevelFilter>().map_err(|_| format!("{value:?} is not a level"))?;
    text(&mut settings.log_levels, &level.to_ascii_lowercase())
}

/// The words of Datadog's tracers and of the extension.
fn own_level(value: &str) -> Option<LevelFilter> {
    match value.to_ascii_lowercase().as_str() {
        "critical" | "fatal" => Some(LevelFilter::ERROR),
        "warning" => Some(LevelFilter::WARN),
        word => word.parse().ok().filter(|_| !word.bytes().all(|b| b.is_ascii_digit())),
    }
}

/// Names that are not known are reported; those that are known count.
fn styles(to: &mut Vec<Style>, value: &str) -> Read {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match Style::parse(name) {
            Some(style) if !known.contains(&style) => known.push(style),
            Some(_) => {}
            None if name.eq_ignore_ascii_case("none") => {}
            None => unknown.push(name),
        }
    }
    if known.is_empty() && !unknown.is_empty() {
        return Err(format!("{value:?} names no known style").into());
    }
    *to = known;
    rest_of(unknown, "is no known style")
}
