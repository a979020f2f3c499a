//! From JSON to types without giving up at the first problem.
//!
//! Small on purpose: the generic parts only choose a type, the work is in functions that exist
//! once (decision 0018).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::json::{Member, Value};

/// Something that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer (RFC 6901) of the property; empty for the whole document.
    pub pointer: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Problem {
    pub(crate) fn new(pointer: String, reason: impl Into<String>) -> Self {
        Self {
            pointer,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{}: ", self.pointer)?;
        }
        f.write_str(&self.reason)
    }
}

/// All that is wrong with a document; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    first: Problem,
    others: Vec<Problem>,
}

impl Problems {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// Each, in the order of the types' properties.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl From<Problem> for Problems {
    fn from(first: Problem) -> Self {
        let others = Vec::new();
        Self { first, others }
    }
}

/// The first, and how many more there are.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        match self.others.len() {
            0 => Ok(()),
            others => write!(f, " (and {others} more)"),
        }
    }
}

impl std::error::Error for Problems {}

/// A property that the specification does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// JSON pointer of it.
    pub pointer: String,
    /// Its name.
    pub name: String,
    /// Those that the object it is in can have.
    pub known: &'static [&'static str],
}

/// What can be read from JSON. `Default` is what an absent property means.
pub trait Decode: Default {
    /// Reads `value`; what is wrong goes to the decoder, and the rest is still read.
    fn decode<'d>(value: &'d Value<'d>, decoder: &mut Decoder<'d>) -> Self;

    /// Whether `value` means the same as no value.
    fn is_absent(value: &Value<'_>) -> bool {
        *value == Value::Null
    }
}

/// A step on the way from the document to a value.
#[derive(Clone, Copy, Debug)]
enum Segment<'d> {
    Key(&'d str),
    Index(usize),
}

/// Where reading is, and what was found on the way.
#[derive(Debug)]
pub struct Decoder<'d> {
    path: Vec<Segment<'d>>,
    problems: Vec<Problem>,
    unknown: Option<Vec<Unknown>>,
}

impl<'d> Decoder<'d> {
    pub(crate) fn new() -> Self {
        Self {
            path: Vec::with_capacity(16),
            problems: Vec::new(),
            unknown: None,
        }
    }

    pub(crate) fn noting_unknown() -> Self {
        Self {
            unknown: Some(Vec::new()),
            ..Self::new()
        }
    }

    pub(crate) fn finish(self) -> Result<(), Problems> {
        let mut problems = self.problems.into_iter();
        match problems.next() {
            None => Ok(()),
            Some(first) => Err(Problems {
                first,
                others: problems.collect(),
            }),
        }
    }

    pub(crate) fn into_findings(self) -> (Vec<Problem>, Vec<Unknown>) {
        (self.problems, self.unknown.unwrap_or_default())
    }

