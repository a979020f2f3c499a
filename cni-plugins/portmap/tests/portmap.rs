//! The built plugin in namespaces of the test's own, with real traffic, by either back end.
//!
//! Three namespaces: the host, a container on a veth (as `bridge` would leave it) and a client.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::network::{Container, Host, addresses, with};

const PORTMAP: &str = env!("CARGO_BIN_EXE_portmap");
const BACK_ENDS: [&str; 2] = ["nftables", "iptables"];

struct Net {
    host: Host,
    container: Container,
    client: Container,
}

/// Host 192.0.2.1, client 192.0.2.2; on a bridge 10.5.0.1 the container 10.5.0.2; IPv6 likewise.
fn net() -> Option<Net> {
    let host = Host::new()?;
    if !host.has(&["ip", "nft", "iptables-save", "ip6tables-save"]) {
        return None;
    }
    let container = host.container("c1", &addresses(&[]));
    let client = host.container("client", &addresses(&[]));
    // Link-local addresses need no second of duplicate address detection here.
    let no_detection = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad";
    host.sh(no_detection);
    container.sh(no_detection);
    client.sh(no_detection);
    host.sh(&format!(
        "ip link add br0 type bridge; ip addr add 10.5.0.1/24 dev br0
         ip addr add fd05::1/64 dev br0 nodad; ip link set br0 up
         ip link add port0 type veth peer name eth0 netns {}
         ip link set port0 master br0 up; ip link set port0 type bridge_slave hairpin on
         ip link add out0 type veth peer name eth0 netns {}
         ip addr add 192.0.2.1/24 dev out0; ip addr add fd99::1/64 dev out0 nodad
         ip link set out0 up
         echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        container.path(),
        client.path(),
    ));
    container.sh(
        "ip addr add 10.5.0.2/24 dev eth0; ip addr add fd05::2/64 dev eth0 nodad
         ip link set eth0 up; ip route add default via 10.5.0.1; ip route add default via fd05::1",
    );
    client.sh(
        "ip addr add 192.0.2.2/24 dev eth0; ip addr add fd99::2/64 dev eth0 nodad
         ip link set eth0 up",
    );
    Some(Net {
        host,
        container,
        client,
    })
}

fn config(back_end: &str, mappings: Value) -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "type": "portmap", "backend": back_end,
        "runtimeConfig": {"portMappings": mappings},
        "prevResult": {"cniVersion": "1.1.0", "ips": [
            {"address": "10.5.0.2/24"}, {"address": "fd05::2/64"}]}})
}

/// As containerd writes it.
fn web() -> Value {
    json!([{"HostPort": 8080, "ContainerPort": 80, "Protocol": "TCP", "HostIP": ""}])
}

/// Serves `connections` and answers each with the client's address.
fn serve(container: &Container, connections: usize) -> std::thread::JoinHandle<()> {
    let listener = container.inside(|| TcpListener::bind("[::]:80").unwrap());
    std::thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, from) = listener.accept().unwrap();
            stream
                .write_all(from.ip().to_canonical().to_string().as_bytes())
                .unwrap();
        }
    })
}

/// Whom the container sees when `address` is called; nothing when nobody answers.
fn seen_at(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(4)).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Its rules are longer than a socket's send buffer by default.
#[test]
fn a_thousand_ports_are_published_and_taken_back() {
    let Some(Net {
        host,
        container,
        client: _client,
    }) = net()
    else {
        return;
    };
    let mapping = |port: u16| json!({"hostPort": port, "containerPort": port, "protocol": "tcp"});
    let mappings: Vec<_> = (20_000..21_000).map(mapping).collect();
    let config = config("nftables", json!(mappings));
    let before = host.trace();
    host.run(PORTMAP, "ADD", &container, &config).result();
    assert!(host.run(PORTMAP, "CHECK", &container, &config).success);
    let answer = host.run(PORTMAP, "DEL", &container, &config);
    assert!(answer.success, "{answer:?}");
    assert_eq!(host.trace(), before);
}

