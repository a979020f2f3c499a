//! `sbr`, for the second interface of a container that the row furnishes.

use serde_json::{Value, json};

use crate::attachment::{Attachment, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        SB01,
        answers_leave_by_the_interface_that_was_asked,
        "sbr: packets from an address of an interface are routed by that interface"
    ),
    row!(
        Cni,
        SB01,
        each_address_has_a_rule_and_a_table,
        "sbr: a rule per address, a table per address, the interface's routes moved there"
    ),
    row!(
        Cni,
        SB01,
        tables_in_use_are_not_taken,
        "sbr: the first free table from 100 on"
    ),
    row!(
        Cni,
        SB01,
        every_version_is_answered,
        "SPEC: the result is in the version of the configuration"
    ),
    row!(
        Cni,
        SB01,
        without_an_address_it_is_an_error,
        "SPEC: a chained plugin needs prevResult; sbr: and addresses in it"
    ),
    row!(
        Cni,
        SB02,
        a_given_table_gets_rules_alone,
        "sbr: table: the rules lead to this table, which somebody else fills"
    ),
    row!(
        Cni,
        SB02,
        gateways_of_the_configuration_replace_the_addresses_own,
        "sbr: gateways: at most one of each family"
    ),
    row!(
        Cni,
        SB02,
        source_hints_keep_the_network_in_the_main_table,
        "sbr: addSourceHints: the network's route stays, with the address as source"
    ),
    row!(
        Cni,
        SB03,
        del_without_a_namespace_succeeds_and_makes_no_file,
        "SPEC DEL: must complete without error if the namespace is gone"
    ),
    row!(
        Cni,
        SB04,
        del_after_the_interface_is_gone_removes_the_rules,
        "SPEC DEL: must complete, and leave nothing, if the interface is gone"
    ),
    row!(
        Cni,
        SB04,
        del_gives_the_routes_back,
        "SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        SB04,
        del_leaves_the_rules_of_others,
        "SPEC DEL: undo what ADD did, and nothing else"
    ),
    row!(
        Cni,
        SB04,
        an_answer_nobody_hears_leaves_nothing,
        "SPEC ADD: on an error nothing may be left"
    ),
    row!(
        Cni,
        SB04,
        gc_removes_rules_of_the_dead_alone,
        "SPEC GC: remove resources of attachments that are not valid"
    ),
    row!(
        Cni,
        SB04,
        a_repeated_add_makes_nothing_twice,
        "SPEC ADD after a lost DEL: what is there belongs to the attachment once"
    ),
    row!(
        Cni,
        SB05,
        check_notices_each_change,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
];

/// A container with `eth0` (10.88.0.2, the default route) and `net1` (10.89.0.2 and fd89::2, with
/// a default route of its own); the attachment is the second.
fn furnished(case: &Case<'_>, id: &str) -> Verdict<(Attachment, Value)> {
    let at = case.sandbox(id)?;
    // Link-local addresses and their routes would come and go while a row compares.
    case.inside(
        &at,
        "echo 1 > /proc/sys/net/ipv6/conf/default/addr_gen_mode",
    )?;
    case.sh(&format!(
        "ip link add a-{id} type veth peer name eth0 netns {id}
         ip link add b-{id} type veth peer name net1 netns {id}
         ip addr add 10.88.0.1/24 dev a-{id}; ip link set a-{id} up
         ip addr add 10.89.0.1/24 dev b-{id}; ip addr add fd89::1/64 dev b-{id} nodad
         ip link set b-{id} up"
    ))?;
    case.inside(
        &at,
        "ip link set lo up; ip addr add 10.88.0.2/24 dev eth0; ip link set eth0 up
         ip route add default via 10.88.0.1
         ip addr add 10.89.0.2/24 dev net1; ip addr add fd89::2/64 dev net1 nodad
         ip link set net1 up; ip route add 10.99.0.0/16 via 10.89.0.1
         ip route add default via 10.89.0.1 metric 50; ip -6 route add default via fd89::1",
    )?;
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": format!("b-{id}") }, { "name": "net1", "sandbox": at.netns }],
        "ips": [{ "address": "10.89.0.2/24", "gateway": "10.89.0.1", "interface": 1 },
                { "address": "fd89::2/64", "gateway": "fd89::1", "interface": 1 }]
    });
    let at = Attachment {
        ifname: "net1".into(),
        ..at
    };
    Ok((at, previous))
}