    /// The JSON pointer of the value that is being read.
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for segment in &self.path {
            pointer.push('/');
            match segment {
                Segment::Key(key) => pointer += &key.replace('~', "~0").replace('/', "~1"),
                Segment::Index(index) => pointer += &index.to_string(),
            }
        }
        pointer
    }

    #[cold]
    fn problem(&mut self, reason: impl Into<String>) {
        let problem = Problem::new(self.pointer(), reason);
        self.problems.push(problem);
    }

    /// Says that `value` is no `wanted`.
    #[cold]
    fn mismatch(&mut self, value: &Value<'_>, wanted: &str) {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        self.problem(format!("is {found}, not {wanted}"));
    }

    /// The members of an object whose properties are `known`.
    pub(crate) fn members(
        &mut self,
        value: &'d Value<'d>,
        known: &'static [&'static str],
    ) -> &'d [Member<'d>] {
        let members = self.object(value);
        if self.unknown.is_some() {
            members
                .iter()
                .filter(|(name, _)| !known.contains(&name.as_ref()))
                .for_each(|(name, _)| self.note_unknown(name, known));
        }
        members
    }

    fn note_unknown(&mut self, name: &'d str, known: &'static [&'static str]) {
        self.path.push(Segment::Key(name));
        let pointer = self.pointer();
        self.path.pop();
        if let Some(unknown) = &mut self.unknown {
            let name = name.to_owned();
            unknown.push(Unknown {
                pointer,
                name,
                known,
            });
        }
    }

    fn object(&mut self, value: &'d Value<'d>) -> &'d [Member<'d>] {
        match value {
            Value::Object(members) => return members,
            Value::Null => {}
            other => self.mismatch(other, "an object"),
        }
        &[]
    }

    /// The value of the property `name`, with the path set to it: `null` if it is absent.
    fn enter(&mut self, members: &'d [Member<'d>], name: &'static str) -> &'d Value<'d> {
        self.path.push(Segment::Key(name));
        let mut found = members.iter().filter(|(key, _)| key == name);
        let value = found.next().map_or(&Value::Null, |(_, value)| value);
        if found.next().is_some() {
            self.problem("is there twice");
        }
        value
    }

    /// Says that a required property is absent, unless what it would be in is no object, which
    /// has been said.
    #[cold]
    fn missing(&mut self) {
        let pointer = self.pointer();
        let parent = pointer.rsplit_once('/').map(|(parent, _)| parent);
        if self.problems.last().map(|last| last.pointer.as_str()) != parent {
            self.problem("is required");
        }
    }

    /// Reads a property.
    #[inline(never)]
    pub(crate) fn property<T: Decode>(
        &mut self,
        members: &'d [Member<'d>],
        name: &'static str,
        required: bool,
    ) -> T {
        let value = self.enter(members, name);
        if required && T::is_absent(value) {
            self.missing();
        }
        let property = T::decode(value, self);
        self.path.pop();
        property
    }

    fn elements(&mut self, value: &'d Value<'d>) -> &'d [Value<'d>] {
        match value {
            Value::Array(values) => return values,
            Value::Null => {}
            other => self.mismatch(other, "an array"),
        }
        &[]
    }

    fn string(&mut self, value: &'d Value<'d>) -> &'d str {
        match value {
            Value::String(text) => return text,
            Value::Null => {}
            other => self.mismatch(other, "a string"),
        }
        ""
    }

    /// The place of a word in `words`; `None` if it is absent, or no such word.
    pub(crate) fn word(&mut self, value: &'d Value<'d>, words: &[&'static str]) -> Option<usize> {
        let word = self.string(value);
        let place = words.iter().position(|known| *known == word);
        if place.is_none() && !word.is_empty() {
            self.problem(format!("{word:?} is none of {}", words.join(", ")));
        }
        place
    }

    fn integer(&mut self, value: &'d Value<'d>, min: i128, max: i128) -> i128 {
        let text = match value {
            Value::Number(text) => *text,
            Value::Null => return 0,
            other => {
                self.mismatch(other, "an integer");
                return 0;
            }
        };
        // Go reads "-0" into signed numbers only, as this does.
        let number = text.parse::<i128>();
        match number {
            Ok(number) if (min..=max).contains(&number) && (min < 0 || text != "-0") => number,
            // A number too long for 128 bits is an integer, too.
            _ if text
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_digit()) =>
            {
                self.problem(format!("{text} is not in {min}..{max}"));
                0
            }
            _ => {
                self.problem(format!("{text} is not an integer"));
                0
            }
        }
    }
}

impl Decode for bool {
    fn decode<'d>(value: &'d Value<'d>, decoder: &mut Decoder<'d>) -> Self {
        match value {
            Value::Bool(value) => return *value,
            Value::Null => {}
            other => decoder.mismatch(other, "a boolean"),
        }
        false
    }
}

impl Decode for String {
    fn decode<'d>(value: &'d Value<'d>, decoder: &mut Decoder<'d>) -> Self {
        decoder.string(value).to_owned()
    }
}

/// A path without NUL, which no system call could take.
impl Decode for PathBuf {
    fn decode<'d>(value: &'d Value<'d>, decoder: &mut Decoder<'d>) -> Self {
        let text = decoder.string(value);
        if text.contains('\0') {
            decoder.problem("has a NUL byte");
        }
        Self::from(text)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {
        $(impl Decode for $type {
            fn decode<'d>(value: &'d Value<'d>, decoder: &mut Decoder<'d>) -> Self {
                decoder.integer(value, <$type>::MIN as i128, <$type>::MAX as i128) as $type
            }
        })*
    };
}

integers!(i32, i64, u16, u32, u64, usize);

/// An absent property, and `null`, is `None`.
impl<T: Decode> Decode for Option<T> {
    fn decode<'d>(value: &'d Value<'d>, decoder: &mut Decoder<'d>) -> Self {
        (!T::is_absent(value)).then(|| T::decode(value, decoder))
    }
}

impl<T: Decode> Decode for Vec<T> {
    #[inline(never)]
    fn decode<'d>(value: &'d Value<'d>, decoder: &mut Decoder<'d>) -> Self {
        let values = decoder.elements(value);
        let mut elements = Self::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            decoder.path.push(Segment::Index(index));
            elements.push(T::decode(value, decoder));
            decoder.path.pop();
        }
        elements
    }
}

/// Keys must differ (config.md, "Annotations").
impl<T: Decode> Decode for BTreeMap<String, T> {
    #[inline(never)]
    fn decode<'d>(value: &'d Value<'d>, decoder: &mut Decoder<'d>) -> Self {
        let mut map = Self::new();
        for (key, value) in decoder.object(value) {
            decoder.path.push(Segment::Key(key));
            let value = T::decode(value, decoder);
            if map.insert(Cow::into_owned(key.clone()), value).is_some() {
                decoder.problem("is there twice");
            }
            decoder.path.pop();
        }
        map
    }
}
