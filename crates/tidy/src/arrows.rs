//! Which of our crates may use which (ARCHITECTURE.md): everything else is an error, also for
//! tests and build scripts. Crates from elsewhere are free, except where purity forbids them.

use crate::{File, Finding};

/// Ours, and what they may use of ours.
const ARROWS: [(&str, &[&str]); 21] = [
    ("crates/cni/", &[]),
    ("crates/spec/", &[]),
    ("crates/sys/", &[]),
    ("crates/tidy/", &[]),
    ("crates/dbus/", &[]),
    ("crates/systemd/", &["dbus"]),
    ("crates/netlink/", &["sys"]),
    ("crates/owner/", &[]),
    ("crates/firewall/", &["sys", "netlink", "owner"]),
    ("crates/libcni/", &["cni", "sys"]),
    ("crates/cni-plugin/", &["cni", "sys"]),
    (
        "crates/interface/",
        &["cni", "cni-plugin", "sys", "netlink", "firewall", "owner"],
    ),
    ("crates/testbed/", &["cni", "sys", "netlink"]),
    ("runtime/", &["oci", "sys", "netlink", "systemd"]),
    (
        "crates/manual/",
        &["runtime", "hooks", "davit-cni-plugins", "cni-plugin"],
    ),
    ("crates/plugins/", SUITE),
    (
        "hooks/",
        &["libcni", "cni", "sys", "netlink", "owner", "firewall"],
    ),
    ("conformance/", &["cni", "testbed"]),
    ("bench/", &["cni", "sys", "testbed"]),
    ("faults/", &["sys", "testbed"]),
    ("fuzz/", &OURS), // whatever reads what comes from outside
];
/// Side by side, and only here.
const SUITE: &[&str] = &[
    "cni",
    "cni-plugin",
    "bandwidth",
    "bridge",
    "dhcp",
    "dummy",
    "firewall-plugin",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
];
const PLUGIN: &[&str] = &[
    "cni",
    "cni-plugin",
    "interface",
    "sys",
    "netlink",
    "owner",
    "firewall",
    "dbus",
];

const OURS: [&str; 38] = [
    "cni",
    "oci",
    "sys",
    "systemd",
    "dbus",
    "firewall-plugin",
    "tidy",
    "manual",
    "netlink",
    "firewall",
    "libcni",
    "cni-plugin",
    "testbed",
    "runtime",
    "hooks",
    "conformance",
    "bench",
    "bridge",
    "host-local",
    "loopback",
    "portmap",
    "ptp",
    "macvlan",
    "ipvlan",
    "vlan",
    "host-device",
    "dummy",
    "tap",
    "static",
    "dhcp",
    "tuning",
    "bandwidth",
    "sbr",
    "vrf",
    "interface",
    "owner",
    "davit-cni-plugins",
    "davit-cni",
];

/// The types of a specification do no I/O, so they need nothing that does.
const PURE: [&str; 4] = ["ipnet", "serde", "serde_json", "thiserror"];

pub(crate) fn check(manifest: &File) -> Vec<Finding> {
    let Some(home) = manifest.path.strip_suffix("Cargo.toml") else {
        return Vec::new();
    };
    if home.is_empty() {
        return Vec::new();
    }
    let known = ARROWS
        .iter()
        .find(|(path, _)| *path == home)
        .map(|(_, to)| *to);
    let allowed = known.or(home.starts_with("cni-plugins/").then_some(PLUGIN));
    let Some(allowed) = allowed else {
        return vec![Finding::new(
            &manifest.path,
            1,
            "this crate has no arrows in crates/tidy",
        )];
    };
    let mut findings = Vec::new();
    for (line, section, name) in dependencies(&manifest.text) {
        let for_tests = section == "dev-dependencies" && name == "testbed" && home != "crates/sys/";
        let ours = OURS.contains(&name) && !allowed.contains(&name) && !for_tests;
        let impure = home == "crates/cni/" && section == "dependencies" && !PURE.contains(&name);
        if ours || impure {
            let text = format!("{} may not depend on {name}", home.trim_end_matches('/'));
            findings.push(Finding::new(&manifest.path, line, text));
        }
    }
    findings
}

/// (line, section, crate) of every dependency, in the two ways that manifests here are written.
fn dependencies(text: &str) -> Vec<(usize, &str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end().trim_end_matches(']');
            if let Some((kind, name)) = section.rsplit_once("dependencies.") {
                let kind = if kind.ends_with("dev-") {
                    "dev-dependencies"
                } else {
                    "dependencies"
                };
                found.push((index + 1, kind, name));
            }
            // `[target.'cfg(...)'.dependencies]`
            section = section.rsplit('.').next().unwrap_or(section);
        } else if section.ends_with("dependencies") {
            let name = line.split(['.', '=', ' ']).next().unwrap_or("");
            if !name.is_empty() && !name.starts_with('#') {
                found.push((index + 1, section, name));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let file = File {
            path: path.into(),
            text: text.into(),
        };
        check(&file).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_forbidden_arrow_is_found_however_it_is_written() {
        let wanted = ["crates/sys/Cargo.toml:2: crates/sys may not depend on netlink"];
        assert_eq!(
            found(
                "crates/sys/Cargo.toml",
                "[dependencies]\nnetlink.workspace = true\n"
            ),
            wanted
        );
        assert_eq!(
            found(
                "crates/sys/Cargo.toml",
                "[build-dependencies]\nnetlink = \"1\"\n"
            ),
            wanted
        );
        let table = "\n[target.'cfg(unix)'.dependencies.netlink]\npath = \"..\"\n";
        assert_eq!(found("crates/sys/Cargo.toml", table), wanted);
        let plugin = "[dependencies]\ncni.workspace = true\nhost-local = { path = \"..\" }\n";
        assert_eq!(found("cni-plugins/bridge/Cargo.toml", plugin).len(), 1);
        let dev = "[dev-dependencies]\ntestbed.workspace = true\nruntime.workspace = true\n";
        assert_eq!(found("runtime/Cargo.toml", dev).len(), 1);
    }

    #[test]
    fn the_types_of_the_specification_stay_pure() {
        let impure = found(
            "crates/cni/Cargo.toml",
            "[dependencies]\nserde.workspace = true\nnix = \"1\"\n",
        );
        assert_eq!(
            impure,
            ["crates/cni/Cargo.toml:3: crates/cni may not depend on nix"]
        );
    }

    #[test]
    fn an_unknown_crate_has_to_be_entered_here() {
        assert_eq!(found("crates/new/Cargo.toml", "").len(), 1);
    }
}
