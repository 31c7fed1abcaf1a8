//! The texts of YAML: plain, in quotes, folded. One line at a time; who reads documents is in `yaml`.

use serde_json::Value;

/// Blank, or a comment.
pub(super) fn is_empty(text: &str) -> bool {
    let text = text.trim_matches([' ', '\t']);
    text.is_empty() || text.starts_with('#')
}

pub(super) fn null_or(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        _ => Value::String(text),
    }
}

pub(super) fn without_comment(text: &str) -> &str {
    let comment = text.match_indices('#').map(|(at, _)| at);
    let mut comment = comment.filter(|at| text.get(..*at).is_none_or(|head| head.ends_with([' ', '\t'])));
    comment.next().and_then(|at| text.get(..at)).unwrap_or(text)
}

/// What is behind a colon that ends a name.
pub(super) fn behind_colon(text: &str) -> Option<&str> {
    text.strip_prefix(':').filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// A name without quotes and what is behind its colon.
pub(super) fn until_colon(text: &str) -> Option<(&str, &str)> {
    without_comment(text).match_indices(':').find_map(|(at, _)| {
        let (key, rest) = text.split_at_checked(at)?;
        Some((key, behind_colon(rest)?))
    })
}

/// Whether a text may stand without quotes.
pub(super) fn is_plain(text: &str) -> Result<(), &'static str> {
    let mut chars = text.chars();
    let (first, second) = (chars.next(), chars.next());
    match first {
        Some('&' | '*' | '!') => Err("anchors, references and tags are not read here"),
        Some('@' | '`' | '%' | ',' | ']' | '}' | '[' | '{' | '#' | '|' | '>' | '"' | '\'') => {
            Err("a text that begins with this sign has to be in quotes")
        }
        Some('-' | '?' | ':') if second.is_none_or(|c| " \t,[]{}".contains(c)) => {
            Err("a text that begins with this sign has to be in quotes")
        }
        _ if text == "<<" => Err("anchors, references and tags are not read here"),
        _ => Ok(()),
    }
}

/// A text in quotes, and what is behind it.
pub(super) fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut chars = text.chars();
    let mut found = String::new();
    let quote = chars.next().unwrap_or('"');
    loop {
        match chars.next() {
            None => return Err("a quote is not closed on its line"),
            Some('\'') if quote == '\'' => match chars.as_str().strip_prefix('\'') {
                Some(rest) => {
                    found.push('\'');
                    chars = rest.chars();
                }
                None => return Ok((found, chars.as_str())),
            },
            Some('"') if quote == '"' => return Ok((found, chars.as_str())),
            Some('\\') if quote == '"' => {
                let sign = chars.next().ok_or("a quote is not closed on its line")?;
                let digits = match sign {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                found.push(match digits {
                    0 => escaped(sign).ok_or("there is no such sign with a backslash")?,
                    _ => {
                        let code = chars.as_str().get(..digits).and_then(|d| u32::from_str_radix(d, 16).ok());
                        chars = chars.as_str().get(digits..).unwrap_or_default().chars();
                        code.and_then(char::from_u32).ok_or("there is no such sign with a backslash")?
                    }
                });
            }
            Some(c) => found.push(c),
        }
    }
}

fn escaped(sign: char) -> Option<char> {
    const SIGNS: [(char, char); 13] = [
        ('n', '\n'),
        ('t', '\t'),
        ('r', '\r'),
        ('0', '\0'),
        ('a', '\u{7}'),
        ('b', '\u{8}'),
        ('v', '\u{b}'),
        ('f', '\u{c}'),
        ('e', '\u{1b}'),
        ('"', '"'),
        ('\\', '\\'),
        ('/', '/'),
        (' ', ' '),
    ];
    SIGNS.iter().find(|(name, _)| *name == sign).map(|(_, c)| *c)
}

/// Lines as one, with a blank between; each empty one is a line break.
pub(super) fn folded(lines: &[&str]) -> String {
    let mut text = String::new();
    let mut breaks = 0;
    for line in lines {
        if line.is_empty() {
            breaks += 1;
            continue;
        }
        if breaks > 0 {
            text.extend(std::iter::repeat_n('\n', breaks));
        } else if !text.is_empty() {
            text.push(' ');
        }
        breaks = 0;
        text.push_str(line);
    }
    text
}
