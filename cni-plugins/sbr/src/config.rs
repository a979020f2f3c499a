//! The configuration: decoded and checked. Every refusal names the key (code 7).

use std::net::IpAddr;

use cni::{Error, NetworkConfig};
use serde::Deserialize;

/// How packets are routed by their source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SbrConfig {
    /// A table that somebody else fills; without one each address gets its own.
    pub(crate) table: Option<u32>,
    /// Instead of the addresses' own gateways, at most one of each family.
    pub(crate) gateways: Vec<IpAddr>,
    /// The networks of the interface stay in the main table, with the address as source.
    pub(crate) source_hints: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    table: Option<u32>,
    gateways: Vec<String>,
    add_source_hints: bool,
}

impl SbrConfig {
    /// Reads the configuration.
    pub(crate) fn parse(config: &NetworkConfig) -> Result<Self, Error> {
        let keys: Keys = config.keys()?;
        if keys.table == Some(0) {
            return Err(Error::config("table: 0 is no table"));
        }
        let mut gateways: Vec<IpAddr> = Vec::new();
        for text in &keys.gateways {
            let wrong = |why: &str| Error::config(format!("gateways: {text:?} {why}"));
            let ip: IpAddr = text.parse().map_err(|_| wrong("is no IP address"))?;
            if gateways.iter().any(|other| other.is_ipv4() == ip.is_ipv4()) {
                return Err(wrong("is the second one of its family"));
            }
            gateways.push(ip);
        }
        Ok(Self {
            table: keys.table,
            gateways,
            source_hints: keys.add_source_hints,
        })
    }

    /// The gateway of `family`, in place of the address's own.
    pub(crate) fn gateway(&self, is_ipv4: bool, own: Option<IpAddr>) -> Option<IpAddr> {
        let mut given = self.gateways.iter().copied();
        given.find(|ip| ip.is_ipv4() == is_ipv4).or(own)
    }
}
