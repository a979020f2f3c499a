//! The listener of a filter with `SCMP_ACT_NOTIFY`: from the process that loaded the filter to the
//! agent at `listenerPath` (config-linux.md, "Seccomp"; seccomp_unotify(2)).
//!
//! Once the filter is loaded any call of the process may be trapped, and nobody answers before
//! the agent has the listener. So between the two the process makes no call at all: it leaves the
//! listener's number in memory that the runtime shares, and reads there until the runtime has
//! fetched it.
//!
//! ```text
//!   runtime                                  process
//!      |<-------- Listener ---------------------|   the filter is about to be loaded
//!      |  connect to the agent, share two words |
//!      |--------- Watching + memory ----------->|
//!      |                                        |   seccomp(NEW_LISTENER)
//!      |<======== words[0] = number + 1 ========|
//!      |  pidfd_getfd(number); send to agent    |
//!      |========= words[1] = 1 ================>|   capset, execve: the agent may see them
//! ```

use std::hint::spin_loop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::Pid;
use sys::Errno;
use sys::seccomp::Listener;
use sys::shared_words::SharedWords;

use crate::console_socket;
use crate::seccomp::Program;
use crate::state::OCI_VERSION;
use crate::sync::{Channel, FromInit, ToInit};

/// Who answers for the calls that are trapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its socket.
    pub path: PathBuf,
    /// What it is told beside the state.
    pub metadata: String,
}

/// A process that is about to load its filter.
pub struct Filtered<'a> {
    /// The runtime's end of its conversation.
    pub channel: &'a Channel,
    /// Its number, as the runtime counts.
    pub pid: Pid,
    /// The process.
    pub pidfd: &'a OwnedFd,
}

/// How long either side waits for the other, and the runtime for the agent.
const PATIENCE: Duration = Duration::from_secs(10);

/// Hands the listener of `process` over. An agent that cannot be reached becomes the process's
/// own error; any later failure ends the process, which could not even report it.
pub fn hand_over(agent: &Agent, process: &Filtered<'_>, state: &[u8]) -> Result<()> {
    let stream = match console_socket::connect_to(&agent.path) {
        Ok(stream) => stream,
        Err(error) => {
            let text = format!(
                "failed to connect with seccomp agent specified in the seccomp profile \
                 (config.json /linux/seccomp/listenerPath): {error:#}"
            );
            return process.channel.answer(&ToInit::Refused(text), &[]);
        }
    };
    let (shared, file) = SharedWords::create()?;
    process.channel.answer(&ToInit::Watching, &[&file])?;
    let sent = fetch(process, &shared).and_then(|listener| {
        let message = process_state(agent, process.pid, state)?;
        sys::socket::send(&stream, &message, &[listener.as_fd()])
            .with_context(|| format!("send the seccomp listener to {:?}", agent.path))
    });
    match sent {
        Ok(()) => shared.words()[1].store(1, Ordering::Release),
        // It may have ended by itself.
        Err(_) => drop(sys::process::pidfd_send_signal(
            process.pidfd,
            nix::libc::SIGKILL,
        )),
    }
    sent
}

/// Waits for the listener's number and takes a copy of it.
fn fetch(process: &Filtered<'_>, shared: &SharedWords) -> Result<OwnedFd> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let number = shared.words()[0].load(Ordering::Acquire);
        if let Some(number) = number.checked_sub(1) {
            let copy = sys::process::pidfd_getfd(process.pidfd, number as i32);
            return match copy {
                Err(error) if error.errno() == Errno::EPERM => Err(error)
                    .context("take the seccomp listener (CAP_SYS_PTRACE is needed for it)"),
                other => other.context("take the seccomp listener"),
            };
        }
        if sys::process::wait_for_exit(process.pidfd, Duration::from_millis(1))? {
            // It has said why, or was killed.
            match process.channel.hear()? {
                Some(FromInit::Failed(reason)) => bail!(reason),
                _ => bail!("the process died when it loaded its seccomp filter"),
            }
        }
        if Instant::now() > deadline {
            bail!("the seccomp filter was not loaded within {PATIENCE:?}");
        }
    }
}

/// The container process state (config-linux.md, "The container process state").
fn process_state(agent: &Agent, pid: Pid, state: &[u8]) -> Result<Vec<u8>> {
    let state: serde_json::Value = serde_json::from_slice(state)?;
    let mut message = serde_json::json!({
        "ociVersion": OCI_VERSION,
        "fds": ["seccompFd"],
        "pid": pid.as_raw(),
        "state": state,
    });
    if !agent.metadata.is_empty() {
        message["metadata"] = agent.metadata.as_str().into();
    }
    Ok(message.to_string().into_bytes())
}

/// In the process: loads the filter, and returns when somebody answers for its calls.
pub fn load(filter: &Program, channel: &Channel) -> Result<()> {
    let memory = channel.ask(&FromInit::Listener, &ToInit::Watching)?;
    let memory = memory.into_iter().next();
    let shared = SharedWords::map(memory.context("no memory came with Watching")?)?;
    let deadline = Instant::now() + PATIENCE;
    let listener = sys::seccomp::load(&filter.filters, filter.flags, Listener::New)?;
    let Some(listener) = listener else {
        bail!("the kernel gave no listener")
    };
    let number = listener.as_raw_fd() as u32;
    // No call from here on: even close(2) may be trapped. execve closes it.
    std::mem::forget(listener);
    let words = shared.words();
    words[0].store(number + 1, Ordering::Release);
    while words[1].load(Ordering::Acquire) == 0 {
        // The clock is read without a call (vdso(7)).
        if Instant::now() > deadline {
            bail!("the runtime has not taken the seccomp listener within {PATIENCE:?}");
        }
        spin_loop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_told_whom_it_serves() {
        let mut agent = Agent {
            path: "/a".into(),
            metadata: "m".into(),
        };
        let state = br#"{"id":"x","status":"created"}"#;
        let text = |agent: &Agent| {
            String::from_utf8(process_state(agent, Pid::from_raw(7), state).unwrap()).unwrap()
        };
        assert_eq!(
            text(&agent),
            r#"{"ociVersion":"1.3.0","fds":["seccompFd"],"pid":7,"state":{"id":"x","status":"created"},"metadata":"m"}"#
        );
        agent.metadata.clear();
        assert!(!text(&agent).contains("metadata"));
    }
}
