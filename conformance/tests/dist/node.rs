//! A node's directories, what the installer brings to them, and the installer itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::dist;

pub(crate) const LIST: &str = "etc/cni/net.d/10-davit.conflist";
/// The copy by which the installer knows its list again.
pub(crate) const WRITTEN: &str = "etc/cni/net.d/.10-davit.conflist.installed";
pub(crate) const PLUGINS: &str = "opt/cni/bin";
pub(crate) const SUITE: &str = "opt/cni/bin/davit-cni-plugins";
/// Everything that an install puts onto an empty node.
pub(crate) const INSTALLED: [&str; 7] = [
    WRITTEN,
    LIST,
    "opt/cni/bin/bridge",
    SUITE,
    "opt/cni/bin/portmap",
    "usr/local/bin/davit",
    "usr/local/bin/davit-cni",
];

pub(crate) struct Node {
    directory: tempfile::TempDir,
}

impl Node {
    /// An empty one, and a first version of what comes.
    pub(crate) fn new() -> Self {
        let node = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(node.path("host")).unwrap();
        fs::create_dir(node.path("programs")).unwrap();
        symlink("/bin/true", node.path("programs/sync")).unwrap();
        node.bring("first", &["bridge", "portmap"]);
        node
    }

    /// One that has another suite: a plugin and a link by names of ours, and a plugin by its own.
    pub(crate) fn with_another_suite() -> Self {
        let node = Self::new();
        node.write(&format!("{PLUGINS}/bridge"), "another bridge\n");
        node.write(&format!("{PLUGINS}/calico"), "calico\n");
        symlink("bridge", node.host("opt/cni/bin/portmap")).unwrap();
        for directory in ["usr/local/bin", "etc/cni/net.d"] {
            fs::create_dir_all(node.host(directory)).unwrap();
        }
        node
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(crate) fn host(&self, path: &str) -> PathBuf {
        self.path("host").join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.host(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.host(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A version of what comes: scripts, of which that of the plugins lists them.
    pub(crate) fn bring(&self, version: &str, plugins: &[&str]) {
        let list = format!("printf '%s\\n' {}", plugins.join(" "));
        self.come("bin/davit", version, "true");
        self.come("bin/davit-cni", version, "true");
        self.come("cni/davit-cni-plugins", version, &list);
        let list = dist("cni/10-davit.conflist");
        fs::copy(list, self.path("from/10-davit.conflist")).unwrap();
    }

    /// One of them; the last line says that it is whole.
    pub(crate) fn come(&self, file: &str, version: &str, command: &str) {
        let path = self.path("from").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{command}\n# {version}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The installer, by the shell in its first line.
    pub(crate) fn installer(&self, verb: &str) -> Command {
        let mut command = Command::new(dist("kubernetes/install.sh"));
        command.arg(verb);
        self.surround(&mut command);
        command
    }

    pub(crate) fn surround(&self, command: &mut Command) {
        command
            .env("PATH", self.programs())
            .env("FROM", self.path("from"))
            .env("HOST", self.path("host"))
            .env_remove("SUBNET");
    }

    /// The machine's, but for `sync`: it waits for what everybody on this machine writes.
    pub(crate) fn programs(&self) -> String {
        let own = self.path("programs");
        format!("{}:{}", own.display(), std::env::var("PATH").unwrap())
    }

    /// What the installer said; it has succeeded.
    pub(crate) fn run(&self, verb: &str) -> String {
        let output = self.installer(verb).output().unwrap();
        assert!(output.status.success(), "{verb}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Everything in the node's directories, with its mode and what it holds or points to.
    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        walk(&self.path("host"), "", &mut tree);
        tree
    }

    pub(crate) fn files(&self) -> Vec<String> {
        self.tree().into_keys().collect()
    }
}

fn walk(directory: &Path, name: &str, tree: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let name = format!("{name}{file}");
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            walk(&path, &format!("{name}/"), tree);
            continue;
        }
        let holds = if metadata.is_symlink() {
            fs::read_link(&path).unwrap().to_str().unwrap().to_owned()
        } else {
            fs::read_to_string(&path).unwrap()
        };
        let mode = metadata.permissions().mode();
        tree.insert(name, format!("{mode:o} {holds}"));
    }
}

/// The line of a run that was refused.
pub(crate) fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    said
}
