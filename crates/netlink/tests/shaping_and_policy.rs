//! Traffic control, policy rules and kept routes against the kernel, in a namespace of the test's
//! own.

#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use netlink::link::{BridgeOptions, Setting};
use netlink::route::Route;
use netlink::{Bucket, Rule, Socket};
use sys::{Errno, NetNs};

/// A namespace with a bridge `br0`, up, that has an address of each family.
fn net() -> Option<(Socket, u32)> {
    let Ok(netns) = NetNs::new() else {
        eprintln!("SKIP: no right to unshare(NEWNET)");
        return None;
    };
    let mut socket = Socket::route_in(&netns).unwrap();
    socket
        .create_bridge("br0", BridgeOptions::default())
        .unwrap();
    let index = socket.link("br0").unwrap().unwrap().index;
    for address in ["10.1.0.2/24", "fd01::2/64"] {
        socket.add_address(index, address.parse().unwrap()).unwrap();
    }
    socket.change_link(index, &[Setting::Up]).unwrap();
    Some((socket, index))
}

#[test]
fn a_bucket_is_set_changed_seen_and_removed() {
    let Some((mut socket, index)) = net() else {
        return;
    };
    for (rate, burst, limit) in [
        (1_000_000, 125_000, 150_000),
        (1, 4_000, 4_000),
        (250_000_000_000, u32::MAX, u32::MAX), // 2 Tbit/s
        (12_345, u32::MAX / 8, 9_999_999),
    ] {
        let bucket = Bucket { rate, burst, limit };
        socket.set_bucket(index, bucket).unwrap();
        let installed = socket.bucket(index).unwrap().unwrap();
        assert!(bucket.is(&installed), "{bucket:?} became {installed:?}");
        let other = Bucket {
            rate: rate + 1,
            ..bucket
        };
        assert!(!other.is(&installed));
    }
    assert!(socket.remove_bucket(index).unwrap());
    assert!(!socket.remove_bucket(index).unwrap());
    assert_eq!(socket.bucket(index).unwrap(), None);
}

#[test]
fn what_arrives_is_redirected_to_an_ifb() {
    let Some((mut socket, index)) = net() else {
        return;
    };
    match socket.create_ifb("ifb7", 1400) {
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => {
            return eprintln!("SKIP: a kernel with ifb");
        }
        made => made.unwrap(),
    }
    let ifb = socket.link("ifb7").unwrap().unwrap();
    assert_eq!((ifb.kind.as_deref(), ifb.mtu), (Some("ifb"), 1400));
    assert_eq!(socket.redirections(index).unwrap(), []);
    socket.redirect_arriving(index, ifb.index).unwrap();
    assert_eq!(socket.redirections(index).unwrap(), [ifb.index]);
    let again = socket.redirect_arriving(index, ifb.index).unwrap_err();
    assert_eq!(again.errno(), Some(Errno::EEXIST));
    assert_eq!(socket.redirections(index).unwrap(), [ifb.index]);
    assert_eq!(socket.links_with_ingress().unwrap(), [index]);
    assert!(socket.remove_redirection(index).unwrap());
    assert!(!socket.remove_redirection(index).unwrap());
    assert_eq!(socket.redirections(index).unwrap(), []);
    assert_eq!(socket.redirections(4711).unwrap(), []);
}

#[test]
fn the_attributes_of_a_link_are_set_and_seen() {
    let Some((mut socket, index)) = net() else {
        return;
    };
    let settings = [
        Setting::Promiscuous,
        Setting::AllMulticast(true),
        Setting::TxQueueLength(77),
    ];
    socket.change_link(index, &settings).unwrap();
    let link = socket.link_by_index(index).unwrap().unwrap();
    assert!(link.is_promiscuous && link.is_set_promiscuous && link.is_all_multicast && link.is_up);
    assert_eq!(link.tx_queue_length, 77);
    let settings = [Setting::NotPromiscuous, Setting::AllMulticast(false)];
    socket.change_link(index, &settings).unwrap();
    let link = socket.link_by_index(index).unwrap().unwrap();
    assert!(!link.is_set_promiscuous && !link.is_all_multicast && link.is_up);
}

#[test]
fn a_rule_is_added_once_seen_and_deleted() {
    let Some((mut socket, _)) = net() else {
        return;
    };
    for source in ["10.1.0.2/32", "fd01::2/128"] {
        let rule = Rule {
            source: Some(source.parse().unwrap()),
            table: Some(1000),
            priority: Some(500),
            protocol: 217,
            is_narrow: false,
        };
        socket.add_rule(&rule).unwrap();
        let again = socket.add_rule(&rule).unwrap_err();
        assert_eq!(again.errno(), Some(Errno::EEXIST));
        let rules = socket.rules().unwrap();
        let found = rules.iter().filter(|found| **found == rule);
        assert_eq!(found.count(), 1, "{rules:?}");
        let earlier = Rule {
            priority: None,
            ..rule
        };
        socket.add_rule(&earlier).unwrap();
        assert!(socket.delete_rule(&rule).unwrap());
        let rules = socket.rules().unwrap();
        let by = rules.iter().filter(|found| found.protocol == rule.protocol);
        assert_eq!(by.count(), 1, "{rules:?}");
        // Somebody else's, of the same words, stays.
        let other = Rule {
            protocol: 216,
            ..earlier
        };
        assert!(!socket.delete_rule(&other).unwrap());
        assert!(socket.delete_rule(&earlier).unwrap());
        assert!(!socket.delete_rule(&earlier).unwrap());
    }
}

#[test]
fn a_route_moves_to_another_table_and_back_as_it_was() {
    let Some((mut socket, index)) = net() else {
        return;
    };
    for (to, via) in [("192.168.0.0/16", "10.1.0.1"), ("fd09::/64", "fd01::1")] {
        let route = Route {
            mtu: Some(1300),
            priority: Some(77),
            ..Route::new(to.parse().unwrap(), Some(via.parse().unwrap()), index)
        };
        socket.add_route(&route).unwrap();
        let find = |socket: &mut Socket| {
            let mut routes = socket.kept_routes().unwrap();
            routes.retain(|kept| kept.route.destination == route.destination);
            routes
        };
        let [main] = &find(&mut socket)[..] else {
            panic!("one route to {to}")
        };
        let moved = main.in_table(1000);
        socket.restore_route(&moved).unwrap();
        socket.restore_route(&moved).unwrap();
        assert!(socket.delete_route(main).unwrap());
        assert!(!socket.delete_route(main).unwrap());
        let [found] = &find(&mut socket)[..] else {
            panic!("one route to {to}")
        };
        assert_eq!(found.route.table, Some(1000));
        assert_eq!(
            (found.route.mtu, found.route.gateway),
            (Some(1300), route.gateway)
        );
        assert!(socket.delete_route(&moved).unwrap());
        let recorded = netlink::KeptRoute::from_bytes(main.as_bytes().to_vec()).unwrap();
        socket.restore_route(&recorded).unwrap();
        assert_eq!(&find(&mut socket)[..], std::slice::from_ref(main));
    }
    assert_eq!(netlink::KeptRoute::from_bytes(vec![2, 0, 0]), None);
}
