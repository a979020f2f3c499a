//! `portmap`, behind a bridge of the plugins under test.

use serde_json::{Value, json};

use crate::attachment::{Attachment, addresses, with};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        PM01,
        a_tcp_port_is_reached_from_outside_iptables,
        "portmap: forwards traffic from a port of the host to the container"
    ),
    row!(
        Cni,
        PM11,
        a_tcp_port_is_reached_from_outside_nftables,
        "portmap: backend: nftables"
    ),
    row!(
        Cni,
        PM01,
        a_tcp_port_is_reached_from_the_host_s_address,
        "portmap: the host reaches the port by its own address"
    ),
    row!(
        Cni,
        PM01,
        a_tcp_port_is_reached_from_localhost,
        "portmap: snat: localhost too"
    ),
    row!(
        Cni,
        PM02,
        a_udp_port_is_reached,
        "portmap: portMappings: protocol udp"
    ),
    row!(
        Cni,
        PM02,
        an_sctp_port_is_reached_and_answers,
        "portmap: portMappings: protocol sctp"
    ),
    row!(
        Cni,
        PM02,
        an_sctp_port_is_reached_and_answers_with_nftables,
        "portmap: portMappings: protocol sctp, whatever the backend"
    ),
    row!(
        Cni,
        PM17,
        networks_of_one_container_are_independent_iptables,
        "SPEC: an attachment is container, network and interface"
    ),
    row!(
        Cni,
        PM17,
        networks_of_one_container_are_independent_nftables,
        "SPEC: an attachment is container, network and interface"
    ),
    row!(
        Cni,
        PM03,
        a_container_reaches_itself_by_the_host_s_port,
        "portmap: snat: hairpin traffic"
    ),
    row!(
        Cni,
        PM04,
        a_host_ip_restricts_the_mapping,
        "portmap: hostIP: only that address of the host"
    ),
    row!(
        Cni,
        PM05,
        an_invalid_host_ip_is_an_error,
        "SPEC error 7: invalid network config"
    ),
    row!(
        Cni,
        PM06,
        a_port_that_does_not_exist_is_an_error,
        "SPEC error 7: invalid network config; nothing may be changed"
    ),
    row!(
        Cni,
        PM07,
        an_upper_case_protocol_is_accepted_iptables,
        "CRI and go-cni may send TCP"
    ),
    row!(
        Cni,
        PM07,
        an_upper_case_protocol_is_accepted_nftables,
        "CRI and go-cni may send TCP"
    ),
    row!(
        Cni,
        PM08,
        forty_ports_are_mapped,
        "portmap: any number of mappings, though multiport takes fifteen"
    ),
    row!(
        Cni,
        PM10,
        conditions_of_one_container_do_not_bind_another,
        "portmap: conditionsV4 belong to the mapping's own rules"
    ),
    row!(
        Cni,
        PM11,
        traffic_that_passes_through_is_untouched,
        "GHSA-jv3w-x3r3-g6rm: only packets for the host's own addresses are redirected"
    ),
    row!(
        Cni,
        PM11,
        a_rule_that_was_there_first_still_wins,
        "CVE-2019-9946: a mapping that goes before the rules of others takes their ports"
    ),
    row!(
        Cni,
        PM12,
        an_ipv6_port_is_reached,
        "portmap: mappings are made for the IPv6 address too"
    ),
    row!(
        Cni,
        PM15,
        del_removes_everything_of_the_container_iptables,
        "SPEC DEL: undo what ADD did; others stay"
    ),
    row!(
        Cni,
        PM15,
        del_removes_everything_of_the_container_nftables,
        "SPEC DEL: undo what ADD did; others stay"
    ),
    row!(
        Cni,
        PM16,
        del_without_mappings_still_cleans,
        "ctr and go-cni may send no runtimeConfig on DEL"
    ),
    row!(
        Cni,
        PM17,
        interfaces_of_one_container_are_independent,
        "SPEC: an attachment is container, network and interface"
    ),
    row!(
        Cni,
        PM18,
        a_repeated_add_leaves_no_stale_target,
        "SPEC ADD after a lost DEL: the new address is the target"
    ),
    row!(
        Cni,
        PM19,
        a_port_that_is_taken_is_an_error,
        "a mapping that would never receive traffic must not be promised"
    ),
    row!(
        Cni,
        PM21,
        check_notices_each_lost_rule_iptables,
        "SPEC CHECK: must return an error if a resource is missing"
    ),
    row!(
        Cni,
        PM21,
        check_notices_each_lost_rule_nftables,
        "SPEC CHECK: must return an error if a resource is missing"
    ),
    row!(
        Cni,
        PM22,
        six_first_adds_at_once_succeed,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        PM24,
        gc_removes_mappings_of_the_dead,
        "SPEC GC: remove resources of attachments that are not valid"
    ),
    row!(
        Cni,
        PM25,
        without_mappings_nothing_happens,
        "portmap: no mappings: pass the prevResult on"
    ),
    row!(
        Cni,
        PM26,
        a_long_container_id_works_with_nftables,
        "nftables limits comments to 128 bytes, ids are longer"
    ),
    row!(
        Cni,
        PM09,
        snat_can_be_switched_off,
        "portmap: snat: false: nothing is masqueraded"
    ),
    row!(
        Cni,
        PM06,
        portmap_alone_is_an_error,
        "SPEC: a chained plugin needs prevResult"
    ),
    row!(
        Cni,
        PM01,
        the_prev_result_is_passed_on,
        "SPEC: a chained plugin must pass the prevResult on"
    ),
    row!(
        Cni,
        PM04,
        a_host_ip_restricts_the_mapping_with_nftables,
        "portmap: hostIP: the mapping holds for that address of the host alone, whatever the backend"
    ),
    row!(
        Cni,
        PM24,
        gc_without_a_list_keeps_the_mappings,
        "SPEC GC: without cni.dev/valid-attachments nothing is known to be dead"
    ),
    row!(
        Cni,
        PM13,
        packets_of_the_loopback_leave_only_where_they_must,
        "portmap: route_localnet is for mappings that 127.0.0.1 reaches, and for one link"
    ),
    row!(
        Cni,
        PM14,
        a_sender_that_never_stops_is_led_anew,
        "plugins#123, #1190: UDP flows follow a mapping that comes or goes"
    ),
    row!(
        Cni,
        PM20,
        a_socket_that_listens_is_not_hidden,
        "a mapping must not take a port from a program of the host"
    ),
    row!(
        Cni,
        PM20,
        a_socket_of_the_other_family_is_no_obstacle,
        "portmap: hostIP: a mapping of IPv4 takes nothing from a socket of IPv6"
    ),
    row!(
        Cni,
        PM18,
        a_repeated_add_of_long_names_is_no_collision,
        "SPEC: an attachment is container, network and interface, however long their names"
    ),
    row!(
        Cni,
        PM23,
        chains_of_the_reference_are_removed,
        "suite: DEL after an upgrade: CNI-DN- and CNI-SN- of network and container"
    ),
    row!(
        Cni,
        PM15,
        nothing_comes_after_the_del_of_a_killed_add,
        "SPEC DEL: undo what ADD did, however it ended"
    ),
];

