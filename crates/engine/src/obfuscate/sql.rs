//! SQL without its values: literals become `?`, comments go, lists of values become one, white space becomes
//! one blank. Knows words, texts, numbers and signs of all dialects, not their grammar: what is not understood
//! is rather hidden than shown.

/// A statement without its values.
pub(crate) fn hide(statement: &str) -> String {
    let mut out = Out { text: String::with_capacity(statement.len()), last: String::new(), names: None };
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let length = length(rest, first, &out.last);
        // Every kind takes at least its first character; a cut within one is none.
        let (token, behind) = rest.split_at_checked(length.max(first.len_utf8())).unwrap_or((rest, ""));
        out.put(token, first);
        rest = behind;
    }
    out.text
}

struct Out {
    text: String,
    /// The token before, in upper case.
    last: String,
    /// `AS`, with what it says next.
    names: Option<String>,
}

impl Out {
    fn put(&mut self, token: &str, first: char) {
        // What ends a statement, and what another name it gives to something, say nothing of it.
        if first.is_whitespace() || is_comment(token) || token == ";" {
            return;
        }
        if let Some(word) = self.names.take() {
            // But of a part of the statement, or of a view.
            if !["(", "SELECT", "WITH", "VALUES"].iter().any(|word| token.eq_ignore_ascii_case(word)) {
                return;
            }
            self.push(&word, false);
        }
        if token.eq_ignore_ascii_case("AS") {
            self.names = Some(token.to_owned());
            return;
        }
        let shown = match first {
            '\'' => "?",
            '"' if self.expects_value() => "?",
            '"' | '`' => unquoted(token, first),
            '$' if is_dollar_text(token) => "?",
            _ if is_number(token, first) => "?",
            _ if ["NULL", "TRUE", "FALSE"].iter().any(|word| token.eq_ignore_ascii_case(word)) => "?",
            _ => token,
        };
        // `?, ?` and `( ? ), ( ? )` say no more than one of them.
        if shown == "?" && self.text.ends_with("?,") {
            self.text.truncate(self.text.len() - 1);
        } else if shown == ")" && self.text.ends_with("( ? ), ( ?") {
            self.text.truncate(self.text.len() - "), ( ?".len());
            self.text.push(')');
        } else {
            // `a.b` is one name, `"a"."b"` two; `"a".*` is one again.
            let is_quoted = |text: &str| text.ends_with(['"', '`', ']']);
            if shown == "*" && self.text.ends_with(" .") {
                self.text.truncate(self.text.len() - " .".len());
                self.text.push('.');
            }
            let is_tight = shown == ","
                || shown == "." && !is_quoted(&self.last)
                || self.text.ends_with('.') && !self.text.ends_with(" .");
            self.push(shown, is_tight);
        }
        self.last = token.to_uppercase();
    }

    fn push(&mut self, shown: &str, is_tight: bool) {
        if !is_tight && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(shown);
    }

    /// Behind a comparison a text in double quotes is a value (MySQL), elsewhere it is a name.
    fn expects_value(&self) -> bool {
        const BEFORE: [&str; 17] = [
            "=", "<", ">", "!", "<=", ">=", "<>", "!=", "<=>", "(", "LIKE", "ILIKE", "REGEXP", "RLIKE",
            "VALUES", "BETWEEN", "THEN",
        ];
        BEFORE.contains(&self.last.as_str()) || self.text.ends_with("?,")
    }
}

/// A name without its quotes.
fn unquoted(token: &str, quote: char) -> &str {
    let inner = token.strip_prefix(quote).unwrap_or(token);
    inner.strip_suffix(quote).unwrap_or(inner)
}

/// Signs of more than one character, the longer first.
const SIGNS: [&str; 12] = ["<=>", "->>", "#>>", "<=", ">=", "<>", "!=", "->", "#>", "@>", "<@", "::"];

/// How many bytes of `rest`, which begins with `first`, belong together.
fn length(rest: &str, first: char, last: &str) -> usize {
    let until = |end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
    match first {
        '\'' | '"' | '`' => quoted(rest, first),
        // Names in SQL Server; behind a name it is an array's index.
        '[' if rest.chars().nth(1).is_some_and(|c| c.is_alphabetic() || c == '_') => until("]"),
        '-' if rest.starts_with("--") => until("\n"),
        '#' if !rest.starts_with("#>") => until("\n"),
        '/' if rest.starts_with("/*") => until("*/"),
        '$' => dollar(rest),
        '-' if is_sign_of_number(rest, last) => 1 + number(rest.get(1..).unwrap_or_default()),
        '@' if rest.starts_with("@>") => 2,
        ':' if rest.starts_with("::") => 2,
        c if c.is_alphabetic() || "_@:".contains(c) => {
            let is_prefix = ["x'", "n'", "b'", "e'"]
                .iter()
                .any(|p| rest.get(..2).is_some_and(|two| two.eq_ignore_ascii_case(p)));
            let of = |c: char| c.is_alphanumeric() || "_$@".contains(c);
            if is_prefix { 1 } else { c.len_utf8() + run(rest.get(c.len_utf8()..).unwrap_or_default(), of) }
        }
        c if c.is_ascii_digit() => number(rest),
        '.' if rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) && !is_name(last) => number(rest),
        c if c.is_whitespace() => run(rest, char::is_whitespace),
        _ => SIGNS.iter().find(|sign| rest.starts_with(**sign)).map_or(0, |sign| sign.len()),
    }
}

