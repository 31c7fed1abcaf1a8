//! Statistics of both agents: what they make of the same traces, and what they pass on of what a tracer made.

mod cases;
mod differences;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use intake::Intake;
use rmpv::Value;

use super::{Fields, HEADERS, Theirs, compare, pack, plain_bodies};
use crate::agent::{Agent, http};
use crate::fake_lambda::{FakeLambda, PATIENCE, millis};
use crate::records::{delivery, runtime_done, start};
use cases::{Case, LAST, cases, sent};

pub(super) use differences::{MADE, PASSED_ON};

const PATH: &str = "/api/v0.2/stats";
const TEN_SECONDS: u64 = 10_000_000_000;
/// The function, as both know it.
const FUNCTION: [(&str, &str); 2] = [("DD_ENV", "prod"), ("DD_VERSION", "1.2")];

/// The body of a request of `/v0.4/traces`. All spans end in the same moment, unless the case says otherwise.
fn body(case: &Case, number: usize, end: u64) -> Vec<u8> {
    let mut spans = case.spans.clone();
    for span in spans.as_array_mut().unwrap() {
        span["trace_id"] = (7_000_000 + number as u64).into();
        span["name"] = format!("c{number}.n{}", span["name"]).into();
        if span["start"].is_null() {
            span["start"] = (end - span["duration"].as_u64().unwrap()).into();
        }
    }
    let mut bytes = Vec::new();
    pack(&serde_json::Value::Array(vec![spans]), &mut bytes);
    bytes
}

async fn send_traces(port: u16, end: u64) {
    for (number, case) in cases().iter().enumerate() {
        let headers = [&HEADERS[..], case.headers].concat();
        let answer = http(port, "PUT", "/v0.4/traces", &headers, &body(case, number, end)).await;
        assert_eq!(answer.status, 200, "{}", case.name);
    }
}

fn field<'a>(map: &'a Value, key: &str) -> &'a Value {
    let found = map.as_map().unwrap().iter().find(|(name, _)| name.as_str() == Some(key));
    found.map_or(&Value::Nil, |(_, value)| value)
}

fn list<'a>(map: &'a Value, key: &str) -> &'a [Value] {
    field(map, key).as_array().map_or(&[], Vec::as_slice)
}

/// What is not there is what is empty: one of them leaves out what the other says nothing in.
fn shown(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.as_str().unwrap().to_owned(),
        value => value.to_string(),
    };
    let is_empty = ["", "0", "false", "[]", "nil"].contains(&text.as_str());
    (!is_empty).then_some(text)
}

