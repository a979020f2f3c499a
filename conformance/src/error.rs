//! [`Error`]: why a run could not be made, or told. A row that fails is no error.

use std::io;
use std::path::{Path, PathBuf};

/// What ends a run with status 2.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for what cannot be.
    #[error("{0}")]
    Usage(String),
    /// This machine lacks what every row needs.
    #[error("{0}")]
    Machine(String),
    /// What the rows stand on could not be made.
    #[error(transparent)]
    Stand(#[from] testbed::Error),
    /// A file of the run itself.
    #[error("{call} {}: {source}", path.display())]
    File {
        /// What was tried.
        call: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Somebody ended it.
    #[error("interrupted: what is above is not all")]
    Interrupted,
}

impl Error {
    /// For `map_err`: `call` on `path` failed.
    pub fn of(call: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { call, path, source }
    }
}
