//! Which of the two appliers a configuration means.

use std::str::FromStr;
use std::time::Duration;

use crate::iptables::{Family, Iptables};

/// How long anything of ours waits for the xtables lock; then it is [`crate::Error::Busy`].
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One of the two appliers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BackEnd {
    Iptables,
    Nftables,
}

impl BackEnd {
    /// What an absent key means, as in the reference: iptables, unless the host has none.
    pub fn automatic() -> Self {
        match Iptables::find(Family::Ipv4, PATIENCE) {
            Some(_) => Self::Iptables,
            None => Self::Nftables,
        }
    }
}

impl std::fmt::Display for BackEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        })
    }
}

impl FromStr for BackEnd {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "iptables" => Ok(Self::Iptables),
            "nftables" => Ok(Self::Nftables),
            _ => Err(()),
        }
    }
}
