//! `vrf`, on interfaces that the row makes.

use serde_json::{Value, json};

use crate::attachment::{Attachment, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        VR01,
        a_vrf_is_made_and_shared,
        "vrf: the VRF is created if it does not exist, and reused"
    ),
    row!(
        Cni,
        VR01,
        tables_in_use_are_not_taken,
        "vrf: table: one that nobody uses, when none is given"
    ),
    row!(
        Cni,
        VR01,
        a_given_table_is_the_vrf_s,
        "vrf: table; a VRF has one table"
    ),
    row!(
        Cni,
        VR01,
        what_cannot_be_is_refused,
        "SPEC error 7: invalid network config; nothing may be changed"
    ),
    row!(
        Cni,
        VR01,
        every_version_since_0_3_1_is_answered,
        "SPEC: the result is in the version of the configuration"
    ),
    row!(
        Cni,
        VR02,
        addresses_and_routes_move_with_the_interface,
        "vrf: the interface keeps its addresses, and its routes are the VRF's"
    ),
    row!(
        Cni,
        VR02,
        packets_are_routed_by_the_vrf,
        "vrf: two interfaces with the same network do not meet"
    ),
    row!(
        Cni,
        VR02,
        check_notices_each_change,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        VR03,
        the_vrf_goes_with_its_last_member,
        "vrf: the VRF is removed with the last interface in it"
    ),
    row!(
        Cni,
        VR03,
        del_tolerates_whatever_is_gone,
        "SPEC DEL: must complete without error if the namespace or the interface is gone"
    ),
    row!(
        Cni,
        VR03,
        an_answer_nobody_hears_leaves_nothing,
        "SPEC ADD: on an error nothing may be left"
    ),
];

fn has_vrf(case: &Case<'_>) -> Verdict {
    let has = case.holds("ip link add probe0 type vrf table 1 && ip link del probe0")?;
    needs!(has, "CONFIG_NET_VRF");
    Ok(())
}

/// A container with `eth0` (10.90.0.2, fd90::2) and `eth1` (10.91.0.2), each with a gateway; the
/// peers are on the host. The attachment is `eth0`.
fn furnished(case: &Case<'_>) -> Verdict<(Attachment, Value)> {
    has_vrf(case)?;
    let at = case.sandbox("c1")?;
    case.sh(
        "ip link add a0 type veth peer name eth0 netns c1; ip link set a0 up
         ip addr add 10.90.0.1/24 dev a0; ip addr add fd90::1/64 dev a0 nodad
         ip link add a1 type veth peer name eth1 netns c1; ip link set a1 up
         ip addr add 10.91.0.1/24 dev a1",
    )?;
    case.inside(
        &at,
        "ip link set lo up; ip addr add 10.90.0.2/24 dev eth0; ip addr add fd90::2/64 dev eth0 nodad
         ip link set eth0 up; ip addr add 10.91.0.2/24 dev eth1; ip link set eth1 up
         ip route add 10.99.0.0/16 via 10.90.0.1 mtu 1300; ip -6 route add default via fd90::1
         ip route add default via 10.90.0.1",
    )?;
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": "eth0", "sandbox": at.netns }],
        "ips": [{ "address": "10.90.0.2/24", "gateway": "10.90.0.1", "interface": 0 },
                { "address": "fd90::2/64", "gateway": "fd90::1", "interface": 0 }],
        "routes": [{ "dst": "10.99.0.0/16" }, { "dst": "::/0" }]
    });
    Ok((at, previous))
}

/// The other interface of the same container.
fn second(at: &Attachment) -> (Attachment, Value) {
    let previous = json!({
        "cniVersion": "1.0.0", "interfaces": [{ "name": "eth1", "sandbox": at.netns }],
        "ips": [{ "address": "10.91.0.2/24", "interface": 0 }]
    });
    (
        Attachment {
            ifname: "eth1".into(),
            ..at.clone()
        },
        previous,
    )
}

fn conf(previous: &Value, name: &str, table: u32) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "vrf", "prevResult": previous,
        "vrfname": name, "table": table
    })
}

fn vrfs(case: &Case<'_>, at: &Attachment) -> Verdict<Vec<(String, u64)>> {
    let text = case.inside(at, "ip -j -d link show type vrf")?;
    let links: Vec<Value> = serde_json::from_str(&text)?;
    let entry = |link: &Value| {
        let table = link["linkinfo"]["info_data"]["table"].as_u64();
        Some((link["ifname"].as_str()?.to_owned(), table?))
    };
    Ok(links.iter().filter_map(entry).collect())
}

