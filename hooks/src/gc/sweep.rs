//! What davit-cni itself keeps, of containers that have nothing any more, and files that killed
//! writers left.
//!
//! `<state-dir>/containers/<id>` goes when it has a record, which says that the container was
//! attached once, and the container is attached no more. Without a record `inject` has written the
//! files for a container to come, which they wait for a day long; an empty directory is what a kill
//! left. Temporary files, and what a killed poststop had buried, are recognised by the name that `sys::Dir` gives them, and by the process in it being gone.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use libcni::sandbox;
use sys::{Dir, Errno};

use super::report::{Fate, Item, Report};
use super::runtimes::Life;
use super::{Judge, PROCESS_THERE, Verdict};
use crate::args::Place;
use crate::poststop::UNCLEAR_RECORD;
use crate::record::{self, CONTAINERS, RECORD, writer_of};
use crate::{neighbours, nerdctl, turns};

/// How long files wait for their container: `davit run` was killed behind `inject`, or somebody
/// injects now and runs later.
const INJECTED: Duration = Duration::from_secs(24 * 60 * 60);

/// Nobody waits so long for a turn.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

pub(super) fn run(place: &Place, judge: &Judge<'_>, report: &mut Report) -> anyhow::Result<()> {
    // Nobody attaches or detaches until this is done; a dry run makes no lock.
    let caller = &judge.caller;
    let is_dry = judge.options.is_dry;
    let held = match is_dry {
        true => None,
        false => Some(caller.cache.lock_all(caller.patience)?),
    };
    let containers = place.state_dir.join(CONTAINERS);
    sweep_records(&containers, judge, report)?;
    sweep_temporary(&containers, judge, report)?;
    sweep_wishes(&place.state_dir.join(neighbours::QUEUE), judge, report)?;
    let queues = place.state_dir.join(nerdctl::QUEUES);
    for queue in open(&queues)?.map_or(Ok(Vec::new()), |dir| dir.names())? {
        sweep_wishes(&queues.join(queue), judge, report)?;
    }
    drop(held);
    if !is_dry && open(&containers)?.is_some() {
        // The dead are nobody's neighbours any more, also those of a poststop that was killed.
        neighbours::refresh(&place.state_dir, "gc")?;
    }
    Ok(())
}

/// Temporary files of the cache.
pub(super) fn sweep_results(judge: &Judge<'_>, report: &mut Report) -> anyhow::Result<()> {
    let caller = &judge.caller;
    let _held = match judge.options.is_dry {
        true => None,
        false => Some(caller.cache.lock_all(caller.patience)?),
    };
    sweep_temporary(&caller.cache.results(), judge, report)
}

fn open(path: &Path) -> anyhow::Result<Option<Dir>> {
    match Dir::open(path) {
        Err(error) if error.errno() == Errno::ENOENT => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

fn sweep_records(containers: &Path, judge: &Judge<'_>, report: &mut Report) -> anyhow::Result<()> {
    let Some(dir) = open(containers)? else {
        return Ok(());
    };
    let cached = judge.caller.cache.entries()?;
    for id in dir.names()? {
        let Some(id) = id.to_str().filter(|id| !id.starts_with('.')) else {
            continue;
        };
        let is_attached = |id: &str| {
            let of = |each: &libcni::CachedAttachment| each.attachment.container_id.as_str() == id;
            cached.iter().any(of)
        };
        let verdict = match judge.record(&dir, id, is_attached(id)) {
            Ok(None) => continue,
            Ok(Some(verdict)) => verdict,
            Err(error) => {
                report.errors.push(format!("record of {id}: {error:#}"));
                Verdict::stays("cannot be read")
            }
        };
        let fate = match (verdict.stays, judge.options.is_dry) {
            (true, _) => Fate::Kept,
            (false, true) => Fate::WouldGo,
            (false, false) => remove(report, id, || dir.remove_all(id)),
        };
        report
            .items
            .push(Item::record(id, fate).because(verdict.reason));
    }
    Ok(())
}

impl Judge<'_> {
    /// `None` for what is no record of ours.
    fn record(&self, dir: &Dir, id: &str, is_attached: bool) -> anyhow::Result<Option<Verdict>> {
        let Ok(own) = dir.open_dir(id) else {
            return Ok(None);
        };
        let stat = match own.stat(RECORD) {
            Err(error) if error.errno() == Errno::ENOENT => {
                return Ok(Some(self.files(&own, id, is_attached)?));
            }
            stat => stat?,
        };
        if is_attached {
            return Ok(Some(Verdict::stays("its container is attached")));
        }
        let record = record::read(dir, id)?;
        let namespace = record.as_ref().map_or(Ok(None), |record| record.life())?;
        let is_process = record.is_some_and(|record| record.is_process());
        match namespace {
            Some(sandbox::Life::Gone) => return Ok(Some(Verdict::goes("its namespace is gone"))),
            // Perhaps a create that has not attached anything yet.
            Some(sandbox::Life::There) if self.runtimes.is_none() => {
                return Ok(Some(Verdict::stays("its namespace is there")));
            }
            Some(sandbox::Life::Unclear) if self.runtimes.is_none() => {
                return Ok(Some(Verdict::stays(UNCLEAR_RECORD)));
            }
            _ => {}
        }
        if self.is_young(moment(stat.st_mtime)) {
            return Ok(Some(Verdict::stays("it is younger than the grace")));
        }
        let life = self.runtimes.as_ref().map(|runtimes| runtimes.life(id));
        Ok(Some(match life {
            Some(Life::Lives(reason) | Life::Unclear(reason)) => Verdict::stays(reason),
            // The pid that its runtime remembers may be of that other namespace too.
            Some(Life::Dead(_)) if namespace == Some(sandbox::Life::Unclear) => {
                Verdict::stays(UNCLEAR_RECORD)
            }
            // As with attachments: whoever forgot a root would take the names of all below it.
            Some(Life::Unknown)
                if !self.options.is_forced
                    && is_process
                    && namespace == Some(sandbox::Life::There) =>
            {
                Verdict::stays(PROCESS_THERE)
            }
            _ => Verdict::goes("its container is attached to nothing"),
        }))
    }
}

impl Judge<'_> {
    /// Of files without a record.
    fn files(&self, own: &Dir, id: &str, is_attached: bool) -> anyhow::Result<Verdict> {
        if is_attached {
            return Ok(Verdict::stays("its container is attached"));
        }
        let life = self.runtimes.as_ref().map(|runtimes| runtimes.life(id));
        if let Some(Life::Lives(reason) | Life::Unclear(reason)) = life {
            return Ok(Verdict::stays(reason));
        }
        let written = moment(own.stat_self()?.st_mtime);
        if own.names()?.is_empty() {
            return Ok(match self.is_young(written) {
                true => Verdict::stays("it is younger than the grace"),
                false => Verdict::goes("it is empty"),
            });
        }
        let is_waiting = self.age(written) < INJECTED;
        Ok(match is_waiting || self.is_young(written) {
            true => Verdict::stays("its files wait for their container"),
            false => Verdict::goes("its files have waited for a day"),
        })
    }
}

