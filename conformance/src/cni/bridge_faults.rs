//! `bridge` when something goes wrong, changes behind its back, or was left by the dead.

use serde_json::{Value, json};

use super::bridge::{conf, noticed, rules_about};
use crate::attachment::{Attachment, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

const CHECK: &str =
    "SPEC CHECK: must return an error if a resource is missing or in an invalid state";
const UNDONE: &str = "SPEC: a failed ADD must not leave what a DEL that never comes would remove";
pub(super) const RELEASE: &str =
    "SPEC DEL: delegated last: an address that is free is somebody's before its old link is gone";

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        SBR02,
        bridge_takes_the_host_side_of_the_plugin_before_it,
        "CONVENTIONS, chained plugins: it should accept any previous result that includes a host-side interface, including tap devices"
    ),
    row!(
        Cni,
        BR01,
        router_advertisements_do_not_configure_the_host,
        "bridge: the host's ends of a network take no addresses from who is in it: accept_ra 0"
    ),
    row!(
        Cni,
        BR03,
        the_gateway_keeps_its_hardware_address,
        "bridge: a bridge that is a gateway must not take the lowest address of its ports"
    ),
    row!(
        Cni,
        BR07,
        traffic_within_the_subnet_is_not_masqueraded,
        "bridge: ipMasq: masquerade traffic that leaves the network"
    ),
    row!(
        Cni,
        BR12,
        promisc_mode_is_set_and_not_beside_hairpin,
        "bridge: promiscMode: set promiscuous mode on the bridge; not together with hairpinMode"
    ),
    row!(
        Cni,
        BR17,
        macspoofchk_goes_without_the_namespace,
        "SPEC DEL: if CNI_NETNS does not exist, plugins should still remove what they can"
    ),
    row!(
        Cni,
        BR19,
        enabledad_refuses_an_address_that_is_taken,
        "bridge: enabledad: enables duplicate address detection for the container side"
    ),
    row!(
        Cni,
        BR19,
        without_enabledad_addresses_are_usable_at_once,
        "bridge: enabledad: false by default"
    ),
    row!(
        Cni,
        BR25,
        a_result_that_cannot_be_printed_leaves_nothing,
        UNDONE
    ),
    row!(
        Cni,
        BR25,
        forwarding_that_cannot_be_set_leaves_nothing,
        UNDONE
    ),
    row!(
        Cni,
        BR27,
        del_spares_an_interface_that_is_not_its_own,
        "SPEC DEL: undo what ADD did, and no more"
    ),
    row!(Cni, BR28, check_finds_another_hardware_address, CHECK),
    row!(Cni, BR28, check_finds_a_missing_route, CHECK),
    row!(Cni, BR29, check_finds_forwarding_switched_off, CHECK),
    row!(
        Cni,
        BR30,
        check_bears_a_bridge_whose_address_follows_its_ports,
        "SPEC CHECK: an attachment that works must pass; the kernel gives a bridge the lowest address of its ports"
    ),
    row!(
        Cni,
        BR32,
        gc_removes_the_port_of_a_container_that_lives_on,
        "SPEC GC: remove resources of attachments that are not in cni.dev/valid-attachments"
    ),
    row!(
        Cni,
        BR32,
        gc_without_a_list_keeps_the_attachments,
        "SPEC GC: without cni.dev/valid-attachments nothing is known to be stale"
    ),
    row!(
        Cni,
        BR33,
        status_notices_a_full_pool,
        "SPEC STATUS: error 50: no ADD can be serviced; the delegate's answer is the plugin's"
    ),
    row!(
        Cni,
        BR09,
        an_address_is_not_released_while_its_link_is_there,
        RELEASE
    ),
    row!(Cni, BR28, check_finds_another_prefix_length, CHECK),
    row!(Cni, BR28, check_finds_another_gateway_of_a_route, CHECK),
    row!(Cni, BR28, check_finds_another_mtu_of_a_route, CHECK),
    row!(
        Cni,
        BR28,
        check_finds_another_segment_size_of_a_route,
        CHECK
    ),
    row!(
        Cni,
        BR28,
        check_finds_another_mtu_than_the_result_told,
        "SPEC CHECK: the interfaces of prevResult, whose mtu 1.1.0 tells"
    ),
    row!(Cni, BR29, check_finds_isolation_switched_off, CHECK),
];

