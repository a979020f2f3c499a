//! Facts about the machine without which a figure is worth nothing.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::plugins::REFERENCE;
use crate::setting::{Setting, installed};

/// Processors, memory, kernel, system, cgroups, versions of everybody.
pub fn facts(setting: &Setting) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = processors.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or("", |(_, value)| value.trim()).to_owned()
    };
    let is_virtual = field("flags").split(' ').any(|flag| flag == "hypervisor");
    json!({
        "processors": processors.lines().filter(|line| line.starts_with("processor")).count(),
        "model": field("model name"),
        "virtual": is_virtual,
        "memory_mib": memory(&read("/proc/meminfo")),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "system": system(&read("/etc/os-release")),
        "cgroups": cgroups(&read("/proc/self/mountinfo")),
        "versions": versions(setting),
    })
}

/// The load average: of one, five and fifteen minutes.
pub fn load() -> Vec<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let numbers = text.split(' ').map_while(|word| word.parse().ok());
    numbers.take(3).collect()
}

fn memory(meminfo: &str) -> u64 {
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) / 1024
}

fn system(os_release: &str) -> &str {
    let name = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or_default().trim_matches('"')
}

/// Which versions are mounted where the subjects look.
fn cgroups(mountinfo: &str) -> &'static str {
    let has = |kind: &str| {
        let mark = format!(" - {kind} ");
        mountinfo.lines().any(|line| line.contains(&mark))
    };
    match (has("cgroup"), has("cgroup2")) {
        (true, false) => "version 1",
        (false, true) => "version 2",
        (true, true) => "version 1 beside version 2",
        (false, false) => "none",
    }
}

fn versions(setting: &Setting) -> Value {
    let mut versions = Map::new();
    let davit = setting.ours.join("bin/davit");
    let peers = ["crun", "runc", "youki"].map(|name| (name, installed(name)));
    for (name, program) in [("davit", Some(davit))].into_iter().chain(peers) {
        if let Some(version) = program.and_then(|path| printed(&path, &["--version"])) {
            versions.insert(name.into(), version.into());
        }
    }
    let plugin = Path::new(REFERENCE).join("bridge");
    // A distribution's are built without their version; its packages have one, and in the private
    // host their files are what is left of them.
    let changes = "zcat /usr/share/doc/containernetworking-plugins/changelog*.gz 2>/dev/null \
                   | head -n 1 | cut -d';' -f1";
    let known = |version: &String| !version.contains("unknown");
    let version = printed(&plugin, &[]).filter(known);
    let version = version.or_else(|| printed(Path::new("sh"), &["-c", changes]));
    if let Some(version) = version {
        versions.insert("reference plugins".into(), version.into());
    }
    Value::Object(versions)
}

/// The first two lines that a program prints, the version and what it was built from, wherever it
/// prints them: plugins tell it on the standard error, when they are asked for nothing.
fn printed(program: &Path, args: &[&str]) -> Option<String> {
    let ended = Command::new(program).args(args).output().ok()?;
    let printed = [ended.stdout, ended.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    let lines: Vec<&str> = printed.lines().take(2).map(str::trim).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_told_by_what_is_mounted() {
        let v1 = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let v2 = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroups(v1), "version 1");
        assert_eq!(cgroups(v2), "version 2");
        assert_eq!(cgroups(&[v1, v2].concat()), "version 1 beside version 2");
    }

    #[test]
    fn memory_and_system_are_found_in_their_files() {
        assert_eq!(
            memory("MemTotal:       24117248 kB\nMemFree: 1 kB\n"),
            23552
        );
        assert_eq!(
            system("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"),
            "Debian GNU/Linux 12"
        );
        assert_eq!(load().len(), 3);
    }
}
