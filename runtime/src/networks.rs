//! `--network` and `--publish`: davit-cni puts them into the configuration (decision 0045).
//!
//! What networks are is unknown here. davit-cni is asked for the bundle's configuration with two
//! hooks more, and from then on the container is like any other with hooks: they attach it, and
//! its delete detaches it. Without the two flags nothing here is called.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sys::child::{Excess, StandardError, Terms};

use crate::bundle::{self, Bundle};
use crate::container_id::ContainerId;
use crate::hooks::{self, Surroundings};
use crate::launch::Request;
use crate::plan::Moment;
use crate::state::HookState;

/// What was asked for, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// `--network`
    pub entries: Vec<String>,
    /// `--publish`
    pub ports: Vec<String>,
}

impl Networks {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.ports.is_empty()
    }
}

pub(crate) const PROGRAM: &str = "davit-cni";
/// Of a hook that is davit-cni: nobody has its state at hand to run it again.
pub(crate) const HINT: &str = "it names the network; `davit-cni status NETWORK` asks its plugins, \
                               `davit-cni list` shows who is attached";
/// It reads a few files.
const PATIENCE: Duration = Duration::from_secs(60);
const LONGEST_CONFIG: usize = 64 << 20;

/// A configuration with networks, and what davit-cni made for it.
#[derive(Debug)]
pub struct Injected {
    dir: PathBuf,
    text: Vec<u8>,
}

impl Injected {
    /// Has davit-cni inject. Whoever calls holds the claim on `id`.
    pub fn new(id: &ContainerId, request: &Request) -> Result<Self> {
        let dir = std::fs::canonicalize(&request.bundle)
            .with_context(|| format!("bundle {:?}", request.bundle))?;
        let mut command = Command::new(program()?);
        command.args(["inject", "--print"]);
        command.arg(flag("--id", id.as_str()));
        let networks = request.networks.entries.iter();
        command.args(networks.map(|entry| flag("--network", entry)));
        let ports = request.networks.ports.iter();
        command.args(ports.map(|port| flag("--publish", port)));
        if let Some(config) = &request.config {
            command.arg(flag("--config", config));
        }
        command.arg("--").arg(&dir);
        sys::child::die_with_parent(&mut command);
        let text = answer(&mut command)?;
        Ok(Self { dir, text })
    }

    /// The bundle as it is to run.
    pub fn bundle(&self) -> Result<Bundle> {
        Bundle::new(self.dir.clone(), self.text.clone())
    }

    /// Undoes it for a container whose hooks have not run and whose delete will run none: the
    /// hook that inject put last is told that the container has stopped.
    pub fn take_back(&self, id: &ContainerId) {
        if let Err(error) = self.run_poststop(id) {
            crate::log::warn(&format!("undo of --network: {error:#}"));
        }
    }

    fn run_poststop(&self, id: &ContainerId) -> Result<()> {
        let hooks = bundle::parse_hooks(&self.text)?;
        let Some(hook) = hooks.at(Moment::Poststop).last() else {
            bail!("{PROGRAM} has injected no poststop hook");
        };
        let only: Annotations = serde_json::from_slice(&self.text)?;
        let state = HookState {
            id: id.to_string(),
            bundle: self.dir.clone(),
            annotations: only.annotations,
        };
        let surroundings = Surroundings {
            state: &state.json("stopped", 0)?,
            env: None,
            cwd: &self.dir,
        };
        hooks::run(hook, &surroundings)
    }
}

impl From<&Bundle> for Injected {
    /// What was injected into a bundle that is open.
    fn from(bundle: &Bundle) -> Self {
        Self {
            dir: bundle.dir.clone(),
            text: bundle.text.clone(),
        }
    }
}

#[derive(serde::Deserialize)]
struct Annotations {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// One word, so that a value may begin with a dash.
fn flag(name: &str, value: impl AsRef<OsStr>) -> OsString {
    OsStr::from_bytes(&[name.as_bytes(), b"=", value.as_ref().as_bytes()].concat()).to_owned()
}

fn answer(command: &mut Command) -> Result<Vec<u8>> {
    let terms = Terms {
        stderr: StandardError::Collected,
        time: PATIENCE,
        output: LONGEST_CONFIG,
        excess: Excess::Kills,
    };
    let finished = sys::child::run(command, b"", terms)
        .with_context(|| format!("run {:?} inject", command.get_program()))?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    let said = String::from_utf8_lossy(&finished.stderr);
    let said = said.trim_end();
    if said.is_empty() {
        bail!("{PROGRAM} inject: {}", finished.status);
    }
    // davit-cni names the flag where it is one.
    match said.contains("--publish") || said.contains("--network") {
        true => bail!("{said}"),
        false => bail!("--network: {said}"),
    }
}

/// Beside this program, else in `PATH`. Where this program is, its own name has to tell: it runs
/// from a mount that is nowhere (`exe_seal`).
fn program() -> Result<PathBuf> {
    let own = std::env::args_os().next().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = candidates(Path::new(&own), &path)
        .into_iter()
        .find(|file| sys::child::is_executable(file));
    found.with_context(|| {
        format!("--network needs {PROGRAM}, which is neither beside davit nor in PATH")
    })
}

fn candidates(own: &Path, path: &OsStr) -> Vec<PathBuf> {
    // An empty or relative entry is whatever directory we are in: perhaps a bundle's.
    let directories: Vec<PathBuf> = std::env::split_paths(path)
        .filter(|directory| directory.is_absolute())
        .collect();
    let typed = own.components().count() > 1;
    let own = if typed {
        Some(own.to_owned())
    } else {
        let mut there = directories.iter().map(|dir| dir.join(own));
        there.find(|file| sys::child::is_executable(file))
    };
    // Of a link (runc -> davit), where it leads to.
    let own = own.and_then(|own| std::fs::canonicalize(own).ok());
    let beside = own.map(|own| own.with_file_name(PROGRAM));
    let in_path = directories.iter().map(|dir| dir.join(PROGRAM));
    beside.into_iter().chain(in_path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn davit_cni_is_looked_for_beside_davit_and_then_in_path() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        let links = dir.path().join("links");
        std::fs::create_dir(&real).unwrap();
        std::fs::create_dir(&links).unwrap();
        std::fs::copy("/bin/true", real.join("davit")).unwrap();
        std::os::unix::fs::symlink(real.join("davit"), links.join("runc")).unwrap();
        let path = std::env::join_paths([&links, Path::new("/nowhere")]).unwrap();
        let expected = [&real, &links, Path::new("/nowhere")].map(|dir| dir.join(PROGRAM));
        assert_eq!(candidates(Path::new("runc"), &path), expected);
        assert_eq!(candidates(&links.join("runc"), &path), expected);
        assert_eq!(candidates(Path::new("unknown"), &path), expected[1..]);
        let here = std::env::join_paths(["", ".", "bin", "/nowhere"]).unwrap();
        assert_eq!(candidates(Path::new("davit"), &here), expected[2..]);
    }
}
