//! The configuration of port mappings: decoded, checked, and turned into what the verbs need.
//!
//! Every refusal is here and names the key (code 7), so that nothing is refused half-way.

use std::net::IpAddr;

use cni::{Error, Interface, IpConfig, NetworkConfig};
use firewall::{BackEnd, Match, Protocol, Test};
use ipnet::IpNet;
use serde::Deserialize;

/// What shall be forwarded, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortmapConfig {
    pub(crate) back_end: BackEnd,
    pub(crate) sources: Masqueraded,
    /// The mark of packets to be masqueraded, iptables only.
    pub(crate) mark: Mark,
    /// Further conditions of every mapping: IPv4, IPv6.
    pub(crate) conditions: [Vec<Match>; 2],
    pub(crate) mappings: Vec<Mapping>,
}

/// Whose forwarded packets get the host's source address, so that answers come back this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masqueraded {
    /// Nobody's (`snat: false`).
    Nobody,
    /// Those from the container's own network and from the host's loopback.
    Near,
    /// Everybody's (`masqAll`).
    All,
}

/// How a packet is told to be masqueraded later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// With these bits of the packet's mark.
    Bits(u32),
    /// By somebody else's chain (`externalSetMarkChain`).
    Chain(String),
}

/// One port mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) protocol: Protocol,
    /// The host's address, any if absent or unspecified.
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    backend: Option<String>,
    snat: Option<bool>,
    masq_all: bool,
    mark_masq_bit: Option<i64>,
    external_set_mark_chain: Option<String>,
    conditions_v4: Option<Vec<String>>,
    conditions_v6: Option<Vec<String>>,
    runtime_config: RuntimeKeys,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RuntimeKeys {
    port_mappings: Vec<MappingKeys>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct MappingKeys {
    host_port: i64,
    container_port: i64,
    protocol: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
}

/// The reference's default: 0x2000.
const MARK_BIT: i64 = 13;

impl PortmapConfig {
    /// Reads the configuration.
    pub(crate) fn parse(config: &NetworkConfig) -> Result<Self, Error> {
        let keys: Keys = config.keys()?;
        let mappings = keys.runtime_config.port_mappings.iter().map(mapping);
        let mappings = mappings.collect::<Result<Vec<_>, _>>()?;
        let mark = mark(&keys)?;
        let back_end = back_end(&keys, mappings.is_empty())?;
        let conditions = [
            conditions("conditionsV4", keys.conditions_v4.as_deref(), back_end)?,
            conditions("conditionsV6", keys.conditions_v6.as_deref(), back_end)?,
        ];
        let sources = match (keys.snat, keys.masq_all) {
            (Some(false), _) => Masqueraded::Nobody,
            (_, true) => Masqueraded::All,
            (_, false) => Masqueraded::Near,
        };
        Ok(Self {
            back_end,
            sources,
            mark,
            conditions,
            mappings,
        })
    }
}

fn mapping(keys: &MappingKeys) -> Result<Mapping, Error> {
    let port = |number: i64, of: &str| match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Error::config(format!("Invalid {of} port number: {number}"))),
    };
    let container_port = port(keys.container_port, "container")?;
    let host_port = port(keys.host_port, "host")?;
    let protocol = match keys.protocol.as_str() {
        "" => Protocol::Tcp, // as everybody who publishes ports reads it
        name => name.parse().map_err(|()| {
            let msg = format!("portMappings: protocol {name:?} is none of tcp, udp, sctp, dccp");
            Error::config(msg)
        })?,
    };
    let host_ip = match keys.host_ip.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            Error::config(format!("portMappings: hostIP {text:?} is no IP address"))
        })?),
    };
    Ok(Mapping {
        protocol,
        host_ip,
        host_port,
        container_port,
    })
}

fn mark(keys: &Keys) -> Result<Mark, Error> {
    let chain = keys
        .external_set_mark_chain
        .as_deref()
        .filter(|chain| !chain.is_empty());
    match (chain, keys.mark_masq_bit) {
        (Some(_), Some(_)) => Err(Error::config(
            "Cannot specify externalSetMarkChain and markMasqBit",
        )),
        (Some(chain), None) => {
            let is_word = |c: char| c.is_ascii_graphic() && !"\"\\'".contains(c);
            if chain.len() > 28 || chain.starts_with(['-', '!']) || !chain.chars().all(is_word) {
                let msg = format!("externalSetMarkChain: {chain:?} cannot be a chain's name");
                return Err(Error::config(msg));
            }
            Ok(Mark::Chain(chain.into()))
        }
        (None, bit) => match bit.unwrap_or(MARK_BIT) {
            bit @ 0..=31 => Ok(Mark::Bits(1 << bit)),
            _ => Err(Error::config("MasqMarkBit must be between 0 and 31")),
        },
    }
}

