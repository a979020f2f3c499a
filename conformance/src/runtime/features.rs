//! What a runtime says of itself, beside what it does: each name on a list of the features
//! document is put into a configuration and has to be known there.
//!
//! Every list but the two versions may be absent: what is not said is not judged.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::{Config, Console};

use super::placement::{MODES, kernel_has, policy_shows};
use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        S012,
        both_ends_of_the_versions_are_accepted,
        "features.md: ociVersionMin, ociVersionMax: the runtime MUST accept this value as ociVersion"
    ),
    row!(
        Runtime,
        S012,
        no_property_is_newer_than_the_version_named,
        "features.md: MUST NOT contain properties that are not defined in this version"
    ),
    row!(
        Runtime,
        S012,
        the_features_are_the_same_on_every_host,
        "features.md: SHOULD be determined on the compilation time of the runtime"
    ),
    row!(
        Runtime,
        S012,
        every_hook_of_the_features_runs,
        "features.md: hooks: the runtime MUST support the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_mount_option_of_the_features_is_known,
        "features.md: mountOptions: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        no_mount_option_of_the_features_is_of_one_file_system,
        "features.md: mountOptions: SHOULD NOT contain filesystem-specific mount options"
    ),
    row!(
        Runtime,
        S012,
        the_annotations_of_the_features_have_names_and_strings,
        "features.md: annotations: the convention of annotations of config.json: keys MUST NOT be empty, SHOULD be in reverse domain notation"
    ),
    row!(
        Runtime,
        S012,
        every_namespace_of_the_features_is_made,
        "features-linux.md: namespaces: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_capability_of_the_features_is_given,
        "features-linux.md: capabilities: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_seccomp_action_of_the_features_is_known,
        "features-linux.md: seccomp.actions: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_seccomp_operator_of_the_features_is_known,
        "features-linux.md: seccomp.operators: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_architecture_of_the_features_is_known,
        "features-linux.md: seccomp.archs: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_known_seccomp_flag_of_the_features_is_recognised,
        "features-linux.md: seccomp.knownFlags: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_supported_seccomp_flag_of_the_features_is_taken,
        "features-linux.md: seccomp.supportedFlags: the runtime MUST recognize and support the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_mode_of_memory_policies_of_the_features_is_recognised,
        "features-linux.md: memoryPolicy.modes: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        every_flag_of_memory_policies_of_the_features_is_recognised,
        "features-linux.md: memoryPolicy.flags: the runtime MUST recognize the elements in this array"
    ),
    row!(
        Runtime,
        S012,
        id_mapped_mounts_are_told_as_they_are,
        "features-linux.md: mountExtensions.idmap.enabled: MUST be true if uidMappings are recognised, if only in part"
    ),
];

/// The features document.
fn told(case: &Case<'_>) -> Verdict<Value> {
    let outcome = case.call(&case.bare_runtime(&["features"])?)?.succeeds()?;
    Ok(serde_json::from_slice(&outcome.stdout)?)
}

/// A list of the document; an absent one is empty.
fn listed(case: &Case<'_>, pointer: &str) -> Verdict<Vec<String>> {
    match told(case)?.pointer(pointer) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(list) => Ok(serde_json::from_value(list.clone())?),
    }
}

/// Major, minor and patch, and whether it is a release and no candidate of one.
fn version(value: &Value) -> Option<(Vec<u32>, bool)> {
    let text = value.as_str()?.split('+').next()?;
    let (core, release) = match text.split_once('-') {
        Some((core, _)) => (core, false),
        None => (text, true),
    };
    let parts: Option<Vec<u32>> = core.split('.').map(|part| part.parse().ok()).collect();
    parts
        .filter(|parts| parts.len() == 3)
        .map(|parts| (parts, release))
}

fn both_ends_of_the_versions_are_accepted(case: &Case<'_>) -> Verdict {
    let features = told(case)?;
    let (least, most) = (&features["ociVersionMin"], &features["ociVersionMax"]);
    ensure!(
        version(least).is_some() && version(least) <= version(most),
        "from {least} to {most}"
    );
    for end in [least, most] {
        let config = Config::new().set("/ociVersion", end.clone());
        let output = case.container(config.args(&["echo", "ran"]))?.output()?;
        ensure_eq!(output, "ran", "output with ociVersion {end}");
    }
    Ok(())
}

