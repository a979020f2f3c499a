//! The nouns of this crate against the kernel, in namespaces that each test makes for itself.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use std::time::{Duration, Instant};

use netlink::address::{Detection, RTNLGRP_IPV6_IFADDR, Settled};
use netlink::link::{BridgeOptions, PortFlag, Setting, Veth};
use netlink::route::Route;
use netlink::{Events, Socket, sysctl};
use sys::{Errno, NetNs};

/// A host and a container, joined by a veth pair `eth0` - `veth0` whose host end is in `br0`.
struct Net {
    container_ns: NetNs,
    host: Socket,
    container: Socket,
}

fn net() -> Option<Net> {
    let (Ok(host_ns), Ok(container_ns)) = (NetNs::new(), NetNs::new()) else {
        eprintln!("SKIP: no right to unshare(NEWNET)");
        return None;
    };
    let mut host = Socket::route_in(&host_ns).unwrap();
    let mut container = Socket::route_in(&container_ns).unwrap();
    host.create_bridge("br0", BridgeOptions::default()).unwrap();
    container.create_veth(&veth(&host_ns)).unwrap();
    let bridge = host.link("br0").unwrap().unwrap().index;
    let port = host.link("veth0").unwrap().unwrap().index;
    host.change_link(bridge, &[Setting::Up]).unwrap();
    host.change_link(port, &[Setting::Master(bridge), Setting::Up])
        .unwrap();
    Some(Net {
        container_ns,
        host,
        container,
    })
}

fn veth(host: &NetNs) -> Veth<'_> {
    let mac = Some("02:00:5e:10:00:01".parse().unwrap());
    Veth {
        name: "eth0",
        mac,
        mtu: Some(1400),
        peer: "veth0",
        peer_netns: host,
    }
}

#[test]
fn a_veth_pair_reaches_from_the_container_into_the_bridge() {
    let Some(Net {
        mut host,
        mut container,
        container_ns,
    }) = net()
    else {
        return;
    };
    let inside = container.link("eth0").unwrap().unwrap();
    assert_eq!(inside.mac.unwrap().to_string(), "02:00:5e:10:00:01");
    assert_eq!((inside.mtu, inside.kind.as_deref()), (1400, Some("veth")));
    let port = host.link("veth0").unwrap().unwrap();
    assert_eq!(port.peer, Some(inside.index));
    let number = host.namespace_number(&container_ns).unwrap();
    assert!(number.is_some() && port.peer_netns == number);
    let elsewhere = NetNs::new().unwrap();
    assert_eq!(host.namespace_number(&elsewhere).unwrap(), None);
    assert_eq!(port.master, Some(host.link("br0").unwrap().unwrap().index));
    host.set_port_flags(port.index, &[PortFlag::Hairpin, PortFlag::Isolated])
        .unwrap();
    host.change_link(port.index, &[Setting::Alias("ours".into())])
        .unwrap();
    let port = host.link_by_index(port.index).unwrap().unwrap();
    assert!(port.hairpin && port.isolated);
    assert_eq!(port.alias.as_deref(), Some("ours"));
    assert!(host.links().unwrap().iter().any(|link| link.name == "br0"));
    assert!(host.delete_link(port.index).unwrap());
    assert!(!host.delete_link(port.index).unwrap());
    assert_eq!(container.link("eth0").unwrap(), None);
}

#[test]
fn a_taken_name_is_eexist_and_the_kernel_says_more_where_it_can() {
    let Some(Net {
        mut host,
        container_ns,
        ..
    }) = net()
    else {
        return;
    };
    let taken = host
        .create_veth(&Veth {
            name: "br0",
            ..veth(&container_ns)
        })
        .unwrap_err();
    assert_eq!(taken.errno(), Some(Errno::EEXIST));
    let route = Route::new(
        "10.9.0.0/16".parse().unwrap(),
        Some([10, 8, 0, 1].into()),
        1,
    );
    let text = host.add_route(&route).unwrap_err().to_string();
    assert!(
        text.starts_with("add route to 10.9.0.0/16 via 10.8.0.1: "),
        "{text}"
    );
    assert!(
        text.ends_with(')'),
        "no extended acknowledgement in {text:?}"
    );
}

#[test]
fn every_attribute_of_a_route_arrives() {
    // The host must live: its end of the pair, and with it ours, dies with its namespace.
    let Some(Net {
        mut container,
        host: _host,
        ..
    }) = net()
    else {
        return;
    };
    let eth0 = container.link("eth0").unwrap().unwrap().index;
    container
        .add_address(eth0, "10.1.0.2/24".parse().unwrap())
        .unwrap();
    container.change_link(eth0, &[Setting::Up]).unwrap();
    let route = Route {
        source: Some([10, 1, 0, 2].into()),
        table: Some(1000),
        scope: Some(0),
        priority: Some(77),
        mtu: Some(1300),
        advmss: Some(1200),
        ..Route::new(
            "192.168.0.0/16".parse().unwrap(),
            Some([10, 1, 0, 1].into()),
            eth0,
        )
    };
    container.add_route(&route).unwrap();
    assert!(container.routes().unwrap().contains(&route));
    assert_eq!(
        container.link_towards([10, 1, 0, 9].into()).unwrap(),
        Some(eth0)
    );
    assert_eq!(
        container.link_towards([172, 16, 0, 1].into()).unwrap(),
        None
    );
}

