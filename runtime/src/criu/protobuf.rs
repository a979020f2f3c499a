//! As much of the protocol buffers encoding as CRIU's messages need: varints and what is counted
//! by one. Unknown fields of every wire type are passed over.

use anyhow::{Context, Result, bail};

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const COUNTED: u64 = 2;
const FIXED32: u64 = 5;

/// A message being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// A number; a negative one takes ten bytes, as the encoding has it for `int32` too.
    pub(super) fn number(&mut self, field: u32, value: i64) {
        self.varint(u64::from(field) << 3 | VARINT);
        self.varint(value.cast_unsigned());
    }

    /// A flag.
    pub(super) fn boolean(&mut self, field: u32, value: bool) {
        self.number(field, value.into());
    }

    /// A string.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.counted(field, text.as_bytes());
    }

    /// A message within.
    pub(super) fn message(&mut self, field: u32, message: &Self) {
        self.counted(field, &message.0);
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn counted(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | COUNTED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A value read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number or a flag.
    Number(u64),
    /// A string or a message.
    Bytes(&'a [u8]),
    /// Of a kind that no message here has.
    Other,
}

impl<'a> Value<'a> {
    /// The low half, as `int32` means it.
    pub(super) fn int32(self) -> i32 {
        match self {
            Self::Number(number) => number as i32,
            Self::Bytes(_) | Self::Other => 0,
        }
    }

    /// A flag.
    pub(super) fn boolean(self) -> bool {
        matches!(self, Self::Number(1..))
    }

    /// A string; what is not UTF-8 in it is replaced.
    pub(super) fn text(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// A message.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) | Self::Other => &[],
        }
    }
}

/// A message being read.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next field and its value; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            VARINT => Value::Number(self.varint()?),
            COUNTED => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            FIXED64 => self.take(8).map(|_| Value::Other)?,
            FIXED32 => self.take(4).map(|_| Value::Other)?,
            wire => bail!("a message with wire type {wire}"),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .context("a message that is cut short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        bail!("a number of more than ten bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<(u64, Value<'_>)>> {
        let mut reader = Reader::new(bytes);
        std::iter::from_fn(|| reader.next().transpose()).collect()
    }

    #[test]
    fn numbers_are_as_the_encoding_s_documentation_has_them() {
        let mut writer = Writer::default();
        writer.number(1, 150);
        writer.text(2, "testing");
        let bytes = b"\x08\x96\x01\x12\x07testing";
        assert_eq!(writer.bytes(), bytes);
        let wanted = [(1, Value::Number(150)), (2, Value::Bytes(b"testing"))];
        assert_eq!(all(bytes).unwrap(), wanted);
    }

    #[test]
    fn a_negative_number_comes_back() {
        let mut writer = Writer::default();
        writer.number(7, -1);
        assert_eq!(writer.bytes().len(), 11);
        assert_eq!(all(writer.bytes()).unwrap()[0].1.int32(), -1);
    }

    #[test]
    fn unknown_kinds_are_passed_over() {
        let bytes = b"\x09\x01\x02\x03\x04\x05\x06\x07\x08\x15\x01\x02\x03\x04\x18\x07";
        let wanted = [(1, Value::Other), (2, Value::Other), (3, Value::Number(7))];
        assert_eq!(all(bytes).unwrap(), wanted);
    }

    #[test]
    fn what_is_cut_or_endless_is_an_error() {
        for bytes in [&b"\x12\x07test"[..], b"\x08", b"\x0b", &[0xff; 12]] {
            assert!(all(bytes).is_err(), "{bytes:x?}");
        }
    }
}
