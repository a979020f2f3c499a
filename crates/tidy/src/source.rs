//! Rust text taken apart just far enough: code with strings and comments blanked out, the lines
//! that have comments, and the lines that only tests are built from.
//!
//! Not a parser. It knows every kind of string, character and comment (The Rust Reference,
//! "Tokens" and "Comments") and counts brackets, which is all that the rules need.

use std::ops::RangeInclusive;

/// One Rust file.
#[derive(Clone, Debug)]
pub struct Source {
    /// The text, line by line, with strings and comments replaced by blanks.
    pub code: Vec<String>,
    /// Whether the line has (a part of) a comment.
    pub commented: Vec<bool>,
    /// Whether the line belongs to an item under `#[cfg(test)]` or `#[test]`.
    pub tested: Vec<bool>,
}

/// A function with a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its lines, from 0: from `fn` to the closing brace.
    pub lines: RangeInclusive<usize>,
}

impl Source {
    /// Takes a text apart.
    pub fn new(text: &str) -> Self {
        let (blanked, commented) = blank(text);
        let code: Vec<String> = blanked.split('\n').map(str::to_owned).collect();
        let mut source = Self {
            tested: vec![false; code.len()],
            commented,
            code,
        };
        source.mark_tests();
        source
    }

    /// Every function that has a body, nested ones too.
    pub fn functions(&self) -> Vec<Function> {
        let text = self.code.join("\n");
        let bytes = text.as_bytes();
        let line_of = |position: usize| bytes[..position].iter().filter(|b| **b == b'\n').count();
        let mut found = Vec::new();
        for start in word_positions(&text, "fn") {
            let name: String = text[start + 2..]
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if name.is_empty() {
                continue; // a function pointer type
            }
            if let Some((open, close)) = body(bytes, start) {
                debug_assert!(open < close);
                found.push(Function {
                    name,
                    lines: line_of(start)..=line_of(close),
                });
            }
        }
        found
    }

    fn mark_tests(&mut self) {
        let text = self.code.join("\n");
        let bytes = text.as_bytes();
        for attribute in ["#[cfg(test)]", "#[test]"] {
            for (start, _) in text.match_indices(attribute) {
                let end = match body(bytes, start + attribute.len()) {
                    Some((_, close)) => close,
                    None => start + text[start..].find(';').unwrap_or(0),
                };
                let first = text[..start].matches('\n').count();
                let last = text[..end].matches('\n').count();
                self.tested[first..=last].fill(true);
            }
        }
    }
}

/// The brackets of the first block after `start`, unless the item ends before with a `;`.
fn body(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let mut nested = 0_usize;
    let mut open = None;
    for (position, byte) in bytes.iter().enumerate().skip(start) {
        match (byte, open) {
            (b'(' | b'[', None) => nested += 1,
            (b')' | b']', None) => nested = nested.saturating_sub(1),
            (b';', None) if nested == 0 => return None,
            (b'{', None) if nested == 0 => {
                open = Some(position);
                nested = 1;
            }
            (b'{', Some(_)) => nested += 1,
            (b'}', Some(open)) => {
                nested -= 1;
                if nested == 0 {
                    return Some((open, position));
                }
            }
            _ => {}
        }
    }
    None
}

/// Where `word` stands as a word of its own.
pub(crate) fn word_positions(text: &str, word: &str) -> Vec<usize> {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .map(|(start, _)| start)
        .filter(|start| {
            let before = text[..*start].chars().next_back();
            let after = text[start + word.len()..].chars().next();
            !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
        })
        .collect()
}

/// Replaces strings and comments by blanks, keeping line breaks; says which lines had comments.
fn blank(text: &str) -> (String, Vec<bool>) {
    let mut out = String::with_capacity(text.len());
    let mut commented = vec![false; text.split('\n').count()];
    let mut rest = text;
    let mut line = 0;
    while let Some(first) = rest.chars().next() {
        let (length, kind) = token(rest, out.chars().next_back());
        let (taken, others) = rest.split_at(length.max(first.len_utf8()));
        rest = others;
        let lines = taken.matches('\n').count();
        if kind == Kind::Comment {
            commented[line..=line + lines].fill(true);
        }
        line += lines;
        match kind {
            Kind::Code => out.push_str(taken),
            _ => out.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' })),
        }
    }
    (out, commented)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Text,
}

/// The length and kind of what `rest`, which follows `before`, begins with; code comes in single
/// characters.
fn token(rest: &str, before: Option<char>) -> (usize, Kind) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Kind::Comment);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), Kind::Comment);
    }
    if rest.starts_with('"') {
        return (quoted(rest), Kind::Text);
    }
    // The r of `for"` begins no raw string.
    if !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
        && let Some(length) = raw_string(rest)
    {
        return (length, Kind::Text);
    }
    if rest.starts_with('\'')
        && let Some(length) = character(rest)
    {
        return (length, Kind::Text);
    }
    (1, Kind::Code)
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut position) = (0_usize, 0);
    while position < bytes.len() {
        match bytes[position..] {
            [b'/', b'*', ..] => (depth, position) = (depth + 1, position + 2),
            [b'*', b'/', ..] => (depth, position) = (depth - 1, position + 2),
            _ => position += 1,
        }
        if depth == 0 {
            return position;
        }
    }
    rest.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (position, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return position + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `r"..."`, `br#"..."#`, `cr##"..."##`; nothing is escaped inside.
fn raw_string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r"]
        .into_iter()
        .find(|prefix| rest.starts_with(prefix))?;
    let after = &rest[prefix.len()..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inside
        .find(&end)
        .map_or(inside.len(), |found| found + end.len());
    Some(prefix.len() + hashes + 1 + length)
}

/// A character, which a lifetime also begins like.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        return chars
            .find(|(_, c)| *c == '\'')
            .map(|(position, _)| position + 1);
    }
    let (position, second) = chars.next()?;
    (second == '\'').then_some(position + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code with every run of blanks shortened to one; the length must not have changed.
    fn code(text: &str) -> String {
        let code = Source::new(text).code.join("\n");
        assert_eq!(code.chars().count(), text.chars().count(), "{code:?}");
        code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn strings_and_comments_are_blanked() {
        assert_eq!(code("a(\"x{\\\"}\"); // }"), "a( );");
        assert_eq!(code("a /* { /* } */ { */ b"), "a b");
        assert_eq!(code("r#\"{\"{\"# x"), "x");
        assert_eq!(code("br\"\\\" x"), "x");
        assert_eq!(code("for\"{\" y"), "for y");
        assert_eq!(code("'{' '\\'' '\\u{7b}' &'a T"), "&'a T");
    }

    #[test]
    fn functions_are_measured_whatever_their_strings_hold() {
        let text = "fn one() -> [u8; 3] {\n    \"}\"\n}\ntrait T {\n    fn none();\n}\n\
            type F = fn(u8);\nfn two<'a>(\n    c: char,\n) where F: X {\n    if c == '{' {\n    }\n}\n";
        let found = Source::new(text).functions();
        let found: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.lines.clone()))
            .collect();
        assert_eq!(found, [("one", 0..=2), ("two", 7..=12)]);
    }

    #[test]
    fn tests_are_told_from_what_is_shipped() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n#[cfg(test)]\nmod more {\n    \
            fn c() {}\n}\nfn d() {}\n";
        let tested = Source::new(text).tested;
        assert_eq!(
            tested,
            [
                false, true, true, false, true, true, true, true, false, false
            ]
        );
    }
}
