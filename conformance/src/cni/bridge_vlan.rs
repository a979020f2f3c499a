//! `bridge` with VLANs, on kernels whose bridges keep them apart.

use serde_json::{Value, json};

use super::bridge::{conf, noticed};
use crate::attachment::{Attachment, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, lacking, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        BR14,
        a_vlan_keeps_containers_apart,
        "bridge: vlan: assign a VLAN tag to the port"
    ),
    row!(
        Cni,
        BR14,
        a_trunk_carries_its_vlans_tagged,
        "bridge: vlanTrunk: VLANs by id, and from minID to maxID"
    ),
    row!(
        Cni,
        BR14,
        the_default_vlan_is_kept_on_request_only,
        "bridge: preserveDefaultVlan: false removes the default VLAN from the port"
    ),
    row!(
        Cni,
        BR14,
        vlans_out_of_bounds_are_refused,
        "bridge: vlan: 0 to 4094; vlanTrunk: 1 to 4094, minID not above maxID"
    ),
    row!(
        Cni,
        BR15,
        the_gateway_of_a_vlan_answers_and_goes_with_its_last_user,
        "SPEC DEL: undo what ADD did; the gateway's veth pair is of no use to nobody"
    ),
    row!(
        Cni,
        BR01,
        the_gateway_of_a_vlan_takes_no_router_advertisements,
        "bridge: the host's ends of a network take no addresses from who is in it: accept_ra 0"
    ),
    row!(
        Cni,
        BR29,
        check_finds_a_wrong_vlan,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
];

/// Skips the row on kernels whose bridges cannot filter VLANs.
fn required(case: &Case<'_>) -> Verdict {
    let made =
        case.holds("ip link add probe0 type bridge vlan_filtering 1 && ip link del probe0")?;
    match made {
        true => Ok(()),
        false => Err(lacking("CONFIG_BRIDGE_VLAN_FILTERING")),
    }
}

/// A switch without a gateway, with this VLAN.
fn switch(case: &Case<'_>, vlan: u16) -> Value {
    with(&with(&conf(case), "isGateway", false), "vlan", vlan)
}

/// The VLANs of a port as `ID` or `ID:flags`, in their order.
fn vlans(case: &Case<'_>, port: &str) -> Verdict<Vec<String>> {
    let text = case.sh(&format!("bridge -j vlan show dev {port}"))?;
    let all: Value = serde_json::from_str(&text)?;
    let vlans = all[0]["vlans"].as_array().cloned().unwrap_or_default();
    let mut words = Vec::new();
    for vlan in vlans {
        let first = vlan["vlan"].as_u64().unwrap_or_default();
        let last = vlan["vlanEnd"].as_u64().unwrap_or(first);
        let untagged = vlan["flags"].to_string().contains("PVID");
        let flags = if untagged { ":untagged" } else { "" };
        words.extend((first..=last).map(|id| format!("{id}{flags}")));
    }
    Ok(words)
}

/// The name of the host's end in a result.
fn port(result: &Value) -> String {
    let name = result["interfaces"][1]["name"].as_str();
    name.unwrap_or_default().to_owned()
}

fn reaches(case: &Case<'_>, at: &Attachment, address: &str) -> Verdict<bool> {
    case.holds_inside(
        at,
        &format!("for i in 1 2; do busybox ping -c1 -W2 {address} && exit 0; done; exit 1"),
    )
}

fn a_vlan_keeps_containers_apart(case: &Case<'_>) -> Verdict {
    required(case)?;
    let (one, two, other) = (
        case.sandbox("c1")?,
        case.sandbox("c2")?,
        case.sandbox("c3")?,
    );
    let result = case.add(&one, &switch(case, 100))?;
    case.add(&two, &switch(case, 100))?;
    case.add(&other, &switch(case, 200))?;
    let all = vlans(case, &port(&result))?;
    ensure!(all.contains(&"100:untagged".into()), "VLANs {all:?}");
    ensure!(reaches(case, &one, "10.77.0.3")?, "its own VLAN");
    ensure!(!reaches(case, &one, "10.77.0.4")?, "the other VLAN");
    Ok(())
}

