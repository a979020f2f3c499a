//! `dummy`.

use serde_json::{Value, json};

use crate::attachment::{host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::cni::staged;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        DU01,
        the_interface_is_there_up_and_has_its_address,
        "dummy: creates a new dummy interface in the container"
    ),
    row!(
        Cni,
        DU01,
        without_ipam_it_is_refused,
        "dummy: ipam is required; SPEC 5: code 7: invalid network config"
    ),
    row!(
        Cni,
        DU01,
        check_finds_a_missing_address_and_del_frees_everything,
        "SPEC CHECK: an error if a resource is missing; DEL: undo what ADD did"
    ),
    row!(
        Cni,
        DU02,
        a_taken_name_is_an_error_and_nothing_else_changes,
        "SPEC ADD: if an interface of the requested name already exists, the plugin must return with an error"
    ),
];

fn conf(case: &Case<'_>) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "dummy",
        "ipam": host_local(case, "10.68.0.0/24")
    })
}

fn the_interface_is_there_up_and_has_its_address(case: &Case<'_>) -> Verdict {
    staged::named("dummy")?.required(case)?;
    let at = case.sandbox("c1")?;
    let result = case.add(&at, &conf(case))?;
    let link = case.inside(&at, "ip -d addr show eth0")?;
    for part in ["dummy", "UP", "10.68.0.2/24"] {
        ensure!(link.contains(part), "no {part} in {link}");
    }
    ensure_eq!(result["interfaces"][0]["name"], "eth0", "interface");
    ensure_eq!(result["ips"][0]["interface"], 0, "index");
    Ok(())
}

fn without_ipam_it_is_refused(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = conf(case);
    conf["ipam"] = json!({});
    let outcome = case.cni("ADD", &at, &conf)?.run()?.refuses()?;
    outcome.says(&["dummy interface requires an IPAM configuration"])?;
    ensure!(!case.holds_inside(&at, "ip link show eth0")?, "a link");
    Ok(())
}

fn check_finds_a_missing_address_and_del_frees_everything(case: &Case<'_>) -> Verdict {
    staged::named("dummy")?.required(case)?;
    let at = case.sandbox("c1")?;
    let result = case.add(&at, &conf(case))?;
    let asked = with_prev(&conf(case), &result);
    case.cni("CHECK", &at, &asked)?.silent()?;
    case.inside(&at, "ip addr flush dev eth0")?;
    case.cni("CHECK", &at, &asked)?.error()?;
    case.del(&at, &asked)?;
    case.del(&at, &with(&asked, "prevResult", Value::Null))?;
    ensure!(!case.holds_inside(&at, "ip link show eth0")?, "the link");
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn a_taken_name_is_an_error_and_nothing_else_changes(case: &Case<'_>) -> Verdict {
    staged::named("dummy")?.required(case)?;
    let at = case.sandbox("c1")?;
    case.inside(
        &at,
        "ip link add eth0 type dummy; ip addr add 192.0.2.9/32 dev eth0",
    )?;
    let before = case.inside(&at, "ip -o addr show eth0")?;
    case.cni("ADD", &at, &conf(case))?.error()?;
    let after = case.inside(&at, "ip -o addr show eth0")?;
    ensure_eq!(after, before, "the interface that was there");
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}
