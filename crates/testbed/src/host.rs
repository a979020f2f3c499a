//! [`Host`]: private mount, network, IPC and PID namespaces that play the host in a test.
//!
//! `lo` is up, /run and /var/lib are empty, and no program inside can make a new top directory
//! of cgroups. The namespaces end with the value or with the test process, whichever goes first,
//! and the PID namespace takes everything with it that a broken program left running.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::{Error, Invocation, IoContext, Result, Snapshot};

/// Which cgroup hierarchies the host shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// As the machine has them.
    AsMounted,
    /// Without the v2 hierarchy beside v1, which crun refuses ("hybrid mode not supported").
    WithoutUnified,
}

/// A private host; dropping it ends everything inside.
#[derive(Debug)]
pub struct Host {
    unshare: Child,
    enter: Vec<String>,
}

/// What pid 1 of the host does. It ends when our end of its stdin closes, so even SIGKILL of the
/// test leaves nothing; `wait` reaps the orphans that a runtime leaves to it.
const SET_UP: &str = r#"
exec 3<&0
set -e
ip link set lo up
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p /run/netns /run/lock /run/user
case $(stat -f -c %T /sys/fs/cgroup) in
tmpfs) # The hierarchies below stay writable: this seals only the directory of mount points.
    mount -o remount,bind,ro /sys/fs/cgroup
    if [ "$1" = without-unified ] && mountpoint -q /sys/fs/cgroup/unified; then
        umount /sys/fs/cgroup/unified
        # crun makes directories at this place as if it were a hierarchy: they stay private.
        mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup/unified
    fi ;;
esac
echo ready
set +e
cat <&3 >/dev/null &
wait
"#;

