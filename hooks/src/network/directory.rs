//! The directory of network configurations: which networks are in it, and whose each is.
//!
//! ```text
//! davit-NAME.conflist            a network of ours, with the key org.davit.network
//! .davit-network.lock            held by whoever changes the directory
//! .FILE.removing                 a network on its way out: no caller reads this ending
//! ```

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use cni::NetworkName;
use ipnet::IpNet;
use libcni::NetworkList;
use serde_json::Value;
use sys::Dir;
use sys::dir::{Lock, LockKind};

use super::subnet::{By, Taken};

/// The key by which a list says that `create` has written it.
pub(super) const MARK: &str = "org.davit.network";
const LOCK: &str = ".davit-network.lock";
const REMOVING: &str = ".removing";
const PATIENCE: Duration = Duration::from_secs(60);

/// A network and the file that it is in.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) file: PathBuf,
    pub(super) list: NetworkList,
}

/// All networks of the directory, and what could not be read.
pub(super) struct All {
    pub(super) known: Vec<Known>,
    pub(super) broken: Vec<libcni::Error>,
}

impl All {
    /// Reads the directory; a missing one holds nothing.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let (mut known, mut broken) = (Vec::new(), Vec::new());
        for file in NetworkList::files(dir)? {
            match NetworkList::from_file(&file) {
                Ok(list) => known.push(Known { file, list }),
                Err(error) => broken.push(error),
            }
        }
        Ok(Self { known, broken })
    }

    /// The one that callers find by this name.
    pub(super) fn find(&self, name: &NetworkName) -> Option<&Known> {
        self.known.iter().find(|known| known.list.name == *name)
    }

    /// Every range of every network.
    pub(super) fn taken(&self) -> Vec<Taken> {
        let of = |known: &Known| {
            let name = known.list.name.to_string();
            let by = By::Network(name);
            let taken = known.nets().into_iter().map(move |net| Taken {
                net,
                by: by.clone(),
            });
            taken.collect::<Vec<_>>()
        };
        self.known.iter().flat_map(of).collect()
    }
}

impl Known {
    /// Whether `create` has written it.
    pub(super) fn is_ours(&self) -> bool {
        let document: Option<Value> = serde_json::from_slice(&self.list.bytes).ok();
        document.is_some_and(|document| document.get(MARK).is_some())
    }

    /// Of its first plugin, which gives the interface.
    pub(super) fn key(&self, name: &str) -> Option<&str> {
        let first = self.list.plugins.first()?;
        first.document.get(name).and_then(Value::as_str)
    }

    /// The subnets of its address plugins, in every form that those know.
    pub(super) fn nets(&self) -> Vec<IpNet> {
        ipams(&self.list).flat_map(nets_of).collect()
    }
}

/// The same of a list in which every address plugin says of itself what it gives, else `None`.
pub(crate) fn all_nets(list: &NetworkList) -> Option<Vec<IpNet>> {
    let each: Vec<_> = ipams(list).map(nets_of).collect();
    let all_tell = !each.is_empty() && each.iter().all(|nets| !nets.is_empty());
    all_tell.then(|| each.concat())
}

fn ipams(list: &NetworkList) -> impl Iterator<Item = &Value> {
    let plugins = list.plugins.iter();
    plugins.filter_map(|plugin| plugin.document.get("ipam"))
}

fn nets_of(ipam: &Value) -> Vec<IpNet> {
    let sets = ipam.get("ranges").and_then(Value::as_array);
    let ranges = sets.into_iter().flatten();
    let ranges = ranges.filter_map(Value::as_array).flatten();
    let subnets = std::iter::once(ipam)
        .chain(ranges)
        .filter_map(|range| range.get("subnet"));
    let fixed = ipam.get("addresses").and_then(Value::as_array);
    let fixed = fixed.into_iter().flatten();
    let fixed = fixed.filter_map(|each| each.get("address"));
    let texts = subnets.chain(fixed).filter_map(Value::as_str);
    texts
        .filter_map(|text| Some(text.parse::<IpNet>().ok()?.trunc()))
        .collect()
}

/// The directory, open, with nobody else changing it as long as the lock is held.
pub(super) fn locked(path: &Path) -> anyhow::Result<(Dir, Lock)> {
    let open = || -> sys::Result<_> {
        let dir = Dir::open_or_create(path, 0o755)?;
        let lock = dir.lock_in_turn(LOCK, LockKind::Exclusive, PATIENCE)?;
        Ok((dir, lock))
    };
    open().with_context(|| format!("directory of networks {}", path.display()))
}

/// The name under which a file waits for the end of its removal.
pub(super) fn aside(file_name: &OsStr) -> OsString {
    let mut name = OsString::from(".");
    name.push(file_name);
    name.push(REMOVING);
    name
}

/// The name that a file which waits so had before.
pub(super) fn in_use(aside: &OsStr) -> OsString {
    let name = aside.as_bytes();
    let name = name.strip_prefix(b".").unwrap_or(name);
    let name = name.strip_suffix(REMOVING.as_bytes()).unwrap_or(name);
    OsStr::from_bytes(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subnets_are_found_in_every_form() {
        let ipam = json!({
            "subnet": "10.1.0.0/24",
            "ranges": [[{"subnet": "10.2.0.0/24"}, {"subnet": "10.3.0.0/24"}], [{"subnet": "fd01::/64"}], 7],
            "addresses": [{"address": "10.4.0.9/24"}, {}, {"address": "?"}],
        });
        let nets: Vec<_> = nets_of(&ipam).iter().map(ToString::to_string).collect();
        let expected = [
            "10.1.0.0/24",
            "10.2.0.0/24",
            "10.3.0.0/24",
            "fd01::/64",
            "10.4.0.0/24",
        ];
        assert_eq!(nets, expected);
        assert!(nets_of(&json!({"type": "dhcp"})).is_empty());
    }
}
