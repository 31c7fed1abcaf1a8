//! Metrics: series of both versions as JSON, those that the agent sends as protobuf, and the points of distributions.

use std::collections::HashSet;

use model::UnixNanos;
use protobuf::{Error, Reader};
use serde_json::Value;

use super::json::{list, metric_name, metric_tags, metric_time, read, shown, text};
use super::{Found, rules};

pub(super) fn check_v2(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), String> {
    let mut points = Points::default();
    for (at, one) in series(&read(plain)?, found)? {
        common(&one, &at, found);
        let kind = one.get("type").map_or(Some(0), Value::as_u64);
        found.want(
            kind.is_some_and(|kind| kind <= 3),
            &rules::METRIC_TYPE,
            format_args!("{at}.type"),
            shown(one.get("type")),
        );
        if matches!(kind, Some(1 | 2)) {
            interval(&one, &at, found);
        }
        for (n, point) in list(&one, "points").iter().enumerate() {
            let (time, value) = (point.get("timestamp"), point.get("value"));
            let seconds = time.and_then(Value::as_u64);
            metric_time(seconds, shown(time), format_args!("{at}.points[{n}].timestamp"), now, found);
            let is_number = value.is_some_and(Value::is_number);
            found.want(is_number, &rules::METRIC_VALUE, format_args!("{at}.points[{n}].value"), shown(value));
            points.add(&one, seconds, &at, found);
        }
    }
    Ok(())
}

/// `MetricPayload`, as the agent sends it.
/// <https://github.com/DataDog/agent-payload/blob/master/proto/metrics/agent_payload.proto>
pub(super) fn check_payload(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), String> {
    let (mut reader, mut count) = (Reader::new(plain), 0);
    while let Some((number, value)) = reader.field().map_err(|why| why.to_string())? {
        if number == 1 {
            let at = format!("series[{count}]");
            packed(value.message(), &at, now, found).map_err(|why| why.to_string())?;
            count += 1;
        }
    }
    found.want(count > 0, &rules::EMPTY, "series", "empty");
    Ok(())
}

fn packed(mut reader: Reader<'_>, at: &str, now: UnixNanos, found: &mut Found) -> Result<(), Error> {
    let (mut name, mut tags, mut kind, mut interval) = (String::new(), Vec::new(), 0, 0);
    let (mut points, mut seen) = (0, HashSet::new());
    while let Some((number, value)) = reader.field()? {
        match number {
            2 => name = value.text().into_owned(),
            3 => tags.push(value.text().into_owned()),
            4 => {
                let (mut point, mut number, mut time) = (value.message(), 0.0, 0);
                while let Some((field, value)) = point.field()? {
                    match field {
                        1 => number = value.double(),
                        2 => time = value.uint(),
                        _ => {}
                    }
                }
                let at = format!("{at}.points[{points}]");
                metric_time(Some(time), time, format_args!("{at}.timestamp"), now, found);
                found.want(number.is_finite(), &rules::METRIC_VALUE, format_args!("{at}.value"), number);
                found.want(seen.insert(time), &rules::METRIC_TWICE, at, format_args!("another at {time}"));
                points += 1;
            }
            5 => kind = value.uint(),
            8 => interval = value.int(),
            _ => {}
        }
    }
    metric_name(&name, format_args!("{at}.metric"), found);
    metric_tags(tags.iter().map(String::as_str), at, found);
    found.want(points > 0, &rules::METRIC_POINTS, format_args!("{at}.points"), "empty");
    found.want(kind <= 3, &rules::METRIC_TYPE, format_args!("{at}.type"), kind);
    let holds = !matches!(kind, 1 | 2) || interval > 0;
    found.want(holds, &rules::METRIC_INTERVAL, format_args!("{at}.interval"), interval);
    Ok(())
}

pub(super) fn check_v1(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), String> {
    let mut points = Points::default();
    for (at, one) in series(&read(plain)?, found)? {
        common(&one, &at, found);
        let kind = text(&one, "type");
        let is_known = ["", "gauge", "count", "rate"].contains(&kind);
        found.want(is_known, &rules::METRIC_TYPE_V1, format_args!("{at}.type"), kind);
        if matches!(kind, "count" | "rate") {
            interval(&one, &at, found);
        }
        for (n, point) in list(&one, "points").iter().enumerate() {
            let seconds = pair(point, n, &at, now, found);
            let value = point.get(1);
            let is_number =
                value.is_some_and(|value| value.is_number() || value.as_str().is_some_and(is_float));
            found.want(is_number, &rules::METRIC_VALUE, format_args!("{at}.points[{n}][1]"), shown(value));
            points.add(&one, seconds, &at, found);
        }
    }
    Ok(())
}

pub(super) fn check_distributions(plain: &[u8], now: UnixNanos, found: &mut Found) -> Result<(), String> {
    for (at, one) in series(&read(plain)?, found)? {
        common(&one, &at, found);
        for (n, point) in list(&one, "points").iter().enumerate() {
            pair(point, n, &at, now, found);
            let value = point.get(1);
            let values = value.and_then(Value::as_array);
            let holds = values.is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_number));
            found.want(holds, &rules::METRIC_VALUE, format_args!("{at}.points[{n}][1]"), shown(value));
        }
    }
    Ok(())
}

/// Each series with its place.
fn series(body: &Value, found: &mut Found) -> Result<Vec<(String, Value)>, String> {
    let all = body.get("series").and_then(Value::as_array).ok_or("series is missing")?;
    found.want(!all.is_empty(), &rules::EMPTY, "series", "empty");
    Ok(all.iter().enumerate().map(|(n, one)| (format!("series[{n}]"), one.clone())).collect())
}

fn common(one: &Value, at: &str, found: &mut Found) {
    metric_name(text(one, "metric"), format_args!("{at}.metric"), found);
    let tags = list(one, "tags").iter().map(|tag| tag.as_str().unwrap_or_default());
    metric_tags(tags, at, found);
    let some = !list(one, "points").is_empty();
    found.want(some, &rules::METRIC_POINTS, format_args!("{at}.points"), shown(one.get("points")));
}

fn interval(one: &Value, at: &str, found: &mut Found) {
    let interval = one.get("interval");
    let holds = interval.and_then(Value::as_u64).is_some_and(|seconds| seconds > 0);
    found.want(holds, &rules::METRIC_INTERVAL, format_args!("{at}.interval"), shown(interval));
}

/// The time of a point that is a pair. Fractions of seconds are taken there.
fn pair(point: &Value, n: usize, at: &str, now: UnixNanos, found: &mut Found) -> Option<u64> {
    let time = point.get(0);
    let seconds =
        time.and_then(Value::as_f64).filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64);
    metric_time(seconds, shown(time), format_args!("{at}.points[{n}][0]"), now, found);
    seconds
}

fn is_float(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// The points of one request by what makes them the same.
#[derive(Debug, Default)]
struct Points(HashSet<(String, u64)>);

impl Points {
    fn add(&mut self, one: &Value, time: Option<u64>, at: &str, found: &mut Found) {
        let Some(time) = time else { return };
        let mut tags: Vec<_> = list(one, "tags").iter().filter_map(Value::as_str).collect();
        tags.sort_unstable();
        let name = text(one, "metric");
        let host = format!("{} {}", shown(one.get("host")), shown(one.get("resources")));
        let is_new = self.0.insert((format!("{name}\n{}\n{host}", tags.join("\n")), time));
        found.want(
            is_new,
            &rules::METRIC_TWICE,
            format_args!("{at}.points"),
            format_args!("another at {time}"),
        );
    }
}