/// Every property of the document and the minor version that brought it. The document itself is
/// one of 1.1.
const SINCE: &[(&str, u32)] = &[
    ("/ociVersionMin", 1),
    ("/ociVersionMax", 1),
    ("/hooks", 1),
    ("/mountOptions", 1),
    ("/annotations", 1),
    ("/linux", 1),
    ("/linux/namespaces", 1),
    ("/linux/capabilities", 1),
    ("/linux/cgroup", 1),
    ("/linux/cgroup/v1", 1),
    ("/linux/cgroup/v2", 1),
    ("/linux/cgroup/systemd", 1),
    ("/linux/cgroup/systemdUser", 1),
    ("/linux/cgroup/rdma", 1),
    ("/linux/seccomp", 1),
    ("/linux/seccomp/enabled", 1),
    ("/linux/seccomp/actions", 1),
    ("/linux/seccomp/operators", 1),
    ("/linux/seccomp/archs", 1),
    ("/linux/seccomp/knownFlags", 1),
    ("/linux/seccomp/supportedFlags", 1),
    ("/linux/apparmor", 1),
    ("/linux/apparmor/enabled", 1),
    ("/linux/selinux", 1),
    ("/linux/selinux/enabled", 1),
    ("/linux/intelRdt", 1),
    ("/linux/intelRdt/enabled", 1),
    ("/linux/mountExtensions", 2),
    ("/linux/mountExtensions/idmap", 2),
    ("/linux/mountExtensions/idmap/enabled", 2),
    ("/potentiallyUnsafeConfigAnnotations", 2),
    ("/linux/intelRdt/schemata", 3),
    ("/linux/intelRdt/monitoring", 3),
    ("/linux/memoryPolicy", 3),
    ("/linux/memoryPolicy/modes", 3),
    ("/linux/memoryPolicy/flags", 3),
    ("/linux/netDevices", 3),
    ("/linux/netDevices/enabled", 3),
];

/// The pointers of all properties below `value`, but not those of annotations, which are anybody's.
fn properties(value: &Value, pointer: &str, into: &mut Vec<String>) {
    for (name, below) in value.as_object().into_iter().flatten() {
        let here = format!("{pointer}/{name}");
        if here != "/annotations" {
            properties(below, &here, into);
        }
        into.push(here);
    }
}

fn no_property_is_newer_than_the_version_named(case: &Case<'_>) -> Verdict {
    let features = told(case)?;
    let Some((most, _)) = version(&features["ociVersionMax"]) else {
        return Err(crate::row::Failure(format!("no version in {features}")));
    };
    let mut found = Vec::new();
    properties(&features, "", &mut found);
    for pointer in found {
        let since = SINCE.iter().find(|(known, _)| *known == pointer);
        let defined = since.is_some_and(|(_, minor)| vec![1, *minor] <= most);
        // Nobody can tell what a version to come defines.
        ensure!(
            defined || most >= vec![1, 4],
            "{pointer} is not defined in {}",
            features["ociVersionMax"]
        );
    }
    Ok(())
}

fn the_features_are_the_same_on_every_host(case: &Case<'_>) -> Verdict {
    // What the kernel of the moment supports is the one thing that may differ.
    let lasting = |mut features: Value| {
        let seccomp = features.pointer_mut("/linux/seccomp");
        if let Some(members) = seccomp.and_then(Value::as_object_mut) {
            members.remove("supportedFlags");
        }
        features
    };
    let here = lasting(told(case)?);
    let poorer = "mount -t tmpfs none /sys; mount -t tmpfs none /etc; exec \"$@\"";
    let there = case
        .bare_runtime(&["features"])?
        .within(&["unshare", "--mount", "sh", "-ec", poorer, "sh"]);
    let there: Value = serde_json::from_slice(&case.call(&there)?.succeeds()?.stdout)?;
    ensure_eq!(
        lasting(there),
        here,
        "features without cgroups, security modules and files in /etc"
    );
    Ok(())
}

