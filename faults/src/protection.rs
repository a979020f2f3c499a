//! What protects the host from a container's processes, as the kernel says it: read from outside,
//! compared with that of a run to which nothing was done.

use std::fs;
use std::path::Path;

use nix::unistd::Pid;
use serde_json::{Value, json};
use testbed::Config;

use crate::world::hierarchies;

/// How a container's first process is known, and one that is executed later.
pub(crate) const PROGRAM: [&str; 3] = ["/bin/busybox", "sleep", "1001"];
const SECOND_PROGRAM: [&str; 3] = ["/bin/busybox", "sleep", "1002"];

/// A configuration that asks for as much as this kernel has.
pub(crate) fn demanding(cgroup: &str) -> Config {
    let capabilities = ["CAP_KILL", "CAP_NET_BIND_SERVICE"];
    Config::new()
        .args(&PROGRAM)
        .set("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [7, 8], "umask": 0o77 }))
        .set(
            "/process/capabilities",
            json!({ "bounding": capabilities, "permitted": capabilities, "effective": capabilities,
                    "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"] }),
        )
        .push("/process/rlimits", json!({ "type": "RLIMIT_CORE", "hard": 0, "soft": 0 }))
        .set("/process/oomScoreAdj", 300)
        .set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 3 }))
        .set("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 }))
        .set("/root/readonly", true)
        .push("/linux/namespaces", json!({ "type": "cgroup" }))
        .set("/linux/cgroupsPath", cgroup)
        .set("/linux/sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "80" }))
        .set("/linux/resources/memory", json!({ "limit": 67_108_864_u64 }))
        .set("/linux/resources/pids", json!({ "limit": 50 }))
        .set("/linux/resources/cpu", json!({ "shares": 512, "quota": 50_000, "period": 100_000 }))
        .push("/linux/resources/devices", json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }))
        .push("/linux/devices", json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600 }))
        .set(
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                { "names": ["mount", "umount2", "bpf", "kexec_load"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }] }),
        )
}

/// The same process with another name, for exec.
pub(crate) fn second_process(config: &Config) -> String {
    let mut process: Value = config.value()["process"].clone();
    process["args"] = json!(SECOND_PROGRAM);
    process.to_string()
}

/// The entry of what holds for all of them together.
pub(crate) const LIMITS_OF_ALL: &str = "cgroups";

/// What protects the host from each of a container's programs that runs now: (command line, facts).
pub(crate) fn of_all(cgroup: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for pid in crate::leftovers::processes() {
        let executed = || fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        let program = executed();
        if !program.ends_with("bin/busybox") {
            continue;
        }
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let facts = facts(pid);
        // One that went while it was looked at has nothing to say: it loses its memory, then its cgroups,
        // and then is a number for a while.
        if executed() == program {
            found.push((line.replace('\0', " ").trim_end().to_owned(), facts));
        }
    }
    if !found.is_empty() {
        found.push((LIMITS_OF_ALL.to_owned(), limits_of(cgroup)));
    }
    found
}

const STATUS: [&str; 14] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Seccomp_filters",
    "Cpus_allowed",
    "Mems_allowed",
];

fn facts(pid: Pid) -> Vec<String> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let mut facts = Vec::new();
    for line in read("status").lines() {
        if line
            .split(':')
            .next()
            .is_some_and(|name| STATUS.contains(&name))
        {
            facts.push(line.replace('\t', " "));
        }
    }
    facts.extend(read("limits").lines().map(|line| format!("limits: {line}")));
    facts.push(format!("oom_score_adj: {}", read("oom_score_adj").trim()));
    facts.extend(
        read("mountinfo")
            .lines()
            .map(|line| format!("mount: {}", without_numbers(line))),
    );
    facts.extend(
        read("cgroup")
            .lines()
            .map(|line| format!("cgroup: {}", line.split_once(':').map_or(line, |l| l.1))),
    );
    // HOME is `/` where the container's own passwd file cannot be read: that is nobody's protection.
    facts.extend(
        read("environ")
            .split_terminator('\0')
            .filter(|line| !line.starts_with("HOME="))
            .map(|line| format!("environment: {line}")),
    );
    // Fields 18, 19, 40, 41 of proc_pid_stat(5): priority, nice, real-time priority, policy.
    let stat = read("stat");
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    facts.push(format!(
        "scheduler: {} {} {}",
        field(19),
        field(40),
        field(41)
    ));
    for name in ["pid", "net", "ipc", "uts", "mnt", "cgroup", "user"] {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{name}")).ok();
        let whose = if of(&pid.to_string()) == of("self") {
            "the host's"
        } else {
            "its own"
        };
        facts.push(format!("namespace: {name} {whose}"));
    }
    for (name, target) in descriptors(pid) {
        facts.push(format!("descriptor: {name} {target}"));
    }
    facts.push(format!(
        "cwd: {}",
        fs::read_link(format!("/proc/{pid}/cwd"))
            .unwrap_or_default()
            .display()
    ));
    facts
}

/// mountinfo(5) without mount ids and devices, and without what the kernel counts in options.
fn without_numbers(line: &str) -> String {
    let mut fields = line.split(' ').skip(3);
    let shown: Vec<&str> = fields.by_ref().collect();
    shown.join(" ")
}

fn descriptors(pid: Pid) -> Vec<(String, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<(String, String)> = entries
        .map(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            (
                entry.file_name().to_string_lossy().into_owned(),
                target.display().to_string(),
            )
        })
        .collect();
    found.sort();
    found
}

const LIMITS: [&str; 12] = [
    "memory.limit_in_bytes",
    "pids.max",
    "cpu.shares",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
    "devices.list",
    "memory.max",
    "cpu.max",
    "cpu.weight",
    "freezer.state",
    "cgroup.freeze",
    "blkio.weight",
];

/// The limits of the container's cgroups.
pub(crate) fn limits_of(cgroup: &str) -> Vec<String> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        for name in LIMITS {
            let path = hierarchy.join(cgroup).join(crate::world::ID).join(name);
            if let Ok(text) = fs::read_to_string(&path) {
                let name = path
                    .strip_prefix("/sys/fs/cgroup")
                    .unwrap_or(Path::new(name));
                found.push(format!(
                    "{}: {}",
                    name.display(),
                    text.trim().replace('\n', ", ")
                ));
            }
        }
    }
    found
}

/// What is different of `now`, one line for each.
pub(crate) fn difference(before: &[String], now: &[String]) -> Vec<String> {
    let gone = before
        .iter()
        .filter(|line| !now.contains(line))
        .map(|line| format!("- {line}"));
    let new = now
        .iter()
        .filter(|line| !before.contains(line))
        .map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}
