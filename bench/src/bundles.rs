//! What runs: one rootfs for all, the default configuration, and one as Docker's are.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testbed::Config;

/// One system call per line. Ours: the calls that this kernel's headers name without those that
/// reach beyond a container.
const CALLS: &str = include_str!("bundles/calls.txt");
/// Masked beside Docker's own, half of them files: on large machines Docker masks some directories
/// for each processor.
const MASKED: usize = 48;

/// A rootfs of busybox.
#[derive(Debug)]
pub struct Rootfs {
    root: PathBuf,
}

impl Rootfs {
    /// Makes it below `place`, with everything that configurations mount on or mask.
    pub fn new(place: &Path) -> Result<Self, String> {
        let root = place.join("rootfs");
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", root.display());
        let busybox = testbed::Rootfs::prepare(place).map_err(|error| failed(&error))?;
        busybox.unpack(&root).map_err(|error| failed(&error))?;
        let files = ["resolv.conf", "hostname", "hosts"].map(|name| root.join("etc").join(name));
        let masked = (0..MASKED).map(|number| root.join(&masked(number)[1..]));
        for (number, path) in masked.enumerate() {
            let directory = if is_file(number) {
                path.parent()
            } else {
                Some(path.as_path())
            };
            std::fs::create_dir_all(directory.unwrap_or(&path)).map_err(|error| failed(&error))?;
            if is_file(number) {
                std::fs::write(&path, "secret\n").map_err(|error| failed(&error))?;
            }
        }
        for file in files {
            std::fs::write(file, "").map_err(|error| failed(&error))?;
        }
        for volume in ["data", "logs"] {
            std::fs::create_dir_all(root.join(volume)).map_err(|error| failed(&error))?;
        }
        Ok(Self { root })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a bundle of this configuration.
    pub fn bundle(&self, directory: &Path, config: Config) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        let config = config.set("/root/path", self.root.to_string_lossy().into_owned());
        std::fs::create_dir_all(directory).map_err(failed)?;
        std::fs::write(directory.join("config.json"), config.to_string()).map_err(failed)
    }
}

/// What `runc spec` writes, with /bin/true.
pub fn default() -> Config {
    Config::new()
}

/// The same, asleep.
pub fn asleep() -> Config {
    Config::new().args(&["sleep", "100000"])
}

/// The same with the filter alone.
pub fn with_seccomp() -> Config {
    Config::new().set("/linux/seccomp", seccomp())
}

/// As large as Docker's: 60 masked paths of which most exist, 12 mounts, a filter of 350 rules.
pub fn docker_sized(place: &Path) -> Result<Config, String> {
    let own = place.join("docker");
    let failed = |error: std::io::Error| format!("{}: {error}", own.display());
    for volume in ["data", "logs"] {
        std::fs::create_dir_all(own.join(volume)).map_err(failed)?;
    }
    let source = |name: &str| own.join(name).to_string_lossy().into_owned();
    let mut config = with_seccomp();
    for name in ["resolv.conf", "hostname", "hosts"] {
        std::fs::write(own.join(name), "from the host\n").map_err(failed)?;
        let at = format!("/etc/{name}");
        config = config.mount(&at, "bind", &source(name), &["rbind", "rprivate"]);
    }
    config = config.mount(
        "/data",
        "bind",
        &source("data"),
        &["rbind", "rprivate", "rw"],
    );
    config = config.mount(
        "/logs",
        "bind",
        &source("logs"),
        &["rbind", "rprivate", "ro"],
    );
    Ok(config.set("/linux/maskedPaths", masked_paths()))
}

/// Docker's own dozen, then ours.
fn masked_paths() -> Vec<String> {
    let docker = [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ];
    let ours = (0..MASKED).map(masked);
    docker.map(String::from).into_iter().chain(ours).collect()
}

fn masked(number: usize) -> String {
    format!("/etc/masked/path{number}")
}

fn is_file(number: usize) -> bool {
    number.is_multiple_of(2)
}

/// In the shape of Docker's: everything is refused but a long list of calls, some only with
/// certain arguments, and clone3, which is to look as if it did not exist.
fn seccomp() -> Value {
    let names: Vec<&str> = CALLS.lines().collect();
    let allowed = |name: &str, value: u64| {
        json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [
            { "index": 0, "value": value, "op": "SCMP_CMP_EQ" }
        ] })
    };
    let mut rules = vec![json!({ "names": names, "action": "SCMP_ACT_ALLOW" })];
    rules.extend([0, 8, 0x20000, 0x20008].map(|value| allowed("personality", value)));
    rules.push(
        json!({ "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [
        { "index": 0, "value": 0x7E02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }
    ] }),
    );
    rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }));
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(config: &Config, pointer: &str) -> usize {
        let list = config.value().pointer(pointer).and_then(Value::as_array);
        list.map_or(0, Vec::len)
    }

    #[test]
    fn the_large_bundle_is_as_large_as_the_issue_says() {
        let place = tempfile::tempdir().unwrap();
        let config = docker_sized(place.path()).unwrap();
        assert_eq!(count(&config, "/mounts"), 12);
        assert_eq!(count(&config, "/linux/maskedPaths"), 60);
        let rules = config.value()["linux"]["seccomp"]["syscalls"].as_array();
        let names = rules
            .unwrap()
            .iter()
            .map(|rule| rule["names"].as_array().unwrap().len());
        assert_eq!(names.sum::<usize>(), 350);
    }

    #[test]
    fn most_of_what_is_masked_exists() {
        let place = tempfile::tempdir().unwrap();
        let root = Rootfs::new(place.path()).unwrap();
        let there = (0..MASKED).filter(|number| {
            let path = root.root().join(&masked(*number)[1..]);
            path.metadata()
                .is_ok_and(|path| path.is_file() == is_file(*number))
        });
        assert_eq!(there.count(), MASKED);
    }

    #[test]
    fn a_program_can_start_under_the_filter() {
        for call in [
            "execve",
            "mmap",
            "exit_group",
            "arch_prctl",
            "brk",
            "nanosleep",
        ] {
            assert!(CALLS.lines().any(|line| line == call), "{call}");
        }
    }
}
