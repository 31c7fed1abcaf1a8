//! DogStatsD: `name:value|type|@rate|#tag,tag|Tseconds`, one metric per line, over UDP.
//! <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/>
//!
//! [`parse_datagram`] serves the extension, [`format()`] the library. Not here: aggregation, and what a
//! sample rate means for a value.

use std::fmt::Write;

use model::{Event, Metric, MetricKind, ServiceCheck, Text, UnixNanos};

/// What one datagram held.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Parsed {
    pub metrics: Vec<Metric>,
    pub events: Vec<Event>,
    pub checks: Vec<ServiceCheck>,
    /// Lines that are none of these.
    pub dropped: u64,
}

/// Reads all lines of a datagram. Each stands for itself: one that cannot be read is dropped and counted.
///
/// ```
/// let parsed = wire::dogstatsd::parse_datagram(b"orders.total:3:4|d|#size:l\nbad\n");
/// assert_eq!((parsed.metrics[0].values.as_slice(), parsed.dropped), ([3.0, 4.0].as_slice(), 1));
/// ```
pub fn parse_datagram(datagram: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    for line in datagram.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        match std::str::from_utf8(line).ok().and_then(parse_line) {
            Some(Line::Metric(metric)) => parsed.metrics.push(metric),
            Some(Line::Event(event)) => parsed.events.push(event),
            Some(Line::Check(check)) => parsed.checks.push(check),
            None => parsed.dropped += 1,
        }
    }
    parsed
}

enum Line {
    Metric(Metric),
    Event(Event),
    Check(ServiceCheck),
}

fn parse_line(line: &str) -> Option<Line> {
    if let Some(event) = line.strip_prefix("_e{") {
        return parse_event(event).map(Line::Event);
    }
    if let Some(check) = line.strip_prefix("_sc|") {
        return parse_check(check).map(Line::Check);
    }
    parse_metric(line).map(Line::Metric)
}

/// `5,4}:title|text|d:time|h:host|k:key|p:priority|s:source|t:alert|#tag,tag`; lengths in bytes, new lines in the
/// texts as `\n`.
fn parse_event(line: &str) -> Option<Event> {
    let (lengths, rest) = line.split_once("}:")?;
    let (title, text) = lengths.split_once(',')?;
    let (title, text): (usize, usize) = (title.parse().ok()?, text.parse().ok()?);
    let (title, rest) = rest.split_at_checked(title)?;
    let (text, rest) = rest.strip_prefix('|')?.split_at_checked(text)?;
    if title.is_empty() || !(rest.is_empty() || rest.starts_with('|')) {
        return None;
    }
    let lines = |text: &str| Text::Owned(text.replace("\\n", "\n"));
    let mut event = Event { title: lines(title), text: lines(text), ..Event::default() };
    for section in rest.split('|').skip(1) {
        if let Some(all) = section.strip_prefix('#') {
            event.tags = tags(all);
            continue;
        }
        match section.split_once(':') {
            Some(("d", seconds)) => event.time = seconds.parse().ok().map(UnixNanos::from_secs),
            Some(("h", host)) => event.host = owned(host),
            Some(("k", key)) => event.aggregation_key = owned(key),
            Some(("p", priority)) => event.priority = owned(priority),
            Some(("s", source)) => event.source_type = owned(source),
            Some(("t", alert)) => event.alert_type = owned(alert),
            _ => {}
        }
    }
    Some(event)
}

/// `name|status|d:time|h:host|#tag,tag|m:message`, the message last.
fn parse_check(line: &str) -> Option<ServiceCheck> {
    let mut sections = line.splitn(3, '|');
    let (name, status) = (sections.next()?, sections.next()?);
    let status: u8 = status.parse().ok().filter(|status| *status <= 3)?;
    let mut check = ServiceCheck { name: owned(name), status, ..ServiceCheck::default() };
    let mut rest = sections.next();
    while let Some(all) = rest {
        if let Some(message) = all.strip_prefix("m:") {
            check.message = Text::Owned(message.replace("\\n", "\n").replace("m\\:", "m:"));
            break;
        }
        let (section, more) =
            all.split_once('|').map_or((all, None), |(section, more)| (section, Some(more)));
        match (section.strip_prefix('#'), section.split_once(':')) {
            (Some(all), _) => check.tags = tags(all),
            (None, Some(("d", seconds))) => check.time = seconds.parse().ok().map(UnixNanos::from_secs),
            (None, Some(("h", host))) => check.host = owned(host),
            _ => {}
        }
        rest = more;
    }
    (!name.is_empty()).then_some(check)
}

