//! Statistics of traces: the map of msgpack that the agent sends, with those of tracers in it.
//! <https://github.com/DataDog/datadog-agent/blob/main/pkg/proto/datadog/trace/stats.proto>

use rmpv::Value;

use super::{Found, rules};

const YEAR_2000_NS: u64 = 946_684_800_000_000_000;

pub(super) fn check(plain: &[u8], found: &mut Found) -> Result<(), String> {
    let body = rmpv::decode::read_value(&mut &*plain).map_err(|why| why.to_string())?;
    if !body.is_map() {
        return Err("no map".to_owned());
    }
    let senders = list(&body, "Stats");
    found.want(!senders.is_empty(), &rules::EMPTY, "Stats", "empty");
    for (n, sender) in senders.iter().enumerate() {
        let buckets = list(sender, "Stats");
        found.want(!buckets.is_empty(), &rules::STATS_EMPTY, format_args!("Stats[{n}].Stats"), "empty");
        for (b, bucket) in buckets.iter().enumerate() {
            check_bucket(bucket, &format!("Stats[{n}].Stats[{b}]"), found);
        }
    }
    Ok(())
}

fn check_bucket(bucket: &Value, at: &str, found: &mut Found) {
    let (start, duration) = (number(bucket, "Start"), number(bucket, "Duration"));
    let holds = start > YEAR_2000_NS && duration > 0;
    found.want(holds, &rules::STATS_BUCKET, at, format_args!("from {start}, {duration} ns long"));
    let groups = list(bucket, "Stats");
    found.want(!groups.is_empty(), &rules::STATS_EMPTY, format_args!("{at}.Stats"), "empty");
    for (n, group) in groups.iter().enumerate() {
        let names = ["Service", "Name", "Resource"].map(|key| text(group, key));
        let told = names.join(", ");
        found.want(
            names.iter().all(|name| !name.is_empty()),
            &rules::STATS_GROUP,
            format_args!("{at}.Stats[{n}]"),
            told,
        );
        let [hits, errors, top] = ["Hits", "Errors", "TopLevelHits"].map(|key| number(group, key));
        let told = format_args!("{hits} hits, {errors} errors, {top} top level hits").to_string();
        found.want(
            hits > 0 && errors <= hits && top <= hits,
            &rules::STATS_COUNTS,
            format_args!("{at}.Stats[{n}]"),
            told,
        );
    }
}

fn field<'a>(map: &'a Value, key: &str) -> Option<&'a Value> {
    map.as_map()?.iter().find_map(|(name, value)| (name.as_str() == Some(key)).then_some(value))
}

fn list<'a>(map: &'a Value, key: &str) -> &'a [Value] {
    field(map, key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(map: &'a Value, key: &str) -> &'a str {
    field(map, key).and_then(Value::as_str).unwrap_or_default()
}

/// Tracers write numbers as they like: floats, too.
fn number(map: &Value, key: &str) -> u64 {
    let number = |value: &Value| value.as_u64().or_else(|| value.as_f64().map(|n| n as u64));
    field(map, key).and_then(number).unwrap_or(0)
}