#[test]
fn a_published_port_is_reached_from_everywhere() {
    for back_end in BACK_ENDS {
        let Some(Net {
            host,
            container,
            client,
        }) = net()
        else {
            return;
        };
        let config = config(back_end, web());
        let result = host.run(PORTMAP, "ADD", &container, &config).result();
        assert_eq!(result["ips"], config["prevResult"]["ips"]);
        let server = serve(&container, 6);
        let outside = |address: &str| client.inside(|| seen_at(address));
        assert_eq!(
            outside("192.0.2.1:8080").as_deref(),
            Some("192.0.2.2"),
            "{back_end}"
        );
        assert_eq!(
            outside("[fd99::1]:8080").as_deref(),
            Some("fd99::2"),
            "{back_end}"
        );
        let local = |address: &str| host.inside(|| seen_at(address));
        assert_eq!(
            local("127.0.0.1:8080").as_deref(),
            Some("10.5.0.1"),
            "{back_end}"
        );
        assert_eq!(
            local("192.0.2.1:8080").as_deref(),
            Some("192.0.2.1"),
            "{back_end}"
        );
        let hairpin = |address: &str| container.inside(|| seen_at(address));
        assert_eq!(
            hairpin("192.0.2.1:8080").as_deref(),
            Some("10.5.0.1"),
            "{back_end}"
        );
        assert_eq!(
            hairpin("[fd99::1]:8080").as_deref(),
            Some("fd05::1"),
            "{back_end}"
        );
        server.join().unwrap();
        // What only passes through the host is not caught.
        client.sh("ip route add 10.5.0.0/24 via 192.0.2.1");
        assert_eq!(outside("10.5.0.2:8080"), None, "{back_end}");
        assert!(
            host.run(PORTMAP, "CHECK", &container, &config).success,
            "{back_end}"
        );
        // Runtimes often give no mappings on DEL.
        let bare = with(&config, json!({"runtimeConfig": {}, "prevResult": null}));
        for _ in 0..2 {
            assert!(
                host.run(PORTMAP, "DEL", &container, &bare).success,
                "{back_end}"
            );
        }
        assert_eq!(outside("192.0.2.1:8080"), None, "{back_end}");
        assert_eq!(rules(&host), "", "{back_end}");
    }
}

fn rules(host: &Host) -> String {
    host.sh(
        "nft list ruleset | grep -w -e comment -e cni_hostport || true
             iptables-save -t nat 2>/dev/null | grep -- -A || true
             ip6tables-save -t nat 2>/dev/null | grep -- -A || true",
    )
}

