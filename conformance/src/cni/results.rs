//! What the result of an ADD says of the interface, and what becomes of the result before it.

use serde_json::{Value, json};

use super::staged::{Plugin, previous, serviceable};
use crate::attachment::{Attachment, addresses, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        PR32,
        the_container_s_interface_is_named_with_its_sandbox,
        "SPEC section 5: interfaces: name, mac; sandbox should be the value passed via CNI_NETNS"
    ),
    row!(
        Cni,
        PR32,
        every_chained_plugin_passes_the_result_on,
        "SPEC section 5: plugins provided a prevResult must output it, with their modifications"
    ),
    row!(
        Cni,
        PR32,
        every_interface_plugin_keeps_the_result_before_it,
        "SPEC ADD: it MUST handle prevResult by either passing it through, or modifying it"
    ),
    row!(
        Cni,
        PR32,
        a_later_plugin_s_changes_are_no_damage,
        "SPEC CHECK: must allow for a later chained plugin to have modified resources on ADD"
    ),
];

/// The one interface of a result that is in the container.
fn inside(result: &Value, at: &Attachment) -> Verdict<(usize, Value)> {
    let all = result["interfaces"].as_array().cloned().unwrap_or_default();
    let named = all
        .iter()
        .enumerate()
        .filter(|(_, one)| one["sandbox"] == at.netns.as_str());
    let named: Vec<_> = named
        .filter(|(_, one)| one["name"] == at.ifname.as_str())
        .collect();
    ensure_eq!(named.len(), 1, "{} at {} in {result}", at.ifname, at.netns);
    Ok((named[0].0, named[0].1.clone()))
}

fn the_container_s_interface_is_named_with_its_sandbox(case: &Case<'_>) -> Verdict {
    let makes = |one: &&Plugin| one.delegates() || one.name == "loopback";
    for plugin in serviceable(case)?.into_iter().filter(makes) {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let result = case.add(&at, &conf)?;
        let (index, interface) = inside(&result, &at)?;
        let file = format!("cat /sys/class/net/{}/address", at.ifname);
        let mac = case.sh(&format!("ip netns exec {} {file}", at.id))?;
        let told = interface["mac"].as_str().unwrap_or_default();
        ensure_eq!(told.to_lowercase(), mac, "mac of {}", plugin.name);
        for ip in result["ips"].as_array().into_iter().flatten() {
            ensure_eq!(ip["interface"], index, "{}: interface of {ip}", plugin.name);
        }
        case.del(&at, &with_prev(&conf, &result))?;
    }
    Ok(())
}

/// A result with everything that a chained plugin has no business with.
fn rich(at: &Attachment) -> Value {
    let mut result = previous(at, "1.0.0");
    let more = json!({ "name": "side0", "mac": "02:00:00:00:00:77" });
    if let Some(interfaces) = result["interfaces"].as_array_mut() {
        interfaces.push(more);
    }
    result["dns"] = json!({
        "nameservers": ["10.77.0.53"], "domain": "a.example", "search": ["b.example"],
        "options": ["ndots:3"]
    });
    result["routes"] = json!([{ "dst": "0.0.0.0/0", "gw": "10.77.0.1" }]);
    result
}

fn every_chained_plugin_passes_the_result_on(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)?
        .into_iter()
        .filter(|one| one.is_chained())
    {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let conf = plugin.conf(case, &at, "1.0.0");
        let given = rich(&at);
        let result = case.add(&at, &with_prev(&conf, &given))?;
        ensure_eq!(addresses(&result), addresses(&given), "{}", plugin.name);
        for key in ["dns", "routes"] {
            ensure_eq!(result[key], given[key], "{key} of {}", plugin.name);
        }
        let names = |result: &Value| -> Vec<Value> {
            let all = result["interfaces"].as_array().cloned().unwrap_or_default();
            all.iter().map(|one| one["name"].clone()).collect()
        };
        // A plugin may add interfaces of its own, behind those that ips point at.
        let (told, wanted) = (names(&result), names(&given));
        let starts = told.starts_with(&wanted);
        ensure!(starts, "{}: interfaces {told:?}", plugin.name);
    }
    Ok(())
}

