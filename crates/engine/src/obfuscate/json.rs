//! JSON documents without their values, as databases take them for queries: `{"name":"x"}` becomes
//! `{"name":"?"}`. Several documents may follow each other. What is no JSON ends with `...`.

use model::Text;

use super::sql;

/// What is taken out of the queries of one kind of database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Documents {
    pub hide: bool,
    /// Keys whose values stay, with all that is in them.
    pub keep: Vec<Text>,
    /// Keys whose values are SQL, of which only the values in it go.
    pub sql: Vec<Text>,
}

impl Documents {
    /// All values, of all keys.
    pub const ALL: Self = Self { hide: true, keep: Vec::new(), sql: Vec::new() };
}

/// The documents without their values.
pub(super) fn hide(text: &str, how: &Documents) -> String {
    let mut scan =
        Scan { how, out: String::with_capacity(text.len()), open: Vec::new(), key: "", kept: None };
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let Some(length) = scan.token(rest, first) else {
            scan.out.push_str("...");
            break;
        };
        let behind = rest.get(length..).unwrap_or_default();
        rest = behind.trim_start();
        // Documents stay as far apart as they were: one on each line, say.
        if scan.open.is_empty() {
            scan.out.push_str(behind.strip_suffix(rest).unwrap_or_default());
        }
    }
    scan.out
}

struct Scan<'a> {
    how: &'a Documents,
    out: String,
    /// The containers that are open; whether each is an object whose next text is a key.
    open: Vec<(Kind, bool)>,
    /// The last key, without its quotes.
    key: &'a str,
    /// How many containers are open around the value that stays.
    kept: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Object,
    Array,
}

impl<'a> Scan<'a> {
    /// Takes the token that `rest` begins with; gives its length. `None`: this is no JSON.
    fn token(&mut self, rest: &'a str, first: char) -> Option<usize> {
        match first {
            '{' | '[' => {
                if self.kept.is_none() && self.how.keep.iter().any(|key| key == self.key) {
                    self.kept = Some(self.open.len());
                }
                let kind = if first == '{' { Kind::Object } else { Kind::Array };
                self.open.push((kind, kind == Kind::Object));
                // A key holds for what stands directly behind it; what is in a list has the list's.
                if kind == Kind::Object {
                    self.key = "";
                }
            }
            '}' | ']' => {
                let (kind, _) = self.open.pop()?;
                if (kind == Kind::Object) != (first == '}') {
                    return None;
                }
                if self.kept.is_some_and(|around| self.open.len() <= around) {
                    self.kept = None;
                }
                self.key = "";
            }
            ',' => {
                let (kind, is_key_next) = self.open.last_mut()?;
                *is_key_next = *kind == Kind::Object;
            }
            ':' => self.open.last_mut().filter(|(kind, _)| *kind == Kind::Object)?.1 = false,
            '"' => return self.text(rest),
            _ => return self.literal(rest),
        }
        self.out.push(first);
        Some(1)
    }

    fn text(&mut self, rest: &'a str) -> Option<usize> {
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let length = end?.0 + 1;
        let token = rest.get(..length)?;
        let inner = token.get(1..length - 1)?;
        if self.open.last().is_some_and(|(_, is_key)| *is_key) {
            self.key = inner;
            self.out.push_str(token);
            return Some(length);
        }
        if self.how.sql.iter().any(|key| key == self.key) && self.kept.is_none() {
            let plain = serde_json::from_str::<String>(token).unwrap_or_default();
            self.out.push_str(&serde_json::Value::from(sql::hide(&plain)).to_string());
            return Some(length);
        }
        self.value(token);
        Some(length)
    }

    /// A number, `true`, `false` or `null`.
    fn literal(&mut self, rest: &'a str) -> Option<usize> {
        let length =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(rest.len());
        let token = rest.get(..length)?;
        if !["true", "false", "null"].contains(&token) && token.parse::<f64>().is_err() {
            return None;
        }
        self.value(token);
        Some(length)
    }

    fn value(&mut self, token: &str) {
        let stays = self.kept.is_some() || self.how.keep.iter().any(|key| key == self.key);
        self.out.push_str(if stays { token } else { "\"?\"" });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    fn check_with(keep: &[&'static str], sql: &[&'static str], text: &str, want: &str) {
        let list = |keys: &[&'static str]| keys.iter().map(|key| Text::Borrowed(key)).collect();
        let how = Documents { hide: true, keep: list(keep), sql: list(sql) };
        assert_eq!(hide(text, &how), want, "{text}");
    }

    #[test]
    fn documents() {
        let check = |text: &str, want: &str| check_with(&[], &[], text, want);
        check(r#"{"query": {"match": {"name": "secret"}}}"#, r#"{"query":{"match":{"name":"?"}}}"#);
        check(r#"{"a": [1, -2.5e3, true, null, "x"], "b": {}}"#, r#"{"a":["?","?","?","?","?"],"b":{}}"#);
        check(r#"{"a": "with \" quote", "b\"c": 1}"#, r#"{"a":"?","b\"c":"?"}"#);
        check("{\"index\":{\"_id\":1}}\n{\"a\":\"b\"}\n", "{\"index\":{\"_id\":\"?\"}}\n{\"a\":\"?\"}\n");
        check("", "");
        check("\"secret\"", "\"?\"");
        check("{\"a\": secret}", "{\"a\":...");
        check("{\"a\": \"secret", "{\"a\":...");
        check("{\"a\": [1}", "{\"a\":[\"?\"...");
        check("find users", "...");
        check("{\"a\":ObjectId(\"secret\")}", "{\"a\":...");
    }

    #[test]
    fn keys_that_stay() {
        check_with(&["size", "_source"], &[], r#"{"size": 10, "q": "x"}"#, r#"{"size":10,"q":"?"}"#);
        check_with(
            &["_source"],
            &[],
            r#"{"_source": {"in": ["a", {"b": 1}]}, "x": ["a"], "_source": ["k", 1], "y": 1}"#,
            r#"{"_source":{"in":["a",{"b":1}]},"x":["?"],"_source":["k",1],"y":"?"}"#,
        );
        check_with(
            &[],
            &["query"],
            r#"{"query": "SELECT a FROM t WHERE b = 'secret'", "x": "SELECT 1"}"#,
            r#"{"query":"SELECT a FROM t WHERE b = ?","x":"?"}"#,
        );
    }

    proptest! {
        /// Whatever stands around it, a text that is a value does not leave.
        #[test]
        fn values_never_leave(before in "[\\{\\[\"a:, 1]{0,20}", value in "[A-Z]{4,9}", after in "[\\}\\]\"a:, 1]{0,20}") {
            let whole = format!("{{\"k\":\"{value}\",{before} \"k\" : [\"{value}\"{after}");
            let hidden = hide(&whole, &Documents::ALL);
            let as_key = format!("\"{value}\"");
            // A text may come to stand where a key is.
            prop_assert!(hidden.matches(&value).count() <= hidden.matches(&as_key).count(), "{hidden}");
            prop_assert!(hidden.starts_with("{\"k\":\"?\""), "{hidden}");
        }

        #[test]
        fn any_text_is_taken(text in "\\PC{0,60}") {
            let _ = hide(&text, &Documents { keep: vec!["a".into()], sql: vec!["b".into()], ..Documents::ALL });
        }
    }
}