#[test]
fn a_port_that_is_taken_is_refused_and_nothing_changes() {
    for back_end in BACK_ENDS {
        let Some(Net {
            host, container, ..
        }) = net()
        else {
            return;
        };
        host.run(PORTMAP, "ADD", &container, &config(back_end, web()))
            .result();
        let before = rules(&host);
        for other_back_end in BACK_ENDS {
            let other = host.run_at(PORTMAP, "ADD", ("c2", "/x"), &config(other_back_end, web()));
            assert_eq!(other.code(), 100);
            assert_eq!(
                other.json["msg"],
                "host port 8080/tcp is taken by container \"c1\""
            );
        }
        let listener = host.inside(|| TcpListener::bind("127.0.0.1:9090").unwrap());
        let shadow = json!([{"hostPort": 9090, "containerPort": 80, "protocol": "tcp"}]);
        let refused = host.run_at(PORTMAP, "ADD", ("c2", "/x"), &config(back_end, shadow));
        assert_eq!(refused.code(), 100);
        assert!(
            refused.json["msg"]
                .as_str()
                .unwrap()
                .contains("listens on 127.0.0.1:9090")
        );
        drop(listener);
        assert_eq!(rules(&host), before);
        // Another address, or another protocol, is another port.
        let other = json!([{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]);
        host.run_at(PORTMAP, "ADD", ("c2", "/x"), &config(back_end, other))
            .result();
    }
}

#[test]
fn attachments_are_independent_and_adding_again_replaces() {
    for back_end in BACK_ENDS {
        let Some(Net {
            host, container, ..
        }) = net()
        else {
            return;
        };
        let first = config(back_end, web());
        let second = with(&first, json!({"name": "net2"}));
        host.run(PORTMAP, "ADD", &container, &first).result();
        host.run(PORTMAP, "ADD", &container, &second).result();
        assert!(host.run(PORTMAP, "DEL", &container, &first).success);
        assert!(
            host.run(PORTMAP, "CHECK", &container, &second).success,
            "{back_end}"
        );
        assert_eq!(
            host.run(PORTMAP, "CHECK", &container, &first).code(),
            100,
            "{back_end}"
        );
        let moved =
            json!({"prevResult": {"cniVersion": "1.1.0", "ips": [{"address": "10.5.0.9/24"}]}});
        host.run(PORTMAP, "ADD", &container, &with(&second, moved))
            .result();
        let text = host.sh("nft list table ip cni_hostport 2>/dev/null || iptables-save -t nat");
        assert!(
            text.contains("10.5.0.9:80") && !text.contains("10.5.0.2:80"),
            "{text}"
        );
        assert!(host.run(PORTMAP, "DEL", &container, &second).success);
        assert_eq!(rules(&host), "", "{back_end}");
    }
}

#[test]
fn each_removed_rule_is_found_by_check() {
    let damages = [
        ("nftables", "nft flush chain ip cni_hostport hostports"),
        ("nftables", "nft flush chain ip cni_hostport prerouting"),
        ("nftables", "nft flush chain ip cni_hostport output"),
        ("nftables", "nft flush chain ip cni_hostport masquerading"),
        ("nftables", "nft flush chain ip6 cni_hostport hostports"),
        ("iptables", "iptables -t nat -F CNI-HOSTPORT-DNAT"),
        ("iptables", "iptables -t nat -F CNI-HOSTPORT-SETMARK"),
        ("iptables", "iptables -t nat -F CNI-HOSTPORT-MASQ"),
        ("iptables", "iptables -t nat -F PREROUTING"),
        ("iptables", "iptables -t nat -F OUTPUT"),
        ("iptables", "iptables -t nat -F POSTROUTING"),
        ("iptables", "ip6tables -t nat -F CNI-HOSTPORT-DNAT"),
        (
            "nftables",
            "echo 0 > /proc/sys/net/ipv4/conf/br0/route_localnet",
        ),
    ];
    for (back_end, damage) in damages {
        let Some(Net {
            host, container, ..
        }) = net()
        else {
            return;
        };
        let config = config(back_end, web());
        host.run(PORTMAP, "ADD", &container, &config).result();
        assert!(
            host.run(PORTMAP, "CHECK", &container, &config).success,
            "{damage}"
        );
        host.sh(damage);
        assert_eq!(
            host.run(PORTMAP, "CHECK", &container, &config).code(),
            100,
            "{damage}"
        );
        assert!(
            host.run(PORTMAP, "DEL", &container, &config).success,
            "{damage}"
        );
        assert_eq!(rules(&host), "", "{damage}");
    }
}

#[test]
fn forty_ports_and_a_long_id_fit() {
    for back_end in BACK_ENDS {
        let Some(Net { host, .. }) = net() else {
            return;
        };
        let port = |n: u16| json!({"hostPort": n, "containerPort": n, "protocol": "tcp"});
        let config = config(back_end, (9000..9040).map(port).collect());
        let id = "c".repeat(200);
        host.run_at(PORTMAP, "ADD", (&id, "/x"), &config).result();
        assert!(
            host.run_at(PORTMAP, "CHECK", (&id, "/x"), &config).success,
            "{back_end}"
        );
        assert!(
            host.run_at(PORTMAP, "DEL", (&id, "/x"), &config).success,
            "{back_end}"
        );
        assert_eq!(rules(&host), "", "{back_end}");
    }
}

#[test]
fn gc_frees_what_is_not_valid_and_nothing_without_a_list() {
    for back_end in BACK_ENDS {
        let Some(Net {
            host, container, ..
        }) = net()
        else {
            return;
        };
        let config = config(back_end, web());
        host.run(PORTMAP, "ADD", &container, &config).result();
        let list = |ids: &[&str]| {
            let entry = |id: &&str| json!({"containerID": id, "ifname": "eth0"});
            let entries: Vec<_> = ids.iter().map(entry).collect();
            with(&config, json!({"cni.dev/valid-attachments": entries}))
        };
        let other = with(&list(&[]), json!({"name": "other"}));
        for harmless in [config.clone(), list(&["c1"]), other] {
            assert!(host.run_at(PORTMAP, "GC", ("", ""), &harmless).success);
            assert!(
                host.run(PORTMAP, "CHECK", &container, &config).success,
                "{back_end}"
            );
        }
        assert!(host.run_at(PORTMAP, "GC", ("", ""), &list(&["c2"])).success);
        assert_eq!(rules(&host), "", "{back_end}");
    }
}

#[test]
fn chains_of_the_reference_plugin_are_removed() {
    let Some(Net { host, .. }) = net() else {
        return;
    };
    // Names of network `test`, container `1234`, as published.
    host.sh("iptables-restore --noflush <<END
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-DN-2bbe0c48b91a7d1b8a675 - [0:0]
:CNI-SN-2bbe0c48b91a7d1b8a675 - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp -m tcp --dport 80 -j CNI-DN-2bbe0c48b91a7d1b8a675
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.5.0.2:80
-A POSTROUTING -j CNI-SN-2bbe0c48b91a7d1b8a675
COMMIT
END");
    let config = with(&config("nftables", json!([])), json!({"name": "test"}));
    assert!(host.run_at(PORTMAP, "DEL", ("1234", ""), &config).success);
    assert_eq!(rules(&host), "");
}

#[test]
fn without_mappings_nothing_happens() {
    let Some(Net {
        host, container, ..
    }) = net()
    else {
        return;
    };
    let config = config("iptables", json!([]));
    for command in ["ADD", "CHECK", "DEL"] {
        assert!(
            host.run(PORTMAP, command, &container, &config).success,
            "{command}"
        );
    }
    assert_eq!(rules(&host), "");
    let unchained = with(&config, json!({"prevResult": null}));
    assert_eq!(host.run(PORTMAP, "ADD", &container, &unchained).code(), 7);
}

#[test]
fn a_udp_client_does_not_keep_its_old_way() {
    for back_end in BACK_ENDS {
        let Some(Net {
            host,
            container,
            client,
        }) = net()
        else {
            return;
        };
        let dns = json!([{"hostPort": 5300, "containerPort": 53, "protocol": "udp"}]);
        let config = config(back_end, dns);
        let server = container.inside(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
        server
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        let sender = client.inside(|| std::net::UdpSocket::bind("192.0.2.2:4000").unwrap());
        let received = || {
            sender.send_to(b"x", "192.0.2.1:5300").unwrap();
            server.recv_from(&mut [0]).is_ok()
        };
        // Something must make the host track connections before the first packet.
        host.sh("nft 'add table ip t; add chain ip t c { type nat hook prerouting priority 0; }'");
        assert!(!received(), "nothing is published yet");
        // Somebody else's, to the same port, that only passes through: how often it was new.
        host.sh(
            "nft 'add chain ip t f { type filter hook forward priority 0; }
                      add rule ip t f ct state new udp dport 5300 ip daddr 192.0.2.2 counter'",
        );
        client.sh("ip route add 10.5.0.0/24 via 192.0.2.1");
        let passing = container.inside(|| std::net::UdpSocket::bind("10.5.0.2:4001").unwrap());
        let answering = client.inside(|| std::net::UdpSocket::bind("192.0.2.2:5300").unwrap());
        let times_new = || {
            for (from, to) in [(&passing, &answering), (&answering, &passing)] {
                from.send_to(b"x", to.local_addr().unwrap()).unwrap();
                to.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
                to.recv_from(&mut [0]).unwrap();
            }
            host.sh("nft list chain ip t f | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p'")
        };
        assert_eq!(times_new().trim(), "1");
        host.run(PORTMAP, "ADD", &container, &config).result();
        assert!(
            received(),
            "{back_end}: the flow from before ADD is forgotten"
        );
        assert!(host.run(PORTMAP, "DEL", &container, &config).success);
        assert!(
            !received(),
            "{back_end}: the flow from before DEL is forgotten"
        );
        assert_eq!(
            times_new().trim(),
            "1",
            "{back_end}: nobody asked for that one"
        );
    }
}
