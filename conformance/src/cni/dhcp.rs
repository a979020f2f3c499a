//! `dhcp`, with a real server: what it logs is the exchange.

use std::time::Duration;

use serde_json::{Value, json};

use crate::attachment::{addresses, with, with_prev};
use crate::case::Case;
use crate::cni::staged::VERSIONS;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

mod lan;
use lan::{Lan, RANGE, RENEW_SOON};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        DH01,
        an_address_and_its_router_are_leased,
        "dhcp: RFC 2131 section 3.1; options 1 and 3"
    ),
    row!(
        Cni,
        DH01,
        static_routes_come_before_the_default_route,
        "dhcp: option 33 (RFC 2132 section 5.8), then the default route by option 3"
    ),
    row!(
        Cni,
        DH01,
        classless_routes_stand_alone,
        "dhcp: RFC 3442: a client must ignore routers and static routes beside option 121"
    ),
    row!(
        Cni,
        DH01,
        the_priority_is_that_of_every_route,
        "dhcp: ipam.priority: metric of returned routes"
    ),
    row!(
        Cni,
        DH01,
        a_repeated_add_gets_the_same_lease,
        "SPEC ADD: twice for one attachment: an error, or the same answer; no second address"
    ),
    row!(
        Cni,
        DH02,
        options_are_sent_and_asked_for,
        "dhcp: ipam.provide with value and fromArg, ipam.request"
    ),
    row!(
        Cni,
        DH03,
        a_lease_is_renewed_in_time,
        "RFC 2131 section 4.4.5: at T1 the client asks the lender to extend the lease"
    ),
    row!(
        Cni,
        DH03,
        a_lease_is_rebound_when_the_lender_is_silent,
        "RFC 2131 section 4.4.5: at T2 the client asks every server"
    ),
    row!(
        Cni,
        DH04,
        a_changed_address_is_applied,
        "RFC 2131 section 4.4.5: after a DHCPNAK the client must stop using the address"
    ),
    row!(
        Cni,
        DH04,
        an_expired_address_is_taken_away,
        "RFC 2131 section 4.4.5: if the lease expires, the client must stop using the address"
    ),
    row!(
        Cni,
        DH05,
        del_releases_the_lease,
        "RFC 2131 section 4.4.6: DHCPRELEASE; SPEC DEL: must release IPAM allocations"
    ),
    row!(
        Cni,
        DH05,
        del_releases_the_lease_of_a_vanished_interface,
        "SPEC DEL: must complete without error and release, even if resources are missing"
    ),
    row!(
        Cni,
        DH05,
        del_releases_the_lease_of_a_vanished_namespace,
        "SPEC DEL: CNI_NETNS may be gone; IPAM allocations are still to be released"
    ),
    row!(
        Cni,
        DH05,
        a_bridge_network_uses_and_releases_its_lease,
        "SPEC delegation: the interface plugin executes the IPAM plugin; traffic by the leased address"
    ),
    row!(
        Cni,
        DH06,
        del_without_a_daemon_succeeds,
        "SPEC DEL: generally complete without error even if some resources are missing"
    ),
    row!(
        Cni,
        DH06,
        a_del_without_a_daemon_is_made_good,
        "SPEC DEL: must release what ADD took; the daemon was only late"
    ),
    row!(
        Cni,
        DH07,
        leases_survive_a_killed_daemon,
        "plugins#235, plugins#767: leases must be extended after a restart of the daemon"
    ),
    row!(
        Cni,
        DH07,
        a_daemon_short_of_descriptors_keeps_leases,
        "getrlimit(2): EMFILE says nothing about what is there"
    ),
    row!(
        Cni,
        DH08,
        the_socket_of_a_dead_daemon_is_no_obstacle,
        "plugins#760: address already in use after a crash"
    ),
    row!(
        Cni,
        DH08,
        the_socket_of_a_living_daemon_is_not_taken,
        "dhcp daemon: one at a time on a socket"
    ),
    row!(
        Cni,
        DH09,
        name_servers_and_domains_are_in_the_result,
        "cni#86, plugins#720: options 6, 15 and 119 in the result"
    ),
    row!(
        Cni,
        DH09,
        the_mtu_is_that_of_the_routes,
        "plugins#720: option 26; SPEC 1.1.0 routes: mtu"
    ),
    row!(
        Cni,
        DH10,
        an_ipv6_address_is_leased_used_and_released,
        "RFC 8415 section 18.2: SOLICIT, REQUEST, RELEASE; traffic by the leased address"
    ),
    row!(
        Cni,
        DH10,
        both_families_are_in_one_result,
        "plugins#552: DHCPv4 and DHCPv6 for one interface"
    ),
    row!(
        Cni,
        DH11,
        check_acquires_nothing,
        "SPEC CHECK: the plugin must not change anything"
    ),
    row!(
        Cni,
        DH11,
        check_compares_prev_result,
        "SPEC CHECK: must return an error if prevResult does not hold"
    ),
    row!(
        Cni,
        DH12,
        an_add_without_a_server_ends,
        "dhcp: the time of an ADD is bounded, and the bound configurable"
    ),
    row!(
        Cni,
        DH12,
        a_killed_add_takes_no_lease,
        "a runtime that loses patience kills the plugin: nothing may stay"
    ),
    row!(
        Cni,
        DH13,
        a_missing_ipam_is_told,
        "SPEC error 7: invalid network config"
    ),
    row!(
        Cni,
        DH14,
        check_ends_when_the_link_is_gone,
        "SPEC CHECK: must return an error for a missing interface"
    ),
    row!(
        Cni,
        DH15,
        pidfile_and_prefix_are_honoured,
        "dhcp daemon: -pidfile, -hostprefix; both files go at SIGTERM"
    ),
    row!(
        Cni,
        DH15,
        a_socket_can_be_handed_over,
        "sd_listen_fds(3): LISTEN_PID, LISTEN_FDS, descriptor 3"
    ),
    row!(
        Cni,
        DH16,
        the_broadcast_flag_is_sent,
        "dhcp daemon: -broadcast; RFC 2131 section 4.1: BROADCAST bit"
    ),
    row!(
        Cni,
        DH17,
        sixty_leases_need_no_sixty_threads,
        "dhcp daemon: threads do not grow with leases"
    ),
    row!(
        Cni,
        DH18,
        status_tells_whether_the_daemon_is_there,
        "SPEC STATUS: error 50: the plugin is not available"
    ),
    row!(
        Cni,
        DH12,
        the_daemon_bounds_an_add_too,
        "dhcp daemon: -resendtimeout: the longest time of an acquisition"
    ),
    row!(
        Cni,
        PR19,
        dhcp_answers_in_every_version,
        "SPEC Success: cniVersion: the same version supplied on input"
    ),
    row!(
        Cni,
        PR26,
        dhcp_gc_releases_the_dead_alone,
        "SPEC GC: cni.dev/valid-attachments; a missing key says nothing about who is dead"
    ),
];

