//! Properties that the configuration says are REQUIRED: without one, the container is not made.
//!
//! Each row takes a configuration that the runtime accepts and leaves one property out. Decoders
//! that read what is absent as 0 or as an empty text are what these rows find.

use serde_json::{Value, json};
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, needs, row};
use crate::runtime::limits::{offers, takes, version};

/// One row for each: its name, what is put in at which pointer, and which pointer goes.
macro_rules! required {
    ($($name:ident, $clause:literal, $put:literal = $value:tt, $gone:literal;)+) => {
        pub(crate) const ROWS: &[Row] = &[$(row!(Runtime, S246, $name, $clause)),+];
        $(fn $name(case: &Case<'_>) -> Verdict {
            missed(case, $put, json!($value), $gone)
        })+
    };
}

required! {
    without_oci_version_it_is_refused, "config.md: ociVersion (string, REQUIRED)",
        "" = null, "/ociVersion";
    without_root_it_is_refused, "config.md, root: on all other platforms, this field is REQUIRED",
        "" = null, "/root";
    without_root_path_it_is_refused, "config.md, root: path (string, REQUIRED)",
        "" = null, "/root/path";
    without_a_destination_a_mount_is_refused, "config.md, mounts: destination (string, REQUIRED)",
        "/mounts/7" = { "destination": "/data", "type": "tmpfs", "source": "tmpfs" }, "/mounts/7/destination";
    without_cwd_it_is_refused, "config.md, process: cwd (string, REQUIRED)",
        "" = null, "/process/cwd";
    without_args_it_is_refused, "config.md, process: args: at least one entry is REQUIRED",
        "" = null, "/process/args";
    without_uid_it_is_refused, "config.md, user: uid (int, REQUIRED)",
        "/process/user" = { "uid": 0, "gid": 0 }, "/process/user/uid";
    without_gid_it_is_refused, "config.md, user: gid (int, REQUIRED)",
        "/process/user" = { "uid": 0, "gid": 0 }, "/process/user/gid";
    without_a_type_an_rlimit_is_refused, "config.md, rlimits: type (string, REQUIRED)",
        "" = null, "/process/rlimits/0/type";
    without_a_soft_value_an_rlimit_is_refused, "config.md, rlimits: soft (uint64, REQUIRED)",
        "" = null, "/process/rlimits/0/soft";
    without_a_hard_value_an_rlimit_is_refused, "config.md, rlimits: hard (uint64, REQUIRED)",
        "/process/rlimits" = [{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }], "/process/rlimits/0/hard";
    without_a_policy_a_scheduler_is_refused, "config.md, scheduler: policy (string, REQUIRED)",
        "/process/scheduler" = { "policy": "SCHED_BATCH", "nice": 1 }, "/process/scheduler/policy";
    without_a_class_an_io_priority_is_refused, "config.md, ioPriority: class (string, REQUIRED)",
        "/process/ioPriority" = { "class": "IOPRIO_CLASS_BE", "priority": 4 }, "/process/ioPriority/class";
    without_a_priority_an_io_priority_is_refused, "config.md, ioPriority: priority (int, REQUIRED)",
        "/process/ioPriority" = { "class": "IOPRIO_CLASS_BE", "priority": 4 }, "/process/ioPriority/priority";
    without_a_path_a_prestart_hook_is_refused, "config.md, hooks: prestart: path (string, REQUIRED)",
        "/hooks" = { "prestart": [{ "path": "/bin/cat" }] }, "/hooks/prestart/0/path";
    without_a_path_a_create_runtime_hook_is_refused, "config.md, hooks: createRuntime: path (string, REQUIRED)",
        "/hooks" = { "createRuntime": [{ "path": "/bin/cat" }] }, "/hooks/createRuntime/0/path";
    without_a_type_a_namespace_is_refused, "config-linux.md, namespaces: type (string, REQUIRED)",
        "/linux/namespaces" = [{ "type": "mount" }, { "type": "uts" }, { "type": "pid" }], "/linux/namespaces/2/type";
    without_a_container_id_a_mapping_is_refused, "config-linux.md, user namespace mappings: containerID (uint32, REQUIRED)",
        "/linux" = { "namespaces": [{ "type": "mount" }, { "type": "uts" }, { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "user" }],
            "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 65536 }],
            "gidMappings": [{ "containerID": 0, "hostID": 0, "size": 65536 }] }, "/linux/uidMappings/0/containerID";
    without_a_host_id_a_mapping_is_refused, "config-linux.md, user namespace mappings: hostID (uint32, REQUIRED)",
        "/linux" = { "namespaces": [{ "type": "mount" }, { "type": "uts" }, { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "user" }],
            "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 65536 }],
            "gidMappings": [{ "containerID": 0, "hostID": 0, "size": 65536 }] }, "/linux/gidMappings/0/hostID";
    without_a_size_a_mapping_is_refused, "config-linux.md, user namespace mappings: size (uint32, REQUIRED)",
        "/linux" = { "namespaces": [{ "type": "mount" }, { "type": "uts" }, { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "user" }],
            "uidMappings": [{ "containerID": 0, "hostID": 0, "size": 65536 }],
            "gidMappings": [{ "containerID": 0, "hostID": 0, "size": 65536 }] }, "/linux/uidMappings/0/size";
    without_a_type_a_device_is_refused, "config-linux.md, devices: type (string, REQUIRED)",
        "/linux/devices" = [{ "path": "/dev/asked", "type": "c", "major": 1, "minor": 3 }], "/linux/devices/0/type";
    without_a_path_a_device_is_refused, "config-linux.md, devices: path (string, REQUIRED)",
        "/linux/devices" = [{ "path": "/dev/asked", "type": "c", "major": 1, "minor": 3 }], "/linux/devices/0/path";
    without_a_major_number_a_device_is_refused, "config-linux.md, devices: major, minor (int64, REQUIRED unless type is p)",
        "/linux/devices" = [{ "path": "/dev/asked", "type": "c", "major": 1, "minor": 3 }], "/linux/devices/0/major";
    without_a_minor_number_a_device_is_refused, "config-linux.md, devices: major, minor (int64, REQUIRED unless type is p)",
        "/linux/devices" = [{ "path": "/dev/asked", "type": "c", "major": 1, "minor": 3 }], "/linux/devices/0/minor";
    without_allow_a_device_rule_is_refused, "config-linux.md, allowed device list: allow (boolean, REQUIRED)",
        "" = null, "/linux/resources/devices/0/allow";
    without_numbers_a_weight_of_a_device_is_refused, "config-linux.md, weightDevice: major, minor (int64, REQUIRED)",
        "/linux/resources/blockIO" = { "weightDevice": [{ "major": 0, "minor": 0, "weight": 100 }] }, "/linux/resources/blockIO/weightDevice/0/major";
    without_numbers_a_rate_of_bytes_is_refused, "config-linux.md, throttleReadBpsDevice: major, minor (int64, REQUIRED)",
        "/linux/resources/blockIO" = { "throttleReadBpsDevice": [{ "major": 0, "minor": 0, "rate": 9000 }] }, "/linux/resources/blockIO/throttleReadBpsDevice/0/minor";
    without_a_rate_a_limit_of_bytes_is_refused, "config-linux.md, throttleReadBpsDevice: rate (uint64, REQUIRED)",
        "/linux/resources/blockIO" = { "throttleReadBpsDevice": [{ "major": 0, "minor": 0, "rate": 9000 }] }, "/linux/resources/blockIO/throttleReadBpsDevice/0/rate";
    without_numbers_a_rate_of_operations_is_refused, "config-linux.md, throttleReadIOPSDevice: major, minor (int64, REQUIRED)",
        "/linux/resources/blockIO" = { "throttleReadIOPSDevice": [{ "major": 0, "minor": 0, "rate": 9000 }] }, "/linux/resources/blockIO/throttleReadIOPSDevice/0/major";
    without_a_rate_a_limit_of_operations_is_refused, "config-linux.md, throttleReadIOPSDevice: rate (uint64, REQUIRED)",
        "/linux/resources/blockIO" = { "throttleReadIOPSDevice": [{ "major": 0, "minor": 0, "rate": 9000 }] }, "/linux/resources/blockIO/throttleReadIOPSDevice/0/rate";
    without_a_page_size_a_limit_is_refused, "config-linux.md, huge page limits: pageSize (string, REQUIRED)",
        "/linux/resources/hugepageLimits" = [{ "pageSize": "2MB", "limit": 4194304 }], "/linux/resources/hugepageLimits/0/pageSize";
    without_a_limit_huge_pages_are_refused, "config-linux.md, huge page limits: limit (uint64, REQUIRED)",
        "/linux/resources/hugepageLimits" = [{ "pageSize": "2MB", "limit": 4194304 }], "/linux/resources/hugepageLimits/0/limit";
    without_a_name_a_network_priority_is_refused, "config-linux.md, network: priorities: name (string, REQUIRED)",
        "/linux/resources/network" = { "priorities": [{ "name": "lo", "priority": 5 }] }, "/linux/resources/network/priorities/0/name";
    without_a_priority_a_network_priority_is_refused, "config-linux.md, network: priorities: priority (uint32, REQUIRED)",
        "/linux/resources/network" = { "priorities": [{ "name": "lo", "priority": 5 }] }, "/linux/resources/network/priorities/0/priority";
    without_a_default_action_seccomp_is_refused, "config-linux.md, seccomp: defaultAction (string, REQUIRED)",
        "/linux/seccomp" = { "defaultAction": "SCMP_ACT_ALLOW" }, "/linux/seccomp/defaultAction";
    without_names_a_rule_is_refused, "config-linux.md, seccomp: names (array of strings, REQUIRED)",
        "/linux/seccomp" = { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }] }, "/linux/seccomp/syscalls/0/names";
    without_an_action_a_rule_is_refused, "config-linux.md, seccomp: action (string, REQUIRED)",
        "/linux/seccomp" = { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }] }, "/linux/seccomp/syscalls/0/action";
    without_an_index_a_comparison_is_refused, "config-linux.md, seccomp: args: index (uint, REQUIRED)",
        "/linux/seccomp" = { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 1, "value": 3, "op": "SCMP_CMP_EQ" }] }] }, "/linux/seccomp/syscalls/0/args/0/index";
    without_a_value_a_comparison_is_refused, "config-linux.md, seccomp: args: value (uint64, REQUIRED)",
        "/linux/seccomp" = { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 1, "value": 3, "op": "SCMP_CMP_EQ" }] }] }, "/linux/seccomp/syscalls/0/args/0/value";
    without_an_operator_a_comparison_is_refused, "config-linux.md, seccomp: args: op (string, REQUIRED)",
        "/linux/seccomp" = { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO",
            "args": [{ "index": 1, "value": 3, "op": "SCMP_CMP_EQ" }] }] }, "/linux/seccomp/syscalls/0/args/0/op";
    without_a_mode_a_memory_policy_is_refused, "config-linux.md, memory policy: mode (string, REQUIRED)",
        "/linux/memoryPolicy" = { "mode": "MPOL_LOCAL" }, "/linux/memoryPolicy/mode";
    without_a_domain_a_personality_is_refused, "config-linux.md, personality: domain (string, REQUIRED)",
        "/linux/personality" = { "domain": "LINUX" }, "/linux/personality/domain";
}

