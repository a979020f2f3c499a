//! What attachments have, written down before it is made:
//! ```text
//! /run/davit-cni/firewall/
//!   attachments/TOKEN     what it has, as JSON
//!   addresses/IP          the TOKEN that has rules for the address: the newest
//!   bridges/NAME/TOKEN    who wants the bridge's ingress policy, and which
//! ```
//! Rules of the iptables back end look like the reference's, so that either can remove them; they
//! cannot say whose they are, and an address may have been given to another container before a
//! late DEL comes. Nothing here outlives a boot, as no rule does. Nobody waits for anybody: each
//! file has one writer, and `rmdir` of a bridge's directory tells who was the last.

use std::fmt;
use std::net::IpAddr;

use owner::{Owner, Stamp};
use serde::{Deserialize, Serialize};
use sys::{Dir, Errno, Result};

const PLACE: &str = "/run/davit-cni/firewall";
const MODE: u32 = 0o755;
/// A record with hundreds of addresses.
const LONGEST: u64 = 1 << 20;

/// Who may start to talk to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// Containers of the same bridge, and who is on none.
    SameBridge,
    /// Only who is on no such bridge.
    Isolated,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameBridge => "same-bridge",
            Self::Isolated => "isolated",
        })
    }
}

/// What an attachment has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) network: String,
    pub(crate) container: String,
    pub(crate) ifname: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// The zone that has the addresses, with the back end firewalld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    /// The bridge with an ingress policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bridge: Option<String>,
    /// Whether rules are made by the host's iptables programs.
    pub(crate) iptables: bool,
}

impl Record {
    pub(crate) fn owner(&self) -> Owner {
        Owner::new(&*self.network, &*self.container, &*self.ifname)
    }
}

/// A file that should be a record.
pub(crate) struct Found {
    pub(crate) path: String,
    /// None: it says nothing.
    pub(crate) record: Result<Option<Record>>,
}

/// The directories.
pub(crate) struct Records {
    attachments: Dir,
    addresses: Dir,
    bridges: Dir,
}

impl Records {
    /// Opens them, making them if need be.
    pub(crate) fn open() -> Result<Self> {
        again(|| {
            Ok(Self {
                attachments: made("attachments")?,
                addresses: made("addresses")?,
                bridges: made("bridges")?,
            })
        })
    }

    /// Notes what is about to be made.
    pub(crate) fn note(record: &Record, policy: Option<Policy>) -> Result<()> {
        again(|| Self::open()?.write(record, policy))
    }

    /// Removes the directories if nobody is attached any more.
    pub(crate) fn tidy() {
        // What is used refuses, and who has just opened what is removed makes it again. What is not
        // there was removed by somebody who was killed at the next line.
        if let Ok(dir) = Dir::open(PLACE) {
            if tolerate(dir.remove_dir("attachments")).is_err() {
                return;
            }
            for name in ["addresses", "bridges"] {
                // A killed ADD may have left a file on its way.
                if let Err(error) = dir.remove_dir(name)
                    && error.errno() == Errno::ENOTEMPTY
                    && let Ok(inside) = dir.open_dir(name)
                {
                    let _ = inside.remove_abandoned();
                    let _ = dir.remove_dir(name);
                }
            }
        }
        for (place, name) in [("/run/davit-cni", "firewall"), ("/run", "davit-cni")] {
            let _ = Dir::open(place).and_then(|dir| dir.remove_dir(name));
        }
    }

