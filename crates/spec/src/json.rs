//! JSON (RFC 8259) as a tree that keeps what the types need to judge: the order of members, those
//! that are there twice, and numbers as they are written.

use std::borrow::Cow;

use crate::{Problem, Problems};

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As written.
    Number(&'a str),
    /// Without its escapes.
    String(Cow<'a, str>),
    /// `[...]`
    Array(Vec<Value<'a>>),
    /// `{...}`
    Object(Vec<Member<'a>>),
}

/// A name and its value.
pub type Member<'a> = (Cow<'a, str>, Value<'a>);

impl<'a> Value<'a> {
    /// The member of that name, the first if there are several.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }
}

/// How deep values may be within each other: the reader, and who walks the tree, is recursive.
const MAX_DEPTH: u32 = 128;

/// How many values a document may have: a value takes sixteen times the space of its text.
const MAX_VALUES: u32 = 1 << 20;

/// Reads a document. A problem of the text has the pointer of the whole and says the line.
pub fn parse(text: &[u8]) -> Result<Value<'_>, Problems> {
    let reader = |text, at| Reader {
        text,
        at,
        depth: 0,
        values: 0,
    };
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let valid = std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default();
            return Err(reader(valid, valid.len()).problem("the text is not UTF-8"));
        }
    };
    let mut reader = reader(text, 0);
    reader.document().map_err(|reason| reader.problem(reason))
}

/// What is wrong; where is the reader's place.
type Step<T> = Result<T, &'static str>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    values: u32,
}

impl<'a> Reader<'a> {
    fn problem(&self, reason: &str) -> Problems {
        let before = &self.text.as_bytes()[..self.at.min(self.text.len())];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = before.iter().rposition(|&byte| byte == b'\n');
        let column = before.len() - start.map_or(0, |start| start + 1) + 1;
        let reason = format!("not JSON at line {line}, column {column}: {reason}");
        Problems::from(Problem::new(String::new(), reason))
    }

    fn document(&mut self) -> Step<Value<'a>> {
        let value = self.value()?;
        match self.peek() {
            None => Ok(value),
            Some(_) => Err("the document has ended"),
        }
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.at += rest.iter().take_while(|byte| blank(byte)).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self) -> Step<Value<'a>> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err("more than a million values");
        }
        match self.peek() {
            None => Err("the text ends where a value is expected"),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.literal(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Step<Value<'a>>) -> Step<Value<'a>> {
        if self.depth == MAX_DEPTH {
            return Err("more than 128 levels");
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Step<Value<'a>> {
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err("the name of a member is expected, in quotes");
            }
            let name = self.string()?;
            if !self.take(b':') {
                return Err("':' is expected");
            }
            members.push((name, self.value()?));
            if !self.take(b',') {
                break;
            }
        }
        if self.take(b'}') {
            Ok(Value::Object(members))
        } else {
            Err("',' or '}' is expected")
        }
    }

    fn array(&mut self) -> Step<Value<'a>> {
        let mut values = Vec::new();
        if self.take(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value()?);
            if !self.take(b',') {
                break;
            }
        }
        if self.take(b']') {
            Ok(Value::Array(values))
        } else {
            Err("',' or ']' is expected")
        }
    }

    fn literal(&mut self) -> Step<Value<'a>> {
        let literals = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ];
        for (word, value) in literals {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        Err("a value is expected")
    }

    fn number(&mut self) -> Step<Value<'a>> {
        let start = self.at;
        self.skip(b'-');
        let leading_zero = self.skip(b'0');
        if !leading_zero && self.digits() == 0 {
            return Err("a digit is expected");
        }
        if self.skip(b'.') && self.digits() == 0 {
            return Err("a digit is expected after the point");
        }
        if self.skip(b'e') || self.skip(b'E') {
            let _ = self.skip(b'+') || self.skip(b'-');
            if self.digits() == 0 {
                return Err("a digit is expected in the exponent");
            }
        }
        if self.digits() > 0 {
            return Err("a number does not begin with 0");
        }
        Ok(Value::Number(&self.text[start..self.at]))
    }

    fn skip(&mut self, wanted: u8) -> bool {
        let found = self.text.as_bytes().get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    fn digits(&mut self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// Reads from one quote to the other.
    fn string(&mut self) -> Step<Cow<'a, str>> {
        self.at += 1;
        let plain = self.plain();
        if self.skip(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut text = plain.to_owned();
        loop {
            match self.text.as_bytes().get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err("a control character in a string, which must be escaped"),
                None => return Err("the text ends within a string"),
            }
            text.push_str(self.plain());
        }
        self.at += 1;
        Ok(Cow::Owned(text))
    }

    /// What stands for itself from here on.
    fn plain(&mut self) -> &'a str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        self.at += rest.iter().position(special).unwrap_or(rest.len());
        &self.text[start..self.at]
    }

    fn escape(&mut self) -> Step<char> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let char = match letter {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(),
            _ => return Err("an unknown escape"),
        };
        self.at += 2;
        Ok(char)
    }

    fn code_point(&mut self) -> Step<char> {
        let first = self.code_unit()?;
        let code = match first {
            0xd800..=0xdbff => {
                let second = self.code_unit().unwrap_or(0);
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err("half of a surrogate pair");
                }
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or("half of a surrogate pair")
    }

    /// Reads `\uXXXX`.
    fn code_unit(&mut self) -> Step<u32> {
        let escape = self.text.as_bytes().get(self.at..self.at + 6);
        let digits = match escape {
            Some([b'\\', b'u', digits @ ..]) => digits,
            _ => return Err("four hexadecimal digits are expected"),
        };
        let mut code = 0;
        for &digit in digits {
            let digit = char::from(digit).to_digit(16);
            code = code << 4 | digit.ok_or("four hexadecimal digits are expected")?;
        }
        self.at += 6;
        Ok(code)
    }
}