fn bridge_takes_the_host_side_of_the_plugin_before_it(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.sh("ip tuntap add dev tap9 mode tap; ip link set tap9 up")?;
    let before = json!({
        "cniVersion": "1.0.0", "interfaces": [{ "name": "tap9" }], "ips": [], "dns": {}
    });
    let conf = json!({ "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "dvtB" });
    case.add(&at, &with_prev(&conf, &before))?;
    ensure!(
        case.holds("ip -o link show tap9 | grep -qw 'master dvtB'")?,
        "tap9 is no port of dvtB"
    );
    Ok(())
}

fn router_advertisements_do_not_configure_the_host(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let host = case.add(&at, &conf(case))?["interfaces"][1]["name"].clone();
    for link in ["br0", host.as_str().unwrap_or_default()] {
        let setting = case.sh(&format!("cat /proc/sys/net/ipv6/conf/{link}/accept_ra"))?;
        ensure_eq!(setting, "0", "accept_ra of {link}");
    }
    Ok(())
}

const ADDRESS_OF_BR0: &str = "ip -o link show br0 | sed 's/.*ether \\([^ ]*\\).*/\\1/'";

/// A port with a lower address than any that the kernel makes up.
fn lower_port(case: &Case<'_>) -> Verdict<String> {
    case.sh(
        "ip link add low0 address 02:00:00:00:00:01 type veth peer name low1
         ip link set low0 master br0; ip link set low0 up; ip link set low1 up",
    )
}

fn the_gateway_keeps_its_hardware_address(case: &Case<'_>) -> Verdict {
    case.add(&case.sandbox("c1")?, &conf(case))?;
    let before = case.sh(ADDRESS_OF_BR0)?;
    lower_port(case)?;
    ensure_eq!(case.sh(ADDRESS_OF_BR0)?, before, "address of br0");
    Ok(())
}

/// A peer behind the host that has an address of the subnet, and a way back to the subnet alone:
/// what came from the host's own address it could not answer.
fn traffic_within_the_subnet_is_not_masqueraded(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &with(&conf(case), "ipMasq", true))?;
    case.sh(
        "ip netns add peer; ip link add up0 type veth peer name up1 netns peer
         ip addr add 192.0.2.1/32 dev up0; ip link set up0 up
         ip route add 10.77.0.200/32 dev up0
         echo 1 > /proc/sys/net/ipv4/conf/up0/proxy_arp
         echo 1 > /proc/sys/net/ipv4/conf/br0/proxy_arp
         nsenter --net=/run/netns/peer sh -c 'ip addr add 10.77.0.200/32 dev up1
             ip link set up1 up; ip route add 10.77.0.0/24 dev up1'",
    )?;
    let reached = case.holds_inside(
        &at,
        "for i in 1 2 3; do busybox ping -c1 -W1 10.77.0.200 && exit 0; done; exit 1",
    )?;
    ensure!(reached, "the peer has no answer for the address it saw");
    Ok(())
}

fn promisc_mode_is_set_and_not_beside_hairpin(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let promisc = with(&conf(case), "promiscMode", true);
    let both = with(&promisc, "hairpinMode", true);
    case.cni("ADD", &at, &both)?.error()?;
    case.add(&at, &promisc)?;
    let flags = case.sh("ip -o link show br0")?;
    ensure!(flags.contains("PROMISC"), "{flags}");
    Ok(())
}

fn macspoofchk_goes_without_the_namespace(case: &Case<'_>) -> Verdict {
    let checked = with(&conf(case), "macspoofchk", true);
    for gone in [true, false] {
        let at = case.sandbox("container77")?;
        let result = case.add(&at, &checked)?;
        ensure!(
            !rules_about(case, "container77-eth0")?.is_empty(),
            "no rule"
        );
        case.sh("ip netns del container77")?;
        let netns = if gone {
            at.netns.clone()
        } else {
            String::new()
        };
        let at = Attachment { netns, ..at };
        case.del(&at, &with_prev(&checked, &result))?;
        ensure_eq!(rules_about(case, "container77-eth0")?, "", "rules left");
    }
    Ok(())
}

/// One IPv6 range of one address.
fn one_ipv6(case: &Case<'_>) -> Value {
    let mut conf = conf(case);
    conf["ipam"] = json!({
        "type": "host-local", "dataDir": case.path("reservations"), "ranges": [[{
            "subnet": "fd77::/64", "rangeStart": "fd77::2", "rangeEnd": "fd77::3"
        }]]
    });
    conf
}

fn enabledad_refuses_an_address_that_is_taken(case: &Case<'_>) -> Verdict {
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    let conf = with(&one_ipv6(case), "enabledad", true);
    case.add(&one, &conf)?;
    for setting in ["accept_dad", "enhanced_dad"] {
        let path = format!("cat /proc/sys/net/ipv6/conf/eth0/{setting}");
        ensure_eq!(case.inside(&one, &path)?, "1", "{setting}");
    }
    let addresses = case.inside(&one, "ip -6 -o addr show dev eth0 scope global")?;
    ensure!(!addresses.contains("tentative"), "{addresses}");
    // Somebody takes the address that the next container will get.
    case.inside(&one, "ip addr add fd77::3/64 dev eth0 nodad")?;
    case.cni("ADD", &two, &conf)?.error()?;
    let inside = case.holds_inside(&two, "ip link show eth0")?;
    ensure!(!inside, "eth0 is left");
    ensure_eq!(reserved(case, "net")?, ["fd77::2"], "reservations");
    Ok(())
}

fn without_enabledad_addresses_are_usable_at_once(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &one_ipv6(case))?;
    let addresses = case.inside(&at, "ip -6 -o addr show dev eth0 scope global")?;
    ensure!(addresses.contains("fd77::2/64"), "{addresses}");
    ensure!(!addresses.contains("tentative"), "{addresses}");
    let setting = case.inside(&at, "cat /proc/sys/net/ipv6/conf/eth0/accept_dad")?;
    ensure_eq!(setting, "0", "accept_dad");
    Ok(())
}

