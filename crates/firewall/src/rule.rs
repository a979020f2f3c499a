//! A rule as a value: what it matches, what happens then, and whose it is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use netlink::Mac;

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Dccp,
}

impl Protocol {
    /// The protocol's IANA number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Dccp => 33,
        }
    }

    /// The protocol with this IANA number, if it is one of ours.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp, Self::Dccp]
            .into_iter()
            .find(|p| p.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
            Self::Dccp => "dccp",
        })
    }
}

impl FromStr for Protocol {
    type Err = ();

    /// The name in any case: Kubernetes writes `TCP`.
    fn from_str(name: &str) -> Result<Self, ()> {
        let is = |p: &Self| p.to_string().eq_ignore_ascii_case(name);
        [Self::Tcp, Self::Udp, Self::Sctp, Self::Dccp]
            .into_iter()
            .find(is)
            .ok_or(())
    }
}

/// Whether a value must be equal or must differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Test {
    Is,
    IsNot,
}

/// One condition of a rule; all of them must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// The packet's source lies in this network.
    Source(Test, IpNet),
    /// The packet's destination lies in this network.
    Destination(Test, IpNet),
    /// The packet's destination is an address of this host.
    DestinationIsLocal,
    /// The packet's destination port is one of these; nftables takes exactly one.
    Ports(Protocol, Vec<u16>),
    /// The packet came in by the link of this name.
    InputLink(Test, String),
    /// The packet leaves by the link of this name.
    OutputLink(Test, String),
    /// The packet belongs to a flow that was let through before, or is about one (an ICMP error).
    Established,
    /// The same, in nftables said as iptables says it: in a table that iptables shows, a native
    /// expression for it would make `iptables-save` refuse the whole table.
    EstablishedForXtables,
    /// The frame's source address (bridge family).
    SourceMac(Mac),
    /// The flow's destination was translated (nftables only).
    DestinationTranslated,
    /// These bits of the packet's mark are all set.
    MarkBits(u32),
    /// Words of the back end's own language, given by the administrator (iptables only).
    Words(Vec<String>),
}

/// What happens to a packet that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// The source becomes the address of the outgoing link.
    Masquerade,
    /// The destination becomes this address and port.
    Dnat(IpAddr, u16),
    /// These bits of the mark are set (iptables only).
    SetMarkBits(u32),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// All must hold.
    pub matches: Vec<Match>,
    /// Then this happens.
    pub verdict: Verdict,
    /// Shown by `nft list ruleset` and `iptables-save`; at most 127 bytes reach nftables.
    pub comment: String,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(matches: Vec<Match>, verdict: Verdict) -> Self {
        Self {
            matches,
            verdict,
            comment: String::new(),
        }
    }

    /// The same rule with a comment.
    pub fn comment(self, comment: impl Into<String>) -> Self {
        Self {
            comment: comment.into(),
            ..self
        }
    }
}
