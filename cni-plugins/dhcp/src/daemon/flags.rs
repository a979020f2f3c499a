//! The daemon's command line, in the words of the reference and in Go's spelling: one dash or two,
//! `-flag value` or `-flag=value`, durations as `1m30s`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::{Attempt, Code, Error};

use crate::exchange::Patience;

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    pub(crate) pidfile: Option<PathBuf>,
    /// Before the socket's path and those of namespaces: where the host's root is mounted.
    pub(crate) hostprefix: String,
    socketpath: PathBuf,
    pub(crate) broadcast: bool,
    pub(crate) patience: Patience,
    /// The longest that an ADD may take.
    pub(crate) resend_timeout: Duration,
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve(Flags),
    Help,
}

pub(crate) const USAGE: &str = "\
Usage of dhcp daemon:
  -broadcast
        ask servers to answer by broadcast as long as there is no address
  -hostprefix string
        prefix of the socket's path and of network namespaces' paths
  -pidfile string
        absolute path of a file that gets the daemon's process number
  -resendmax duration
        longest pause between two messages of an acquisition (default 1m2s)
  -resendtimeout duration
        longest time of an acquisition; the plugin's ipam.timeout may be shorter (default 3m28s)
  -socketpath string
        where to listen (default \"/run/cni/dhcp.sock\")
  -timeout duration
        how long a server may take to acknowledge its offer (default 10s)
";

impl Default for Flags {
    fn default() -> Self {
        Self {
            pidfile: None,
            hostprefix: String::new(),
            socketpath: "/run/cni/dhcp.sock".into(),
            broadcast: false,
            patience: Patience {
                answer: Duration::from_secs(10),
                longest_pause: Duration::from_secs(62),
            },
            resend_timeout: Duration::from_secs(208),
        }
    }
}

impl Flags {
    /// Reads the words behind `dhcp daemon`.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Command, String> {
        let (mut flags, mut words) = (Self::default(), words);
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").or(word.strip_prefix('-'));
            let name = name.ok_or_else(|| format!("unexpected argument {word:?}"))?;
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            if matches!(name, "h" | "help") {
                return Ok(Command::Help);
            }
            if name == "broadcast" {
                flags.broadcast = truth(value.as_deref().unwrap_or("true"))?;
                continue;
            }
            let missing = || format!("flag needs an argument: -{name}");
            let value = || value.or_else(|| words.next()).ok_or_else(missing);
            flags.set(name, value)?;
        }
        Ok(Command::Serve(flags))
    }

    fn set(
        &mut self,
        name: &str,
        value: impl FnOnce() -> Result<String, String>,
    ) -> Result<(), String> {
        match name {
            "pidfile" => self.pidfile = Some(absolute(name, value()?)?),
            "hostprefix" => self.hostprefix = value()?,
            "socketpath" => self.socketpath = absolute(name, value()?)?,
            "timeout" => self.patience.answer = duration(name, &value()?)?,
            "resendmax" => self.patience.longest_pause = duration(name, &value()?)?,
            "resendtimeout" => self.resend_timeout = duration(name, &value()?)?,
            _ => return Err(format!("flag provided but not defined: -{name}")),
        }
        Ok(())
    }

    /// Where nothing is mounted no namespace is found, and every lease would be given back.
    pub(crate) fn refuse_missing_prefix(&self) -> Result<(), Error> {
        let prefix = &self.hostprefix;
        if prefix.is_empty() {
            return Ok(());
        }
        let listed = std::fs::read_dir(prefix).map(drop);
        listed.attempt(Code::IO, || {
            format!("-hostprefix {prefix:?}: open the directory with the host's files")
        })
    }

    /// Where to listen, as this process sees it.
    pub(crate) fn socket(&self) -> PathBuf {
        self.on_host(&self.socketpath)
    }

    /// A path of the host, as this process sees it.
    pub(crate) fn on_host(&self, path: impl AsRef<Path>) -> PathBuf {
        let mut prefixed = std::ffi::OsString::from(&self.hostprefix);
        prefixed.push(path.as_ref());
        prefixed.into()
    }
}

fn absolute(name: &str, value: String) -> Result<PathBuf, String> {
    match Path::new(&value) {
        path if path.is_absolute() && path.file_name().is_some() => Ok(path.into()),
        _ => Err(format!(
            "invalid value {value:?} for flag -{name}: path not absolute"
        )),
    }
}

fn truth(value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("invalid boolean value {value:?} for -broadcast")),
    }
}

/// Go's `time.ParseDuration`, but for signs, and for nothing at all: a time that is over at once.
fn duration(name: &str, value: &str) -> Result<Duration, String> {
    let wrong =
        || format!("invalid value {value:?} for flag -{name}: a duration such as 10s or 1m30s");
    let (mut total, mut rest) = (0.0, value);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += number.parse::<f64>().map_err(|_| wrong())? * seconds;
        rest = after;
    }
    let total = Duration::try_from_secs_f64(total).map_err(|_| wrong())?;
    match total < Duration::from_millis(1) || total > Duration::from_secs(86400) {
        true => Err(wrong()),
        false => Ok(total),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Flags::parse(line.split_whitespace().map(str::to_owned))
    }

    fn flags(line: &str) -> Flags {
        match parse(line) {
            Ok(Command::Serve(flags)) => flags,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn one_dash_or_two_with_or_without_a_sign_of_equality() {
        let expected = Flags {
            pidfile: Some("/p".into()),
            hostprefix: "/host".into(),
            socketpath: "/s".into(),
            broadcast: true,
            patience: Patience {
                answer: Duration::from_millis(1500),
                longest_pause: Duration::from_secs(90),
            },
            resend_timeout: Duration::from_secs(7200),
        };
        for line in [
            "-pidfile /p -hostprefix /host -socketpath /s -broadcast -timeout 1.5s -resendmax 1m30s -resendtimeout 2h",
            "--pidfile=/p --hostprefix=/host --socketpath=/s --broadcast=true --timeout=1500ms \
             --resendmax=90s --resendtimeout=1h60m",
        ] {
            assert_eq!(flags(line), expected);
        }
        assert_eq!(flags(""), Flags::default());
        assert!(!flags("-broadcast=false").broadcast);
        assert_eq!(parse("-h"), Ok(Command::Help));
    }

    #[test]
    fn the_prefix_stands_before_paths_of_the_host() {
        assert_eq!(
            flags("-hostprefix /host").socket(),
            Path::new("/host/run/cni/dhcp.sock")
        );
        assert_eq!(flags("").on_host("/run/netns/x"), Path::new("/run/netns/x"));
    }

    #[test]
    fn a_prefix_is_a_directory_that_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let there = format!("-hostprefix {}", dir.path().display());
        assert!(flags(&there).refuse_missing_prefix().is_ok());
        assert!(flags("").refuse_missing_prefix().is_ok());
        let missing = flags(&format!("{there}/none")).refuse_missing_prefix();
        assert!(missing.unwrap_err().msg.starts_with("-hostprefix "));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "-pidfile p",
            "-pidfile",
            "-nonsense",
            "word",
            "-broadcast=maybe",
            "-timeout 10",
            "-timeout -1s",
            "-timeout 0s",
            "-timeout s",
            "-timeout 1x",
            "-socketpath /",
            "-timeout 99999h",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