/// Neither a port, nor an interface, nor an address, nor a rule.
pub(super) fn nothing_is_left(case: &Case<'_>, at: &Attachment) -> Verdict {
    let veths = case.sh("ip -o link show type veth | wc -l")?;
    ensure_eq!(veths, "0", "veths left on the host");
    let inside = case.inside(at, "ip -o link | wc -l")?;
    ensure_eq!(inside, "1", "links left inside");
    let left = reserved(case, "net")?;
    ensure_eq!(left, Vec::<String>::new(), "reservations left");
    ensure_eq!(rules_about(case, &at.id)?, "", "rules left");
    Ok(())
}

fn a_result_that_cannot_be_printed_leaves_nothing(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("container77")?;
    let masq = with(&conf(case), "ipMasq", true);
    case.add_unheard(&at, &masq)?;
    nothing_is_left(case, &at)
}

/// The host does not forward and cannot be made to.
pub(super) fn without_forwarding(case: &Case<'_>) -> Verdict<String> {
    case.sh(
        "cd /proc/sys/net/ipv4; echo 0 > ip_forward
         mount --bind ip_forward ip_forward; mount -o remount,bind,ro /proc/sys/net/ipv4/ip_forward",
    )
}

fn forwarding_that_cannot_be_set_leaves_nothing(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("container77")?;
    without_forwarding(case)?;
    let masq = with(&conf(case), "ipMasq", true);
    case.cni("ADD", &at, &masq)?.error()?;
    nothing_is_left(case, &at)
}