/// A container on the bridge with a web server on port 80, and its host with a peer outside.
struct Served {
    at: Attachment,
    previous: Value,
}

/// The host's outside: a peer namespace at 192.0.2.2 (fd00:2::2) beyond the host's 192.0.2.1.
fn outside(case: &Case<'_>) -> Verdict {
    case.sh(
        "ip netns add peer; ip link add up0 type veth peer name up1 netns peer
         ip addr add 192.0.2.1/24 dev up0; ip addr add 192.0.2.11/24 dev up0
         ip addr add fd00:2::1/64 dev up0 nodad; ip link set up0 up
         nsenter --net=/run/netns/peer sh -ec '
            ip addr add 192.0.2.2/24 dev up1; ip addr add fd00:2::2/64 dev up1 nodad
            ip link set up1 up; ip route add default via 192.0.2.1'",
    )?;
    Ok(())
}

/// A container that serves its own id on TCP 80.
fn served(case: &Case<'_>, id: &str) -> Verdict<Served> {
    let at = case.sandbox(id)?;
    let bridge = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br0",
        "isDefaultGateway": true, "hairpinMode": true,
        "ipam": {
            "type": "host-local", "dataDir": case.path("reservations"),
            "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd77::/64" }]]
        }
    });
    let previous = case.add(&at, &bridge)?;
    let site = case.path(&format!("site-{id}"));
    case.sh(&format!(
        "mkdir -p {site}; echo {id} > {site}/index.html
         nsenter --net={} sh -c 'ip link set lo up; busybox httpd -f -p 80 -h {site} &'",
        at.netns
    ))?;
    Ok(Served { at, previous })
}

impl Served {
    /// The portmap configuration with these mappings, chained behind the bridge.
    fn conf(&self, backend: &str, mappings: Value) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "portmap", "backend": backend,
            "runtimeConfig": { "portMappings": mappings }, "prevResult": self.previous
        })
    }
}

fn tcp(host: u32, container: u32) -> Value {
    json!({ "hostPort": host, "containerPort": container, "protocol": "tcp" })
}

/// What an HTTP fetch answers, in the namespace at `netns` (the host's own when it is empty).
fn fetch(case: &Case<'_>, netns: &str, url: &str) -> Verdict<String> {
    let enter = match netns {
        "" => String::new(),
        netns => format!("nsenter --net={netns} "),
    };
    // A server that was just started may need a moment; a port that is closed refuses at once.
    let curl = format!("{enter}curl -sg -m 2 {url}");
    case.sh(&format!(
        "{curl} || {{ sleep 0.1; {curl}; }} || echo unreachable"
    ))
}

const PEER: &str = "/run/netns/peer";

