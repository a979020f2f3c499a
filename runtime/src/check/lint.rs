//! What is allowed and probably not meant, or dangerous.

use std::path::Path;

use super::{Finding, typo};
use crate::plan::process::unknown_capabilities;

/// Parts of config.json for other platforms.
const FOREIGN: [&str; 5] = ["freebsd", "solaris", "vm", "windows", "zos"];

/// Properties that nobody will read.
pub(super) fn unknown(unknown: &[oci::Unknown]) -> Vec<Finding> {
    let finding = |unknown: &oci::Unknown| {
        let name = unknown.name.as_str();
        let top = unknown.pointer.matches('/').count() == 1;
        let (cause, remedy) = match typo::meant(name, unknown.known) {
            _ if top && FOREIGN.contains(&name) => (
                "is for another platform and ignored".to_owned(),
                "remove it, or keep it for who runs the bundle elsewhere".to_owned(),
            ),
            Some(meant) => (
                format!("is ignored: the specification has no {name:?}"),
                format!("did you mean {meant:?}?"),
            ),
            None => (
                format!("is ignored: the specification has no {name:?}"),
                "remove it, or put what is your own into /annotations".to_owned(),
            ),
        };
        Finding::warning(unknown.pointer.clone(), cause, &remedy)
    };
    unknown.iter().map(finding).collect()
}

/// What somebody may regret.
pub(super) fn warnings(spec: &oci::Spec) -> Vec<Finding> {
    let parts = [
        mounts,
        hooks,
        process,
        capabilities,
        namespaces,
        security,
        resources,
        obsolete,
    ];
    parts.iter().flat_map(|part| part(spec)).collect()
}

fn mounts(spec: &oci::Spec) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let at = |name: &str| format!("/mounts/{index}/{name}");
        let destination = mount.destination();
        if destination.is_relative() && !destination.as_os_str().is_empty() {
            let cause = format!("{destination:?} is relative, and is taken below /");
            let remedy = "begin it with \"/\": the specification allows no other since 1.0.0";
            findings.push(Finding::warning(at("destination"), cause, remedy));
        }
        let options = mount.options().as_deref().unwrap_or_default();
        let has = |word: &str| options.iter().any(|option| option == word);
        let bind = has("bind") || has("rbind") || mount.typ().as_deref() == Some("bind");
        let source = mount.source().as_deref().filter(|_| bind);
        if let Some(reason) = source.and_then(|source| dangerous(source, has("ro"))) {
            let remedy = "mount only the part that is needed, and that read-only";
            findings.push(Finding::warning(at("source"), reason, remedy));
        }
    }
    let proc = |mount: &oci::Mount| mount.destination() == Path::new("/proc");
    if has_own_namespace(spec, oci::LinuxNamespaceType::Mount)
        && !spec.mounts().iter().flatten().any(proc)
    {
        let cause = "nothing is mounted at /proc, which most programs need";
        let remedy = "add {\"destination\": \"/proc\", \"type\": \"proc\", \"source\": \"proc\"}";
        findings.push(Finding::warning("/mounts", cause, remedy));
    }
    findings
}

/// Why this part of the host gives the container power over it.
fn dangerous(source: &Path, readonly: bool) -> Option<String> {
    const SOCKETS: [&str; 3] = ["docker.sock", "containerd.sock", "podman.sock"];
    let name = source.file_name().and_then(|name| name.to_str());
    if name.is_some_and(|name| SOCKETS.contains(&name)) {
        return Some("who can use this socket is root on the host".to_owned());
    }
    const PARTS: [&str; 7] = ["/", "/etc", "/proc", "/sys", "/dev", "/boot", "/root"];
    let part = PARTS.iter().any(|part| source == Path::new(part));
    (part && !readonly).then(|| format!("the container can write to {source:?} of the host"))
}

fn hooks(spec: &oci::Spec) -> Vec<Finding> {
    let prestart = spec
        .hooks()
        .as_ref()
        .and_then(|hooks| hooks.prestart().as_ref());
    if prestart.is_none_or(Vec::is_empty) {
        return Vec::new();
    }
    let cause = "prestart hooks are deprecated since 1.0.2";
    let remedy = "use createRuntime (the host's namespaces) or createContainer (the container's)";
    vec![Finding::warning("/hooks/prestart", cause, remedy)]
}

