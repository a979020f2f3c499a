//! The built plugin in namespaces of the test's own, seen with ip, nft and iptables-save.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use serde_json::{Value, json};
use testbed::network::{Container, Host, addresses, with};

const BRIDGE: &str = env!("CARGO_BIN_EXE_bridge");

fn config() -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0",
        "ipam": {"type": "ipam"}})
}

/// A host with one container in `config`, the container's result, and the configuration with it.
fn attached(keys: Value) -> Option<(Host, Container, Value)> {
    let host = Host::new()?;
    if !host.has(&["ip", "nft", "iptables-save", "ip6tables-save"]) {
        return None;
    }
    let container = host.container("c1", &addresses(&["10.5.0.2/24", "fd05::2/64"]));
    let config = with(&config(), keys);
    let result = host.run(BRIDGE, "ADD", &container, &config).result();
    Some((
        host,
        container,
        with(&config, json!({"prevResult": result})),
    ))
}

#[test]
fn a_container_gets_link_addresses_and_routes_and_loses_them() {
    let keys = json!({"isDefaultGateway": true, "hairpinMode": true, "portIsolation": true,
        "mtu": 1400, "runtimeConfig": {"mac": "02:00:5e:10:00:01"}});
    let Some((host, container, config)) = attached(keys) else {
        return;
    };
    let result = &config["prevResult"];
    let names: Vec<_> = (0..3)
        .map(|i| result["interfaces"][i]["name"].as_str().unwrap())
        .collect();
    assert_eq!((names[0], names[2]), ("br0", "eth0"));
    assert_eq!(result["interfaces"][2]["mac"], "02:00:5e:10:00:01");
    assert_eq!(result["interfaces"][2]["mtu"], 1400);
    assert_eq!(
        result["ips"][0],
        json!({"address": "10.5.0.2/24", "gateway": "10.5.0.1", "interface": 2})
    );
    let port = host.sh(&format!("ip -d link show {}", names[1]));
    for word in [
        "master br0",
        "hairpin on",
        "isolated on",
        "state UP",
        "mtu 1400",
    ] {
        assert!(port.contains(word), "{word} is missing in {port}");
    }
    assert!(
        container
            .sh("ip route")
            .contains("default via 10.5.0.1 dev eth0")
    );
    assert!(
        container
            .sh("ip -6 route")
            .contains("default via fd05::1 dev eth0")
    );
    assert!(host.sh("ip addr show br0").contains("10.5.0.1/24"));
    assert_eq!(host.sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
    assert!(host.run(BRIDGE, "CHECK", &container, &config).success);
    for _ in 0..2 {
        assert!(host.run(BRIDGE, "DEL", &container, &config).success);
    }
    assert_eq!(host.trace().trim(), "br0");
    assert_eq!(
        host.ipam_calls(),
        ["ADD c1", "CHECK c1", "DEL c1", "DEL c1"]
    );
}

#[test]
fn a_container_leaves_with_the_hosts_address_by_either_back_end() {
    for back_end in ["iptables", "nftables"] {
        let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": back_end});
        let Some((host, container, config)) = attached(keys) else {
            return;
        };
        let outside = host.container("outside", &addresses(&[]));
        connect_outside(&host, &outside);
        let listener = outside.inside(|| TcpListener::bind("192.0.2.2:7000").unwrap());
        let mut stream = container.inside(|| TcpStream::connect("192.0.2.2:7000").unwrap());
        let (mut accepted, from) = listener.accept().unwrap();
        assert_eq!(from.ip().to_string(), "192.0.2.1", "{back_end}");
        accepted.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        assert!(
            host.run(BRIDGE, "CHECK", &container, &config).success,
            "{back_end}"
        );
        // Gone, or never told: the rules are found by their owner.
        assert!(
            host.run_at(
                BRIDGE,
                "DEL",
                ("c1", ""),
                &with(&config, json!({"prevResult": null}))
            )
            .success
        );
        let trace = host.trace();
        assert!(
            !trace.contains("CNI") && !trace.contains("net: net"),
            "{trace}"
        );
    }
}

fn connect_outside(host: &Host, outside: &Container) {
    host.sh(&format!(
        "ip link add out0 type veth peer name eth0 netns {}",
        namespace_pid(outside)
    ));
    host.sh("ip addr add 192.0.2.1/24 dev out0; ip link set out0 up");
    outside.sh("ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up");
}

/// ip-link(8) wants a process or a path under /run/netns; a path below /proc is taken as one too.
fn namespace_pid(container: &Container) -> String {
    container.path()
}

#[test]
fn a_missing_rule_route_address_or_flag_is_found_by_check() {
    let keys = json!({"isDefaultGateway": true, "hairpinMode": true, "ipMasq": true,
        "ipMasqBackend": "nftables", "macspoofchk": true});
    let damages = [
        "nft flush chain inet cni_plugins_masquerade masq_checks",
        "nft flush chain bridge nat PREROUTING",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "ip link set $(ip -o link | grep -o 'veth[0-9a-f]*') nomaster",
        "ip link set $(ip -o link | grep -o 'veth[0-9a-f]*') type bridge_slave hairpin off",
        "ip addr flush dev br0",
    ];
    for damage in damages {
        let Some((host, container, config)) = attached(keys.clone()) else {
            return;
        };
        assert!(
            host.run(BRIDGE, "CHECK", &container, &config).success,
            "{damage}"
        );
        host.sh(damage);
        assert_eq!(
            host.run(BRIDGE, "CHECK", &container, &config).code(),
            100,
            "{damage}"
        );
    }
    for damage in [
        "ip route del default",
        "ip addr del 10.5.0.2/24 dev eth0",
        "ip link set eth0 address 02:00:00:00:00:09",
        "ip link set eth0 down",
    ] {
        let Some((host, container, config)) = attached(keys.clone()) else {
            return;
        };
        container.sh(damage);
        assert_eq!(
            host.run(BRIDGE, "CHECK", &container, &config).code(),
            100,
            "{damage}"
        );
    }
}

#[test]
fn nothing_is_left_of_an_add_that_is_refused() {
    let Some(host) = Host::new() else { return };
    let container = host.container("c1", &addresses(&["10.5.0.2/24"]));
    let refused = [
        (config(), "/nonexistent", 8),
        (with(&config(), json!({"vlan": 5000})), &container.path(), 7),
        (
            with(&config(), json!({"ipam": {"type": "absent"}})),
            &container.path(),
            7,
        ),
        (
            with(&config(), json!({"ipam": {}, "cniVersion": "0.2.0"})),
            &container.path(),
            7,
        ),
        (
            with(&config(), json!({"bridge": "lo"})),
            &container.path(),
            7,
        ),
    ];
    for (config, path, code) in refused {
        let answer = host.run_at(BRIDGE, "ADD", ("c1", path), &config);
        assert_eq!(answer.code(), code, "{config}");
        assert_eq!(host.trace(), "", "{config}");
    }
    assert!(host.ipam_calls().is_empty());
}

#[test]
fn an_add_that_fails_late_is_undone() {
    let Some(host) = Host::new() else { return };
    host.sh("ip link add br0 type bridge; ip addr add 10.99.0.1/24 dev br0");
    let container = host.container("c1", &addresses(&["10.5.0.2/24"]));
    let config = with(
        &config(),
        json!({"isGateway": true, "ipMasq": true, "ipMasqBackend": "nftables"}),
    );
    let answer = host.run(BRIDGE, "ADD", &container, &config);
    assert!(
        answer.json["msg"]
            .as_str()
            .unwrap()
            .contains("different from 10.5.0.1/24"),
        "{answer:?}"
    );
    assert_eq!(host.trace().trim(), "br0");
    assert_eq!(
        container.sh("ip -o link | grep -c eth0 || true").trim(),
        "0"
    );
    assert_eq!(host.ipam_calls(), ["ADD c1", "DEL c1"]);
    let forced = with(&config, json!({"forceAddress": true}));
    host.run(BRIDGE, "ADD", &container, &forced).result();
    assert!(!host.sh("ip addr show br0").contains("10.99.0.1"));
}

#[test]
fn vlans_are_refused_on_a_bridge_that_would_not_keep_them_apart() {
    let Some(host) = Host::new() else { return };
    host.sh("ip link add br0 type bridge");
    let container = host.container("c1", &addresses(&["10.5.0.2/24"]));
    for keys in [json!({"vlan": 100}), json!({"vlanTrunk": [{"id": 7}]})] {
        let answer = host.run(BRIDGE, "ADD", &container, &with(&config(), keys));
        assert_eq!(answer.code(), 7, "{answer:?}");
        let msg = answer.json["msg"].as_str().unwrap();
        assert!(msg.contains("does not filter VLANs"), "{msg}");
    }
    assert_eq!(host.trace().trim(), "br0");
    assert!(host.ipam_calls().is_empty());
}

#[test]
fn a_vlan_gateway_that_was_left_half_made_is_completed() {
    let Some(host) = Host::new() else { return };
    let make = "ip link add br0 type bridge vlan_filtering 1 2>&1 || true";
    if !host.has(&["ip", "bridge"]) {
        return;
    }
    if !host.sh(make).is_empty() {
        println!("SKIP: CONFIG_BRIDGE_VLAN_FILTERING");
        return;
    }
    // As after a kill -9 between making the pair and making its other end a port.
    host.sh("ip link add br0.100 type veth peer name half");
    let config = with(&config(), json!({"isGateway": true, "vlan": 100}));
    for n in [2, 3] {
        let ipam = addresses(&[&format!("10.5.0.{n}/24")]);
        let container = host.container(&format!("c{n}"), &ipam);
        host.run(BRIDGE, "ADD", &container, &config).result();
        let listener = host.inside(|| TcpListener::bind("10.5.0.1:7000").unwrap());
        let address = "10.5.0.1:7000".parse().unwrap();
        let patience = std::time::Duration::from_secs(2);
        let connected = container.inside(|| TcpStream::connect_timeout(&address, patience));
        assert!(connected.is_ok(), "c{n}: {connected:?}");
        drop(listener);
    }
    let vlans = host.sh("bridge vlan show dev half");
    assert!(vlans.contains("100 PVID Egress Untagged"), "{vlans}");
    assert!(!vlans.contains(" 1 "), "{vlans}");
}

#[test]
fn a_host_that_loses_its_advertised_default_route_is_told() {
    let Some(host) = Host::new() else { return };
    if !host.has(&["ip"]) {
        return;
    }
    host.sh(
        "ip link add up0 type veth peer name up1; ip link set up0 up; ip link set up1 up
             echo 1 > /proc/sys/net/ipv6/conf/up0/accept_ra
             ip -6 route add default via fe80::1 dev up0 proto ra",
    );
    let config = with(&config(), json!({"isGateway": true}));
    for (id, is_told) in [("c1", true), ("c2", false)] {
        let net = format!("fd05::{}/64", &id[1..].parse::<u8>().unwrap() + 1);
        let container = host.container(id, &addresses(&[&net]));
        let answer = host.run(BRIDGE, "ADD", &container, &config);
        assert!(answer.success, "{answer:?}");
        let is_told_now = answer.stderr.contains("net.ipv6.conf.up0.accept_ra=2");
        assert_eq!(is_told_now, is_told, "{id}: {}", answer.stderr);
    }
}

#[test]
fn an_ipv6_gateway_where_new_links_have_no_ipv6() {
    let Some(host) = Host::new() else { return };
    host.sh("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
    let keys = json!({"isGateway": true});
    let container = host.container("c1", &addresses(&["fd05::2/64"]));
    let config = with(&config(), keys);
    host.run(BRIDGE, "ADD", &container, &config).result();
    assert!(host.sh("ip -6 addr show br0").contains("fd05::1/64"));
    // A bridge that was there is not ours to change.
    host.sh("ip link add br1 type bridge");
    let other = with(&config, json!({"bridge": "br1", "name": "other"}));
    let container = host.container("c2", &addresses(&["fd06::2/64"]));
    let answer = host.run(BRIDGE, "ADD", &container, &other);
    let remedy = answer.json["details"].as_str().unwrap_or_default();
    assert!(
        remedy.contains("net.ipv6.conf.br1.disable_ipv6"),
        "{answer:?}"
    );
}

#[test]
fn a_taken_interface_name_stays_with_who_has_it() {
    let Some((host, container, config)) = attached(json!({})) else {
        return;
    };
    let again = host.run_at(BRIDGE, "ADD", ("c2", &container.path()), &config);
    assert!(
        again.json["msg"]
            .as_str()
            .unwrap()
            .contains("already exists"),
        "{again:?}"
    );
    assert!(host.run(BRIDGE, "CHECK", &container, &config).success);
    assert_eq!(host.ipam_calls(), ["ADD c1", "CHECK c1"]);
}

#[test]
fn layer_two_has_no_address_and_passes_check() {
    let keys = json!({"ipam": {}, "dns": {"nameservers": ["192.0.2.53"]}});
    let Some((host, container, config)) = attached(keys) else {
        return;
    };
    assert_eq!(config["prevResult"]["dns"]["nameservers"][0], "192.0.2.53");
    let other = host.container("c2", &addresses(&[]));
    host.run(
        BRIDGE,
        "ADD",
        &other,
        &with(&config, json!({"prevResult": null})),
    )
    .result();
    assert!(host.run(BRIDGE, "CHECK", &container, &config).success);
    assert!(container.sh("ip link show eth0").contains("state UP"));
    let keys = json!({"ipam": {}, "disableContainerInterface": true});
    let Some((_host, container, _)) = attached(keys) else {
        return;
    };
    assert!(!container.sh("ip link show eth0").contains(",UP"));
}

#[test]
fn del_releases_addresses_wherever_the_path_leads() {
    for path in ["", "/nonexistent", "/proc/self/comm"] {
        let keys = json!({"ipMasq": true, "ipMasqBackend": "nftables", "macspoofchk": true});
        let Some((host, _container, config)) = attached(keys) else {
            return;
        };
        let answer = host.run_at(BRIDGE, "DEL", ("c1", path), &config);
        assert!(answer.success, "{path}: {answer:?}");
        assert_eq!(host.trace().trim(), "br0", "{path}");
        assert_eq!(host.ipam_calls().last().unwrap(), "DEL c1");
    }
}

#[test]
fn an_address_is_kept_as_long_as_its_link_may_be_there() {
    let Some((host, container, config)) = attached(json!({})) else {
        return;
    };
    let port = "$(ip -o link | grep -o 'veth[0-9a-f]*')";
    let alias = host.sh(&format!("ip link show {port} | sed -n 's/^ *alias //p'"));
    // Neither end can be found: the path is a namespace that is none of the network, and the
    // port's alias is not ours.
    let unreachable = ("c1", "/proc/self/ns/mnt");
    host.sh(&format!("ip link set {port} alias other"));
    assert_eq!(host.run_at(BRIDGE, "DEL", unreachable, &config).code(), 100);
    assert_eq!(host.ipam_calls(), ["ADD c1"]);
    assert!(container.sh("ip addr show eth0").contains("10.5.0.2"));
    host.sh(&format!("ip link set {port} alias '{}'", alias.trim()));
    assert_eq!(host.run_at(BRIDGE, "DEL", unreachable, &config).code(), 100);
    assert_eq!(host.ipam_calls(), ["ADD c1", "DEL c1"], "one end is enough");
    assert_eq!(host.trace().trim(), "br0");
}

#[test]
fn gc_frees_what_is_not_valid_and_nothing_without_a_list() {
    let keys = json!({"ipMasq": true, "ipMasqBackend": "iptables", "macspoofchk": true});
    let Some((host, container, config)) = attached(keys) else {
        return;
    };
    let before = host.trace();
    assert!(host.run_at(BRIDGE, "GC", ("", ""), &config).success);
    let list = |ids: &[&str]| {
        let entries: Vec<_> = ids
            .iter()
            .map(|id| json!({"containerID": id, "ifname": "eth0"}))
            .collect();
        with(&config, json!({"cni.dev/valid-attachments": entries}))
    };
    assert!(
        host.run_at(BRIDGE, "GC", ("", ""), &list(&["c1", "c2"]))
            .success
    );
    assert_eq!(host.trace(), before);
    let other = with(&list(&[]), json!({"name": "other"}));
    assert!(host.run_at(BRIDGE, "GC", ("", ""), &other).success);
    assert_eq!(host.trace(), before);
    assert!(host.run(BRIDGE, "CHECK", &container, &config).success);
    assert!(host.run_at(BRIDGE, "GC", ("", ""), &list(&["c2"])).success);
    assert_eq!(host.trace().trim(), "br0");
}

#[test]
fn gc_with_a_grace_frees_what_it_saw_stale_before() {
    let name = format!("grace-{}", std::process::id());
    let keys = json!({"name": name, "ipMasq": true, "ipMasqBackend": "iptables",
        "macspoofchk": true});
    let Some((host, _container, config)) = attached(keys) else {
        return;
    };
    let now = sys::clock::since_boot().as_secs();
    let gc = |before: u64| {
        let keys = json!({"cni.dev/valid-attachments": [], "davit.dev/stale-before": before});
        let answer = host.run_at(BRIDGE, "GC", ("", ""), &with(&config, keys));
        assert!(answer.success, "{answer:?}");
    };
    let before = host.trace();
    gc(now + 600);
    assert_eq!(host.trace(), before, "nobody knew that it is stale");
    gc(now - 1);
    assert_eq!(host.trace(), before, "it was noted later");
    gc(now + 600);
    assert_eq!(host.trace().trim(), "br0");
    let token = interface::Owner::new(name, "c1", "eth0").token();
    let note = std::path::Path::new("/run/davit-cni/stale").join(token);
    std::fs::remove_file(note).unwrap();
}

#[test]
fn thirty_at_once_on_a_fresh_host() {
    let Some(host) = Host::new() else { return };
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables",
        "macspoofchk": true});
    let config = with(&config(), keys);
    let containers: Vec<_> = (2..32)
        .map(|n| host.container(&format!("c{n}"), &addresses(&[&format!("10.5.0.{n}/24")])))
        .collect();
    std::thread::scope(|scope| {
        let add = |container| host.run(BRIDGE, "ADD", container, &config);
        let jobs: Vec<_> = containers
            .iter()
            .map(|c| scope.spawn(move || add(c)))
            .collect();
        for job in jobs {
            job.join().unwrap().result();
        }
    });
    assert_eq!(
        host.sh("nft list ruleset | grep -c masquerade.comment")
            .trim(),
        "30"
    );
    std::thread::scope(|scope| {
        for container in &containers {
            scope.spawn(|| assert!(host.run(BRIDGE, "DEL", container, &config).success));
        }
    });
    assert_eq!(host.trace().trim(), "br0");
}