fn members(case: &Case<'_>, at: &Attachment, vrf: &str) -> Verdict<String> {
    case.inside(
        at,
        &format!("ip -o link show master {vrf} | sed 's/^[0-9]*: \\([^@:]*\\).*/\\1/' | sort | tr '\\n' ' '"),
    )
}

fn a_vrf_is_made_and_shared(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    let result = case.add(&at, &conf(&previous, "blue", 0))?;
    ensure_eq!(result["ips"], previous["ips"], "addresses");
    let first = vrfs(case, &at)?;
    ensure_eq!(first.len(), 1, "VRFs: {first:?}");
    let (beside, other) = second(&at);
    case.add(&beside, &conf(&other, "blue", 0))?;
    ensure_eq!(vrfs(case, &at)?, first, "VRFs after the second interface");
    ensure_eq!(members(case, &at, "blue")?.trim(), "eth0 eth1", "members");
    ensure!(
        case.inside(&at, "ip -o link show blue")?.contains("UP"),
        "the VRF is down"
    );
    Ok(())
}

fn tables_in_use_are_not_taken(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    case.inside(
        &at,
        "ip link add red type vrf table 1; ip route add 203.0.113.0/24 dev eth1 table 2
         ip rule add from 203.0.113.1 lookup 3",
    )?;
    case.add(&at, &conf(&previous, "blue", 0))?;
    let all = vrfs(case, &at)?;
    let blue = all
        .iter()
        .find(|(name, _)| name == "blue")
        .map(|(_, table)| *table);
    ensure_eq!(blue, Some(4), "table of the VRF");
    Ok(())
}

fn a_given_table_is_the_vrf_s(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    case.add(&at, &conf(&previous, "blue", 4711))?;
    ensure_eq!(vrfs(case, &at)?, [("blue".to_owned(), 4711)], "VRFs");
    let (beside, other) = second(&at);
    let error = case
        .cni("ADD", &beside, &conf(&other, "blue", 4712))?
        .error()?;
    let says = error["msg"].as_str().unwrap_or_default();
    ensure!(says.contains("different routing table"), "{error}");
    ensure_eq!(members(case, &at, "blue")?.trim(), "eth0", "members");
    Ok(())
}

fn what_cannot_be_is_refused(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    for name in ["", "a-name-of-16-byt", "a/b", "vrf%d", "eth1", "eth0"] {
        case.cni("ADD", &at, &conf(&previous, name, 0))?
            .refused_with(&[7])?;
    }
    let mut alone = conf(&previous, "blue", 0);
    alone["prevResult"] = Value::Null;
    case.cni("ADD", &at, &alone)?.refused_with(&[7])?;
    ensure_eq!(vrfs(case, &at)?, [], "VRFs");
    // An interface that is a port already stays where it is.
    case.inside(
        &at,
        "ip link add br0 type bridge; ip link set eth0 master br0",
    )?;
    let error = case.cni("ADD", &at, &conf(&previous, "blue", 0))?.error()?;
    let says = error["msg"].as_str().unwrap_or_default();
    ensure!(says.contains("already a master set: br0"), "{error}");
    ensure_eq!(vrfs(case, &at)?, [], "VRFs");
    ensure_eq!(
        members(case, &at, "br0")?.trim(),
        "eth0",
        "ports of the bridge"
    );
    Ok(())
}

fn every_version_since_0_3_1_is_answered(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let mut previous = with(&previous, "cniVersion", version);
        if version.starts_with("0.") {
            previous["ips"][0]["version"] = "4".into();
            previous["ips"][1]["version"] = "6".into();
        }
        let conf = with(&conf(&previous, "blue", 0), "cniVersion", version);
        let result = case.add(&at, &conf)?;
        ensure_eq!(result["cniVersion"], version, "version");
        ensure_eq!(result["ips"], previous["ips"], "addresses in {version}");
        case.del(&at, &with_prev(&conf, &result))?;
    }
    let old = with(&conf(&previous, "blue", 0), "cniVersion", "0.3.0");
    case.cni("ADD", &at, &old)?.refused_with(&[1])?;
    Ok(())
}

fn addresses_and_routes_move_with_the_interface(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    let all = "ip -o addr show dev eth0 scope global | sed 's/valid_lft.*//'";
    let addresses = case.inside(&at, all)?;
    let conf = conf(&previous, "blue", 77);
    let result = case.add(&at, &conf)?;
    ensure_eq!(case.inside(&at, all)?, addresses, "addresses");
    let routes = case.inside(&at, "ip route show table 77; ip -6 route show table 77")?;
    for part in [
        "default via 10.90.0.1",
        "10.99.0.0/16 via 10.90.0.1",
        "mtu 1300",
        "10.90.0.0/24",
        "default via fd90::1",
        "fd90::/64",
    ] {
        ensure!(
            routes.contains(part),
            "no {part} in the VRF's table: {routes}"
        );
    }
    let main = case.inside(&at, "ip route show; ip -6 route show")?;
    ensure!(!main.contains("eth0"), "the main table has {main}");
    case.cni("CHECK", &at, &with_prev(&conf, &result))?.silent()
}

