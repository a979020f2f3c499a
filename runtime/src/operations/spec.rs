//! `davit spec`: a config.json to begin with, the one that runc 1.5 writes but for the host name.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};
use sys::{Dir, Errno};

use crate::cgroup::Hierarchies;

/// Whom the configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Root: a network namespace and cgroups of its own.
    Root,
    /// Anybody else: root inside is this user and group outside, and nothing is asked for that
    /// needs a right.
    Rootless {
        /// The effective user id.
        uid: u32,
        /// The effective group id.
        gid: u32,
    },
}

/// Which cgroups the host has; a cgroup namespace is worth having on v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupHost {
    /// v1, alone or beside v2.
    Legacy,
    /// v2 alone.
    Unified,
}

/// Writes the configuration into the bundle directory `bundle`; an existing one is refused.
pub fn write(bundle: &Path, caller: Caller) -> Result<()> {
    let host = if Hierarchies::discover()?.is_unified() {
        CgroupHost::Unified
    } else {
        CgroupHost::Legacy
    };
    let dir = Dir::open(bundle)?;
    let mut file = match dir.create_new("config.json", 0o666) {
        Err(error) if error.errno() == Errno::EEXIST => {
            bail!("File config.json exists. Remove it first")
        }
        other => other.with_context(|| format!("write {:?}", bundle.join("config.json")))?,
    };
    let written = file.write_all(text(&default_spec(caller, host)).as_bytes());
    if written.is_err() {
        // Half a configuration is worse than none; the first error is the one to report.
        let _ = dir.remove("config.json");
    }
    written.with_context(|| format!("write {:?}", bundle.join("config.json")))
}

/// The configuration.
pub fn default_spec(caller: Caller, cgroups: CgroupHost) -> Value {
    json!({
        "ociVersion": "1.3.0",
        "process": process(),
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "davit",
        "mounts": mounts(caller),
        "linux": linux(caller, cgroups),
    })
}

fn process() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "terminal": true,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TERM=xterm"
        ],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": true
    })
}

fn mount(destination: &str, (kind, source): (&str, &str), options: &[&str]) -> Value {
    let mut mount = json!({"destination": destination, "type": kind, "source": source});
    if !options.is_empty() {
        mount["options"] = json!(options);
    }
    mount
}