/// Behind a name or a number it is what is done to two.
fn is_sign_of_number(rest: &str, last: &str) -> bool {
    const BEFORE: [&str; 10] = ["=", "<", ">", "<=", ">=", "<>", "!=", "<=>", "(", ","];
    rest.chars().nth(1).is_some_and(|c| c.is_ascii_digit()) && BEFORE.contains(&last)
}

fn run(rest: &str, of: impl Fn(char) -> bool) -> usize {
    rest.find(|c: char| !of(c)).unwrap_or(rest.len())
}

/// A number with all that hangs on it: `1.5e-3`, `0xff`, `1_000`.
fn number(rest: &str) -> usize {
    let mut before = ' ';
    let of = |c: char| {
        let belongs = c.is_alphanumeric() || "._".contains(c) || "+-".contains(c) && "eE".contains(before);
        before = c;
        belongs
    };
    let mut of = of;
    rest.char_indices().find(|(_, c)| !of(*c)).map_or(rest.len(), |(at, _)| at)
}

/// To the closing quote; a doubled or escaped one does not close. Without one: all that is left.
fn quoted(rest: &str, quote: char) -> usize {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote != '`' => {
                chars.next();
            }
            c if c == quote => match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return at + quote.len_utf8(),
            },
            _ => {}
        }
    }
    rest.len()
}

/// PostgreSQL's `$1`, and its texts `$tag$ … $tag$`.
fn dollar(rest: &str) -> usize {
    let name = 1 + run(rest.get(1..).unwrap_or_default(), |c| c.is_alphanumeric() || c == '_');
    let Some(mark) = rest.get(..=name).filter(|mark| mark.ends_with('$')) else { return name };
    let behind = rest.get(mark.len()..).unwrap_or_default();
    behind.find(mark).map_or(rest.len(), |at| at + 2 * mark.len())
}

fn is_dollar_text(token: &str) -> bool {
    token.chars().nth(1).is_none_or(|c| c == '$' || c.is_ascii_digit()) || token.matches('$').count() > 1
}

fn is_comment(token: &str) -> bool {
    token.starts_with("--") || token.starts_with("/*") || token.starts_with('#') && token.len() > 1
}

fn is_number(token: &str, first: char) -> bool {
    first.is_ascii_digit() || ".-".contains(first) && token.chars().nth(1).is_some_and(|c| c.is_ascii_digit())
}

fn is_name(last: &str) -> bool {
    last.ends_with(|c: char| c.is_alphanumeric() || "_\"`]".contains(c))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    #[test]
    fn statements() {
        let check = |statement: &str, want: &str| assert_eq!(hide(statement), want);
        check("SELECT * FROM users WHERE id = 42", "SELECT * FROM users WHERE id = ?");
        check(
            "select name from t where a='it''s' and b = 'x\\'y'",
            "select name from t where a = ? and b = ?",
        );
        check("SELECT 1.5e-3, 0xff, -2, .5", "SELECT ?");
        check("SELECT a FROM t WHERE id IN (1, 2, 'c')", "SELECT a FROM t WHERE id IN ( ? )");
        check("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')", "INSERT INTO t ( a, b ) VALUES ( ? )");
        check("SELECT a -- secret\nFROM t /* 'secret' */ WHERE b = NULL", "SELECT a FROM t WHERE b = ?");
        check("SELECT a # secret\nFROM t", "SELECT a FROM t");
        check("SELECT \"u\".\"id\" FROM \"users\" u", "SELECT u . id FROM users u");
        check("SELECT \"u\".*, u.* FROM `a`.`b`", "SELECT u.*, u.* FROM a . b");
        check(
            "SELECT a AS \"b\", c as d FROM t AS u WHERE b != \"secret\"",
            "SELECT a, c FROM t WHERE b != ?",
        );
        check("WITH x AS (SELECT 1) SELECT * FROM x", "WITH x AS ( SELECT ? ) SELECT * FROM x");
        check("CREATE VIEW v AS SELECT a FROM t", "CREATE VIEW v AS SELECT a FROM t");
        check("a >= -1 AND b <> \"x\" AND c - 1 > 0", "a >= ? AND b <> ? AND c - ? > ?");
        check("SELECT a FROM t WHERE b = \"secret\"", "SELECT a FROM t WHERE b = ?");
        check("SELECT `a` FROM `t1` WHERE t1.b LIKE \"s%\"", "SELECT a FROM t1 WHERE t1.b LIKE ?");
        check("SELECT [a b] FROM [t] WHERE x=@p1", "SELECT [a b] FROM [t] WHERE x = @p1");
        check("SELECT $1, $2 FROM t WHERE a = :name AND b = ?", "SELECT ? FROM t WHERE a = :name AND b = ?");
        check("SELECT $$secret$$, $x$it's$x$", "SELECT ?");
        check("SELECT x'ff', N'secret', a::text", "SELECT x ?, N ?, a :: text");
        check("SELECT t1.c2 FROM t1; DELETE FROM t2", "SELECT t1.c2 FROM t1 DELETE FROM t2");
        check("SELECT 'no end", "SELECT ?");
        check("  \n ", "");
        check("ünïcode = 'ü'", "ünïcode = ?");
    }

    proptest! {
        /// Whatever stands around it, what is in quotes does not leave.
        #[test]
        fn quoted_values_never_leave(before in "[a-z =(,]{0,20}", value in "[A-Z]{3,9}", after in "\\PC{0,20}") {
            let hidden = hide(&format!("{before} '{value}' {}", after.to_lowercase()));
            prop_assert!(!hidden.contains(&value), "{hidden}");
        }

        #[test]
        fn any_text_is_taken(text in "\\PC{0,60}") {
            let _ = hide(&text);
        }
    }
}
