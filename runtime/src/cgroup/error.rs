//! Why a cgroup is refused, or could not be made, written, frozen or removed.

use std::path::PathBuf;

use sys::SyscallError;

/// One reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A property that means nothing, contradicts another, or that this host cannot honour.
    #[error("{pointer}: {reason}")]
    Property {
        /// JSON pointer (RFC 6901) into config.json.
        pointer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel refused a limit.
    #[error("set {pointer}")]
    Limit {
        /// The property that asked for it.
        pointer: String,
        /// The write.
        source: SyscallError,
    },
    /// Less memory than is in use (`EBUSY`); runc's words.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse {
        /// What was asked for, in bytes.
        limit: String,
        /// What is used, in bytes.
        usage: u64,
        /// The most that ever was.
        peak: u64,
        /// The write.
        source: SyscallError,
    },
    /// `memory.checkBeforeUpdate` with a limit that would kill at once; runc's words.
    #[error("rejecting memory limit {limit} <= usage {usage}")]
    LimitBelowUsage {
        /// What was asked for, in bytes.
        limit: u64,
        /// What is used, in bytes.
        usage: u64,
    },
    /// Somebody lives in the directory; runc's words.
    #[error("container's cgroup is not empty: {processes} process(es) found")]
    NotEmpty {
        /// How many.
        processes: usize,
    },
    /// A process that joined would stop at once; runc's words.
    #[error("container's cgroup unexpectedly frozen")]
    Frozen,
    /// The cgroup is below a threaded one, where the controllers that are wanted do not work.
    #[error("cgroup {path:?} is below a threaded cgroup, which has no {controllers}")]
    Threaded {
        /// The container's cgroup.
        path: PathBuf,
        /// What is wanted there.
        controllers: String,
    },
    /// Something did not happen in time.
    #[error("cgroup {path:?} is not {what} after {seconds} s{}", with_processes(.processes))]
    Late {
        /// Which one.
        path: PathBuf,
        /// What should have happened.
        what: &'static str,
        /// How long it was waited for.
        seconds: u64,
        /// Who is still in it.
        processes: Vec<i32>,
    },
    /// No hierarchy can do what was asked.
    #[error("no cgroup hierarchy here can {0}")]
    Unsupported(&'static str),
    /// The service manager could not be asked, or refused.
    #[error(transparent)]
    Systemd(#[from] systemd::Error),
    /// Any other call.
    #[error(transparent)]
    Syscall(#[from] SyscallError),
}

impl Error {
    pub(super) fn property(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Property {
            pointer: pointer.into(),
            reason: reason.into(),
        }
    }

    /// The kernel's reason, if it is one.
    pub fn errno(&self) -> Option<sys::Errno> {
        match self {
            Self::Limit { source, .. }
            | Self::MemoryInUse { source, .. }
            | Self::Syscall(source) => Some(source.errno()),
            _ => None,
        }
    }
}

fn with_processes(processes: &[i32]) -> String {
    if processes.is_empty() {
        return String::new();
    }
    let list: Vec<String> = processes.iter().map(i32::to_string).collect();
    format!(", processes left: {}", list.join(" "))
}