fn conf(previous: &Value, keys: Value) -> Value {
    let mut conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "sbr", "prevResult": previous
    });
    for (key, value) in keys.as_object().into_iter().flatten() {
        conf[key] = value.clone();
    }
    conf
}

/// The tables to which rules lead what comes from an address.
fn tables(case: &Case<'_>, at: &Attachment, address: &str) -> Verdict<Vec<String>> {
    let family = if address.contains(':') { "-6" } else { "-4" };
    let rules = case.inside(at, &format!("ip -j {family} rule show"))?;
    let rules: Vec<Value> = serde_json::from_str(&rules)?;
    let from = rules.iter().filter(|rule| rule["src"] == address);
    Ok(from
        .filter_map(|rule| rule["table"].as_str().map(String::from))
        .collect())
}

fn table_of(case: &Case<'_>, at: &Attachment, address: &str) -> Verdict<String> {
    let tables = tables(case, at, address)?;
    ensure_eq!(tables.len(), 1, "tables of {address}: {tables:?}");
    Ok(tables[0].clone())
}

/// Rules, and the routes of both families in every table but the local one.
fn state(case: &Case<'_>, at: &Attachment) -> Verdict<String> {
    case.inside(
        at,
        "ip rule show; ip -6 rule show; ip -4 route show table all type unicast | sort
         ip -6 route show table all type unicast | sort",
    )
}

fn answers_leave_by_the_interface_that_was_asked(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    // A client far away, to whom the way back by eth0 is closed: the host takes from there only
    // what it would send there.
    let site = case.path("site");
    case.sh(&format!(
        "ip addr add 192.0.2.1/32 dev lo; echo 1 > /proc/sys/net/ipv4/conf/a-c1/rp_filter
         mkdir {site}; echo here > {site}/index.html
         nsenter --net={} busybox httpd -p 80 -h {site}; sleep 0.2",
        at.netns
    ))?;
    let fetch = "curl -s -m 3 --interface 192.0.2.1 http://10.89.0.2/ || echo unreachable";
    ensure_eq!(
        case.sh(fetch)?,
        "unreachable",
        "before ADD (or the row proves nothing)"
    );
    case.add(&at, &conf(&previous, json!({})))?;
    ensure_eq!(case.sh(fetch)?, "here", "after ADD");
    ensure_eq!(
        case.sh("curl -s -m 3 http://10.88.0.2/ || echo unreachable")?,
        "here",
        "by eth0"
    );
    Ok(())
}

fn each_address_has_a_rule_and_a_table(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let result = case.add(&at, &conf(&previous, json!({})))?;
    ensure_eq!(result["ips"], previous["ips"], "addresses");
    let (v4, v6) = (
        table_of(case, &at, "10.89.0.2")?,
        table_of(case, &at, "fd89::2")?,
    );
    ensure!(
        v4 != v6 && v4.parse().is_ok_and(|table: u32| table >= 100),
        "tables {v4} and {v6}"
    );
    let routes = case.inside(
        &at,
        &format!("ip route show table {v4}; ip -6 route show table {v6}"),
    )?;
    for part in [
        "default via 10.89.0.1",
        "10.99.0.0/16 via 10.89.0.1",
        "10.89.0.0/24",
        "default via fd89::1",
        "fd89::/64",
    ] {
        ensure!(routes.contains(part), "no {part} in {routes}");
    }
    let main = case.inside(&at, "ip route show; ip -6 route show")?;
    ensure!(!main.contains("net1"), "the main table has {main}");
    ensure!(
        main.contains("default via 10.88.0.1"),
        "the main table has {main}"
    );
    let way = case.inside(
        &at,
        "ip route get 198.51.100.1 from 10.89.0.2; ip route get 198.51.100.1",
    )?;
    let ways: Vec<_> = way.lines().filter(|line| line.contains(" via ")).collect();
    ensure!(
        ways[0].contains("via 10.89.0.1") && ways[1].contains("via 10.88.0.1"),
        "ways {ways:?}"
    );
    Ok(())
}