fn packets_are_routed_by_the_vrf(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    case.add(&at, &conf(&previous, "blue", 0))?;
    let site = case.path("site");
    case.sh(&format!(
        "mkdir {site}; echo here > {site}/index.html; busybox httpd -p 80 -h {site}; sleep 0.5"
    ))?;
    let fetch =
        |options: &str| case.inside(&at, &format!("curl -s -m 5 {options} || echo unreachable"));
    ensure_eq!(
        fetch("--interface blue http://10.90.0.1/")?,
        "here",
        "by IPv4 in the VRF"
    );
    ensure_eq!(
        fetch("-g --interface blue http://[fd90::1]/")?,
        "here",
        "by IPv6 in the VRF"
    );
    ensure_eq!(
        fetch("http://10.90.0.1/")?,
        "unreachable",
        "outside of the VRF"
    );
    ensure_eq!(
        fetch("http://10.91.0.1/")?,
        "here",
        "by the other interface"
    );
    Ok(())
}

fn check_notices_each_change(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    let conf = conf(&previous, "blue", 77);
    for damage in [
        "ip link set eth0 nomaster",
        "ip link set blue down",
        "ip addr del 10.90.0.2/24 dev eth0",
        "ip -6 route del default table 77",
        "ip link del blue",
    ] {
        let now = with_prev(&conf, &case.add(&at, &conf)?);
        case.cni("CHECK", &at, &now)?.silent()?;
        case.inside(&at, damage)?;
        let checked = case.cni("CHECK", &at, &now)?.run()?;
        ensure!(checked.refused(), "CHECK is content after {damage}");
        case.del(&at, &now)?;
        case.inside(
            &at,
            "ip addr replace 10.90.0.2/24 dev eth0; ip addr replace fd90::2/64 dev eth0 nodad
             ip route replace 10.99.0.0/16 via 10.90.0.1; ip -6 route replace default via fd90::1",
        )?;
    }
    Ok(())
}

fn the_vrf_goes_with_its_last_member(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    let one = conf(&previous, "blue", 0);
    let one = with_prev(&one, &case.add(&at, &one)?);
    let (beside, other) = second(&at);
    let two = conf(&other, "blue", 0);
    let two = with_prev(&two, &case.add(&beside, &two)?);
    case.del(&at, &one)?;
    ensure_eq!(vrfs(case, &at)?.len(), 1, "VRFs with one member left");
    ensure_eq!(members(case, &at, "blue")?.trim(), "eth1", "members");
    case.del(&at, &one)?;
    case.del(&beside, &two)?;
    ensure_eq!(vrfs(case, &at)?, [], "VRFs without members");
    case.del(&beside, &two)
}

fn del_tolerates_whatever_is_gone(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    let conf = conf(&previous, "blue", 0);
    let result = case.add(&at, &conf)?;
    let bare = json!({ "cniVersion": "1.0.0", "name": "net", "type": "vrf", "vrfname": "blue" });
    // A container whose interface has gone: the VRF has no member any more.
    case.inside(&at, "ip link del eth0")?;
    case.del(&at, &bare)?;
    ensure_eq!(vrfs(case, &at)?, [], "VRFs after DEL");
    case.del(&at, &with_prev(&conf, &result))?;
    case.sh("ip netns del c1; touch /run/netns/file")?;
    for netns in ["/run/netns/c1", "", "/run/netns/file"] {
        let gone = Attachment {
            netns: netns.into(),
            ..at.clone()
        };
        case.del(&gone, &bare)?;
    }
    Ok(())
}

fn an_answer_nobody_hears_leaves_nothing(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case)?;
    let state =
        "ip -o link show eth0 | grep -o 'master.*' || :; ip -4 route show table all type unicast
         ip -6 route show table all type unicast | grep -v fe80
         ip -o addr show dev eth0 scope global | sed 's/valid_lft.*//'";
    let before = case.inside(&at, state)?;
    case.add_unheard(&at, &conf(&previous, "blue", 0))?;
    ensure_eq!(vrfs(case, &at)?, [], "VRFs after a failed ADD");
    ensure_eq!(
        case.inside(&at, state)?,
        before,
        "addresses and routes after a failed ADD"
    );
    Ok(())
}
