//! The configuration: decoded, checked, and turned into what the verbs need.
//!
//! Every refusal is here and names the key (code 7), so that nothing is refused half-way.

use std::net::IpAddr;

use cni::{Error, Interface, IpConfig, NetworkConfig};
use serde::Deserialize;

use crate::firewalld::Firewalld;
use crate::record::Policy;

/// What lets traffic pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BackEnd {
    Rules(firewall::BackEnd),
    Firewalld,
}

/// What shall be done for an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FirewallConfig {
    /// `None`: whatever the host has.
    back_end: Option<BackEnd>,
    /// The chain that is the administrator's.
    pub(crate) admin_chain: String,
    pub(crate) zone: String,
    /// `None` is the policy `open`.
    pub(crate) policy: Option<Policy>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    backend: Option<String>,
    iptables_admin_chain_name: Option<String>,
    firewalld_zone: Option<String>,
    ingress_policy: Option<String>,
}

pub(crate) const DEFAULT_ADMIN_CHAIN: &str = "CNI-ADMIN";
/// XT_EXTENSION_MAXNAMELEN without its NUL.
const LONGEST_CHAIN: usize = 28;
/// IFNAMSIZ without its NUL.
const LONGEST_LINK: usize = 15;
/// Names of chains that are not the administrator's.
const TAKEN: [&str; 13] = [
    "INPUT",
    "FORWARD",
    "OUTPUT",
    "ACCEPT",
    "DROP",
    "RETURN",
    crate::rules::FORWARD,
    crate::rules::STAGE_1,
    crate::rules::STAGE_2,
    "forward",
    "admins",
    "attachments",
    "QUEUE",
];

impl FirewallConfig {
    /// Reads the configuration.
    pub(crate) fn parse(config: &NetworkConfig) -> Result<Self, Error> {
        let keys: Keys = config.keys()?;
        let or = |text: Option<String>, default: &str| match text {
            Some(text) if !text.is_empty() => text,
            _ => default.to_owned(),
        };
        let back_end = match keys.backend.as_deref() {
            None | Some("") => None,
            Some("firewalld") => Some(BackEnd::Firewalld),
            Some(name) => Some(BackEnd::Rules(name.parse().map_err(|()| {
                let msg = format!("backend: {name:?} is none of iptables, nftables, firewalld");
                Error::config(msg)
            })?)),
        };
        let policy = match keys.ingress_policy.as_deref() {
            None | Some("" | "open") => None,
            Some("same-bridge") => Some(Policy::SameBridge),
            Some("isolated") => Some(Policy::Isolated),
            Some(name) => {
                let error = Error::config(format!("unknown ingress policy: {name:?}"));
                return Err(error.details("ingressPolicy is open, same-bridge or isolated"));
            }
        };
        let zone = or(keys.firewalld_zone, "trusted");
        if zone.contains('/') || zone.chars().any(char::is_control) {
            let msg = format!("firewalldZone: {zone:?} cannot be a zone's name");
            return Err(Error::config(msg));
        }
        Ok(Self {
            back_end,
            admin_chain: admin_chain(or(keys.iptables_admin_chain_name, DEFAULT_ADMIN_CHAIN))?,
            zone,
            policy,
        })
    }

    /// The back end: the one asked for; else firewalld where it runs, for it would throw others'
    /// rules into doubt; else the host's programs; else the kernel itself.
    pub(crate) fn back_end(&self) -> BackEnd {
        self.back_end.unwrap_or_else(|| match Firewalld::connect() {
            Ok(_) => BackEnd::Firewalld,
            Err(_) => BackEnd::Rules(automatic()),
        })
    }
}

impl BackEnd {
    /// What makes rules: firewalld knows no ingress policy, so that is ours beside it, where no
    /// reload reaches.
    pub(crate) fn of_rules(self) -> firewall::BackEnd {
        match self {
            Self::Rules(back_end) => back_end,
            Self::Firewalld => firewall::BackEnd::Nftables,
        }
    }
}

/// One family's programs are enough.
fn automatic() -> firewall::BackEnd {
    match crate::iptables::is_there() {
        true => firewall::BackEnd::Iptables,
        false => firewall::BackEnd::Nftables,
    }
}

fn admin_chain(name: String) -> Result<String, Error> {
    let is_word = |c: char| c.is_ascii_graphic() && !"\"\\'".contains(c);
    let fits = name.len() <= LONGEST_CHAIN && name.chars().all(is_word);
    if !fits || name.starts_with(['-', '!']) || TAKEN.contains(&name.as_str()) {
        let msg = format!("iptablesAdminChainName: {name:?} cannot be the administrator's chain");
        let details = format!("at most {LONGEST_CHAIN} letters, and no chain of somebody else");
        return Err(Error::config(msg).details(details));
    }
    Ok(name)
}

/// The addresses of this interface, and those that are nobody's in particular.
pub(crate) fn addresses(result: &cni::Result, ifname: &str) -> Vec<IpAddr> {
    let is_ours = |i: &Interface| i.name == ifname && !i.sandbox.is_empty();
    let fits = |ip: &&IpConfig| {
        let interface = ip.interface.and_then(|index| result.interfaces.get(index));
        interface.is_none_or(is_ours)
    };
    let ours = result.ips.iter().filter(fits);
    ours.map(|ip| ip.address.addr()).collect()
}

/// The link of the host that an ingress policy is about: by convention the first of the result.
pub(crate) fn bridge(result: &cni::Result, policy: Policy) -> Result<String, Error> {
    let first = result.interfaces.first();
    let bridge = first.filter(|i| i.sandbox.is_empty() && !i.name.is_empty());
    let bridge = bridge.ok_or_else(|| {
        let msg = format!("interface needs to be set for ingress policy \"{policy}\"");
        Error::config(msg).details("chain firewall behind bridge, whose result names the bridge")
    })?;
    let name = &bridge.name;
    let is_odd = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.len() > LONGEST_LINK || name.contains(is_odd) || name == "." || name == ".." {
        let msg = format!("prevResult.interfaces[0].name: {name:?} cannot be a link's name");
        let details = format!("1 to {LONGEST_LINK} bytes without '/', ':' and white space");
        return Err(Error::config(msg).details(details));
    }
    Ok(name.clone())
}

#[cfg(test)]
mod tests {
    use cni::Code;

    use super::*;

    #[test]
    fn the_bridge_of_a_policy_is_a_link_s_name() {
        let named = |name: &str| {
            let interface = Interface {
                name: name.into(),
                ..Interface::default()
            };
            let result = cni::Result {
                interfaces: vec![interface],
                ..cni::Result::default()
            };
            bridge(&result, Policy::Isolated)
        };
        assert_eq!(named("cni-podman0").unwrap(), "cni-podman0");
        for odd in ["", "a/b", "..", "br 0", "sixteen-letters-"] {
            assert_eq!(named(odd).unwrap_err().code, Code::CONFIG, "{odd:?}");
        }
    }
}