/// All that was counted: by case, number of the name, and field; and of each the sketches.
struct Counted {
    fields: Fields,
    sketches: BTreeMap<(usize, u64, &'static str), Sketch>,
}

/// What arrived, once the last is there: theirs sends all of one span of time at once, ours has ended.
async fn counted(intake: &Intake, end: u64, last: (usize, u64)) -> Counted {
    let bucket = end / TEN_SECONDS * TEN_SECONDS;
    let deadline = Instant::now() + 6 * PATIENCE;
    loop {
        let bodies = plain_bodies(intake, PATH).await;
        let mut counted = Counted { fields: Fields::new(), sketches: BTreeMap::new() };
        for body in &bodies {
            let payload = rmpv::decode::read_value(&mut &body[..]).unwrap();
            for sender in list(&payload, "Stats") {
                for one in list(sender, "Stats") {
                    list(one, "Stats")
                        .iter()
                        .for_each(|group| counted.take(&payload, sender, one, group, bucket));
                }
            }
        }
        if counted.sketches.contains_key(&(last.0, last.1, "OkSummary")) {
            return counted;
        }
        let more = |state: &intake::State| {
            state.requests(false).iter().filter(|request| request.path == PATH).count() > bodies.len()
        };
        assert!(intake.store().wait_until(more, deadline).await, "{:#?}", counted.fields);
    }
}

impl Counted {
    fn take(&mut self, payload: &Value, sender: &Value, one: &Value, group: &Value, bucket: u64) {
        let name = field(group, "Name").as_str().unwrap();
        let (case, n) = name.strip_prefix('c').unwrap().split_once(".n").unwrap();
        let (case, n): (usize, u64) = (case.parse().unwrap(), n.parse().unwrap());
        let case_name = cases()[case].name;
        let mut put = |what: &str, value: Option<String>| {
            let Some(value) = value else { return };
            let again = (case_name.to_owned(), n, format!("{what} again"));
            let key = (case_name.to_owned(), n, what.to_owned());
            let key = if self.fields.contains_key(&key) { again } else { key };
            self.fields.insert(key, value);
        };
        for (above, map) in [("payload", payload), ("sender", sender), ("group", group)] {
            for (key, value) in map.as_map().unwrap() {
                let key = key.as_str().unwrap();
                if !["Stats", "OkSummary", "ErrorSummary"].contains(&key) {
                    put(&format!("{above}.{key}"), shown(value));
                }
            }
        }
        let begins = match field(one, "Start").as_u64().unwrap() {
            begins if begins == bucket => "as told".to_owned(),
            begins if begins.abs_diff(bucket) < 600_000_000_000 => "now".to_owned(),
            begins => begins.to_string(),
        };
        put("bucket.Start", Some(begins));
        put("bucket.Duration", shown(field(one, "Duration")));
        put("bucket.AgentTimeShift", shown(field(one, "AgentTimeShift")));
        for key in ["OkSummary", "ErrorSummary"] {
            let sketch = Sketch::read(field(group, key).as_slice().unwrap());
            put(
                &format!("group.{key}"),
                Some(format!("{} durations, {} of nothing", sketch.count(), sketch.zero)),
            );
            put("sketch.gamma", (key == "OkSummary").then(|| sketch.gamma.to_string()));
            put("sketch.offset", (key == "OkSummary").then(|| sketch.offset.to_string()));
            self.sketches.insert((case, n, key), sketch);
        }
    }
}

/// A `DDSketch`, read without what writes ours.
/// <https://github.com/DataDog/sketches-go/blob/master/ddsketch/pb/sketchpb/ddsketch.proto>
#[derive(Debug, Default)]
struct Sketch {
    gamma: f64,
    offset: f64,
    /// How many there are of which value, ascending.
    bins: Vec<(f64, f64)>,
    zero: f64,
}

impl Sketch {
    fn read(bytes: &[u8]) -> Self {
        let mut sketch = Self::default();
        let (mut counts, mut first) = (Vec::new(), 0);
        for (number, _, value) in Message::of(bytes) {
            match number {
                1 => {
                    for (number, _, value) in Message::of(value) {
                        let to = if number == 1 { &mut sketch.gamma } else { &mut sketch.offset };
                        *to = f64::from_le_bytes(value.try_into().unwrap());
                    }
                }
                2 => {
                    for (number, plain, value) in Message::of(value) {
                        match number {
                            2 => counts.extend(
                                value.chunks(8).map(|one| f64::from_le_bytes(one.try_into().unwrap())),
                            ),
                            3 => first = (plain >> 1).cast_signed() ^ -(plain & 1).cast_signed(),
                            other => panic!("field {other} of a store"),
                        }
                    }
                }
                3 => assert_eq!(value, b"", "negative durations"),
                4 => sketch.zero = f64::from_le_bytes(value.try_into().unwrap()),
                other => panic!("field {other} of a sketch"),
            }
        }
        let accuracy = (sketch.gamma - 1.0) / (sketch.gamma + 1.0);
        let value = |at: usize| {
            let bin = (first + at.cast_signed() as i64) as f64;
            ((bin - sketch.offset) * sketch.gamma.ln()).exp() * (1.0 + accuracy)
        };
        sketch.bins =
            (0..).zip(&counts).filter(|(_, count)| **count > 0.0).map(|(at, n)| (value(at), *n)).collect();
        sketch
    }

    fn count(&self) -> f64 {
        self.zero + self.bins.iter().map(|(_, count)| count).sum::<f64>()
    }