fn tables_in_use_are_not_taken(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    case.inside(
        &at,
        "ip rule add from 203.0.113.1 lookup 100; ip route add 203.0.113.0/24 dev eth0 table 101",
    )?;
    case.add(&at, &conf(&previous, json!({})))?;
    for address in ["10.89.0.2", "fd89::2"] {
        let table = table_of(case, &at, address)?;
        ensure!(
            table != "100" && table != "101",
            "{address} has table {table}, which is in use"
        );
    }
    Ok(())
}

fn every_version_is_answered(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    for version in [
        "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
    ] {
        let mut previous = with(&previous, "cniVersion", version);
        if version.starts_with("0.") {
            previous["ips"][0]["version"] = "4".into();
            previous["ips"][1]["version"] = "6".into();
        }
        if ["0.1.0", "0.2.0"].contains(&version) {
            let ip4 = json!({ "ip": "10.89.0.2/24", "gateway": "10.89.0.1" });
            previous = json!({ "cniVersion": version, "ip4": ip4 });
        }
        let conf = with(&conf(&previous, json!({})), "cniVersion", version);
        let result = case.add(&at, &conf)?;
        ensure_eq!(result["cniVersion"], version, "version");
        ensure_eq!(result["ips"], previous["ips"], "addresses in {version}");
        ensure_eq!(result["ip4"], previous["ip4"], "addresses in {version}");
        table_of(case, &at, "10.89.0.2")?;
        case.del(&at, &with_prev(&conf, &result))?;
    }
    Ok(())
}

fn without_an_address_it_is_an_error(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let before = state(case, &at)?;
    let alone = json!({ "cniVersion": "1.0.0", "name": "net", "type": "sbr" });
    let error = case.cni("ADD", &at, &alone)?.refused_with(&[7])?;
    let says = error["msg"].as_str().unwrap_or_default();
    ensure!(says.contains("must be called as chained plugin"), "{error}");
    let bare = with(&previous, "ips", json!([]));
    case.cni("ADD", &at, &conf(&bare, json!({})))?
        .refused_with(&[7])?;
    ensure_eq!(state(case, &at)?, before, "rules and routes");
    Ok(())
}

fn a_given_table_gets_rules_alone(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    case.inside(&at, "ip route add default via 10.89.0.1 table 5000")?;
    let now = "ip -4 route show table all type unicast; ip -6 route show table all type unicast";
    let routes = case.inside(&at, now)?;
    let conf = conf(&previous, json!({ "table": 5000 }));
    let result = case.add(&at, &conf)?;
    for address in ["10.89.0.2", "fd89::2"] {
        ensure_eq!(table_of(case, &at, address)?, "5000", "table of {address}");
    }
    ensure_eq!(case.inside(&at, now)?, routes, "routes");
    case.del(&at, &with_prev(&conf, &result))?;
    ensure_eq!(tables(case, &at, "10.89.0.2")?, [""; 0], "rules after DEL");
    ensure_eq!(case.inside(&at, now)?, routes, "routes after DEL");
    Ok(())
}

