//! Which addresses are somebody's, and a subnet that is nobody's. Choosing is pure.
//!
//! What counts is every address of the host, every route of every table, those that refuse too
//! (somebody reserved them), and every range of every network in the directory, whether it is in
//! use now or not. Routes to everything, or to half of it as VPNs lay them, leave room.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink::Socket;
use netlink::route::MAIN_TABLE;

/// Addresses that are somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Which.
    pub(super) net: IpNet,
    /// Whose.
    pub(super) by: By,
}

/// Whose addresses are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The host's own, or beyond this interface of it.
    Link(String),
    /// Somewhere behind a route of this table.
    Route(u32),
    /// This network's.
    Network(String),
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let net = self.net;
        match &self.by {
            By::Link(link) => write!(f, "{net} of the host's interface {link}"),
            By::Route(MAIN_TABLE) => write!(f, "the host's route to {net}"),
            By::Route(table) => write!(f, "the host's route to {net} in table {table}"),
            By::Network(name) => write!(f, "{net} of network {name:?}"),
        }
    }
}

/// What the host has, as the kernel tells it now.
pub(super) fn of_host() -> anyhow::Result<Vec<Taken>> {
    let mut socket = Socket::route().context("routing socket")?;
    let links = socket.links()?;
    let name = |index: u32| {
        let link = links.iter().find(|link| link.index == index);
        link.map(|link| link.name.clone())
    };
    let addresses = socket.all_addresses()?.into_iter().map(|address| Taken {
        net: address.net.trunc(),
        by: By::Link(name(address.index).unwrap_or_else(|| address.index.to_string())),
    });
    let routes = socket
        .routes_and_refusals()?
        .into_iter()
        .map(|route| Taken {
            net: route.destination,
            by: match route
                .link
                .and_then(name)
                .filter(|_| route.gateway.is_none())
            {
                Some(link) => By::Link(link),
                None => By::Route(route.table.unwrap_or(MAIN_TABLE)),
            },
        });
    Ok(addresses.chain(routes).collect())
}

/// The first that `net` shares addresses with.
pub(super) fn overlap<'a>(net: &IpNet, taken: &'a [Taken]) -> Option<&'a Taken> {
    // 0.0.0.0/1 and 128.0.0.0/1 are a VPN's way to say everything without the default route.
    let counts = |taken: &&Taken| taken.net.prefix_len() > 1;
    let shares = |taken: &&Taken| taken.net.contains(net) || net.contains(&taken.net);
    taken.iter().filter(counts).find(shares)
}

/// From 10.4.0.0/24 upward, where nerdctl begins too; then the other private ones (RFC 1918).
pub(super) fn free_v4(taken: &[Taken]) -> Option<IpNet> {
    let subnets = |first: [u8; 4], last: [u8; 4]| {
        let (first, last) = (u32::from_be_bytes(first), u32::from_be_bytes(last));
        (first >> 8..=last >> 8).map(|number| Ipv4Addr::from(number << 8))
    };
    let candidates = subnets([10, 4, 0, 0], [10, 255, 255, 0])
        .chain(subnets([172, 16, 0, 0], [172, 31, 255, 0]))
        .chain(subnets([192, 168, 0, 0], [192, 168, 255, 0]));
    let mut nets =
        candidates.filter_map(|address| Some(IpNet::V4(Ipv4Net::new(address, 24).ok()?)));
    nets.find(|net| overlap(net, taken).is_none())
}

/// A /64 of a random prefix (RFC 4193): the same is not chosen on a second machine either.
pub(super) fn free_v6(
    taken: &[Taken],
    mut random: impl FnMut() -> anyhow::Result<[u8; 5]>,
) -> anyhow::Result<IpNet> {
    for _ in 0..100 {
        let [a, b, c, d, e] = random()?;
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&[0xfd, a, b, c, d, e]);
        let net = IpNet::V6(Ipv6Net::new(Ipv6Addr::from(bytes), 64)?);
        if overlap(&net, taken).is_none() {
            return Ok(net);
        }
    }
    anyhow::bail!("no free IPv6 subnet below fd00::/8; give one with --subnet")
}

/// Ranges whose addresses the kernel gives to no host, or does not route.
const NOBODYS: [(&str, &str); 9] = [
    ("0.0.0.0/8", "this host"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.0/24", "broadcast"),
    ("::/96", "loopback and no address"),
    ("::ffff:0:0/96", "IPv4 in IPv6"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

/// What of `net` can be no container's, and what it is.
pub(super) fn nobodys(net: &IpNet) -> Option<(&'static str, &'static str)> {
    let overlaps = |text: &str| {
        let special = text.parse::<IpNet>();
        special.is_ok_and(|special| special.contains(net) || net.contains(&special))
    };
    NOBODYS.into_iter().find(|(text, _)| overlaps(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(nets: &[&str]) -> Vec<Taken> {
        let taken = |net: &&str| Taken {
            net: net.parse().unwrap(),
            by: By::Network("x".into()),
        };
        nets.iter().map(taken).collect()
    }

    fn free(nets: &[&str]) -> Option<String> {
        free_v4(&taken(nets)).map(|net| net.to_string())
    }

    #[test]
    fn the_first_subnet_that_nobody_has() {
        for (nets, expected) in [
            (&[][..], "10.4.0.0/24"),
            (&["10.4.0.0/24"], "10.4.1.0/24"),
            (&["10.4.1.0/24"], "10.4.0.0/24"),
            (&["10.4.0.128/25", "10.4.1.7/32"], "10.4.2.0/24"),
            (&["10.4.0.0/14"], "10.8.0.0/24"),
            (
                &["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0"],
                "10.4.0.0/24",
            ),
            (&["10.0.0.0/8"], "172.16.0.0/24"),
            (&["10.0.0.0/8", "172.16.0.0/12"], "192.168.0.0/24"),
        ] {
            assert_eq!(free(nets).as_deref(), Some(expected), "{nets:?}");
        }
        assert_eq!(free(&["10.0.0.0/8", "172.0.0.0/8", "192.168.0.0/16"]), None);
    }

    #[test]
    fn a_random_prefix_is_tried_again_until_it_is_free() {
        let mut numbers = 0..;
        let mut random = || Ok([0, 0, 0, 0, numbers.next().unwrap()]);
        let taken = taken(&["fd00::/48", "fd00:0:1::/64"]);
        let net = free_v6(&taken, &mut random).unwrap();
        assert_eq!(net.to_string(), "fd00:0:2::/64");
        assert!(free_v6(&taken, || Ok([0; 5])).is_err());
    }

    #[test]
    fn an_overlap_has_a_name() {
        let all = [
            (
                By::Link("eth0".into()),
                "10.9.0.0/16 of the host's interface eth0",
            ),
            (By::Route(254), "the host's route to 10.9.0.0/16"),
            (By::Route(7), "the host's route to 10.9.0.0/16 in table 7"),
            (By::Network("a".into()), "10.9.0.0/16 of network \"a\""),
        ];
        for (by, expected) in all {
            let taken = [Taken {
                net: "10.9.0.0/16".parse().unwrap(),
                by,
            }];
            let found = overlap(&"10.9.3.0/24".parse().unwrap(), &taken).unwrap();
            assert_eq!(found.to_string(), expected);
            assert!(overlap(&"10.8.0.0/24".parse().unwrap(), &taken).is_none());
        }
    }
}