/// The installed portmap may be too old to know `backend`: then the row fails there, as it should.
fn reached_from_outside(case: &Case<'_>, backend: &str, protocol: &str) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let mapping = json!({ "hostPort": 8080, "containerPort": 80, "protocol": protocol });
    case.add(&one.at, &one.conf(backend, json!([mapping])))?;
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8080/")?,
        "c1",
        "from the peer"
    );
    let iptables = case.sh("iptables-save -t nat 2>/dev/null")?;
    let foreign = backend == "nftables" && iptables.contains("DNAT");
    ensure!(
        !foreign,
        "the nftables backend made rules of iptables:\n{iptables}"
    );
    Ok(())
}

fn a_tcp_port_is_reached_from_outside_iptables(case: &Case<'_>) -> Verdict {
    reached_from_outside(case, "iptables", "tcp")
}

fn a_tcp_port_is_reached_from_outside_nftables(case: &Case<'_>) -> Verdict {
    reached_from_outside(case, "nftables", "tcp")
}

fn an_upper_case_protocol_is_accepted_iptables(case: &Case<'_>) -> Verdict {
    reached_from_outside(case, "iptables", "TCP")
}

fn an_upper_case_protocol_is_accepted_nftables(case: &Case<'_>) -> Verdict {
    reached_from_outside(case, "nftables", "TCP")
}

fn a_tcp_port_is_reached_from_the_host_s_address(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    case.add(&one.at, &one.conf("iptables", json!([tcp(8080, 80)])))?;
    ensure_eq!(
        fetch(case, "", "http://192.0.2.1:8080/")?,
        "c1",
        "from the host"
    );
    ensure_eq!(
        fetch(case, "", "http://192.0.2.1:8081/")?,
        "unreachable",
        "a port not mapped"
    );
    Ok(())
}

fn a_tcp_port_is_reached_from_localhost(case: &Case<'_>) -> Verdict {
    let one = served(case, "c1")?;
    case.add(&one.at, &one.conf("iptables", json!([tcp(8080, 80)])))?;
    ensure_eq!(
        fetch(case, "", "http://127.0.0.1:8080/")?,
        "c1",
        "from localhost"
    );
    Ok(())
}

fn a_udp_port_is_reached(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let mapping = json!({ "hostPort": 5353, "containerPort": 53, "protocol": "udp" });
    case.inside(
        &one.at,
        "nft 'add table ip seen; add chain ip seen in { type filter hook input priority 0; }
              add rule ip seen in udp dport 53 counter'",
    )?;
    let send = format!("nsenter --net={PEER} bash -c 'echo datagram > /dev/udp/192.0.2.1/5353'");
    let count = "nft list table ip seen | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p'";
    case.sh(&send)?;
    ensure_eq!(
        case.inside(&one.at, count)?,
        "0",
        "datagrams before the mapping"
    );
    case.add(&one.at, &one.conf("iptables", json!([mapping])))?;
    case.sh(&format!("{send}; sleep 0.1"))?;
    ensure_eq!(
        case.inside(&one.at, count)?,
        "1",
        "datagrams after the mapping"
    );
    Ok(())
}

/// The first packet of an SCTP association and its answer, sent without the kernel's SCTP, which
/// hosts seldom have; connection tracking and address translation have it for themselves.
/// RFC 9260: ports, verification tag, CRC-32C; a chunk of type 1 (INIT) or 2 (INIT ACK).
const SCTP: &str = r#"
use Socket;
my ($kind, $to, $from_port, $to_port) = @ARGV;
my $cookie = $kind == 2 ? pack("n n N", 7, 8, 0) : "";
my $chunk = pack("C C n N N n n N", $kind, 0, 20 + length $cookie, 1, 65536, 1, 1, 1) . $cookie;
my $tag = $kind == 2 ? 1 : 0;
my $packet = pack("n n N N", $from_port, $to_port, $tag, 0) . $chunk;
my $sum = 0xffffffff;
for my $byte (unpack "C*", $packet) {
    $sum ^= $byte;
    $sum = $sum & 1 ? ($sum >> 1) ^ 0x82f63b78 : $sum >> 1 for 1 .. 8;
}
substr($packet, 8, 4) = pack("V", $sum ^ 0xffffffff);
socket(my $raw, AF_INET, SOCK_RAW, 132) or die "socket: $!";
send($raw, $packet, 0, sockaddr_in(0, inet_aton($to))) or die "send: $!";
"#;

fn an_sctp_port_is_reached_and_answers(case: &Case<'_>) -> Verdict {
    sctp_goes_both_ways(case, "iptables")
}

fn an_sctp_port_is_reached_and_answers_with_nftables(case: &Case<'_>) -> Verdict {
    sctp_goes_both_ways(case, "nftables")
}

