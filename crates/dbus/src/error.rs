//! Why a service could not be asked, or refused.

use std::io;
use std::time::Duration;

/// One reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("connect to {address}: {source}")]
    Connect {
        /// The socket.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// There is no address to try.
    #[error("no D-Bus address of the {0}")]
    NoAddress(&'static str),
    /// The connection broke, or carried nonsense.
    #[error("D-Bus {address}: {call}: {source}")]
    Broken {
        /// The socket.
        address: String,
        /// What was being done.
        call: String,
        /// Why.
        source: io::Error,
    },
    /// No answer in time.
    #[error("D-Bus {address}: no answer to {call} after {} s", .patience.as_secs())]
    Late {
        /// The socket.
        address: String,
        /// What was waited for.
        call: String,
        /// How long.
        patience: Duration,
    },
    /// The call was answered by an error.
    #[error("{to}: {call}: {text} ({name})")]
    Refused {
        /// Who was called.
        to: String,
        /// The call.
        call: String,
        /// The name of the error, `org.freedesktop.systemd1.UnitExists` for one.
        name: String,
        /// What it says.
        text: String,
    },
}

/// What calls answer.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Whether the service answered with the error of this name.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == wanted)
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Late { .. })
    }
}