fn no_keys() -> Value {
    json!({})
}

/// The same configuration in the version that has GC, STATUS and attributes of routes.
fn newest(conf: &Value) -> Value {
    with(conf, "cniVersion", "1.1.0")
}

/// The first address of a result, without its prefix length.
fn leased(result: &Value) -> String {
    let all = addresses(result);
    let first = all.first().cloned().unwrap_or_default();
    first.split('/').next().unwrap_or_default().to_owned()
}

fn routes(result: &Value) -> Vec<String> {
    let routes = result["routes"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |route: &Value| format!("{} {}", text(&route["dst"]), text(&route["gw"]));
    routes.iter().map(line).collect()
}

fn an_address_and_its_router_are_leased(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "--dhcp-option=3,10.9.0.1")?;
    let result = case.add(&lan.at, &lan.conf(&no_keys()))?;
    let address = leased(&result);
    ensure!(
        address.starts_with("10.9.0."),
        "an address of the range: {result}"
    );
    ensure_eq!(addresses(&result), [format!("{address}/24")], "option 1");
    ensure_eq!(result["ips"][0]["gateway"], "10.9.0.1", "option 3");
    ensure_eq!(routes(&result), ["0.0.0.0/0 10.9.0.1"], "routes");
    ensure!(
        result.get("interfaces").is_none(),
        "an IPAM result has no interfaces: {result}"
    );
    let log = lan.log()?;
    for kind in ["DISCOVER", "OFFER", "REQUEST", "ACK"] {
        ensure!(
            log.contains(&format!(" DHCP{kind}(eth0)")),
            "no DHCP{kind} in\n{log}"
        );
    }
    ensure!(
        case.holds(&format!("grep -q ' {address} ' /run/dnsmasq.leases"))?,
        "the server does not know it"
    );
    Ok(())
}

fn static_routes_come_before_the_default_route(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(
        case,
        "--dhcp-option=3,10.9.0.1 --dhcp-option=33,172.16.0.0,10.9.0.3",
    )?;
    let keys = json!({ "request": [{ "option": "33" }] });
    let result = case.add(&lan.at, &lan.conf(&keys))?;
    ensure_eq!(
        routes(&result),
        ["172.16.0.0/16 10.9.0.3", "0.0.0.0/0 10.9.0.1"],
        "routes"
    );
    Ok(())
}

