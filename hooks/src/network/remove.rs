//! `network rm`: takes networks away, each with its bridge and host-local's directory.
//!
//! ```text
//! 1  refuse: foreign, or attached (--force detaches)
//! 2  the file gets a name that nobody reads, so that no ADD can begin
//! 3  wait for every ADD that has found the file; refuse again, and give the file its name back, also
//!    when it was an earlier removal, one that was killed, that took it
//! 4  bridge, host-local's directory: where nobody is left in them
//! 5  the file
//! ```
//!
//! An ADD looks for the file once more under its lock, which step 3 waits for: of the two one goes
//! without, and no ADD makes a bridge again behind step 4. That holds for callers with this cache.
//!
//! Killed anywhere, it is finished by the next `rm` or `create` of that name.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use cni::NetworkName;
use libcni::{CachedAttachment, Caller, NetworkList, RuntimeConf};
use serde_json::{Map, Value};
use sys::{Dir, Errno};

use super::create::bridge;
use super::directory::{self, All, Known};
use crate::args::Place;

/// Where host-local keeps reservations unless its configuration says otherwise.
const RESERVATIONS: &str = "/var/lib/cni/networks";
/// Beside them, ours has an index of each network.
const INDEX: &str = ".davit";

/// Removes each, whatever becomes of the others.
pub(super) fn run(place: &Place, names: &[NetworkName], force: bool) -> anyhow::Result<()> {
    let (dir, _lock) = directory::locked(&place.net_dir)?;
    let removed = names.iter().map(|name| {
        let removal = Removal {
            place,
            caller: place.caller(),
            dir: &dir,
            name,
            force,
        };
        let removed = removal.run();
        removed.with_context(|| format!("remove network {:?}", name.as_str()))
    });
    let errors: Vec<String> = removed
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(errors.is_empty(), "{}", errors.join("; "));
    Ok(())
}

struct Removal<'a> {
    place: &'a Place,
    caller: Caller,
    dir: &'a Dir,
    name: &'a NetworkName,
    force: bool,
}