fn sctp_goes_both_ways(case: &Case<'_>, backend: &str) -> Verdict {
    needs!(testbed::requires::is_installed("perl"), "the program perl");
    outside(case)?;
    let script = case.path("sctp.pl");
    std::fs::write(&script, SCTP)?;
    let one = served(case, "c1")?;
    // Dropped once counted: a kernel would refuse what it has no association for.
    let counter = |condition: &str| {
        format!(
            "nft 'add table ip seen; add chain ip seen in {{ type filter hook input priority 0; }}
                  add rule ip seen in {condition} counter drop'"
        )
    };
    let count = "nft list table ip seen | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p'";
    let peer = |script: &str| {
        let script = script.replace('\'', "'\\''");
        case.sh(&format!("nsenter --net={PEER} sh -ec '{script}'"))
    };
    case.inside(&one.at, &counter("ip saddr 192.0.2.2 sctp dport 38412"))?;
    peer(&counter(
        "ip saddr 192.0.2.1 sctp sport 3868 sctp dport 40000",
    ))?;
    let ask = format!("perl {script} 1 192.0.2.1 40000 3868");
    peer(&ask)?;
    case.sh("sleep 0.1")?;
    ensure_eq!(case.inside(&one.at, count)?, "0", "before the mapping");
    let mapping = json!({ "hostPort": 3868, "containerPort": 38412, "protocol": "sctp" });
    case.add(&one.at, &one.conf(backend, json!([mapping])))?;
    is_made_by(case, backend)?;
    // Asked when translation is in use: until then its module may not be loaded.
    let tracked =
        case.holds("test -e /proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established")?;
    needs!(tracked, "CONFIG_NF_CT_PROTO_SCTP");
    peer(&ask)?;
    case.sh("sleep 0.1")?;
    ensure_eq!(
        case.inside(&one.at, count)?,
        "1",
        "packets in the container"
    );
    let answer = format!("perl {script} 2 192.0.2.2 38412 40000");
    case.inside(&one.at, &answer)?;
    case.sh("sleep 0.1")?;
    ensure_eq!(
        peer(count)?,
        "1",
        "answers from the host's address and port"
    );
    Ok(())
}

fn a_container_reaches_itself_by_the_host_s_port(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    case.add(&one.at, &one.conf("iptables", json!([tcp(8080, 80)])))?;
    ensure_eq!(
        fetch(case, &one.at.netns, "http://192.0.2.1:8080/")?,
        "c1",
        "from itself"
    );
    Ok(())
}

fn a_host_ip_restricts_the_mapping(case: &Case<'_>) -> Verdict {
    restricted_to_an_address(case, "iptables")
}

fn a_host_ip_restricts_the_mapping_with_nftables(case: &Case<'_>) -> Verdict {
    restricted_to_an_address(case, "nftables")
}

fn gc_without_a_list_keeps_the_mappings(case: &Case<'_>) -> Verdict {
    let one = served(case, "c1")?;
    let mappings = json!([tcp(8080, 80)]);
    let conf = with(&one.conf("iptables", mappings), "cniVersion", "1.1.0");
    case.add(&one.at, &conf)?;
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    let gc = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "portmap", "backend": "iptables"
    });
    let before = case.snapshot()?;
    // Refused or not, nothing may go.
    case.cni("GC", &nobody, &gc)?.run()?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "changed:\n{}", difference.join("\n"));
    ensure_eq!(
        fetch(case, "", "http://127.0.0.1:8080/")?,
        "c1",
        "the mapping"
    );
    // It would have gone, had the list been empty instead of missing.
    let empty = with(&gc, "cni.dev/valid-attachments", json!([]));
    case.cni("GC", &nobody, &empty)?.silent()?;
    ensure_eq!(rules_about(case, "c1")?, "", "rules after an empty list");
    Ok(())
}

/// Mappings are rules of iptables by that back end alone. A plugin without the other one ignores
/// the key.
fn is_made_by(case: &Case<'_>, backend: &str) -> Verdict {
    let iptables = case.sh("iptables-save -t nat 2>/dev/null")?;
    ensure_eq!(
        iptables.contains("DNAT"),
        backend == "iptables",
        "rules of iptables by {backend}"
    );
    Ok(())
}

fn restricted_to_an_address(case: &Case<'_>, backend: &str) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let mut mapping = tcp(8080, 80);
    mapping["hostIP"] = "192.0.2.11".into();
    case.add(&one.at, &one.conf(backend, json!([mapping])))?;
    is_made_by(case, backend)?;
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.11:8080/")?,
        "c1",
        "that address"
    );
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8080/")?,
        "unreachable",
        "another address"
    );
    Ok(())
}

/// Refused as configuration, with no rule made.
fn refused(case: &Case<'_>, mapping: Value) -> Verdict {
    let one = served(case, "c1")?;
    let before = case.snapshot()?;
    case.cni("ADD", &one.at, &one.conf("iptables", json!([mapping])))?
        .refused_with(&[7])?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "changed:\n{}", difference.join("\n"));
    Ok(())
}

fn an_invalid_host_ip_is_an_error(case: &Case<'_>) -> Verdict {
    let mut mapping = tcp(8080, 80);
    mapping["hostIP"] = "x".into();
    refused(case, mapping)
}

fn a_port_that_does_not_exist_is_an_error(case: &Case<'_>) -> Verdict {
    refused(case, tcp(70_000, 80))
}

