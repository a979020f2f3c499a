//! `ptp`.

use serde_json::{Value, json};

use super::bridge::{masq_goes_with, noticed, reaches_a_peer_without_a_route, rules_about};
use super::bridge_faults::{RELEASE, gc, nothing_is_left, releases_last, without_forwarding};
use crate::attachment::{Attachment, addresses, host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

const CHECK: &str =
    "SPEC CHECK: must return an error if a resource is missing or in an invalid state";
const UNDONE: &str = "SPEC: a failed ADD must not leave what a DEL that never comes would remove";

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        PT01,
        packets_go_both_ways_through_the_host,
        "ptp: a veth pair between container and host; the container's routes lead to the host's end"
    ),
    row!(
        Cni,
        PT01,
        the_result_lists_both_ends_and_the_mtu_is_set,
        "SPEC Success: interfaces: all interfaces created; ptp: mtu"
    ),
    row!(
        Cni,
        PT02,
        both_families_reach_the_host,
        "SPEC Success: ips: one address of each range set"
    ),
    row!(
        Cni,
        PT03,
        ip_masq_hides_the_address_by_iptables,
        "ptp: ipMasq: set up IP masquerade on the host for traffic from this network"
    ),
    row!(
        Cni,
        PT03,
        ip_masq_hides_the_address_by_nftables,
        "ptp: ipMasqBackend: nftables"
    ),
    row!(
        Cni,
        PT04,
        an_address_without_a_gateway_is_an_error,
        "ptp: the host's end carries the gateway's address: without one there is no way out"
    ),
    row!(
        Cni,
        PT05,
        forwarding_that_cannot_be_set_leaves_no_pair,
        UNDONE
    ),
    row!(Cni, PT05, a_result_that_is_not_heard_leaves_no_pair, UNDONE),
    row!(
        Cni,
        PT06,
        del_goes_on_when_ipam_does_not,
        "SPEC DEL: plugins should generally complete a DEL without error even if resources are missing"
    ),
    row!(
        Cni,
        PT06,
        del_goes_on_when_ipam_makes_no_sense,
        "SPEC DEL: the configuration may have been changed since ADD"
    ),
    row!(
        Cni,
        PT06,
        a_del_without_room_for_a_thread_tells_why,
        "pthread_create(3): EAGAIN; SPEC error 11: try again later"
    ),
    row!(
        Cni,
        PT07,
        del_with_a_namespace_below_a_file_removes_ip_masq,
        "SPEC DEL: if CNI_NETNS does not exist, plugins should still remove what they can; ENOTDIR"
    ),
    row!(
        Cni,
        PT07,
        del_with_an_empty_namespace_removes_ip_masq,
        "SPEC DEL: CNI_NETNS is optional"
    ),
    row!(
        Cni,
        PT07,
        del_with_a_namespace_that_is_gone_removes_ip_masq,
        "SPEC DEL: if CNI_NETNS does not exist, plugins should still remove what they can"
    ),
    row!(Cni, PT08, check_finds_a_missing_address_inside, CHECK),
    row!(Cni, PT08, check_finds_a_missing_route_of_the_host, CHECK),
    row!(Cni, PT08, check_finds_a_missing_rule, CHECK),
    row!(Cni, PT08, check_finds_forwarding_switched_off, CHECK),
    row!(
        Cni,
        PT08,
        check_finds_forwarding_of_ipv6_switched_off,
        CHECK
    ),
    row!(
        Cni,
        PT06,
        an_address_is_not_released_while_its_link_is_there,
        RELEASE
    ),
    row!(
        Cni,
        PT08,
        check_finds_a_route_that_was_moved,
        "SPEC CHECK: must allow for a later chained plugin to have modified resources, e.g. routes"
    ),
    row!(
        Cni,
        PT08,
        status_asks_the_delegate,
        "SPEC STATUS: error 50: the plugin is not available"
    ),
    row!(
        Cni,
        PT08,
        gc_takes_the_stale_alone,
        "SPEC GC: remove resources of attachments that are not in cni.dev/valid-attachments"
    ),
];