    fn quantile(&self, q: f64) -> f64 {
        let rank = q * (self.count() - 1.0);
        let mut sum = self.zero;
        if sum > rank {
            return 0.0;
        }
        let at = self.bins.iter().find(|(_, count)| {
            sum += count;
            sum > rank
        });
        at.or(self.bins.last()).map_or(0.0, |(value, _)| *value)
    }
}

/// Fields of a protobuf message: number, value of a varint, bytes of the rest.
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn varint(&mut self) -> u64 {
        let length = self.0.iter().position(|byte| *byte < 0x80).unwrap() + 1;
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f))
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = (u64, u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let tag = self.varint();
        let length = match tag & 7 {
            0 => return Some((tag >> 3, self.varint(), &[])),
            1 => 8,
            2 => usize::try_from(self.varint()).unwrap(),
            other => panic!("wire type {other}"),
        };
        let (value, rest) = self.0.split_at(length);
        self.0 = rest;
        Some((tag >> 3, 0, value))
    }
}

#[tokio::test]
#[ignore = "needs Datadog's trace agent: cargo xtask test --only real"]
async fn statistics_that_are_made_differ_as_the_list_says() {
    if !super::is_there() {
        return;
    }
    let (their_intake, intake) = (Intake::start().await.unwrap(), Intake::start().await.unwrap());
    let told = [&FUNCTION[..], &[("DD_AGENT_STATS_COMPUTATION_ENABLED", "true")]].concat();
    let theirs = Theirs::start(&their_intake, &told).await;
    let lambda = FakeLambda::start().await;
    let url = intake.url();
    let mut variables = vec![("DD_LAMBDA_EXTENSION_COMPUTE_STATS", "true"), ("DD_SERVICE", "shop")];
    variables.extend(FUNCTION);
    variables.extend(
        ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"].map(|name| (name, url.as_str())),
    );
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", 10 * PATIENCE);
    // In the middle of the next ten seconds: theirs puts what is older than it to the oldest that it has.
    let now = u64::try_from(millis()).unwrap() * 1_000_000;
    let end = now / TEN_SECONDS * TEN_SECONDS + TEN_SECONDS + TEN_SECONDS / 2;
    tokio::join!(send_traces(theirs.ports.traces, end), send_traces(agent.ports.traces, end));
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let last = (cases().iter().position(|case| case.name == LAST).unwrap(), 1);
    let (theirs, ours) = tokio::join!(counted(&their_intake, end, last), counted(&intake, end, last));
    compare(&MADE, &theirs.fields, &ours.fields);
    quantiles_agree(&theirs, &ours);
}

/// Within the accuracy of both sketches.
fn quantiles_agree(theirs: &Counted, ours: &Counted) {
    let mut compared = 0;
    for (key, ours) in &ours.sketches {
        let Some(theirs) = theirs.sketches.get(key).filter(|theirs| theirs.count() == ours.count()) else {
            continue;
        };
        for q in [0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0] {
            let (a, b) = (theirs.quantile(q), ours.quantile(q));
            assert!((a - b).abs() <= 0.016 * a.max(b), "{key:?} {q}: theirs {a}, ours {b}");
        }
        compared += 1;
    }
    assert!(compared > 50, "{compared}");
    let case = cases().iter().position(|case| case.name == "latencies").unwrap();
    let mut durations = cases::durations();
    durations.sort_unstable();
    let sketch = &ours.sketches[&(case, 1, "OkSummary")];
    for (at, nanos) in durations.iter().enumerate() {
        let found = sketch.quantile(at as f64 / (durations.len() - 1) as f64);
        assert!((found - *nanos as f64).abs() <= 0.0079 * *nanos as f64, "{nanos}: {found}");
    }
}

/// All that is in a value, by where it is.
fn flatten(value: &Value, at: &str, put: &mut impl FnMut(&str, String)) {
    match value {
        Value::Map(pairs) => {
            for (key, value) in pairs {
                flatten(value, &format!("{at}.{}", key.as_str().unwrap()), put);
            }
        }
        Value::Array(all) if all.iter().any(|one| one.is_map() || one.is_array()) => {
            for (n, value) in all.iter().enumerate() {
                flatten(value, &format!("{at}.{n}"), put);
            }
        }
        value => {
            if let Some(text) = shown(value) {
                put(at, text);
            }
        }
    }
}

