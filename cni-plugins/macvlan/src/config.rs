//! The configuration of a macvlan network: decoded, checked, and turned into what ADD needs.

use cni::{Args, Error, Invocation};
use interface::keys;
use netlink::Mac;
use netlink::stacked::{Kind, MacVlanMode};
use serde::Deserialize;

/// What a macvlan network shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MacvlanConfig {
    /// `None`: the link of the default route.
    pub(crate) master: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<Mac>,
    pub(crate) link_in_container: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    master: String,
    mode: String,
    mtu: i64,
    mac: String,
    link_in_container: bool,
    #[serde(rename = "bcqueuelen")]
    broadcast_queue: u32,
    runtime_config: RuntimeConfig,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RuntimeConfig {
    mac: String,
}

impl MacvlanConfig {
    /// Reads configuration and `CNI_ARGS`.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let raw: Keys = invocation.config.keys()?;
        let args = Args::parse(&invocation.args, &["MAC"])?;
        let mac = keys::mac(&[
            ("runtimeConfig.mac", &raw.runtime_config.mac),
            ("CNI_ARGS MAC", args.value("MAC").unwrap_or_default()),
            ("mac", &raw.mac),
        ])?;
        Ok(Self {
            kind: Kind::Macvlan {
                mode: mode(&raw.mode)?,
                broadcast_queue: Some(raw.broadcast_queue).filter(|length| *length != 0),
            },
            mtu: keys::mtu(raw.mtu)?,
            mac,
            link_in_container: raw.link_in_container,
            master: Some(raw.master).filter(|name| !name.is_empty()),
        })
    }
}

fn mode(name: &str) -> Result<MacVlanMode, Error> {
    Ok(match name {
        "" | "bridge" => MacVlanMode::Bridge,
        "private" => MacVlanMode::Private,
        "vepa" => MacVlanMode::Vepa,
        "passthru" => MacVlanMode::Passthrough,
        other => {
            let msg = format!("unknown macvlan mode: {other:?}");
            return Err(Error::config(msg).details("mode: bridge, private, vepa or passthru"));
        }
    })
}