fn process(spec: &oci::Spec) -> Vec<Finding> {
    let Some(process) = spec.process() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if process.console_size().is_some() && process.terminal() != Some(true) {
        let cause = "is ignored without a terminal";
        let remedy = "set /process/terminal, or remove it";
        findings.push(Finding::warning("/process/consoleSize", cause, remedy));
    }
    let env = process.env().as_deref().unwrap_or_default();
    let names: Vec<_> = env.iter().map(|entry| entry.split('=').next()).collect();
    for (index, name) in names.iter().enumerate() {
        if names[index + 1..].contains(name) {
            let cause = format!(
                "{:?} is set again later, which wins",
                name.unwrap_or_default()
            );
            let pointer = format!("/process/env/{index}");
            findings.push(Finding::warning(pointer, cause, "keep one of them"));
        }
    }
    if process.capabilities().is_none() && process.user().uid() == 0 {
        let cause = "the process keeps every capability of the runtime";
        let remedy = "list the capabilities that it needs";
        findings.push(Finding::warning("/process/capabilities", cause, remedy));
    }
    findings
}

fn capabilities(spec: &oci::Spec) -> Vec<Finding> {
    let process = spec.process().as_ref();
    let Some(caps) = process.and_then(|process| process.capabilities().as_ref()) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let unknown = process.map(unknown_capabilities).unwrap_or_default();
    for (name, set) in caps.sets() {
        for (index, capability) in set.iter().flatten().enumerate() {
            if unknown.contains(&capability.as_str()) {
                let cause = format!("{capability:?} is no capability, and is left out");
                let pointer = format!("/process/capabilities/{name}/{index}");
                let remedy = "use a name of capabilities(7), such as CAP_NET_BIND_SERVICE";
                findings.push(Finding::warning(pointer, cause, remedy));
            }
        }
    }
    let contains = |set: &Option<Vec<String>>, capability: &String| {
        set.iter().flatten().any(|listed| listed == capability)
    };
    for (index, capability) in caps.ambient().iter().flatten().enumerate() {
        if !contains(caps.permitted(), capability) || !contains(caps.inheritable(), capability) {
            let cause =
                format!("{capability} is not both permitted and inheritable, so it is dropped");
            let remedy = "add it to permitted and inheritable, or remove it here";
            let pointer = format!("/process/capabilities/ambient/{index}");
            findings.push(Finding::warning(pointer, cause, remedy));
        }
    }
    findings
}

/// What the container shares with the host although it could misuse it.
fn namespaces(spec: &oci::Spec) -> Vec<Finding> {
    use oci::LinuxNamespaceType as Kind;
    const COMBINATIONS: [(Kind, &str, &str); 4] = [
        (
            Kind::Pid,
            "CAP_SYS_PTRACE",
            "it can trace every process of the host",
        ),
        (
            Kind::Pid,
            "CAP_KILL",
            "it can kill every process of the host",
        ),
        (
            Kind::Network,
            "CAP_NET_ADMIN",
            "it can reconfigure the host's network",
        ),
        (
            Kind::Network,
            "CAP_NET_RAW",
            "it can read the host's network traffic",
        ),
    ];
    let own_users = has_own_namespace(spec, Kind::User);
    let holds = |name: &str| effective(spec).any(|capability| capability == name);
    let mut findings = Vec::new();
    for (kind, capability, danger) in COMBINATIONS {
        if !own_users && !has_own_namespace(spec, kind) && holds(capability) {
            let cause =
                format!("shares the host's {kind} namespace and has {capability}: {danger}");
            let remedy = format!("add {{\"type\": \"{kind}\"}}, or take {capability} away");
            findings.push(Finding::warning("/linux/namespaces", cause, &remedy));
        }
    }
    if !own_users && holds("CAP_SYS_ADMIN") {
        let cause = "CAP_SYS_ADMIN without a user namespace is nearly root on the host";
        let remedy = "take it away, or add {\"type\": \"user\"} with mappings";
        findings.push(Finding::warning(
            "/process/capabilities/effective",
            cause,
            remedy,
        ));
    }
    findings
}