fn conf(case: &Case<'_>) -> Value {
    let mut conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "ptp",
        "ipam": host_local(case, "10.77.0.0/24")
    });
    conf["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
    conf
}

fn reaches(case: &Case<'_>, at: &Attachment, address: &str) -> Verdict<bool> {
    case.holds_inside(
        at,
        &format!("for i in 1 2 3; do busybox ping -c1 -W1 {address} && exit 0; done; exit 1"),
    )
}

fn packets_go_both_ways_through_the_host(case: &Case<'_>) -> Verdict {
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&one, &conf(case))?;
    case.add(&two, &conf(case))?;
    ensure!(reaches(case, &one, "10.77.0.1")?, "the gateway");
    ensure!(reaches(case, &one, "10.77.0.3")?, "the neighbour");
    ensure!(
        case.holds("busybox ping -c1 -W2 10.77.0.2")?,
        "from the host"
    );
    let routes = case.inside(&one, "ip -4 route show default")?;
    ensure!(
        routes.contains("via 10.77.0.1 dev eth0"),
        "routes: {routes}"
    );
    case.del(&one, &conf(case))?;
    ensure!(!case.holds("busybox ping -c1 -W1 10.77.0.2")?, "after DEL");
    ensure_eq!(case.sh("ip -o link show type veth | wc -l")?, "1", "veths");
    Ok(())
}

fn the_result_lists_both_ends_and_the_mtu_is_set(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let result = case.add(&at, &with(&conf(case), "mtu", 1400))?;
    let host = result["interfaces"][0]["name"].as_str().unwrap_or_default();
    let outside = case.sh(&format!("ip -o link show {host}"))?;
    ensure!(outside.contains("mtu 1400"), "host's end: {outside}");
    let inside = case.inside(&at, "ip -o link show eth0")?;
    ensure!(inside.contains("mtu 1400"), "eth0: {inside}");
    ensure_eq!(result["interfaces"][1]["name"], "eth0", "second");
    let sandbox = &result["interfaces"][1]["sandbox"];
    ensure_eq!(*sandbox, at.netns.as_str(), "sandbox of the second");
    ensure_eq!(result["ips"][0]["interface"], 1, "index of the address");
    Ok(())
}

fn both_families_reach_the_host(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = conf(case);
    conf["ipam"] = json!({
        "type": "host-local", "dataDir": case.path("reservations"),
        "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd77::/64" }]]
    });
    let result = case.add(&at, &conf)?;
    ensure_eq!(
        addresses(&result),
        ["10.77.0.2/24", "fd77::2/64"],
        "addresses"
    );
    ensure!(reaches(case, &at, "10.77.0.1")?, "the IPv4 gateway");
    ensure!(reaches(case, &at, "fd77::1")?, "the IPv6 gateway");
    Ok(())
}

fn masquerades_by(case: &Case<'_>, back_end: &str) -> Verdict {
    let at = case.sandbox("container77")?;
    let masq = with(
        &with(&conf(case), "ipMasq", true),
        "ipMasqBackend",
        back_end,
    );
    case.add(&at, &masq)?;
    let iptables = case.sh("iptables-save -t nat 2>/dev/null")?;
    ensure_eq!(
        iptables.contains("MASQUERADE"),
        back_end == "iptables",
        "{iptables}"
    );
    ensure!(reaches_a_peer_without_a_route(case, &at)?, "no masquerade");
    case.del(&at, &masq)?;
    ensure_eq!(rules_about(case, "container77")?, "", "rules left");
    Ok(())
}

fn ip_masq_hides_the_address_by_iptables(case: &Case<'_>) -> Verdict {
    masquerades_by(case, "iptables")
}

fn ip_masq_hides_the_address_by_nftables(case: &Case<'_>) -> Verdict {
    masquerades_by(case, "nftables")
}

