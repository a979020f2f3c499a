//! Kernel parameters: only those that belong to a namespace of the container's own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::namespaces::{Kind, Namespaces};
use super::refusal::{Refusal, Result};

/// Parameters of the ipc namespace outside of `fs.mqueue.` (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Reads `linux.sysctl`: path below `/proc/sys` and value, in the order of the names.
pub fn plan(
    sysctl: Option<&BTreeMap<String, String>>,
    namespaces: &Namespaces,
) -> Result<Vec<(PathBuf, String)>> {
    let mut parameters = Vec::new();
    for (name, value) in sysctl.into_iter().flatten() {
        let path = path(name);
        check(&path, name, namespaces).map_err(|reason| {
            Refusal::new(format!("/linux/sysctl/{}", name.replace('/', "~1")), reason)
        })?;
        parameters.push((PathBuf::from(path), value.clone()));
    }
    parameters.sort();
    Ok(parameters)
}

/// The path of `name`: whichever of `.` and `/` comes first separates, the other is literal, so
/// that `net.ipv4.conf.eth0/1.forwarding` names the interface `eth0.1` (sysctl.d(5)).
fn path(name: &str) -> String {
    match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'.') => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn check(path: &str, name: &str, namespaces: &Namespaces) -> std::result::Result<(), String> {
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(format!("sysctl {name:?} is not a name below /proc/sys"));
    }
    let needs = |kind: Kind, otherwise: &str| {
        if namespaces.is_private(kind) {
            Ok(())
        } else {
            Err(format!("sysctl {name:?} {otherwise}"))
        }
    };
    match path {
        path if IPC.contains(&path) || path.starts_with("fs/mqueue/") => {
            needs(Kind::Ipc, "is not allowed in the hosts ipc namespace")
        }
        path if path.starts_with("net/") => {
            needs(Kind::Network, "not allowed in host network namespace")
        }
        path if path.starts_with("user/") => needs(
            Kind::User,
            "not allowed: setting ucounts without a user namespace not allowed",
        ),
        "kernel/domainname" => needs(Kind::Uts, "is not allowed in the hosts uts namespace"),
        "kernel/hostname" => Err(format!(
            "sysctl {name:?} is not allowed as it conflicts with the OCI \"hostname\" field"
        )),
        _ => Err(format!(
            "sysctl {name:?} is not in a separate kernel namespace"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, namespaces: &str) -> Result<Vec<(PathBuf, String)>> {
        let linux = oci::from_str(&format!(r#"{{"namespaces":{namespaces}}}"#)).unwrap();
        let namespaces = Namespaces::plan(Some(&linux)).unwrap();
        plan(
            Some(&BTreeMap::from([(name.to_owned(), "1".to_owned())])),
            &namespaces,
        )
    }

    #[test]
    fn the_first_separator_decides() {
        assert_eq!(
            path("net.ipv4.conf.eth0/1.forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
        assert_eq!(
            path("net/ipv4/conf/eth0.1/forwarding"),
            "net/ipv4/conf/eth0.1/forwarding"
        );
    }

    #[test]
    fn a_parameter_needs_its_namespace() {
        let network = r#"[{"type":"network"}]"#;
        assert!(check_one("net.ipv4.ip_forward", network).is_ok());
        assert!(check_one("net.ipv4.ip_forward", "[]").is_err());
        assert!(check_one("kernel.shmmax", network).is_err());
        assert!(check_one("kernel.shmmax", r#"[{"type":"ipc"}]"#).is_ok());
        assert!(check_one("kernel.hostname", r#"[{"type":"uts"}]"#).is_err());
        assert!(check_one("vm.swappiness", network).is_err());
    }

    #[test]
    fn no_way_out_of_proc_sys() {
        let network = r#"[{"type":"network"}]"#;
        for name in [
            "net/../kernel/core_pattern",
            "net//x",
            "net/./x",
            "net.ipv4...x",
        ] {
            assert!(check_one(name, network).is_err(), "{name}");
        }
    }
}