fn del_spares_an_interface_that_is_not_its_own(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let result = case.add(&at, &conf(case))?;
    case.inside(&at, "ip link del eth0; ip tuntap add dev eth0 mode tap")?;
    case.del(&at, &with_prev(&conf(case), &result))?;
    let there = case.holds_inside(&at, "ip link show eth0")?;
    ensure!(there, "somebody's eth0 is gone");
    Ok(())
}

fn check_finds_another_hardware_address(case: &Case<'_>) -> Verdict {
    noticed(case, &conf(case), |at| {
        case.inside(at, "ip link set eth0 address 02:00:00:00:00:99")
    })
}

fn check_finds_a_missing_route(case: &Case<'_>) -> Verdict {
    let mut conf = conf(case);
    conf["ipam"]["routes"] = json!([{ "dst": "192.0.2.0/24", "gw": "10.77.0.1" }]);
    noticed(case, &conf, |at| {
        case.inside(at, "ip route del 192.0.2.0/24")
    })
}

fn check_finds_another_prefix_length(case: &Case<'_>) -> Verdict {
    noticed(case, &conf(case), |at| {
        case.inside(
            at,
            "ip addr add 10.77.0.2/32 dev eth0; ip addr del 10.77.0.2/24 dev eth0
             ip -4 -o addr show dev eth0 | grep -qF 10.77.0.2/32",
        )
    })
}

/// CHECK of an attachment with a route of all attributes, of which one is changed.
fn changed_route_is_noticed(case: &Case<'_>, version: &str, changed: &str) -> Verdict {
    let mut conf = with(&conf(case), "cniVersion", version);
    let mut route = json!({ "dst": "192.0.2.0/24", "gw": "10.77.0.1" });
    if version == "1.1.0" {
        (route["mtu"], route["advmss"]) = (1300.into(), 1200.into());
    }
    conf["ipam"]["routes"] = json!([route]);
    noticed(case, &conf, |at| {
        case.inside(at, &format!("ip route change 192.0.2.0/24 {changed}"))
    })
}

fn check_finds_another_gateway_of_a_route(case: &Case<'_>) -> Verdict {
    changed_route_is_noticed(case, "1.0.0", "via 10.77.0.77 dev eth0")
}

fn check_finds_another_mtu_of_a_route(case: &Case<'_>) -> Verdict {
    let changed = "via 10.77.0.1 dev eth0 mtu 1250 advmss 1200";
    changed_route_is_noticed(case, "1.1.0", changed)
}

fn check_finds_another_segment_size_of_a_route(case: &Case<'_>) -> Verdict {
    let changed = "via 10.77.0.1 dev eth0 mtu 1300 advmss 1100";
    changed_route_is_noticed(case, "1.1.0", changed)
}

fn check_finds_another_mtu_than_the_result_told(case: &Case<'_>) -> Verdict {
    noticed(case, &with(&conf(case), "cniVersion", "1.1.0"), |at| {
        case.inside(at, "ip link set eth0 mtu 1400")
    })
}

fn check_finds_isolation_switched_off(case: &Case<'_>) -> Verdict {
    noticed(case, &with(&conf(case), "portIsolation", true), |_| {
        case.sh(
            "bridge link set dev $(ip -o link show master br0 | sed 's/.*: \\(.*\\)@.*/\\1/') isolated off",
        )
    })
}

/// An IPAM plugin of the row's own, whose DEL writes down which links of the attachment are
/// still there: eth0 inside, and ends of pairs on the host whose other end is elsewhere
/// (but for up0, the master of rows that need one).
const WITNESS: &str = r#"#!/bin/sh
cat > /dev/null
here=$(dirname "$0")
case $CNI_COMMAND in
ADD)
    echo '{"cniVersion":"1.0.0","ips":[{"address":"10.77.0.9/24","gateway":"10.77.0.1"}]}'
    ;;
DEL)
    {
        nsenter --net="$CNI_NETNS" ip -o link show "$CNI_IFNAME" 2>/dev/null
        ip -o link | grep -F @if | grep -v ' up0@'
    } >> "$here/seen"
    ;;
