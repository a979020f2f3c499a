//! What can go wrong between us and the kernel's netlink families.

use sys::{Errno, SyscallError};

/// A netlink request that did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The kernel refused. `reason` is its extended acknowledgement, when it sent one.
    #[error("{request}: {}{}", errno.desc(), in_brackets(reason))]
    Refused {
        /// What was asked: a verb and its object, `create veth "eth0"`.
        request: String,
        /// Why not.
        errno: Errno,
        /// Why not, in the kernel's own sentence.
        reason: Option<String>,
    },
    /// The socket itself failed.
    #[error(transparent)]
    Syscall(#[from] SyscallError),
    /// An answer that does not parse as the message it claims to be.
    #[error("{request}: malformed answer: {what}")]
    Malformed {
        /// What was asked.
        request: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// No (complete, consistent) answer before the deadline.
    #[error("{request}: no answer in time")]
    Timeout {
        /// What was asked.
        request: String,
    },
}

/// What every call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The errno, when the kernel gave one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Syscall(error) => Some(error.errno()),
            Self::Malformed { .. } | Self::Timeout { .. } => None,
        }
    }

    pub(crate) fn malformed(request: &str, what: impl ToString) -> Self {
        Self::Malformed {
            request: request.into(),
            what: what.to_string(),
        }
    }
}

/// What to look for, where the kernel's sentence does not say it.
fn remedy(reason: &str) -> &'static str {
    match reason {
        "Unknown device type" => ": this kernel has no such links; is a module missing?",
        _ => "",
    }
}

fn in_brackets(reason: &Option<String>) -> String {
    reason
        .as_ref()
        .map(|text| format!(" ({text}{})", remedy(text)))
        .unwrap_or_default()
}
