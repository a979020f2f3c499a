//! What `dist/` ships is what the programs that read it understand, and the installer leaves a node
//! whole. That clients work with it is seen by `clients/operations.sh`, which copies it.
#![allow(
    clippy::disallowed_methods,
    reason = "writes only into directories that it just made"
)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn dist(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../dist")
        .join(path)
}

fn text(path: &str) -> String {
    fs::read_to_string(dist(path)).unwrap_or_else(|error| panic!("dist/{path}: {error}"))
}

/// The lines of a file that are not its comments.
fn lines(path: &str) -> Vec<String> {
    let text = text(path);
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(String::from)
        .collect()
}

/// A node's directories, and what the installer brings to them.
struct Node {
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for directory in ["from/bin", "from/cni", "host"] {
            fs::create_dir_all(node.path(directory)).unwrap();
        }
        node.bring("first");
        fs::copy(
            dist("cni/10-davit.conflist"),
            node.path("from/10-davit.conflist"),
        )
        .unwrap();
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A version of the programs: scripts, of which the plugins' says which it has.
    fn bring(&self, version: &str) {
        for (file, says) in [
            ("bin/davit", version),
            ("bin/davit-cni", version),
            ("cni/davit-cni-plugins", "bridge\nportmap"),
        ] {
            let path = self.path("from").join(file);
            fs::write(
                &path,
                format!("#!/bin/sh\n# {version}\nprintf '%s\\n' '{says}'\n"),
            )
            .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn run(&self, verb: &str) -> Output {
        let output = Command::new(dist("kubernetes/install.sh"))
            .arg(verb)
            .env("FROM", self.path("from"))
            .env("HOST", self.path("host"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{verb}: {output:?}");
        output
    }

    fn host(&self, path: &str) -> PathBuf {
        self.path("host").join(path)
    }

    /// Everything in the node's directories, sorted.
    fn files(&self) -> Vec<String> {
        let output = Command::new("find")
            .args([".", "-type", "f"])
            .current_dir(self.path("host"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let mut files: Vec<String> = text.lines().map(String::from).collect();
        files.sort();
        files
    }
}

const LIST: &str = "etc/cni/net.d/10-davit.conflist";
const INSTALLED: [&str; 6] = [
    "./etc/cni/net.d/10-davit.conflist",
    "./opt/cni/bin/bridge",
    "./opt/cni/bin/davit-cni-plugins",
    "./opt/cni/bin/portmap",
    "./usr/local/bin/davit",
    "./usr/local/bin/davit-cni",
];

#[test]
fn the_installer_brings_programs_plugins_and_the_list_and_nothing_else() {
    let node = Node::new();
    node.run("install");
    assert_eq!(node.files(), INSTALLED);
    node.run("install");
    assert_eq!(node.files(), INSTALLED, "the second time");
    let mode = |path: &str| fs::metadata(node.host(path)).unwrap().mode() & 0o777;
    assert_eq!(mode("usr/local/bin/davit"), 0o755);
    assert_eq!(mode(LIST), 0o644);
}

#[test]
fn a_new_version_replaces_files_and_does_not_write_into_them() {
    let node = Node::new();
    node.run("install");
    let programs = &INSTALLED[1..];
    let open: Vec<fs::File> = programs
        .iter()
        .map(|path| fs::File::open(node.host(path)).unwrap())
        .collect();
    node.bring("second");
    node.run("install");
    for (path, before) in programs.iter().zip(open) {
        let after = fs::read_to_string(node.host(path)).unwrap();
        assert!(after.contains("# second"), "{path} is the old one");
        assert!(
            std::io::read_to_string(before).unwrap().contains("# first"),
            "{path} was written into"
        );
    }
}

#[test]
fn a_list_that_somebody_changed_is_left_by_install_and_by_remove() {
    let node = Node::new();
    node.run("install");
    fs::write(node.host(LIST), "{}").unwrap();
    for verb in ["install", "remove"] {
        let output = node.run(verb);
        assert!(String::from_utf8_lossy(&output.stdout).contains("left as it is"));
        assert_eq!(fs::read_to_string(node.host(LIST)).unwrap(), "{}");
    }
}

#[test]
fn remove_takes_the_list_and_leaves_what_running_containers_need() {
    let node = Node::new();
    node.run("install");
    node.run("remove");
    assert_eq!(node.files(), &INSTALLED[1..]);
    node.run("remove");
}

#[test]
fn the_network_list_and_docker_s_file_are_json() {
    let list: serde_json::Value = serde_json::from_str(&text("cni/10-davit.conflist")).unwrap();
    let plugins = list["plugins"].as_array().unwrap();
    let types: Vec<_> = plugins
        .iter()
        .filter_map(|plugin| plugin["type"].as_str())
        .collect();
    assert_eq!(types, ["bridge", "portmap", "firewall"]);
    let docker: serde_json::Value = serde_json::from_str(&text("docker/daemon.json")).unwrap();
    let default = docker["default-runtime"].as_str().unwrap();
    assert_eq!(docker["runtimes"][default]["path"], "/usr/local/bin/davit");
}

#[test]
fn containerd_s_files_name_the_handler_of_the_runtime_class() {
    assert!(lines("kubernetes/runtimeclass.yaml").contains(&"handler: davit".into()));
    for (file, plugin) in [
        ("containerd/config-1.toml", "io.containerd.grpc.v1.cri"),
        ("containerd/config-2.toml", "io.containerd.cri.v1.runtime"),
    ] {
        let lines = lines(file);
        let table = format!("[plugins.\"{plugin}\".containerd.runtimes.davit]");
        assert!(lines.contains(&table), "no {table} in {file}");
        let path = "BinaryName = \"/usr/local/bin/davit\"";
        assert!(lines.contains(&path.into()), "no {path} in {file}");
    }
}

#[test]
fn the_manifest_mounts_what_the_installer_writes() {
    let manifest = lines("kubernetes/node-installer.yaml").join("\n");
    assert!(manifest.contains("command: [\"/davit/install.sh\", \"install\"]"));
    for directory in ["/usr/local/bin", "/opt/cni/bin", "/etc/cni/net.d"] {
        assert!(
            manifest.contains(&format!("mountPath: /host{directory} }}")),
            "{directory}"
        );
        assert!(
            manifest.contains(&format!("hostPath: {{ path: {directory},")),
            "{directory}"
        );
    }
}