fn every_hook_of_the_features_runs(case: &Case<'_>) -> Verdict {
    let kinds = listed(case, "/hooks")?;
    let config = kinds.iter().fold(Config::new(), |config, kind| {
        // It runs inside, where the files of the host are not.
        if kind == "startContainer" {
            return config.hook_with(kind, json!({ "path": "/hook", "args": ["/hook"] }));
        }
        config.hook(kind, &format!("echo ran > {}", case.path(kind)))
    });
    let container = case.container(config)?;
    let inside = testbed::config::draining("echo ran > /startContainer");
    container.bundle.script("/hook", &inside)?;
    container.output()?;
    for kind in kinds {
        let ran = match kind.as_str() {
            "startContainer" => container.left("/startContainer")?,
            _ => case.read(&kind)?,
        };
        ensure_eq!(ran, "ran", "what the {kind} hook wrote");
    }
    Ok(())
}

fn every_mount_option_of_the_features_is_known(case: &Case<'_>) -> Verdict {
    std::fs::create_dir(case.path("source"))?;
    // A tmpfs refuses what it does not know, and a runtime hands on what it does not know.
    ensure!(
        !knows(case, "option-of-tomorrow")?,
        "any word passes for an option"
    );
    let mut unknown = Vec::new();
    for option in listed(case, "/mountOptions")? {
        if !knows(case, &option)? {
            unknown.push(option);
        }
    }
    ensure!(unknown.is_empty(), "no mount takes {unknown:?}");
    Ok(())
}

/// Whether the runtime makes a mount with this option.
fn knows(case: &Case<'_>, option: &str) -> Verdict<bool> {
    let config = Config::new();
    let bound = |options: &[&str]| {
        config
            .clone()
            .mount("/o", "none", &case.path("source"), options)
    };
    let config = match option {
        // Of crun, and about links: rows of F137.
        "copy-symlink" | "src-nofollow" | "dest-nofollow" => return Ok(true),
        "bind" | "rbind" => bound(&[option]),
        "idmap" | "ridmap" => bound(&["bind", option]),
        "remount" => {
            let first = config.mount("/o", "tmpfs", "tmpfs", &[]);
            first.mount("/o", "tmpfs", "tmpfs", &[option])
        }
        _ => config.mount("/o", "tmpfs", "tmpfs", &[option]),
    };
    let container = case.container(config)?;
    let ran = container.run()?.success();
    container.delete_force()?;
    // Without any mappings an error MUST be returned: only who knows the option will.
    Ok(ran != option.ends_with("idmap"))
}

/// Options that one file system or the other reads itself.
const OF_FILE_SYSTEMS: &[&str] = &[
    "barrier",
    "commit",
    "compress",
    "data",
    "discard",
    "dmask",
    "errors",
    "fmask",
    "gid",
    "hidepid",
    "huge",
    "inode32",
    "inode64",
    "lowerdir",
    "max",
    "mode",
    "mpol",
    "newinstance",
    "nobarrier",
    "nodiscard",
    "noswap",
    "nr_blocks",
    "nr_inodes",
    "prjquota",
    "ptmxmode",
    "quota",
    "size",
    "subset",
    "subvol",
    "uid",
    "umask",
    "upperdir",
    "usrquota",
    "utf8",
    "workdir",
    "xino",
];

fn no_mount_option_of_the_features_is_of_one_file_system(case: &Case<'_>) -> Verdict {
    for option in listed(case, "/mountOptions")? {
        let name = option.split('=').next().unwrap_or_default();
        ensure!(
            !OF_FILE_SYSTEMS.contains(&name),
            "{option} is handed to the file system"
        );
    }
    Ok(())
}

