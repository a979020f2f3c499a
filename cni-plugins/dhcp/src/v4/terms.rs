//! What a DHCPACK says, as a [`Lease`]. Pure.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::domain;
use crate::lease::{Lease, Moment, Server, Term, Terms};
use crate::v4::message::{Message, option};

/// Of a lease without option 51, as in the reference.
const DEFAULT_LEASE: u32 = 3600;
const FOR_EVER: u32 = u32::MAX;
/// RFC 2132 section 5.1: what is less is not an MTU.
const SMALLEST_MTU: u16 = 68;

/// The lease of `ack`, which was asked for at `since` and brought by `mac`; or what is wrong
/// with it.
pub(crate) fn lease(ack: &Message, since: Moment, mac: [u8; 6]) -> Result<Lease, String> {
    let options = &ack.options;
    let mask = options
        .address(option::SUBNET_MASK)
        .ok_or("DHCP option Subnet Mask not found in DHCPACK")?;
    let net = Ipv4Net::with_netmask(ack.yiaddr, mask)
        .map_err(|_| format!("DHCPACK with {mask} as Subnet Mask"))?;
    refuse_unusable(net, &options.addresses(option::ROUTERS))?;
    let server = options.address(option::SERVER_ID);
    let seconds = options.number(option::LEASE_TIME).unwrap_or(DEFAULT_LEASE);
    if seconds == 0 {
        return Err(format!("DHCPACK lends {} for 0 seconds", ack.yiaddr));
    }
    let (renew, rebind) = (
        options.number(option::RENEWAL_TIME),
        options.number(option::REBINDING_TIME),
    );
    Ok(Lease {
        address: net.into(),
        server: Server {
            id: server.map_or_else(Vec::new, |ip| ip.octets().to_vec()),
            mac,
        },
        since,
        term: (seconds != FOR_EVER).then(|| Term::new(since, seconds, renew, rebind)),
        terms: terms(ack),
    })
}

/// An address that no host of the subnet can have, or that another has.
fn refuse_unusable(net: Ipv4Net, routers: &[Ipv4Addr]) -> Result<(), String> {
    let address = net.addr();
    // RFC 3021: of two addresses neither is special.
    let has_ends = net.prefix_len() < 31;
    let problem = match address {
        _ if !is_usable(address) => "which no host can have",
        _ if has_ends && address == net.network() => "which is the subnet's own",
        _ if has_ends && address == net.broadcast() => "which is the subnet's broadcast address",
        _ if routers.contains(&address) => "which is the router's",
        _ => return Ok(()),
    };
    Err(format!("DHCPACK for the address {net}, {problem}"))
}

fn terms(ack: &Message) -> Terms {
    let options = &ack.options;
    let addresses = |code| options.addresses(code).into_iter().map(IpAddr::V4);
    let routers = options.addresses(option::ROUTERS);
    let router = routers.into_iter().find(|router| is_usable(*router));
    let mtu = options
        .get(option::MTU)
        .and_then(|value| value.try_into().ok());
    let mtu = mtu.map(u16::from_be_bytes);
    let search = options.get(option::DOMAIN_SEARCH).and_then(domain::names);
    Terms {
        gateway: router.map(IpAddr::V4),
        routes: routes(ack, router),
        mtu: mtu.filter(|mtu| *mtu >= SMALLEST_MTU),
        nameservers: addresses(option::DNS).collect(),
        domain: options.get(option::DOMAIN).map(text).unwrap_or_default(),
        search: search.unwrap_or_default(),
        time_servers: addresses(option::TIME_SERVERS).collect(),
    }
}

/// Option 121 overrides both others (RFC 3442); 33 has classful destinations.
fn routes(ack: &Message, router: Option<Ipv4Addr>) -> Vec<(IpNet, Option<IpAddr>)> {
    let classless = ack.options.get(option::CLASSLESS_ROUTES);
    if let Some(routes) = classless
        .and_then(classless_routes)
        .filter(|routes| !routes.is_empty())
    {
        return routes;
    }
    let pairs = ack.options.addresses(option::STATIC_ROUTES);
    let (pairs, _) = pairs.as_chunks::<2>();
    let fixed = pairs
        .iter()
        .filter(|[destination, gateway]| !destination.is_unspecified() && is_usable(*gateway))
        .map(|[destination, gateway]| (classful(*destination), Some(IpAddr::V4(*gateway))));
    let default = router.map(|router| (Ipv4Net::default().into(), Some(router.into())));
    fixed.chain(default).collect()
}