fn security(spec: &oci::Spec) -> Vec<Finding> {
    let linux = spec.linux().as_ref();
    let mut findings = Vec::new();
    if linux.is_none_or(|linux| linux.seccomp().is_none()) {
        let cause = "there is no system call filter";
        let remedy = "add the profile of your engine, or one of your own";
        findings.push(Finding::warning("/linux/seccomp", cause, remedy));
    }
    let Some(linux) = linux else { return findings };
    let shared = linux.rootfs_propagation().as_deref();
    if shared.is_some_and(|shared| shared.ends_with("shared")) {
        let cause = "mounts that the container makes appear on the host";
        let remedy = "use \"slave\" or \"private\"";
        findings.push(Finding::warning("/linux/rootfsPropagation", cause, remedy));
    }
    let mappings = linux.uid_mappings().iter().flatten().enumerate();
    for (index, mapping) in mappings {
        if mapping.host_id() == 0 && nix::unistd::geteuid().is_root() {
            let cause = "the container's user is root on the host wherever it gets out";
            let remedy = "map to ids that nobody else has (subuid(5))";
            let pointer = format!("/linux/uidMappings/{index}/hostID");
            findings.push(Finding::warning(pointer, cause, remedy));
        }
    }
    findings
}

fn resources(spec: &oci::Spec) -> Vec<Finding> {
    let linux = spec.linux().as_ref();
    let Some(resources) = linux.and_then(|linux| linux.resources().as_ref()) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (index, rule) in resources.devices().iter().flatten().enumerate() {
        let all = rule.typ().is_none_or(|typ| typ == oci::LinuxDeviceType::A);
        let every = rule.major().is_none_or(|major| major < 0);
        if rule.allow() && all && every {
            let cause = "allows every device of the host";
            let remedy = "allow the devices that are needed, by type and number";
            let pointer = format!("/linux/resources/devices/{index}");
            findings.push(Finding::warning(pointer, cause, remedy));
        }
    }
    findings
}

/// What has no effect any more.
fn obsolete(spec: &oci::Spec) -> Vec<Finding> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let memory = resources.and_then(|resources| *resources.memory());
    let rdt = linux.and_then(|linux| linux.intel_rdt().as_ref());
    let memory_at = "/linux/resources/memory";
    let listed = [
        (
            memory.is_some_and(|m| m.kernel().is_some()),
            memory_at,
            "kernel",
        ),
        (
            memory.is_some_and(|m| m.kernel_tcp().is_some()),
            memory_at,
            "kernelTCP",
        ),
        (
            memory.is_some_and(|m| m.use_hierarchy().is_some()),
            memory_at,
            "useHierarchy",
        ),
        (
            rdt.is_some_and(|r| r.enable_cmt().is_some()),
            "/linux/intelRdt",
            "enableCMT",
        ),
        (
            rdt.is_some_and(|r| r.enable_mbm().is_some()),
            "/linux/intelRdt",
            "enableMBM",
        ),
    ];
    let there = listed.into_iter().filter(|(there, ..)| *there);
    let finding = |(_, at, name)| {
        let cause = "is obsolete and has no effect on this kernel";
        Finding::warning(format!("{at}/{name}"), cause, "remove it")
    };
    there.map(finding).collect()
}

fn has_own_namespace(spec: &oci::Spec, kind: oci::LinuxNamespaceType) -> bool {
    let linux = spec.linux().as_ref();
    let listed = linux.and_then(|linux| linux.namespaces().as_ref());
    listed
        .into_iter()
        .flatten()
        .any(|namespace| namespace.typ() == kind)
}

fn effective(spec: &oci::Spec) -> impl Iterator<Item = &str> {
    let process = spec.process().as_ref();
    let caps = process.and_then(|process| process.capabilities().as_ref());
    let set = caps.and_then(|caps| caps.effective().as_ref());
    set.into_iter().flatten().map(String::as_str)
}