fn the_annotations_of_the_features_have_names_and_strings(case: &Case<'_>) -> Verdict {
    let features = told(case)?;
    let annotations = &features["annotations"];
    ensure!(
        annotations.is_null() || annotations.is_object(),
        "annotations are {annotations}"
    );
    for (name, value) in annotations.as_object().into_iter().flatten() {
        let parts: Vec<_> = name.split('.').collect();
        let reversed = parts.len() > 2 && parts.iter().all(|part| !part.is_empty());
        ensure!(
            reversed,
            "{name:?} is no name in reverse domain notation: {annotations}"
        );
        ensure!(value.is_string(), "{name} is {value}");
    }
    Ok(())
}

fn every_namespace_of_the_features_is_made(case: &Case<'_>) -> Verdict {
    for kind in listed(case, "/linux/namespaces")? {
        let file = match kind.as_str() {
            "mount" => "mnt",
            "network" => "net",
            same => same,
        };
        // A kernel may lack one that the runtime knows.
        let newer = ["cgroup", "time", "user"].contains(&kind.as_str());
        if newer && !case.holds(&format!("test -e /proc/self/ns/{file}"))? {
            continue;
        }
        let link = format!("readlink /proc/self/ns/{file}");
        let config = match kind.as_str() {
            "user" => super::idmap::mapped(),
            _ => Config::new()
                .share(&kind)
                .push("/linux/namespaces", json!({ "type": kind })),
        };
        let container = super::idmap::opened(case, config.sh(&link))?;
        let (inside, outside) = (container.output()?, case.sh(&link)?);
        ensure!(
            inside.starts_with(file) && inside != outside,
            "{kind}: {inside:?} inside, {outside:?} outside"
        );
    }
    Ok(())
}

/// capabilities(7), in the order of the kernel's numbers.
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

/// The capabilities of a bounding set as /proc writes it.
fn bounding(line: &str) -> BTreeSet<String> {
    let digits = line.split_whitespace().last().unwrap_or_default();
    let mask = u64::from_str_radix(digits, 16).unwrap_or(0);
    let names = CAPABILITIES.iter().enumerate();
    names
        .filter(|(bit, _)| mask & (1 << bit) != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

fn every_capability_of_the_features_is_given(case: &Case<'_>) -> Verdict {
    let names: BTreeSet<_> = listed(case, "/linux/capabilities")?.into_iter().collect();
    for name in &names {
        ensure!(CAPABILITIES.contains(&name.as_str()), "Linux has no {name}");
    }
    const LINE: &str = "grep CapBnd /proc/self/status";
    // Neither the kernel nor whoever runs this need have them all.
    let here = bounding(&case.sh(LINE)?);
    let config = Config::new()
        .set("/process/capabilities", json!({ "bounding": names }))
        .sh(LINE);
    let given = bounding(&case.container(config)?.output()?);
    let wanted: BTreeSet<_> = names.intersection(&here).cloned().collect();
    ensure_eq!(given, wanted, "bounding set of the container");
    Ok(())
}

/// A profile about a call that nothing makes.
fn profile(rule: Value) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] })
}

/// Whether a container with this profile runs.
fn runs_with(case: &Case<'_>, profile: Value) -> Verdict<bool> {
    let config = Config::new().set("/linux/seccomp", profile);
    let container = case.container(config)?;
    let ended = container.run()?.success();
    container.delete_force()?;
    Ok(ended)
}

/// The same for a profile that wants an agent, which gets the listener and hangs up.
fn runs_with_agent(case: &Case<'_>, profile: Value) -> Verdict<bool> {
    let place = case.path("agent.sock");
    let agent = Console::listen(std::path::Path::new(&place))?;
    let config = Config::new()
        .set("/linux/seccomp", profile)
        .set("/linux/seccomp/listenerPath", place);
    let container = case.container(config)?;
    let run = container
        .command(&["run", "--bundle", &container.dir()])?
        .spawn()?;
    drop(agent.receive(Duration::from_secs(10)));
    Ok(run.wait()?.success())
}

fn every_seccomp_action_of_the_features_is_known(case: &Case<'_>) -> Verdict {
    let with = |action: &str| profile(json!({ "names": ["acct"], "action": action }));
    let made_up = runs_with(case, with("SCMP_ACT_OF_TOMORROW"))?;
    ensure!(!made_up, "any word passes for an action");
    for action in listed(case, "/linux/seccomp/actions")? {
        let known = match action.as_str() {
            "SCMP_ACT_NOTIFY" => runs_with_agent(case, with(&action))?,
            _ => runs_with(case, with(&action))?,
        };
        ensure!(known, "no container runs with {action}");
    }
    Ok(())
}