/// `None` if a destination is cut short: half a routing table is worse than the routers' option.
fn classless_routes(value: &[u8]) -> Option<Vec<(IpNet, Option<IpAddr>)>> {
    let (mut routes, mut rest) = (Vec::new(), value);
    while let Some((&width, after)) = rest.split_first() {
        let (significant, after) = after.split_at_checked(usize::from(width).div_ceil(8))?;
        let (gateway, after) = after.split_first_chunk::<4>()?;
        let mut octets = [0; 4];
        octets
            .get_mut(..significant.len())?
            .copy_from_slice(significant);
        let net = Ipv4Net::new(octets.into(), width).ok()?.trunc();
        let gateway = Ipv4Addr::from(*gateway);
        let gateway = (!gateway.is_unspecified()).then_some(IpAddr::V4(gateway));
        rest = after;
        // The kernel takes one default route; the server's first is meant first.
        let is_second = width == 0 && routes.iter().any(|(known, _)| *known == IpNet::from(net));
        if !is_second {
            routes.push((net.into(), gateway));
        }
    }
    Some(routes)
}

/// RFC 791 section 3.2: the class says how much of it is the network.
fn classful(destination: Ipv4Addr) -> IpNet {
    let width = match destination.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    };
    // Such a prefix length is always one; the whole address is what would be meant otherwise.
    Ipv4Net::new(destination, width).map_or_else(
        |_| Ipv4Net::from(destination).into(),
        |net| net.trunc().into(),
    )
}

/// RFC 1122 section 3.2.1.3: what stands for a host. 0/8, 127/8, and from 224/4 on nothing does.
fn is_usable(address: Ipv4Addr) -> bool {
    !matches!(address.octets(), [0 | 127 | 224.., ..])
}

