//! D-Bus values and how they lie in a message (D-Bus specification, "Marshaling"). Pure.

use std::io;

/// A value, with as many types as the manager's properties have.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `y`
    Byte(u8),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    F64(f64),
    /// `s`
    Str(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a`, with the signature of its elements, which may be none.
    Array(String, Vec<Value>),
    /// `(...)`
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// A string.
    pub fn str(text: impl Into<String>) -> Self {
        Self::Str(text.into())
    }

    /// Its type as D-Bus writes it.
    pub fn signature(&self) -> String {
        match self {
            Self::Bool(_) => "b".into(),
            Self::Byte(_) => "y".into(),
            Self::I16(_) => "n".into(),
            Self::U16(_) => "q".into(),
            Self::I32(_) => "i".into(),
            Self::U32(_) => "u".into(),
            Self::I64(_) => "x".into(),
            Self::U64(_) => "t".into(),
            Self::F64(_) => "d".into(),
            Self::Str(_) => "s".into(),
            Self::Path(_) => "o".into(),
            Self::Signature(_) => "g".into(),
            Self::Array(of, _) => format!("a{of}"),
            Self::Struct(fields) => {
                let inner: String = fields.iter().map(Self::signature).collect();
                format!("({inner})")
            }
            Self::Variant(_) => "v".into(),
        }
    }

    /// Appends it to a message; `out` starts where the alignment starts.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => write_bytes(out, &u32::from(*value).to_le_bytes()),
            Self::Byte(value) => out.push(*value),
            Self::I16(value) => write_bytes(out, &value.to_le_bytes()),
            Self::U16(value) => write_bytes(out, &value.to_le_bytes()),
            Self::I32(value) => write_bytes(out, &value.to_le_bytes()),
            Self::U32(value) => write_bytes(out, &value.to_le_bytes()),
            Self::I64(value) => write_bytes(out, &value.to_le_bytes()),
            Self::U64(value) => write_bytes(out, &value.to_le_bytes()),
            Self::F64(value) => write_bytes(out, &value.to_le_bytes()),
            Self::Str(text) | Self::Path(text) => {
                write_bytes(out, &length(text.len()).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            Self::Signature(text) => write_signature(out, text),
            Self::Array(of, elements) => {
                write_bytes(out, &[0; 4]);
                let size_at = out.len() - 4;
                pad(out, alignment(of.as_bytes()));
                let start = out.len();
                elements.iter().for_each(|element| element.write(out));
                let size = length(out.len() - start).to_le_bytes();
                out[size_at..size_at + 4].copy_from_slice(&size);
            }
            Self::Struct(fields) => {
                pad(out, 8);
                fields.iter().for_each(|field| field.write(out));
            }
            Self::Variant(value) => {
                write_signature(out, &value.signature());
                value.write(out);
            }
        }
    }
}

/// The size of something that is in memory and far below the 128 MiB that a message may have.
fn length(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// Numbers are aligned to their own size.
fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    pad(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn write_signature(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

pub(crate) fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

fn alignment(signature: &[u8]) -> usize {
    match signature.first() {
        Some(b'y' | b'g' | b'v') => 1,
        Some(b'n' | b'q') => 2,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 4,
    }
}

/// The length of the first complete type in `signature`.
pub fn first_type(signature: &[u8]) -> Option<usize> {
    match signature.first()? {
        b'a' => Some(1 + first_type(&signature[1..])?),
        open @ (b'(' | b'{') => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while *signature.get(at)? != close {
                at += first_type(&signature[at..])?;
            }
            // Empty ones are none ("Valid Signatures"); an array of them would never end.
            (at > 1).then_some(at + 1)
        }
        b'b' | b'y' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g'
        | b'v' => Some(1),
        _ => None,
    }
}

/// Deeper nesting is nonsense (D-Bus specification, "Valid Signatures").
const MAX_DEPTH: u32 = 32;

/// Reads values from a message.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u32,
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<'a> Reader<'a> {
    /// `bytes` starts where the alignment starts.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let (at, depth) = (0, 0);
        Self { bytes, at, depth }
    }

    /// All values of `signature`.
    pub(crate) fn values(&mut self, signature: &str) -> io::Result<Vec<Value>> {
        let mut rest = signature.as_bytes();
        let mut values = Vec::new();
        while !rest.is_empty() {
            let size = first_type(rest).ok_or_else(|| nonsense("a bad signature"))?;
            values.push(self.value(&rest[..size])?);
            rest = &rest[size..];
        }
        Ok(values)
    }

    fn value(&mut self, kind: &[u8]) -> io::Result<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(nonsense("a value nested too deep"));
        }
        let value = match kind[0] {
            b'b' => Value::Bool(u32::from_le_bytes(self.number()?) != 0),
            b'y' => Value::Byte(self.number::<1>()?[0]),
            b'n' => Value::I16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.number()?)),
            b'u' => Value::U32(u32::from_le_bytes(self.number()?)),
            b'x' => Value::I64(i64::from_le_bytes(self.number()?)),
            b't' => Value::U64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::F64(f64::from_le_bytes(self.number()?)),
            b's' => Value::Str(self.text()?),
            b'o' => Value::Path(self.text()?),
            b'g' => Value::Signature(self.signature()?),
            b'v' => {
                let kind = self.signature()?;
                match first_type(kind.as_bytes()) {
                    Some(size) if size == kind.len() => {
                        Value::Variant(Box::new(self.value(kind.as_bytes())?))
                    }
                    _ => return Err(nonsense("a bad signature of a variant")),
                }
            }
            b'a' => self.array(&kind[1..])?,
            // A structure, or the entry of a dictionary: a pair.
            _ => {
                self.align(8)?;
                let inner = String::from_utf8_lossy(&kind[1..kind.len() - 1]).into_owned();
                Value::Struct(self.values(&inner)?)
            }
        };
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self, of: &[u8]) -> io::Result<Value> {
        let size = u32::from_le_bytes(self.number()?) as usize;
        self.align(alignment(of))?;
        let end = self
            .at
            .checked_add(size)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| nonsense("an array beyond the end"))?;
        let mut elements = Vec::new();
        while self.at < end {
            elements.push(self.value(of)?);
        }
        Ok(Value::Array(
            String::from_utf8_lossy(of).into_owned(),
            elements,
        ))
    }

    pub(crate) fn align(&mut self, alignment: usize) -> io::Result<()> {
        let to = self.at.next_multiple_of(alignment);
        self.take(to - self.at).map(drop)
    }

    fn number<const SIZE: usize>(&mut self) -> io::Result<[u8; SIZE]> {
        self.align(SIZE)?;
        let mut number = [0; SIZE];
        number.copy_from_slice(self.take(SIZE)?);
        Ok(number)
    }

    fn text(&mut self) -> io::Result<String> {
        let size = u32::from_le_bytes(self.number()?) as usize;
        self.text_of(size)
    }

    fn signature(&mut self) -> io::Result<String> {
        let size = self.number::<1>()?[0];
        self.text_of(size.into())
    }

    fn text_of(&mut self, size: usize) -> io::Result<String> {
        let bytes = self.take(size)?.to_vec();
        self.take(1)?;
        String::from_utf8(bytes).map_err(|_| nonsense("text that is not UTF-8"))
    }

    fn take(&mut self, size: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(size);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        self.at += size;
        taken.ok_or_else(|| nonsense("a value beyond the end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: &Value) -> Value {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        let mut values = reader.values(&value.signature()).unwrap();
        assert_eq!(reader.at, bytes.len(), "{value:?}");
        values.remove(0)
    }

    #[test]
    fn values_come_back_as_they_went() {
        let pair = Value::Struct(vec![
            Value::str("/dev/char/1:3"),
            Value::Variant(Box::new(Value::U64(7))),
        ]);
        for value in [
            Value::Bool(true),
            Value::Byte(3),
            Value::I16(-2),
            Value::U16(2),
            Value::I32(-3),
            Value::U32(3),
            Value::I64(-4),
            Value::U64(4),
            Value::F64(0.5),
            Value::Path("/a".into()),
            Value::Signature("a(sv)".into()),
            Value::Array("t".into(), Vec::new()),
            Value::Array("(sv)".into(), vec![pair.clone(), pair]),
            Value::Array(
                "ay".into(),
                vec![Value::Array("y".into(), vec![Value::Byte(1)])],
            ),
        ] {
            assert_eq!(round_trip(&value), value);
        }
    }

    #[test]
    fn an_array_of_structures_is_padded_before_its_first() {
        let mut bytes = Vec::new();
        Value::Array("(s)".into(), vec![Value::Struct(vec![Value::str("a")])]).write(&mut bytes);
        // The length counts the elements, not the four bytes of padding.
        assert_eq!(bytes, [6, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b'a', 0]);
    }

    #[test]
    fn an_array_of_nothing_has_an_end() {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend([0; 12]);
        assert!(Reader::new(&bytes).values("a()").is_err());
    }

    #[test]
    fn what_is_cut_or_nested_too_deep_is_an_error() {
        let mut bytes = Vec::new();
        Value::Array("s".into(), vec![Value::str("abc")]).write(&mut bytes);
        for size in 0..bytes.len() {
            assert!(Reader::new(&bytes[..size]).values("as").is_err(), "{size}");
        }
        let mut deep = Value::Byte(1);
        for _ in 0..40 {
            deep = Value::Variant(Box::new(deep));
        }
        let mut bytes = Vec::new();
        deep.write(&mut bytes);
        assert!(Reader::new(&bytes).values("v").is_err());
        for bad in ["a", "(s", "k", "a{sv", "()", "a{}", "(s())"] {
            assert!(first_type(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