fn every_seccomp_operator_of_the_features_is_known(case: &Case<'_>) -> Verdict {
    let with = |operator: &str| {
        let argument = json!({ "index": 0, "value": 1, "valueTwo": 1, "op": operator });
        profile(json!({ "names": ["acct"], "action": "SCMP_ACT_ERRNO", "args": [argument] }))
    };
    let made_up = runs_with(case, with("SCMP_CMP_OF_TOMORROW"))?;
    ensure!(!made_up, "any word passes for an operator");
    for operator in listed(case, "/linux/seccomp/operators")? {
        let known = runs_with(case, with(&operator))?;
        ensure!(known, "no container runs with {operator}");
    }
    Ok(())
}

/// Their numbers have the other byte order than those of every machine that runs this suite, and
/// libseccomp has no filter for both orders at once.
const BIG_ENDIAN: &[&str] = &[
    "M68K",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "PARISC",
    "PARISC64",
    "PPC",
    "PPC64",
    "S390",
    "S390X",
    "SHEB",
];

fn every_architecture_of_the_features_is_known(case: &Case<'_>) -> Verdict {
    let native = match std::env::consts::ARCH {
        "x86_64" => "SCMP_ARCH_X86_64",
        "aarch64" => "SCMP_ARCH_AARCH64",
        "riscv64" => "SCMP_ARCH_RISCV64",
        other => {
            return Err(crate::row::lacking(&format!(
                "a known machine, not {other}"
            )));
        }
    };
    let with = |name: &str| {
        let rule = json!({ "names": ["acct"], "action": "SCMP_ACT_ERRNO" });
        let mut profile = profile(rule);
        profile["architectures"] = json!([native, name]);
        profile
    };
    let made_up = runs_with(case, with("SCMP_ARCH_OF_TOMORROW"))?;
    ensure!(!made_up, "any word passes for an architecture");
    for name in listed(case, "/linux/seccomp/archs")? {
        let short = name.trim_start_matches("SCMP_ARCH_");
        if !BIG_ENDIAN.contains(&short) {
            let known = runs_with(case, with(&name))?;
            ensure!(known, "no container runs with {name}");
        }
    }
    Ok(())
}

/// A profile with one flag.
fn flagged(flag: &str, action: &str) -> Value {
    let mut profile = profile(json!({ "names": ["acct"], "action": action }));
    profile["flags"] = json!([flag]);
    profile
}

/// Whether a container runs with this flag of seccomp(2).
fn runs_with_flag(case: &Case<'_>, flag: &str) -> Verdict<bool> {
    match flag {
        // It is about the wait for an agent.
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => {
            runs_with_agent(case, flagged(flag, "SCMP_ACT_NOTIFY"))
        }
        _ => runs_with(case, flagged(flag, "SCMP_ACT_LOG")),
    }
}

fn every_known_seccomp_flag_of_the_features_is_recognised(case: &Case<'_>) -> Verdict {
    let list = "/linux/seccomp/knownFlags";
    if told(case)?.pointer(list).is_none_or(Value::is_null) {
        return Ok(());
    }
    let known = listed(case, list)?;
    let supported = listed(case, "/linux/seccomp/supportedFlags")?;
    // Of what the kernel lacks, nobody can tell whether it is refused for that or not recognised.
    for flag in known.iter().filter(|flag| supported.contains(flag)) {
        ensure!(
            runs_with_flag(case, flag)?,
            "{flag} is known, and no container runs with it"
        );
    }
    for flag in &supported {
        ensure!(known.contains(flag), "{flag} is supported and not known");
    }
    Ok(())
}

/// Whether the runtime runs a container with this memory policy.
fn runs_with_policy(case: &Case<'_>, policy: Value) -> Verdict<bool> {
    let config = Config::new().set("/linux/memoryPolicy", policy);
    let container = case.container(config.args(&["true"]))?;
    let ran = container.run()?.success();
    container.delete_force()?;
    Ok(ran)
}