/// Which back end: the one asked for, or the host's, unless an option belongs to the other.
fn back_end(keys: &Keys, nothing_to_map: bool) -> Result<BackEnd, Error> {
    let chosen = match keys.backend.as_deref() {
        None | Some("") if nothing_to_map => return Ok(BackEnd::Nftables), // not looked at
        None | Some("") => BackEnd::automatic(),
        Some(name) => name
            .parse()
            .map_err(|()| Error::config(format!("unrecognized backend {name:?}")))?,
    };
    let mut foreign = Vec::new();
    for (key, words) in [
        ("conditionsV4", &keys.conditions_v4),
        ("conditionsV6", &keys.conditions_v6),
    ] {
        let first = words.iter().flatten().next();
        let speaks = first.map(|word| match word.starts_with(['-', '!']) {
            true => BackEnd::Iptables,
            false => BackEnd::Nftables,
        });
        foreign.extend(speaks.filter(|speaks| *speaks != chosen).map(|_| key));
    }
    if keys.external_set_mark_chain.is_some() && chosen == BackEnd::Nftables {
        foreign.push("externalSetMarkChain");
    }
    if foreign.is_empty() {
        return Ok(chosen);
    }
    let msg = format!(
        "{chosen} backend was requested but configuration contains {}-specific options {foreign:?}",
        if chosen == BackEnd::Iptables {
            BackEnd::Nftables
        } else {
            BackEnd::Iptables
        },
    );
    Err(Error::config(msg))
}

fn conditions(key: &str, words: Option<&[String]>, back_end: BackEnd) -> Result<Vec<Match>, Error> {
    let words = words.unwrap_or_default();
    if words.is_empty() {
        return Ok(Vec::new());
    }
    if words
        .iter()
        .flat_map(|word| word.chars())
        .any(char::is_control)
    {
        return Err(Error::config(format!(
            "{key}: a control character in {words:?}"
        )));
    }
    match back_end {
        BackEnd::Iptables => Ok(vec![Match::Words(words.to_vec())]),
        BackEnd::Nftables => {
            let text = words.join(" ");
            nft_conditions(&text).ok_or_else(|| {
                Error::config(format!("{key}: {text:?} is not understood"))
                    .details("known are: ip|ip6 saddr|daddr [!=] NETWORK, and iifname [!=] NAME")
            })
        }
    }
}

/// The part of nft(8)'s language that limits a published port to clients.
fn nft_conditions(text: &str) -> Option<Vec<Match>> {
    let mut words = text.split_whitespace().peekable();
    let mut matches = Vec::new();
    while let Some(word) = words.next() {
        let field = if word == "iifname" {
            word
        } else {
            words.next()?
        };
        let test = match words.next_if(|word| matches!(*word, "!=" | "==")) {
            Some("!=") => Test::IsNot,
            _ => Test::Is,
        };
        let value = words.next()?.trim_matches('"');
        matches.push(match (word, field) {
            ("iifname", _) => (value.len() < 16 && !value.contains('*'))
                .then(|| Match::InputLink(test, value.into()))?,
            ("ip" | "ip6", "saddr") => Match::Source(test, network(value, word)?),
            ("ip" | "ip6", "daddr") => Match::Destination(test, network(value, word)?),
            _ => return None,
        });
    }
    Some(matches)
}

fn network(text: &str, family: &str) -> Option<IpNet> {
    let net = text
        .parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    (net.addr().is_ipv4() == (family == "ip")).then_some(net)
}

/// The container's addresses that mappings lead to: the first of each family that is this
/// interface's, or nobody's in particular.
pub(crate) fn targets(result: &cni::Result, ifname: &str) -> Vec<IpNet> {
    let is_ours = |i: &Interface| i.name == ifname && !i.sandbox.is_empty();
    let fits = |ip: &&IpConfig| {
        let interface = ip.interface.and_then(|index| result.interfaces.get(index));
        interface.is_none_or(is_ours)
    };
    let first = |v4: bool| {
        let mut ips = result.ips.iter().filter(fits).map(|ip| ip.address);
        ips.find(|address| address.addr().is_ipv4() == v4)
    };
    [true, false].into_iter().filter_map(first).collect()
}

impl Mapping {
    /// Whether it is about a container address of this family. An unspecified address means any
    /// of its own family.
    pub(crate) fn concerns(&self, target: IpAddr) -> bool {
        self.host_ip
            .is_none_or(|ip| ip.is_ipv4() == target.is_ipv4())
    }

    /// The one address of the host that it is limited to.
    pub(crate) fn only_address(&self) -> Option<IpAddr> {
        self.host_ip.filter(|ip| !ip.is_unspecified())
    }

    /// Whether clients on the host itself reach it by 127.0.0.1.
    pub(crate) fn serves_loopback(&self) -> bool {
        self.only_address().is_none_or(|ip| ip.is_loopback())
    }
}
