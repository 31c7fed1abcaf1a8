//! What is taken out here beside what Datadog's own library takes out of the same texts. Texts are made up from seeds; a
//! failure prints the smallest.

use libdd_trace_obfuscation::{
    credit_cards, http, json::JsonObfuscator, memcached, obfuscation_config::JsonObfuscatorConfig, redis,
    sql as theirs,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use super::{Documents, Obfuscation, arguments, card, commands, json, sql, url};

/// Of Redis: with keys, with values, and what is none.
const COMMANDS: &str = "(GET|SET|set|AUTH|APPEND|GETSET|HSET|HMSET|MSET|LINSERT|SADD|GEOADD|ZADD|BITFIELD|CONFIG SET|CONFIG GET|CLIENT|SCRIPT|EVAL|SETEX|nothing|GET[.]{3}|CONFIG S[.]{3})";

fn made(pattern: &str) -> impl Strategy<Value = String> + use<> {
    proptest::string::string_regex(pattern).unwrap()
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|n: f64| json!(n)),
        "[a-zA-Z \\\\\"{}\\[\\],:é]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let keys = "[a-d]|[a-z \\\"é]{1,5}";
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(keys, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn names_of_redis_commands_are_the_same(text in made(&format!("( ?{COMMANDS}( [a-z]{{1,4}}){{0,3}} ?\n?){{0,5}}"))) {
        prop_assert_eq!(commands(&text), redis::quantize_redis_string(&text), "{:?}", text);
    }

    /// Here all that may be a value goes; what goes there goes here.
    #[test]
    fn of_redis_nothing_stays_that_goes_there(lines in vec((made(COMMANDS), 0..8usize), 1..4)) {
        let mut number = 0;
        let mut word = || {
            number += 1;
            format!("v{number}v")
        };
        let lines: Vec<String> = lines
            .into_iter()
            .map(|(command, words)| std::iter::once(command).chain((0..words).map(|_| word())).collect::<Vec<_>>().join(" "))
            .collect();
        let text = lines.join("\n");
        let (ours, theirs) = (arguments(&text, false), redis::obfuscate_redis_string(&text));
        for n in 1..=number {
            let word = format!("v{n}v");
            prop_assert!(theirs.contains(&word) || !ours.contains(&word), "{word} of {text:?}: {ours:?}, theirs {theirs:?}");
        }
    }

    #[test]
    fn of_memcached_the_same_stays(text in "[a-z0-9 ]{0,12}(\r\n[a-z ]{0,5}){0,3}") {
        let ours = text.lines().next().unwrap_or_default().trim();
        prop_assert_eq!(ours, memcached::obfuscate_memcached_string(&text), "{:?}", text);
    }

    #[test]
    fn of_urls_the_same_stays(
        text in "(https?://(me(:secret)?@)?[a-z]{1,5}(:80)?)?(/[a-z0-9._~-]{1,5}){1,4}/?([?][a-z]=[0-9a-z]{0,3})?(#[a-z]{1,3})?",
        query in any::<bool>(),
        digits in any::<bool>(),
    ) {
        let how = Obfuscation { url_query: query, url_digits: digits, ..Obfuscation::default() };
        let ours = url(&text, &how).unwrap_or_else(|| text.clone());
        prop_assert_eq!(ours, http::obfuscate_url_string(&text, query, digits), "{:?}", text);
    }

    #[test]
    fn of_documents_the_same_stays(all in vec(documents(), 1..3), between in "[ \n\t]{0,2}", keep in vec("[a-d]", 0..2)) {
        let how = Documents { keep: keep.iter().map(|key| key.clone().into()).collect(), ..Documents::ALL };
        let config = JsonObfuscatorConfig { keep_keys: keep.into_iter().collect(), ..JsonObfuscatorConfig::enabled() };
        let all = all.into_iter().map(|one| json!({ "query": one }));
        let text = all.map(|one| one.to_string()).collect::<Vec<_>>().join(&between) + &between;
        let (theirs, error) = JsonObfuscator::new(config).obfuscate(&text);
        prop_assert!(error.is_none(), "{text}");
        prop_assert_eq!(json::hide(&text, &how), theirs, "{}", text);
    }

    #[test]
    fn cards_are_the_same(
        begin in "(4|5[1-5]|34|37|30[0-5]|36|3[89]|6011|64[4-9]|65|62|35[3-8][0-9]|[0-9])",
        rest in "[0-9]{8,12}",
        gap in "( |-|)",
    ) {
        let mut digits = format!("{begin}{rest}");
        digits.truncate(15);
        // The check digit that makes a card of it, and one that does not.
        for check in 0..10 {
            let number = format!("{digits}{check}");
            let (first, rest) = number.split_at(6);
            let text = format!("{first}{gap}{rest}");
            let (ours, theirs) = (card::is_card(&text, true), credit_cards::is_card_number(&text, true));
            // It does not look at how long numbers of a scheme are, and knows some more beginnings.
            prop_assert!(!ours || theirs, "{text}");
            prop_assert!(ours || !theirs || !(begin == "4" && number.len() == 16), "{text}");
        }
    }

    #[test]
    fn of_statements_the_same_stays(text in statements()) {
        prop_assert_eq!(sql::hide(&text), theirs::obfuscate_sql_string(&text).unwrap(), "{:?}", text);
    }
}

/// All that is known to differ: what is hidden, how it is written here and there, and why it stays so.
const DIFFERENT: [(&str, &str, &str, &str); 7] = [
    ("SELECT a+b*2 FROM t", "SELECT a + b * ? FROM t", "SELECT a + b*2 FROM t", "its number stays"),
    ("SELECT a -1", "SELECT a - ?", "SELECT a ?", "a difference is none of its numbers"),
    ("SELECT 1, 'a', b", "SELECT ?, b", "SELECT ? b", "a comma behind two values is lost"),
    ("SELECT DATE 'x', b", "SELECT DATE ?, b", "SELECT DATE ? b", "the same"),
    ("WITH x AS (SELECT 1)", "WITH x AS ( SELECT ? )", "WITH x SELECT ? )", "a bracket is lost"),
    ("SELECT [a] FROM [t]", "SELECT [a] FROM [t]", "SELECT [ a ] FROM [ t ]", "it is a name"),
    ("SELECT u.\"id\"", "SELECT u.id", "SELECT u. id", "it is one name"),
];

#[test]
fn statements_that_differ() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility-tracers.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    for (statement, ours, datadog, why) in DIFFERENT {
        assert_eq!(sql::hide(statement), ours);
        assert_eq!(theirs::obfuscate_sql_string(statement).unwrap(), datadog);
        let row = format!("| `{statement}` | `{datadog}` | `{ours}` | {why} |");
        assert!(docs.contains(&row), "{row}");
    }
}

/// Statements as programs write them.
fn statements() -> impl Strategy<Value = String> {
    let value = || made("('[a-z ]{0,5}'|'it''s'|[0-9]{1,4}|[0-9][.][0-9]{1,2}|NULL|TRUE|[?])");
    let name = || made("(users|orders|a|b|t1|u[.]id|o[.]name|\"u\"|`t`|\"u\"[.]\"id\"|`u`[.]`id`)");
    let sign = || made("(=|<|>|<=|>=|<>|!=|LIKE|IS NOT| = -1 AND b =)");
    prop_oneof![
        (name(), name(), sign(), value())
            .prop_map(|(a, t, s, v)| format!("SELECT {a} AS \"x\" FROM {t} as `y` WHERE {a} {s} {v};")),
        (name(), name(), value()).prop_map(|(a, t, v)| format!(
            "SELECT {a}::text, {t}.*, COUNT(*) FROM {t} GROUP BY {a} HAVING COUNT(*) > {v} OFFSET 5"
        )),
        (name(), vec(value(), 1..5))
            .prop_map(|(a, v)| format!("SELECT * FROM t WHERE {a} IN ({})", v.join(", "))),
        (vec(value(), 1..4)).prop_map(|v| format!("INSERT INTO t (a, b) VALUES ({})", v.join(", "))),
        (name(), value(), value()).prop_map(|(a, v, w)| format!("UPDATE t SET {a} = {v} WHERE b >= {w}")),
        (name(), value()).prop_map(|(a, v)| format!("delete from t where {a} <> {v} -- because")),
        (name(), name(), value()).prop_map(|(a, b, v)| format!(
            "SELECT {a}, {b} FROM t JOIN o ON {a} = {b} WHERE c LIKE {v} /* x */ LIMIT 10"
        )),
    ]
}
