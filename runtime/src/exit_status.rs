//! How a container ended: learnt while the kernel still tells it, kept in its state directory.
//!
//! The exit status of a process is its parent's, and the parent of a detached container is
//! whoever adopted it. Others learn it in two ways, and both are exact: from a pidfd that they
//! held when it was reaped (Linux 6.15), and from /proc as long as it is not (docs/decisions/0021).
//! What neither tells is not known, and nothing is made up.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use sys::clock::FOREVER;
use sys::process::{CloneArgs, Cloned, clone3};

use crate::foreground::ExitStatus;
use crate::launch::Request;
use crate::procfs::{self, Stat};
use crate::state_dir::{Record, StateDir};

/// How long an ended process may wait for its parent to reap it, before we give up on its pidfd.
const REAPING: Duration = Duration::from_secs(10);

/// The status of `record`'s init, which has ended; `pidfd` is one of it, opened before that.
pub fn learn(record: &Record, pidfd: Option<&OwnedFd>) -> Option<ExitStatus> {
    let from_pidfd = || {
        let raw = sys::process::exit_info(pidfd?).ok().flatten()?;
        Some(shell(raw))
    };
    // Reaped between the two looks? Then the pidfd tells it now.
    from_pidfd()
        .or_else(|| from_proc(record))
        .or_else(from_pidfd)
}

/// The status of an init that has ended and was not reaped.
fn from_proc(record: &Record) -> Option<ExitStatus> {
    let pid = record.init_process_pid;
    if !procfs::is_of_this_boot(&record.boot_id) || !procfs::may_look_into(pid) {
        return None;
    }
    let stat = Stat::of(pid).ok()??;
    let same = stat.start_time == record.init_process_start && stat.is_dead();
    same.then(|| stat.exit_code.map(shell)).flatten()
}

/// What a shell makes of a status of wait(2).
fn shell(raw: i32) -> ExitStatus {
    let signal = raw & 0x7f;
    let number = if signal == 0 { raw >> 8 } else { 128 + signal };
    (number & 0xff) as ExitStatus
}

/// Leaves a process behind that notes the status of init when it ends, unless the caller watches
/// init itself: who asks for a pid file or a pidfd does. On a kernel that tells the status to
/// the parent alone there is nothing to leave. Nor is it worth a failure: then nobody will know.
pub fn leave_witness(state: &StateDir, record: &Record, pidfd: &OwnedFd, request: &Request) {
    let watched = request.pid_file.is_some() || request.pidfd_socket.is_some();
    if watched || !sys::process::tells_exit_info(pidfd) {
        return;
    }
    if let Err(error) = clone_witness(state, record, pidfd) {
        crate::log::debug(&format!("no witness of the exit status: {error:#}"));
    }
}

fn clone_witness(state: &StateDir, record: &Record, pidfd: &OwnedFd) -> Result<()> {
    let clone = CloneArgs {
        flags: 0,
        cgroup: None,
    };
    if let Cloned::Child = clone3(clone).context("clone the witness")? {
        // Its streams are closed, and whoever asks will hear that nobody knows.
        let failed = watch(state, record, pidfd).is_err();
        sys::process::exit_now(failed.into())
    }
    Ok(())
}

/// The life of the witness: it holds nothing of the caller's, and ends soon after init.
fn watch(state: &StateDir, record: &Record, pidfd: &OwnedFd) -> Result<()> {
    let [own, root] = state.descriptors();
    sys::process::close_inherited(&[own, root, pidfd.as_raw_fd()])?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    (0..3).try_for_each(|number| sys::process::dup_onto(&null, number))?;
    nix::unistd::chdir("/")?;
    // Whoever hangs up the caller's terminal does not mean us.
    nix::unistd::setsid()?;
    nix::sys::prctl::set_name(c"davit-witness")?;
    sys::process::wait_for_exit(pidfd, FOREVER)?;
    let deadline = Instant::now() + REAPING;
    loop {
        match learn(record, Some(pidfd)) {
            Some(status) => return note(state, status),
            None if Instant::now() > deadline => return Ok(()),
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Writes the status down, unless the container is gone or somebody was faster.
pub fn note(state: &StateDir, status: ExitStatus) -> Result<()> {
    let Some(_lock) = state.lock_unless_gone()? else {
        return Ok(());
    };
    if state.is_gone()? || state.exit_status()?.is_some() {
        return Ok(());
    }
    state.save_exit_status(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use nix::unistd::Pid;
    use std::process::{Child, Command};

    fn record_of(pid: i32) -> Record {
        let record = serde_json::json!({
            "version": 1, "id": "web", "stage": "created", "created": "", "owner": 0,
            "init_process_pid": pid, "init_process_start": Stat::of(pid).unwrap().unwrap().start_time,
            "boot_id": procfs::boot_id(), "bundle": "/", "rootfs": "/", "cgroup_paths": {},
            "own_pid_namespace": true,
        });
        serde_json::from_value(record).unwrap()
    }

    fn child(script: &str) -> (Child, Record, OwnedFd) {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = child.id().cast_signed();
        let pidfd = sys::process::pidfd_open(Pid::from_raw(pid)).unwrap();
        (child, record_of(pid), pidfd)
    }

    #[test]
    fn an_unreaped_process_tells_its_status() {
        for (script, status) in [("exit 7", 7), ("kill -9 $$", 137), ("exit 0", 0)] {
            let (mut child, record, pidfd) = child(script);
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
            waitid(Id::Pid(Pid::from_raw(record.init_process_pid)), flags).unwrap();
            assert_eq!(learn(&record, None), Some(status), "{script}");
            assert_eq!(learn(&record, Some(&pidfd)), Some(status), "{script}");
            child.wait().unwrap();
            assert_eq!(learn(&record, None), None, "{script}");
        }
    }

    #[test]
    fn a_reaped_process_tells_it_to_who_held_a_pidfd() {
        let (mut child, record, pidfd) = child("exit 9");
        if !sys::process::tells_exit_info(&pidfd) {
            return;
        }
        child.wait().unwrap();
        assert_eq!(learn(&record, Some(&pidfd)), Some(9));
    }

    #[test]
    fn one_that_runs_has_no_status() {
        let (mut child, record, pidfd) = child("sleep 60");
        assert_eq!(learn(&record, Some(&pidfd)), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