fn gateways_of_the_configuration_replace_the_addresses_own(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let conf = |gateways: Value| conf(&previous, json!({ "gateways": gateways }));
    case.cni("ADD", &at, &conf(json!(["10.89.0.9", "10.89.0.8"])))?
        .refused_with(&[7])?;
    case.cni("ADD", &at, &conf(json!(["nonsense"])))?
        .refused_with(&[7])?;
    let conf = conf(json!(["10.89.0.9"]));
    let result = case.add(&at, &conf)?;
    let table = table_of(case, &at, "10.89.0.2")?;
    let default = case.inside(&at, &format!("ip route show default table {table}"))?;
    ensure!(
        default.contains("via 10.89.0.9") && default.lines().count() == 1,
        "default of {table}: {default}"
    );
    let table = table_of(case, &at, "fd89::2")?;
    let default = case.inside(&at, &format!("ip -6 route show default table {table}"))?;
    ensure!(
        default.contains("via fd89::1"),
        "default of {table}: {default}"
    );
    case.cni("CHECK", &at, &with_prev(&conf, &result))?.silent()
}

fn source_hints_keep_the_network_in_the_main_table(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let before = state(case, &at)?;
    let conf = conf(&previous, json!({ "addSourceHints": true }));
    let result = case.add(&at, &conf)?;
    let main = case.inside(&at, "ip route show; ip -6 route show")?;
    let has = |net: &str, src: &str| {
        let mut lines = main.lines();
        lines.any(|line| line.starts_with(net) && line.contains(&format!("src {src}")))
    };
    ensure!(
        has("10.89.0.0/24", "10.89.0.2"),
        "the main table has {main}"
    );
    ensure!(has("fd89::/64", "fd89::2"), "the main table has {main}");
    ensure!(!main.contains("10.99.0.0/16"), "the main table has {main}");
    table_of(case, &at, "10.89.0.2")?;
    let conf = with_prev(&conf, &result);
    case.cni("CHECK", &at, &conf)?.silent()?;
    case.del(&at, &conf)?;
    ensure_eq!(state(case, &at)?, before, "rules and routes after DEL");
    Ok(())
}

fn del_without_a_namespace_succeeds_and_makes_no_file(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let conf = conf(&previous, json!({}));
    let result = case.add(&at, &conf)?;
    let conf = with_prev(&conf, &result);
    case.sh("ip netns del c1; touch /run/netns/file")?;
    for netns in ["/run/netns/c1", "", "/run/netns/file", "/nonexistent/c1"] {
        let gone = Attachment {
            netns: netns.into(),
            ..at.clone()
        };
        case.del(&gone, &conf)?;
        ensure!(
            !case.holds("test -e /run/netns/c1")?,
            "DEL makes a file of {netns:?}"
        );
    }
    Ok(())
}

fn del_after_the_interface_is_gone_removes_the_rules(case: &Case<'_>) -> Verdict {
    for bare in [false, true] {
        let (at, previous) = furnished(case, "c1")?;
        let before = case.inside(&at, "ip rule show; ip -6 rule show")?;
        let conf = conf(&previous, json!({}));
        let mut conf = with_prev(&conf, &case.add(&at, &conf)?);
        if bare {
            conf["prevResult"] = Value::Null;
        }
        case.inside(&at, "ip link del net1")?;
        case.del(&at, &conf)?;
        let after = case.inside(&at, "ip rule show; ip -6 rule show")?;
        ensure_eq!(
            after,
            before,
            "rules after DEL (without prevResult: {bare})"
        );
        case.del(&at, &conf)?;
        case.sh("ip netns del c1; ip link del a-c1 2>/dev/null || :; sleep 0.2")?;
    }
    Ok(())
}

fn del_gives_the_routes_back(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let before = state(case, &at)?;
    let conf = conf(&previous, json!({}));
    let result = case.add(&at, &conf)?;
    ensure!(state(case, &at)? != before, "ADD changes nothing");
    case.del(&at, &with_prev(&conf, &result))?;
    ensure_eq!(state(case, &at)?, before, "rules and routes after DEL");
    Ok(())
}

