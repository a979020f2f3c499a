//! [`Subject`]: what is under test, from the command line or the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::row::Side;

/// Any of a runtime, a plugin directory, a caller of plugins and a hook.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    targets: BTreeMap<Side, Target>,
    /// The section of known-gaps.toml, if it was given and not found by where things lie.
    pub section: Option<String>,
    /// Environment of every call, for subjects that are scripts.
    pub env: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct Target {
    path: PathBuf,
    name: String,
}

impl Subject {
    /// With one more to judge, whose section of known-gaps.toml follows from where it lies: the
    /// file name of an executable; for plugins `reference` in the directories that distributions
    /// install those to, `davit-cni` where our build puts its own, and otherwise the directory's
    /// name. `None` changes nothing.
    #[must_use]
    pub fn with(mut self, side: Side, path: Option<PathBuf>) -> Self {
        if let Some(path) = path {
            let name = match side {
                Side::Cni => directory_name(&path),
                Side::Runtime | Side::Caller | Side::Hook => file_name(&path),
            };
            self.targets.insert(side, Target { path, name });
        }
        self
    }

    /// The same under another section of known-gaps.toml.
    #[must_use]
    pub fn renamed(mut self, name: &str) -> Self {
        for target in self.targets.values_mut() {
            name.clone_into(&mut target.name);
        }
        self.section = Some(name.to_owned());
        self
    }

    /// The executable, or the directory of plugins.
    pub fn path(&self, side: Side) -> Option<&Path> {
        Some(&self.targets.get(&side)?.path)
    }

    /// The section of known-gaps.toml; empty for what is not there.
    pub fn name(&self, side: Side) -> &str {
        self.targets.get(&side).map_or("", |target| &target.name)
    }

    /// What is there to be judged: its side, and where it lies.
    pub fn targets(&self) -> impl Iterator<Item = (Side, &Path)> {
        let targets = self.targets.iter();
        targets.map(|(side, target)| (*side, target.path.as_path()))
    }
}

fn directory_name(path: &Path) -> String {
    let reference = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];
    if reference.iter().any(|known| path.ends_with(known)) {
        "reference".into()
    } else if path.ends_with("out/cni") {
        "davit-cni".into()
    } else {
        file_name(path)
    }
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