fn classless_routes_stand_alone(case: &Case<'_>) -> Verdict {
    let server = "--dhcp-option=3,10.9.0.1 --dhcp-option=33,172.16.0.0,10.9.0.3 \
                  --dhcp-option=121,192.168.7.0/24,10.9.0.4,0.0.0.0/0,10.9.0.5";
    let lan = Lan::start(case, server)?;
    let keys = json!({ "request": [{ "option": "33" }, { "option": "121" }] });
    let result = case.add(&lan.at, &lan.conf(&keys))?;
    ensure_eq!(
        routes(&result),
        ["192.168.7.0/24 10.9.0.4", "0.0.0.0/0 10.9.0.5"],
        "routes"
    );
    Ok(())
}

fn the_priority_is_that_of_every_route(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "--dhcp-option=3,10.9.0.1")?;
    let result = case.add(&lan.at, &newest(&lan.conf(&json!({ "priority": 77 }))))?;
    ensure_eq!(result["routes"][0]["priority"], 77, "in {result}");
    Ok(())
}

fn a_repeated_add_gets_the_same_lease(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let first = addresses(&case.add(&lan.at, &conf)?);
    ensure_eq!(
        addresses(&case.add(&lan.at, &conf)?),
        first,
        "the same addresses"
    );
    let known = case.sh("wc -l </run/dnsmasq.leases")?;
    ensure_eq!(known.trim(), "1", "leases of the server");
    case.del(&lan.at, &conf)?;
    lan.awaits("DHCPRELEASE", 1)?;
    let left = case.sh("wc -l </run/dnsmasq.leases")?;
    ensure_eq!(left.trim(), "0", "leases of the server after DEL");
    Ok(())
}

fn options_are_sent_and_asked_for(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let keys = json!({
        "provide": [
            { "option": "host-name", "value": "unused", "fromArg": "K8S_POD_NAME" },
            { "option": "vendor-class-identifier", "value": "a-vendor" }
        ],
        "request": [{ "skipDefault": true, "option": "subnet-mask" }, { "option": "17" }]
    });
    let call = case.cni("ADD", &lan.at, &lan.conf(&keys))?;
    call.env("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAME=a-pod")
        .result()?;
    let log = lan.log()?;
    for part in [
        "client provides name: a-pod",
        "vendor class: a-vendor",
        "17:root-path",
    ] {
        ensure!(log.contains(part), "{part:?} is missing in\n{log}");
    }
    ensure!(
        !log.contains("3:router"),
        "routers are asked for in spite of skipDefault:\n{log}"
    );
    Ok(())
}

fn a_lease_is_renewed_in_time(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, RENEW_SOON)?;
    let result = case.add(&lan.at, &lan.conf(&no_keys()))?;
    lan.configure(&result)?;
    let discovered = lan.count("DHCPDISCOVER")?;
    lan.awaits("DHCPACK", 3)?;
    ensure_eq!(
        lan.count("DHCPDISCOVER")?,
        discovered,
        "a renewal looks for no server"
    );
    ensure_eq!(lan.addresses()?, addresses(&result)[0], "addresses");
    Ok(())
}

fn a_lease_is_rebound_when_the_lender_is_silent(case: &Case<'_>) -> Verdict {
    let times = "--dhcp-option-force=58,3 --dhcp-option-force=59,6";
    let lan = Lan::start(case, times)?;
    let result = case.add(&lan.at, &lan.conf(&no_keys()))?;
    lan.configure(&result)?;
    // The lender no longer hears what is for it alone.
    case.sh(
        "ip netns exec srv nft 'add table ip deaf; add chain ip deaf in { type filter hook input priority 0; };
         add rule ip deaf in ip daddr 10.9.0.1 udp dport 67 drop'",
    )?;
    // The address must not be taken meanwhile.
    let acknowledged = lan.count("DHCPACK")?;
    lan.awaits("DHCPACK", acknowledged + 1)?;
    ensure_eq!(lan.addresses()?, addresses(&result)[0], "addresses");
    Ok(())
}

fn a_changed_address_is_applied(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, &format!("--dhcp-option=3,10.9.0.1 {RENEW_SOON}"))?;
    let result = case.add(&lan.at, &lan.conf(&no_keys()))?;
    lan.configure(&result)?;
    case.inside(&lan.at, "ip route add default via 10.9.0.1 dev eth0")?;
    lan.stop_serving()?;
    case.sh("ip -n srv addr flush dev eth0; ip -n srv addr add 10.8.0.1/24 dev eth0")?;
    lan.serve(
        "--dhcp-range=10.8.0.50,10.8.0.99,255.255.255.0,120 --dhcp-option=3,10.8.0.1 \
               --dhcp-option-force=58,3 --dhcp-option-force=59,6",
    )?;
    // The old lender's address is gone: the row need not wait for T2 of a minute.
    case.sh("ip -n srv addr add 10.9.0.1/32 dev eth0")?;
    let changed = case.holds_inside(
        &lan.at,
        "for i in $(seq 150); do ip -o -4 addr show dev eth0 | grep -q ' 10.8.0.' && exit 0; sleep 0.1; done; exit 1",
    )?;
    ensure!(
        changed,
        "the interface has {}; the server says\n{}\nthe daemon says\n{}",
        lan.addresses()?,
        lan.log()?,
        lan.daemon_log()?
    );
    ensure!(
        !lan.addresses()?.contains(&leased(&result)),
        "the old address stayed: {}",
        lan.addresses()?
    );
    let route = case.inside(&lan.at, "ip route show default")?;
    ensure!(
        route.contains("via 10.8.0.1"),
        "the default route follows: {route:?}"
    );
    // And packets flow.
    case.inside(&lan.at, "/bin/busybox ping -c1 -W5 10.8.0.1 >/dev/null")?;
    Ok(())
}

