//! Being told when the kernel finds no memory for a container: an eventfd on version 1
//! (cgroup-v1/memory.rst, "OOM Control"), inotify on version 2 (cgroup-v2.rst, "memory.events").

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use sys::{Dir, SyscallResult, kernel_file};

use super::group::{open, present};
use super::plan::Version;
use super::{Cgroup, Error};

/// Who tells, and how often it has.
#[derive(Debug)]
pub struct OomWatch {
    cgroup: Cgroup,
    source: Source,
    kills: u64,
}

#[derive(Debug)]
enum Source {
    Event(EventFd),
    Modified(Inotify),
}

impl Cgroup {
    /// Begins to watch; `None` if the container has no memory controller.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, Error> {
        let Some(group) = self.v1("memory").or_else(|| self.v2()) else {
            return Ok(None);
        };
        let dir = open(&group.path)?;
        let source = match group.version {
            Version::V1 => Some(Source::Event(event(&dir)?)),
            Version::V2 => modified(&dir)?.map(Source::Modified),
        };
        let kills = self.oom_kill_count()?.unwrap_or(0);
        Ok(source.map(|source| OomWatch {
            cgroup: self.clone(),
            source,
            kills,
        }))
    }
}

fn event(dir: &Dir) -> Result<EventFd, Error> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let event = EventFd::from_flags(flags).call(|| "eventfd2(0, EFD_NONBLOCK)".to_owned())?;
    let control = dir.open_file("memory.oom_control")?;
    let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
    kernel_file::write(dir, "cgroup.event_control", &line)?;
    Ok(event)
}

/// `None` without the controller, as on a hybrid host that has it in neither place.
fn modified(dir: &Dir) -> Result<Option<Inotify>, Error> {
    if present(dir.stat("memory.events").map_err(Error::from))?.is_none() {
        return Ok(None);
    }
    let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
    let inotify = Inotify::init(flags).call(|| "inotify_init1(IN_NONBLOCK)".to_owned())?;
    let path = dir.path().join("memory.events");
    inotify
        .add_watch(&path, AddWatchFlags::IN_MODIFY)
        .call(|| format!("inotify_add_watch({path:?}, IN_MODIFY)"))?;
    Ok(Some(inotify))
}

impl OomWatch {
    /// Whether memory has run out since the last call.
    pub fn take(&mut self) -> Result<bool, Error> {
        match &self.source {
            Source::Event(event) => match event.read() {
                // The removal of the cgroup is told in the same way.
                Ok(_) => Ok(self.cgroup.oom_kill_count()?.is_some()),
                Err(Errno::EAGAIN) => Ok(false),
                Err(errno) => Err(errno)
                    .call(|| "read(eventfd)".to_owned())
                    .map_err(Error::from),
            },
            Source::Modified(inotify) => {
                // What is asked is the file; this only makes the descriptor quiet again.
                let _ = inotify.read_events();
                // Not every change is a kill, and a change may be told late (10 ms at most).
                let kills = self.cgroup.oom_kill_count()?.unwrap_or(self.kills);
                let grown = kills > self.kills;
                self.kills = kills;
                Ok(grown)
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::Event(event) => event.as_fd(),
            Source::Modified(inotify) => inotify.as_fd(),
        }
    }
}