/// Only what a host name may consist of, for it ends up in somebody's resolv.conf; some servers
/// count a final NUL.
fn text(value: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let end = value
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    match &value[..end] {
        name if name.iter().all(is_plain) => String::from_utf8_lossy(name).into_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::v4::message::Kind;

    fn ack(options: &[(u8, &[u8])]) -> Message {
        let mut ack = Message::new(Kind::Ack, 1, [2; 6]);
        ack.yiaddr = [10, 0, 0, 9].into();
        ack.options.set(option::SUBNET_MASK, [255, 255, 255, 0]);
        for (code, value) in options {
            ack.options.set(*code, *value);
        }
        ack
    }

    fn lease_of(options: &[(u8, &[u8])]) -> Lease {
        lease(&ack(options), Duration::ZERO, [4; 6]).unwrap()
    }

    fn routes_of(options: &[(u8, &[u8])]) -> Vec<String> {
        let routes = lease_of(options).terms.routes;
        let line = |(net, gateway): &(IpNet, Option<IpAddr>)| match gateway {
            Some(gateway) => format!("{net} via {gateway}"),
            None => format!("{net} link"),
        };
        routes.iter().map(line).collect()
    }

    const ROUTER: (u8, &[u8]) = (option::ROUTERS, &[10, 0, 0, 1, 10, 0, 0, 2]);
    const STATIC: (u8, &[u8]) = (
        option::STATIC_ROUTES,
        &[172, 16, 5, 0, 10, 0, 0, 3, 0, 0, 0, 0, 10, 0, 0, 4],
    );

    #[test]
    fn static_routes_are_classful_and_the_default_comes_last() {
        assert_eq!(
            routes_of(&[ROUTER, STATIC]),
            ["172.16.0.0/16 via 10.0.0.3", "0.0.0.0/0 via 10.0.0.1"]
        );
        assert!(routes_of(&[]).is_empty());
    }

    #[test]
    fn classless_routes_stand_alone() {
        let classless = [
            24, 192, 168, 7, 10, 0, 0, 1, 0, 10, 0, 0, 5, 32, 1, 2, 3, 4, 0, 0, 0, 0,
        ];
        assert_eq!(
            routes_of(&[ROUTER, STATIC, (option::CLASSLESS_ROUTES, &classless)]),
            [
                "192.168.7.0/24 via 10.0.0.1",
                "0.0.0.0/0 via 10.0.0.5",
                "1.2.3.4/32 link"
            ]
        );
        for broken in [
            &[24, 192][..],
            &[33, 1, 2, 3, 4, 5, 10, 0, 0, 1],
            &[255],
            &[],
        ] {
            let routes = routes_of(&[ROUTER, (option::CLASSLESS_ROUTES, broken)]);
            assert_eq!(routes, ["0.0.0.0/0 via 10.0.0.1"], "{broken:?}");
        }
    }

    #[test]
    fn the_words_about_the_network_are_read() {
        let lease = lease_of(&[
            (option::DNS, &[9, 9, 9, 9, 8, 8]),
            (option::DOMAIN, b"example.org\0"),
            (option::DOMAIN_SEARCH, b"\x01a\x00\x01b\xc0\x00"),
            (option::MTU, &[5, 120]),
            (option::TIME_SERVERS, &[10, 0, 0, 7]),
            (option::LEASE_TIME, &[0, 0, 0, 120]),
            (option::RENEWAL_TIME, &[0, 0, 0, 5]),
            (option::SERVER_ID, &[10, 0, 0, 1]),
        ]);
        assert_eq!(lease.address.to_string(), "10.0.0.9/24");
        assert_eq!(lease.terms.nameservers, [IpAddr::from([9, 9, 9, 9])]);
        assert_eq!(lease.terms.domain, "example.org");
        assert_eq!(lease.terms.search, ["a", "b.a"]);
        assert_eq!(lease.terms.mtu, Some(1400));
        assert_eq!(lease.terms.time_servers.len(), 1);
        assert_eq!(lease.server.id, [10, 0, 0, 1]);
        let term = lease.term.unwrap();
        assert_eq!((term.renew.as_secs(), term.expire.as_secs()), (5, 120));
    }

    #[test]
    fn nonsense_is_left_out_and_what_is_needed_is_demanded() {
        let lease_of = lease_of(&[
            (option::MTU, &[0, 20]),
            (option::DOMAIN, b"a\nnameserver 6.6.6.6"),
            (option::DOMAIN_SEARCH, b"\xc0\x00"),
            (option::LEASE_TIME, &[0xff; 4]),
            (option::ROUTERS, &[0, 0, 0, 0]),
        ]);
        assert_eq!(lease_of.terms, Terms::default());
        assert_eq!(lease_of.term, None);
        for (code, value, problem) in [
            (option::SUBNET_MASK, &[][..], "Subnet Mask not found"),
            (
                option::SUBNET_MASK,
                &[255, 0, 255, 0],
                "255.0.255.0 as Subnet Mask",
            ),
        ] {
            let error = lease(&ack(&[(code, value)]), Duration::ZERO, [0; 6]).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
        let refused = |address: [u8; 4], options: &[(u8, &[u8])]| {
            let mut nobody = ack(options);
            nobody.yiaddr = address.into();
            lease(&nobody, Duration::ZERO, [0; 6]).is_err()
        };
        for nobody in [
            [0; 4],
            [127, 0, 0, 5],
            [224, 0, 0, 5],
            [240, 0, 0, 5],
            [255; 4],
            [10, 0, 0, 0],
            [10, 0, 0, 255],
            [10, 0, 0, 1],
        ] {
            assert!(refused(nobody, &[ROUTER]), "{nobody:?}");
        }
        assert!(!refused([10, 0, 0, 9], &[ROUTER]));
        assert!(refused([10, 0, 0, 9], &[(option::LEASE_TIME, &[0; 4])]));
        let both = (option::SUBNET_MASK, &[255, 255, 255, 254][..]);
        assert!(!refused([10, 0, 0, 0], &[both]));
    }

    #[test]
    fn of_two_default_routes_the_first_is_kept() {
        let two = [0, 10, 0, 0, 1, 0, 10, 0, 0, 2];
        assert_eq!(
            routes_of(&[(option::CLASSLESS_ROUTES, &two)]),
            ["0.0.0.0/0 via 10.0.0.1"]
        );
    }
}