fn an_expired_address_is_taken_away(case: &Case<'_>) -> Verdict {
    let lan = Lan::lay(case)?;
    // dnsmasq gives no lease of less than two minutes; udhcpd of busybox does.
    case.sh(&format!(
        "printf 'start 10.9.0.50\\nend 10.9.0.99\\ninterface eth0\\nlease_file /run/udhcpd.leases\\nmin_lease 1\\n\
         pidfile /run/udhcpd.pid\\noption subnet 255.255.255.0\\noption lease 6\\n' >/run/udhcpd.conf
         : >/run/udhcpd.leases
         ip netns exec srv /bin/busybox udhcpd -f /run/udhcpd.conf >{} 2>&1 </dev/null & echo $! >/run/udhcpd",
        case.path("server.log")
    ))?;
    lan.daemon("")?;
    let result = case.add(&lan.at, &lan.conf(&no_keys()))?;
    lan.configure(&result)?;
    case.sh("kill -9 $(cat /run/udhcpd)")?;
    let gone = case.holds_inside(
        &lan.at,
        "for i in $(seq 150); do ip -o -4 addr show dev eth0 | grep -q ' 10.9.0.' || exit 0; sleep 0.1; done; exit 1",
    )?;
    ensure!(
        gone,
        "the interface has {}; the daemon says\n{}",
        lan.addresses()?,
        lan.daemon_log()?
    );
    Ok(())
}

fn del_releases_the_lease(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let result = case.add(&lan.at, &conf)?;
    lan.configure(&result)?;
    case.del(&lan.at, &with_prev(&conf, &result))?;
    lan.awaits("DHCPRELEASE", 1)?;
    let left = case.sh("cat /run/dnsmasq.leases")?;
    ensure!(
        !left.contains(&leased(&result)),
        "the server still has it leased: {left}"
    );
    case.del(&lan.at, &conf)
}

fn del_releases_the_lease_of_a_vanished_interface(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let result = case.add(&lan.at, &conf)?;
    lan.configure(&result)?;
    case.inside(&lan.at, "ip link del eth0")?;
    case.del(&lan.at, &conf)?;
    lan.awaits("DHCPRELEASE", 1)
}

fn del_releases_the_lease_of_a_vanished_namespace(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let result = case.add(&lan.at, &conf)?;
    lan.configure(&result)?;
    case.sh("ip netns del c1")?;
    case.del(&lan.at, &conf)?;
    lan.awaits("DHCPRELEASE", 1)?;
    case.cni("DEL", &lan.at, &conf)?
        .env("CNI_NETNS", "")
        .silent()
}

fn a_bridge_network_uses_and_releases_its_lease(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "--dhcp-option=3,10.9.0.1")?;
    let at = case.sandbox("c2")?;
    let mut conf = with(&lan.conf(&no_keys()), "type", "bridge");
    conf["bridge"] = "br0".into();
    let result = case.add(&at, &conf)?;
    let address = leased(&result);
    ensure!(address.starts_with("10.9.0."), "{result}");
    case.inside(&at, "/bin/busybox ping -c1 -W5 10.9.0.1 >/dev/null")?;
    case.cni("CHECK", &at, &with_prev(&conf, &result))?
        .silent()?;
    case.del(&at, &with_prev(&conf, &result))?;
    lan.awaits("DHCPRELEASE", 1)
}

fn del_without_a_daemon_succeeds(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let result = case.add(&lan.at, &lan.conf(&no_keys()))?;
    ensure!(!leased(&result).is_empty(), "no lease: {result}");
    case.del(&lan.at, &lan.conf(&no_keys()))?;
    lan.end_daemon("KILL")?;
    case.del(&lan.at, &lan.conf(&no_keys()))?;
    case.cni("DEL", &lan.at, &lan.conf(&no_keys()))?
        .env("CNI_NETNS", "")
        .silent()
}

