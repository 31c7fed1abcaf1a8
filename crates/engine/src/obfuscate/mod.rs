//! Takes out of spans what must not leave: values in SQL and URLs, arguments of cache commands, numbers of
//! credit cards. Called by the trace stage before the rules that replace, as in the agent.
//! <https://docs.datadoghq.com/tracing/configure_data_security/>

mod card;
#[cfg(test)]
mod datadog;
mod json;
mod sql;

use model::{Span, Text, keys};

pub use json::Documents;

/// What is taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obfuscation {
    /// The query of `http.url`.
    pub url_query: bool,
    /// Segments of the path of `http.url` that have digits in them.
    pub url_digits: bool,
    /// The arguments in `redis.raw_command`: those that may be values, or all.
    pub redis: bool,
    /// Keys are arguments, too.
    pub redis_all: bool,
    /// The values in `memcached.command`.
    pub memcached: bool,
    /// The command with its key stays.
    pub memcached_keep: bool,
    /// Tags whose whole value is the number of a card.
    pub cards: bool,
    /// The check digit has to be right.
    pub cards_luhn: bool,
    /// Tags that stay, though they may look so.
    pub cards_keep: Vec<Text>,
    /// Queries of MongoDB, Elasticsearch and OpenSearch.
    pub mongodb: Documents,
    pub elasticsearch: Documents,
    pub opensearch: Documents,
}

/// As the agent does unless told otherwise.
impl Default for Obfuscation {
    fn default() -> Self {
        Self {
            url_query: false,
            url_digits: false,
            redis: true,
            redis_all: false,
            memcached: true,
            memcached_keep: true,
            cards: true,
            cards_luhn: true,
            cards_keep: Vec::new(),
            mongodb: Documents::ALL,
            elasticsearch: Documents::ALL,
            opensearch: Documents::ALL,
        }
    }
}

/// Does it to one span.
pub(crate) fn span(span: &mut Span, how: &Obfuscation) {
    match span.kind.as_ref() {
        "sql" | "cassandra" => statement(span),
        "redis" | "valkey" => {
            span.resource = commands(&span.resource).into();
            for key in ["redis.raw_command", "valkey.raw_command"] {
                change(span, key, |text| how.redis.then(|| arguments(text, how.redis_all)));
            }
        }
        "memcached" => change(span, "memcached.command", |text| {
            let command = if how.memcached_keep { text } else { "" };
            how.memcached.then(|| command.lines().next().unwrap_or_default().trim().to_owned())
        }),
        "mongodb" => documents(span, &["mongodb.query"], &how.mongodb),
        "elasticsearch" => documents(span, &["elasticsearch.body"], &how.elasticsearch),
        "opensearch" => documents(span, &["opensearch.body", "elasticsearch.body"], &how.opensearch),
        _ => {}
    }
    change(span, keys::trace::HTTP_URL, |text| url(text, how));
    if how.cards {
        for (key, value) in span.meta.iter_mut().filter(|(key, _)| !key.starts_with('_')) {
            if card::is_card(value, how.cards_luhn) && !is_id(key) && !how.cards_keep.contains(key) {
                *value = Text::Borrowed("?");
            }
        }
    }
}

fn change(span: &mut Span, key: &str, how: impl Fn(&str) -> Option<String>) {
    for value in span.meta.iter_mut().filter(|(k, _)| *k == key).map(|(_, value)| value) {
        if let Some(changed) = how(value).filter(|changed| changed != value) {
            *value = changed.into();
        }
    }
}

/// Tags of tracers and of AWS that are numbers and no cards.
fn is_id(key: &str) -> bool {
    key.ends_with("_id") || key.ends_with(".id") || key == "id" || key.contains("timestamp")
}

fn statement(span: &mut Span) {
    let hidden = sql::hide(&span.resource);
    for key in ["db.statement", "db.query.text"] {
        change(span, key, |text| Some(sql::hide(text)));
    }
    if !hidden.is_empty() {
        span.meta.insert("sql.query", hidden.clone());
        span.resource = hidden.into();
    }
}

/// Hides values in queries: under the names that tracers give them, and where OpenTelemetry has the statement,
/// which is the resource too.
fn documents(span: &mut Span, names: &[&str], how: &Documents) {
    if !how.hide {
        return;
    }
    for name in names {
        change(span, name, |text| Some(json::hide(text, how)));
    }
    let is_document = |text: &str| text.trim_start().starts_with(['{', '[']);
    for name in ["db.statement", "db.query.text"] {
        change(span, name, |text| is_document(text).then(|| json::hide(text, how)));
    }
    if is_document(&span.resource) {
        span.resource = json::hide(&span.resource, how).into();
    }
}

