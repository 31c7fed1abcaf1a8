//! What a span calls, as statistics have it: the tags that name it, with the addresses of machines taken out, of which
//! there are too many. Called by the concentrator.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use model::{Span, Text, keys};

/// Tags that say what a span calls, as in the agent.
pub const KEYS: [&str; 43] = [
    keys::trace::BASE_SERVICE,
    "active_record.db.vendor",
    "amqp.destination",
    "amqp.exchange",
    "amqp.queue",
    "aws.queue.name",
    "aws.s3.bucket",
    "bucketname",
    "cassandra.keyspace",
    "db.cassandra.contact.points",
    "db.couchbase.seed.nodes",
    "db.hostname",
    "db.instance",
    "db.name",
    "db.namespace",
    "db.system",
    "db.type",
    "dns.hostname",
    "grpc.host",
    "hostname",
    "http.host",
    "http.server_name",
    "messaging.destination",
    "messaging.destination.name",
    "messaging.kafka.bootstrap.servers",
    "messaging.rabbitmq.exchange",
    "messaging.system",
    "mongodb.db",
    "msmq.queue.path",
    "net.peer.name",
    "network.destination.ip",
    "network.destination.name",
    "out.host",
    "peer.hostname",
    "peer.service",
    "queuename",
    "rpc.service",
    "rpc.system",
    "sequel.db.vendor",
    "server.address",
    "streamname",
    "tablename",
    "topicname",
];

/// What stands for the address of a machine.
const BLOCKED: &str = "blocked-ip-address";
/// Addresses that are the same everywhere: of the machine itself, and of the services that clouds have on each.
const KNOWN: [&str; 5] = ["127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::254", "169.254.170.2"];
const SCHEMES: [&str; 5] = ["dnspoll", "ftp", "file", "http", "https"];

/// `key:value` of what a span of this kind calls.
pub(crate) fn tags(span: &Span, span_kind: &str) -> Vec<Text> {
    let keys: &[&str] = match span_kind {
        "client" | "producer" | "consumer" => &KEYS,
        // It calls nobody, and may be of another service than it seems.
        "" | "internal" => &[keys::trace::BASE_SERVICE],
        _ => &[],
    };
    let tag = |key: &&str| {
        let value = span.meta.get(key).filter(|value| !value.is_empty())?;
        Some(Text::from(format!("{key}:{}", without_addresses(value))))
    };
    keys.iter().filter_map(tag).collect()
}

/// A list, separated by commas, in which no address is, and what is equal stands once.
fn without_addresses(value: &str) -> Cow<'_, str> {
    let mut all: Vec<Cow<'_, str>> = Vec::new();
    let mut is_changed = false;
    for one in value.split(',') {
        let plain = without_address(one);
        is_changed |= matches!(plain, Cow::Owned(_));
        match all.contains(&plain) {
            true => is_changed = true,
            false => all.push(plain),
        }
    }
    if is_changed { Cow::Owned(all.join(",")) } else { Cow::Borrowed(value) }
}

fn without_address(text: &str) -> Cow<'_, str> {
    let scheme = || {
        let rest = SCHEMES.iter().find_map(|scheme| text.strip_prefix(scheme)?.strip_prefix("://"))?;
        Some(rest.strip_prefix('/').unwrap_or(rest))
    };
    // As AWS names machines; the tag keeps that.
    let host = text.strip_prefix("ip-").or_else(scheme).unwrap_or(text);
    let before = text.strip_suffix(host).unwrap_or_default();
    let Some((address, behind)) = split_v4(host).or_else(|| split_v6(host)) else {
        return Cow::Borrowed(text);
    };
    match KNOWN.contains(&address) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(format!("{before}{BLOCKED}{behind}")),
    }
}

/// Four numbers with `.`, `-` or `_` between them, and what stands behind.
fn split_v4(text: &str) -> Option<(&str, &str)> {
    let (mut rest, mut between) = (text, None);
    for nth in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at_checked(digits)?;
        // `010` is a name.
        if number.len() > 1 && number.starts_with('0') {
            return None;
        }
        number.parse::<u8>().ok()?;
        rest = behind;
        if nth < 3 {
            let c = rest.chars().next().filter(|c| ".-_".contains(*c))?;
            if *between.get_or_insert(c) != c {
                return None;
            }
            rest = rest.get(1..)?;
        }
    }
    text.split_at_checked(text.len() - rest.len())
}

/// Also in brackets, with a port behind.
fn split_v6(text: &str) -> Option<(&str, &str)> {
    let (address, behind) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => (text, ""),
    };
    let plain = address.split_once('%').map_or(address, |(plain, _zone)| plain);
    plain.parse::<Ipv6Addr>().ok()?;
    Some((plain, behind))
}