fn a_trunk_carries_its_vlans_tagged(case: &Case<'_>) -> Verdict {
    required(case)?;
    let at = case.sandbox("c1")?;
    let trunk = json!([{ "minID": 20, "maxID": 22 }, { "id": 10 }]);
    let conf = with(&switch(case, 100), "vlanTrunk", trunk);
    let all = vlans(case, &port(&case.add(&at, &conf)?))?;
    let wanted = ["10", "20", "21", "22", "100:untagged"].map(String::from);
    for vlan in &wanted {
        ensure!(all.contains(vlan), "VLANs {all:?}");
    }
    Ok(())
}

fn the_default_vlan_is_kept_on_request_only(case: &Case<'_>) -> Verdict {
    required(case)?;
    let result = case.add(&case.sandbox("c1")?, &switch(case, 100))?;
    let all = vlans(case, &port(&result))?;
    ensure_eq!(all, ["100:untagged"], "VLANs");
    let kept = with(&switch(case, 100), "preserveDefaultVlan", true);
    let result = case.add(&case.sandbox("c2")?, &kept)?;
    let all = vlans(case, &port(&result))?;
    ensure!(
        all.iter().any(|vlan| vlan.starts_with("1")),
        "VLANs {all:?}"
    );
    ensure_eq!(all.len(), 2, "VLANs {all:?}");
    Ok(())
}

fn vlans_out_of_bounds_are_refused(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    for vlan in [-1, 4095] {
        let conf = with(&conf(case), "vlan", vlan);
        case.cni("ADD", &at, &conf)?.error()?;
    }
    for trunk in [
        json!([{ "id": 4095 }]),
        json!([{ "minID": 5 }]),
        json!([{ "maxID": 5 }]),
        json!([{ "minID": 9, "maxID": 5 }]),
    ] {
        let conf = with(&conf(case), "vlanTrunk", trunk);
        case.cni("ADD", &at, &conf)?.error()?;
    }
    let there = case.holds("ip link show br0")?;
    ensure!(!there, "a refused ADD made br0");
    Ok(())
}

fn the_gateway_of_a_vlan_answers_and_goes_with_its_last_user(case: &Case<'_>) -> Verdict {
    required(case)?;
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    let conf = with(&conf(case), "vlan", 100);
    let first = case.add(&one, &conf)?;
    let second = case.add(&two, &conf)?;
    ensure!(reaches(case, &one, "10.77.0.1")?, "the gateway");
    case.del(&one, &with_prev(&conf, &first))?;
    ensure!(reaches(case, &two, "10.77.0.1")?, "the gateway after a DEL");
    case.del(&two, &with_prev(&conf, &second))?;
    let veths = case.sh("ip -o link show type veth | wc -l")?;
    ensure_eq!(veths, "0", "veths left on the host");
    Ok(())
}

fn the_gateway_of_a_vlan_takes_no_router_advertisements(case: &Case<'_>) -> Verdict {
    required(case)?;
    let at = case.sandbox("c1")?;
    case.add(&at, &with(&conf(case), "vlan", 100))?;
    let setting = case.sh("cat /proc/sys/net/ipv6/conf/br0.100/accept_ra")?;
    ensure_eq!(setting, "0", "accept_ra of br0.100");
    Ok(())
}

fn check_finds_a_wrong_vlan(case: &Case<'_>) -> Verdict {
    required(case)?;
    noticed(case, &switch(case, 100), |_| {
        case.sh(
            "port=$(ip -o link show master br0 | sed 's/.*: \\(.*\\)@.*/\\1/')
             bridge vlan del dev $port vid 100; bridge vlan add dev $port vid 7 pvid untagged",
        )
    })
}