fn sweep_temporary(path: &Path, judge: &Judge<'_>, report: &mut Report) -> anyhow::Result<()> {
    let mut dirs: Vec<PathBuf> = vec![path.to_owned()];
    let Some(dir) = open(path)? else {
        return Ok(());
    };
    for name in dir.names()? {
        if dir.open_dir(&name).is_ok() {
            dirs.push(path.join(name));
        }
    }
    for path in dirs {
        let Some(dir) = open(&path)? else { continue };
        for name in dir.names()? {
            let Some(pid) = name.to_str().and_then(writer_of) else {
                continue;
            };
            let Ok(stat) = dir.stat(&name) else { continue };
            let writer =
                libcni::sandbox::start_of_process(pid).with_context(|| format!("process {pid}"))?;
            if writer.is_some() && judge.is_young(moment(stat.st_mtime)) {
                continue;
            }
            let fate = match judge.options.is_dry {
                true => Fate::WouldGo,
                false => remove(report, "temporary file", || dir.remove_all(&name)),
            };
            let item = Item::file(path.join(&name), fate);
            report
                .items
                .push(item.because(format!("its writer, process {pid}, was killed")));
        }
    }
    Ok(())
}

/// Wishes in a queue whose makers have given up long ago, whatever pid namespace they were in.
fn sweep_wishes(path: &Path, judge: &Judge<'_>, report: &mut Report) -> anyhow::Result<()> {
    let Some(dir) = open(path)? else {
        return Ok(());
    };
    for name in dir.names()? {
        let is_wish = name.to_str().is_some_and(turns::is_wish);
        let Some(stat) = dir.stat(&name).ok().filter(|_| is_wish) else {
            continue;
        };
        if judge.age(moment(stat.st_mtime)) < ABANDONED {
            continue;
        }
        let fate = match judge.options.is_dry {
            true => Fate::WouldGo,
            false => remove(report, "wish", || dir.remove(&name)),
        };
        let item = Item::file(path.join(&name), fate);
        report
            .items
            .push(item.because("who made it has given up".to_owned()));
    }
    Ok(())
}

fn remove(report: &mut Report, what: &str, remove: impl FnOnce() -> sys::Result<()>) -> Fate {
    match remove() {
        Ok(()) => Fate::Freed,
        Err(error) => {
            report.errors.push(format!("{what}: {error}"));
            Fate::Failed
        }
    }
}

fn moment(seconds: i64) -> SystemTime {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_that_dir_gives_are_temporary() {
        assert_eq!(writer_of(".n-c1-eth0.4711.0.tmp"), Some(4711));
        assert_eq!(writer_of(".record.json.1.12.tmp"), Some(1));
        for other in [
            "n-c1-eth0",
            ".tmp",
            ".a.tmp",
            ".a.b.0.tmp",
            "a.1.0.tmp",
            ".a.1.x.tmp",
        ] {
            assert_eq!(writer_of(other), None, "{other}");
        }
    }
}