/// The interface of another plugin that stands before it in the list.
fn every_interface_plugin_keeps_the_result_before_it(case: &Case<'_>) -> Verdict {
    // ipvlan takes its link from the result before it: that is a row of its own.
    let makes = |one: &&Plugin| one.delegates() && one.name != "ipvlan";
    for plugin in serviceable(case)?.into_iter().filter(makes) {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        case.inside(
            &at,
            "ip link add net1 type veth peer name net1p; ip link set net1p up
             ip link set net1 up; ip addr add 10.55.0.5/24 dev net1
             ip route add 10.56.0.0/16 via 10.55.0.1 dev net1",
        )?;
        let given = json!({
            "cniVersion": "1.0.0",
            "interfaces": [{ "name": "net1", "sandbox": at.netns }],
            "ips": [{ "address": "10.55.0.5/24", "interface": 0 }],
            "routes": [{ "dst": "10.56.0.0/16", "gw": "10.55.0.1" }],
            "dns": { "nameservers": ["10.55.0.53"] }
        });
        let conf = with_prev(&plugin.conf(case, &at, "1.0.0"), &given);
        let result = case.add(&at, &conf)?;
        let (index, _) = inside(&result, &at)?;
        let all = |key: &str| result[key].as_array().cloned().unwrap_or_default();
        let kept = |key: &str, value: &Value| {
            let is_there = all(key).contains(value);
            ensure!(is_there, "{} lost {value} of {key}: {result}", plugin.name);
            Ok(())
        };
        kept("routes", &given["routes"][0])?;
        let has = all("interfaces").iter().any(|one| one["name"] == "net1");
        ensure!(has, "{} lost net1: {result}", plugin.name);
        for ip in all("ips") {
            let of = ip["interface"].as_u64().unwrap_or(99) as usize;
            let name = &result["interfaces"][of]["name"];
            let wanted = if ip["address"] == "10.55.0.5/24" {
                "net1"
            } else {
                at.ifname.as_str()
            };
            ensure_eq!(*name, wanted, "{}: whose is {ip} in {result}", plugin.name);
        }
        let count = all("ips").len();
        ensure_eq!(count, 2, "{}: ips of {result} beside {index}", plugin.name);
        // Nor is what another plugin made missing to its CHECK.
        let checked = with_prev(&conf, &result);
        case.cni("CHECK", &at, &checked)?.silent()?;
        case.inside(&at, "ip addr flush dev eth0")?;
        case.cni("CHECK", &at, &checked)?.error()?;
        case.del(&at, &checked)?;
    }
    Ok(())
}

fn a_later_plugin_s_changes_are_no_damage(case: &Case<'_>) -> Verdict {
    for plugin in serviceable(case)?.into_iter().filter(|one| one.delegates()) {
        let at = plugin.stage(case, &format!("c-{}", plugin.name))?;
        let mut conf = plugin.conf(case, &at, "1.0.0");
        conf["ipam"]["routes"] = json!([{ "dst": "10.99.0.0/16" }]);
        let first = case.add(&at, &conf)?;
        // The routes go to a table of their own; the interface gets another length of its queue.
        let mut result = first;
        for (name, key, value) in [("tuning", "txQLen", json!(77)), ("sbr", "args", json!({}))] {
            let later = json!({ "cniVersion": "1.0.0", "name": "net", "type": name });
            let later = with_prev(&with(&later, key, value), &result);
            result = case.add(&at, &later)?;
        }
        let main = case.inside(&at, "ip route show 10.99.0.0/16")?;
        ensure_eq!(main, "", "the route is still in the main table");
        case.cni("CHECK", &at, &with_prev(&conf, &result))?
            .silent()?;
        case.del(&at, &with_prev(&conf, &result))?;
    }
    Ok(())
}
