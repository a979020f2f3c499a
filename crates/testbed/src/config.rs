//! [`Config`]: config.json as a value, starting from what `runc spec` would write.
//!
//! Edits go by JSON pointer, so that a test shows exactly which property it is about. Nothing is
//! checked: half of the tests want a configuration that is wrong.

use std::fmt;

use serde_json::{Value, json};

/// A config.json under construction.
#[derive(Clone, Debug)]
pub struct Config(Value);

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

impl Config {
    /// The usual defaults, no terminal, `/bin/true` as the program.
    pub fn new() -> Self {
        Self(json!({
            "ociVersion": "1.0.2",
            "process": {
                "terminal": false,
                "user": { "uid": 0, "gid": 0 },
                "args": ["/bin/true"],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "capabilities": capabilities(&["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]),
                "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
                "noNewPrivileges": true
            },
            "root": { "path": "rootfs", "readonly": false },
            "hostname": "box",
            "mounts": default_mounts(),
            "linux": {
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
                "namespaces": [
                    { "type": "pid" }, { "type": "network" }, { "type": "ipc" },
                    { "type": "uts" }, { "type": "mount" }
                ],
                "maskedPaths": [
                    "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                    "/proc/timer_list", "/proc/sched_debug", "/sys/firmware"
                ],
                "readonlyPaths": [
                    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"
                ]
            }
        }))
    }

    /// The program and its arguments.
    #[must_use]
    pub fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", json!(args))
    }

    /// A line for the container's shell as the program.
    #[must_use]
    pub fn sh(self, script: &str) -> Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Sets the property at a JSON pointer, making the objects on the way.
    #[must_use]
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *self.at(pointer) = value.into();
        self
    }

    /// Appends to the list at a JSON pointer, making it if need be.
    #[must_use]
    pub fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let list = self.at(pointer);
        match list.as_array_mut() {
            Some(list) => list.push(value.into()),
            None => *list = json!([value.into()]),
        }
        self
    }

    /// Keeps only those entries of the list at a JSON pointer that `keep` wants.
    #[must_use]
    pub fn retain(mut self, pointer: &str, keep: impl Fn(&Value) -> bool) -> Self {
        if let Some(list) = self.at(pointer).as_array_mut() {
            list.retain(|entry| keep(entry));
        }
        self
    }

    /// Leaves out the namespace of a kind, so that the container shares the host's.
    #[must_use]
    pub fn share(self, kind: &str) -> Self {
        self.retain("/linux/namespaces", |namespace| namespace["type"] != kind)
    }

    /// Appends a mount.
    #[must_use]
    pub fn mount(self, destination: &str, kind: &str, source: &str, options: &[&str]) -> Self {
        self.push(
            "/mounts",
            json!({ "destination": destination, "type": kind, "source": source, "options": options }),
        )
    }

    /// Appends a hook that runs a line of shell on the host (or wherever its kind says), and reads
    /// its state to the end ([`draining`]).
    #[must_use]
    pub fn hook(self, kind: &str, script: &str) -> Self {
        self.hook_with(
            kind,
            json!({ "path": "/bin/sh", "args": ["sh", "-c", draining(script)] }),
        )
    }

    /// Appends a hook as it stands.
    #[must_use]
    pub fn hook_with(self, kind: &str, hook: Value) -> Self {
        self.push(&format!("/hooks/{kind}"), hook)
    }

    /// The whole value, for what no method says.
    pub fn value(&self) -> &Value {
        &self.0
    }

    fn at(&mut self, pointer: &str) -> &mut Value {
        pointer
            .split('/')
            .skip(1)
            .fold(&mut self.0, |value, key| match value {
                Value::Array(list) => {
                    // A test's own pointer: a wrong index is a mistake of the test and must be seen.
                    let index: usize = key.parse().unwrap_or(usize::MAX);
                    &mut list[index]
                }
                other => {
                    if !other.is_object() {
                        *other = json!({});
                    }
                    &mut other[key]
                }
            })
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

/// `script` as a hook that ends only after it has read what is left of its state.
///
/// A runtime that still writes to a hook which has ended gets EPIPE, or SIGPIPE: a race that is
/// the subject of one row and would otherwise decide all the others.
pub fn draining(script: &str) -> String {
    format!("trap 'code=$?; cat >/dev/null 2>&1; exit $code' EXIT; {script}")
}

/// The same capabilities in the three sets that `runc spec` fills.
pub fn capabilities(names: &[&str]) -> Value {
    json!({ "bounding": names, "effective": names, "permitted": names })
}

fn default_mounts() -> Value {
    let mount = |destination, kind, source, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    json!([
        mount("/proc", "proc", "proc", &[]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"]
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5"
            ]
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]
        ),
        mount(
            "/dev/mqueue",
            "mqueue",
            "mqueue",
            &["nosuid", "noexec", "nodev"]
        ),
        mount(
            "/sys",
            "sysfs",
            "sysfs",
            &["nosuid", "noexec", "nodev", "ro"]
        ),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"]
        ),
    ])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_draining_hook_reads_everything_and_keeps_its_status() {
        let big = vec![b'x'; 1 << 20];
        for (script, status) in [("true", 0), ("exit 9", 9), ("/bin/false", 1)] {
            let mut hook = Command::new("/bin/sh")
                .args(["-c", &draining(script)])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let written = hook.stdin.take().unwrap().write_all(&big);
            assert!(written.is_ok(), "{script}: {written:?}");
            assert_eq!(hook.wait().unwrap().code(), Some(status), "{script}");
        }
    }

    #[test]
    fn an_edit_makes_the_objects_on_its_way() {
        let config = Config::new()
            .set("/linux/resources/pids/limit", 7)
            .share("network");
        assert_eq!(config.value()["linux"]["resources"]["pids"]["limit"], 7);
        let namespaces = config.value()["linux"]["namespaces"].as_array().unwrap();
        assert!(
            namespaces
                .iter()
                .all(|namespace| namespace["type"] != "network")
        );
        let hooked = config.hook("prestart", "true").hook("prestart", "false");
        assert_eq!(
            hooked.value()["hooks"]["prestart"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
    }
}