fn a_del_without_a_daemon_is_made_good(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let result = case.add(&lan.at, &conf)?;
    lan.configure(&result)?;
    lan.end_daemon("KILL")?;
    case.del(&lan.at, &conf)?;
    ensure_eq!(lan.count("DHCPRELEASE")?, 0, "releases without a daemon");
    lan.daemon("")?;
    lan.awaits("DHCPRELEASE", 1)
}

fn leases_survive_a_killed_daemon(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, RENEW_SOON)?;
    let conf = lan.conf(&no_keys());
    let result = case.add(&lan.at, &conf)?;
    lan.configure(&result)?;
    let discovered = lan.count("DHCPDISCOVER")?;
    lan.end_daemon("KILL")?;
    lan.daemon("")?;
    case.cni("CHECK", &lan.at, &with_prev(&conf, &result))?
        .silent()?;
    let acknowledged = lan.count("DHCPACK")?;
    lan.awaits("DHCPACK", acknowledged + 1)?;
    ensure_eq!(
        lan.count("DHCPDISCOVER")?,
        discovered,
        "DHCPDISCOVER after the restart"
    );
    // An ordinary end keeps them too.
    lan.end_daemon("TERM")?;
    ensure_eq!(
        lan.count("DHCPRELEASE")?,
        0,
        "releases at the end of the daemon"
    );
    lan.daemon("")?;
    case.del(&lan.at, &conf)?;
    lan.awaits("DHCPRELEASE", 1)
}

/// How many descriptors a daemon needs to look at an interface is its own business: one of these
/// limits is just too low.
fn a_daemon_short_of_descriptors_keeps_leases(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let result = case.add(&lan.at, &conf)?;
    lan.end_daemon("KILL")?;
    for limit in 4..16 {
        lan.spawn_daemon(&format!("prlimit --nofile={limit}"), "")?;
        // With the lowest limits it does not even start.
        case.sh("sleep 0.3")?;
        if lan.daemon_lives()? {
            lan.end_daemon("KILL")?;
        }
    }
    ensure_eq!(
        lan.count("DHCPRELEASE")?,
        0,
        "releases of a living container"
    );
    lan.daemon("")?;
    case.cni("CHECK", &lan.at, &with_prev(&conf, &result))?
        .silent()?;
    case.del(&lan.at, &conf)?;
    lan.awaits("DHCPRELEASE", 1)
}

fn the_socket_of_a_dead_daemon_is_no_obstacle(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    lan.end_daemon("KILL")?;
    ensure!(
        case.holds(&format!("[ -S {} ]", lan.socket()))?,
        "SIGKILL leaves the socket"
    );
    lan.spawn_daemon("", "")?;
    case.sh("sleep 0.5")?;
    ensure!(
        lan.daemon_lives()?,
        "the daemon does not start: {}",
        lan.daemon_log()?
    );
    case.add(&lan.at, &lan.conf(&no_keys()))?;
    Ok(())
}

fn the_socket_of_a_living_daemon_is_not_taken(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    case.sh("cp /run/daemon /run/first")?;
    lan.spawn_daemon("", "")?;
    let script = "for i in $(seq 100); do kill -0 $(cat /run/daemon) 2>/dev/null || exit 0; sleep 0.1; done; exit 1";
    ensure!(case.holds(script)?, "a second daemon runs beside the first");
    ensure!(
        case.holds("kill -0 $(cat /run/first)")?,
        "the first one is gone"
    );
    case.add(&lan.at, &lan.conf(&no_keys()))?;
    Ok(())
}

fn name_servers_and_domains_are_in_the_result(case: &Case<'_>) -> Verdict {
    let server = "--dhcp-option=6,10.9.0.53,10.9.0.54 --dhcp-option=15,example.org \
                  --dhcp-option=119,a.example.org,b.example.org";
    let lan = Lan::start(case, server)?;
    let options = ["6", "15", "119"].map(|option| json!({ "option": option }));
    let result = case.add(&lan.at, &lan.conf(&json!({ "request": options })))?;
    let expected = json!({
        "nameservers": ["10.9.0.53", "10.9.0.54"], "domain": "example.org",
        "search": ["a.example.org", "b.example.org"]
    });
    ensure_eq!(result["dns"], expected, "dns");
    Ok(())
}

fn the_mtu_is_that_of_the_routes(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "--dhcp-option=3,10.9.0.1 --dhcp-option=26,1400")?;
    let keys = json!({ "request": [{ "option": "26" }] });
    let result = case.add(&lan.at, &newest(&lan.conf(&keys)))?;
    ensure_eq!(result["routes"][0]["mtu"], 1400, "MTU of the default route");
    Ok(())
}

const V6: &str =
    "--dhcp-range=fd09::50,fd09::99,64,120 --dhcp-option=option6:dns-server,[fd09::53]";

