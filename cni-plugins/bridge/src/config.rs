//! The configuration of a bridge network: decoded, checked, and turned into what ADD needs.
//!
//! Every refusal is here and names the key (code 7), so that nothing is refused half-way.

use std::collections::BTreeSet;

use cni::{Args, Dns, Error, IfName, Invocation};
use firewall::BackEnd;
use interface::keys;
use netlink::Mac;
use serde::Deserialize;

/// What a bridge network shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeConfig {
    pub(crate) bridge: String,
    pub(crate) gateway: Gateway,
    pub(crate) force_address: bool,
    /// `ipMasq`, by which back end.
    pub(crate) masquerade: Option<BackEnd>,
    pub(crate) mtu: Option<u32>,
    pub(crate) hairpin: bool,
    pub(crate) promiscuous: bool,
    pub(crate) isolated: bool,
    pub(crate) vlans: Option<Vlans>,
    pub(crate) mac_spoof_check: bool,
    pub(crate) detect_duplicates: bool,
    pub(crate) leave_container_link_down: bool,
    pub(crate) mac: Option<Mac>,
    pub(crate) dns: Dns,
}

/// What the bridge is to its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Gateway {
    /// A switch.
    None,
    /// Has the gateway's address and forwards.
    Address,
    /// And the container's default route leads to it.
    DefaultRoute,
}

