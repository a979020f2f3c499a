//! `ipvlan`.

use serde_json::{Value, json};

use crate::attachment::{host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::cni::staged;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        IV01,
        each_mode_is_set,
        "ipvlan: mode: l2, l3, l3s; default l2"
    ),
    row!(
        Cni,
        IV01,
        each_flag_is_set,
        "ip-link(8) type ipvlan: bridge, private, vepa"
    ),
    row!(
        Cni,
        IV01,
        two_containers_of_one_master_reach_each_other,
        "ipvlan: mode l2: containers of one master are in one broadcast domain"
    ),
    row!(
        Cni,
        IV02,
        chained_it_takes_link_and_addresses_of_the_plugin_before,
        "ipvlan: used in a chain, master and ipam may come from prevResult"
    ),
    row!(
        Cni,
        IV02,
        a_previous_result_with_two_interfaces_is_refused,
        "ipvlan: chained master failure"
    ),
    row!(
        Cni,
        IV03,
        a_full_pool_leaves_no_link,
        "SPEC ADD: a plugin that fails must leave nothing behind"
    ),
    row!(
        Cni,
        IV04,
        del_works_without_a_default_route,
        "SPEC DEL: must complete without error even if some resources are missing"
    ),
];

fn master(case: &Case<'_>) -> Verdict {
    staged::named("ipvlan")?.required(case)?;
    case.sh(
        "ip netns add far; ip link add up0 type veth peer name up1 netns far
         ip link set up0 up; ip -n far link set up1 up; ip -n far addr add 10.67.0.250/24 dev up1",
    )?;
    Ok(())
}

fn conf(case: &Case<'_>) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "ipvlan", "master": "up0",
        "ipam": host_local(case, "10.67.0.0/24")
    })
}

fn each_mode_is_set(case: &Case<'_>) -> Verdict {
    master(case)?;
    for mode in ["l2", "l3", "l3s"] {
        let at = case.sandbox(mode)?;
        let conf = with(&conf(case), "mode", mode);
        let result = case.add(&at, &conf)?;
        let link = case.inside(&at, "ip -d link show eth0")?;
        ensure!(link.contains(&format!("ipvlan  mode {mode}")), "{link}");
        let asked = with_prev(&conf, &result);
        case.cni("CHECK", &at, &asked)?.silent()?;
        case.del(&at, &asked)?;
    }
    Ok(())
}

fn each_flag_is_set(case: &Case<'_>) -> Verdict {
    master(case)?;
    for flag in ["bridge", "private", "vepa"] {
        let at = case.sandbox(flag)?;
        let conf = with(&conf(case), "flag", flag);
        case.add(&at, &conf)?;
        let link = case.inside(&at, "ip -d link show eth0")?;
        ensure!(link.contains(&format!("mode l2 {flag}")), "{link}");
        case.del(&at, &conf)?;
    }
    let at = case.sandbox("odd")?;
    case.cni("ADD", &at, &with(&conf(case), "flag", "x"))?
        .refused_with(&[7])?;
    Ok(())
}

fn two_containers_of_one_master_reach_each_other(case: &Case<'_>) -> Verdict {
    master(case)?;
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&one, &conf(case))?;
    case.add(&two, &conf(case))?;
    for target in ["10.67.0.3", "10.67.0.250"] {
        let ping = format!("busybox ping -c1 -W2 {target} || busybox ping -c1 -W2 {target}");
        ensure!(case.holds_inside(&one, &ping)?, "no answer of {target}");
    }
    Ok(())
}

fn chained_it_takes_link_and_addresses_of_the_plugin_before(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    let conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "ipvlan",
        "prevResult": {
            "cniVersion": "1.0.0", "interfaces": [{ "name": "up0" }],
            "ips": [{ "address": "10.67.0.77/24", "interface": 0 }]
        }
    });
    let result = case.add(&at, &conf)?;
    ensure_eq!(result["interfaces"][0]["name"], "eth0", "interface");
    let shown = case.inside(&at, "ip addr show eth0")?;
    ensure!(shown.contains("10.67.0.77/24"), "{shown}");
    case.cni("CHECK", &at, &with_prev(&conf, &result))?
        .silent()?;
    case.del(&at, &with_prev(&conf, &result))
}

fn a_previous_result_with_two_interfaces_is_refused(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "ipvlan",
        "prevResult": {
            "cniVersion": "1.0.0", "interfaces": [{ "name": "up0" }, { "name": "up1" }],
            "ips": [{ "address": "10.67.0.77/24", "interface": 0 }]
        }
    });
    let error = case.cni("ADD", &at, &conf)?.error()?;
    let msg = error["msg"].as_str().unwrap_or_default();
    ensure!(msg.contains("chained master failure"), "{error}");
    Ok(())
}

fn a_full_pool_leaves_no_link(case: &Case<'_>) -> Verdict {
    master(case)?;
    let mut conf = conf(case);
    conf["ipam"]["rangeStart"] = "10.67.0.9".into();
    conf["ipam"]["rangeEnd"] = "10.67.0.9".into();
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&one, &conf)?;
    case.cni("ADD", &two, &conf)?.error()?;
    ensure!(
        !case.holds_inside(&two, "ip link show eth0")?,
        "the failed ADD left its link"
    );
    Ok(())
}

fn del_works_without_a_default_route(case: &Case<'_>) -> Verdict {
    master(case)?;
    case.sh("ip addr add 10.67.0.1/24 dev up0; ip route add default via 10.67.0.250")?;
    let mut conf = conf(case);
    conf["master"] = "".into();
    let at = case.sandbox("c1")?;
    case.add(&at, &conf)?;
    case.sh("ip route del default")?;
    case.del(&at, &conf)?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}
