//! What a checkpoint and a restore have in common: options, and what a failure comes to.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::images::Images;
use super::rpc::{CgroupMode, Flag, NetworkLock, Number, Options, Response, Text};
use super::{Worker, log};

/// `CLONE_NEWNET`.
const NETWORK: i64 = 0x4000_0000;

/// Options of both.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// The images.
    pub images: PathBuf,
    /// The log and other files; where the images are if not given.
    pub work: Option<PathBuf>,
    /// How cgroups are treated.
    pub cgroups: Option<CgroupMode>,
    /// Whether the contents of the network namespace are left out (`--empty-ns network`).
    pub empty_network: bool,
    /// How connections are held.
    pub network_lock: Option<NetworkLock>,
    /// What is switched on.
    pub flags: Vec<Flag>,
}

impl Common {
    /// The options for `images`, with the log called `log` in `work`.
    pub fn options(&self, images: &Images, work: &Images, log: &str) -> Options {
        let mut options = Options::new(images.number());
        options.number(Number::WorkDirectory, work.number().into());
        options.number(Number::LogLevel, 4);
        options.text(Text::LogFile, log);
        options.flag(Flag::Notify, true);
        options.flag(Flag::OrphanTerminals, true);
        options.flag(Flag::ManageCgroups, true);
        for &flag in &self.flags {
            options.flag(flag, true);
        }
        if let Some(mode) = self.cgroups {
            options.number(Number::CgroupMode, mode as i64);
        }
        if self.empty_network {
            options.number(Number::EmptyNamespaces, NETWORK);
        }
        if let Some(lock) = self.network_lock {
            options.number(Number::NetworkLock, lock as i64);
        }
        options
    }

    /// Whether pages are brought on demand.
    pub fn is_lazy(&self) -> bool {
        self.flags
            .iter()
            .any(|flag| matches!(flag, Flag::LazyPages))
    }

    /// The directory of log and working files.
    pub fn work(&self) -> Result<Images> {
        Images::create(self.work.as_ref().unwrap_or(&self.images))
    }
}

/// Turns a failure into an error that says what CRIU's log says.
pub fn judge(
    answer: Result<Response>,
    verb: &str,
    worker: &Worker,
    log: &Path,
) -> Result<Response> {
    let why = match answer {
        Ok(response) if response.success => return Ok(response),
        // What is in its message is in the log, too.
        Ok(_) => String::new(),
        Err(error) => format!(" ({error:#})"),
    };
    bail!(
        "criu {} failed to {verb}{why}: {}",
        worker.version(),
        log::excerpt(log)
    )
}
