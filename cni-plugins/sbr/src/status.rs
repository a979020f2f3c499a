//! STATUS: would ADD be refused whatever it asked for?

use cni::{Attempt, Code, Error};
use netlink::Socket;
use sys::{Dir, Errno};

use crate::record::DIRECTORY;

/// Code 50 when the kernel has no rules or no record can be written.
pub(crate) fn status() -> Result<(), Error> {
    let what = || "this host cannot route by source".to_owned();
    let rules = Socket::route().and_then(|mut socket| socket.rules());
    rules.attempt(Code::NOT_AVAILABLE, what)?;
    let what = || format!("records cannot be written to {DIRECTORY}");
    let directory = match Dir::open(DIRECTORY) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()), // ADD makes it
        opened => opened.attempt(Code::NOT_AVAILABLE, what)?,
    };
    let probe = format!(".status-{}", std::process::id());
    let written = directory.replace_volatile(&probe, b"{}", 0o600);
    written
        .and_then(|()| directory.remove(&probe))
        .attempt(Code::NOT_AVAILABLE, what)
}
