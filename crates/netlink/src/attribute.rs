//! Type-length-value attributes of netlink (`struct nlattr`), written and read as bytes.
//!
//! rtnetlink messages come from netlink-packet-route. This is for the families that have no
//! such crate (nfnetlink) and for the header's own attributes (extended acknowledgements).

const NESTED: u16 = 1 << 15; // NLA_F_NESTED
const TYPE_MASK: u16 = 0x3fff; // NLA_TYPE_MASK: without the nested and byte-order flags
const HEADER: usize = 4;

/// A message body under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// An empty body, or one that starts with a family's fixed header.
    pub fn new(header: &[u8]) -> Self {
        Self(header.to_vec())
    }

    /// Appends one attribute. Its value must fit a 16-bit length; ours are all far below.
    pub fn put(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (HEADER + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Appends a string with its terminating NUL.
    pub fn put_str(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Appends a 32-bit number in network byte order, nfnetlink's habit.
    pub fn put_be32(self, kind: u16, value: u32) -> Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Appends an attribute that holds attributes.
    pub fn put_nested(self, kind: u16, inner: Writer) -> Self {
        self.put(kind | NESTED, &inner.0)
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The attributes in `bytes`, in order, until the first that is cut short.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]));
        let kind = u16::from_ne_bytes([*rest.get(2)?, *rest.get(3)?]) & TYPE_MASK;
        let value = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of this kind.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A string value, with or without its NUL.
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let inner = Writer::default().put_be32(7, 9);
        let bytes = Writer::new(b"head")
            .put_str(1, "ab")
            .put_nested(2, inner)
            .into_bytes();
        let read: Vec<_> = attributes(&bytes[4..]).collect();
        assert_eq!(read[0], (1, &b"ab\0"[..]));
        assert_eq!(find(read[1].1, 7), Some(&9u32.to_be_bytes()[..]));
        assert_eq!(text(read[0].1), "ab");
    }

    #[test]
    fn a_length_beyond_the_end_ends_the_reading() {
        assert_eq!(attributes(&[200, 0, 1, 0, 0]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(attributes(&[8, 0]).count(), 0);
    }
}
