//! Whether this process may give a container a network at all, told before anything happens.
//!
//! Rights over the host's network namespace come from root of the host, or from a user namespace
//! that owns that network namespace, as rootless tools make one. There, ports cannot be
//! published: that needs a process outside, a port driver, which davit-cni has none of.

use std::fs::OpenOptions;

use anyhow::{Context, bail, ensure};

use crate::annotations::PORTS;

/// Linux's number of it (capabilities(7)).
const CAP_NET_ADMIN: u32 = 12;

/// Refuses what cannot succeed; `publishes` tells whether ports are wanted.
pub fn refuse_rootless(publishes: bool) -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let ids = std::fs::read_to_string("/proc/self/uid_map").context("read /proc/self/uid_map")?;
    Rights {
        has_net_admin: has_net_admin(&status),
        is_initial: is_initial(&ids),
        owns_network,
    }
    .judge(publishes)
}

struct Rights {
    has_net_admin: bool,
    is_initial: bool,
    owns_network: fn() -> bool,
}

impl Rights {
    fn judge(&self, publishes: bool) -> anyhow::Result<()> {
        ensure!(
            self.has_net_admin,
            "rootless: no CAP_NET_ADMIN over the network namespace: run the runtime as root, or \
             inside a user namespace with a network namespace of its own (unshare -Urn, rootlesskit)"
        );
        if self.is_initial {
            return Ok(());
        }
        ensure!(
            (self.owns_network)(),
            "rootless: no CAP_NET_ADMIN over the network namespace, which belongs to another user \
             namespace: make one inside (unshare -n, rootlesskit --net)"
        );
        if publishes {
            bail!(
                "rootless: annotation {PORTS}: no port driver: ports published inside a user \
                 namespace do not reach the host"
            );
        }
        Ok(())
    }
}

/// Of `/proc/self/status`.
fn has_net_admin(status: &str) -> bool {
    let mut lines = status.lines();
    let effective = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> CAP_NET_ADMIN & 1 == 1)
}

/// Whether a `uid_map` is that of the initial user namespace: everybody is himself.
fn is_initial(uid_map: &str) -> bool {
    let words: Vec<&str> = uid_map.split_whitespace().collect();
    words == ["0", "0", "4294967295"]
}

/// The kernel lets a setting of the network be opened for writing by who rules over it.
fn owns_network() -> bool {
    let setting = "/proc/sys/net/ipv4/ip_forward";
    OpenOptions::new().write(true).open(setting).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        has_net_admin: bool,
        is_initial: bool,
        owns_network: fn() -> bool,
        publishes: bool,
    ) -> Option<String> {
        let rights = Rights {
            has_net_admin,
            is_initial,
            owns_network,
        };
        rights.judge(publishes).err().map(|error| error.to_string())
    }

    #[test]
    fn a_refusal_names_what_is_missing() {
        assert_eq!(judged(true, true, || panic!("not asked"), true), None);
        assert_eq!(judged(true, false, || true, false), None);
        for (refused, part) in [
            (
                judged(false, true, || true, false),
                "no CAP_NET_ADMIN over the network namespace: run",
            ),
            (
                judged(false, false, || true, false),
                "no CAP_NET_ADMIN over the network namespace: run",
            ),
            (
                judged(true, false, || false, false),
                "belongs to another user namespace",
            ),
            (
                judged(true, false, || true, true),
                "org.davit.ports: no port driver",
            ),
        ] {
            let text = refused.unwrap();
            assert!(
                text.starts_with("rootless: ") && text.contains(part),
                "{text}"
            );
        }
    }

    #[test]
    fn rights_are_read_from_proc() {
        assert!(has_net_admin("Name:\tx\nCapEff:\t0000000000001000\n"));
        assert!(!has_net_admin("Name:\tx\nCapEff:\t0000000000000fff\n"));
        assert!(!has_net_admin(""));
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n"));
        assert!(!is_initial("0 0 1\n1 1 4294967294\n"));
    }
}
