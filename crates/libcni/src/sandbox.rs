//! Which namespace a path leads to, so that a path that was used again is not taken for the same.
//!
//! Numbers are used again: those of processes after some time, those of namespaces at once. A
//! `/proc/<pid>/ns/net` is therefore known by the start of the process too (proc_pid_stat(5)), and
//! by the pid namespace in which the process has that number: seen from another one, it would look
//! gone, or be somebody else.
//!
//! ```text
//! INODE                         a path of any other kind
//! INODE@START                   /proc/<pid>/ns/net, before pid namespaces were recorded, and where
//!                               they cannot be looked at
//! INODE@START@PIDS              before boots were recorded, and where only a container's own can be seen
//! INODE@START@PIDS@BOOT         /proc/<pid>/ns/net; PIDS is the inode of the pid namespace of /proc,
//!                               BOOT the machine's boot (random(4)), which no namespace outlives
//! ```

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
    let pids = pids_of_proc().map(|pids| format!("@{pids}"));
    let whence = pids.map(|pids| match boot() {
        Some(boot) => format!("{pids}@{boot}"),
        None => pids,
    });
    let whence = whence.unwrap_or_default();
    Ok(start.map(|start| format!("{inode}@{start}{whence}")))
}

/// What became of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// The path leads to it.
    There,
    /// Nothing is at the path, or another one is.
    Gone,
    /// The path is of a process in another pid namespace, where somebody lives.
    Unclear,
}

/// What became of the namespace that [`identify`] called `recorded`; with an empty text, whether
/// there is any.
pub fn life(netns: &str, recorded: &str) -> sys::Result<Life> {
    let another = |theirs: &str| boot().is_some_and(|now| now != theirs);
    if boot_in(recorded).is_some_and(another) {
        return Ok(Life::Gone);
    }
    if let Some(theirs) = pids_in(recorded).filter(|theirs| pids_of_proc() != Some(*theirs)) {
        return Ok(match is_deserted(theirs) {
            true => Life::Gone,
            false => Life::Unclear,
        });
    }
    Ok(match identify(netns)? {
        Some(now) if recorded.is_empty() || is_same(&now, recorded) => Life::There,
        _ => Life::Gone,
    })
}

/// By what both know: a text may be of a time when pid namespaces were not recorded.
fn is_same(one: &str, other: &str) -> bool {
    let known = |text: &str| text.splitn(3, '@').take(2).map(str::to_owned).collect();
    let (one, other): (Vec<_>, Vec<_>) = (known(one), known(other));
    one == other
}

fn pids_in(recorded: &str) -> Option<u64> {
    recorded.split('@').nth(2)?.parse().ok()
}

/// The boot in a text of [`identify`].
pub(crate) fn boot_in(recorded: &str) -> Option<&str> {
    recorded.splitn(4, '@').nth(3)
}

/// The machine's boot. `None` where a container has been given a text of its own in that place
/// (systemd-nspawn, LXC): by the host's, all that it attached would be of an earlier boot.
fn boot() -> Option<String> {
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";
    let device = |path: &str| std::fs::metadata(path).map(|meta| meta.dev()).ok();
    let is_kernels = device(BOOT).is_some_and(|of_boot| device("/proc") == Some(of_boot));
    let text = std::fs::read_to_string(BOOT).ok()?;
    let boot = text.trim();
    (is_kernels && !boot.is_empty()).then(|| boot.to_owned())
}

/// The pid namespace by whose numbers `/proc` shows processes: that of the mount, which need not be
/// ours. `None` when that cannot be looked at.
fn pids_of_proc() -> Option<u64> {
    match is_of_mounter("/proc/self") {
        true => pids_of("/proc/self"),
        false => pids_of("/proc/1"),
    }
}

/// Whether a process is in the pid namespace of `/proc`, and in none below it: it has one number.
fn is_of_mounter(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().count() == 1)
}

/// The pid namespace of a process; `None` when it may not be looked at.
fn pids_of(process: &str) -> Option<u64> {
    let link = std::fs::read_link(format!("{process}/ns/pid")).ok()?;
    let text = link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?;
    text.parse().ok()
}

/// The first pid namespace of a machine has this number (`PID_NS_INIT_INO` in linux/nsfs.h).
const FIRST_PIDS: u64 = 0xEFFF_FFFC;

/// Whether nobody is in a pid namespace any more, so that no process of it can come either
/// (pid_namespaces(7)). Only the first one shows everybody; from elsewhere it cannot be told.
fn is_deserted(pids: u64) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    if pids_of_proc() != Some(FIRST_PIDS) {
        return false;
    }
    let names = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut numbers = names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    numbers.all(|number| is_elsewhere(&format!("/proc/{number}"), pids))
}

