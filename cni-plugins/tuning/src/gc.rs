//! GC: records of this network that no valid attachment owns. What they tell of went with the
//! containers' namespaces.

use cni::{Attempt, Code, Error, GcRequest};
use sys::{Dir, Errno};

use crate::config::data_dir;
use crate::record::attachment_of;

const LONGEST: u64 = 4 << 20;

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let path = data_dir(network)?;
    let what = || format!("look for stale records in {path}");
    let directory = match Dir::open(&path) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()),
        opened => opened.attempt(Code::IO, what)?,
    };
    for name in directory.names().attempt(Code::IO, what)? {
        // One that is gone, or no file, is nobody's record.
        let Ok(text) = directory.read(&name, LONGEST) else {
            continue;
        };
        let attachment = attachment_of(&text, network.name.as_str());
        if attachment.is_some_and(|(id, ifname)| !valid.contains(&id, &ifname)) {
            directory.remove(&name).attempt(Code::IO, what)?;
        }
    }
    Ok(())
}