fn forty_ports_are_mapped(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let mappings: Vec<Value> = (8001..=8040).map(|port| tcp(port, 80)).collect();
    case.add(&one.at, &one.conf("iptables", mappings.into()))?;
    for port in [8001, 8016, 8040] {
        ensure_eq!(
            fetch(case, PEER, &format!("http://192.0.2.1:{port}/"))?,
            "c1",
            "port {port}"
        );
    }
    Ok(())
}

fn conditions_of_one_container_do_not_bind_another(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let (one, two) = (served(case, "c1")?, served(case, "c2")?);
    case.add(&one.at, &one.conf("nftables", json!([tcp(8081, 80)])))?;
    let conditions = json!(["ip", "saddr", "203.0.113.0/24"]);
    let narrow = with(
        &two.conf("nftables", json!([tcp(8082, 80)])),
        "conditionsV4",
        conditions,
    );
    case.add(&two.at, &narrow)?;
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8081/")?,
        "c1",
        "without conditions"
    );
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8082/")?,
        "unreachable",
        "conditions not met"
    );
    Ok(())
}

fn traffic_that_passes_through_is_untouched(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let (one, two) = (served(case, "c1")?, served(case, "c2")?);
    case.add(&one.at, &one.conf("iptables", json!([tcp(80, 80)])))?;
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:80/")?,
        "c1",
        "the host's port"
    );
    let address = addresses(&two.previous)[0].replace("/24", "");
    ensure_eq!(
        fetch(case, PEER, &format!("http://{address}:80/"))?,
        "c2",
        "routed traffic"
    );
    Ok(())
}

fn a_rule_that_was_there_first_still_wins(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let (one, two) = (served(case, "c1")?, served(case, "c2")?);
    let address = addresses(&two.previous)[0].replace("/24", "");
    case.sh(&format!(
        "iptables -t nat -A PREROUTING -d 192.0.2.1 -p tcp --dport 8080 -j DNAT --to-destination {address}:80"
    ))?;
    case.add(
        &one.at,
        &one.conf("iptables", json!([tcp(8080, 80), tcp(8081, 80)])),
    )?;
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8080/")?,
        "c2",
        "the port that a rule of the host serves"
    );
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8081/")?,
        "c1",
        "the port beside it"
    );
    Ok(())
}

fn an_ipv6_port_is_reached(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    case.add(&one.at, &one.conf("iptables", json!([tcp(8080, 80)])))?;
    ensure_eq!(
        fetch(case, PEER, "http://[fd00:2::1]:8080/")?,
        "c1",
        "over IPv6"
    );
    Ok(())
}

/// Everything in the packet filters that names a container or its address.
fn rules_about(case: &Case<'_>, id: &str) -> Verdict<String> {
    case.sh(&format!(
        "{{ iptables-save; ip6tables-save; nft list ruleset; }} 2>/dev/null | grep -F {id} || :"
    ))
}

fn del_leaves_only_the_other(case: &Case<'_>, backend: &str, stripped: bool) -> Verdict {
    outside(case)?;
    let (one, two) = (served(case, "container77")?, served(case, "container78")?);
    let conf = one.conf(backend, json!([tcp(8081, 80)]));
    case.add(&one.at, &conf)?;
    let without_one = case.sh("nft list ruleset | grep -c dnat || :")?;
    case.add(&two.at, &two.conf(backend, json!([tcp(8082, 80)])))?;
    ensure!(
        !rules_about(case, "container77")?.is_empty(),
        "no rule carries the container's id"
    );
    let conf = if stripped {
        with(&conf, "runtimeConfig", json!({}))
    } else {
        conf
    };
    case.del(&one.at, &conf)?;
    ensure_eq!(rules_about(case, "container77")?, "", "rules left");
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8081/")?,
        "unreachable",
        "the port of the gone"
    );
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8082/")?,
        "container78",
        "the other's port"
    );
    ensure_eq!(
        case.sh("nft list ruleset | grep -c dnat || :")?,
        without_one,
        "DNAT rules"
    );
    Ok(())
}

fn del_removes_everything_of_the_container_iptables(case: &Case<'_>) -> Verdict {
    del_leaves_only_the_other(case, "iptables", false)
}

fn del_removes_everything_of_the_container_nftables(case: &Case<'_>) -> Verdict {
    del_leaves_only_the_other(case, "nftables", false)
}

fn del_without_mappings_still_cleans(case: &Case<'_>) -> Verdict {
    del_leaves_only_the_other(case, "iptables", true)
}

fn interfaces_of_one_container_are_independent(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let mut second = Served {
        at: one.at.clone(),
        previous: one.previous.clone(),
    };
    second.at.ifname = "eth1".into();
    second.previous["interfaces"][2]["name"] = "eth1".into();
    case.add(&one.at, &one.conf("iptables", json!([tcp(8081, 80)])))?;
    let conf = second.conf("iptables", json!([tcp(8082, 80)]));
    case.add(&second.at, &conf)?;
    case.del(&second.at, &conf)?;
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8081/")?,
        "c1",
        "the first interface's port"
    );
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8082/")?,
        "unreachable",
        "the second's"
    );
    Ok(())
}

