//! The record of what ADD makes: `/run/davit-cni/sbr/<network hash>-<attachment hash>.json`.
//!
//! It is written before anything is made, so what is there is in it, however an ADD ended. Only
//! one request of a container runs at a time, so a file has one writer and needs no lock.

use std::os::unix::fs::MetadataExt;

use cni::{Attempt, Code, Error};
use interface::Owner;
use ipnet::IpNet;
use netlink::{KeptRoute, Rule};
use serde_json::{Value, json};
use sys::{Dir, Errno};

use crate::plan::{PROTOCOL, Plan};

pub(crate) const DIRECTORY: &str = "/run/davit-cni/sbr";
const LONGEST: u64 = 4 << 20;

/// What ADD made in a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) container: String,
    pub(crate) ifname: String,
    network: String,
    /// The namespace's path, device and inode.
    pub(crate) netns: String,
    identity: Option<(u64, u64)>,
    pub(crate) rules: Vec<Rule>,
    /// Whether the rules' tables are ours, and not the administrator's.
    pub(crate) owns_tables: bool,
    /// As they were in the main table.
    pub(crate) moved: Vec<KeptRoute>,
    /// Those among them to be replaced there, by their destination.
    pub(crate) hints: Vec<IpNet>,
}

impl Record {
    /// The record of a plan.
    pub(crate) fn new(owner: &Owner, netns: &str, plan: &Plan, owns_tables: bool) -> Self {
        Self {
            container: owner.container.clone(),
            ifname: owner.ifname.clone(),
            network: owner.network.clone(),
            netns: netns.to_owned(),
            identity: identity(netns),
            rules: plan.rules.clone(),
            owns_tables,
            moved: plan.moved.clone(),
            hints: plan.hints.iter().map(|route| route.destination).collect(),
        }
    }

    /// The record of this owner; `None` when there is none that can be understood.
    pub(crate) fn read(owner: &Owner) -> Result<Option<Self>, Error> {
        let name = name(owner);
        match Dir::open(DIRECTORY).and_then(|dir| dir.read(&name, LONGEST)) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            text => Ok(Self::parse(
                &text.attempt(Code::IO, || what("read", &name))?,
            )),
        }
    }

    /// Reads the text of a file.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let json: Value = serde_json::from_slice(text).ok()?;
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
        let rule = |pair: &Value| {
            let source: IpNet = pair[0].as_str()?.parse().ok()?;
            Some(Rule {
                source: Some(source),
                table: Some(u32::try_from(pair[1].as_u64()?).ok()?),
                priority: None,
                protocol: PROTOCOL,
                is_narrow: false,
            })
        };
        let route = |hex: &Value| KeptRoute::from_bytes(from_hex(hex.as_str()?)?);
        let hint = |net: &Value| net.as_str()?.parse().ok();
        Some(Self {
            container: text("containerID")?,
            ifname: text("ifname")?,
            network: text("network")?,
            netns: text("netns")?,
            identity: json["identity"][0]
                .as_u64()
                .zip(json["identity"][1].as_u64()),
            rules: list("rules").iter().filter_map(rule).collect(),
            owns_tables: json["ownsTables"].as_bool()?,
            moved: list("moved").iter().filter_map(route).collect(),
            hints: list("hints").iter().filter_map(hint).collect(),
        })
    }

    /// Writes the record.
    pub(crate) fn write(&self, owner: &Owner) -> Result<(), Error> {
        let name = name(owner);
        let text = self.to_json().to_string();
        Dir::open_or_create(DIRECTORY, 0o755)
            .and_then(|dir| dir.replace_alone(&name, text.as_bytes(), 0o600))
            .attempt(Code::IO, || what("write", &name))
    }

    fn to_json(&self) -> Value {
        let rules = self
            .rules
            .iter()
            .map(|rule| json!([rule.source, rule.table]));
        let moved = self.moved.iter().map(|kept| to_hex(kept.as_bytes()));
        json!({
            "network": self.network, "containerID": self.container, "ifname": self.ifname,
            "netns": self.netns, "identity": self.identity.map(|(dev, ino)| [dev, ino]),
            "rules": rules.collect::<Vec<_>>(), "ownsTables": self.owns_tables,
            "moved": moved.collect::<Vec<_>>(), "hints": self.hints,
        })
    }

    /// Whether the namespace at `path` is the one that this is about.
    pub(crate) fn is_of(&self, path: &str) -> bool {
        self.identity.is_some() && self.identity == identity(path)
    }
}

/// Removes the owner's record.
pub(crate) fn remove(owner: &Owner) -> Result<(), Error> {
    let name = name(owner);
    match Dir::open(DIRECTORY).and_then(|dir| dir.remove_with_rest(&name)) {
        Err(error) if error.errno() == Errno::ENOENT => Ok(()),
        removed => removed.attempt(Code::IO, || what("remove", &name)),
    }
}

fn name(owner: &Owner) -> String {
    format!("{}.json", owner.token())
}

fn what(verb: &str, name: &str) -> String {
    format!("{verb} {DIRECTORY}/{name}")
}

fn identity(path: &str) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|c| u8::try_from(c.to_digit(16)?).ok())
        .collect();
    let digits = digits?;
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::rule;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let owner = Owner::new("net", "c1", "eth0");
        let plan = Plan {
            rules: vec![
                rule("10.0.0.2".parse().unwrap(), 100),
                rule("fd00::2".parse().unwrap(), 101),
            ],
            ..Plan::default()
        };
        let record = Record::new(&owner, "/proc/self/ns/net", &plan, true);
        let text = record.to_json().to_string();
        assert_eq!(Record::parse(text.as_bytes()), Some(record.clone()));
        assert!(record.is_of("/proc/self/ns/net") && !record.is_of("/nonexistent"));
        assert_eq!(Record::parse(b"{}"), None);
        assert_eq!(from_hex(&to_hex(&[0, 127, 255])).unwrap(), [0, 127, 255]);
        assert_eq!(from_hex("xx"), None);
    }
}