esac
exit 0
"#;

/// DEL of an attachment whose IPAM plugin looks around when it is asked to release.
pub(super) fn releases_last(case: &Case<'_>, conf: &Value) -> Verdict {
    let at = case.sandbox("c1")?;
    let directory = case.path("ipam");
    std::fs::create_dir(&directory)?;
    std::fs::write(case.path("ipam/witness"), WITNESS)?;
    case.sh(&format!("chmod 755 {directory}/witness"))?;
    let conf = with(conf, "ipam", json!({ "type": "witness" }));
    let call = |verb: &str, conf: &Value| -> Verdict<_> {
        Ok(case.cni(verb, &at, conf)?.env("CNI_PATH", &directory))
    };
    let result = call("ADD", &conf)?.result()?;
    let inside = case.inside(&at, "ip -4 -o addr show dev eth0")?;
    ensure!(inside.contains("10.77.0.9/24"), "eth0: {inside}");
    call("DEL", &with_prev(&conf, &result))?.silent()?;
    let seen = case.read("ipam/seen")?;
    ensure_eq!(seen, "", "links when the address was released");
    Ok(())
}

fn an_address_is_not_released_while_its_link_is_there(case: &Case<'_>) -> Verdict {
    releases_last(case, &conf(case))
}

fn check_finds_forwarding_switched_off(case: &Case<'_>) -> Verdict {
    noticed(case, &conf(case), |_| {
        case.sh("echo 0 > /proc/sys/net/ipv4/ip_forward")
    })
}

fn check_bears_a_bridge_whose_address_follows_its_ports(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let switch = with(&conf(case), "isGateway", false);
    let checked = with_prev(&switch, &case.add(&at, &switch)?);
    case.cni("CHECK", &at, &checked)?.silent()?;
    // A bridge whose address nobody set takes the lowest of its ports.
    lower_port(case)?;
    case.cni("CHECK", &at, &checked)?.silent()
}

/// GC as libcni calls it, with this list.
pub(super) fn gc(case: &Case<'_>, conf: &Value, valid: Option<Value>) -> Verdict {
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    let mut conf = conf.clone();
    if let Some(valid) = valid {
        conf["cni.dev/valid-attachments"] = valid;
    }
    case.cni("GC", &nobody, &conf)?.silent()
}

fn gc_removes_the_port_of_a_container_that_lives_on(case: &Case<'_>) -> Verdict {
    let conf = with(&conf(case), "cniVersion", "1.1.0");
    let (valid, stale) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&valid, &conf)?;
    case.add(&stale, &conf)?;
    let list = json!([{ "containerID": "c1", "ifname": "eth0" }]);
    gc(case, &conf, Some(list))?;
    let ports = case.sh("ip -o link show master br0 | wc -l")?;
    ensure_eq!(ports, "1", "ports of br0");
    let there = case.holds_inside(&valid, "ip link show eth0")?;
    ensure!(there, "the valid one lost its interface");
    let there = case.holds_inside(&stale, "ip link show eth0")?;
    ensure!(!there, "the stale one has its interface");
    Ok(())
}

fn gc_without_a_list_keeps_the_attachments(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let masq = with(&with(&conf(case), "ipMasq", true), "cniVersion", "1.1.0");
    let result = case.add(&at, &masq)?;
    let before = case.snapshot()?;
    gc(case, &masq, None)?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "changed:\n{}", difference.join("\n"));
    case.cni("CHECK", &at, &with_prev(&masq, &result))?.silent()
}

fn status_notices_a_full_pool(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = with(&conf(case), "cniVersion", "1.1.0");
    conf["ipam"]["rangeStart"] = "10.77.0.9".into();
    conf["ipam"]["rangeEnd"] = "10.77.0.9".into();
    case.cni("STATUS", &at, &conf)?.silent()?;
    case.add(&at, &conf)?;
    case.cni("STATUS", &at, &conf)?.refused_with(&[50])?;
    Ok(())
}
