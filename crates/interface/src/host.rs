//! Settings of the host that a network needs.

use cni::{Attempt, Code, Error};
use cni_plugin::Claim;
use ipnet::IpNet;
use netlink::link::Veth;
use netlink::stacked::{Kind, NewLink};
use netlink::{Socket, sysctl};
use sys::{Errno, NetNs};

/// `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding`.
pub const FORWARDING: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];

/// Switches forwarding on for the protocols in use: IPv4, IPv6. Warns of what the host loses.
pub fn enable_forwarding(families: [bool; 2], claim: &mut Claim) -> Result<(), Error> {
    if families[1] && sysctl::read(FORWARDING[1]).is_ok_and(|value| value == "0") {
        for link in losing_default() {
            claim.warn(format!(
                "IPv6 forwarding is switched on: {link:?} loses the default route that router \
                 advertisements have given it, for its accept_ra is 1; set \
                 net.ipv6.conf.{link}.accept_ra=2 on a host that is to keep it"
            ));
        }
    }
    for (used, name) in families.into_iter().zip(FORWARDING) {
        if used {
            let what = || format!("enable forwarding: {name}");
            sysctl::ensure(name, "1").attempt(Code::PLUGIN, what)?;
        }
    }
    Ok(())
}

/// Links whose default route the kernel takes away, without a word, from a host that begins to
/// forward: those that take router advertisements only from hosts that do not (accept_ra 1). Where a
/// program of the host reads them (accept_ra 0), the kernel leaves its routes alone.
fn losing_default() -> Vec<String> {
    let find = || -> netlink::Result<Vec<String>> {
        let mut host = Socket::route()?;
        let mut names = Vec::new();
        for index in host.links_with_advertised_default()? {
            names.extend(host.link_by_index(index)?.map(|link| link.name));
        }
        Ok(names)
    };
    let mut names = find().unwrap_or_default(); // a warning is not worth an error
    names.retain(|name| {
        let accepts = sysctl::read(&format!("ipv6/conf/{name}/accept_ra"));
        accepts.is_ok_and(|value| value == "1")
    });
    names
}

/// For CHECK: forwarding is still on for this protocol.
pub fn check_forwarding(is_v6: bool) -> Result<(), Error> {
    let setting = FORWARDING[usize::from(is_v6)];
    let value = sysctl::read(setting).attempt(Code::PLUGIN, || format!("read {setting}"))?;
    if value == "1" {
        return Ok(());
    }
    let msg = format!("forwarding is off: {setting} is {value}");
    Err(Error::new(Code::PLUGIN, msg))
}

/// A container must not be able to give the host routes (CVE-2020-10749).
pub fn refuse_router_advertisements(link: &str) -> Result<(), Error> {
    let name = format!("ipv6/conf/{link}/accept_ra");
    match sysctl::ensure(&name, "0") {
        Err(error) if error.errno() == Errno::ENOENT => Ok(()), // a host without IPv6
        done => done.attempt(Code::PLUGIN, || {
            format!("refuse router advertisements on {link:?}")
        }),
    }
}

/// For CHECK: it still takes none.
pub fn check_router_advertisements(link: &str) -> Result<(), Error> {
    let name = format!("ipv6/conf/{link}/accept_ra");
    match sysctl::read(&name) {
        Err(error) if error.errno() == Errno::ENOENT => Ok(()), // a host without IPv6
        value => match value
            .attempt(Code::PLUGIN, || format!("read {name}"))?
            .as_str()
        {
            "0" => Ok(()),
            value => {
                let msg = format!("{link:?} takes router advertisements: accept_ra is {value}");
                Err(Error::new(Code::PLUGIN, msg))
            }
        },
    }
}

/// Lets a link that this ADD made have IPv6 addresses, also where `net.ipv6.conf.default` says that
/// a new one has none: the kernel would refuse them with a bare `EACCES`.
pub fn allow_ipv6(link: &str, addresses: &[IpNet]) -> Result<(), Error> {
    let Some(name) = switch_of_ipv6(link, addresses) else {
        return Ok(());
    };
    sysctl::ensure(&name, "0").attempt(Code::PLUGIN, || format!("switch IPv6 on for {link:?}"))
}

/// The parameter that keeps `link` from having one of these addresses; nothing where none is IPv6's.
fn switch_of_ipv6(link: &str, addresses: &[IpNet]) -> Option<String> {
    let has_v6 = addresses.iter().any(|net| net.addr().is_ipv6());
    has_v6.then(|| format!("ipv6/conf/{link}/disable_ipv6"))
}

/// The same for a link that was there, which is not ours to change: an error with the remedy.
pub fn refuse_without_ipv6(link: &str, addresses: &[IpNet]) -> Result<(), Error> {
    let is_on = |name: String| sysctl::read(&name).is_ok_and(|value| value == "0");
    if switch_of_ipv6(link, addresses).is_none_or(is_on) {
        return Ok(());
    }
    let msg =
        format!("{link:?} cannot have an IPv6 address: the host has switched IPv6 off for it");
    Err(Error::new(Code::PLUGIN, msg).details(format!("net.ipv6.conf.{link}.disable_ipv6")))
}

/// For STATUS: code 50 if this process may not make interfaces, or the kernel has none of this
/// kind. It is tried, in a namespace that ends with it.
pub fn refuse_unable(kind: Option<Kind>) -> Result<(), Error> {
    let netns = NetNs::new().attempt(Code::NOT_AVAILABLE, || {
        "no interface can be made (needs CAP_NET_ADMIN and CAP_SYS_ADMIN)".into()
    })?;
    let name = kind.map_or("veth", |kind| kind.name());
    let made = try_in(&netns, kind);
    made.attempt(Code::NOT_AVAILABLE, || {
        format!("this host has no {name} links")
    })
}

fn try_in(netns: &NetNs, kind: Option<Kind>) -> Result<(), netlink::Error> {
    let mut socket = Socket::route_in(netns)?;
    socket.create_veth(&Veth {
        name: "probe0",
        mac: None,
        mtu: None,
        peer: "probe1",
        peer_netns: netns,
    })?;
    let (Some(kind), Some(parent)) = (kind, socket.link("probe0")?) else {
        return Ok(());
    };
    socket.create_link(&NewLink {
        name: "probe2",
        kind,
        parent: (kind != Kind::Dummy).then_some(parent.index),
        netns: None,
        mac: None,
        mtu: None,
    })
}
