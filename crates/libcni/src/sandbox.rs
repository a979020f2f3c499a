//! Which namespace a path leads to, so that a path that was used again is not taken for the same.
//!
//! Numbers are used again: those of processes after some time, those of namespaces at once. A
//! `/proc/<pid>/ns/net` is therefore known by the start of the process too (proc_pid_stat(5)).

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use sys::{Errno, NetNs, SyscallResult};

/// A text that stays the same as long as `netns` leads to the same namespace; `None` when it
/// leads to none. Whatever keeps us from knowing (`EMFILE`, `EACCES`, ...) is an error, so that
/// nobody takes it for a dead container.
pub fn identify(netns: &str) -> sys::Result<Option<String>> {
    let Some(namespace) = open(netns)? else {
        return Ok(None);
    };
    let call = || format!("fstat({netns:?})");
    let fd = namespace.as_fd().try_clone_to_owned().call(call)?;
    let inode = File::from(fd).metadata().call(call)?.ino();
    let Some(pid) = process_of(netns) else {
        return Ok(Some(inode.to_string()));
    };
    let start = start_of_process(pid)?;
    Ok(start.map(|start| format!("{inode}@{start}")))
}

/// Whether the path leads to our own namespace, which no container has.
pub fn is_own(netns: &str) -> bool {
    let same = NetNs::open(netns).and_then(|theirs| theirs.is_same(&NetNs::current()?));
    same.unwrap_or(false)
}

fn open(netns: &str) -> sys::Result<Option<NetNs>> {
    if let Some(namespace) = present(NetNs::open(netns))? {
        return Ok(Some(namespace));
    }
    match process_of(netns) {
        Some(pid) if netns == format!("/proc/{pid}/ns/net") => open_of_threads(pid),
        _ => Ok(None),
    }
}

/// The first thread of a process may end before the others (pthread_exit(3)), and has no
/// namespace any more, while the container lives.
fn open_of_threads(pid: u32) -> sys::Result<Option<NetNs>> {
    let path = format!("/proc/{pid}/task");
    let threads = match std::fs::read_dir(&path).call(|| format!("open({path})")) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
        threads => threads?,
    };
    for thread in threads {
        // ESRCH: the process ended meanwhile.
        let Ok(thread) = thread else { return Ok(None) };
        if let Some(namespace) = present(NetNs::open(thread.path().join("ns/net")))? {
            return Ok(Some(namespace));
        }
    }
    Ok(None)
}

/// EINVAL: the plain file that a bind mount left behind. ESRCH: a process that has just ended.
fn present(opened: sys::Result<NetNs>) -> sys::Result<Option<NetNs>> {
    match opened {
        Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::EINVAL | Errno::ESRCH) => {
            Ok(None)
        }
        opened => opened.map(Some),
    }
}

/// The process of a `/proc/<pid>/...` path.
pub(crate) fn process_of(path: &str) -> Option<u32> {
    path.strip_prefix("/proc/")?.split('/').next()?.parse().ok()
}

/// When a process was started, in clock ticks since boot; `None` when it is gone.
pub fn start_of_process(pid: u32) -> sys::Result<Option<String>> {
    let path = format!("/proc/{pid}/stat");
    let stat = match std::fs::read_to_string(&path).call(|| format!("read({path})")) {
        // ESRCH: it ended between open and read.
        Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::ESRCH) => return Ok(None),
        read => read?,
    };
    // The second field is the command in parentheses and may hold anything; 22 is the start.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let start = fields.and_then(|fields| fields.split_whitespace().nth(22 - 3));
    Ok(start.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        let identity = identify(&own).unwrap().unwrap();
        assert_eq!(identify(&own).unwrap().as_ref(), Some(&identity));
        assert!(identity.contains('@'), "{identity}");
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let other = format!("/proc/{}/ns/net", child.id());
        assert_ne!(
            identify(&other).unwrap(),
            Some(identity),
            "same namespace, another process"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(identify(&other).unwrap(), None);
    }

    #[test]
    fn any_thread_leads_to_the_namespace_and_a_process_that_is_gone_to_none() {
        let namespace = open_of_threads(std::process::id()).unwrap().unwrap();
        assert!(namespace.is_same(&NetNs::current().unwrap()).unwrap());
        assert!(open_of_threads(2_000_000_000).unwrap().is_none());
        assert!(is_own("/proc/self/ns/net") && !is_own("/etc/passwd"));
    }

    #[test]
    fn what_is_no_namespace_has_no_identity() {
        assert_eq!(identify("").unwrap(), None);
        assert_eq!(identify("/etc/passwd").unwrap(), None);
        assert_eq!(identify("/nonexistent").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_looked_at_is_an_error_and_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("loop");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = identify(path.to_str().unwrap()).unwrap_err();
        assert_eq!(error.errno(), Errno::ELOOP);
    }
}
