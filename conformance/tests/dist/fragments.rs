//! What goes into the configuration of containerd, podman and Docker, and the network list.

use std::fs;
use std::process::Command;

use serde_json::Value;
use testbed::requires;

use crate::{dist, lines, text};

/// The names of a TOML file's tables.
fn tables(path: &str) -> Vec<String> {
    let lines = lines(path);
    let heads = lines.iter().filter_map(|line| line.strip_prefix('['));
    heads
        .map(|head| head.strip_suffix(']').unwrap().to_owned())
        .collect()
}

/// The value of a key in any table.
fn value(path: &str, key: &str) -> String {
    let lines = lines(path);
    let mut values = lines
        .iter()
        .filter_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
    let value = values
        .next()
        .unwrap_or_else(|| panic!("no {key} in {path}"));
    value.trim().to_owned()
}

#[test]
fn the_network_list_has_a_subnet_that_the_installer_knows() {
    let list: Value = serde_json::from_str(&text("cni/10-davit.conflist")).unwrap();
    let plugins = list["plugins"].as_array().unwrap();
    let types: Vec<_> = plugins
        .iter()
        .filter_map(|plugin| plugin["type"].as_str())
        .collect();
    assert_eq!(types, ["bridge", "portmap", "firewall"]);
    let subnet = &plugins[0]["ipam"]["ranges"][0][0]["subnet"];
    assert_eq!(subnet, "10.185.0.0/24");
    assert_eq!(value("kubernetes/install.sh", "own_subnet"), *subnet);
}

#[test]
fn docker_s_file_is_json_and_its_default_is_a_runtime_of_it() {
    let docker: Value = serde_json::from_str(&text("docker/daemon.json")).unwrap();
    let default = docker["default-runtime"].as_str().unwrap();
    assert_eq!(docker["runtimes"][default]["path"], "/usr/local/bin/davit");
}

#[test]
fn containerd_s_files_hold_the_tables_of_davit_alone() {
    assert!(lines("kubernetes/runtimeclass.yaml").contains(&"handler: davit".into()));
    for (file, plugin) in [
        ("containerd/config-1.toml", "io.containerd.grpc.v1.cri"),
        ("containerd/config-2.toml", "io.containerd.cri.v1.runtime"),
    ] {
        let runtime = format!("plugins.\"{plugin}\".containerd.runtimes.davit");
        let options = format!("{runtime}.options");
        assert_eq!(tables(file), [runtime, options], "{file}");
        assert_eq!(value(file, "BinaryName"), "\"/usr/local/bin/davit\"");
        assert_eq!(lines(file).len(), 5, "{file} says something else too");
    }
}

/// As its comment tells: a full copy, and the lines below it.
#[test]
fn containerd_reads_its_file_below_a_full_copy_and_keeps_its_own_runtime() {
    let Some(()) = requires::program("containerd") else {
        return;
    };
    let dump = |arguments: &[&str]| {
        let output = Command::new("containerd").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let copy = dump(&["config", "default"]);
    let file = match copy.lines().find(|line| line.starts_with("version")) {
        Some("version = 2") => "containerd/config-1.toml",
        _ => "containerd/config-2.toml",
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    fs::write(&path, copy.clone() + &text(file)).unwrap();
    let after = dump(&["--config", path.to_str().unwrap(), "config", "dump"]);
    let has = |line: &str| {
        after
            .lines()
            .any(|each| each.replace('\'', "\"").contains(line))
    };
    assert!(has("containerd.runtimes.davit]"), "{after}");
    assert!(has("BinaryName = \"/usr/local/bin/davit\""), "{after}");
    for line in copy.lines().filter(|line| !line.starts_with("imports")) {
        assert!(after.lines().any(|each| each == line), "lost: {line}");
    }
}

#[test]
fn podman_s_runtime_and_its_network_are_chosen_apart() {
    assert_eq!(tables("podman/davit.conf"), ["engine", "engine.runtimes"]);
    assert_eq!(value("podman/davit.conf", "runtime "), "\"davit\"");
    assert_eq!(
        value("podman/davit.conf", "davit"),
        "[\"/usr/local/bin/davit\"]"
    );
    let json = value("podman/davit.conf", "runtime_supports_json");
    assert!(json.contains("\"davit\""), "{json}");
    assert_eq!(tables("podman/davit-network.conf"), ["network"]);
    let backend = value("podman/davit-network.conf", "network_backend");
    assert_eq!(backend, "\"cni\"");
    let plugins = value("podman/davit-network.conf", "cni_plugin_dirs");
    assert_eq!(plugins, "[\"/usr/local/libexec/cni\"]");
}

/// A file that is named, in a comment or in the README, is there.
#[test]
fn what_is_named_is_shipped() {
    let mut named = 0;
    for reader in [
        "../README.md",
        "../CHANGELOG.md",
        "containerd/config-1.toml",
        "containerd/config-2.toml",
        "kubernetes/install.sh",
        "kubernetes/node-installer.yaml",
        "kubernetes/node-remover.yaml",
        "kubernetes/runtimeclass.yaml",
        "podman/davit.conf",
        "podman/davit-network.conf",
    ] {
        let text = text(reader);
        let part_of_a_path = |c: char| c.is_ascii_alphanumeric() || "./-_".contains(c);
        for word in text.split(|c| !part_of_a_path(c)) {
            let Some(path) = word.trim_end_matches('.').strip_prefix("dist/") else {
                continue;
            };
            named += 1;
            assert!(fs::metadata(dist(path)).is_ok(), "{reader}: no dist/{path}");
        }
    }
    assert!(named > 5, "only {named} names were found");
}
