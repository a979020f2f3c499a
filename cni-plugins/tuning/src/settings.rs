//! Reading and writing what is tuned: the interface's attributes, and sysctls of its namespace.

#![cfg_attr(test, allow(clippy::print_stderr, reason = "a skipped test says so"))]

use cni::{Attempt, Code, Error};
use interface::{Sandbox, on_host};
use netlink::link::Setting;
use netlink::{Link, Mac, Socket, sysctl};
use sys::Errno;

use crate::config::{Attributes, Sysctl};

/// All attributes as they are.
pub(crate) fn present(link: &Link) -> Attributes {
    Attributes {
        mac: link.mac,
        promiscuous: Some(link.is_set_promiscuous),
        mtu: Some(link.mtu),
        all_multicast: Some(link.is_all_multicast),
        tx_queue_length: Some(link.tx_queue_length),
    }
}

/// Those of `present` that `wanted` names: what has to be put back.
pub(crate) fn replaced(present: &Attributes, wanted: &Attributes) -> Attributes {
    Attributes {
        mac: present.mac.filter(|_| wanted.mac.is_some()),
        promiscuous: present.promiscuous.filter(|_| wanted.promiscuous.is_some()),
        mtu: present.mtu.filter(|_| wanted.mtu.is_some()),
        all_multicast: present
            .all_multicast
            .filter(|_| wanted.all_multicast.is_some()),
        tx_queue_length: present
            .tx_queue_length
            .filter(|_| wanted.tx_queue_length.is_some()),
    }
}

/// Gives the link the attributes that it does not have yet.
pub(crate) fn set_attributes(
    sandbox: &mut Sandbox,
    link: &Link,
    wanted: &Attributes,
) -> Result<(), Error> {
    if let Some(mac) = wanted.mac.filter(|mac| Some(*mac) != link.mac) {
        set_mac(sandbox, link, mac)?;
    }
    let present = present(link);
    let mut settings = Vec::new();
    if wanted.promiscuous.is_some() && wanted.promiscuous != present.promiscuous {
        settings.push(match wanted.promiscuous {
            Some(true) => Setting::Promiscuous,
            _ => Setting::NotPromiscuous,
        });
    }
    if wanted.mtu != present.mtu {
        settings.extend(wanted.mtu.map(Setting::Mtu));
    }
    if wanted.all_multicast != present.all_multicast {
        settings.extend(wanted.all_multicast.map(Setting::AllMulticast));
    }
    if wanted.tx_queue_length != present.tx_queue_length {
        settings.extend(wanted.tx_queue_length.map(Setting::TxQueueLength));
    }
    // One after the other, so that an error says which.
    for setting in settings {
        let what = || format!("set {:?} to {setting:?}", link.name);
        let set = sandbox
            .route
            .change_link(link.index, std::slice::from_ref(&setting));
        refused_is_configuration(set, what)?;
    }
    Ok(())
}

fn set_mac(sandbox: &mut Sandbox, link: &Link, mac: Mac) -> Result<(), Error> {
    let what = || format!("set the Ethernet address of {:?} to {mac}", link.name);
    match sandbox.route.change_link(link.index, &[Setting::Mac(mac)]) {
        // What some drivers say of a link that is up.
        Err(error) if error.errno() == Some(Errno::EBUSY) => {
            let set = on_host(set_mac_while_down(&mut sandbox.route, link, mac), what)?;
            refused_is_configuration(set, what)
        }
        set => refused_is_configuration(set, what),
    }
}

/// Going down costs a link its IPv6 addresses and all its routes: they are given back. The inner
/// result is the address's own, for a link is not left down because of it.
fn set_mac_while_down(
    route: &mut Socket,
    link: &Link,
    mac: Mac,
) -> netlink::Result<netlink::Result<()>> {
    let addresses = route.addresses_to_keep(link.index)?;
    let mut routes = route.kept_routes()?;
    routes.retain(|kept| kept.route.link == Some(link.index));
    route.change_link(link.index, &[Setting::Down])?;
    let set = route.change_link(link.index, &[Setting::Mac(mac)]);
    route.change_link(link.index, &[Setting::Up])?;
    for address in &addresses {
        route.give_address(link.index, address)?;
    }
    // Those without a gateway first: the others are reached through them.
    routes.sort_by_key(|kept| kept.route.gateway.is_some());
    for kept in &routes {
        route.restore_route(kept)?;
    }
    Ok(set)
}