/// The container (`c:`), external data (`e:`) and cardinality (`card:`) say where a metric comes from, which is
/// this sandbox: they are skipped.
fn parse_metric(line: &str) -> Option<Metric> {
    let (name, rest) = line.split_once(':')?;
    if name.is_empty() || name.contains('|') {
        return None;
    }
    let mut sections = rest.split('|');
    let values = sections.next()?;
    let kind = kind(sections.next()?)?;
    let values = match kind {
        MetricKind::Set => values.split(':').map(stand_in).collect(),
        _ => values.split(':').map(value).collect::<Option<Vec<_>>>()?,
    };
    let mut metric =
        Metric { name: owned(name), kind, values, sample_rate: 1.0, tags: Vec::new(), time: None };
    for section in sections {
        if let Some(rate) = section.strip_prefix('@') {
            metric.sample_rate = value(rate).filter(|rate| *rate > 0.0)?.min(1.0);
        } else if let Some(tags) = section.strip_prefix('#') {
            metric.tags = self::tags(tags);
        } else if let Some(seconds) = section.strip_prefix('T') {
            metric.time = Some(UnixNanos::from_secs(seconds.parse().ok()?));
        }
    }
    Some(metric)
}

fn kind(word: &str) -> Option<MetricKind> {
    Some(match word {
        "c" => MetricKind::Count,
        "g" => MetricKind::Gauge,
        "d" => MetricKind::Distribution,
        "h" => MetricKind::Histogram,
        "ms" => MetricKind::Timing,
        "s" => MetricKind::Set,
        _ => return None,
    })
}

fn value(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// What stands for a member of a set: of 2^52 numbers, so that two are one as good as never.
fn stand_in(member: &str) -> f64 {
    let hash = member.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ((hash ^ (hash >> 32)) >> 12) as f64
}

fn tags(all: &str) -> Vec<Text> {
    all.split(',').filter(|tag| !tag.is_empty()).map(owned).collect()
}

fn owned(text: &str) -> Text {
    Text::Owned(text.to_owned())
}

/// Writes a metric as lines without a trailing newline, one for each finite value: receivers that predate
/// protocol 1.1 read only the first of packed values. Empty when there is no such value.
///
/// What would end a section early becomes `_`: in the name any of `:|@#,{` and white space, in tags all but
/// letters, digits and `_-:/.`, as Datadog's own Lambda libraries do.
///
/// ```
/// let mut metric = model::Metric::distribution("orders.total", 25.5);
/// metric.tags = vec!["plan:gold plus".into()];
/// assert_eq!(wire::dogstatsd::format(&metric), "orders.total:25.5|d|#plan:gold_plus");
/// ```
pub fn format(metric: &Metric) -> String {
    let mut lines = String::new();
    let name = replaced(&metric.name, |c| !(c.is_whitespace() || c.is_control() || ":|@#,{".contains(c)));
    for value in metric.values.iter().filter(|value| value.is_finite()) {
        if !lines.is_empty() {
            lines.push('\n');
        }
        let _ = write!(lines, "{name}:{}|{}", number(*value), word(metric.kind));
        if metric.sample_rate > 0.0 && metric.sample_rate < 1.0 {
            let _ = write!(lines, "|@{}", number(metric.sample_rate));
        }
        for (n, tag) in metric.tags.iter().filter(|tag| !tag.is_empty()).enumerate() {
            lines.push_str(if n == 0 { "|#" } else { "," });
            lines.push_str(&replaced(tag, |c| c.is_alphanumeric() || "_-:/.".contains(c)));
        }
        if let Some(time) = metric.time {
            let _ = write!(lines, "|T{}", time.as_secs());
        }
    }
    lines
}

fn replaced(text: &str, allowed: impl Fn(char) -> bool) -> String {
    text.chars().map(|c| if allowed(c) { c } else { '_' }).collect()
}

/// Plain digits where they are short, an exponent where they would be hundreds.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 | 1e-6..1e16 => value.to_string(),
        _ => format!("{value:e}"),
    }
}

