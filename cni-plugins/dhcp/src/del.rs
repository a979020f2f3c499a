//! DEL: the daemon gives the leases back. Without a daemon this is noted beside the leases, for
//! the next one to do.

use std::path::Path;

use cni::{Code, DelRequest, Error};

use crate::leases::Store;
use crate::protocol::{Key, Operation};
use crate::{FOREIGN, config, connection};

pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let socket = config::socket(&request.invocation)?;
    let key = config::key(&request.invocation, &request.attachment);
    release(&socket, &key, None)
}

/// Gives back what the attachment has: all of it, or what one ADD got.
///
/// The note comes before a second try, because a daemon that starts meanwhile listens first and
/// looks for notes then: it is either there for the second try, or it will find the note.
pub(crate) fn release(socket: &Path, key: &Key, ticket: Option<&str>) -> Result<(), Error> {
    let ask = || {
        let operation = Operation::Del {
            key: key.clone(),
            ticket: ticket.map(str::to_owned),
        };
        connection::ask(socket, operation, connection::SHORT)
    };
    match ask() {
        Err(error) if is_without_daemon(&error) => {}
        reply => return reply.map(drop),
    }
    // A lease that cannot be noted (a full disk, another user's directory) is still given back
    // when the next daemon finds its namespace or link gone, or ends by its time.
    let noted = Store::open(&Store::beside(socket))
        .and_then(|store| store.map_or(Ok(false), |store| store.mark(key, ticket)));
    if noted.unwrap_or(true) {
        let _ = ask();
    }
    Ok(())
}

/// No daemon, or none of ours: what it keeps is not ours either.
fn is_without_daemon(error: &Error) -> bool {
    matches!(error.code, Code::TRY_AGAIN | FOREIGN)
}