fn an_ipv6_address_is_leased_used_and_released(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, V6)?;
    let conf = lan.conf(&json!({ "families": ["ipv6"] }));
    let result = case.add(&lan.at, &conf)?;
    let address = leased(&result);
    ensure!(address.starts_with("fd09::"), "{result}");
    ensure_eq!(result["dns"]["nameservers"], json!(["fd09::53"]), "dns");
    lan.configure(&result)?;
    case.inside(&lan.at, "ip -6 route add fd09::/64 dev eth0")?;
    case.inside(
        &lan.at,
        "for i in $(seq 5); do /bin/busybox ping -c1 -W2 fd09::1 >/dev/null && exit 0; sleep 1; done; exit 1",
    )?;
    let log = lan.log()?;
    for kind in ["SOLICIT", "ADVERTISE", "REQUEST", "REPLY"] {
        ensure!(
            log.contains(&format!(" DHCP{kind}(eth0)")),
            "no DHCP{kind} in\n{log}"
        );
    }
    ensure_eq!(lan.count("DHCPDISCOVER")?, 0, "DHCPv4 was not asked for");
    case.del(&lan.at, &conf)?;
    lan.awaits("DHCPRELEASE", 1)
}

fn both_families_are_in_one_result(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, V6)?;
    let conf = lan.conf(&json!({ "families": ["ipv4", "ipv6"] }));
    let result = case.add(&lan.at, &conf)?;
    let got = addresses(&result);
    ensure_eq!(got.len(), 2, "addresses {got:?}");
    ensure!(
        got[0].starts_with("10.9.0.") && got[1].starts_with("fd09::"),
        "addresses {got:?}"
    );
    case.del(&lan.at, &conf)?;
    lan.awaits("DHCPRELEASE", 2)
}

fn check_acquires_nothing(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let previous = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.9.0.60/24" }] });
    case.cni("CHECK", &lan.at, &with_prev(&conf, &previous))?
        .error()?;
    ensure_eq!(lan.count("DHCPDISCOVER")?, 0, "DHCPDISCOVER for a CHECK");
    let result = case.add(&lan.at, &conf)?;
    case.cni("CHECK", &lan.at, &with_prev(&conf, &result))?
        .silent()?;
    case.del(&lan.at, &conf)?;
    let discovered = lan.count("DHCPDISCOVER")?;
    case.cni("CHECK", &lan.at, &with_prev(&conf, &result))?
        .error()?;
    ensure_eq!(
        lan.count("DHCPDISCOVER")?,
        discovered,
        "DHCPDISCOVER for a CHECK after DEL"
    );
    Ok(())
}

fn check_compares_prev_result(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let result = case.add(&lan.at, &conf)?;
    case.cni("CHECK", &lan.at, &with_prev(&conf, &result))?
        .silent()?;
    let mut other = result.clone();
    other["ips"][0]["address"] = "10.9.0.7/24".into();
    case.cni("CHECK", &lan.at, &with_prev(&conf, &other))?
        .error()?;
    Ok(())
}

fn an_add_without_a_server_ends(case: &Case<'_>) -> Verdict {
    let lan = Lan::lay(case)?;
    lan.daemon("")?;
    let outcome = case
        .cni("ADD", &lan.at, &lan.conf(&json!({ "timeout": 3 })))?
        .run()?
        .refuses()?;
    ensure!(
        outcome.took < Duration::from_secs(10),
        "{:?} with ipam.timeout 3",
        outcome.took
    );
    let error: Value = serde_json::from_slice(&outcome.stdout)?;
    ensure_eq!(error["code"], 11, "try again later: {error}");
    let up = case.inside(
        &lan.at,
        "cat /sys/class/net/eth0/flags 2>/dev/null || ip link show dev eth0",
    )?;
    ensure!(!up.contains(",UP"), "the link is as it was before: {up}");
    Ok(())
}

fn the_daemon_bounds_an_add_too(case: &Case<'_>) -> Verdict {
    let lan = Lan::lay(case)?;
    lan.daemon("-resendtimeout=2s -timeout 1s")?;
    let add = case.cni("ADD", &lan.at, &lan.conf(&no_keys()))?;
    let outcome = add.run()?.refuses()?;
    let took = outcome.took;
    ensure!(
        took < Duration::from_secs(12),
        "{took:?} with -resendtimeout 2s"
    );
    // The words that callers look for.
    outcome.says(&["no more tries"])?;
    Ok(())
}

fn a_killed_add_takes_no_lease(case: &Case<'_>) -> Verdict {
    let lan = Lan::lay(case)?;
    lan.daemon("")?;
    let mut add = case
        .cni("ADD", &lan.at, &lan.conf(&no_keys()))?
        .invocation()
        .clone()
        .within(&["timeout", "-s", "KILL", "1"])
        .spawn()?;
    case.sh("sleep 1.5")?;
    add.kill();
    add.wait()?;
    lan.serve(RANGE)?;
    // Longer than two of its messages are apart.
    case.sh("sleep 6")?;
    ensure_eq!(
        lan.count("DHCPACK")?,
        0,
        "leases for nobody:\n{}",
        lan.log()?
    );
    // The daemon is still of use.
    case.add(&lan.at, &lan.conf(&no_keys()))?;
    Ok(())
}