/// What arrived of what was sent.
async fn passed_on(intake: &Intake, statuses: &[u16], now: u64) -> Fields {
    let mut fields = Fields::new();
    let all = sent(now);
    for (sent, status) in all.iter().zip(statuses) {
        fields.insert((sent.name.to_owned(), 0, "answer".to_owned()), status.to_string());
    }
    let deadline = Instant::now() + 3 * PATIENCE;
    loop {
        let bodies = plain_bodies(intake, PATH).await;
        let mut arrived = std::collections::BTreeSet::new();
        for body in &bodies {
            let payload = rmpv::decode::read_value(&mut &body[..]).unwrap();
            for sender in list(&payload, "Stats") {
                // Which it is stands where a tracer's runtime has its id.
                let name = field(sender, "RuntimeID").as_str().unwrap().to_owned();
                let mut put = |at: &str, text: String| {
                    let text = match text.parse::<u64>() {
                        Ok(time) if time == now => "as told".to_owned(),
                        Ok(time) if time.abs_diff(now) < 600_000_000_000 => "now".to_owned(),
                        _ => text,
                    };
                    fields.insert((name.clone(), 0, at.to_owned()), text);
                };
                flatten(sender, "sender", &mut put);
                for (key, value) in
                    payload.as_map().unwrap().iter().filter(|(key, _)| key.as_str() != Some("Stats"))
                {
                    flatten(value, &format!("payload.{}", key.as_str().unwrap()), &mut put);
                }
                arrived.insert(name);
            }
        }
        if arrived.contains(LAST) {
            return fields;
        }
        let more = |state: &intake::State| {
            state.requests(false).iter().filter(|request| request.path == PATH).count() > bodies.len()
        };
        assert!(intake.store().wait_until(more, deadline).await, "{fields:#?}");
    }
}

async fn send_stats(port: u16, now: u64) -> Vec<u16> {
    let mut answers = Vec::new();
    for one in sent(now) {
        answers.push(http(port, "PUT", "/v0.6/stats", &HEADERS, &one.body).await.status);
    }
    answers
}

#[tokio::test]
#[ignore = "needs Datadog's trace agent: cargo xtask test --only real"]
async fn statistics_that_are_passed_on_differ_as_the_list_says() {
    if !super::is_there() {
        return;
    }
    let (their_intake, intake) = (Intake::start().await.unwrap(), Intake::start().await.unwrap());
    let told = [&FUNCTION[..], &[("DD_AGENT_STATS_COMPUTATION_ENABLED", "false")]].concat();
    let theirs = Theirs::start(&their_intake, &told).await;
    let lambda = FakeLambda::start().await;
    let url = intake.url();
    let mut variables = vec![("DD_SERVICE", "shop")];
    variables.extend(FUNCTION);
    variables.extend(
        ["DD_DD_URL", "DD_APM_DD_URL", "DD_LOGS_CONFIG_LOGS_DD_URL"].map(|name| (name, url.as_str())),
    );
    let mut agent = Agent::start(&lambda, &variables);
    lambda.asked(1).await;
    lambda.invoke("r-1", 10 * PATIENCE);
    let now = u64::try_from(millis()).unwrap() * 1_000_000;
    let (their_answers, answers) =
        tokio::join!(send_stats(theirs.ports.traces, now), send_stats(agent.ports.traces, now));
    let mut both = Vec::new();
    for port in [theirs.ports.traces, agent.ports.traces] {
        let answer = http(port, "GET", "/info", &[], b"").await;
        let info: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        both.push(["peer_tags", "span_kinds_stats_computed"].map(|key| {
            let mut all: Vec<String> = serde_json::from_value(info[key].clone()).unwrap();
            all.sort_unstable();
            assert!(all.len() > 3, "{all:?}");
            all
        }));
    }
    assert_eq!(both[0], both[1], "what tracers are told of statistics");
    agent.telemetry(&delivery(&[start("r-1"), runtime_done("r-1")])).await;
    lambda.asked(2).await;
    lambda.shutdown(Duration::from_secs(2));
    assert!(agent.ended().await.success());
    let (theirs, ours) =
        tokio::join!(passed_on(&their_intake, &their_answers, now), passed_on(&intake, &answers, now));
    compare(&PASSED_ON, &theirs, &ours);
}
