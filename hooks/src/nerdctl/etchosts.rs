//! nerdctl's store of names: `<store>/etchosts/<namespace>/<id>/{meta.json,hosts}`.
//!
//! ```text
//! # <nerdctl>
//! 127.0.0.1       localhost localhost.localdomain
//! ::1             localhost localhost.localdomain
//! ADDRESS         NAME                                                extra hosts
//! ADDRESS         [HOST.DOMAIN] HOST [HOST.NETWORK] NAME [NAME.NETWORK]   itself, then neighbours
//! # </nerdctl>
//! ```
//! The names with a network are left out on the default network, as nerdctl does. Everything
//! happens under nerdctl's own lock, a flock(2) of the namespace's directory. A hosts file stays
//! when its container stops: a restart mounts it again. `.meta.json.gone` beside it is what a killed
//! stop has left to the next.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use cni::Version;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sys::dir::LockKind;
use sys::{Dir, Errno, SyscallError};

use super::annotations::Container;
use crate::args::Place;
use crate::attach::Attached;
use crate::block::NERDCTL;
use crate::kept_files::{HOSTS, KeptFiles};
use crate::turns::{Turns, Unserved};

/// The store of one namespace, and the queue of those who change it.
pub(super) struct Store {
    dir: PathBuf,
    queue: PathBuf,
}

/// What is known of one container; nerdctl's keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    #[serde(rename = "ID")]
    id: String,
    #[serde(default)]
    networks: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    domainname: String,
    #[serde(default)]
    extra_hosts: Option<BTreeMap<String, String>>,
    #[serde(default)]
    name: String,
}

const META: &str = "meta.json";
/// The same of one that is forgotten, until everybody's file says so. nerdctl looks for no such name.
const GONE: &str = ".meta.json.gone";
const STORE: &str = "nerdctl's store of names";
const LONGEST: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
const DEFAULT_NETWORK: &str = "bridge";
const TOP: &str = "# <nerdctl>
127.0.0.1       localhost localhost.localdomain
::1             localhost localhost.localdomain
";

impl Store {
    /// That of a container's namespace.
    pub(super) fn of(place: &Place, container: &Container) -> Self {
        let dir = container.store.join("etchosts").join(&container.namespace);
        let digest = Sha256::digest(dir.as_os_str().as_encoded_bytes());
        let digest: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Self {
            dir,
            queue: place.state_dir.join(super::QUEUES).join(digest),
        }
    }

    /// Makes the container known, and returns when everybody's file says so.
    pub(super) fn join(&self, container: &Container, attached: &[Attached]) -> anyhow::Result<()> {
        let path = self.dir.join(container.id.as_str());
        let told = || path.display().to_string();
        let files = KeptFiles::open_or_create(&path).with_context(told)?;
        files.ensure(HOSTS).with_context(told)?;
        let meta = serde_json::to_vec(&Meta::of(container, attached)?)?;
        let dir = Dir::open(&path).with_context(told)?;
        dir.replace_volatile(META, &meta, 0o600)
            .with_context(told)?;
        self.refresh(container)
    }

