//! `davit info`: what this host offers to containers, for people who report or look into trouble.
//!
//! About the host, where `features` is about the program. Only reads, needs no right, and says
//! "unknown" for what cannot be read instead of failing.

use std::fmt::Write;
use std::fs;

use serde_json::{Value, json};

use crate::cgroup::Hierarchies;
use crate::host::{self, Host};
use crate::state::OCI_VERSION;

/// Namespace types, and whose presence in `/proc/self/ns` proves them.
const NAMESPACES: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

/// What was found; every value is a string or a list of strings.
pub fn gather() -> Value {
    let host = Host::look();
    let hierarchies = Hierarchies::discover().unwrap_or_default();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "spec": OCI_VERSION,
        "kernel": line("/proc/sys/kernel/osrelease"),
        "machine": std::env::consts::ARCH,
        "cgroups": cgroup_mode(&hierarchies),
        "controllers": controllers(&hierarchies),
        "systemd": yes(fs::metadata("/run/systemd/system").is_ok()),
        "namespaces": namespaces(),
        "userNamespacesLimit": line("/proc/sys/user/max_user_namespaces"),
        "insideUserNamespace": yes(host::inside_user_namespace()),
        "lsm": line("/sys/kernel/security/lsm"),
        "apparmor": yes(host.apparmor),
        "selinux": yes(host.selinux),
        "seccompActions": line("/proc/sys/kernel/seccomp/actions_avail"),
    })
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// As printed.
pub fn written(info: &Value, format: Format) -> String {
    match format {
        Format::Text => text(info),
        Format::Json => super::spec::pretty(info, b"  "),
    }
}

/// One line each, the name first.
fn text(info: &Value) -> String {
    let mut text = String::new();
    for (name, value) in info.as_object().into_iter().flatten() {
        let words: Vec<&str> = match value {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            other => other.as_str().into_iter().collect(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<20} {}", words.join(" "));
    }
    text
}

fn line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    match text.trim() {
        "" => "unknown".into(),
        text => text.into(),
    }
}

fn yes(holds: bool) -> &'static str {
    if holds { "yes" } else { "no" }
}

fn namespaces() -> Vec<&'static str> {
    let there = |file: &str| fs::symlink_metadata(format!("/proc/self/ns/{file}")).is_ok();
    let found = NAMESPACES.iter().filter(|(_, file)| there(file));
    found.map(|(name, _)| *name).collect()
}

fn cgroup_mode(hierarchies: &Hierarchies) -> &'static str {
    match (hierarchies.v1.is_empty(), &hierarchies.v2) {
        (true, Some(_)) => "v2",
        (false, Some(_)) => "hybrid",
        (false, None) => "v1",
        (true, None) => "none",
    }
}

fn controllers(hierarchies: &Hierarchies) -> Vec<String> {
    let all = hierarchies.v1.iter().chain(&hierarchies.v2);
    let mut names: Vec<String> = all.flat_map(|one| one.controllers.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_and_every_namespace_of_this_process_are_named() {
        let info = gather();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(info["kernel"], kernel.trim());
        let own = fs::read_dir("/proc/self/ns").unwrap();
        let own = own.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            !name.to_string_lossy().ends_with("_for_children")
        });
        assert_eq!(info["namespaces"].as_array().unwrap().len(), own.count());
    }

    #[test]
    fn lists_become_words_on_one_line() {
        let text = text(&json!({ "cgroups": "v1", "controllers": ["cpu", "pids"] }));
        assert_eq!(
            text,
            "cgroups              v1\ncontrollers          cpu pids\n"
        );
    }

    #[test]
    fn a_host_with_both_hierarchies_is_hybrid() {
        let own = Hierarchies::discover().unwrap();
        let mut only_v2 = own.clone();
        only_v2.v1.clear();
        let mode = if own.v2.is_some() { "v2" } else { "none" };
        assert_eq!(cgroup_mode(&only_v2), mode);
        assert_eq!(cgroup_mode(&Hierarchies::default()), "none");
    }
}
