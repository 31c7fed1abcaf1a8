//! What is read, what is refused, and that nothing is read otherwise than by a whole parser of YAML.

use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert_eq, proptest};
use serde_json::json;
use yaml_rust2::parser::{Event, Parser};
use yaml_rust2::scanner::TScalarStyle;

use super::*;

fn read(text: &str, want: &Value) {
    assert_eq!(parse(text).as_ref(), Ok(want), "{text}");
    assert_eq!(oracle(text).as_ref(), Some(want), "{text}");
}

#[test]
fn documents() {
    read("", &Value::Null);
    read("# nothing\n\n", &Value::Null);
    read("---\nsite: datadoghq.eu\n...\n", &json!({"site": "datadoghq.eu"}));
    read("\u{feff}a: b\r\nc: d\r\n", &json!({"a": "b", "c": "d"}));
    read(
        "# ours\nsite: datadoghq.eu # Europe\nversion: 1.10\napi_key: 0123\nempty:\nnone: ~\nurl: https://a:8/b#c\n",
        &json!({"site": "datadoghq.eu", "version": "1.10", "api_key": "0123", "empty": null, "none": null,
                "url": "https://a:8/b#c"}),
    );
    let rules = r##"
logs_config:
  use_compression: false

  # deeper
  processing_rules:
  - type: exclude_at_match
    name: a
    pattern: "^\\d+ \u00e9"
  -  type: mask_sequences
     pattern: '''x'': #'
     replace_placeholder: ""
tags:
  - team:shop
  - "a b"
"##;
    read(
        rules,
        &json!({"logs_config": {"use_compression": "false", "processing_rules": [
                    {"type": "exclude_at_match", "name": "a", "pattern": "^\\d+ \u{e9}"},
                    {"type": "mask_sequences", "pattern": "'x': #", "replace_placeholder": ""}]},
                "tags": ["team:shop", "a b"]}),
    );
    let brackets = r##"
additional_endpoints:
  "https://a.eu":
  - k1
  https://b.eu: [k2, 'k3', ]
rules: [ {"type":"x", a: b
  , c: },
  # more
  {}]
nested:
- - 1
  - 2
-
  x: y
"##;
    read(
        brackets,
        &json!({"additional_endpoints": {"https://a.eu": ["k1"], "https://b.eu": ["k2", "k3"]},
                "rules": [{"type": "x", "a": "b", "c": null}, {}], "nested": [["1", "2"], {"x": "y"}]}),
    );
    read(
        "a: |\n  one\n    two\n\n  three\n\nb: >-\n  one\n  two\n\n  three\nc:\n- |-\n x\n- y\n",
        &json!({"a": "one\n  two\n\nthree\n", "b": "one two\nthree", "c": ["x", "y"]}),
    );
}

#[test]
fn what_is_not_read_is_told_with_its_line() {
    let check = |text: &str, line: usize, part: &str| {
        let trouble = parse(text).unwrap_err();
        assert!(trouble.line == line && trouble.what.contains(part), "{text}: {trouble}");
    };
    check("a: b\n\tc: d", 2, "tab");
    check("a: b\n  c: d", 2, "second line");
    check("a:\n    b: c\n  d: e", 3, "indented");
    check("a: b\nc", 2, "colon");
    check("a: &x b", 1, "anchors");
    check("a: *x", 1, "anchors");
    check("a: !!str b", 1, "anchors");
    check("a:\n  <<: b", 2, "anchors");
    check("a: \"b", 1, "quote");
    check("a: 'b\n  c'", 1, "quote");
    check("a: \"\\q\"", 1, "backslash");
    check("a: \"b\" c", 1, "more on this line");
    check("a: b: c", 1, "in quotes");
    check("a: @b", 1, "in quotes");
    check("a: [b", 1, "not closed");
    check("a: {b c}", 1, "colon");
    check("a: [b: c]", 1, "comma");
    check("a: b\na: c", 2, "twice");
    check("a: |+\n  b", 1, "block");
    check("a: b\n---\nc: d", 2, "one document");
    check("a: \u{1}", 1, "cannot be seen");
    check(&"[".repeat(1000), 1, "deep");
    check(&"- ".repeat(1000), 1, "deep");
}

/// What another parser makes of it, all values as texts. `None`: nothing, or what is not read here on purpose.
fn oracle(text: &str) -> Option<Value> {
    fn node(event: Event, parser: &mut Parser<std::str::Chars<'_>>) -> Option<Value> {
        match event {
            Event::Scalar(text, TScalarStyle::Plain, 0, None) => Some(null_or(text)),
            Event::Scalar(text, _, 0, None) => Some(Value::String(text)),
            Event::SequenceStart(0, None) => {
                let mut items = Vec::new();
                loop {
                    match parser.next_token().ok()?.0 {
                        Event::SequenceEnd => return Some(Value::Array(items)),
                        event => items.push(node(event, parser)?),
                    }
                }
            }
            Event::MappingStart(0, None) => {
                let mut map = Map::new();
                loop {
                    let key = match parser.next_token().ok()?.0 {
                        Event::MappingEnd => return Some(Value::Object(map)),
                        Event::Scalar(key, _, 0, None) => key,
                        _ => return None,
                    };
                    let value = parser.next_token().ok()?.0;
                    map.insert(key, node(value, parser)?);
                }
            }
            _ => None,
        }
    }
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut found = None;
    loop {
        match parser.next_token().ok()?.0 {
            Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart if found.is_none() => {}
            Event::StreamEnd => return found.or(Some(Value::Null)),
            event if found.is_none() => found = Some(node(event, &mut parser)?),
            _ => return None,
        }
    }
}

/// A value as block YAML, its texts in one of three styles.
fn write(value: &Value, indent: usize, style: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (number, (key, value)) in map.iter().enumerate() {
                out.push_str(&format!("\n{pad}{}:", Value::from(key.as_str())));
                write(value, indent + 2, style + number, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (number, item) in items.iter().enumerate() {
                out.push_str(&format!("\n{pad}-"));
                write(item, indent + 1 + style % 3, style + number, out);
            }
        }
        Value::String(text) if style % 3 == 1 && !text.contains('\n') => {
            out.push_str(&format!(" '{}' # so", text.replace('\'', "''")));
        }
        Value::String(text) if style % 3 == 2 && is_for_a_block(text) => {
            let pad = if indent == 0 { " " } else { &pad };
            let line = |line: &str| if line.is_empty() { String::new() } else { format!("{pad}{line}") };
            let lines: Vec<_> = text.split('\n').map(line).collect();
            out.push_str(&format!(" |-\n{}", lines.join("\n")));
        }
        // JSON is YAML.
        value => out.push_str(&format!(" {value}")),
    }
}

fn is_for_a_block(text: &str) -> bool {
    !text.is_empty() && !text.starts_with([' ', '\n']) && !text.ends_with('\n')
}

fn values() -> impl Strategy<Value = Value> {
    let text = "[a-z:#'\"\\\\{}, \n-]{0,8}".prop_map(Value::String);
    let leaf = proptest::prop_oneof![text, proptest::prelude::Just(Value::Null)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        proptest::prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-z: #]{1,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn what_is_written_is_read(value in values(), style in 0_usize..6) {
        let mut text = String::new();
        write(&value, 0, style, &mut text);
        prop_assert_eq!(parse(&text), Ok(value), "{}", text);
    }

    /// Lines put together at random: what both read they read alike. The last one is ended: the other parser takes
    /// blanks that are not for a line.
    #[test]
    fn nothing_is_misread(
        lines in prop::collection::vec((0_usize..5, prop::sample::select(FRAGMENTS)), 1..7),
    ) {
        let lines: Vec<_> =
            lines.into_iter().map(|(indent, text)| format!("{}{text}", " ".repeat(indent))).collect();
        let text = lines.join("\n") + "\n";
        if let (Ok(ours), Some(theirs)) = (parse(&text), oracle(&text)) {
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }

    #[test]
    fn no_text_is_misread(text in "[a-z:#'\"\\\\{}\\[\\], \n|>é-]{0,40}") {
        let text = text + "\n";
        if let (Ok(ours), Some(theirs)) = (parse(&text), oracle(&text)) {
            prop_assert_eq!(ours, theirs, "{}", text);
        }
    }
}

const FRAGMENTS: &[&str] = &[
    "a: b",
    "a:",
    "b: c # d",
    "c:",
    "- x",
    "-",
    "- a: b",
    "- - y",
    "# z",
    "",
    "text",
    "\"q\": 'r'",
    "'s'",
    "d: |",
    "e: >-",
    "f: [1, 2]",
    "g: {h: i}",
    "[",
    "]",
    "{",
    "}",
    ",",
    "j: [",
    "k: {l:",
    "m: ~",
    "-  n: o",
    "p: q#r",
    "s:t",
    "a : b",
    "- |",
    "- [x]",
    "u: 'it''s'",
    "v: \"\\n\"",
    "...",
    "---",
    "w: x y  z",
    "- ",
    "? a",
    ": b",
    "a: - b",
    "a: b:",
    "a: 'b' # c",
];