    /// Makes it unknown to who looks next; whether somebody's file may have it still: it was known,
    /// or one who made it unknown was killed before [`Self::tell`] had ended.
    pub(super) fn forget(&self, container: &Container) -> anyhow::Result<bool> {
        let Some(dir) = self.own_dir(container)? else {
            return Ok(false);
        };
        match dir.rename(META, GONE) {
            Err(error) if error.errno() == Errno::ENOENT => {}
            renamed => renamed.context(STORE)?,
        }
        match dir.stat(GONE) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(false),
            found => found.map(|_| true).context(STORE),
        }
    }

    /// Takes one that was forgotten out of everybody's file.
    pub(super) fn tell(&self, container: &Container) -> anyhow::Result<()> {
        self.refresh(container)?;
        match self.own_dir(container)?.map(|dir| dir.remove(GONE)) {
            Some(Err(error)) if error.errno() != Errno::ENOENT => Err(error).context(STORE),
            _ => Ok(()),
        }
    }

    fn own_dir(&self, container: &Container) -> anyhow::Result<Option<Dir>> {
        match Dir::open(&self.dir).and_then(|all| all.open_dir(container.id.as_str())) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            opened => opened.map(Some).context(STORE),
        }
    }

    /// Writes everybody's file anew.
    fn refresh(&self, container: &Container) -> anyhow::Result<()> {
        let turns = Turns::open(&self.queue)?;
        let who = container.id.as_str();
        let mut own = None;
        let round = || {
            let failed = self.round()?;
            own = failed
                .iter()
                .find(|(id, _)| id == who)
                .map(|(_, error)| anyhow!("{error}"));
            let unserved = failed.into_iter().map(|(id, _)| id);
            Ok::<_, anyhow::Error>(unserved.collect::<Unserved>())
        };
        let told = || format!("hosts file of {who}");
        turns.take(who, PATIENCE, round).with_context(told)?;
        own.map_or(Ok(()), Err).with_context(told)
    }

    /// Writes every file; those that could not be, and why.
    fn round(&self) -> anyhow::Result<Vec<(String, SyscallError)>> {
        let dir = Dir::open(&self.dir)?;
        let _lock = dir.lock_self(LockKind::Exclusive, PATIENCE)?;
        let known = known(&dir)?;
        let addresses: Vec<_> = known.iter().map(Meta::addresses).collect();
        let failed = known.iter().enumerate().filter_map(|(index, meta)| {
            let block = block(&known, &addresses, index);
            let files = KeptFiles::open(&self.dir.join(&meta.id));
            let changed = files.and_then(|files| {
                files.change(HOSTS, |old| {
                    NERDCTL.replace(&without_localhost(old), &block)
                })
            });
            match changed {
                Err(error) if error.errno() != Errno::ENOENT => Some((meta.id.clone(), error)),
                _ => None,
            }
        });
        Ok(failed.collect())
    }
}

/// All that say who they are, in the order of their names.
fn known(all: &Dir) -> sys::Result<Vec<Meta>> {
    let names = all.names()?;
    let meta = |name: &std::ffi::OsString| -> Option<Meta> {
        let bytes = all.open_dir(name).ok()?.read(META, LONGEST).ok()?;
        let meta: Meta = serde_json::from_slice(&bytes).ok()?;
        // The ID leads to files.
        (name.to_str() == Some(&meta.id)).then_some(meta)
    };
    let mut known: Vec<Meta> = names.iter().filter_map(meta).collect();
    known.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(known)
}

/// A line of the file's maker that the block has too.
fn without_localhost(old: &[u8]) -> Vec<u8> {
    let lines = old.split_inclusive(|byte| *byte == b'\n');
    let is_local = |line: &&[u8]| {
        let mut words = line.split(|byte| byte.is_ascii_whitespace());
        let first = words.find(|word| !word.is_empty());
        first == Some(b"127.0.0.1") || first == Some(b"::1")
    };
    lines
        .filter(|line| !is_local(line))
        .flatten()
        .copied()
        .collect()
}

impl Meta {
    fn of(container: &Container, attached: &[Attached]) -> anyhow::Result<Self> {
        let result = |one: &Attached| -> anyhow::Result<(String, Value)> {
            let json = one.result.to_json(Version::V1_0_0)?;
            Ok((one.step.list.name.to_string(), json))
        };
        let hosts = container.extra_hosts.iter();
        Ok(Self {
            id: container.id.to_string(),
            networks: Some(attached.iter().map(result).collect::<anyhow::Result<_>>()?),
            hostname: container.hostname.clone(),
            domainname: container.domainname.clone(),
            extra_hosts: Some(
                hosts
                    .map(|(name, ip)| (name.clone(), ip.to_string()))
                    .collect(),
            ),
            name: container.name.clone(),
        })
    }

    /// By network.
    fn addresses(&self) -> BTreeMap<&str, Vec<IpAddr>> {
        let networks = self.networks.iter().flatten();
        let addresses = |json: &Value| {
            let version = cni::result::version_of(json).ok().flatten();
            let result = cni::Result::from_json(json, version.unwrap_or(Version::V1_0_0));
            let ips = result.unwrap_or_default().ips.into_iter();
            ips.map(|ip| ip.address.addr()).collect()
        };
        networks
            .map(|(name, json)| (name.as_str(), addresses(json)))
            .collect()
    }

