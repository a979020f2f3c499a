//! STATUS: would ADD be refused whatever it asked for?

use cni::{Attempt, Code, Error, StatusRequest};
use sys::{Dir, Errno};

use crate::allow_list::AllowList;
use crate::config::data_dir;

/// Code 50 when the allow-list cannot be understood or no record can be written.
pub(crate) fn status(request: &StatusRequest) -> Result<(), Error> {
    AllowList::read().map_err(|error| Error {
        code: Code::NOT_AVAILABLE,
        ..error
    })?;
    let path = data_dir(&request.invocation.config)?;
    let what = || format!("records cannot be written to {path}");
    let directory = match Dir::open(&path) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()), // ADD makes it
        opened => opened.attempt(Code::NOT_AVAILABLE, what)?,
    };
    let probe = format!(".status-{}", std::process::id());
    let written = directory.replace_volatile(&probe, b"{}", 0o600);
    written
        .and_then(|()| directory.remove(&probe))
        .attempt(Code::NOT_AVAILABLE, what)
}
