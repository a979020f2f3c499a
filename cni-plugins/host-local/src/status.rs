//! STATUS: could an ADD be served? Code 50 when the pool is full or cannot be written.
//!
//! It waits for no lock and leaves nothing behind: a moment's view is all a status can be.

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;

use cni::{Attempt, Code, Error, StatusRequest};
use sys::{Dir, Errno};

use crate::config::{self, Pool};
use crate::ranges::RangeSet;
use crate::reservations::{addresses, reclaimable};

pub(crate) fn status(request: &StatusRequest) -> Result<(), Error> {
    let pool = Pool::parse(&request.invocation)?;
    let store = config::store(&request.invocation)?;
    let unavailable = || format!("reservations cannot be written: {}", store.display());
    let (dir, is_store) = nearest(&store).attempt(Code::NOT_AVAILABLE, unavailable)?;
    probe(&dir).attempt(Code::NOT_AVAILABLE, unavailable)?;
    if is_store {
        let taken = addresses(&dir)?;
        for set in &pool.sets {
            if is_full(set, &dir, &taken)? {
                let msg = format!("no IP addresses available in range set: {set}");
                return Err(Error::new(Code::NOT_AVAILABLE, msg));
            }
        }
    }
    Ok(())
}

fn is_full(set: &RangeSet, dir: &Dir, taken: &[IpAddr]) -> Result<bool, Error> {
    let taken = taken.iter().copied().filter(|address| set.gives(*address));
    let taken: Vec<IpAddr> = taken.collect();
    if (taken.len() as u128) < set.capacity() {
        return Ok(false);
    }
    Ok(reclaimable(dir, &taken)? == 0)
}

/// The directory itself, or the one in which ADD would make it.
fn nearest(store: &Path) -> Result<(Dir, bool), sys::SyscallError> {
    let mut path = store;
    loop {
        match (Dir::open(path), path.parent()) {
            (Err(error), Some(parent)) if error.errno() == Errno::ENOENT => path = parent,
            (opened, _) => return opened.map(|dir| (dir, path == store)),
        }
    }
}

/// Root may write anywhere by permission, so only writing tells a read-only or full disk.
fn probe(dir: &Dir) -> std::io::Result<()> {
    let name = format!(".status.{}", std::process::id());
    let mut file = dir.create_new(&name, 0o600)?;
    let written = file.write_all(b"probe");
    dir.remove(&name)?;
    written
}
