//! What Datadog takes besides what its agent sends: the older metric and log intakes, events, service checks, and the
//! check of a key. Libraries send there themselves.
//! <https://docs.datadoghq.com/api/latest/metrics/>, <https://docs.datadoghq.com/api/latest/authentication/>

use axum::http::{Method, StatusCode};
use model::{Batch, Series, SeriesKind, Sketch, SketchSeries, Text, UnixNanos};
use serde_json::Value;

/// One of the other endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    Validate,
    Series,
    Distributions,
    Events,
    Checks,
    Logs,
}

impl Other {
    pub(crate) fn find(method: &Method, path: &str) -> Option<Self> {
        match (method.as_str(), path) {
            ("GET", "/api/v1/validate") => Some(Self::Validate),
            ("POST", "/api/v1/series") => Some(Self::Series),
            ("POST", "/api/v1/distribution_points") => Some(Self::Distributions),
            ("POST", payload::events::EVENTS_PATH) => Some(Self::Events),
            ("POST", payload::events::CHECKS_PATH) => Some(Self::Checks),
            ("POST", path) if path == "/v1/input" || path.starts_with("/v1/input/") => Some(Self::Logs),
            _ => None,
        }
    }

    /// The older log intake may have the key in its path.
    pub(crate) fn has_key(self, path: &str) -> bool {
        self == Self::Logs && path.strip_prefix("/v1/input/").is_some_and(|key| !key.is_empty())
    }