impl Host {
    /// Makes a host. Needs root; see [`crate::requires::root`].
    pub fn start(cgroups: Cgroups) -> Result<Self> {
        let mut unshare = Command::new("unshare")
            .args([
                "-m",
                "-n",
                "-i",
                "-p",
                "--fork",
                "--mount-proc",
                "--propagation",
                "private",
            ])
            .args(["sh", "-c", SET_UP, "sh"])
            .arg(match cgroups {
                Cgroups::AsMounted => "as-mounted",
                Cgroups::WithoutUnified => "without-unified",
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .because(|| "spawn unshare".into())?;
        let mut line = String::new();
        if let Some(stdout) = unshare.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .because(|| "read from unshare".into())?;
        }
        if line.trim() != "ready" {
            let _ = unshare.wait();
            return Err(Error::Host(format!("set-up ended early (said {line:?})")));
        }
        let target = only_child(unshare.id())?;
        let enter = [
            "/usr/bin/nsenter",
            "-t",
            &target,
            "-m",
            "-n",
            "-i",
            "-p",
            "--wd=/",
            "--",
        ];
        Ok(Self {
            unshare,
            enter: enter.map(String::from).to_vec(),
        })
    }

    /// A command that will run inside this host.
    pub fn command<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Invocation {
        Invocation::new(argv).under(&self.enter)
    }

    /// Runs a line of shell inside this host; a status that is not 0 is an error.
    pub fn sh(&self, script: &str) -> Result<String> {
        let outcome = self.command(["sh", "-ec", script]).run()?;
        if !outcome.success() {
            return Err(Error::Host(outcome.to_string()));
        }
        Ok(outcome.text())
    }

    /// Makes a named network namespace and answers its path inside this host.
    pub fn netns(&self, name: &str) -> Result<String> {
        self.sh(&format!("ip netns add {name}"))?;
        Ok(format!("/run/netns/{name}"))
    }

    /// Runs a line of shell in a named network namespace of this host (and in its mounts: `ip
    /// netns exec` would remount /sys and hide the cgroups).
    pub fn sh_in(&self, netns: &str, script: &str) -> Result<String> {
        self.sh(&format!(
            "nsenter --net={netns} sh -ec {}",
            crate::invocation::quoted(script)
        ))
    }

    /// What the host carries now; see [`Snapshot`]. `cgroups` is how the test's own names start.
    pub fn snapshot(&self, cgroups: &str, directories: &[&str]) -> Result<Snapshot> {
        Snapshot::take(self, cgroups, directories)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Closing stdin ends pid 1, and with it the PID namespace.
        drop(self.unshare.stdin.take());
        let _ = self.unshare.wait();
    }
}

fn only_child(pid: u32) -> Result<String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&path).because(|| format!("read {path}"))?;
    children
        .split_whitespace()
        .next()
        .map(String::from)
        .ok_or_else(|| Error::Host("unshare has no child".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requires;

    #[test]
    fn a_host_sees_nothing_of_the_machine_and_leaves_nothing() {
        let Some(()) = requires::root() else { return };
        let host = Host::start(Cgroups::AsMounted).unwrap();
        assert_eq!(host.sh("ls /var/lib | wc -l").unwrap(), "0");
        assert_eq!(host.sh("ip -o link | wc -l").unwrap(), "1");
        host.sh("sleep 1000 & ip link add seen0 type bridge")
            .unwrap();
        let pid1 = host.enter[2].clone();
        drop(host);
        assert!(
            fs::read_link(format!("/proc/{pid1}/exe")).is_err(),
            "pid 1 is still there"
        );
        let links = Invocation::new(["ip", "-o", "link"]).run().unwrap();
        assert!(!links.text().contains("seen0"));
    }

    #[test]
    fn the_directory_of_cgroup_hierarchies_is_sealed_and_they_are_not() {
        let Some(()) = requires::root() else { return };
        let Some(()) = requires::cgroup_v1("pids") else {
            return;
        };
        let host = Host::start(Cgroups::WithoutUnified).unwrap();
        assert!(host.sh("mkdir /sys/fs/cgroup/stray").is_err());
        host.sh("d=/sys/fs/cgroup/pids/testbed-$$ && mkdir $d && rmdir $d")
            .unwrap();
        assert_eq!(host.sh("ls /sys/fs/cgroup/unified | wc -l").unwrap(), "0");
    }

    #[test]
    fn a_snapshot_shows_what_was_added() {
        let Some(()) = requires::root() else { return };
        let Some(()) = requires::program("nft") else {
            return;
        };
        let host = Host::start(Cgroups::AsMounted).unwrap();
        let before = host.snapshot("dvt-added", &["/var/lib"]).unwrap();
        assert!(
            before
                .difference(&host.snapshot("dvt-added", &["/var/lib"]).unwrap())
                .is_empty()
        );
        host.sh("ip link add left0 type bridge; nft add table ip left; touch /var/lib/left")
            .unwrap();
        let difference = before
            .difference(&host.snapshot("dvt-added", &["/var/lib"]).unwrap())
            .join("\n");
        for found in ["left0", "table ip left", "/var/lib/left"] {
            assert!(
                difference.contains(found),
                "{found} is missing in:\n{difference}"
            );
        }
    }

    #[test]
    fn a_snapshot_shows_a_cgroup_of_every_hierarchy() {
        let Some(()) = requires::root() else { return };
        let host = Host::start(Cgroups::AsMounted).unwrap();
        let before = host.snapshot("dvt-seen", &[]).unwrap();
        let groups: Vec<_> = crate::snapshot::hierarchies()
            .unwrap()
            .iter()
            .map(|place| place.join(format!("dvt-seen{}", std::process::id())))
            .collect();
        assert!(!groups.is_empty(), "no hierarchy is mounted");
        for group in &groups {
            fs::create_dir(group).unwrap();
        }
        let after = host.snapshot("dvt-seen", &[]);
        for group in &groups {
            fs::remove_dir(group).unwrap();
        }
        let lines = before.difference(&after.unwrap());
        for group in &groups {
            let line = format!("+ cgroups: {}", group.display());
            assert!(lines.contains(&line), "{line} is missing in {lines:?}");
        }
    }

    #[test]
    fn a_snapshot_shows_a_cgroup_of_a_v2_root() {
        let Some(()) = requires::root() else { return };
        let host = Host::start(Cgroups::AsMounted).unwrap();
        let name = format!("/sys/fs/cgroup/dvt-root{}", std::process::id());
        host.sh("mount -t cgroup2 none /sys/fs/cgroup").unwrap();
        let before = host.snapshot("dvt-root", &[]).unwrap();
        host.sh(&format!("mkdir {name}")).unwrap();
        let after = host.snapshot("dvt-root", &[]);
        host.sh(&format!("rmdir {name}")).unwrap();
        let lines = before.difference(&after.unwrap());
        assert_eq!(lines, [format!("+ cgroups: {name}")]);
    }

    #[test]
    fn a_snapshot_that_lacks_a_tool_is_an_error() {
        let Some(()) = requires::root() else { return };
        for tool in ["ip", "nft", "iptables-save", "ip6tables-save"] {
            let host = Host::start(Cgroups::AsMounted).unwrap();
            host.sh(&format!(
                "mount --bind /bin/false $(readlink -f $(command -v {tool}))"
            ))
            .unwrap();
            let error = host.snapshot("dvt-", &[]).unwrap_err().to_string();
            assert!(error.contains("snapshot: "), "{tool}: {error}");
        }
    }
}
