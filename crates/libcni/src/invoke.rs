//! Finding one plugin and running it once. What to ask it, and in which order, is `attachment`'s.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use cni::{Attachment, Code, Command, Error};
use sys::child::{self, Finished, StandardError, Terms};

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

/// Room for 10 MiB of result and as much log.
const LONGEST_OUTPUT: usize = 64 << 20;

/// How much of a plugin's standard error is worth repeating in one line.
const LONGEST_QUOTE: usize = 2000;

impl Plugins {
    /// The executable of `plugin`: the first regular file with an execute bit counts, so a copy
    /// that lost it does not stand in the way of a good one.
    pub fn find(&self, plugin: &str) -> Result<PathBuf, Error> {
        if plugin.is_empty() {
            return Err(Error::config("no plugin name provided"));
        }
        if plugin.contains('/') || plugin == "." || plugin == ".." {
            return Err(Error::config(format!("invalid plugin name: {plugin}")));
        }
        if self.path.is_empty() {
            return Err(Error::environment("no paths provided"));
        }
        let mut files = self.path.iter().map(|dir| dir.join(plugin)).filter(|file| {
            std::fs::metadata(file)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        });
        files.next().ok_or_else(|| {
            // Go libcni's sentence, by which runtimes know this failure.
            let path = self.joined(" ");
            Error::config(format!("failed to find plugin {plugin:?} in path [{path}]"))
        })
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
            .env("CNI_PATH", self.joined(":"));
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
        let ran = shared.and_then(|()| child::run(&mut command, call.stdin.as_bytes(), terms));
        let finished = ran.map_err(|error| {
            let code = match error.errno() {
                sys::Errno::ETIMEDOUT | sys::Errno::ETXTBSY | sys::Errno::EAGAIN => Code::TRY_AGAIN,
                _ => Code::INTERNAL,
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

    fn joined(&self, separator: &str) -> String {
        let path: Vec<String> = self
            .path
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        path.join(separator)
    }
}

/// The plugin's own error, with what it logged; or what can be said without one.
fn failure(finished: &Finished) -> Error {
    let stderr = String::from_utf8_lossy(&finished.stderr);
    let log = one_line(&stderr);
    let told: Option<Error> = serde_json::from_slice(&finished.stdout).ok();
    match told.filter(|error| *error != Error::default()) {
        Some(error) if log.is_empty() => error,
        Some(error) => {
            let details = [error.details.as_str(), &format!("(log: {log})")].join(" ");
            error.details(details.trim_start())
        }
        None => {
            let stdout = one_line(&String::from_utf8_lossy(&finished.stdout));
            let msg = format!(
                "netplugin failed with no error message: {}",
                finished.status
            );
            Error::new(Code::UNKNOWN, msg).details(format!("{log} {stdout}").trim())
        }
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(LONGEST_QUOTE).collect()
}
