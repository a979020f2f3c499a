//! The configuration of a vlan network: decoded, checked, and turned into what ADD needs.

use cni::{Error, Invocation};
use interface::keys;
use netlink::stacked::{Kind, VlanProtocol};
use serde::Deserialize;

/// What a vlan network shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VlanConfig {
    pub(crate) master: String,
    pub(crate) kind: Kind,
    pub(crate) shared: bool,
    pub(crate) mtu: Option<u32>,
    pub(crate) link_in_container: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    master: String,
    vlan_id: Option<i64>,
    protocol: String,
    shared: bool,
    mtu: i64,
    link_in_container: bool,
}

impl VlanConfig {
    /// Reads the configuration.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let raw: Keys = invocation.config.keys()?;
        if raw.master.is_empty() {
            let msg = "\"master\" field is required. It specifies the host interface name to \
                       create the VLAN for";
            return Err(Error::config(msg));
        }
        Ok(Self {
            kind: Kind::Vlan {
                protocol: protocol(&raw.protocol)?,
                id: id(raw.vlan_id)?,
            },
            mtu: keys::mtu(raw.mtu)?,
            shared: raw.shared,
            link_in_container: raw.link_in_container,
            master: raw.master,
        })
    }
}

/// 4095 is reserved (IEEE 802.1Q-2018, table 9-2).
fn id(id: Option<i64>) -> Result<u16, Error> {
    let Some(id) = id else {
        return Err(Error::config("vlanId: the number of the VLAN is missing"));
    };
    match u16::try_from(id) {
        Ok(id @ 0..=4094) => Ok(id),
        _ => {
            let msg = format!("invalid VLAN ID {id} (must be between 0 and 4094 inclusive)");
            Err(Error::config(msg).details("vlanId"))
        }
    }
}

fn protocol(name: &str) -> Result<VlanProtocol, Error> {
    match name.to_ascii_lowercase().as_str() {
        "" | "802.1q" => Ok(VlanProtocol::Ieee8021Q),
        "802.1ad" => Ok(VlanProtocol::Ieee8021Ad),
        _ => {
            let msg = format!("unknown VLAN protocol {name:?}");
            Err(Error::config(msg).details("protocol: 802.1q or 802.1ad"))
        }
    }
}
