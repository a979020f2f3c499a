//! The configuration of an ipvlan network: decoded, checked, and turned into what ADD needs.

use cni::{Error, Invocation};
use interface::{Assigned, keys};
use netlink::stacked::{IpVlanMode, IpvlanFlag, Kind};
use serde::Deserialize;

/// What an ipvlan network shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IpvlanConfig {
    /// `None`: the link of the default route.
    pub(crate) master: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) mtu: Option<u32>,
    pub(crate) link_in_container: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    master: String,
    mode: String,
    flag: String,
    mtu: i64,
    link_in_container: bool,
}

impl IpvlanConfig {
    /// Reads the configuration.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let raw: Keys = invocation.config.keys()?;
        let kind = Kind::Ipvlan {
            mode: mode(&raw.mode)?,
            flag: flag(&raw.flag)?,
        };
        Ok(Self {
            master: Some(raw.master).filter(|name| !name.is_empty()),
            kind,
            mtu: keys::mtu(raw.mtu)?,
            link_in_container: raw.link_in_container,
        })
    }

    /// For ADD: the master that is configured, or the link of the plugin before this one.
    pub(crate) fn with_chained_master(self, invocation: &Invocation) -> Result<Self, Error> {
        let master = match self.master {
            Some(name) => Some(name),
            None => chained_master(invocation)?,
        };
        Ok(Self { master, ..self })
    }

    /// The addresses of the plugins before this one, if the configuration names no IPAM plugin.
    pub(crate) fn given_addresses(
        &self,
        invocation: &Invocation,
    ) -> Result<Option<Assigned>, Error> {
        if invocation.config.ipam_type()?.is_some() {
            return Ok(None);
        }
        let previous = invocation.config.prev_result()?.unwrap_or_default();
        if previous.ips.is_empty() {
            let msg = "ipvlan requires an IPAM configuration, or addresses of a plugin before it";
            return Err(Error::config(msg).details("ipam.type, prevResult.ips"));
        }
        Assigned::new(previous, 0).map(Some)
    }
}

/// For ADD: a chained ipvlan is made on the link before it in the list.
fn chained_master(invocation: &Invocation) -> Result<Option<String>, Error> {
    let Some(previous) = invocation.config.prev_result()? else {
        return Ok(None);
    };
    match previous.interfaces.as_slice() {
        [only] if !only.name.is_empty() => Ok(Some(only.name.clone())),
        _ => Err(Error::config(
            "chained master failure. PrevResult lacks a single named interface",
        )),
    }
}

fn mode(name: &str) -> Result<IpVlanMode, Error> {
    Ok(match name {
        "" | "l2" => IpVlanMode::L2,
        "l3" => IpVlanMode::L3,
        "l3s" => IpVlanMode::L3S,
        other => {
            let msg = format!("unknown ipvlan mode: {other:?}");
            return Err(Error::config(msg).details("mode: l2, l3 or l3s"));
        }
    })
}

fn flag(name: &str) -> Result<IpvlanFlag, Error> {
    Ok(match name {
        "" | "bridge" => IpvlanFlag::Bridge,
        "private" => IpvlanFlag::Private,
        "vepa" => IpvlanFlag::Vepa,
        other => {
            let msg = format!("unknown ipvlan flag: {other:?}");
            return Err(Error::config(msg).details("flag: bridge, private or vepa"));
        }
    })
}
