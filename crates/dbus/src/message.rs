//! Messages of D-Bus: a header with numbered fields, and a body of values. Pure.

use std::io;

use crate::value::{Reader, Value, pad};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// A message, with those fields of its header that somebody here looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// What it is.
    pub kind: Kind,
    /// The call that it answers.
    pub reply_to: u32,
    /// The object.
    pub path: String,
    /// The interface.
    pub interface: String,
    /// The method, the signal, or the error's name.
    pub member: String,
    /// The arguments or the answer.
    pub body: Vec<Value>,
}

/// Size of the header's part that is always there; the size of the rest is in it.
pub(crate) const FIXED: usize = 16;
/// A message of the manager has some hundred bytes.
const MAX_SIZE: usize = 16 << 20;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// A method call, ready to be sent.
pub(crate) fn call(
    serial: u32,
    to: &str,
    path: &str,
    interface: &str,
    method: &str,
    arguments: &[Value],
) -> Vec<u8> {
    let signature: String = arguments.iter().map(Value::signature).collect();
    let mut body = Vec::new();
    arguments
        .iter()
        .for_each(|argument| argument.write(&mut body));
    let field =
        |number, value| Value::Struct(vec![Value::Byte(number), Value::Variant(Box::new(value))]);
    let mut fields = vec![
        field(PATH, Value::Path(path.into())),
        field(INTERFACE, Value::str(interface)),
        field(MEMBER, Value::str(method)),
        field(DESTINATION, Value::str(to)),
    ];
    if !signature.is_empty() {
        fields.push(field(SIGNATURE, Value::Signature(signature)));
    }
    // Little endian, a call, no flags, version 1.
    let mut message = vec![b'l', 1, 0, 1];
    Value::U32(body.len() as u32).write(&mut message);
    Value::U32(serial).write(&mut message);
    Value::Array("(yv)".into(), fields).write(&mut message);
    pad(&mut message, 8);
    message.extend_from_slice(&body);
    message
}

fn nonsense(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// How many bytes a message has in all, from its first [`FIXED`] bytes.
pub(crate) fn size(fixed: &[u8; FIXED]) -> io::Result<usize> {
    if fixed[0] != b'l' {
        return Err(nonsense("a message of another byte order"));
    }
    let number = |at: usize| {
        let bytes = [fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]];
        u32::from_le_bytes(bytes) as usize
    };
    let size = (FIXED + number(12)).next_multiple_of(8) + number(4);
    if size > MAX_SIZE {
        return Err(nonsense("a message too large to be the manager's"));
    }
    Ok(size)
}

/// Reads a whole message.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<Message> {
    let mut reader = Reader::new(bytes);
    let header = reader.values("yyyyuua(yv)")?;
    let mut message = Message {
        kind: match header[1] {
            Value::Byte(1) => Kind::Call,
            Value::Byte(2) => Kind::Return,
            Value::Byte(3) => Kind::Error,
            _ => Kind::Signal,
        },
        reply_to: 0,
        path: String::new(),
        interface: String::new(),
        member: String::new(),
        body: Vec::new(),
    };
    let mut signature = String::new();
    let Value::Array(_, fields) = &header[6] else {
        return Err(nonsense("a header without fields"));
    };
    for field in fields {
        let Value::Struct(pair) = field else { continue };
        let [Value::Byte(number), Value::Variant(value)] = pair.as_slice() else {
            continue;
        };
        match (*number, &**value) {
            (PATH, Value::Path(text)) => message.path.clone_from(text),
            (INTERFACE, Value::Str(text)) => message.interface.clone_from(text),
            (MEMBER | ERROR_NAME, Value::Str(text)) => message.member.clone_from(text),
            (REPLY_SERIAL, Value::U32(serial)) => message.reply_to = *serial,
            (SIGNATURE, Value::Signature(text)) => signature.clone_from(text),
            _ => {}
        }
    }
    reader.align(8)?;
    message.body = reader.values(&signature)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_reads_as_it_was_written() {
        let arguments = [
            Value::str("a.scope"),
            Value::Array("s".into(), vec![Value::str("x")]),
        ];
        let bytes = call(7, "org.x", "/org/x", "org.x.M", "Do", &arguments);
        let mut fixed = [0; FIXED];
        fixed.copy_from_slice(&bytes[..FIXED]);
        assert_eq!(size(&fixed).unwrap(), bytes.len());
        let message = parse(&bytes).unwrap();
        assert_eq!(message.kind, Kind::Call);
        assert_eq!(
            (message.path.as_str(), message.member.as_str()),
            ("/org/x", "Do")
        );
        assert_eq!(message.body, arguments);
    }

    #[test]
    fn a_message_that_is_cut_or_foreign_is_an_error() {
        let bytes = call(1, "a.b", "/", "a.b", "C", &[Value::U32(1)]);
        for size in FIXED..bytes.len() {
            assert!(parse(&bytes[..size]).is_err(), "{size}");
        }
        let mut fixed = [0; FIXED];
        fixed[0] = b'B';
        assert!(size(&fixed).is_err());
        fixed[0] = b'l';
        fixed[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(size(&fixed).is_err());
    }
}