#[cfg(test)]
mod tests {
    use model::{SpanId, TraceId};
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    #[test]
    fn addresses() {
        let check = |value: &str, want: &str| assert_eq!(without_addresses(value), want, "{value}");
        check("orders", "orders");
        check("", "");
        check("10.1.2.3", BLOCKED);
        check("10.1.2.3:5432", "blocked-ip-address:5432");
        check("10.1.2.3.internal", "blocked-ip-address.internal");
        check("ip-10-152-4-129.ec2.internal", "ip-blocked-ip-address.ec2.internal");
        check("10.1.2.3x", "blocked-ip-addressx");
        check("a,b,a", "a,b");
        check("10_1_2_3", BLOCKED);
        check("dnspoll:///10.21.120.145:6400", "dnspoll:///blocked-ip-address:6400");
        check("http://10.0.0.7/path", "http://blocked-ip-address/path");
        check("2001:db8::1", BLOCKED);
        check("[2001:db8::1]:6379", "blocked-ip-address:6379");
        check("fe80::1%eth0", BLOCKED);
        check("10.0.0.1:9092,10.0.0.2:9092,10.0.0.3:9092", "blocked-ip-address:9092");
        check("10.0.0.1,db.internal,10.0.0.2", "blocked-ip-address,db.internal");
        for known in KNOWN {
            check(known, known);
        }
        check("127.0.0.1:8080", "127.0.0.1:8080");
        for name in ["10.1.2", "10.1.2.300", "10.1-2.3", "v1.2.3.4", "10.01.2.3", "ip-orders", "::x"] {
            check(name, name);
        }
    }

    #[test]
    fn which_tags_count_depends_on_the_kind() {
        let check = |kind: &str, want: &[&str]| {
            let (trace, own) = (TraceId::new(0, 1).unwrap(), SpanId::new(2).unwrap());
            let mut span = Span::new("work", trace, own, None);
            for (key, value) in [
                ("_dd.base_service", "shop"),
                ("peer.service", "db"),
                ("out.host", "10.0.0.1"),
                ("other", "x"),
            ] {
                span.meta.insert(key, value);
            }
            span.meta.insert("topicname", "");
            assert_eq!(tags(&span, kind), want, "{kind}");
        };
        let all = ["_dd.base_service:shop", "out.host:blocked-ip-address", "peer.service:db"];
        check("client", &all);
        check("producer", &all);
        check("consumer", &all);
        check("", &all[..1]);
        check("internal", &all[..1]);
        check("server", &[]);
    }

    #[test]
    fn keys_are_in_order_and_stand_once() {
        assert!(KEYS.is_sorted() && KEYS.windows(2).all(|two| two[0] != two[1]));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "[0-9.:,\\[\\]a-f%/_-]{0,40}|\\PC{0,20}") {
            let once = without_addresses(&text).into_owned();
            prop_assert!(once.len() <= 20 * (text.len() + 1));
        }

        #[test]
        fn no_address_stays(address: std::net::Ipv4Addr, behind in "|:[0-9]{4}|[.][a-z]{2}") {
            let text = format!("{address}{behind}");
            let is_known = KNOWN.contains(&address.to_string().as_str());
            prop_assert!(is_known || !without_addresses(&text).contains(&address.to_string()));
        }

        /// Whatever stands around an address, Datadog's own library makes the same of it. But a zone of IPv6 it does
        /// not take for a part of an address, as the agent does.
        #[test]
        fn lists_are_those_of_datadogs_library(
            list in vec(
                "(|ip-|http://|https:///|ftp://|file:/|dnspoll:///)(([0-9]{1,3}[.]){3}[0-9]{1,3}|([0-9]{1,2}-){3,4}[0-9]{1,3}|\\[?[0-9a-f]{0,4}:{1,2}[0-9a-f]{1,4}\\]?|127.0.0.1|::1|[a-z]{1,5})(|:[0-9]{1,4}|[.][a-z0-9]{1,4}|[-_.][0-9]|[a-z])",
                1..4,
            ),
            text in "[0-9.:,\\[\\]a-f/_-]{0,40}|\\PC{0,20}",
        ) {
            for value in [list.join(","), text] {
                let theirs = libdd_trace_obfuscation::ip_address::quantize_peer_ip_addresses(&value);
                prop_assert!(value.contains('%') || without_addresses(&value) == theirs, "{value}: {theirs}");
            }
        }
    }
}