/// One container in two networks, each with a mapping; DEL of one leaves the other's traffic.
fn networks_are_independent(case: &Case<'_>, backend: &str) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let mut second = Served {
        at: one.at.clone(),
        previous: one.previous.clone(),
    };
    second.at.ifname = "eth1".into();
    second.previous["interfaces"][2]["name"] = "eth1".into();
    let [a, b] = [(&one, "a", 8081), (&second, "b", 8082)]
        .map(|(of, name, port)| with(&of.conf(backend, json!([tcp(port, 80)])), "name", name));
    case.add(&one.at, &a)?;
    case.add(&second.at, &b)?;
    is_made_by(case, backend)?;
    let before = case.sh("nft list ruleset | grep -c dnat || :")?;
    case.del(&one.at, &a)?;
    let gone = fetch(case, PEER, "http://192.0.2.1:8081/")?;
    ensure_eq!(gone, "unreachable", "the port in network a after its DEL");
    let kept = fetch(case, PEER, "http://192.0.2.1:8082/")?;
    ensure_eq!(kept, "c1", "the port in network b after DEL of a");
    let after = case.sh("nft list ruleset | grep -c dnat || :")?;
    let half = before.parse::<usize>().ok().map(|count| count / 2);
    ensure_eq!(after.parse().ok(), half, "DNAT rules, of {before}");
    Ok(())
}

fn networks_of_one_container_are_independent_iptables(case: &Case<'_>) -> Verdict {
    networks_are_independent(case, "iptables")
}

fn networks_of_one_container_are_independent_nftables(case: &Case<'_>) -> Verdict {
    networks_are_independent(case, "nftables")
}

fn a_repeated_add_leaves_no_stale_target(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let mut stale = one.previous.clone();
    stale["ips"][0]["address"] = "10.77.0.200/24".into();
    let lost = Served {
        at: one.at.clone(),
        previous: stale,
    };
    case.add(&lost.at, &lost.conf("iptables", json!([tcp(8080, 80)])))?;
    case.add(&one.at, &one.conf("iptables", json!([tcp(8080, 80)])))?;
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8080/")?,
        "c1",
        "after the second ADD"
    );
    Ok(())
}

fn a_port_that_is_taken_is_an_error(case: &Case<'_>) -> Verdict {
    let (one, two) = (served(case, "c1")?, served(case, "c2")?);
    case.add(&one.at, &one.conf("iptables", json!([tcp(8080, 80)])))?;
    case.cni(
        "ADD",
        &two.at,
        &two.conf("iptables", json!([tcp(8080, 80)])),
    )?
    .error()?;
    ensure_eq!(
        fetch(case, "", "http://127.0.0.1:8080/")?,
        "c1",
        "the first one's port"
    );
    Ok(())
}

/// CHECK passes, then fails once the packet filter is empty; and once only DNAT is gone.
fn lost_rules_are_noticed(case: &Case<'_>, backend: &str) -> Verdict {
    let one = served(case, "c1")?;
    let conf = one.conf(backend, json!([tcp(8080, 80)]));
    case.add(&one.at, &conf)?;
    case.cni("CHECK", &one.at, &conf)?.silent()?;
    let saved = case.sh("nft list ruleset")?;
    let jumps = match backend {
        "iptables" => "iptables -t nat -F PREROUTING",
        _ => "nft flush chain ip cni_hostport prerouting",
    };
    case.sh(jumps)?;
    case.cni("CHECK", &one.at, &conf)?.error()?;
    std::fs::write(case.path("saved.nft"), format!("flush ruleset\n{saved}\n"))?;
    case.sh("nft flush ruleset")?;
    case.cni("CHECK", &one.at, &conf)?.error()?;
    Ok(())
}

fn check_notices_each_lost_rule_iptables(case: &Case<'_>) -> Verdict {
    lost_rules_are_noticed(case, "iptables")
}

fn check_notices_each_lost_rule_nftables(case: &Case<'_>) -> Verdict {
    lost_rules_are_noticed(case, "nftables")
}

fn six_first_adds_at_once_succeed(case: &Case<'_>) -> Verdict {
    let mut adds = Vec::new();
    for number in 0..6 {
        let one = served(case, &format!("c{number}"))?;
        let conf = one.conf("iptables", json!([tcp(8000 + number, 80)]));
        adds.push(case.cni("ADD", &one.at, &conf)?.invocation().clone());
    }
    let running = adds
        .iter()
        .map(testbed::Invocation::spawn)
        .collect::<Result<Vec<_>, _>>()?;
    for add in running {
        let outcome = add.wait()?;
        ensure!(outcome.success(), "expected success of\n{outcome}");
    }
    for number in 0..6 {
        let url = format!("http://127.0.0.1:{}/", 8000 + number);
        ensure_eq!(fetch(case, "", &url)?, format!("c{number}"), "{url}");
    }
    Ok(())
}

