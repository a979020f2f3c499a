//! [`Subject`]: what is under test, from the command line or the environment.

use std::path::PathBuf;

/// A runtime, a plugin directory, or both.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The runtime's executable (`--runtime`, `RUNTIME`).
    pub runtime: Option<PathBuf>,
    /// The directory of plugins (`--cni-path`, `CNI_PATH`).
    pub cni_path: Option<PathBuf>,
    /// The section of known-gaps.toml for the runtime.
    pub runtime_name: String,
    /// The section of known-gaps.toml for the plugins.
    pub cni_name: String,
    /// Environment of every call, for subjects that are scripts.
    pub env: Vec<(String, String)>,
}

impl Subject {
    /// A subject whose names follow from where it lies: the runtime's file name; for plugins
    /// `reference` in the directories that distributions install those to, `davit-cni` where our
    /// build puts its own, and otherwise the directory's name.
    pub fn new(runtime: Option<PathBuf>, cni_path: Option<PathBuf>) -> Self {
        let file_name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        let reference = ["/usr/lib/cni", "/usr/libexec/cni", "/opt/cni/bin"];
        let is_reference = |path: &PathBuf| reference.iter().any(|known| path.ends_with(known));
        Self {
            runtime_name: runtime.as_ref().and_then(file_name).unwrap_or_default(),
            cni_name: match &cni_path {
                Some(path) if is_reference(path) => "reference".into(),
                Some(path) if path.ends_with("out/cni") => "davit-cni".into(),
                other => other.as_ref().and_then(file_name).unwrap_or_default(),
            },
            runtime,
            cni_path,
            env: Vec::new(),
        }
    }
}
