//! GC: records of this network that no valid attachment owns, and what they tell of where the
//! namespace lives on.

use cni::{Attempt, Code, Error, GcRequest};
use interface::Grace;
use interface::Owner;
use interface::removal::first_error;
use interface::sandbox::{Found, Sandbox};
use owner::Stamp;
use sys::{Dir, Errno};

use crate::del::undo;
use crate::record::{DIRECTORY, Record, remove};

const LONGEST: u64 = 4 << 20;

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = request.invocation.config.name.as_str();
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let grace = Grace::of(request)?;
    let what = || format!("look for stale records in {DIRECTORY}");
    let directory = match Dir::open(DIRECTORY) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()),
        opened => opened.attempt(Code::IO, what)?,
    };
    directory.remove_abandoned().attempt(Code::IO, what)?;
    let stale = |name: &std::ffi::OsStr| {
        let token = name.to_str()?.strip_suffix(".json")?;
        let stamp = Stamp {
            token: token.into(),
            container: String::new(),
        };
        let text = directory.read(name, LONGEST).ok()?;
        let record = Record::parse(&text).filter(|_| stamp.is_of_network(network))?;
        let is_left = !valid.contains(&record.container, &record.ifname);
        (is_left && grace.is_over(&stamp.token)).then_some(record)
    };
    let names = directory.names().attempt(Code::IO, what)?;
    let stale = names.iter().filter_map(|name| stale(name));
    first_error(stale.map(|record| free(network, &record)))
}

fn free(network: &str, record: &Record) -> Result<(), Error> {
    let undone = match Sandbox::find(Some(&record.netns))? {
        Found::Here(mut sandbox) if record.is_of(&sandbox.path) => {
            undo(&mut sandbox, &record.ifname, record)
        }
        _ => Ok(()),
    };
    undone.and_then(|()| remove(&Owner::new(network, &*record.container, &*record.ifname)))
}