/// The VLANs of a container's port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vlans {
    /// Of untagged frames; `None` only with a trunk, and then VLAN 1.
    pub(crate) native: Option<u16>,
    pub(crate) trunk: BTreeSet<u16>,
    pub(crate) keep_default: bool,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    bridge: String,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: String,
    mtu: i64,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: i64,
    vlan_trunk: Option<Vec<Trunk>>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    args: ArgsKey,
    runtime_config: MacKey,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            bridge: "cni0".into(),
            is_gateway: false,
            is_default_gateway: false,
            force_address: false,
            ip_masq: false,
            ip_masq_backend: String::new(),
            mtu: 0,
            hairpin_mode: false,
            promisc_mode: false,
            vlan: 0,
            vlan_trunk: None,
            preserve_default_vlan: false,
            macspoofchk: false,
            enabledad: false,
            disable_container_interface: false,
            port_isolation: false,
            args: ArgsKey::default(),
            runtime_config: MacKey::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ArgsKey {
    cni: MacKey,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MacKey {
    mac: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Trunk {
    id: Option<i64>,
    #[serde(rename = "minID")]
    min: Option<i64>,
    #[serde(rename = "maxID")]
    max: Option<i64>,
}

impl BridgeConfig {
    /// Reads configuration and `CNI_ARGS`.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let raw: Keys = invocation.config.keys()?;
        let ipam = invocation.config.ipam_type()?;
        refuse_conflicts(&raw, ipam.as_deref())?;
        raw.bridge.parse::<IfName>().map_err(|error| {
            let msg = format!("bridge: {:?} cannot be the name of a bridge", raw.bridge);
            Error::config(msg).details(error)
        })?;
        if raw.bridge.contains('%') {
            let msg = format!("bridge: {:?}: the kernel replaces %", raw.bridge);
            return Err(Error::config(msg));
        }
        refuse_long_gateway(&raw)?;
        Ok(Self {
            gateway: gateway(&raw),
            force_address: raw.force_address,
            masquerade: keys::masquerade(raw.ip_masq, &raw.ip_masq_backend)?,
            mtu: keys::mtu(raw.mtu)?,
            hairpin: raw.hairpin_mode,
            promiscuous: raw.promisc_mode,
            isolated: raw.port_isolation,
            vlans: vlans(&raw)?,
            mac_spoof_check: raw.macspoofchk,
            detect_duplicates: raw.enabledad,
            leave_container_link_down: raw.disable_container_interface,
            mac: mac(&raw, &invocation.args)?,
            dns: invocation.config.dns()?,
            bridge: raw.bridge,
        })
    }
}

fn refuse_conflicts(keys: &Keys, ipam: Option<&str>) -> Result<(), Error> {
    if keys.hairpin_mode && keys.promisc_mode {
        let msg = "cannot set hairpin mode and promiscuous mode at the same time";
        return Err(Error::config(msg).details("hairpinMode, promiscMode"));
    }
    if keys.disable_container_interface && ipam.is_some() {
        let msg = "cannot use IPAM when DisableContainerInterface flag is set";
        return Err(Error::config(msg).details("disableContainerInterface, ipam.type"));
    }
    Ok(())
}

/// The gateway of a VLAN is a link called `<bridge>.<vlan>`.
fn refuse_long_gateway(keys: &Keys) -> Result<(), Error> {
    if keys.vlan == 0 || gateway(keys) == Gateway::None {
        return Ok(());
    }
    let name = format!("{}.{}", keys.bridge, keys.vlan);
    match name.parse::<IfName>() {
        Ok(_) => Ok(()),
        Err(error) => {
            let msg = format!("bridge, vlan: {name:?} cannot be the name of the VLAN's gateway");
            Err(Error::config(msg).details(error))
        }
    }
}

fn gateway(keys: &Keys) -> Gateway {
    match (keys.is_default_gateway, keys.is_gateway) {
        (true, _) => Gateway::DefaultRoute,
        (false, true) => Gateway::Address,
        (false, false) => Gateway::None,
    }
}

fn mac(raw: &Keys, args: &str) -> Result<Option<Mac>, Error> {
    let args = Args::parse(args, &["MAC"])?;
    keys::mac(&[
        ("runtimeConfig.mac", &raw.runtime_config.mac),
        ("args.cni.mac", &raw.args.cni.mac),
        ("CNI_ARGS MAC", args.value("MAC").unwrap_or_default()),
    ])
}

fn vlans(keys: &Keys) -> Result<Option<Vlans>, Error> {
    if !(0..=4094).contains(&keys.vlan) {
        let msg = format!("invalid VLAN ID {} (must be between 0 and 4094)", keys.vlan);
        return Err(Error::config(msg));
    }
    if keys.vlan == 0 && keys.vlan_trunk.is_none() {
        return Ok(None);
    }
    let mut trunk = BTreeSet::new();
    for entry in keys.vlan_trunk.iter().flatten() {
        add_trunk(entry, &mut trunk)?;
    }
    Ok(Some(Vlans {
        native: u16::try_from(keys.vlan).ok().filter(|id| *id != 0),
        trunk,
        keep_default: keys.preserve_default_vlan,
    }))
}

fn add_trunk(entry: &Trunk, trunk: &mut BTreeSet<u16>) -> Result<(), Error> {
    let (min, max) = match (entry.min, entry.max) {
        (Some(min), Some(max)) => (vlan_id(min, "minID")?, vlan_id(max, "maxID")?),
        (None, None) => match entry.id {
            Some(id) => (vlan_id(id, "id")?, vlan_id(id, "id")?),
            None => {
                return Err(Error::config(
                    "vlanTrunk: an entry without id, minID and maxID",
                ));
            }
        },
        _ => {
            let msg = "minID and maxID should be configured simultaneously, minID is missing";
            let other = if entry.max.is_none() {
                msg.replace("minID is", "maxID is")
            } else {
                msg.into()
            };
            return Err(Error::config(other));
        }
    };
    if min > max {
        return Err(Error::config(
            "minID is greater than maxID in trunk parameter",
        ));
    }
    trunk.extend(min..=max);
    // A range may come with a single number beside it.
    if let (Some(id), Some(_)) = (entry.id, entry.min) {
        trunk.insert(vlan_id(id, "id")?);
    }
    Ok(())
}

fn vlan_id(id: i64, key: &str) -> Result<u16, Error> {
    match u16::try_from(id) {
        Ok(id @ 1..=4094) => Ok(id),
        _ => Err(Error::config(format!("incorrect trunk {key} parameter")).details(id)),
    }
}