fn every_mode_of_memory_policies_of_the_features_is_recognised(case: &Case<'_>) -> Verdict {
    let modes = listed(case, "/linux/memoryPolicy/modes")?;
    if modes.is_empty() {
        return Ok(());
    }
    let has = std::fs::metadata("/proc/self/numa_maps").is_ok();
    needs!(has, "a kernel with NUMA");
    let made_up = json!({ "mode": "MPOL_OF_TOMORROW", "nodes": "0" });
    ensure!(
        !runs_with_policy(case, made_up)?,
        "any word passes for a mode"
    );
    for mode in &modes {
        let known = MODES.iter().find(|(known, ..)| known == mode);
        match known {
            Some(_) if !kernel_has(case, mode)? => {}
            Some((_, nodes, names)) => {
                policy_shows(case, &json!({ "mode": mode, "nodes": nodes }), names)?;
            }
            // One of tomorrow may want nodes or may not.
            None => ensure!(
                runs_with_policy(case, json!({ "mode": mode, "nodes": "0" }))?
                    || runs_with_policy(case, json!({ "mode": mode, "nodes": "" }))?,
                "no container runs with {mode}"
            ),
        }
    }
    Ok(())
}

fn every_flag_of_memory_policies_of_the_features_is_recognised(case: &Case<'_>) -> Verdict {
    let flags = listed(case, "/linux/memoryPolicy/flags")?;
    if flags.is_empty() {
        return Ok(());
    }
    let has = std::fs::metadata("/proc/self/numa_maps").is_ok();
    needs!(has, "a kernel with NUMA");
    let bound = |flag: &str| json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] });
    ensure!(
        !runs_with_policy(case, bound("MPOL_F_OF_TOMORROW"))?,
        "any word passes for a flag"
    );
    for flag in flags.iter().map(String::as_str) {
        match flag {
            "MPOL_F_STATIC_NODES" => policy_shows(case, &bound(flag), &["bind=static:0"])?,
            "MPOL_F_RELATIVE_NODES" => policy_shows(case, &bound(flag), &["bind=relative:0"])?,
            _ if !kernel_has(case, flag)? => {}
            _ => ensure!(
                runs_with_policy(case, bound(flag))?,
                "no container runs with {flag}"
            ),
        }
    }
    Ok(())
}

fn every_supported_seccomp_flag_of_the_features_is_taken(case: &Case<'_>) -> Verdict {
    let made_up = flagged("SECCOMP_FILTER_FLAG_OF_TOMORROW", "SCMP_ACT_LOG");
    ensure!(!runs_with(case, made_up)?, "any word passes for a flag");
    for flag in listed(case, "/linux/seccomp/supportedFlags")? {
        ensure!(
            runs_with_flag(case, &flag)?,
            "no container runs with {flag}"
        );
    }
    Ok(())
}

fn id_mapped_mounts_are_told_as_they_are(case: &Case<'_>) -> Verdict {
    let directory = case.path("source");
    case.sh(&format!("mkdir {directory}; chown 1000 {directory}"))?;
    let ids = json!([{ "containerID": 1000, "hostID": 0, "size": 10 }]);
    let mount = json!({
        "destination": "/o", "type": "bind", "source": directory, "options": ["bind"],
        "uidMappings": ids, "gidMappings": ids,
    });
    let config = Config::new().push("/mounts", mount);
    let ended = case.container(config.sh("stat -c %u /o"))?.run()?;
    // An error tells nothing: a part of these mounts is enough, and a kernel may have none.
    let owner = ended.success().then(|| ended.text());
    let features = told(case)?;
    let told = features.pointer("/linux/mountExtensions/idmap/enabled") == Some(&json!(true));
    match owner.as_deref() {
        Some("0") => ensure!(told, "mounts are mapped, and {features} does not say so"),
        Some(_) => ensure!(!told, "mappings are ignored, and {features} says otherwise"),
        None => {}
    }
    Ok(())
}
