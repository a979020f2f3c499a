//! `loopback`.

use serde_json::{Value, json};

use crate::attachment::{Attachment, addresses, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        LO01,
        lo_comes_up_and_is_reported,
        "loopback: brings the lo interface up; result: interfaces lo, ips 127.0.0.1 and ::1"
    ),
    row!(
        Cni,
        LO02,
        a_prev_result_is_passed_on,
        "SPEC: a chained plugin must pass the prevResult on, changed or not"
    ),
    row!(
        Cni,
        LO03,
        a_foreign_address_on_lo_is_an_error,
        "loopback: lo carries loopback addresses only"
    ),
    row!(
        Cni,
        LO04,
        the_host_s_lo_is_never_taken_down,
        "skel guard: code 8 before any change when CNI_NETNS is the host's namespace"
    ),
    row!(
        Cni,
        LO04,
        check_notices_lo_down,
        "SPEC CHECK: must return an error if a resource is in an invalid state"
    ),
    row!(
        Cni,
        LO04,
        del_tolerates_a_namespace_that_is_gone,
        "SPEC DEL: must complete without error if the namespace is gone"
    ),
];

fn conf() -> Value {
    json!({ "cniVersion": "1.0.0", "name": "lo", "type": "loopback" })
}

fn lo_at(at: &Attachment) -> Attachment {
    Attachment {
        ifname: "lo".into(),
        ..at.clone()
    }
}

fn lo_comes_up_and_is_reported(case: &Case<'_>) -> Verdict {
    let at = lo_at(&case.sandbox("c1")?);
    ensure!(
        !case.inside(&at, "ip -o link show lo")?.contains(",UP"),
        "lo was up before"
    );
    let result = case.add(&at, &conf())?;
    ensure!(
        case.inside(&at, "ip -o link show lo")?.contains(",UP"),
        "lo is down"
    );
    ensure_eq!(result["interfaces"][0]["name"], "lo", "interface");
    ensure_eq!(
        result["interfaces"][0]["sandbox"],
        at.netns.as_str(),
        "sandbox"
    );
    ensure_eq!(addresses(&result), ["127.0.0.1/8", "::1/128"], "addresses");
    case.del(&at, &conf())
}

fn a_prev_result_is_passed_on(case: &Case<'_>) -> Verdict {
    let at = lo_at(&case.sandbox("c1")?);
    let previous = json!({
        "cniVersion": "1.0.0", "interfaces": [{ "name": "eth9" }],
        "ips": [{ "address": "10.77.0.2/24", "interface": 0 }]
    });
    let result = case.add(&at, &with_prev(&conf(), &previous))?;
    ensure_eq!(
        result["interfaces"][0]["name"],
        "eth9",
        "interface of {result}"
    );
    ensure_eq!(addresses(&result), ["10.77.0.2/24"], "addresses");
    Ok(())
}

fn a_foreign_address_on_lo_is_an_error(case: &Case<'_>) -> Verdict {
    let at = lo_at(&case.sandbox("c1")?);
    case.inside(&at, "ip addr add 10.77.0.9/32 dev lo")?;
    case.cni("ADD", &at, &conf())?.error()?;
    ensure!(
        !case.inside(&at, "ip -o link show lo")?.contains(",UP"),
        "lo was touched"
    );
    Ok(())
}

fn the_host_s_lo_is_never_taken_down(case: &Case<'_>) -> Verdict {
    let own = Attachment {
        id: "c1".into(),
        netns: "/proc/self/ns/net".into(),
        ifname: "lo".into(),
    };
    case.cni("DEL", &own, &conf())?.error()?;
    ensure!(
        case.sh("ip -o link show lo")?.contains(",UP"),
        "the host's lo is down"
    );
    Ok(())
}

fn check_notices_lo_down(case: &Case<'_>) -> Verdict {
    let at = lo_at(&case.sandbox("c1")?);
    let result = case.add(&at, &conf())?;
    let checked = with_prev(&conf(), &result);
    case.cni("CHECK", &at, &checked)?.silent()?;
    case.inside(&at, "ip link set lo down")?;
    case.cni("CHECK", &at, &checked)?.error()?;
    Ok(())
}

fn del_tolerates_a_namespace_that_is_gone(case: &Case<'_>) -> Verdict {
    let at = lo_at(&case.sandbox("c1")?);
    case.add(&at, &conf())?;
    case.sh("ip netns del c1")?;
    case.del(&at, &conf())?;
    case.del(
        &Attachment {
            netns: String::new(),
            ..at
        },
        &conf(),
    )
}