fn mounts(caller: Caller) -> Value {
    let mut pts = vec![
        "nosuid",
        "noexec",
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
    ];
    if caller == Caller::Root {
        // The group tty; a single mapped group leaves no name for it.
        pts.push("gid=5");
    }
    let tmp = |last: [&'static str; 3]| [["nosuid"].as_slice(), &last].concat();
    let sys = match caller {
        Caller::Root => mount(
            "/sys",
            ("sysfs", "sysfs"),
            &["nosuid", "noexec", "nodev", "ro"],
        ),
        // sysfs belongs to a network namespace, and this one is the host's.
        Caller::Rootless { .. } => mount(
            "/sys",
            ("none", "/sys"),
            &["rbind", "nosuid", "noexec", "nodev", "ro"],
        ),
    };
    let shm = ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"];
    let cgroup = ["nosuid", "noexec", "nodev", "relatime", "ro"];
    json!([
        mount("/proc", ("proc", "proc"), &[]),
        mount(
            "/dev",
            ("tmpfs", "tmpfs"),
            &tmp(["strictatime", "mode=755", "size=65536k"])
        ),
        mount("/dev/pts", ("devpts", "devpts"), &pts),
        mount("/dev/shm", ("tmpfs", "shm"), &shm),
        mount(
            "/dev/mqueue",
            ("mqueue", "mqueue"),
            &["nosuid", "noexec", "nodev"]
        ),
        sys,
        mount("/sys/fs/cgroup", ("cgroup", "cgroup"), &cgroup),
    ])
}

fn linux(caller: Caller, cgroups: CgroupHost) -> Value {
    let mut linux = json!({});
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if cgroups == CgroupHost::Unified {
        namespaces.push("cgroup");
    }
    match caller {
        Caller::Root => {
            linux["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
        }
        Caller::Rootless { uid, gid } => {
            namespaces.retain(|namespace| *namespace != "network");
            namespaces.push("user");
            let mapping = |id| json!([{"containerID": 0, "hostID": id, "size": 1}]);
            linux["uidMappings"] = mapping(uid);
            linux["gidMappings"] = mapping(gid);
        }
    }
    let typed = |namespace| json!({"type": namespace});
    linux["namespaces"] = namespaces.into_iter().map(typed).collect();
    linux["maskedPaths"] = json!([
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi"
    ]);
    linux["readonlyPaths"] = json!([
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger"
    ]);
    linux
}

/// As written to config.json: a tab per level, and a newline at the end.
pub fn text(spec: &Value) -> String {
    pretty(spec, b"\t")
}

/// JSON with the given indentation.
pub(super) fn pretty(value: &Value, indentation: &[u8]) -> String {
    let mut bytes = Vec::new();
    let formatter = PrettyFormatter::with_indent(indentation);
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    // A Value has only string keys, and memory takes every write: neither kind of error exists.
    value
        .serialize(&mut serializer)
        .expect("a JSON value is serializable");
    bytes.push(b'\n');
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_configuration_is_what_the_specification_s_types_read() {
        let rootless = Caller::Rootless {
            uid: 1000,
            gid: 100,
        };
        for caller in [Caller::Root, rootless] {
            for cgroups in [CgroupHost::Legacy, CgroupHost::Unified] {
                let spec = default_spec(caller, cgroups);
                let read: oci::Spec = oci::from_str(&spec.to_string()).unwrap();
                assert_eq!(read.version(), "1.3.0");
            }
        }
        let spec = default_spec(rootless, CgroupHost::Unified);
        assert_eq!(spec["linux"]["gidMappings"][0]["hostID"], json!(100));
        assert_eq!(spec["linux"].get("resources"), None);
        let wanted = json!([{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            {"type": "cgroup"}, {"type": "user"}]);
        assert_eq!(spec["linux"]["namespaces"], wanted);
    }

    #[test]
    fn it_is_indented_with_tabs() {
        let text = text(&default_spec(Caller::Root, CgroupHost::Legacy));
        assert!(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\""));
        assert!(text.ends_with("\n}\n"));
    }

    /// What runc 1.1 differs in: it is older than the specification's version, sets ambient
    /// capabilities (dropped in 1.2), and is called runc.
    #[test]
    fn it_is_what_runc_writes() {
        for (arguments, caller) in [
            (vec!["spec"], Caller::Root),
            (
                vec!["spec", "--rootless"],
                Caller::Rootless {
                    uid: uid(),
                    gid: gid(),
                },
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            match Command::new("runc")
                .args(arguments)
                .current_dir(dir.path())
                .status()
            {
                Ok(status) if status.success() => {}
                _ => return eprintln!("SKIP: no runc that writes a specification"),
            }
            let written = std::fs::read(dir.path().join("config.json")).unwrap();
            let mut theirs: Value = serde_json::from_slice(&written).unwrap();
            theirs["ociVersion"] = json!("1.3.0");
            theirs["hostname"] = json!("davit");
            let capabilities = theirs["process"]["capabilities"].as_object_mut().unwrap();
            capabilities.remove("ambient");
            let namespaces = theirs["linux"]["namespaces"].as_array().unwrap();
            let unified = namespaces.contains(&json!({"type": "cgroup"}));
            let cgroups = if unified {
                CgroupHost::Unified
            } else {
                CgroupHost::Legacy
            };
            assert_eq!(text(&default_spec(caller, cgroups)), pretty(&theirs, b"\t"));
        }
    }

    fn uid() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn gid() -> u32 {
        nix::unistd::getegid().as_raw()
    }
}