/// `value` at `put` makes a container; without the property at `gone` there is none.
fn missed(case: &Case<'_>, put: &str, value: Value, gone: &str) -> Verdict {
    let whole = match put.rsplit_once('/') {
        None => Config::new(),
        Some(("/mounts", _)) => Config::new().push("/mounts", value),
        Some(_) => Config::new().set(put, of_a_disk(case, &value)?),
    };
    needs_files_for(case, gone)?;
    let container = case.container(whole.args(&["true"]))?;
    needs!(
        container.run()?.success(),
        "a runtime that takes it with {gone}"
    );
    let place = container.bundle.dir().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&place)?)?;
    let (parent, name) = gone.rsplit_once('/').unwrap_or(("", gone));
    let parent = config.pointer_mut(parent).and_then(Value::as_object_mut);
    let taken = parent.and_then(|parent| parent.remove(name));
    ensure!(taken.is_some(), "there was no {gone} to leave out");
    std::fs::write(&place, config.to_string())?;
    container.run()?.refuses()?;
    Ok(())
}

/// Skips where this kernel has no file for the property: a runtime may say so, which proves nothing.
fn needs_files_for(case: &Case<'_>, gone: &str) -> Verdict {
    match gone.rsplitn(3, '/').nth(2) {
        Some("/linux/resources/blockIO/weightDevice") => needs_weights(case),
        Some("/linux/resources/hugepageLimits") => {
            let pages = ("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max");
            needs!(offers(case, pages)?, "huge pages of 2 MB");
            Ok(())
        }
        // Version 2 has them in no file: runtimes leave them to others or refuse them.
        Some("/linux/resources/network/priorities") => version("net_prio").map(drop),
        _ => Ok(()),
    }
}