fn a_missing_ipam_is_told(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({ "cniVersion": "1.0.0", "name": "net", "type": "dhcp" });
    case.cni("ADD", &at, &conf)?.refused_with(&[7])?;
    Ok(())
}

fn check_ends_when_the_link_is_gone(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    let conf = lan.conf(&no_keys());
    let result = case.add(&lan.at, &conf)?;
    case.inside(&lan.at, "ip link del eth0")?;
    let check = with_prev(&conf, &result);
    case.cni("CHECK", &lan.at, &check)?.error()?;
    case.cni("CHECK", &lan.at, &check)?.error()?;
    // The same name, but another interface.
    lan.plug("c1", "eth0")?;
    case.cni("CHECK", &lan.at, &check)?.error()?;
    let again = case.add(&lan.at, &conf)?;
    case.cni("CHECK", &lan.at, &with_prev(&conf, &again))?
        .silent()
}

fn pidfile_and_prefix_are_honoured(case: &Case<'_>) -> Verdict {
    let lan = Lan::lay(case)?;
    lan.serve(RANGE)?;
    // As a daemon in a container sees the host: its files below a directory.
    let prefix = case.path("host");
    case.sh(&format!(
        "mkdir -p {prefix}/run {prefix}{}; mount --rbind /run {prefix}/run",
        case.path("run")
    ))?;
    lan.spawn_daemon("", &format!("-pidfile /run/dhcp.pid -hostprefix {prefix}"))?;
    let inside = format!("{prefix}{}", lan.socket());
    case.sh(&format!(
        "for i in $(seq 100); do [ -S {inside} ] && exit 0; sleep 0.1; done; exit 1"
    ))?;
    ensure!(
        case.holds("[ $(cat /run/dhcp.pid) = $(cat /run/daemon) ]")?,
        "the pidfile names the daemon"
    );
    let mut conf = lan.conf(&no_keys());
    conf["ipam"]["daemonSocketPath"] = inside.as_str().into();
    case.add(&lan.at, &conf)?;
    case.del(&lan.at, &conf)?;
    lan.end_daemon("TERM")?;
    ensure!(
        case.holds(&format!("! [ -e /run/dhcp.pid ] && ! [ -e {inside} ]"))?,
        "socket or pidfile is left"
    );
    Ok(())
}

fn a_socket_can_be_handed_over(case: &Case<'_>) -> Verdict {
    let lan = Lan::lay(case)?;
    lan.serve(RANGE)?;
    // What systemd does, in perl, which every Debian has.
    let script = "use Socket; $^F = 9; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; \
        bind($s, sockaddr_un(shift)) or die; listen($s, 9) or die; fileno($s) == 3 or die; \
        $ENV{LISTEN_FDS} = shift; $ENV{LISTEN_PID} = $$; exec @ARGV";
    case.sh(&format!(
        "mkdir {}; printf '%s' '{script}' >/run/hand-over.pl",
        case.path("run")
    ))?;
    lan.spawn_daemon(&format!("perl /run/hand-over.pl {} 1", lan.socket()), "")?;
    case.sh(&format!(
        "for i in $(seq 100); do [ -S {} ] && exit 0; sleep 0.1; done; exit 1",
        lan.socket()
    ))?;
    case.add(&lan.at, &lan.conf(&no_keys()))?;
    ensure!(
        lan.daemon_lives()?,
        "the daemon ended: {}",
        lan.daemon_log()?
    );
    let other = case.path("run/other.sock");
    lan.spawn_daemon(&format!("perl /run/hand-over.pl {other} 2"), "")?;
    let script = "for i in $(seq 100); do kill -0 $(cat /run/daemon) 2>/dev/null || exit 0; sleep 0.1; done; exit 1";
    ensure!(case.holds(script)?, "a daemon runs with two sockets");
    let log = lan.daemon_log()?;
    ensure!(
        log.contains("Too many (2) FDs passed through socket activation"),
        "it says {log:?}"
    );
    Ok(())
}