/// The names of the commands of a pipeline, one a line: the first three, and a mark where there may be more.
fn commands(text: &str) -> String {
    const MOST: usize = 3;
    const MORE: &str = "...";
    const OF_TWO_WORDS: [&str; 6] = ["CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "SCRIPT"];
    let (mut names, mut is_cut) = (Vec::new(), false);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else { continue };
        let name = first.to_uppercase();
        let second = words.next().filter(|_| OF_TWO_WORDS.contains(&name.as_str()));
        // Tracers mark so what they cut.
        is_cut = first.ends_with(MORE) || second.is_some_and(|second| second.ends_with(MORE));
        if is_cut {
            continue;
        }
        names.push(second.map_or(name.clone(), |second| format!("{name} {}", second.to_uppercase())));
        if names.len() == MOST {
            break;
        }
    }
    if names.len() == MOST || is_cut {
        names.push(MORE.to_owned());
    }
    names.join(" ")
}

/// A raw command without what may be a value: of each line the command and, where it has one, the key stay.
fn arguments(text: &str, all: bool) -> String {
    const WITHOUT_KEY: [&str; 5] = ["AUTH", "HELLO", "ECHO", "PING", "EVAL"];
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let command = words.first().copied().unwrap_or_default();
        let kept = if all || WITHOUT_KEY.contains(&command.to_uppercase().as_str()) { 1 } else { 2 };
        let hidden = if words.len() > kept { &["?"][..] } else { &[] };
        words.iter().take(kept).chain(hidden).copied().collect::<Vec<_>>().join(" ")
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A URL without a user's name and password, and without what `how` says. `None`: as it is.
fn url(text: &str, how: &Obfuscation) -> Option<String> {
    if !how.url_query && !how.url_digits && !text.contains('@') {
        return None;
    }
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end)?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, tail) = rest.split_at_checked(end)?;
    let segment = |part: &str| match how.url_digits && part.contains(|c: char| c.is_ascii_digit()) {
        true => "?".to_owned(),
        false => part.to_owned(),
    };
    let path: Vec<_> = path.split('/').map(segment).collect();
    let (query, part) = tail.split_at_checked(tail.find('#').unwrap_or(tail.len()))?;
    let query = if how.url_query && query.len() > 1 { "?" } else { query };
    let scheme = if scheme.is_empty() { String::new() } else { format!("{scheme}://") };
    Some(format!("{scheme}{host}{}{query}{part}", path.join("/")))
}

#[cfg(test)]
mod tests {
    use model::{SpanId, TraceId};
    use proptest::prelude::{any, proptest};

    use super::*;

    const ALL: Obfuscation = Obfuscation {
        url_query: true,
        url_digits: true,
        redis: true,
        redis_all: false,
        memcached: true,
        memcached_keep: true,
        cards: true,
        cards_luhn: true,
        cards_keep: Vec::new(),
        mongodb: Documents::ALL,
        elasticsearch: Documents::ALL,
        opensearch: Documents::ALL,
    };

    fn check(kind: &'static str, resource: &'static str, tag: (&'static str, &'static str), want: &str) {
        check_with(&ALL, kind, resource, tag, want);
    }

    fn check_with(
        how: &Obfuscation,
        kind: &'static str,
        resource: &'static str,
        (key, value): (&'static str, &'static str),
        want: &str,
    ) {
        let mut one = Span::new("n", TraceId::new(0, 1).unwrap(), SpanId::new(2).unwrap(), None);
        (one.kind, one.resource) = (kind.into(), resource.into());
        one.meta.insert(key, value);
        span(&mut one, how);
        assert_eq!(format!("{} | {}", one.resource, one.meta.get(key).unwrap()), want);
    }

