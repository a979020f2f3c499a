//! A host and its containers as network namespaces that live as long as the test.
//!
//! Plugins run as the runtime runs them: as processes, inside the host's namespace. The machine's
//! own namespace is never touched. Addresses come from a stand-in for an IPAM plugin, a script
//! that answers with what the test wrote for the container and notes how it was called.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use sys::NetNs;
use tempfile::TempDir;

/// A host: an empty network namespace with `lo` up, and a directory for what plugins need.
pub struct Host {
    netns: NetNs,
    dir: TempDir,
}

/// A container: an id and an empty network namespace.
pub struct Container {
    /// Its id.
    pub id: String,
    netns: NetNs,
}

/// How a plugin answered.
#[derive(Debug)]
pub struct Answer {
    /// Exit status 0.
    pub success: bool,
    /// Standard output; null when empty. Anything but one JSON document fails the test.
    pub json: Value,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// The error code of a failure.
    pub fn code(&self) -> u64 {
        assert!(!self.success, "{self:?}");
        self.json["code"]
            .as_u64()
            .unwrap_or_else(|| panic!("no code in {self:?}"))
    }

    /// The result of a success.
    pub fn result(self) -> Value {
        assert!(self.success, "{self:?}");
        self.json
    }
}

impl Host {
    /// A new host; `None`, said aloud, where namespaces cannot be made.
    pub fn new() -> Option<Self> {
        let Ok(netns) = NetNs::new() else {
            crate::requires::skipped("no right to unshare(NEWNET)");
            return None;
        };
        let host = Self {
            netns,
            dir: tempfile::tempdir().expect("a temporary directory"),
        };
        let ipam = host.dir.path().join("ipam");
        let dir = host.dir.path().display();
        let script = format!(
            "#!/bin/sh\necho $CNI_COMMAND $CNI_CONTAINERID >> {dir}/calls\n\
             [ $CNI_COMMAND = ADD ] || exit 0\ncat {dir}/$CNI_CONTAINERID.json\n"
        );
        write(&ipam, &script);
        fs::set_permissions(&ipam, fs::Permissions::from_mode(0o755)).expect("chmod");
        host.sh("ip link set lo up");
        Some(host)
    }

    /// Whether all of these programs are installed; says aloud which is not.
    pub fn has(&self, programs: &[&str]) -> bool {
        let missing = programs.iter().find(|program| {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {program}")])
                .output();
            !found.is_ok_and(|output| output.status.success())
        });
        if let Some(program) = missing {
            crate::requires::skipped(&format!("{program} is not installed"));
        }
        missing.is_none()
    }

    /// A new container, to which the IPAM stand-in gives these addresses and routes.
    pub fn container(&self, id: &str, ipam: &Value) -> Container {
        write(
            &self.dir.path().join(format!("{id}.json")),
            &ipam.to_string(),
        );
        Container {
            id: id.into(),
            netns: NetNs::new().expect("a namespace, as before"),
        }
    }

    /// What the IPAM stand-in was asked: `ADD c1` and so on.
    pub fn ipam_calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Runs a shell script in the host's namespace; its output. A failure fails the test.
    pub fn sh(&self, script: &str) -> String {
        shell(&self.netns, script)
    }

    /// Runs `plugin` for `container` with `CNI_IFNAME=eth0`.
    pub fn run(
        &self,
        plugin: &str,
        command: &str,
        container: &Container,
        config: &Value,
    ) -> Answer {
        self.run_at(plugin, command, (&container.id, &container.path()), config)
    }

    /// As [`Host::run`], with container id and namespace path as given.
    pub fn run_at(
        &self,
        plugin: &str,
        command: &str,
        (id, netns): (&str, &str),
        config: &Value,
    ) -> Answer {
        let mut child = Command::new(plugin);
        child
            .env_clear()
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", self.dir.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let input = config.to_string();
        let output = self.netns.run(|| -> sys::Result<_> {
            let mut child = child.spawn().expect("the plugin starts");
            let mut stdin = child.stdin.take().expect("piped above");
            // A plugin may refuse before it reads.
            let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
            drop(stdin);
            Ok(child.wait_with_output().expect("the plugin ends"))
        });
        let output = output.expect("the host's namespace can be entered");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let json = match stdout.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|e| panic!("{e} in {text:?}")),
        };
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Answer {
            success: output.status.success(),
            json,
            stderr,
        }
    }

    /// Everything that must be as before when all containers are gone: links but `lo`, rules.
    pub fn trace(&self) -> String {
        self.sh(
            "ip -o link | grep -v ': lo:' | grep -v -w bridge | cut -d: -f2 || true
                 nft list ruleset | grep -w -e comment -e CNI || true
                 iptables-save -t nat 2>/dev/null | grep CNI || true
                 ip6tables-save -t nat 2>/dev/null | grep CNI || true",
        )
    }
}

impl Container {
    /// A path that leads to its namespace as long as the test runs.
    pub fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.netns.as_fd().as_raw_fd()
        )
    }

    /// Runs a shell script in the container's namespace; its output.
    pub fn sh(&self, script: &str) -> String {
        shell(&self.netns, script)
    }

    /// Runs `body` in the container's namespace.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.netns
            .run(|| Ok::<T, sys::SyscallError>(body()))
            .expect("the namespace can be entered")
    }
}

impl Host {
    /// Runs `body` in the host's namespace.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.netns
            .run(|| Ok::<T, sys::SyscallError>(body()))
            .expect("the namespace can be entered")
    }

    /// A path that leads to its namespace as long as the test runs.
    pub fn path(&self) -> String {
        format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.netns.as_fd().as_raw_fd()
        )
    }
}

/// An IPAM answer with these addresses.
pub fn addresses(nets: &[&str]) -> Value {
    let ips: Vec<_> = nets.iter().map(|net| json!({"address": net})).collect();
    json!({"cniVersion": "1.0.0", "ips": ips})
}

/// `config` with these keys changed or added.
pub fn with(config: &Value, keys: Value) -> Value {
    let mut changed = config.clone();
    if let (Some(object), Value::Object(keys)) = (changed.as_object_mut(), keys) {
        object.extend(keys);
    }
    changed
}

#[allow(
    clippy::disallowed_methods,
    reason = "a file of the test's own directory"
)]
fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("the temporary directory can be written");
}

fn shell(netns: &NetNs, script: &str) -> String {
    let output = netns.run(|| -> sys::Result<_> {
        Ok(Command::new("sh")
            .args(["-ec", script])
            .output()
            .expect("sh starts"))
    });
    let output = output.expect("the namespace can be entered");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
