//! The hosts files of all containers, kept current when one of them comes or goes.
//!
//! One round writes the file of everybody; [`Turns`] lets one round do for all who wait. A file
//! or a container that is gone meanwhile hinders nobody, and neither does one whose file cannot
//! be written: only its own create is told.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use sys::{Errno, SyscallError};

use crate::block::OURS;
use crate::hosts::Directory;
use crate::kept_files::{HOSTS, KeptFiles};
use crate::record::{Record, Records};
use crate::turns::{Turns, Unserved};

/// The queue of those who want a round, below the state directory.
pub(crate) const QUEUE: &str = "hosts";

/// A round takes milliseconds; this is for a host that stands still.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns when all hosts files are as the records are now. `who` is a container ID or names who
/// else wants it; an error is told if it was that container's file.
pub fn refresh(state_dir: &Path, who: &str) -> anyhow::Result<()> {
    let records = Records::new(state_dir);
    let turns = Turns::open(&state_dir.join(QUEUE));
    let mut own = None;
    let round = || {
        let failed = round(&records)?;
        own = failed
            .iter()
            .find(|(id, _)| id == who)
            .map(|(_, error)| anyhow!("{error}"));
        Ok::<_, anyhow::Error>(failed.into_iter().map(|(who, _)| who).collect::<Unserved>())
    };
    let told = || format!("hosts file of {who}");
    let taken = turns.with_context(told)?.take(who, PATIENCE, round);
    taken.with_context(told)?;
    own.map_or(Ok(()), Err).with_context(told)
}

/// Writes every file; those that could not be, and why.
fn round(records: &Records) -> anyhow::Result<Vec<(String, SyscallError)>> {
    let living = records.living()?;
    let directory = Directory::new(&living);
    let failed = living.iter().filter_map(|record| {
        let error = write(record, &directory).err()?;
        Some((record.id.clone(), error))
    });
    Ok(failed.collect())
}

fn write(record: &Record, directory: &Directory<'_>) -> sys::Result<()> {
    let files = match KeptFiles::open(&record.files) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()),
        opened => opened?,
    };
    let block = directory.block(record);
    files.change(HOSTS, |old| OURS.replace(old, &block))
}