fn del_leaves_the_rules_of_others(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let foreign = "ip rule add from 10.88.0.2 lookup 4711; ip rule add from 10.89.0.2 to 10.1.0.0/16 \
                   lookup 4711; ip rule add fwmark 7 lookup 4711";
    case.inside(&at, foreign)?;
    let before = case.inside(&at, "ip rule show")?;
    let conf = conf(&previous, json!({}));
    let result = case.add(&at, &conf)?;
    case.del(&at, &with_prev(&conf, &result))?;
    ensure_eq!(case.inside(&at, "ip rule show")?, before, "rules after DEL");
    Ok(())
}

fn an_answer_nobody_hears_leaves_nothing(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let before = state(case, &at)?;
    case.add_unheard(&at, &conf(&previous, json!({})))?;
    ensure_eq!(
        state(case, &at)?,
        before,
        "rules and routes after a failed ADD"
    );
    Ok(())
}

fn gc_removes_rules_of_the_dead_alone(case: &Case<'_>) -> Verdict {
    let mut all = Vec::new();
    for id in ["c1", "c2"] {
        let (at, previous) = furnished(case, id)?;
        let previous = with(&previous, "cniVersion", "1.1.0");
        case.add(
            &at,
            &with(&conf(&previous, json!({})), "cniVersion", "1.1.0"),
        )?;
        all.push(at);
    }
    let gc = json!({ "cniVersion": "1.1.0", "name": "net", "type": "sbr" });
    case.plugin("sbr", "GC")?.stdin(&gc).silent()?;
    table_of(case, &all[1], "10.89.0.2")?;
    let valid = json!([{ "containerID": "c1", "ifname": "net1" }]);
    let gc = with(&gc, "cni.dev/valid-attachments", valid);
    case.plugin("sbr", "GC")?.stdin(&gc).silent()?;
    table_of(case, &all[0], "10.89.0.2")?;
    ensure_eq!(
        tables(case, &all[1], "10.89.0.2")?,
        [""; 0],
        "rules of the dead"
    );
    Ok(())
}

fn a_repeated_add_makes_nothing_twice(case: &Case<'_>) -> Verdict {
    let (at, previous) = furnished(case, "c1")?;
    let before = state(case, &at)?;
    let conf = conf(&previous, json!({}));
    case.add(&at, &conf)?;
    let once = state(case, &at)?;
    let result = case.add(&at, &conf)?;
    ensure_eq!(state(case, &at)?, once, "after the second ADD");
    case.del(&at, &with_prev(&conf, &result))?;
    ensure_eq!(state(case, &at)?, before, "after DEL");
    Ok(())
}

fn check_notices_each_change(case: &Case<'_>) -> Verdict {
    for damage in [
        "ip rule del from 10.89.0.2",
        "ip -6 rule del from fd89::2",
        "ip route flush table V4",
        "ip route del default table V4",
        "ip -6 route del default table V6",
        "ip route del 10.99.0.0/16 table V4",
        "ip route add default via 10.89.0.1 dev net1 metric 50",
    ] {
        let (at, previous) = furnished(case, "c1")?;
        let conf = conf(&previous, json!({}));
        let conf = with_prev(&conf, &case.add(&at, &conf)?);
        case.cni("CHECK", &at, &conf)?.silent()?;
        let (v4, v6) = (
            table_of(case, &at, "10.89.0.2")?,
            table_of(case, &at, "fd89::2")?,
        );
        // A route beyond the link needs one on it, which the main table has lost.
        case.inside(
            &at,
            &damage
                .replace("V4", &v4)
                .replace("V6", &v6)
                .replace("net1 metric", "net1 onlink metric"),
        )?;
        let checked = case.cni("CHECK", &at, &conf)?.run()?;
        ensure!(checked.refused(), "CHECK is content after {damage}");
        case.del(&at, &conf)?;
        case.sh(
            "ip netns del c1; ip link del a-c1 2>/dev/null || :; ip link del b-c1 2>/dev/null || :",
        )?;
    }
    Ok(())
}