fn an_address_without_a_gateway_is_an_error(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("container77")?;
    let mut conf = conf(case);
    conf["ipam"] = json!({ "type": "static", "addresses": [{ "address": "10.77.0.9/24" }] });
    let error = case.cni("ADD", &at, &conf)?.error()?;
    let text = error.to_string().to_lowercase();
    ensure!(
        text.contains("gateway"),
        "it does not say what is missing: {text}"
    );
    nothing_is_left(case, &at)
}

fn forwarding_that_cannot_be_set_leaves_no_pair(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("container77")?;
    without_forwarding(case)?;
    let masq = with(&conf(case), "ipMasq", true);
    case.cni("ADD", &at, &masq)?.error()?;
    nothing_is_left(case, &at)
}

fn a_result_that_is_not_heard_leaves_no_pair(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("container77")?;
    let masq = with(&conf(case), "ipMasq", true);
    case.add_unheard(&at, &masq)?;
    nothing_is_left(case, &at)
}

fn del_goes_on_when_ipam_does_not(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("container77")?;
    let masq = with(&conf(case), "ipMasq", true);
    let result = case.add(&at, &masq)?;
    let mut broken = with_prev(&masq, &result);
    broken["ipam"]["type"] = "no-such-ipam".into();
    // What could not be freed may be told; the link and the rules can be.
    case.cni("DEL", &at, &broken)?.run()?;
    let there = case.holds_inside(&at, "ip link show eth0")?;
    ensure!(!there, "eth0 is left");
    ensure_eq!(rules_about(case, "container77")?, "", "rules left");
    Ok(())
}

fn del_goes_on_when_ipam_makes_no_sense(case: &Case<'_>) -> Verdict {
    let masq = with(&conf(case), "ipMasq", true);
    for ipam in [json!({ "type": 5 }), json!("host-local"), json!([])] {
        let at = case.sandbox("container77")?;
        let result = case.add(&at, &masq)?;
        let broken = with(&with_prev(&masq, &result), "ipam", ipam);
        case.cni("DEL", &at, &broken)?.run()?;
        let there = case.holds_inside(&at, "ip link show eth0")?;
        ensure!(!there, "eth0 is left");
        ensure_eq!(rules_about(case, "container77")?, "", "rules left");
        case.del(&at, &masq)?;
        case.sh("ip netns del container77")?;
    }
    Ok(())
}

/// Where exactly there is room for the plugin and none for a thread's stack is found by trying.
fn a_del_without_room_for_a_thread_tells_why(case: &Case<'_>) -> Verdict {
    let (at, conf) = (case.sandbox("c1")?, conf(case));
    for mebibytes in 4..40 {
        case.add(&at, &conf)?;
        let limit = format!("--as={}", mebibytes << 20);
        let call = case.cni("DEL", &at, &conf)?.within(&["prlimit", &limit]);
        let outcome = call.run()?;
        let told: Option<Value> = serde_json::from_slice(&outcome.stdout).ok();
        let code = told.and_then(|error| error["code"].as_u64());
        ensure!(code != Some(999), "code 999 with {mebibytes} MiB");
        case.del(&at, &conf)?;
    }
    Ok(())
}

fn del_with_an_empty_namespace_removes_ip_masq(case: &Case<'_>) -> Verdict {
    masq_goes_with(case, &conf(case), |at| {
        Ok(Attachment {
            netns: String::new(),
            ..at.clone()
        })
    })
}

fn del_with_a_namespace_that_is_gone_removes_ip_masq(case: &Case<'_>) -> Verdict {
    masq_goes_with(case, &conf(case), |at| {
        case.sh("ip netns del container77")?;
        Ok(at.clone())
    })
}

fn del_with_a_namespace_below_a_file_removes_ip_masq(case: &Case<'_>) -> Verdict {
    masq_goes_with(case, &conf(case), |at| {
        Ok(Attachment {
            netns: "/etc/passwd/net".into(),
            ..at.clone()
        })
    })
}