    fn names_on(&self, network: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut push = |name: String| {
            if !names.contains(&name) {
                names.push(name);
            }
        };
        if !self.hostname.is_empty() && !self.domainname.is_empty() {
            push(format!("{}.{}", self.hostname, self.domainname));
        }
        for name in [&self.hostname, &self.name] {
            if !name.is_empty() {
                push(name.clone());
                if network != DEFAULT_NETWORK {
                    push(format!("{name}.{network}"));
                }
            }
        }
        names
    }
}

fn block(known: &[Meta], addresses: &[BTreeMap<&str, Vec<IpAddr>>], own: usize) -> String {
    let mut text = TOP.to_owned();
    for (name, address) in known[own].extra_hosts.iter().flatten() {
        text += &line(address, std::slice::from_ref(name));
    }
    let others = (0..known.len()).filter(|other| *other != own);
    for index in std::iter::once(own).chain(others) {
        for (network, ips) in &addresses[index] {
            let names = known[index].names_on(network);
            if addresses[own].contains_key(network) && !names.is_empty() {
                let lines = ips.iter().map(|ip| line(&ip.to_string(), &names));
                text.extend(lines);
            }
        }
    }
    text + NERDCTL.end + "\n"
}

fn line(address: &str, names: &[String]) -> String {
    format!("{address:<15} {}\n", names.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(id: &str, networks: &[(&str, &str)]) -> Meta {
        let result =
            |ip: &str| json!({"cniVersion": "1.0.0", "ips": [{"address": format!("{ip}/24")}]});
        let networks = networks
            .iter()
            .map(|(name, ip)| ((*name).to_owned(), result(ip)));
        Meta {
            id: id.into(),
            networks: Some(networks.collect()),
            hostname: format!("h-{id}"),
            domainname: String::new(),
            extra_hosts: None,
            name: id.into(),
        }
    }

    fn seen_by(known: &[Meta], own: usize) -> String {
        let addresses: Vec<_> = known.iter().map(Meta::addresses).collect();
        let block = block(known, &addresses, own);
        let inner = block.strip_prefix(TOP).unwrap();
        inner.strip_suffix("# </nerdctl>\n").unwrap().to_owned()
    }

    #[test]
    fn lines_are_nerdctls() {
        let mut web = meta("web", &[("bridge", "10.4.0.2"), ("own", "10.5.0.2")]);
        web.domainname = "example".into();
        web.extra_hosts = Some(BTreeMap::from([("db".into(), "10.0.0.3".into())]));
        let known = [
            meta("a", &[("own", "10.5.0.3")]),
            web,
            meta("z", &[("other", "10.6.0.2")]),
        ];
        let expected = "10.0.0.3        db\n\
             10.4.0.2        h-web.example h-web web\n\
             10.5.0.2        h-web.example h-web h-web.own web web.own\n\
             10.5.0.3        h-a h-a.own a a.own\n";
        assert_eq!(seen_by(&known, 1), expected);
        let a = "10.5.0.3        h-a h-a.own a a.own\n\
             10.5.0.2        h-web.example h-web h-web.own web web.own\n";
        assert_eq!(seen_by(&known, 0), a);
    }

    #[test]
    fn what_nerdctl_wrote_is_read() {
        let text = r#"{"ID":"c1","Networks":{"bridge":{"cniVersion":"1.0.0","ips":[{"address":"10.4.0.2/24"}],"dns":{}}},"Hostname":"h","ExtraHosts":null,"Name":"n","Domainname":"","Other":1}"#;
        let meta: Meta = serde_json::from_str(text).unwrap();
        assert_eq!(
            meta.addresses()["bridge"],
            ["10.4.0.2".parse::<IpAddr>().unwrap()]
        );
        assert!(serde_json::from_str::<Meta>(r#"{"ID":"c2","Networks":null}"#).is_ok());
    }

    #[test]
    fn a_first_file_of_nerdctl_loses_only_its_localhost() {
        let old = b"127.0.0.1\tlocalhost\n::1 localhost\n10.0.0.1 mine\n# note\n";
        assert_eq!(without_localhost(old), b"10.0.0.1 mine\n# note\n");
    }
}
