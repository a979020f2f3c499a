//! [`Console`]: the engine's end of `--console-socket`, which receives a terminal's master.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::patience::patient;
use crate::{Error, IoContext, Result};

/// A listening console socket.
#[derive(Debug)]
pub struct Console(UnixListener);

/// What came over it: the message and the descriptors beside it.
#[derive(Debug)]
pub struct Received {
    /// The bytes; engines only look at the descriptor.
    pub payload: Vec<u8>,
    /// The master of the terminal, when exactly one descriptor came.
    pub master: Option<OwnedFd>,
}

/// Everything that came over one connection.
#[derive(Debug)]
pub struct Connection {
    /// Each message with its descriptors, in their order; a long one may come in parts.
    pub messages: Vec<(Vec<u8>, Vec<OwnedFd>)>,
    /// Whether the other end closed it.
    pub closed: bool,
}

impl Console {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path).because(|| format!("bind {path:?}"))?;
        listener
            .set_nonblocking(true)
            .because(|| "set O_NONBLOCK".into())?;
        Ok(Self(listener))
    }

    /// Waits for the one connection and its one message.
    pub fn receive(&self, patience: Duration) -> Result<Received> {
        let stream = self.accept(patience)?;
        let (payload, mut descriptors) = sys::socket::receive(&stream)
            .map_err(|error| Error::Host(format!("receive a console: {error}")))?;
        let master = (descriptors.len() == 1).then(|| descriptors.remove(0));
        Ok(Received { payload, master })
    }

    /// Waits for one connection and reads it until the other end closes it, or says nothing for
    /// two seconds.
    pub fn receive_to_the_end(&self, patience: Duration) -> Result<Connection> {
        let stream = self.accept(patience)?;
        stream
            .set_read_timeout(Some(patient(Duration::from_secs(2))))
            .because(|| "set SO_RCVTIMEO".into())?;
        let mut messages = Vec::new();
        loop {
            match sys::socket::receive(&stream) {
                Ok((bytes, descriptors)) if bytes.is_empty() && descriptors.is_empty() => break,
                Ok(message) => messages.push(message),
                Err(error) if messages.is_empty() => {
                    return Err(Error::Host(format!("receive a message: {error}")));
                }
                Err(_) => {
                    return Ok(Connection {
                        messages,
                        closed: false,
                    });
                }
            }
        }
        Ok(Connection {
            messages,
            closed: true,
        })
    }

    fn accept(&self, patience: Duration) -> Result<UnixStream> {
        let patience = patient(patience);
        let deadline = Instant::now() + patience;
        let stream = loop {
            match self.0.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) => return Err(error).because(|| "accept a console".into()),
            }
        };
        stream
            .set_read_timeout(Some(patience))
            .because(|| "set SO_RCVTIMEO".into())?;
        Ok(stream)
    }
}

/// Reads what the other side of a terminal printed, until `wanted` is in it or it hangs up.
pub fn read_until(master: OwnedFd, wanted: &str) -> String {
    let (mut master, mut text) = (File::from(master), Vec::new());
    let mut chunk = [0; 1024];
    while !String::from_utf8_lossy(&text).contains(wanted) {
        match master.read(&mut chunk) {
            Ok(length) if length > 0 => text.extend_from_slice(&chunk[..length]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