fn check_finds_a_missing_address_inside(case: &Case<'_>) -> Verdict {
    noticed(case, &plain(case), |at| {
        case.inside(at, "ip addr flush dev eth0")
    })
}

/// Without routes of IPAM, whose gateway CHECK of an old reference cannot tell.
fn plain(case: &Case<'_>) -> Value {
    let mut conf = conf(case);
    conf["ipam"]
        .as_object_mut()
        .map(|ipam| ipam.remove("routes"));
    conf
}

fn check_finds_a_missing_route_of_the_host(case: &Case<'_>) -> Verdict {
    noticed(case, &plain(case), |_| case.sh("ip route del 10.77.0.2/32"))
}

fn check_finds_a_route_that_was_moved(case: &Case<'_>) -> Verdict {
    let (at, conf) = (case.sandbox("c1")?, conf(case));
    let result = case.add(&at, &conf)?;
    let checked = with_prev(&conf, &result);
    case.inside(&at, "ip route add table 100 10.77.0.1 dev eth0")?;
    case.inside(
        &at,
        "ip route add table 100 default via 10.77.0.1 dev eth0; ip route del default",
    )?;
    case.cni("CHECK", &at, &checked)?.silent()?;
    case.inside(&at, "ip route del table 100 default")?;
    case.cni("CHECK", &at, &checked)?.error().map(drop)
}

fn check_finds_a_missing_rule(case: &Case<'_>) -> Verdict {
    noticed(case, &with(&plain(case), "ipMasq", true), |_| {
        case.sh("nft flush ruleset")
    })
}

fn check_finds_forwarding_switched_off(case: &Case<'_>) -> Verdict {
    noticed(case, &plain(case), |_| {
        case.sh("echo 0 > /proc/sys/net/ipv4/ip_forward")
    })
}

fn check_finds_forwarding_of_ipv6_switched_off(case: &Case<'_>) -> Verdict {
    let mut conf = conf(case);
    conf["ipam"] = json!({
        "type": "host-local", "dataDir": case.path("reservations"),
        "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd77::/64" }]]
    });
    noticed(case, &conf, |_| {
        case.sh("echo 0 > /proc/sys/net/ipv6/conf/all/forwarding")
    })
}

fn an_address_is_not_released_while_its_link_is_there(case: &Case<'_>) -> Verdict {
    releases_last(case, &conf(case))
}

fn status_asks_the_delegate(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = with(&conf(case), "cniVersion", "1.1.0");
    conf["ipam"]["rangeStart"] = "10.77.0.9".into();
    conf["ipam"]["rangeEnd"] = "10.77.0.9".into();
    case.cni("STATUS", &at, &conf)?.silent()?;
    case.add(&at, &conf)?;
    case.cni("STATUS", &at, &conf)?.refused_with(&[50])?;
    conf["ipam"]["type"] = "no-such-ipam".into();
    case.cni("STATUS", &at, &conf)?.refused_with(&[50])?;
    Ok(())
}

fn gc_takes_the_stale_alone(case: &Case<'_>) -> Verdict {
    let masq = with(&with(&conf(case), "ipMasq", true), "cniVersion", "1.1.0");
    let (valid, stale) = (case.sandbox("valid77")?, case.sandbox("stale77")?);
    let result = case.add(&valid, &masq)?;
    case.add(&stale, &masq)?;
    gc(case, &masq, None)?;
    ensure_eq!(
        reserved(case, "net")?.len(),
        2,
        "reservations without a list"
    );
    let list = json!([{ "containerID": "valid77", "ifname": "eth0" }]);
    gc(case, &masq, Some(list))?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    ensure_eq!(rules_about(case, "stale77")?, "", "rules of the stale");
    ensure_eq!(case.sh("ip -o link show type veth | wc -l")?, "1", "veths");
    case.cni("CHECK", &valid, &with_prev(&masq, &result))?
        .silent()
}