    #[test]
    fn spans() {
        check("sql", "SELECT 1", ("db.statement", "SELECT 'a'"), "SELECT ? | SELECT ?");
        check("sql", "SELECT 1", ("sql.query", "SELECT 1"), "SELECT ? | SELECT ?");
        check("web", "SELECT 1", ("db.statement", "SELECT 'a'"), "SELECT 1 | SELECT 'a'");
        check("redis", "SET k v", ("redis.raw_command", "SET k v EX 3"), "SET | SET k ?");
        check(
            "redis",
            "config get x\nGET a\nGET b\nGET c",
            ("redis.raw_command", "AUTH pw"),
            "CONFIG GET GET GET ... | AUTH ?",
        );
        check("valkey", "GET a", ("valkey.raw_command", "GET a\nAUTH u p"), "GET | GET a\nAUTH ?");
        check("memcached", "set", ("memcached.command", "set k 0 0 5\r\nvalue"), "set | set k 0 0 5");
        check("mongodb", "find users", ("mongodb.query", r#"{"name":"x"}"#), r#"find users | {"name":"?"}"#);
        check("mongodb", r#"{"find":"a"}"#, ("db.statement", "db.a.find"), r#"{"find":"?"} | db.a.find"#);
        check("elasticsearch", "GET x", ("elasticsearch.body", "{\"a\":1}\n{}"), "GET x | {\"a\":\"?\"}\n{}");
        check("opensearch", "GET x", ("opensearch.body", "secret"), "GET x | ...");
        check("web", "r", ("card", "4111 1111 1111 1111"), "r | ?");
        check("web", "r", ("order_id", "4111111111111111"), "r | 4111111111111111");
        check("web", "r", ("_own", "4111111111111111"), "r | 4111111111111111");
        let none = Obfuscation { redis: false, memcached: false, cards: false, ..Obfuscation::default() };
        check_with(&none, "web", "r", ("card", "4111111111111111"), "r | 4111111111111111");
        check_with(&none, "redis", "GET a", ("redis.raw_command", "GET a b c"), "GET | GET a b c");
        let open =
            Obfuscation { mongodb: Documents { hide: false, ..Documents::ALL }, ..Obfuscation::default() };
        check_with(&open, "mongodb", "r", ("mongodb.query", r#"{"a":1}"#), r#"r | {"a":1}"#);
        let more = Obfuscation {
            redis_all: true,
            memcached_keep: false,
            cards_luhn: false,
            cards_keep: vec!["kept".into()],
            ..Obfuscation::default()
        };
        check_with(&more, "redis", "GET a", ("redis.raw_command", "GET a b\nSET k v"), "GET | GET ?\nSET ?");
        check_with(&more, "memcached", "g", ("memcached.command", "set k\r\nv"), "g | ");
        check_with(&more, "web", "r", ("card", "4111111111111112"), "r | ?");
        check_with(&more, "web", "r", ("kept", "4111111111111111"), "r | 4111111111111111");
        check_with(&ALL, "web", "r", ("card", "4111111111111112"), "r | 4111111111111112");
        check_with(&none, "memcached", "g", ("memcached.command", "set k\r\nv"), "g | set k\r\nv");
    }

    /// Nothing has to be set for it.
    #[test]
    fn values_of_queries_and_commands_are_hidden_by_default() {
        let usual = Obfuscation::default();
        let check = |kind, tag: (&'static str, &'static str)| {
            let mut one = Span::new("n", TraceId::new(0, 1).unwrap(), SpanId::new(2).unwrap(), None);
            (one.kind, one.resource) = (kind, "r".into());
            one.meta.insert(tag.0, tag.1);
            span(&mut one, &usual);
            let left = one.meta.get(tag.0).unwrap();
            assert!(!left.contains("secret") && !left.contains("4111"), "{} {tag:?}: {left}", one.kind);
        };
        check("sql".into(), ("db.statement", "SELECT * FROM t WHERE a = 'secret'"));
        check("cassandra".into(), ("db.statement", "SELECT * FROM t WHERE a = 'secret'"));
        check("redis".into(), ("redis.raw_command", "SET key secret"));
        check("valkey".into(), ("valkey.raw_command", "SET key secret"));
        check("memcached".into(), ("memcached.command", "set key 0 0 6\r\nsecret"));
        check("mongodb".into(), ("mongodb.query", r#"{"name":"secret"}"#));
        check("elasticsearch".into(), ("elasticsearch.body", r#"{"query":{"match":{"name":"secret"}}}"#));
        check("opensearch".into(), ("opensearch.body", r#"{"query":{"match":{"name":"secret"}}}"#));
        check("web".into(), ("card", "4111 1111 1111 1111"));
        check("http".into(), ("http.url", "https://user:secret@example.com/"));
    }

    #[test]
    fn urls() {
        let check = |how: &Obfuscation, text: &str, want: &str| {
            assert_eq!(url(text, how).as_deref().unwrap_or(text), want);
        };
        let usual = &Obfuscation::default();
        check(usual, "https://me:pw@h:1/a/2?b=3#c", "https://h:1/a/2?b=3#c");
        check(usual, "https://h", "https://h");
        check(usual, "/a?b", "/a?b");
        check(usual, "", "");
        check(usual, "https://h/a@b", "https://h/a@b");
        check(&ALL, "https://h1/a/2/x3y?b=3", "https://h1/a/?/??");
        check(&ALL, "https://h/a?", "https://h/a?");
        check(&ALL, "https://h/a#2", "https://h/a#2");
        check(&ALL, "https://h/a?b=3#c", "https://h/a?#c");
    }

    proptest! {
        #[test]
        fn any_text_does_no_harm(text in any::<String>()) {
            for kind in ["sql", "redis", "memcached", "web", "mongodb", "elasticsearch", "opensearch"] {
                let mut one = Span::new("n", TraceId::new(0, 1).unwrap(), SpanId::new(2).unwrap(), None);
                (one.kind, one.resource) = (kind.into(), text.clone().into());
                for key in ["db.statement", "redis.raw_command", "memcached.command", "http.url", "x"] {
                    one.meta.insert(key, text.clone());
                }
                span(&mut one, &ALL);
            }
        }
    }
}