#[test]
fn a_route_beside_others_is_refused_only_when_it_is_there_itself() {
    // The host must live: its end of the pair, and with it ours, dies with its namespace.
    let Some(Net {
        mut container,
        host: _host,
        ..
    }) = net()
    else {
        return;
    };
    let eth0 = container.link("eth0").unwrap().unwrap().index;
    let address = "10.1.0.2/24".parse().unwrap();
    container.add_address(eth0, address).unwrap();
    container.change_link(eth0, &[Setting::Up]).unwrap();
    let by = |last: u8| {
        let everywhere = "0.0.0.0/0".parse().unwrap();
        Route::new(everywhere, Some([10, 1, 0, last].into()), eth0)
    };
    container.add_route_beside(&by(7)).unwrap();
    let alone = container.add_route(&by(8)).unwrap_err();
    assert_eq!(alone.errno(), Some(Errno::EEXIST));
    container.add_route_beside(&by(8)).unwrap();
    for last in [7, 8] {
        let again = container.add_route_beside(&by(last)).unwrap_err();
        assert_eq!(again.errno(), Some(Errno::EEXIST));
    }
    let routes = container.routes().unwrap();
    let gateways: Vec<_> = routes.iter().filter_map(|route| route.gateway).collect();
    assert_eq!(gateways, [by(8), by(7)].map(|route| route.gateway.unwrap()));
}

#[test]
fn an_ipv6_address_is_waited_for() {
    // The host must live: its end of the pair, and with it ours, dies with its namespace.
    let Some(Net {
        mut container,
        host: _host,
        container_ns,
    }) = net()
    else {
        return;
    };
    let eth0 = container.link("eth0").unwrap().unwrap().index;
    let mut events = Events::route_in(&container_ns, RTNLGRP_IPV6_IFADDR).unwrap();
    container.change_link(eth0, &[Setting::Up]).unwrap();
    container
        .add_address(eth0, "fd00::2/64".parse().unwrap())
        .unwrap();
    let tentative =
        |a: &netlink::address::Address| a.net.addr().is_ipv6() && a.detection != Detection::Done;
    assert!(container.addresses(eth0).unwrap().iter().any(tentative));
    assert_eq!(
        container
            .settle_addresses(eth0, &mut events, Instant::now())
            .unwrap(),
        Settled::TooLate
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    assert_eq!(
        container
            .settle_addresses(eth0, &mut events, deadline)
            .unwrap(),
        Settled::Usable
    );
    assert!(!container.addresses(eth0).unwrap().iter().any(tentative));
}

#[test]
fn a_setting_goes_to_the_namespace_of_its_thread() {
    let Some(Net { container_ns, .. }) = net() else {
        return;
    };
    let before = sysctl::read("ipv4/ip_forward").unwrap();
    let flipped = if before == "1" { "0" } else { "1" };
    let inside = container_ns.run(|| {
        sysctl::ensure("ipv4/ip_forward", flipped)?;
        sysctl::read("ipv4/ip_forward")
    });
    assert_eq!(inside.unwrap(), flipped);
    assert_eq!(sysctl::read("ipv4/ip_forward").unwrap(), before);
    assert_eq!(
        sysctl::ensure("ipv4/nothing", "1").unwrap_err().errno(),
        Errno::ENOENT
    );
}

#[test]
fn whoever_goes_on_after_a_deletion_cannot_see_the_link() {
    let (Ok(ns), Ok(_)) = (NetNs::new(), NetNs::new()) else {
        eprintln!("SKIP: no right to unshare(NEWNET)");
        return;
    };
    let socket = || Socket::route_in(&ns).unwrap();
    let (mut first, mut witness) = (socket(), socket());
    for _ in 0..10 {
        first.create_ifb("ifb7", 1500).unwrap();
        let index = first.link("ifb7").unwrap().unwrap().index;
        let (deleted, seen) = first.delete_link_then(socket(), index, |is_gone| {
            (is_gone, witness.link_by_index(index).unwrap())
        });
        assert!(deleted.unwrap());
        assert_eq!(seen, (true, None));
        // One that is gone already is as well as deleted.
        let (deleted, is_gone) = first.delete_link_then(socket(), index, |is_gone| is_gone);
        assert!(deleted.is_ok() && is_gone);
    }
}

#[test]
fn a_deletion_that_the_kernel_refuses_is_an_error_and_the_link_stays() {
    let Ok(ns) = NetNs::new() else {
        eprintln!("SKIP: no right to unshare(NEWNET)");
        return;
    };
    let socket = || Socket::route_in(&ns).unwrap();
    let mut first = socket();
    let lo = first.link("lo").unwrap().unwrap().index;
    let (deleted, is_gone) = first.delete_link_then(socket(), lo, |is_gone| is_gone);
    let refused = deleted.unwrap_err();
    assert_eq!(refused.errno(), Some(Errno::EOPNOTSUPP), "{refused}");
    assert!(!is_gone);
    assert!(first.link_by_index(lo).unwrap().is_some());
}
