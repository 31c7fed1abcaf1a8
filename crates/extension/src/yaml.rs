//! The part of YAML that `datadog.yaml` is written in: block maps and lists, JSON-like ones in brackets, quoted, plain
//! and block texts, comments. All values stay texts: a key of digits is no number, and version `1.10` is not `1.1`.
//!
//! Not here: anchors, tags, several documents, plain and quoted texts over several lines. Those are errors that name
//! their line, never misread.

mod scalar;
#[cfg(test)]
mod tests;

use std::fmt;

use serde_json::{Map, Value};

use scalar::{behind_colon, folded, is_empty, is_plain, null_or, quoted, until_colon, without_comment};

/// Nesting beyond is an error.
const MAX_DEPTH: usize = 24;
const ONE: &str = "there can be one document only, without directives";

/// What cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) what: &'static str,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

type Result<T> = std::result::Result<T, Trouble>;

/// Reads a document: texts, nulls, arrays and objects.
pub(crate) fn parse(text: &str) -> Result<Value> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let is_odd = |c: char| (c.is_control() && c != '\t') || "\u{feff}\u{2028}\u{2029}".contains(c);
    if let Some(at) = lines.iter().position(|line| line.contains(is_odd)) {
        return Err(Trouble { line: at + 1, what: "there is a character that cannot be seen" });
    }
    let mut at = 0;
    while lines.get(at).is_some_and(|line| is_empty(line)) {
        at += 1;
    }
    if lines.get(at).is_some_and(|line| line.trim_end() == "---") {
        at += 1;
    }
    if let Some(end) = lines.iter().skip(at).position(|line| line.trim_end() == "...") {
        if let Some(more) = lines.iter().skip(at + end + 1).position(|line| !is_empty(line)) {
            return Err(Trouble { line: at + end + more + 2, what: ONE });
        }
        lines.truncate(at + end);
    }
    let mut document = Document { lines, at };
    let value = document.block(0, 0)?;
    match document.peek()? {
        Some(_) => Err(document.trouble("this is indented in another way than what stands above")),
        None => Ok(value),
    }
}

/// Lines, and the one that is read next.
struct Document {
    lines: Vec<String>,
    at: usize,
}

impl Document {
    fn trouble(&self, what: &'static str) -> Trouble {
        Trouble { line: self.at + 1, what }
    }

    /// The indentation and the text of the next line that has any.
    fn peek(&mut self) -> Result<Option<(usize, String)>> {
        while self.lines.get(self.at).is_some_and(|line| is_empty(line)) {
            self.at += 1;
        }
        let Some(line) = self.lines.get(self.at) else { return Ok(None) };
        let text = line.trim_start_matches(' ');
        if text.starts_with('\t') {
            return Err(self.trouble("a tab cannot indent"));
        }
        if line.starts_with("---") || line.starts_with("%") {
            return Err(self.trouble(ONE));
        }
        Ok(Some((line.len() - text.len(), text.to_owned())))
    }