    /// Status and body of a request that was taken.
    pub(crate) fn taken(self) -> (StatusCode, &'static str) {
        match self {
            Self::Validate => (StatusCode::OK, r#"{"valid":true}"#),
            Self::Logs => (StatusCode::OK, "{}"),
            Self::Series | Self::Distributions | Self::Events | Self::Checks => {
                (StatusCode::ACCEPTED, r#"{"status":"ok"}"#)
            }
        }
    }

    /// What is in an unpacked body. Events and service checks are looked at, and kept as the requests that they are.
    pub(crate) fn decode(self, plain: &[u8]) -> Result<Option<Batch>, String> {
        if self == Self::Validate {
            return Ok(None);
        }
        if self == Self::Logs {
            return payload::decode(model::Signal::Logs, plain).map(Some).map_err(|why| why.to_string());
        }
        let body: Value = serde_json::from_slice(plain).map_err(|why| why.to_string())?;
        match self {
            Self::Events => require(&body, &["title", "text"]).map(|()| None),
            Self::Checks => match &body {
                Value::Array(checks) => {
                    checks.iter().try_for_each(|check| require(check, &["check"])).map(|()| None)
                }
                check => require(check, &["check"]).map(|()| None),
            },
            Self::Series => list(&body, series).map(|all| Some(Batch::Series(all))),
            Self::Distributions => list(&body, distribution).map(|all| Some(Batch::Sketches(all))),
            Self::Validate | Self::Logs => Ok(None),
        }
    }
}

fn require(value: &Value, fields: &[&str]) -> Result<(), String> {
    let lacking = fields.iter().find(|field| value.get(**field).and_then(Value::as_str).is_none());
    lacking.map_or(Ok(()), |field| Err(format!("{field} is missing")))
}

fn list<T>(body: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    let all = body.get("series").and_then(Value::as_array).ok_or("series is missing")?;
    all.iter().enumerate().map(|(n, one)| read(one).map_err(|why| format!("series {n}: {why}"))).collect()
}

fn name(one: &Value) -> Result<Text, String> {
    let name = one.get("metric").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.map(|name| name.to_owned().into()).ok_or_else(|| "metric is missing".to_owned())
}

fn tags(one: &Value) -> Vec<Text> {
    let tags = one.get("tags").and_then(Value::as_array).into_iter().flatten();
    let host = one.get("host").and_then(Value::as_str).filter(|host| !host.is_empty());
    let host = host.map(|host| format!("host:{host}"));
    let mut tags: Vec<Text> =
        tags.filter_map(Value::as_str).map(ToOwned::to_owned).chain(host).map(Text::from).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

/// Points are pairs: seconds since 1970, and what there was.
fn points<T>(one: &Value, read: impl Fn(&Value) -> Option<T>) -> Result<Vec<(UnixNanos, T)>, String> {
    let points = one.get("points").and_then(Value::as_array).ok_or("points is missing")?;
    let point = |point: &Value| {
        let seconds = point.get(0)?.as_f64().filter(|seconds| (0.0..1e11).contains(seconds))?;
        Some((UnixNanos::from_millis((seconds * 1e3) as u64), read(point.get(1)?)?))
    };
    points.iter().map(|p| point(p).ok_or_else(|| format!("no point: {p}"))).collect()
}

fn series(one: &Value) -> Result<Series, String> {
    let kind = match one.get("type").and_then(Value::as_str) {
        Some("count") => SeriesKind::Count,
        None | Some("gauge" | "rate" | "") => SeriesKind::Gauge,
        Some(other) => return Err(format!("type {other}: gauge, rate and count are known")),
    };
    let number = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    let interval = one.get("interval").and_then(Value::as_u64).and_then(|secs| u32::try_from(secs).ok());
    Ok(Series {
        name: name(one)?,
        kind,
        tags: tags(one),
        points: points(one, number)?,
        interval_secs: interval.filter(|_| kind == SeriesKind::Count),
    })
}

fn distribution(one: &Value) -> Result<SketchSeries, String> {
    let sketch = |values: &Value| {
        let mut sketch = Sketch::default();
        let all = values.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>()?;
        all.into_iter().all(|value| sketch.insert(value, 1)).then_some(sketch)
    };
    Ok(SketchSeries { name: name(one)?, tags: tags(one), points: points(one, sketch)? })
}

#[cfg(test)]
mod tests {
    use super::Other;
    use axum::http::Method;
    use model::Batch;

    #[test]
    fn metrics_are_read_as_the_older_intakes_read_them() {
        let body = br#"{"series":[{"metric":"a","points":[[10,1.5],["x",2]]}]}"#;
        assert!(Other::Series.decode(body).unwrap_err().contains("series 0: no point: [\"x\",2]"));
        let body =
            br#"{"series":[{"metric":"a","type":"count","interval":10,"host":"h","tags":["b:1","a:1","b:1"],
            "points":[[10,"1.5"]]}]}"#;
        let Ok(Some(Batch::Series(all))) = Other::Series.decode(body) else { panic!() };
        assert_eq!((&*all[0].name, all[0].interval_secs, all[0].points[0].1), ("a", Some(10), 1.5));
        assert_eq!(all[0].tags, ["a:1", "b:1", "host:h"]);
        let body = br#"{"series":[{"metric":"d","points":[[10,[1,2,3]]]}]}"#;
        let Ok(Some(Batch::Sketches(all))) = Other::Distributions.decode(body) else { panic!() };
        let sketch = &all[0].points[0].1;
        assert_eq!((sketch.count(), sketch.min(), sketch.max(), sketch.sum()), (3, 1.0, 3.0, 6.0));
        for wrong in
            [&b"["[..], b"{}", br#"{"series":[{}]}"#, br#"{"series":[{"metric":"d","points":[[1,"x"]]}]}"#]
        {
            assert!(Other::Distributions.decode(wrong).is_err());
        }
        assert_eq!(Other::Events.decode(br#"{"title":"t"}"#), Err("text is missing".to_owned()));
        assert_eq!(Other::Checks.decode(br#"[{"check":"c"}]"#), Ok(None));
    }

    #[test]
    fn paths_are_known_with_their_method() {
        let find = |method: Method, path: &str| Other::find(&method, path);
        assert_eq!(find(Method::GET, "/api/v1/validate"), Some(Other::Validate));
        assert_eq!(find(Method::GET, "/api/v1/series"), None);
        assert_eq!(find(Method::POST, "/v1/input/key"), Some(Other::Logs));
        assert!(Other::Logs.has_key("/v1/input/key") && !Other::Logs.has_key("/v1/input"));
    }
}