    /// Opens them for a verb that only takes away: without them there is nothing on record.
    pub(crate) fn find() -> Result<Option<Self>> {
        match Dir::open(format!("{PLACE}/attachments")) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Self::open().map(Some),
        }
    }

    fn write(&self, record: &Record, policy: Option<Policy>) -> Result<()> {
        let token = record.owner().token();
        let text = serde_json::to_vec(record).unwrap_or_default(); // text keys and plain values
        self.attachments.replace_volatile(&token, &text, 0o600)?;
        for ip in &record.addresses {
            let name = ip.to_string();
            self.addresses
                .replace_volatile(name, token.as_bytes(), 0o600)?;
        }
        match (&record.bridge, policy) {
            (Some(bridge), Some(policy)) => self.join(bridge, &token, policy),
            _ => Ok(()),
        }
    }

    /// The last of a bridge may remove its directory under our hands.
    fn join(&self, bridge: &str, token: &str, policy: Policy) -> Result<()> {
        again(|| {
            match self.bridges.create_dir(bridge, MODE) {
                Err(error) if error.errno() != Errno::EEXIST => return Err(error),
                _ => {}
            }
            let dir = self.bridges.open_dir(bridge)?;
            dir.replace_volatile(token, policy.to_string().as_bytes(), 0o600)
        })
    }

    /// What is on record for an owner.
    pub(crate) fn read(&self, owner: &Owner) -> Result<Option<Record>> {
        self.read_token(&owner.token())
    }

    fn read_token(&self, token: &str) -> Result<Option<Record>> {
        Ok(self.text(token)?.and_then(|text| parsed(&text)))
    }

    fn text(&self, token: &str) -> Result<Option<Vec<u8>>> {
        match self.attachments.read(token, LONGEST) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            text => text.map(Some),
        }
    }

    /// Whether there is a record, or its writer is at it; also when that cannot be told.
    pub(crate) fn has(&self, token: &str) -> bool {
        !matches!(self.attachments.stat(token), Err(error) if error.errno() == Errno::ENOENT)
    }

    /// Whether somebody else has rules for an address.
    pub(crate) fn is_of_another(&self, ip: IpAddr, token: &str) -> bool {
        let holder = self.addresses.read(ip.to_string(), LONGEST);
        holder.is_ok_and(|holder| holder != token.as_bytes())
    }

    /// The records of a network that `is_valid` does not know, by their tokens.
    pub(crate) fn stale(
        &self,
        network: &str,
        is_valid: impl Fn(&str) -> bool,
    ) -> Result<Vec<Found>> {
        let names = self.attachments.names()?;
        let tokens = names.iter().filter_map(|name| name.to_str());
        let stale = tokens.filter(|token| {
            let stamp = Stamp {
                token: (*token).to_owned(),
                container: String::new(),
            };
            stamp.is_of_network(network) && !is_valid(token)
        });
        let found = |token: &str| {
            // Somebody else may have released it meanwhile.
            let text = self.text(token).transpose()?;
            Some(Found {
                path: format!("{PLACE}/attachments/{token}"),
                record: text.map(|text| parsed(&text)),
            })
        };
        Ok(stale.filter_map(found).collect())
    }

    /// Removes files that killed writers have left. One in a bridge's directory would be somebody
    /// who wants its policy for ever.
    pub(crate) fn sweep(&self) -> Result<()> {
        self.attachments.remove_abandoned()?;
        self.addresses.remove_abandoned()?;
        for bridge in self.bridges.names()? {
            match self.bridges.open_dir(&bridge) {
                // Its last has just left.
                Err(error) if error.errno() == Errno::ENOENT => {}
                dir => dir?.remove_abandoned()?,
            }
        }
        Ok(())
    }

    /// Leaves a bridge; true when nobody else is there. Without a directory there is nobody
    /// either: an earlier DEL left, and failed before the bridge's rules were gone.
    pub(crate) fn leave(&self, bridge: &str, token: &str) -> Result<bool> {
        let dir = match self.bridges.open_dir(bridge) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(true),
            dir => dir?,
        };
        tolerate(dir.remove(token))?;
        match tolerate(self.bridges.remove_dir(bridge)) {
            Err(error) if error.errno() == Errno::ENOTEMPTY => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    /// The policy that somebody wants of a bridge now.
    pub(crate) fn policy_of(&self, bridge: &str) -> Option<Policy> {
        let dir = self.bridges.open_dir(bridge).ok()?;
        // The newest: who attaches with another policy changes the bridge's.
        let age = |name: &std::ffi::OsString| {
            let stat = dir.stat(name).ok();
            stat.map(|stat| (stat.st_mtime, stat.st_mtime_nsec))
        };
        let names = dir.names().ok()?;
        let text = dir
            .read(names.iter().max_by_key(|name| age(name))?, LONGEST)
            .ok()?;
        match text.as_slice() {
            b"isolated" => Some(Policy::Isolated),
            _ => Some(Policy::SameBridge),
        }
    }

    /// Forgets an attachment.
    pub(crate) fn forget(&self, record: &Record) -> Result<()> {
        let token = record.owner().token();
        for ip in &record.addresses {
            if !self.is_of_another(*ip, &token) {
                tolerate(self.addresses.remove(ip.to_string()))?;
            }
        }
        tolerate(self.attachments.remove(token))
    }
}