/// A value that the kernel takes for impossible is the configuration's fault.
fn refused_is_configuration(
    result: netlink::Result<()>,
    what: impl FnOnce() -> String,
) -> Result<(), Error> {
    match &result {
        Err(error) => match error.errno() {
            Some(Errno::EINVAL | Errno::EADDRNOTAVAIL | Errno::ERANGE) => {
                result.attempt(Code::CONFIG, what)
            }
            _ => on_host(result, what),
        },
        Ok(()) => Ok(()),
    }
}

/// The present value of a sysctl; `None` for one that can only be written.
pub(crate) fn read_sysctl(sandbox: &Sandbox, sysctl: &Sysctl) -> Result<Option<String>, Error> {
    match sandbox.netns.run(|| sysctl::read(&sysctl.file)) {
        Err(error) if error.errno() == Errno::EACCES => Ok(None),
        Err(error) if error.errno() == Errno::ENOENT => Err(error).attempt(Code::CONFIG, || {
            format!("sysctl: there is no {:?}", sysctl.key)
        }),
        read => read
            .map(Some)
            .attempt(Code::PLUGIN, || format!("read sysctl {:?}", sysctl.key)),
    }
}

/// Gives a sysctl its value.
pub(crate) fn write_sysctl(sandbox: &Sandbox, sysctl: &Sysctl) -> Result<(), Error> {
    let Sysctl { key, file, value } = sysctl;
    let written = sandbox.netns.run(|| sysctl::ensure(file, value));
    let is_bad = matches!(&written, Err(error) if error.errno() == Errno::EINVAL);
    let code = if is_bad { Code::CONFIG } else { Code::PLUGIN };
    written.attempt(code, || format!("set sysctl {key:?} to {value:?}"))
}

/// Whether two texts of a sysctl mean the same: the kernel separates numbers by tabs, people by
/// blanks.
pub(crate) fn is_same_value(one: &str, other: &str) -> bool {
    one.split_whitespace().eq(other.split_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink::KeptRoute;
    use netlink::link::BridgeOptions;
    use netlink::route::Route;
    use sys::NetNs;

    fn routes(socket: &mut Socket) -> Vec<(String, Option<std::net::IpAddr>, Option<u32>)> {
        let all = socket.kept_routes().unwrap();
        let told = |kept: &KeptRoute| {
            let route = &kept.route;
            (route.destination.to_string(), route.gateway, route.mtu)
        };
        let mut told: Vec<_> = all.iter().map(told).collect();
        told.sort();
        told
    }

    #[test]
    fn a_link_that_had_to_go_down_has_its_addresses_and_routes_again() {
        let Ok(netns) = NetNs::new() else {
            return eprintln!("SKIP: no right to unshare(NEWNET)");
        };
        let mut socket = Socket::route_in(&netns).unwrap();
        socket
            .create_bridge("br0", BridgeOptions::default())
            .unwrap();
        let link = socket.link("br0").unwrap().unwrap();
        for address in ["10.1.0.2/24", "fd01::2/64"] {
            socket
                .add_address(link.index, address.parse().unwrap())
                .unwrap();
        }
        socket.change_link(link.index, &[Setting::Up]).unwrap();
        for (to, via) in [
            ("0.0.0.0/0", "10.1.0.1"),
            ("10.9.0.0/16", "10.1.0.1"),
            ("::/0", "fd01::1"),
            ("fd09::/64", "fd01::1"),
        ] {
            let via = Some(via.parse().unwrap());
            let route = Route {
                mtu: Some(1300),
                ..Route::new(to.parse().unwrap(), via, link.index)
            };
            socket.add_route(&route).unwrap();
        }
        let before = routes(&mut socket);
        let mac: Mac = "02:00:00:00:00:01".parse().unwrap();
        set_mac_while_down(&mut socket, &link, mac)
            .unwrap()
            .unwrap();
        let after = socket.link("br0").unwrap().unwrap();
        assert_eq!((after.mac, after.is_up), (Some(mac), true));
        assert_eq!(routes(&mut socket), before);
        // An address that is refused costs nothing either.
        let group: Mac = "01:00:5e:00:00:01".parse().unwrap();
        assert!(
            set_mac_while_down(&mut socket, &link, group)
                .unwrap()
                .is_err()
        );
        assert_eq!(routes(&mut socket), before);
    }
}
