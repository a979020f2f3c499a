//! Which namespace a path leads to, so that a path that was used again is not taken for the same.
//!
//! Numbers are used again: those of processes after some time, those of namespaces at once. A
//! `/proc/<pid>/ns/net` is therefore known by the start of the process too (proc_pid_stat(5)).

use std::os::fd::AsFd;

use sys::NetNs;

/// A text that stays the same as long as `netns` leads to the same namespace; `None` when it
/// leads to none.
pub fn identify(netns: &str) -> Option<String> {
    let namespace = NetNs::open(netns).ok()?;
    let fd = namespace.as_fd().try_clone_to_owned().ok()?;
    let metadata = std::fs::File::from(fd).metadata().ok()?;
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    match start_of_process(netns) {
        Some(start) => Some(format!("{inode}@{start}")),
        None => Some(inode.to_string()),
    }
}

/// When the process of a `/proc/<pid>/...` path was started, in clock ticks since boot.
fn start_of_process(path: &str) -> Option<String> {
    let pid: u32 = path
        .strip_prefix("/proc/")?
        .split('/')
        .next()?
        .parse()
        .ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the command in parentheses and may hold anything; 22 is the start.
    let fields = stat.rsplit_once(')')?.1;
    fields.split_whitespace().nth(22 - 3).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        let identity = identify(&own).unwrap();
        assert_eq!(identify(&own).as_ref(), Some(&identity));
        assert!(identity.contains('@'), "{identity}");
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let other = format!("/proc/{}/ns/net", child.id());
        assert_ne!(
            identify(&other),
            Some(identity),
            "same namespace, another process"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(identify(&other), None);
    }

    #[test]
    fn what_is_no_namespace_has_no_identity() {
        assert_eq!(identify(""), None);
        assert_eq!(identify("/etc/passwd"), None);
        assert_eq!(identify("/nonexistent"), None);
    }
}
