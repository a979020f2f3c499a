//! The configuration: decoded and checked. Every refusal names the key (code 7).

use cni::{Error, IfName, NetworkConfig};
use serde::Deserialize;

/// Which VRF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VrfConfig {
    pub(crate) name: String,
    /// Its routing table; none means one that nobody uses.
    pub(crate) table: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    vrfname: String,
    table: u32,
}

impl VrfConfig {
    /// Reads the configuration for the interface `ifname`.
    pub(crate) fn parse(config: &NetworkConfig, ifname: &str) -> Result<Self, Error> {
        let Keys { vrfname, table } = config.keys()?;
        let msg = "configuration is expected to have a valid vrf name";
        let wrong = |why: String| Error::config(msg).details(format!("vrfname: {why}"));
        if vrfname.is_empty() {
            return Err(wrong("is missing".into()));
        }
        vrfname
            .parse::<IfName>()
            .map_err(|error| wrong(format!("{vrfname:?}: {error}")))?;
        if vrfname.contains('%') || vrfname == ifname {
            return Err(wrong(format!(
                "{vrfname:?} cannot be the name of a new link"
            )));
        }
        Ok(Self {
            name: vrfname,
            table: Some(table).filter(|table| *table > 0),
        })
    }
}
