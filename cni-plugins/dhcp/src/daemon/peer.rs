//! [`Peer`]: a plugin that is connected to the daemon, which never waits for it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cni::{Code, Error};

use crate::FOREIGN;
use crate::connection::own_uid;
use crate::lease::Moment;
use crate::protocol::{self, Key, Operation, Reply, Request, Response, VERSION};

/// A plugin sends its request at once.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Peer {
    stream: UnixStream,
    received: Vec<u8>,
    pub(super) state: State,
}

/// What is expected of it.
pub(super) enum State {
    /// A request, before this moment.
    Asking(Moment),
    /// Nothing but to wait for its ADD; whatever comes means that it does not.
    Waiting(Key),
}

/// What reading from it came to.
pub(super) enum Heard {
    Nothing,
    Request(Operation),
    /// It hung up, or talks when it should not.
    Gone,
    /// It is told why not.
    Refused(Error),
}

impl Peer {
    /// Takes a connection of root or of who we are.
    pub(super) fn new(stream: UnixStream, now: Moment) -> Result<Self, String> {
        let uid = sys::socket::peer_uid(&stream).map_err(|error| error.to_string())?;
        if uid != 0 && uid != own_uid() {
            return Err(format!("user {uid} may not ask this daemon"));
        }
        stream
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            received: Vec::new(),
            state: State::Asking(now + PATIENCE),
        })
    }

    /// When it has been silent for too long.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Asking(until) => Some(until),
            State::Waiting(_) => None,
        }
    }

    /// Reads what is there.
    pub(super) fn hear(&mut self) -> Heard {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Heard::Gone,
                Ok(length) => self.received.extend(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Heard::Gone,
            }
            if matches!(self.state, State::Waiting(_)) {
                return Heard::Gone;
            }
            match protocol::unframe(&self.received) {
                Ok(None) => {}
                Ok(Some(json)) => return understood(json),
                Err(_) => return Heard::Gone,
            }
        }
    }

    /// Sends the reply; false if nobody takes it. A reply is smaller than the socket's buffer.
    pub(super) fn reply(mut self, reply: Reply) -> bool {
        let response = Response {
            version: VERSION,
            reply,
        };
        let sent = protocol::frame(&response).and_then(|bytes| self.stream.write_all(&bytes));
        sent.is_ok()
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn understood(json: &[u8]) -> Heard {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    match serde_json::from_slice::<Versioned>(json) {
        Ok(Versioned { version: VERSION }) => {}
        Ok(Versioned { version }) => {
            let msg = format!(
                "the plugin speaks version {version} to the daemon, which speaks {VERSION}"
            );
            return Heard::Refused(
                Error::new(FOREIGN, msg).details("restart the daemon after an upgrade"),
            );
        }
        Err(_) => return Heard::Gone,
    }
    match serde_json::from_slice::<Request>(json) {
        Ok(request) => Heard::Request(request.operation),
        Err(error) => {
            let msg = "a request that the daemon cannot decode";
            Heard::Refused(Error::new(Code::DECODE, msg).details(error))
        }
    }
}
