//! Finding one plugin and running it once. What to ask it, and in which order, is `attachment`'s.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use cni::{Attachment, Code, Command, Error, execution};
use sys::child::{self, Finished, StandardError, Terms};
use sys::close_later::Keeper;

use crate::cache::Held;

/// Where plugins are and how long one may take.
#[derive(Clone, Debug)]
pub struct Plugins {
    /// Directories, searched in order.
    pub path: Vec<PathBuf>,
    /// After this long a plugin is killed with its process group.
    pub patience: Duration,
}

/// One request to one plugin.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) command: Command,
    /// Absent for GC, STATUS and VERSION.
    pub(crate) attachment: Option<&'a Attachment>,
    pub(crate) netns: &'a str,
    pub(crate) args: &'a [(String, String)],
    pub(crate) stdin: String,
    /// The locks that must last as long as the plugin.
    pub(crate) held: Option<&'a Held>,
}

impl Call<'static> {
    /// One that is about no attachment.
    pub(crate) fn bare(command: Command, stdin: String) -> Self {
        Self {
            command,
            attachment: None,
            netns: "",
            args: &[],
            stdin,
            held: None,
        }
    }
}

/// Until this process ends, sockets that plugins close later (decision 0034) are kept here: on a run with two
/// networks each of the six plugins that change rules waited for the socket of the one before.
fn keeper() -> Option<&'static Keeper> {
    static KEEPER: OnceLock<Option<Keeper>> = OnceLock::new();
    KEEPER.get_or_init(|| Keeper::new().ok()).as_ref()
}

/// Room for 10 MiB of result and as much log.
const LONGEST_OUTPUT: usize = 64 << 20;

impl Plugins {
    /// The executable of `plugin`.
    pub fn find(&self, plugin: &str) -> Result<PathBuf, Error> {
        let directories = self.path.iter().map(PathBuf::as_path);
        execution::find(plugin, directories, child::is_executable)
    }

    /// Runs `plugin`; its standard output if it succeeded. It dies with us; whoever it started
    /// may not, and keeps the locks.
    pub(crate) fn run(&self, plugin: &str, call: &Call<'_>) -> Result<Vec<u8>, Error> {
        let executable = self.find(plugin)?;
        let args: Vec<String> = call
            .args
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let mut command = std::process::Command::new(executable);
        command
            .env("CNI_COMMAND", call.command.as_str())
            .env(
                "CNI_CONTAINERID",
                call.attachment
                    .map_or("", |each| each.container_id.as_str()),
            )
            .env("CNI_NETNS", call.netns)
            .env(
                "CNI_IFNAME",
                call.attachment.map_or("", |each| each.ifname.as_str()),
            )
            .env("CNI_ARGS", args.join(";"))
            .env("CNI_PATH", self.joined());
        let terms = Terms {
            stderr: StandardError::Collected,
            time: self.patience,
            output: LONGEST_OUTPUT,
            excess: sys::child::Excess::Kills,
        };
        child::die_with_parent(&mut command);
        let shared = call
            .held
            .map_or(Ok(()), |held| held.share_with(&mut command));
        let shared =
            shared.and_then(|()| keeper().map_or(Ok(()), |keeper| keeper.lend_to(&mut command)));
        let ran = shared.and_then(|()| child::run(&mut command, call.stdin.as_bytes(), terms));
        let finished = ran.map_err(|error| {
            let code = if child::is_transient(&error) {
                Code::TRY_AGAIN
            } else {
                Code::INTERNAL
            };
            let late = error.errno() == sys::Errno::ETIMEDOUT;
            let msg = if late {
                format!("no answer in {:?}", self.patience)
            } else {
                "not run".into()
            };
            Error::new(code, msg).details(error)
        })?;
        if finished.status.success() {
            Ok(finished.stdout)
        } else {
            Err(failure(&finished))
        }
    }

    fn joined(&self) -> String {
        let path: Vec<String> = self
            .path
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        path.join(":")
    }
}

/// The plugin's own error, with what it logged; or what can be said without one.
fn failure(finished: &Finished) -> Error {
    let stderr = String::from_utf8_lossy(&finished.stderr);
    let log = execution::one_line(&stderr);
    match execution::told(&finished.stdout) {
        Some(error) if log.is_empty() => error,
        Some(error) => {
            let details = [error.details.as_str(), &format!("(log: {log})")].join(" ");
            error.details(details.trim_start())
        }
        None => {
            let stdout = execution::one_line(&String::from_utf8_lossy(&finished.stdout));
            let msg = format!(
                "netplugin failed with no error message: {}",
                finished.status
            );
            Error::new(Code::UNKNOWN, msg).details(format!("{log} {stdout}").trim())
        }
    }
}
