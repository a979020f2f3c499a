//! Dev-only: throwaway hosts and container namespaces, bundles, and what a test needs of a machine.
//!
//! Nothing here knows davit: a test says which executable to run. Everything is made inside
//! namespaces or temporary directories of its own and ends with the value that made it, even
//! when the test is killed.
#![allow(
    clippy::disallowed_methods,
    reason = "writes only into directories that it just made"
)]

pub mod bundle; // a rootfs of busybox and the directory around it
pub mod config; // config.json as a value with an edit for each property
pub mod console; // the engine's end of --console-socket
pub mod elf; // programs of a few instructions
pub mod host; // private mount, network, IPC and PID namespaces to play the host
pub mod invocation; // one command with a deadline, and everything it answered
pub mod measured; // a command whose time and memory are written down
pub mod network; // a host and containers as network namespaces, and plugins run between them
pub mod older_kernel; // a command to which newer system calls are unknown
pub mod patience; // how long a test waits on a slow machine
pub mod requires; // what a test needs of the machine, skipped aloud
pub mod snapshot; // what a host carries, and the difference of two moments
pub mod swapper; // an attacker that swaps two names without a pause

pub use bundle::{Bundle, Rootfs, copy_program};
pub use config::Config;
pub use console::Console;
pub use host::{Cgroups, Host};
pub use invocation::{Invocation, Outcome};
pub use snapshot::Snapshot;
pub use swapper::Swapper;

/// Set once somebody wants this program to end (SIGINT, SIGTERM); asked for twice, it ends at once.
pub fn wanted_to_end() -> Result<&'static std::sync::atomic::AtomicBool> {
    sys::signal::note_termination()
        .map_err(std::io::Error::from)
        .because(|| "handle SIGINT and SIGTERM".into())
}

/// Why a throwaway thing could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call of the test's own, not of the program under test.
    #[error("{what}")]
    Io {
        /// What was attempted, and on which path.
        what: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// The private host's set-up said something else than that it is ready.
    #[error("private host: {0}")]
    Host(String),
}

/// What every function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Gives an I/O error the sentence it lacks.
pub(crate) trait IoContext<T> {
    fn because(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn because(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what(),
            source,
        })
    }
}
