//! [`Invocation`]: one command with a deadline; [`Outcome`]: everything it answered.
//!
//! Output goes to files, never to pipes: a container or a daemon that inherits the descriptors
//! must not make the test wait for an end of file that nobody sends.

use std::fmt;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::patience::patient;
use crate::{IoContext, Result};

/// How long a command may take unless the test says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Where commands are looked for when the environment is empty otherwise.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// One command: argv, environment, stdin, and how long it may take.
#[derive(Clone, Debug)]
pub struct Invocation {
    prefix: Vec<String>,
    argv: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    deadline: Duration,
}

impl Invocation {
    /// A command with nothing but PATH in its environment and an empty stdin.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            prefix: Vec::new(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: vec![("PATH".into(), PATH.into())],
            stdin: Vec::new(),
            deadline: DEADLINE,
        }
    }

    /// Runs under `prefix` (nsenter and its options), which is left out of the record.
    #[must_use]
    pub fn under(mut self, prefix: &[String]) -> Self {
        self.prefix = prefix.to_vec();
        self
    }

    /// Puts words in front of the command itself (`timeout`, `strace`), part of the record.
    #[must_use]
    pub fn within(mut self, words: &[&str]) -> Self {
        self.argv
            .splice(0..0, words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Sets one variable of the environment; a later one of the same name wins.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.into(), value.into()));
        self
    }

    /// Leaves nothing in the environment, not even PATH.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.env.clear();
        self
    }

    /// What the command reads on its standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Kills the command after `deadline`.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Starts the command and does not wait for it.
    pub fn spawn(&self) -> Result<Running> {
        let mut stdin = scratch()?;
        stdin
            .write_all(&self.stdin)
            .because(|| "write stdin".into())?;
        stdin.rewind().because(|| "rewind stdin".into())?;
        let (stdout, stderr) = (scratch()?, scratch()?);
        let words: Vec<&String> = self.prefix.iter().chain(&self.argv).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(copy(&stdout)?)
            .stderr(copy(&stderr)?);
        // Another thread may have forked while a test wrote this executable.
        let child =
            sys::child::spawn_when_free(&mut command, Instant::now() + patient(self.deadline));
        let child = child.because(|| format!("spawn {words:?}"))?;
        let started = Instant::now();
        Ok(Running {
            child,
            started,
            stdout,
            stderr,
            invocation: self.clone(),
        })
    }

    /// Runs the command to its end, or to its deadline.
    pub fn run(&self) -> Result<Outcome> {
        self.spawn()?.wait()
    }
}

/// A command that was started.
#[derive(Debug)]
pub struct Running {
    child: Child,
    started: Instant,
    stdout: File,
    stderr: File,
    invocation: Invocation,
}

impl Running {
    /// The process, as the caller's namespace numbers it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGKILL to the process alone.
    pub fn kill(&mut self) {
        // Already gone is what was wanted.
        let _ = self.child.kill();
    }

    /// Waits for the end or the deadline, then reads what was printed.
    pub fn wait(mut self) -> Result<Outcome> {
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait().because(|| "wait".into())? {
                break Some(status);
            }
            if self.started.elapsed() > patient(self.invocation.deadline) {
                self.kill();
                let _ = self.child.wait();
                break None;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        Ok(Outcome {
            status,
            took: self.started.elapsed(),
            stdout: contents(self.stdout)?,
            stderr: contents(self.stderr)?,
            invocation: self.invocation,
        })
    }
}

/// Everything a command answered, and what it was asked.
#[derive(Clone, Debug)]
pub struct Outcome {
    invocation: Invocation,
    status: Option<ExitStatus>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained.
    pub stderr: Vec<u8>,
    /// Wall time.
    pub took: Duration,
}

impl Outcome {
    /// Whether it ended in time with status 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Whether it ended in time, by itself, with a status that is not 0.
    pub fn refused(&self) -> bool {
        self.code().is_some_and(|code| code != 0)
    }

    /// The exit status, unless a signal or the deadline ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// stdout as text, without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// stderr as text.
    pub fn complaint(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// The command as a shell line, then its stdin, answer and status: what a failing test prints.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let env = self
            .invocation
            .env
            .iter()
            .filter(|(name, _)| name != "PATH");
        let env: Vec<String> = env
            .map(|(name, value)| format!("{name}={}", quoted(value)))
            .collect();
        let words: Vec<String> = self
            .invocation
            .argv
            .iter()
            .map(|word| quoted(word))
            .collect();
        writeln!(f, "$ {}", [env, words].concat().join(" "))?;
        for (name, bytes) in [
            ("stdin", &self.invocation.stdin),
            ("stdout", &self.stdout),
            ("stderr", &self.stderr),
        ] {
            if !bytes.is_empty() {
                writeln!(f, "  {name}: {}", shortened(bytes))?;
            }
        }
        match self.status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => writeln!(f, "  exit status {code} after {:?}", self.took),
            Some((None, signal)) => {
                writeln!(f, "  killed by signal {}", signal.unwrap_or_default())
            }
            None => writeln!(
                f,
                "  DEADLINE of {:?} passed; killed",
                patient(self.invocation.deadline)
            ),
        }
    }
}

/// A word as a POSIX shell reads it back.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn shortened(bytes: &[u8]) -> String {
    const SHOWN: usize = 4000;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)])
        .trim_end()
        .to_owned();
    let text = text.replace('\n', "\n          ");
    if bytes.len() > SHOWN {
        format!("{text} ... ({} bytes)", bytes.len())
    } else {
        text
    }
}

fn scratch() -> Result<File> {
    tempfile::tempfile().because(|| "create a scratch file".into())
}

fn copy(file: &File) -> Result<Stdio> {
    Ok(file
        .try_clone()
        .because(|| "duplicate a scratch file".into())?
        .into())
}

fn contents(mut file: File) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut bytes))
        .because(|| "read output".into())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_overstays_is_killed_and_says_so() {
        let outcome = Invocation::new(["sleep", "60"])
            .deadline(Duration::from_millis(50))
            .run()
            .unwrap();
        assert!(!outcome.success() && outcome.took < Duration::from_secs(5));
        assert!(outcome.to_string().contains("DEADLINE"), "{outcome}");
    }

    #[test]
    fn a_daemon_that_keeps_stdout_open_does_not_hold_us() {
        let outcome = Invocation::new(["sh", "-c", "sleep 5 & echo done"])
            .run()
            .unwrap();
        assert_eq!(outcome.text(), "done");
        assert!(outcome.took < Duration::from_secs(4));
    }

    #[test]
    fn a_quoted_word_survives_the_shell() {
        for word in ["", "a b", "it's", "$HOME", "plain/path-1"] {
            let line = format!("printf %s {}", quoted(word));
            let outcome = Invocation::new(["sh", "-c", &line]).run().unwrap();
            assert_eq!(String::from_utf8_lossy(&outcome.stdout), word);
        }
    }
}
