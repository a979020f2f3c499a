//! What the configuration needs of the kernel and this host does not have.

use std::path::Path;

use super::{Cause, Finding, Severity, is_missing};
use crate::plan::Kind;

pub(super) fn missing(spec: &oci::Spec) -> Vec<Finding> {
    let linux = spec.linux().as_ref();
    let listed = linux.and_then(|linux| linux.namespaces().as_deref());
    let mut findings = Vec::new();
    for (index, namespace) in listed.unwrap_or_default().iter().enumerate() {
        let kind = Kind::of(namespace.typ());
        let pointer = format!("/linux/namespaces/{index}");
        let path = namespace.path().as_deref();
        match path.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) if path.is_absolute() && is_missing(path) => findings.push(error(
                format!("{pointer}/path"),
                format!("{path:?} does not exist"),
                "create the namespace first, or remove the path for a new one",
            )),
            Some(_) => {}
            None => findings.extend(not_offered(kind).map(|cause| {
                let remedy = "remove the namespace, or boot a kernel with it";
                error(format!("{pointer}/type"), cause, remedy)
            })),
        }
    }
    findings
}

/// Why this kernel makes no namespace of this kind.
fn not_offered(kind: Kind) -> Option<String> {
    let name = kind.proc_name();
    if is_missing(&Path::new("/proc/self/ns").join(name)) {
        return Some(format!("{name} namespaces aren't enabled in the kernel"));
    }
    // user_namespaces(7): zero is how distributions turn them off.
    let limit = std::fs::read_to_string(format!("/proc/sys/user/max_{name}_namespaces"));
    limit
        .is_ok_and(|limit| limit.trim() == "0")
        .then(|| format!("/proc/sys/user/max_{name}_namespaces is 0"))
}

fn error(pointer: String, cause: String, remedy: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        depends_on: Cause::Host,
        pointer,
        cause,
        remedy: remedy.to_owned(),
    }
}
