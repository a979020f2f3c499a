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
