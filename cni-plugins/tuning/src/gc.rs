//! GC: records of this network that no valid attachment owns. What they tell of went with the
//! containers' namespaces.

use cni::{Attempt, Code, Error, GcRequest};
use interface::Grace;
use interface::removal::first_error;
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
    let grace = Grace::of(request)?;
    let path = data_dir(network)?;
    let what = || format!("look for stale records in {path}");
    let directory = match Dir::open(&path) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()),
        opened => opened.attempt(Code::IO, what)?,
    };
    directory.remove_abandoned().attempt(Code::IO, what)?;
    let names = directory.names().attempt(Code::IO, what)?;
    first_error(names.into_iter().map(|name| {
        // One that is gone, or no file, is nobody's record.
        let Ok(text) = directory.read(&name, LONGEST) else {
            return Ok(());
        };
        let attachment = attachment_of(&text, network.name.as_str());
        let goes = |(id, ifname): (String, String)| {
            !valid.contains(&id, &ifname) && grace.is_over_for(&id, &ifname)
        };
        if !attachment.is_some_and(goes) {
            return Ok(());
        }
        match directory.remove(&name) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(()),
            removed => removed.attempt(Code::IO, || {
                format!("remove the stale record {path}/{}", name.display())
            }),
        }
    }))
}
