//! What can go wrong while rules are read or applied.

use std::time::Duration;

/// A rule set that could not be read or applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused an nftables or conntrack request.
    #[error(transparent)]
    Netlink(#[from] netlink::Error),
    /// A system call of ours failed.
    #[error(transparent)]
    Syscall(#[from] sys::SyscallError),
    /// `iptables-restore` or `iptables-save` refused.
    #[error("{program}: {stderr}")]
    Program {
        /// Its path.
        program: String,
        /// Its exit status, none when it was killed.
        status: Option<i32>,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// Others kept a program waiting for all of our patience. Trying again may help.
    #[error("{program}: no answer within {} s: {obstacle}", waited.as_secs())]
    Busy {
        /// Its path.
        program: String,
        /// Our patience.
        waited: Duration,
        /// Who kept it waiting.
        obstacle: Obstacle,
    },
    /// Others changed the rules faster than we could. Trying again may help.
    #[error("nftables: {what}: others changed the rules in between for {} s", waited.as_secs())]
    Overtaken {
        /// What was to be changed.
        what: String,
        /// Our patience.
        waited: Duration,
    },
    /// A match that this back end cannot express.
    #[error("{back_end} cannot express {what}")]
    Inexpressible {
        /// `nftables` or `iptables`.
        back_end: &'static str,
        /// The match.
        what: String,
    },
}

/// Who keeps a program of iptables waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A program that is not of this suite.
    #[error("another program holds the xtables lock")]
    Lock,
    /// Plugins of this suite.
    #[error("other CNI plugins stand before it in {}", crate::iptables::QUEUE)]
    Queue,
    /// Nobody that we can name.
    #[error("it does not come to an end")]
    Itself,
    /// Whoever writes rules.
    #[error("others change the rules faster than it can")]
    Changes,
}

/// What every call of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::Overtaken { .. }
                | Self::Netlink(netlink::Error::Timeout { .. })
        )
    }
}
