//! The intakes of Datadog: where each signal goes by the settings, and how a batch that one of them finds too
//! large is cut. What they take otherwise is `payload`'s.

use model::{Batch, Signal, TracerPayload};

use crate::address::Address;
use crate::config::Config;

/// The server of a signal, as set or by the site.
pub(crate) fn address(signal: Signal, config: &Config) -> Address {
    let (set, subdomain) = match signal {
        Signal::Traces | Signal::Stats => (&config.traces_url, "trace.agent"),
        Signal::Series | Signal::Sketches => (&config.metrics_url, "api"),
        Signal::Logs if config.pipelines().is_some() => (&config.pipelines_url, ""),
        Signal::Logs => (&config.logs_url, "http-intake.logs"),
        // Each goes to an intake of its own.
        Signal::Forwards => (&None, "api"),
    };
    set.clone().unwrap_or_else(|| {
        let host = format!("{subdomain}.{}", config.site);
        Address::parse(&host).unwrap_or(Address { tls: true, host, port: 443, prefix: String::new() })
    })
}

/// Two batches with half of the elements each; `None` for one element, which cannot be cut.
pub(crate) fn halve(batch: Batch) -> Option<(Batch, Batch)> {
    fn cut<T>(mut all: Vec<T>, wrap: fn(Vec<T>) -> Batch) -> Option<(Batch, Batch)> {
        let rest = (all.len() > 1).then(|| all.split_off(all.len() / 2))?;
        Some((wrap(all), wrap(rest)))
    }
    match batch {
        Batch::Traces(mut all) if all.len() == 1 => {
            let TracerPayload { tracer, runtime_id, env, hostname, app_version, tags, mut chunks } =
                all.pop()?;
            let rest = (chunks.len() > 1).then(|| chunks.split_off(chunks.len() / 2))?;
            let payload =
                TracerPayload { tracer, runtime_id, env, hostname, app_version, tags, chunks: Vec::new() };
            let first = TracerPayload { chunks, ..payload.clone() };
            Some((Batch::Traces(vec![first]), Batch::Traces(vec![TracerPayload { chunks: rest, ..payload }])))
        }
        Batch::Traces(all) => cut(all, Batch::Traces),
        Batch::Series(all) => cut(all, Batch::Series),
        Batch::Sketches(all) => cut(all, Batch::Sketches),
        Batch::Logs(all) => cut(all, Batch::Logs),
        Batch::Stats(all) => cut(all, Batch::Stats),
        Batch::Forwards(all) => cut(all, Batch::Forwards),
    }
}

#[cfg(test)]
mod tests {
    use model::{Series, SeriesKind, TraceChunk};

    use super::*;

    #[test]
    fn addresses() {
        let check = |variables: &[(&str, &str)], want: [&str; 5]| {
            let config =
                Config::parse(|n| variables.iter().find(|(m, _)| *m == n).map(|(_, v)| (*v).to_owned()));
            let fixed = Signal::ALL.into_iter().filter(|signal| *signal != Signal::Forwards);
            let got = fixed.map(|signal| {
                let a = address(signal, &config);
                format!("{}{}", a.authority(), a.prefix)
            });
            assert_eq!(got.collect::<Vec<_>>(), want);
        };
        let api = "api.datadoghq.eu";
        check(
            &[("DD_SITE", "datadoghq.eu")],
            [
                "trace.agent.datadoghq.eu",
                api,
                api,
                "http-intake.logs.datadoghq.eu",
                "trace.agent.datadoghq.eu",
            ],
        );
        check(
            &[
                ("DD_APM_DD_URL", "http://a:1/t"),
                ("DD_DD_URL", "http://b:2"),
                ("DD_LOGS_CONFIG_LOGS_DD_URL", "http://c:3"),
            ],
            ["a:1/t", "b:2", "b:2", "c:3", "a:1/t"],
        );
    }

    #[test]
    fn halves() {
        let series = |n: usize| {
            let one = Series {
                name: "a".into(),
                kind: SeriesKind::Count,
                tags: vec![],
                points: vec![],
                interval_secs: None,
            };
            Batch::Series(vec![one; n])
        };
        assert_eq!(halve(series(3)), Some((series(1), series(2))));
        assert_eq!(halve(series(1)), None);
        let traces = |n: usize| {
            Batch::Traces(vec![TracerPayload {
                chunks: vec![TraceChunk::default(); n],
                ..TracerPayload::default()
            }])
        };
        assert_eq!(halve(traces(5)), Some((traces(2), traces(3))));
        assert_eq!(halve(traces(1)), None);
    }
}
