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
        // What is used refuses, and who has just opened what is removed makes it again.
        let Ok(dir) = Dir::open(PLACE) else {
            return;
        };
        if dir.remove_dir("attachments").is_err() {
            return;
        }
        for name in ["addresses", "bridges"] {
            let _ = dir.remove_dir(name);
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
        loop {
            match self.bridges.create_dir(bridge, MODE) {
                Err(error) if error.errno() != Errno::EEXIST => return Err(error),
                _ => {}
            }
            let joined = self
                .bridges
                .open_dir(bridge)
                .and_then(|dir| dir.replace_volatile(token, policy.to_string().as_bytes(), 0o600));
            match joined {
                Err(error) if error.errno() == Errno::ENOENT => {}
                joined => return joined,
            }
        }
    }

    /// What is on record for an owner.
    pub(crate) fn read(&self, owner: &Owner) -> Result<Option<Record>> {
        self.read_token(&owner.token())
    }

    fn read_token(&self, token: &str) -> Result<Option<Record>> {
        let text = match self.attachments.read(token, LONGEST) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            text => text?,
        };
        // What a full disk or a stranger left says nothing.
        Ok(serde_json::from_slice(&text).ok())
    }

    /// Whether somebody else has rules for an address.
    pub(crate) fn is_of_another(&self, ip: IpAddr, token: &str) -> bool {
        let holder = self.addresses.read(ip.to_string(), LONGEST);
        holder.is_ok_and(|holder| holder != token.as_bytes())
    }

    /// The records of a network that `is_valid` does not know by their token.
    pub(crate) fn stale(&self, network: &str, is_valid: impl Fn(&str) -> bool) -> Vec<Record> {
        let names = self.attachments.names().unwrap_or_default();
        let tokens = names.iter().filter_map(|name| name.to_str());
        let stale = tokens.filter(|token| {
            let stamp = Stamp {
                token: (*token).to_owned(),
                container: String::new(),
            };
            stamp.is_of_network(network) && !is_valid(token)
        });
        stale
            .filter_map(|token| self.read_token(token).ok().flatten())
            .collect()
    }

    /// Leaves a bridge; true when nobody else is there.
    pub(crate) fn leave(&self, bridge: &str, token: &str) -> Result<bool> {
        let dir = match self.bridges.open_dir(bridge) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(false),
            dir => dir?,
        };
        tolerate(dir.remove(token))?;
        match self.bridges.remove_dir(bridge) {
            Err(error) if [Errno::ENOTEMPTY, Errno::ENOENT].contains(&error.errno()) => Ok(false),
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