    /// What stands at an indentation of `least` or more; null if there is nothing.
    fn block(&mut self, least: usize, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return Err(self.trouble("this is nested too deep"));
        }
        match self.peek()? {
            Some((indent, text)) if indent >= least => match () {
                () if is_item(&text) => self.list(indent, depth),
                () if self.key(&text)?.is_some() => self.map(indent, depth),
                () => self.inline(&text, indent.checked_sub(1), depth),
            },
            _ => Ok(Value::Null),
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value> {
        let mut items = Vec::new();
        while let Some((own, text)) = self.peek()? {
            if own < indent || (own == indent && !is_item(&text)) {
                break;
            }
            if own > indent {
                return Err(self.trouble("this is indented in another way than what stands above"));
            }
            let rest = text.strip_prefix('-').unwrap_or_default();
            if rest.trim_start_matches(' ').starts_with('\t') {
                return Err(self.trouble("a tab cannot indent"));
            }
            if is_empty(rest) {
                self.at += 1;
                items.push(self.block(indent + 1, depth + 1)?);
                continue;
            }
            // What stands behind the dash is as good as on a line of its own.
            if let Some(line) = self.lines.get_mut(self.at) {
                *line = format!("{}{rest}", " ".repeat(indent + 1));
            }
            let rest = rest.trim_start_matches(' ');
            items.push(match rest.chars().next() {
                // The block belongs to the dash.
                Some('|' | '>') => self.inline(rest, Some(indent), depth)?,
                _ => self.block(indent + 1, depth + 1)?,
            });
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, indent: usize, depth: usize) -> Result<Value> {
        let mut map = Map::new();
        while let Some((own, text)) = self.peek()? {
            if own < indent {
                break;
            }
            if own > indent || is_item(&text) {
                return Err(self.trouble("this is indented in another way than what stands above"));
            }
            let Some((key, rest)) = self.key(&text)? else {
                return Err(self.trouble("a name and a colon are missing"));
            };
            if map.contains_key(&key) {
                return Err(self.trouble("this name is there twice"));
            }
            let value = if is_empty(&rest) {
                self.at += 1;
                match self.peek()? {
                    Some((next, text)) if next == indent && is_item(&text) => self.list(indent, depth + 1)?,
                    _ => self.block(indent + 1, depth + 1)?,
                }
            } else {
                self.inline(rest.trim_start_matches(' '), Some(indent), depth)?
            };
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }

    /// The name that a line of a map begins with, and what stands behind its colon. `None`: it is no such line.
    fn key(&self, text: &str) -> Result<Option<(String, String)>> {
        if text.starts_with("? ") || text == "?" {
            return Err(self.trouble("names are written before a colon here"));
        }
        if text.starts_with(['"', '\'']) {
            let (key, rest) = quoted(text).map_err(|what| self.trouble(what))?;
            return Ok(behind_colon(rest.trim_start_matches(' ')).map(|rest| (key, rest.to_owned())));
        }
        let starts_otherwise = text.starts_with(['[', '{', '#', '|', '>']);
        let plain = until_colon(text);
        match plain {
            Some((key, rest)) if !starts_otherwise => {
                let key = key.trim_end_matches([' ', '\t']);
                is_plain(key).map_err(|what| self.trouble(what))?;
                Ok(Some((key.to_owned(), rest.to_owned())))
            }
            _ => Ok(None),
        }
    }

    /// A value that begins on the current line. `parent`: the indentation of what it belongs to.
    fn inline(&mut self, text: &str, parent: Option<usize>, depth: usize) -> Result<Value> {
        let (value, rest) = match text.chars().next() {
            Some('|' | '>') => return self.block_text(text, parent),
            Some('[' | '{') => {
                let begin = self.lines.get(self.at).map_or(0, |line| line.len() - text.len());
                let flow = Flow::new(&self.lines, self.at, begin);
                let (value, line, column) = flow.whole(depth)?;
                self.at = line;
                let rest = self.lines.get(line).and_then(|line| line.get(column..));
                (value, rest.unwrap_or_default().to_owned())
            }
            Some('"' | '\'') => {
                let (text, rest) = quoted(text).map_err(|what| self.trouble(what))?;
                (Value::String(text), rest.to_owned())
            }
            _ => {
                let text = without_comment(text).trim_end_matches([' ', '\t']);
                is_plain(text).map_err(|what| self.trouble(what))?;
                if until_colon(text).is_some() {
                    return Err(self.trouble("a text with a colon has to be in quotes"));
                }
                (null_or(text.to_owned()), String::new())
            }
        };
        if !is_empty(&rest) || rest.starts_with('#') {
            return Err(self.trouble("there is more on this line than a value"));
        }
        self.at += 1;
        // What goes on in the next line is no part of it here.
        match self.peek()? {
            Some((indent, _)) if parent.is_none_or(|parent| indent > parent) => {
                Err(self.trouble("a text that goes on in a second line has to be a block: | or >"))
            }
            _ => Ok(value),
        }
    }

    /// `|`: lines as they stand; `>`: joined by blanks.
    fn block_text(&mut self, head: &str, parent: Option<usize>) -> Result<Value> {
        let is_folded = head.starts_with('>');
        let signs = head.get(1..).unwrap_or_default();
        let signs = match signs.find([' ', '\t']) {
            Some(at) if is_empty(signs.get(at..).unwrap_or_default()) => signs.get(..at).unwrap_or_default(),
            Some(_) => return Err(self.trouble("there is more on this line than the sign of a block")),
            None => signs,
        };
        let end = match signs {
            "" => Some(true),
            "-" => Some(false),
            _ => return Err(self.trouble("a block begins with |, |-, > or >- here")),
        };
        self.at += 1;
        let least = parent.map_or(0, |parent| parent + 1);
        let (mut lines, mut own) = (Vec::new(), None);
        while let Some(line) = self.lines.get(self.at) {
            let text = line.trim_start_matches(' ');
            let indent = line.len() - text.len();
            let own_indent = own.unwrap_or(indent.max(least));
            if text.is_empty() {
                if own.is_none() || (is_folded && indent > own_indent) {
                    return Err(self.trouble("an empty line cannot be here"));
                }
                lines.push(line.get(own_indent..).unwrap_or_default());
            } else if indent < own_indent {
                break;
            } else {
                if text.starts_with('\t') || (is_folded && indent > own_indent) {
                    return Err(self.trouble("this line of a block is indented further than its first one"));
                }
                own = Some(own_indent);
                lines.push(line.get(own_indent..).unwrap_or_default());
            }
            self.at += 1;
        }
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
        if lines.is_empty() {
            return Err(self.trouble("a block without lines"));
        }
        let mut text = if is_folded { folded(&lines) } else { lines.join("\n") };
        if end == Some(true) {
            text.push('\n');
        }
        Ok(Value::String(text))
    }
}

/// What is between brackets, over as many lines as it takes.
struct Flow<'a> {
    lines: &'a [String],
    line: usize,
    column: usize,
}

impl<'a> Flow<'a> {
    fn new(lines: &'a [String], line: usize, column: usize) -> Self {
        Self { lines, line, column }
    }

    /// The value, and the line and column behind it.
    fn whole(mut self, depth: usize) -> Result<(Value, usize, usize)> {
        let value = self.value(depth)?;
        Ok((value, self.line, self.column))
    }

    fn trouble(&self, what: &'static str) -> Trouble {
        Trouble { line: self.line + 1, what }
    }

    fn rest(&self) -> &'a str {
        self.lines.get(self.line).and_then(|line| line.get(self.column..)).unwrap_or_default()
    }

    /// The next character that is no blank and in no comment.
    fn next(&mut self) -> Result<char> {
        loop {
            let rest = self.rest();
            let text = rest.trim_start_matches([' ', '\t']);
            let is_comment = text.starts_with('#') && (text.len() < rest.len() || self.column == 0);
            match text.chars().next() {
                Some(next) if !is_comment => {
                    self.column += rest.len() - text.len();
                    return Ok(next);
                }
                _ if self.line + 1 >= self.lines.len() => {
                    return Err(self.trouble("a bracket is not closed"));
                }
                _ => (self.line, self.column) = (self.line + 1, 0),
            }
        }
    }

    /// Goes over a character that is there.
    fn skip(&mut self) {
        self.column += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return Err(self.trouble("this is nested too deep"));
        }
        match self.next()? {
            '[' => {
                self.skip();
                let mut items = Vec::new();
                loop {
                    if self.next()? == ']' {
                        self.skip();
                        return Ok(Value::Array(items));
                    }
                    items.push(self.value(depth + 1)?);
                    self.comma(']')?;
                }
            }
            '{' => {
                self.skip();
                let mut map = Map::new();
                loop {
                    if self.next()? == '}' {
                        self.skip();
                        return Ok(Value::Object(map));
                    }
                    let (key, is_quoted) = self.text()?;
                    if self.next()? != ':' {
                        return Err(self.trouble("a colon is missing"));
                    }
                    self.skip();
                    if !is_quoted && !self.rest().starts_with([' ', '\t']) && !self.rest().is_empty() {
                        return Err(self.trouble("a blank is missing behind a colon"));
                    }
                    let value = match self.next()? {
                        ',' | '}' => Value::Null,
                        _ => self.value(depth + 1)?,
                    };
                    if map.insert(key, value).is_some() {
                        return Err(self.trouble("this name is there twice"));
                    }
                    self.comma('}')?;
                }
            }
            _ => match self.text()? {
                (text, true) => Ok(Value::String(text)),
                (text, false) => Ok(null_or(text)),
            },
        }
    }

    /// A comma, or what closes the bracket.
    fn comma(&mut self, close: char) -> Result<()> {
        match self.next()? {
            ',' => self.skip(),
            next if next == close => {}
            _ => return Err(self.trouble("a comma or a bracket is missing")),
        }
        Ok(())
    }

    /// A text, and whether it is in quotes.
    fn text(&mut self) -> Result<(String, bool)> {
        let rest = self.rest();
        if rest.starts_with(['"', '\'']) {
            let (text, behind) = quoted(rest).map_err(|what| self.trouble(what))?;
            self.column += rest.len() - behind.len();
            return Ok((text, true));
        }
        let rest = without_comment(rest);
        let ends = |(at, c): (usize, char)| {
            let next = rest.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next());
            let is_colon = c == ':' && next.is_none_or(|next| " \t,[]{}".contains(next));
            (is_colon || ",[]{}".contains(c)).then_some(at)
        };
        let end = rest.char_indices().find_map(ends).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default().trim_end_matches([' ', '\t']);
        is_plain(text).map_err(|what| self.trouble(what))?;
        self.column += text.len();
        Ok((text.to_owned(), false))
    }
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ") || text.starts_with("-\t")
}
