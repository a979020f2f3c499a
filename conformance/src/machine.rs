//! [`Machine`]: on what a run was made, as far as its verdicts may depend on it.

use std::path::Path;
use std::process::Command;

/// What a report says of where it comes from. It names no host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Release and architecture.
    pub(crate) kernel: String,
    /// The distribution.
    pub(crate) system: String,
    /// Which cgroup hierarchy programs of this machine see.
    pub(crate) cgroups: &'static str,
    /// The day, UTC.
    pub(crate) date: String,
}

impl Machine {
    /// This one, today.
    pub(crate) fn here() -> Self {
        Self {
            kernel: said("uname", &["-rm"]),
            system: system(),
            cgroups: cgroups(Path::new("/sys/fs/cgroup")),
            date: said("date", &["-u", "+%Y-%m-%d"]),
        }
    }
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_default()
}

fn system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("an unknown system").trim_matches('"').into()
}

fn cgroups(place: &Path) -> &'static str {
    match place.join("cgroup.controllers").exists() {
        true => "cgroup v2",
        false => "cgroup v1",
    }
}
