//! The configuration of a ptp network: decoded, checked, and turned into what ADD needs.

use cni::{Dns, Error, Invocation};
use firewall::BackEnd;
use interface::keys;
use serde::Deserialize;

/// What a ptp network shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PtpConfig {
    /// `ipMasq`, by which back end.
    pub(crate) masquerade: Option<BackEnd>,
    pub(crate) mtu: Option<u32>,
    pub(crate) dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ip_masq: bool,
    ip_masq_backend: String,
    mtu: i64,
}

impl PtpConfig {
    /// Reads the configuration.
    pub(crate) fn parse(invocation: &Invocation) -> Result<Self, Error> {
        let raw: Keys = invocation.config.keys()?;
        if invocation.config.ipam_type()?.is_none() {
            let msg = "ptp requires an IPAM configuration: there is no link without addresses";
            return Err(Error::config(msg).details("ipam.type"));
        }
        Ok(Self {
            masquerade: keys::masquerade(raw.ip_masq, &raw.ip_masq_backend)?,
            mtu: keys::mtu(raw.mtu)?,
            dns: invocation.config.dns()?,
        })
    }
}