/// Whether a process is certainly not in this pid namespace below the first.
fn is_elsewhere(process: &str, pids: u64) -> bool {
    if is_of_mounter(process) || has_ended(process) {
        return true;
    }
    match pids_of(process) {
        Some(theirs) => theirs != pids,
        None => !std::fs::exists(process).unwrap_or(true),
    }
}

/// Whether no thread of a process runs any more, though its parent has not waited for it yet. The
/// first thread may have ended before the others.
fn has_ended(process: &str) -> bool {
    let Ok(mut threads) = std::fs::read_dir(format!("{process}/task")) else {
        return false;
    };
    threads.all(|thread| thread.is_ok_and(|thread| is_zombie(&thread.path())))
}

fn is_zombie(thread: &Path) -> bool {
    let stat = std::fs::read_to_string(thread.join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, fields)| fields);
    state.is_some_and(|state| state.starts_with(['Z', 'X']))
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
pub fn process_of(path: &str) -> Option<u32> {
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
        // A tick of the clock later, however soon we are here.
        std::thread::sleep(std::time::Duration::from_millis(30));
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
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
    fn what_was_recorded_in_another_pid_namespace_is_unclear_while_somebody_may_be_there() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        let now = identify(&own).unwrap().unwrap();
        let mut parts = now.split('@');
        let mut part = || parts.next().unwrap();
        let (inode, start, pids) = (part(), part(), part());
        let known = &format!("{inode}@{start}");
        assert_eq!(Some(pids.parse().unwrap()), pids_of_proc());
        assert_eq!(life(&own, &now).unwrap(), Life::There);
        assert_eq!(life(&own, &format!("{known}@{pids}")).unwrap(), Life::There);
        // A number that was used again, of either kind.
        assert_eq!(life(&own, &format!("{inode}@1")).unwrap(), Life::Gone);
        assert_eq!(life(&own, &format!("1@{start}")).unwrap(), Life::Gone);
        // As written before pid namespaces were, and as they can be read everywhere.
        assert_eq!(life(&own, known).unwrap(), Life::There);
        assert_eq!(life(&own, "").unwrap(), Life::There);
        assert_eq!(life(&own, "7@8").unwrap(), Life::Gone);
        assert_eq!(life(&own, &format!("7@8@{pids}")).unwrap(), Life::Gone);
        assert_eq!(life("/proc/0/ns/net", "").unwrap(), Life::Gone);
        let elsewhere = format!("{known}@7");
        let expected = match pids_of_proc() == Some(FIRST_PIDS) {
            true => Life::Gone,
            false => Life::Unclear,
        };
        assert_eq!(life(&own, &elsewhere).unwrap(), expected);
    }

    #[test]
    fn what_an_earlier_boot_recorded_is_gone_whatever_the_numbers_lead_to() {
        let own = format!("/proc/{}/ns/net", std::process::id());
        let now = identify(&own).unwrap().unwrap();
        let Some(boot) = boot() else {
            return; // No more than the others know can be recorded here.
        };
        let (known, recorded) = now.rsplit_once('@').unwrap();
        assert_eq!((recorded, boot_in(&now)), (&*boot, Some(&*boot)));
        assert_eq!(boot_in(known), None);
        let another = "00000000-0000-4000-8000-000000000000";
        for earlier in [format!("{known}@{another}"), format!("7@8@9@{another}")] {
            assert_eq!(life(&own, &earlier).unwrap(), Life::Gone, "{earlier}");
        }
    }

    #[test]
    fn who_has_ended_and_is_not_waited_for_lives_nowhere() {
        // The first child after this unshare is process 1 of a namespace of its own; it ends soon,
        // and sleep waits for nobody.
        let script = "unshare --pid sh -c '/bin/sleep 0.3 & echo $!; exec sleep 60 >&-'";
        let mut parent = std::process::Command::new("/bin/sh")
            .args(["-c", &format!("exec {script}")])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut parent.stdout.take().unwrap(), &mut said).unwrap();
        let own = format!("/proc/{}", std::process::id());
        assert!(!has_ended(&own) && !has_ended("/proc/0"));
        if let Ok(number) = said.trim().parse::<u32>() {
            let ended = format!("/proc/{number}");
            for _ in 0..200 {
                if has_ended(&ended) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            assert!(has_ended(&ended));
            assert!(!is_of_mounter(&ended), "it has two numbers");
            if let Some(pids) = pids_of(&ended) {
                assert!(is_elsewhere(&ended, pids));
            }
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
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