impl Removal<'_> {
    fn run(&self) -> anyhow::Result<()> {
        let Some((known, is_aside)) = self.find()? else {
            self.free_attachments()?;
            ensure!(self.force, "there is none in {}", self.dir.path().display());
            return Ok(());
        };
        let found = known.file.file_name().unwrap_or_default();
        let (name, aside) = match is_aside {
            true => (directory::in_use(found), found.to_owned()),
            false => (found.to_owned(), directory::aside(found)),
        };
        if !is_aside {
            self.refuse(&known)?;
            self.dir.rename(&name, &aside)?;
        }
        if let Err(error) = self.settle(&known) {
            self.take_back(&aside, &name)?;
            return Err(error);
        }
        self.remove_bridge(&known)?;
        self.remove_reservations(&known.list)?;
        Ok(self.dir.remove(&aside)?)
    }

    /// The network, and whether it is on its way out already.
    fn find(&self) -> anyhow::Result<Option<(Known, bool)>> {
        let mut all = All::read(self.dir.path())?;
        let position = all
            .known
            .iter()
            .position(|known| known.list.name == *self.name);
        if let Some(position) = position {
            return Ok(Some((all.known.swap_remove(position), false)));
        }
        let is_aside = |name: &OsString| Path::new(name).extension() == Some("removing".as_ref());
        let mut known = self
            .dir
            .names()?
            .into_iter()
            .filter(is_aside)
            .filter_map(|name| {
                let bytes = self.dir.read(&name, 4 << 20).ok()?;
                let list = NetworkList::parse(&bytes, None).ok()?;
                let file = self.dir.path().join(name);
                Some(Known { file, list })
            });
        Ok(known
            .find(|known| known.list.name == *self.name)
            .map(|known| (known, true)))
    }

    /// Refuses a network that is not to be removed; with force it has no attachments afterwards.
    fn refuse(&self, known: &Known) -> anyhow::Result<()> {
        ensure!(
            self.force || known.is_ours(),
            "{} was not made by `network create`; --force removes it all the same",
            known.file.display()
        );
        self.free_attachments()
    }

    /// Nobody has found the file and is not attached yet.
    fn settle(&self, known: &Known) -> anyhow::Result<()> {
        drop(self.caller.cache.lock_all(self.caller.patience)?);
        self.refuse(known)
    }

    /// The file has its name again, also when it was an earlier removal that took it and was killed.
    /// By now another network may have the name.
    fn take_back(&self, aside: &OsStr, name: &OsStr) -> anyhow::Result<()> {
        match self.dir.stat(name) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(self.dir.rename(aside, name)?),
            _ => Ok(()),
        }
    }

    /// Refuses what is attached; with force it is detached.
    fn free_attachments(&self) -> anyhow::Result<()> {
        let mut cached = self.caller.cache.entries()?;
        cached.retain(|each| each.network == *self.name);
        if !self.force && !cached.is_empty() {
            let attached: Vec<_> = cached
                .iter()
                .map(|each| each.attachment.to_string())
                .collect();
            bail!(
                "attached: {} (--force detaches them first)",
                attached.join(", ")
            );
        }
        let errors: Vec<String> = cached
            .iter()
            .filter_map(|each| self.detach(each).err())
            .map(|error| format!("{error:#}"))
            .collect();
        ensure!(errors.is_empty(), "{}", errors.join("; "));
        Ok(())
    }

    /// A container that lives loses its interface, whatever kind that is.
    fn detach(&self, cached: &CachedAttachment) -> anyhow::Result<()> {
        let list = match cached.list() {
            Some(list) => list,
            None => NetworkList::load(&self.place.net_dir, self.name.as_str())?,
        };
        let conf = RuntimeConf {
            attachment: cached.attachment.clone(),
            netns: cached.netns_now().unwrap_or_default().to_owned(),
            args: Vec::new(),
            capability_args: Map::new(),
        };
        Ok(self.caller.del(&list, &conf)?)
    }

    /// Only the one that this network's name leads to, and only with nobody in it.
    fn remove_bridge(&self, known: &Known) -> anyhow::Result<()> {
        let own = bridge(self.name);
        if !known.is_ours() || known.key("bridge") != Some(own.as_str()) {
            return Ok(());
        }
        let mut socket = netlink::Socket::route()?;
        let link = socket
            .link(&own)?
            .filter(|link| link.kind.as_deref() == Some("bridge"));
        let Some(link) = link else { return Ok(()) };
        let ports = socket.links()?;
        if ports.iter().all(|port| port.master != Some(link.index)) {
            socket.delete_link(link.index)?;
        }
        Ok(())
    }

    /// What is no address there is host-local's own bookkeeping.
    fn remove_reservations(&self, list: &NetworkList) -> anyhow::Result<()> {
        for parent in data_dirs(list) {
            let parent = match Dir::open(&parent) {
                Err(error) if error.errno() == Errno::ENOENT => continue,
                other => other?,
            };
            let names = match parent.open_dir(self.name.as_str()) {
                Err(error) if error.errno() == Errno::ENOENT => continue,
                other => other?.names()?,
            };
            let reserved = |name: &OsString| {
                name.to_str()
                    .is_some_and(|name| name.parse::<IpAddr>().is_ok())
            };
            if names.iter().any(reserved) {
                continue;
            }
            if let Ok(index) = parent.open_dir(INDEX) {
                index.remove_all(self.name.as_str())?;
            }
            parent.remove_all(self.name.as_str())?;
        }
        Ok(())
    }
}

fn data_dirs(list: &NetworkList) -> Vec<PathBuf> {
    let ipams = list
        .plugins
        .iter()
        .filter_map(|plugin| plugin.document.get("ipam"));
    let text = |ipam: &Value, key: &str| ipam.get(key).and_then(Value::as_str).map(str::to_owned);
    ipams
        .filter(|ipam| text(ipam, "type").as_deref() == Some("host-local"))
        .map(|ipam| text(ipam, "dataDir").filter(|dir| !dir.is_empty()))
        .map(|dir| dir.unwrap_or_else(|| RESERVATIONS.into()).into())
        .collect()
}
