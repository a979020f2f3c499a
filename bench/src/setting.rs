//! What all cases share: where things are, how many rounds, and how subjects are started.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where things are, and how much is to be done.
#[derive(Debug)]
pub struct Setting {
    /// The directory of bin/davit and cni/, and of the small programs in C.
    pub ours: PathBuf,
    /// On a tmpfs: bundles, states, reservations. Empty at the start.
    pub place: PathBuf,
    /// How many rounds are wanted; costly cases make fewer.
    pub rounds: usize,
    /// How every ID and cgroup begins: bench/run.sh removes what is called so.
    pub prefix: String,
    /// How many containers live in the case of many.
    pub live: usize,
}

impl Setting {
    /// A small program that bench/run.sh has built.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.ours.join(name)
    }

    /// At most this many rounds, for what takes seconds.
    pub fn rounds_up_to(&self, most: usize) -> usize {
        self.rounds.min(most)
    }
}

/// A subject is started with nothing to read, and without what makes a program in Rust slower at
/// each error: a backtrace would be taken.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("RUST_BACKTRACE")
        .env_remove("RUST_LIB_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    command
}

/// Runs a command to its end and answers the wall time; its status must be 0.
pub fn timed(command: &mut Command) -> Result<Duration, String> {
    let started = Instant::now();
    let status = command.status();
    let took = started.elapsed();
    match status {
        Ok(status) if status.success() => Ok(took),
        Ok(status) => Err(format!("{}: {status}", line(command))),
        Err(error) => Err(format!("{}: {error}", line(command))),
    }
}

/// As it would be typed here: where the tree lies is nothing for a report that is kept.
fn line(command: &Command) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let relative = |word| {
        Path::new(word)
            .strip_prefix(&here)
            .map_or(word, Path::as_os_str)
    };
    let words: Vec<_> = words.map(|word| relative(word).to_string_lossy()).collect();
    words.join(" ")
}

/// The executable of this name in PATH.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Where Debian keeps runc, and users have no way to.
    let beside = [PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")];
    let places = std::env::split_paths(&path).chain(beside);
    places
        .map(|place| place.join(name))
        .find(|file| is_file(file))
}

/// Whether there is a file.
pub fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_is_shown_as_typed() {
        let mut failing = command("sh");
        let error = timed(failing.args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error, "sh -c exit 3: exit status: 3");
        let here = std::env::current_dir().unwrap().join("x");
        let error = timed(command("false").arg(here)).unwrap_err();
        assert_eq!(error, "false x: exit status: 1");
        let error = timed(&mut command("/nowhere/x")).unwrap_err();
        assert!(error.starts_with("/nowhere/x: "), "{error}");
    }

    #[test]
    fn no_subject_takes_backtraces() {
        let script = "[ -z \"${RUST_BACKTRACE+x}${RUST_LIB_BACKTRACE+x}\" ]";
        timed(command("sh").args(["-c", script])).unwrap();
        let removed = |name: &str| {
            let command = command("sh");
            command
                .get_envs()
                .any(|(key, value)| key == name && value.is_none())
        };
        assert!(removed("RUST_BACKTRACE") && removed("RUST_LIB_BACKTRACE"));
    }
}