#[test]
fn a_forged_ethernet_address_is_dropped() {
    let Some((host, container, _)) = attached(json!({"isGateway": true, "macspoofchk": true}))
    else {
        return;
    };
    let listener = host.inside(|| TcpListener::bind("10.5.0.1:7000").unwrap());
    let connect = || {
        let address = "10.5.0.1:7000".parse().unwrap();
        TcpStream::connect_timeout(&address, std::time::Duration::from_secs(1))
    };
    assert!(container.inside(connect).is_ok());
    container.sh("ip link set eth0 address 02:00:00:00:00:09");
    assert!(container.inside(connect).is_err());
    drop(listener);
}

#[test]
fn duplicate_address_detection_is_waited_for_when_asked_for() {
    let Some((_host, container, _)) = attached(json!({"isGateway": true, "enabledad": true}))
    else {
        return;
    };
    assert!(!container.sh("ip -6 addr show eth0").contains("tentative"));
    assert_eq!(
        container
            .sh("cat /proc/sys/net/ipv6/conf/eth0/accept_dad")
            .trim(),
        "1"
    );
}

/// Where nobody waits for orphans, each would stay as a zombie.
#[test]
fn a_detach_outside_the_first_pid_namespace_leaves_no_process() {
    let Some((host, container, config)) = attached(json!({})) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let wrapper = dir.path().join("bridge");
    let then = "\"$0\"; code=$?; cat /proc/[0-9]*/comm >&2; exit $code";
    let text = format!("exec unshare --pid --fork --mount-proc sh -c '{then}' {BRIDGE}");
    testbed::bundle::script(&wrapper, "/bin/sh", &text).unwrap();
    let answer = host.run(wrapper.to_str().unwrap(), "DEL", &container, &config);
    assert!(answer.success, "{answer:?}");
    let left: Vec<&str> = answer.stderr.lines().collect();
    assert!(
        left.contains(&"sh") && !left.contains(&"bridge"),
        "{left:?}"
    );
    assert_eq!(host.trace().trim(), "br0");
}
