//! What the plugin and the daemon say to each other over the Unix socket.
//!
//! ```text
//! plugin                                   daemon
//!   | -- length, {version, operation} ------> |   one request,
//!   | <------ length, {version, reply} ------ |   one reply, and both hang up
//! ```
//! The length is four bytes, highest first, and bounded; then comes JSON. A plugin that hangs up
//! before the reply to an ADD takes its request back. The version says which program of which age
//! is at the other end: both are replaced together or told apart.

use std::io::{self, Read, Write};

use cni::{Code, Error};
use serde::{Deserialize, Serialize};

use crate::lease::Lease;

/// To be raised by every change that an older program would misunderstand.
pub(crate) const VERSION: u32 = 1;
/// A request carries what `provide` sends, a reply a lease: both are small.
pub(crate) const LONGEST: usize = 256 << 10;

/// Which attachment; its parts have no `/`, so that the text is as good as they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) container: String,
    pub(crate) network: String,
    pub(crate) ifname: String,
}

/// What an ADD wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    pub(crate) key: Key,
    /// Path of the namespace, as the runtime gave it.
    pub(crate) netns: String,
    pub(crate) ipv4: bool,
    pub(crate) ipv6: bool,
    /// Options to send, and option 55.
    pub(crate) provide: Vec<(u8, Vec<u8>)>,
    pub(crate) request: Vec<u8>,
    /// The metric of every route.
    pub(crate) priority: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) version: u32,
    pub(crate) operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Operation {
    /// Is anybody there?
    Status,
    /// Get leases and keep them.
    Add {
        wish: Wish,
        /// Tells this request from every other, for [`Operation::Del`].
        ticket: String,
        /// Milliseconds after which the plugin gives up.
        patience: u64,
    },
    /// The leases that are kept for this attachment.
    Check { key: Key },
    /// Give the leases back: all, or only those of one ADD.
    Del { key: Key, ticket: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Response {
    pub(crate) version: u32,
    pub(crate) reply: Reply,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Reply {
    Done,
    Leased {
        leases: Vec<Lease>,
        /// Whether an earlier ADD got them.
        repeated: bool,
    },
    Failed {
        code: u32,
        msg: String,
        details: String,
    },
}

impl Key {
    /// As the reference names a lease, and as option 61 begins.
    pub(crate) fn text(&self) -> String {
        format!("{}/{}/{}", self.container, self.network, self.ifname)
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Self::Failed {
            code: error.code.0,
            msg: error.msg,
            details: error.details,
        }
    }
}

impl Reply {
    /// The reply, or the error in it.
    pub(crate) fn into_result(self) -> Result<Self, Error> {
        match self {
            Self::Failed { code, msg, details } => {
                Err(Error::new(Code(code), msg).details(details))
            }
            reply => Ok(reply),
        }
    }
}

/// A whole frame.
pub(crate) fn frame(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(message)?;
    if json.len() > LONGEST {
        return Err(io::Error::other(format!(
            "{} bytes are too many for the socket",
            json.len()
        )));
    }
    // It fits, because LONGEST does.
    let mut bytes = (json.len() as u32).to_be_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}

/// The JSON of a frame in `bytes`; `None` as long as it is not all there.
pub(crate) fn unframe(bytes: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > LONGEST {
        let kind = io::ErrorKind::InvalidData;
        return Err(io::Error::new(
            kind,
            "what is there speaks another protocol",
        ));
    }
    Ok(rest.get(..length))
}

/// Writes a message to a stream that waits.
pub(crate) fn send(stream: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    stream.write_all(&frame(message)?)
}

/// Reads a message from a stream that waits.
pub(crate) fn receive<T: for<'de> Deserialize<'de>>(stream: &mut impl Read) -> io::Result<T> {
    let mut bytes = Vec::new();
    loop {
        if let Some(json) = unframe(&bytes)? {
            return Ok(serde_json::from_slice(json)?);
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => bytes.extend(&piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let key = Key {
            container: "c1".into(),
            network: "net".into(),
            ifname: "eth0".into(),
        };
        Request {
            version: VERSION,
            operation: Operation::Del { key, ticket: None },
        }
    }

    #[test]
    fn what_is_sent_is_received() {
        let mut wire = Vec::new();
        send(&mut wire, &request()).unwrap();
        assert_eq!(receive::<Request>(&mut &wire[..]).unwrap(), request());
        for length in 0..wire.len() {
            assert_eq!(unframe(&wire[..length]).unwrap(), None);
            let error = receive::<Request>(&mut &wire[..length]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn another_protocol_is_told_by_its_first_bytes() {
        let error = receive::<Response>(&mut &b"HTTP/1.1 400 Bad Request\r\n"[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(frame(&"x".repeat(LONGEST)).is_err());
    }
}
