//! A mount namespace with as many mounts as wanted, in which commands are run.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::setting::timed;

/// It ends with this value: nothing else holds it.
#[derive(Debug)]
pub struct MountNamespace {
    file: File,
    /// More than were wanted, where there were more before.
    pub mounts: usize,
}

impl MountNamespace {
    /// A copy of this process's own, filled up to `count` mounts in an empty directory `place`.
    pub fn with_mounts(place: &Path, count: usize) -> Result<Self, String> {
        apart(|| {
            unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("unshare: {errno}"))?;
            // Nothing of it may reach who made the namespace.
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .map_err(|errno| format!("make / private: {errno}"))?;
            // Only of the thread that asks; a process-wide name would be that of the others.
            let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo");
            let mounts = mounts.map_err(|error| format!("mountinfo: {error}"))?;
            let there = mounts.lines().count();
            for number in there..count {
                let target = place.join(number.to_string());
                let made = std::fs::create_dir_all(&target);
                made.map_err(|error| format!("{}: {error}", target.display()))?;
                let bind = MsFlags::MS_BIND;
                mount(Some(&target), &target, None::<&str>, bind, None::<&str>)
                    .map_err(|errno| format!("mount {}: {errno}", target.display()))?;
            }
            let path = "/proc/thread-self/ns/mnt";
            let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
            let mounts = there.max(count);
            Ok(Self { file, mounts })
        })
    }

    /// Times a command there.
    pub fn timed(&self, command: &mut Command) -> Result<Duration, String> {
        apart(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNS)
                .map_err(|errno| format!("setns: {errno}"))?;
            timed(command)
        })
    }
}

/// In a thread with a root, a working directory and namespaces of its own, which the commands that
/// it starts inherit.
fn apart<T: Send>(work: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let alone = || {
        unshare(CloneFlags::CLONE_FS).map_err(|errno| format!("unshare: {errno}"))?;
        work()
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(alone);
        thread.join().unwrap_or_else(|_| Err("a panic".into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_see_its_mounts_and_we_do_not() {
        let Some(()) = testbed::requires::root() else {
            return;
        };
        let place = tempfile::tempdir().unwrap();
        let own = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = own().lines().count();
        let wanted = before + 30;
        let space = MountNamespace::with_mounts(place.path(), wanted).unwrap();
        let script = format!("[ $(wc -l </proc/self/mountinfo) = {wanted} ]");
        space
            .timed(Command::new("sh").args(["-c", &script]))
            .unwrap();
        assert!(!own().contains(&*place.path().to_string_lossy()));
    }
}