fn word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Count => "c",
        MetricKind::Gauge => "g",
        MetricKind::Distribution => "d",
        MetricKind::Histogram => "h",
        MetricKind::Timing => "ms",
        MetricKind::Set => "s",
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
    use proptest::sample::select;

    use super::*;

    /// What a datagram holds, one line for each metric.
    fn show(parsed: &Parsed) -> String {
        let metrics = parsed.metrics.iter().map(|m| {
            let time = m.time.map_or(String::new(), |t| format!(" T{}", t.as_secs()));
            format!("{} {:?} {:?} @{} {:?}{time}", m.name, m.kind, m.values, m.sample_rate, m.tags)
        });
        metrics
            .chain((parsed.dropped > 0).then(|| format!("dropped {}", parsed.dropped)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn lines() {
        let check =
            |datagram: &str, want| assert_eq!(show(&parse_datagram(datagram.as_bytes())), want, "{datagram}");
        check("a:1|c", "a Count [1.0] @1 []");
        check("a.b:1.5|d\n", "a.b Distribution [1.5] @1 []");
        check("a:-1e3|g|#x:1,y", "a Gauge [-1000.0] @1 [\"x:1\", \"y\"]");
        check("a:1:2:3|ms|@0.5|#x:1:2", "a Timing [1.0, 2.0, 3.0] @0.5 [\"x:1:2\"]");
        check("a:1|h|T1700000000|#t", "a Histogram [1.0] @1 [\"t\"] T1700000000");
        check("a:1|c|c:ci-123|e:it-1|card:low|@0.1", "a Count [1.0] @0.1 []");
        check("a:1|c|@2", "a Count [1.0] @1 []");
        check("a:1|c||#", "a Count [1.0] @1 []");
        check("a:1|c|#,x,,y,", "a Count [1.0] @1 [\"x\", \"y\"]");
        check("a:1|c\r\nb:2|g\n\n", "a Count [1.0] @1 []; b Gauge [2.0] @1 []");
        check("größe:1|d|#ort:zürich", "größe Distribution [1.0] @1 [\"ort:zürich\"]");
        check("", "");
        check("\n\n", "");
    }

    #[test]
    fn lines_that_are_dropped() {
        for line in [
            "a",
            "a:",
            "a:1",
            "a:1|",
            "a:|c",
            ":1|c",
            "a:x|c",
            "a:1:|c",
            "a:1::2|c",
            "a:nan|g",
            "a:inf|g",
            "a:1e999|g",
            "a:1|x",
            "a:1|C",
            "a:1|c|@0",
            "a:1|c|@-1",
            "a:1|c|@x",
            "a:1|c|@nan",
            "a:1|c|T",
            "a:1|c|T-5",
            "a:1|c|T1.5",
            "_e{5,4}:title|tex",
            "_e{5,5}:title|text",
            "_e{4,4}:title|text",
            "_e{0,4}:|text",
            "_e{1,1}:ü|g",
            "_e{5}:title|text",
            "_e{5,4:title|text",
            "_sc|name",
            "_sc|name|4",
            "_sc||0",
            "_sc|name|-1",
            "a|b:1|c",
            " ",
            "|",
        ] {
            let parsed = parse_datagram(format!("before:1|c\n{line}\nafter:1|c").as_bytes());
            assert_eq!((parsed.metrics.len(), parsed.dropped), (2, 1), "{line}");
        }
        let parsed = parse_datagram(b"a:1|c\n\xff:1|c\nb:1|c");
        assert_eq!((parsed.metrics.len(), parsed.dropped), (2, 1));
    }

    #[test]
    fn events() {
        let check = |line: &str, want: &str| {
            let parsed = parse_datagram(format!("before:1|c\n{line}\nafter:1|c").as_bytes());
            assert_eq!((parsed.metrics.len(), parsed.dropped, parsed.events.len()), (2, 0, 1), "{line}");
            let Event { title, text, time, host, aggregation_key, priority, source_type, alert_type, tags } =
                &parsed.events[0];
            let time = time.map_or(0, UnixNanos::as_secs);
            let got = format!(
                "{title:?} {text:?} {time} {host} {aggregation_key} {priority} {source_type} {alert_type} {}",
                tags.join(",")
            );
            assert_eq!(got, want, "{line}");
        };
        check("_e{5,4}:title|text", r#""title" "text" 0      "#);
        check("_e{1,1}:5|g", r#""5" "g" 0      "#);
        check("_e{2,0}:ü|", r#""ü" "" 0      "#);
        check("_e{3,9}:a|b|one\\ntwo|", r#""a|b" "one\ntwo|" 0      "#);
        check(
            "_e{1,1}:a|b|d:1700000000|h:me|k:key|p:low|s:src|t:error|#x:1,y|c:abc|new:1",
            r#""a" "b" 1700000000 me key low src error x:1,y"#,
        );
    }

    #[test]
    fn service_checks() {
        let check = |line: &str, want: &str| {
            let parsed = parse_datagram(line.as_bytes());
            assert_eq!((parsed.dropped, parsed.checks.len()), (0, 1), "{line}");
            let ServiceCheck { name, status, time, host, message, tags } = &parsed.checks[0];
            let time = time.map_or(0, UnixNanos::as_secs);
            assert_eq!(
                format!("{name} {status} {time} {host} {message:?} {}", tags.join(",")),
                want,
                "{line}"
            );
        };
        check("_sc|name|0", r#"name 0 0  "" "#);
        check("_sc|name|0|m:1|c", r#"name 0 0  "1|c" "#);
        check(
            "_sc|a b|3|d:5|h:me|#x:1,y|c:abc|m:one\\ntwo m\\: three",
            r#"a b 3 5 me "one\ntwo m: three" x:1,y"#,
        );
    }

    #[test]
    fn sets_count_texts() {
        let values = |line: &str| parse_datagram(line.as_bytes()).metrics.remove(0).values;
        let three = values("users:anna:bert:anna|s|#x:1|c:ab|e:it-false|card:low");
        assert!(three[0] == three[2] && three[0] != three[1], "{three:?}");
        assert_eq!(values("users:bert|s"), [three[1]]);
        // Numbers are texts here.
        assert_ne!(values("users:1.0|s"), values("users:1|s"));
    }

    #[test]
    fn what_is_formatted() {
        let check = |change: &dyn Fn(&mut Metric), want| {
            let mut metric = Metric::distribution("a.b", 1.0);
            change(&mut metric);
            assert_eq!(format(&metric), want);
        };
        check(&|_| {}, "a.b:1|d");
        check(&|m| m.values = vec![1.0, -2.5], "a.b:1|d\na.b:-2.5|d");
        check(&|m| m.values = vec![f64::NAN, f64::INFINITY], "");
        check(&|m| m.values = vec![1e300, 1e-300], "a.b:1e300|d\na.b:1e-300|d");
        check(&|m| (m.kind, m.sample_rate) = (MetricKind::Count, 0.25), "a.b:1|c|@0.25");
        check(&|m| m.time = Some(UnixNanos::from_millis(1_700_000_000_999)), "a.b:1|d|T1700000000");
        check(
            &|m| m.tags = vec!["k:v/w-x_y.z".into(), "".into(), "a,b|c#d\ne".into()],
            "a.b:1|d|#k:v/w-x_y.z,a_b_c_d_e",
        );
        check(&|m| m.tags = vec!["ort:Zürich".into()], "a.b:1|d|#ort:Zürich");
        check(&|m| m.name = "a:b|c\nd e".into(), "a_b_c_d_e:1|d");
    }

    fn metric() -> impl Strategy<Value = Metric> {
        const KINDS: [MetricKind; 5] = [
            MetricKind::Count,
            MetricKind::Gauge,
            MetricKind::Distribution,
            MetricKind::Histogram,
            MetricKind::Timing,
        ];
        let values = vec(proptest::num::f64::NORMAL | proptest::num::f64::ZERO, 1..4);
        let tags = vec("[\\w:./-]{1,20}", 0..4);
        let time = proptest::option::of((0..1u64 << 33).prop_map(UnixNanos::from_secs));
        ("[\\w.]{1,20}", select(&KINDS[..]), values, 1..=100u32, tags, time).prop_map(
            |(name, kind, values, rate, tags, time)| Metric {
                name: name.into(),
                kind,
                values,
                sample_rate: f64::from(rate) / 100.0,
                tags: tags.into_iter().map(Text::Owned).collect(),
                time,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_formatted_is_parsed(metric in metric()) {
            let parsed = parse_datagram(format(&metric).as_bytes());
            let one = |value: &f64| Metric { values: vec![*value], ..metric.clone() };
            // `\w` has marks and joiners that are no letters and become `_`.
            if metric.tags.iter().all(|tag| tag.is_ascii()) {
                prop_assert_eq!(parsed, Parsed { metrics: metric.values.iter().map(one).collect(), ..Parsed::default() });
            }
        }

        #[test]
        fn any_bytes_do_no_harm(datagram in vec(any::<u8>(), 0..300)) {
            let parsed = parse_datagram(&datagram);
            let lines = datagram.split(|b| *b == b'\n').count() as u64;
            let all = parsed.metrics.len() + parsed.events.len() + parsed.checks.len();
            prop_assert!(all as u64 + parsed.dropped <= lines);
        }

        /// No text gets a metric out of its line or a tag out of its section.
        #[test]
        fn any_text_stays_where_it_is(name in "\\PC{1,9}|[:|#@,\n ]{1,3}|_e\\{|_sc\\|", tag in ".{1,9}|[:|#@,\n]{1,3}") {
            let mut metric = Metric::distribution(name, 1.0);
            metric.tags = vec![tag.into()];
            let parsed = parse_datagram(format(&metric).as_bytes());
            prop_assert_eq!((parsed.metrics.len(), parsed.dropped), (1, 0));
            prop_assert_eq!((&parsed.metrics[0].values, parsed.metrics[0].tags.len()), (&metric.values, 1));
        }
    }
}