/// What a full disk or a stranger left says nothing.
fn parsed(text: &[u8]) -> Option<Record> {
    serde_json::from_slice(text).ok()
}

fn made(name: &str) -> Result<Dir> {
    Dir::open_or_create(format!("{PLACE}/{name}"), MODE)
}

/// The last to leave may remove a directory that we have just opened.
fn again<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    const TRIES: u32 = 100;
    for _ in 0..TRIES {
        match attempt() {
            Err(error) if error.errno() == Errno::ENOENT => {}
            done => return done,
        }
    }
    attempt()
}

fn tolerate(removed: Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.errno() == Errno::ENOENT => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// In a directory of the test's own, which the test removes.
    pub(crate) fn records(name: &str) -> (std::path::PathBuf, Records) {
        let place = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        let made = |part: &str| Dir::open_or_create(place.join(part), MODE).unwrap();
        let records = Records {
            attachments: made("attachments"),
            addresses: made("addresses"),
            bridges: made("bridges"),
        };
        (place, records)
    }

    impl Records {
        /// Notes an attachment with this address.
        pub(crate) fn write_for_test(&self, owner: &Owner, ip: IpAddr) {
            let record = Record {
                network: owner.network.clone(),
                container: owner.container.clone(),
                ifname: owner.ifname.clone(),
                addresses: vec![ip],
                zone: None,
                bridge: None,
                iptables: false,
            };
            self.write(&record, None).unwrap();
        }
    }

    #[test]
    fn who_left_a_bridge_before_may_leave_it_again() {
        let (place, records) = records("firewall-leave");
        records.join("br0", "one", Policy::Isolated).unwrap();
        records.join("br0", "two", Policy::Isolated).unwrap();
        assert!(!records.leave("br0", "one").unwrap());
        assert!(!records.leave("br0", "one").unwrap());
        assert!(records.leave("br0", "two").unwrap());
        assert!(records.leave("br0", "two").unwrap());
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_killed_writer_is_nobody_in_a_bridge() {
        let (place, records) = records("firewall-sweep");
        records.join("br0", "one", Policy::Isolated).unwrap();
        let bridge = records.bridges.open_dir("br0").unwrap();
        for dir in [&records.attachments, &records.addresses, &bridge] {
            dir.create_new(".two.2000000000.0.tmp", 0o600).unwrap();
        }
        records.sweep().unwrap();
        assert!(records.attachments.names().unwrap().is_empty());
        assert!(records.addresses.names().unwrap().is_empty());
        assert!(records.leave("br0", "one").unwrap());
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_bridge_that_leads_nowhere_is_an_error_at_once() {
        let (place, records) = records("firewall-join");
        std::os::unix::fs::symlink("nowhere", place.join("bridges/br0")).unwrap();
        assert!(records.join("br0", "one", Policy::Isolated).is_err());
        std::fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn a_stale_record_that_says_nothing_is_told() {
        let (place, records) = records("firewall-stale");
        let owner = Owner::new("net", "c1", "eth0");
        let write = |text: &[u8]| {
            let token = owner.token();
            records.attachments.replace_volatile(token, text, 0o600)
        };
        write(b"").unwrap();
        let stale = records.stale("net", |_| false).unwrap();
        assert!(matches!(
            stale.as_slice(),
            [Found {
                record: Ok(None),
                ..
            }]
        ));
        write(&vec![b' '; LONGEST as usize + 1]).unwrap();
        let stale = records.stale("net", |_| false).unwrap();
        assert!(matches!(stale.as_slice(), [Found { record: Err(_), .. }]));
        assert!(records.stale("net", |_| true).unwrap().is_empty());
        std::fs::remove_dir_all(place).unwrap();
    }
}