fn gc_removes_mappings_of_the_dead(case: &Case<'_>) -> Verdict {
    let (alive, dead) = (served(case, "alive77")?, served(case, "dead77")?);
    for (one, port) in [(&alive, 8081), (&dead, 8082)] {
        let conf = with(
            &one.conf("iptables", json!([tcp(port, 80)])),
            "cniVersion",
            "1.1.0",
        );
        case.add(&one.at, &conf)?;
    }
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "portmap", "backend": "iptables",
        "cni.dev/valid-attachments": [{ "containerID": "alive77", "ifname": "eth0" }]
    });
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    case.cni("GC", &nobody, &conf)?.silent()?;
    ensure_eq!(rules_about(case, "dead77")?, "", "rules of the dead");
    ensure_eq!(
        fetch(case, "", "http://127.0.0.1:8081/")?,
        "alive77",
        "the living one's port"
    );
    Ok(())
}

fn without_mappings_nothing_happens(case: &Case<'_>) -> Verdict {
    let one = served(case, "c1")?;
    let before = case.snapshot()?;
    let conf = with(&one.conf("iptables", json!([])), "runtimeConfig", json!({}));
    let result = case.add(&one.at, &conf)?;
    ensure_eq!(addresses(&result), addresses(&one.previous), "addresses");
    case.del(&one.at, &conf)?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "changed:\n{}", difference.join("\n"));
    Ok(())
}

fn a_long_container_id_works_with_nftables(case: &Case<'_>) -> Verdict {
    let mut one = served(case, "c1")?;
    one.at.id = "i".repeat(200);
    let conf = one.conf("nftables", json!([tcp(8080, 80)]));
    case.add(&one.at, &conf)?;
    ensure_eq!(
        fetch(case, "", "http://127.0.0.1:8080/")?,
        "c1",
        "from localhost"
    );
    case.del(&one.at, &conf)?;
    ensure_eq!(
        fetch(case, "", "http://127.0.0.1:8080/")?,
        "unreachable",
        "after DEL"
    );
    Ok(())
}

fn snat_can_be_switched_off(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let conf = with(&one.conf("iptables", json!([tcp(8080, 80)])), "snat", false);
    case.add(&one.at, &conf)?;
    ensure_eq!(
        fetch(case, PEER, "http://192.0.2.1:8080/")?,
        "c1",
        "from the peer"
    );
    ensure!(
        !case
            .sh("iptables-save -t nat; nft list ruleset")?
            .to_lowercase()
            .contains("masq"),
        "masquerading"
    );
    Ok(())
}

fn portmap_alone_is_an_error(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "portmap",
        "runtimeConfig": { "portMappings": [tcp(8080, 80)] }
    });
    let before = case.snapshot()?;
    case.cni("ADD", &at, &conf)?.error()?;
    ensure!(
        before.difference(&case.snapshot()?).is_empty(),
        "the host was changed"
    );
    Ok(())
}

fn the_prev_result_is_passed_on(case: &Case<'_>) -> Verdict {
    let one = served(case, "c1")?;
    let conf = one.conf("iptables", json!([tcp(8080, 80)]));
    let result = case.add(&one.at, &conf)?;
    ensure_eq!(
        result["interfaces"],
        one.previous["interfaces"],
        "interfaces"
    );
    ensure_eq!(result["ips"], one.previous["ips"], "ips");
    Ok(())
}

fn packets_of_the_loopback_leave_only_where_they_must(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let setting = "cat /proc/sys/net/ipv4/conf/br0/route_localnet";
    let mut limited = tcp(8080, 80);
    limited["hostIP"] = "192.0.2.11".into();
    case.add(&one.at, &one.conf("iptables", json!([limited])))?;
    ensure_eq!(case.sh(setting)?, "0", "for one address of the host");
    case.add(&one.at, &one.conf("iptables", json!([tcp(8080, 80)])))?;
    ensure_eq!(case.sh(setting)?, "1", "for 127.0.0.1 as well");
    let others = "cat /proc/sys/net/ipv4/conf/up0/route_localnet";
    ensure_eq!(case.sh(others)?, "0", "on another link");
    Ok(())
}

fn a_sender_that_never_stops_is_led_anew(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let (one, two) = (served(case, "c1")?, served(case, "c2")?);
    let counter = |port: u16| {
        format!(
            "nft 'add table ip seen; add chain ip seen in {{ type filter hook input priority 0; }}
                  add rule ip seen in udp dport {port} counter'"
        )
    };
    let count = "nft list table ip seen | sed -n 's/.*packets \\([0-9]*\\).*/\\1/p'";
    // With another's mapping the host translates addresses all the time.
    case.add(&two.at, &two.conf("iptables", json!([tcp(8081, 80)])))?;
    case.inside(&one.at, &counter(53))?;
    // One socket, so one flow for connection tracking.
    case.sh(&format!(
        "nsenter --net={PEER} bash -c 'exec 3>/dev/udp/192.0.2.1/5353
            while :; do echo datagram >&3 || :; sleep 0.02; done' >/dev/null 2>&1 & sleep 0.3"
    ))?;
    let mapping = json!({ "hostPort": 5353, "containerPort": 53, "protocol": "udp" });
    let conf = one.conf("iptables", json!([mapping]));
    case.add(&one.at, &conf)?;
    case.sh("sleep 0.3")?;
    ensure!(
        case.inside(&one.at, count)? != "0",
        "the flow goes past the new mapping"
    );
    case.del(&one.at, &conf)?;
    case.sh(&counter(5353))?;
    case.sh("sleep 0.3")?;
    ensure!(
        case.sh(count)? != "0",
        "the flow still goes to the container"
    );
    Ok(())
}

