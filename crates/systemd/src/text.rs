//! Values as the annotations `org.systemd.property.NAME` write them: the text format of GVariant,
//! as far as properties of units need it. Pure.
//!
//! `true`, `'text'`, `7` (a 32 bit number), `uint64 7`, `@t 7`, `['a', 'b']`, `@as []`,
//! `('/dev/null', 'rw')`.

use dbus::value::{Value, first_type};

/// Reads one value; the error says what is wrong, and where.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(None)?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.wrong("nothing more"));
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

const KEYWORDS: [(&str, &str); 10] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
];

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn wrong(&self, wanted: &str) -> String {
        format!("{:?}: {wanted} expected at {:?}", self.text, self.rest())
    }

    fn eat(&mut self, token: char) -> bool {
        self.blanks();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len_utf8() } else { 0 };
        found
    }

    fn word(&mut self) -> &'a str {
        self.blanks();
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c)));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// A value; `kind` is its type, if something before has said so.
    fn value(&mut self, kind: Option<&str>) -> Result<Value, String> {
        self.blanks();
        match self.rest().chars().next() {
            Some('@') => self.typed(),
            Some('\'' | '"') => self.text(kind),
            Some('[') => self.array(kind),
            Some('(') => self.tuple(kind),
            _ => {
                let start = self.at;
                let word = self.word();
                match (word, KEYWORDS.iter().find(|(name, _)| *name == word)) {
                    (_, Some((_, kind))) => self.value(Some(kind)),
                    ("true", _) => Ok(Value::Bool(true)),
                    ("false", _) => Ok(Value::Bool(false)),
                    _ => number(word, kind).ok_or_else(|| {
                        self.at = start;
                        self.wrong("a value")
                    }),
                }
            }
        }
    }

    fn typed(&mut self) -> Result<Value, String> {
        self.at += 1;
        match first_type(self.rest().as_bytes()) {
            Some(size) => {
                let kind = &self.rest()[..size];
                self.at += size;
                self.value(Some(kind))
            }
            None => Err(self.wrong("a type")),
        }
    }

    fn text(&mut self, kind: Option<&str>) -> Result<Value, String> {
        let mut characters = self.rest().char_indices();
        let quote = characters.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((index, character)) = characters.next() {
            match character {
                _ if Some(character) == quote => {
                    self.at += index + 1;
                    return match kind {
                        Some("o") => Ok(Value::Path(text)),
                        Some("g") => Ok(Value::Signature(text)),
                        Some("s") | None => Ok(Value::Str(text)),
                        Some(_) => Err(self.wrong("a value that is no text")),
                    };
                }
                '\\' => text.extend(characters.next().map(|(_, escaped)| match escaped {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                })),
                other => text.push(other),
            }
        }
        Err(self.wrong("the end of a text"))
    }

    fn array(&mut self, kind: Option<&str>) -> Result<Value, String> {
        let of = match kind.map(|kind| kind.strip_prefix('a')) {
            Some(None) => return Err(self.wrong("a value that is no array")),
            Some(of) => of,
            None => None,
        };
        let elements = self.list(']', |_| of)?;
        let of = match (of, elements.first()) {
            (Some(of), _) => of.to_owned(),
            (None, Some(first)) => first.signature(),
            (None, None) => return Err(self.wrong("the type of an empty array (@as [])")),
        };
        if elements.iter().any(|element| element.signature() != of) {
            return Err(self.wrong("an array of one type"));
        }
        Ok(Value::Array(of, elements))
    }

    fn tuple(&mut self, kind: Option<&str>) -> Result<Value, String> {
        let mut inner = kind.map(|kind| kind.trim_start_matches('(').trim_end_matches(')'));
        let fields = self.list(')', |_| {
            let kinds = inner?;
            let (first, rest) = kinds.split_at(first_type(kinds.as_bytes())?);
            inner = Some(rest);
            Some(first)
        })?;
        let value = Value::Struct(fields);
        match kind {
            Some(kind) if value.signature() != kind => Err(self.wrong(kind)),
            _ => Ok(value),
        }
    }

    fn list<'k>(
        &mut self,
        close: char,
        mut kind: impl FnMut(usize) -> Option<&'k str>,
    ) -> Result<Vec<Value>, String> {
        self.at += 1;
        let mut elements = Vec::new();
        while !self.eat(close) {
            if !elements.is_empty() && !self.eat(',') {
                return Err(self.wrong("a comma"));
            }
            if self.eat(close) {
                break;
            }
            let kind = kind(elements.len());
            elements.push(self.value(kind)?);
        }
        Ok(elements)
    }
}

fn number(word: &str, kind: Option<&str>) -> Option<Value> {
    Some(match kind {
        None if word.contains('.') => Value::F64(word.parse().ok()?),
        None | Some("i") => Value::I32(word.parse().ok()?),
        Some("y") => Value::Byte(word.parse().ok()?),
        Some("n") => Value::I16(word.parse().ok()?),
        Some("q") => Value::U16(word.parse().ok()?),
        Some("u") => Value::U32(word.parse().ok()?),
        Some("x") => Value::I64(word.parse().ok()?),
        Some("t") => Value::U64(word.parse().ok()?),
        Some("d") => Value::F64(word.parse().ok()?),
        Some(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_annotations_hold() {
        let text = |text: &str| Value::Str(text.into());
        for (written, value) in [
            ("true", Value::Bool(true)),
            ("'inactive-or-failed'", text("inactive-or-failed")),
            ("\"it's\"", text("it's")),
            (r"'a\'b'", text("a'b")),
            ("-5", Value::I32(-5)),
            ("uint64 500000000", Value::U64(500_000_000)),
            ("@t 7", Value::U64(7)),
            ("1.5", Value::F64(1.5)),
            ("byte 3", Value::Byte(3)),
            (
                "['a', 'b']",
                Value::Array("s".into(), vec![text("a"), text("b")]),
            ),
            ("@as []", Value::Array("s".into(), Vec::new())),
            (
                "@at [1,2]",
                Value::Array("t".into(), vec![Value::U64(1), Value::U64(2)]),
            ),
            (
                "@a(st) [('/dev/sda', 5)]",
                Value::Array(
                    "(st)".into(),
                    vec![Value::Struct(vec![text("/dev/sda"), Value::U64(5)])],
                ),
            ),
        ] {
            assert_eq!(parse(written).as_ref(), Ok(&value), "{written}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_its_place() {
        for bad in [
            "",
            "yes",
            "7 8",
            "'open",
            "[1, 'a']",
            "[]",
            "uint64 'a'",
            "uint32 -1",
            "@ 1",
            "@at 1",
            "99999999999",
            "@(su) ('a')",
            "[1 2]",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.contains("expected at"), "{bad}: {error}");
        }
    }
}
