//! `davit features`: what this program supports, as features.md of the runtime specification has
//! it. About the program, not about the host: no file is opened, so it is fast and needs no right.

use serde_json::{Value, json};

use crate::criu;
use crate::plan;
use crate::seccomp;

/// Every hook, in the order in which they run.
const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Every namespace type.
const NAMESPACES: [&str; 8] = [
    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
];

/// Every capability, in the kernel's order (capabilities(7)).
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The options of `linux.memoryPolicy`.
const MEMORY_POLICY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
const MEMORY_POLICY_FLAGS: [&str; 3] = [
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
];

/// Annotations of config.json that change what we do; a client keeps untrusted ones out.
/// One that ends in a dot stands for all that begin so (features.md).
const UNSAFE_ANNOTATIONS: [&str; 3] = [
    criu::CONFIG_ANNOTATION,
    plan::KEEP_GROUPS,
    "org.systemd.property.",
];

/// The document; `mount_options` are those that `mounts[].options` may have.
pub fn features(mount_options: &[String]) -> Value {
    let mut mount_options = mount_options.to_vec();
    mount_options.sort();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": HOOKS,
        "mountOptions": mount_options,
        "linux": linux(&mount_options),
        "annotations": {
            "org.opencontainers.davit.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.runc.checkpoint.enabled": criu::is_installed().to_string(),
        },
        "potentiallyUnsafeConfigAnnotations": UNSAFE_ANNOTATIONS,
    })
}

fn linux(mount_options: &[String]) -> Value {
    let idmap = mount_options.iter().any(|option| option == "idmap");
    let mut archs = seccomp::Arch::ALL.map(seccomp::Arch::name);
    archs.sort_unstable();
    json!({
        "namespaces": NAMESPACES,
        "capabilities": CAPABILITIES,
        "cgroup": {
            "v1": true,
            "v2": true,
            "systemd": true,
            "systemdUser": true,
            "rdma": true,
        },
        "seccomp": {
            "enabled": true,
            "actions": seccomp::ACTIONS,
            "operators": seccomp::OPERATORS,
            "archs": archs,
            "knownFlags": seccomp::FLAGS,
            "supportedFlags": seccomp::FLAGS,
        },
        "apparmor": {"enabled": true},
        "selinux": {"enabled": true},
        "intelRdt": {"enabled": true, "schemata": true, "monitoring": true},
        "memoryPolicy": {"modes": MEMORY_POLICY_MODES, "flags": MEMORY_POLICY_FLAGS},
        "mountExtensions": {"idmap": {"enabled": idmap}},
        "netDevices": {"enabled": true},
    })
}

/// As printed: four blanks per level, and a newline at the end.
pub fn text(features: &Value) -> String {
    super::spec::pretty(features, b"    ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_the_specification_s_types_read() {
        let document = features(&["rbind".into(), "bind".into()]);
        let read: oci::features::Features = oci::from_str(&document.to_string()).unwrap();
        assert_eq!(read.oci_version_max(), "1.3.0");
        let linux = read.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 8);
        assert_eq!(
            linux
                .seccomp()
                .as_ref()
                .unwrap()
                .actions()
                .as_ref()
                .unwrap()
                .len(),
            9
        );
        assert_eq!(document["mountOptions"], json!(["bind", "rbind"]));
        assert_eq!(
            document["linux"]["mountExtensions"]["idmap"]["enabled"],
            json!(false)
        );
        let idmapped = features(&["idmap".into()]);
        assert_eq!(
            idmapped["linux"]["mountExtensions"]["idmap"]["enabled"],
            json!(true)
        );
    }

    #[test]
    fn it_is_printed_with_four_blanks() {
        let text = text(&features(&[]));
        assert!(
            text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n"),
            "{text}"
        );
        assert!(text.ends_with("\n}\n"), "{text}");
    }
}