fn a_socket_that_listens_is_not_hidden(case: &Case<'_>) -> Verdict {
    let one = served(case, "c1")?;
    let site = case.path("site-c1");
    case.sh(&format!("busybox httpd -p 8080 -h {site}"))?;
    let error = case
        .cni(
            "ADD",
            &one.at,
            &one.conf("iptables", json!([tcp(8080, 80)])),
        )?
        .error()?;
    ensure!(
        error["code"].as_u64().is_some_and(|code| code >= 100),
        "a code of the plugin's own: {error}"
    );
    Ok(())
}

fn a_socket_of_the_other_family_is_no_obstacle(case: &Case<'_>) -> Verdict {
    let one = served(case, "c1")?;
    let site = case.path("site-c1");
    case.sh(&format!("busybox httpd -p '[::1]:8080' -h {site}"))?;
    let mut mapping = tcp(8080, 80);
    mapping["hostIP"] = json!("0.0.0.0");
    case.add(&one.at, &one.conf("iptables", json!([mapping])))?;
    Ok(())
}

fn a_repeated_add_of_long_names_is_no_collision(case: &Case<'_>) -> Verdict {
    let mut one = served(case, "c1")?;
    one.at.id = "a".repeat(64);
    for backend in ["iptables", "nftables"] {
        let conf = one.conf(backend, json!([tcp(8080, 80)]));
        let conf = with(&conf, "name", "n".repeat(50));
        for _ in 0..2 {
            case.add(&one.at, &conf)?;
        }
        case.del(&one.at, &conf)?;
    }
    Ok(())
}

fn chains_of_the_reference_are_removed(case: &Case<'_>) -> Verdict {
    let mut at = case.sandbox("c1")?;
    at.id = "1234".into();
    case.sh(
        "iptables-restore <<END
*nat
:CNI-HOSTPORT-DNAT -
:CNI-DN-2bbe0c48b91a7d1b8a675 -
:CNI-SN-2bbe0c48b91a7d1b8a675 -
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -s 127.0.0.1/32 -j CNI-SN-2bbe0c48b91a7d1b8a675
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment \"dnat name: \\\"test\\\" id: \\\"1234\\\"\" -m multiport --dports 8080 -j CNI-DN-2bbe0c48b91a7d1b8a675
-A CNI-DN-2bbe0c48b91a7d1b8a675 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80
-A CNI-SN-2bbe0c48b91a7d1b8a675 -p tcp -d 10.1.0.2/32 --dport 80 -j MASQUERADE
COMMIT
END",
    )?;
    let conf = json!({
        "cniVersion": "1.0.0", "name": "test", "type": "portmap", "backend": "iptables",
        "runtimeConfig": { "portMappings": [tcp(8080, 80)] }
    });
    case.del(&at, &conf)?;
    let left = case.sh("iptables-save -t nat | grep 2bbe0c48b91a7d1b8a675 || :")?;
    ensure_eq!(left, "", "rules and chains");
    Ok(())
}

/// Programs of iptables that end the plugin that starts them to write, and write later.
fn nothing_comes_after_the_del_of_a_killed_add(case: &Case<'_>) -> Verdict {
    outside(case)?;
    let one = served(case, "c1")?;
    let conf = one.conf("iptables", json!([tcp(8080, 80)]));
    let programs = case.dir().join("programs");
    std::fs::create_dir(&programs)?;
    for name in [
        "iptables-restore",
        "ip6tables-restore",
        "iptables",
        "ip6tables",
    ] {
        let script = format!(
            "case \"$*\" in *--noflush*|*-A*) ;; *) exec /usr/sbin/{name} \"$@\" ;; esac
             rules=$(cat)
             kill -9 $PPID
             /bin/sleep 0.7
             echo \"$rules\" | /usr/sbin/{name} \"$@\""
        );
        testbed::bundle::script(&programs.join(name), "/bin/sh", &script)?;
    }
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", programs.display());
    let add = case.cni("ADD", &one.at, &conf)?.env("PATH", &path);
    ensure!(!add.run()?.success(), "it was not killed");
    case.del(&one.at, &conf)?;
    case.sh("sleep 1.2")?;
    ensure_eq!(rules_about(case, "c1")?, "", "rules after DEL");
    Ok(())
}