/// Only some schedulers have weights, and only for the disks that they serve.
fn needs_weights(case: &Case<'_>) -> Verdict {
    let (major, minor) = a_disk(case)?.unwrap_or_default();
    let mut taken = false;
    for (v1, v2) in [
        ("blkio.bfq.weight_device", "io.bfq.weight"),
        ("blkio.weight_device", "io.weight"),
    ] {
        taken |= takes(case, ("blkio", v1, v2), &format!("{major}:{minor} 100"))?;
    }
    needs!(taken, "a disk with weights");
    Ok(())
}

/// The value with the numbers of a disk of this machine where it says 0:0.
fn of_a_disk(case: &Case<'_>, value: &Value) -> Verdict<Value> {
    let Some((major, minor)) = a_disk(case)? else {
        return Ok(value.clone());
    };
    let text = value.to_string();
    let text = text.replace(r#""major":0"#, &format!(r#""major":{major}"#));
    let text = text.replace(r#""minor":0"#, &format!(r#""minor":{minor}"#));
    Ok(serde_json::from_str(&text)?)
}

/// The numbers of a disk, if there is one.
fn a_disk(case: &Case<'_>) -> Verdict<Option<(String, String)>> {
    let numbers = case.sh("awk 'NR == 3 { print $1, $2 }' /proc/partitions")?;
    let numbers = numbers.split_once(' ');
    Ok(numbers.map(|(major, minor)| (major.into(), minor.into())))
}
