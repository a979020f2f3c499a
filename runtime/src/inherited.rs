//! Descriptors that the caller left open in this program.

use std::ffi::CString;

use anyhow::{Result, bail};

/// Sockets that a service manager has opened for the container (sd_listen_fds(3)): the first
/// descriptors from 3 on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// How many.
    pub count: i32,
    /// Their names, with `:` in between.
    names: Option<String>,
}

impl Listen {
    /// Those that the environment says are for this process.
    pub fn from_environment() -> Self {
        Self::read(|name| std::env::var(name).ok(), std::process::id())
    }

    fn read(variable: impl Fn(&str) -> Option<String>, own_pid: u32) -> Self {
        let number = |name: &str| variable(name)?.parse::<u32>().ok();
        let ours = variable("LISTEN_PID").is_none() || number("LISTEN_PID") == Some(own_pid);
        match number("LISTEN_FDS").and_then(|count| i32::try_from(count).ok()) {
            Some(count @ 1..=MAX_LISTEN) if ours => Self {
                count,
                names: variable("LISTEN_FDNAMES"),
            },
            _ => Self::default(),
        }
    }

    /// What the container's program, which is `pid` to itself, is told of them.
    pub fn variables(&self, pid: i32) -> Vec<CString> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut variables = vec![
            format!("LISTEN_FDS={}", self.count),
            format!("LISTEN_PID={pid}"),
        ];
        variables.extend(
            self.names
                .as_ref()
                .map(|names| format!("LISTEN_FDNAMES={names}")),
        );
        // From an environment, which has no NUL.
        variables.into_iter().flat_map(CString::new).collect()
    }
}

/// More would be no number of sockets.
const MAX_LISTEN: i32 = 65_536;

/// Checks that descriptors 3 to 3 + `preserved` - 1 are there, as `--preserve-fds` says, and keeps
/// all others from the programs that this one starts, hooks included.
///
/// To be called before anything is opened: later a number that the caller forgot may be ours, and
/// the container would get a descriptor of the host (the class of CVE-2024-21626).
pub fn claim(preserved: i32) -> Result<()> {
    for number in 0..preserved {
        if !sys::process::is_open(3 + number) {
            bail!("unable to stat preserved-fd {number} (of {preserved}): bad file descriptor");
        }
    }
    Ok(sys::process::close_on_exec_from(3 + preserved)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_for_another_process_are_not_ours() {
        let read = |variables: &[(&str, &str)]| {
            let value = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            Listen::read(value, 7)
        };
        let ours = read(&[
            ("LISTEN_FDS", "2"),
            ("LISTEN_PID", "7"),
            ("LISTEN_FDNAMES", "a:b"),
        ]);
        let told = [c"LISTEN_FDS=2", c"LISTEN_PID=1", c"LISTEN_FDNAMES=a:b"];
        assert_eq!(ours.variables(1), told.map(ToOwned::to_owned));
        assert_eq!(read(&[("LISTEN_FDS", "2")]).count, 2);
        assert_eq!(read(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "8")]).count, 0);
        assert_eq!(read(&[("LISTEN_FDS", "x")]).count, 0);
        assert!(read(&[]).variables(1).is_empty());
    }
}
