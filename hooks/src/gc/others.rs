//! Callers that know no lock of ours (Go's libcni), and what keeps GC from tearing their adds.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use libcni::NetworkList;
use owner::{LONGEST_NOTE, STALE_NOTES, Stamp, noted};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno};

/// What nerdctl holds while its hooks run.
const NERDCTL: &str = ".cni-concurrency.lock";

/// Waits until no hook of nerdctl runs, and keeps the next from starting. `None` where it never ran.
pub(super) fn lock(net_dir: &Path, patience: Duration) -> anyhow::Result<Option<Lock>> {
    let locked = Dir::open(net_dir)
        .and_then(|dir| dir.lock_existing(NERDCTL, LockKind::Exclusive, patience));
    match locked {
        Err(error) if error.errno() == Errno::ENOENT => Ok(None),
        locked => locked
            .map(Some)
            .with_context(|| format!("wait for nerdctl's {}/{NERDCTL}", net_dir.display())),
    }
}

/// Takes away what plugins noted as stale before `before`, once each has had its turn to free it:
/// an ID may come again, and has a grace of its own then.
pub(super) fn forget_used(lists: &[NetworkList], before: u64) -> anyhow::Result<()> {
    let dir = match Dir::open(STALE_NOTES) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(()),
        opened => opened?,
    };
    let is_asked = |stamp: &Stamp| {
        let mut asked = lists.iter().filter(|list| !list.disable_gc);
        asked.any(|list| stamp.is_of_network(list.name.as_str()))
    };
    for name in dir.names()? {
        let stamp = name.to_str().and_then(Stamp::of_token);
        if !stamp.is_some_and(|stamp| is_asked(&stamp)) {
            continue;
        }
        // One that is gone, or cannot be understood, is as good as used.
        let note = dir.read(&name, LONGEST_NOTE).unwrap_or_default();
        if noted(&note).unwrap_or(0) <= before {
            match dir.remove(&name) {
                Err(error) if error.errno() != Errno::ENOENT => return Err(error.into()),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nerdctl_s_hooks_are_waited_for_but_not_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let short = Duration::from_millis(20);
        assert!(lock(place.path(), short).unwrap().is_none(), "never ran");
        let dir = Dir::open(place.path()).unwrap();
        assert!(dir.names().unwrap().is_empty());
        dir.create_new(NERDCTL, 0o644).unwrap();
        let held = lock(place.path(), short).unwrap();
        let error = lock(place.path(), short).unwrap_err();
        assert!(format!("{error:#}").contains(NERDCTL), "{error:#}");
        drop(held);
        assert!(lock(place.path(), short).unwrap().is_some());
    }
}