fn the_broadcast_flag_is_sent(case: &Case<'_>) -> Verdict {
    let lan = Lan::lay(case)?;
    lan.serve(RANGE)?;
    for (flags, wanted) in [("", "Flags [none]"), ("-broadcast", "Flags [Broadcast]")] {
        lan.daemon(flags)?;
        case.sh("tcpdump -l -nn -v -i br0 udp port 67 >/run/seen 2>/run/told </dev/null & echo $! >/run/tcpdump
                 for i in $(seq 100); do grep -q listening /run/told && exit 0; sleep 0.1; done; exit 1")?;
        let conf = lan.conf(&no_keys());
        case.add(&lan.at, &conf)?;
        case.sh("sleep 0.5; kill $(cat /run/tcpdump); sleep 0.3")?;
        let seen = case.sh("grep 'Request from' /run/seen || :")?;
        let all = !seen.is_empty() && seen.lines().all(|line| line.contains(wanted));
        ensure!(all, "{flags:?}: not {wanted} in all of\n{seen}");
        case.del(&lan.at, &conf)?;
        lan.end_daemon("TERM")?;
        // An older daemon leaves it, which is another row's concern.
        case.sh(&format!("rm -f {}", lan.socket()))?;
    }
    Ok(())
}

fn sixty_leases_need_no_sixty_threads(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, RENEW_SOON)?;
    case.sh(
        "{ for i in $(seq 60); do echo link add h$i master br0 type veth peer name e$i netns c1; \
              echo link set h$i up; done; } | ip -batch -",
    )?;
    let call = case.cni("ADD", &lan.at, &lan.conf(&json!({ "timeout": 15 })))?;
    let mut running = Vec::new();
    for number in 1..=60 {
        let invocation = call
            .invocation()
            .clone()
            .env("CNI_IFNAME", format!("e{number}"));
        running.push(invocation.spawn()?);
    }
    let mut addresses = std::collections::BTreeSet::new();
    for each in running {
        let outcome = each.wait()?.succeeds()?;
        addresses.insert(leased(&serde_json::from_slice(&outcome.stdout)?));
    }
    ensure_eq!(addresses.len(), 60, "different addresses");
    let threads = case.sh("ls /proc/$(cat /run/daemon)/task | wc -l")?;
    let threads: usize = threads.trim().parse().unwrap_or(usize::MAX);
    ensure!(threads <= 20, "{threads} threads for sixty leases");
    Ok(())
}

fn status_tells_whether_the_daemon_is_there(case: &Case<'_>) -> Verdict {
    let lan = Lan::lay(case)?;
    let conf = newest(&lan.conf(&no_keys()));
    case.cni("STATUS", &lan.at, &conf)?
        .refused_with(&[50, 51])?;
    lan.daemon("")?;
    case.cni("STATUS", &lan.at, &conf)?.silent()?;
    lan.end_daemon("KILL")?;
    case.cni("STATUS", &lan.at, &conf)?
        .refused_with(&[50, 51])?;
    Ok(())
}

fn dhcp_answers_in_every_version(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "--dhcp-option=3,10.9.0.1")?;
    for version in VERSIONS {
        let conf = with(&lan.conf(&no_keys()), "cniVersion", version);
        let result = case.add(&lan.at, &conf)?;
        ensure_eq!(result["cniVersion"], version, "cniVersion of {result}");
        if version < "0.3.0" {
            let address = result["ip4"]["ip"].as_str().unwrap_or_default();
            ensure!(address.starts_with("10.9.0."), "ip4 of {result}");
            ensure_eq!(
                result["ip4"]["routes"][0]["gw"],
                "10.9.0.1",
                "routes of {result}"
            );
        } else {
            let family = result["ips"][0].get("version").and_then(Value::as_str);
            let wanted = (version < "1.0.0").then_some("4");
            ensure_eq!(family, wanted, "ips[].version of {result}");
        }
        case.del(&lan.at, &conf)?;
    }
    Ok(())
}

fn dhcp_gc_releases_the_dead_alone(case: &Case<'_>) -> Verdict {
    let lan = Lan::start(case, "")?;
    lan.plug("c1", "eth1")?;
    let conf = newest(&lan.conf(&no_keys()));
    let mut second = lan.at.clone();
    second.ifname = "eth1".into();
    let kept = case.add(&lan.at, &conf)?;
    case.add(&second, &conf)?;
    let gc = |conf: &Value| case.plugin("dhcp", "GC")?.stdin(conf).silent();
    gc(&conf)?;
    gc(&with(
        &with(&conf, "name", "other"),
        "cni.dev/valid-attachments",
        json!([]),
    ))?;
    case.sh("sleep 0.3")?;
    ensure_eq!(
        lan.count("DHCPRELEASE")?,
        0,
        "releases without a list, and for another network"
    );
    let valid = json!([{ "containerID": "c1", "ifname": "eth0" }]);
    gc(&with(&conf, "cni.dev/valid-attachments", valid))?;
    lan.awaits("DHCPRELEASE", 1)?;
    case.cni("CHECK", &lan.at, &with_prev(&conf, &kept))?
        .silent()?;
    gc(&with(&conf, "cni.dev/valid-attachments", json!([])))?;
    lan.awaits("DHCPRELEASE", 2)
}
