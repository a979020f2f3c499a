//! `vlan`.

use serde_json::{Value, json};

use crate::attachment::{host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::cni::staged;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        VL01,
        frames_leave_the_master_with_the_tag,
        "vlan: vlanId: the id of the vlan"
    ),
    row!(
        Cni,
        VL01,
        a_number_beyond_4094_is_refused_with_the_right_bound,
        "IEEE 802.1Q-2018 table 9-2: FFF is reserved"
    ),
    row!(
        Cni,
        VL01,
        without_master_the_error_says_so,
        "vlan: master is required"
    ),
    row!(
        Cni,
        VL02,
        containers_can_share_a_vlan,
        "plugins issue 243: more than one container per VLAN"
    ),
    row!(
        Cni,
        VL03,
        a_full_pool_leaves_no_link,
        "SPEC ADD: a plugin that fails must leave nothing behind"
    ),
    row!(
        Cni,
        VL03,
        del_works_after_the_master_is_gone,
        "SPEC DEL: must complete without error even if some resources are missing"
    ),
    row!(
        Cni,
        VL03,
        check_finds_another_number,
        "SPEC CHECK: the container's networking is as expected"
    ),
    row!(
        Cni,
        VL04,
        with_the_master_inside_del_works_after_the_namespace_is_gone,
        "SPEC DEL: if CNI_NETNS does not exist, plugins should still remove what they can"
    ),
];

/// A master whose other end has the same VLAN 42.
fn master(case: &Case<'_>) -> Verdict {
    staged::named("vlan")?.required(case)?;
    case.sh(
        "ip netns add far; ip link add up0 type veth peer name up1 netns far
         ip link set up0 up; ip -n far link set up1 up
         ip -n far link add link up1 name v42 type vlan id 42
         ip -n far addr add 10.69.0.250/24 dev v42; ip -n far link set v42 up",
    )?;
    Ok(())
}

fn conf(case: &Case<'_>) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "vlan", "master": "up0", "vlanId": 42,
        "ipam": host_local(case, "10.69.0.0/24")
    })
}

fn reaches_the_far_end() -> &'static str {
    "busybox ping -c1 -W2 10.69.0.250 || busybox ping -c1 -W2 10.69.0.250"
}

fn frames_leave_the_master_with_the_tag(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    let result = case.add(&at, &conf(case))?;
    let link = case.inside(&at, "ip -d link show eth0")?;
    ensure!(link.contains("vlan protocol 802.1Q id 42"), "{link}");
    ensure!(case.holds_inside(&at, reaches_the_far_end())?, "no answer");
    let asked = with_prev(&conf(case), &result);
    case.cni("CHECK", &at, &asked)?.silent()?;
    case.del(&at, &asked)?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn a_number_beyond_4094_is_refused_with_the_right_bound(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    for number in [-1, 4095] {
        let outcome = case.cni("ADD", &at, &with(&conf(case), "vlanId", number))?;
        let outcome = outcome.run()?.refuses()?.says(&["invalid VLAN ID"])?;
        outcome.says(&["4094"])?;
    }
    Ok(())
}

fn without_master_the_error_says_so(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let outcome = case.cni("ADD", &at, &with(&conf(case), "master", ""))?;
    outcome.run()?.refuses()?.says(&["field is required"])?;
    Ok(())
}

fn containers_can_share_a_vlan(case: &Case<'_>) -> Verdict {
    master(case)?;
    let conf = with(&conf(case), "shared", true);
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    let result = case.add(&one, &conf)?;
    case.add(&two, &conf)?;
    for at in [&one, &two] {
        let link = case.inside(at, "ip -d link show eth0")?;
        ensure!(link.contains("vlan protocol 802.1Q id 42"), "{link}");
        ensure!(
            case.holds_inside(at, reaches_the_far_end())?,
            "no answer for {}",
            at.id
        );
    }
    case.cni("CHECK", &one, &with_prev(&conf, &result))?
        .silent()?;
    case.del(&one, &conf)?;
    let left = case.inside(&one, "ip -o link show | grep -vc ' lo:' || :")?;
    ensure_eq!(left, "0", "links left in the container");
    ensure!(
        case.holds_inside(&two, reaches_the_far_end())?,
        "the other container lost its VLAN"
    );
    Ok(())
}

fn a_full_pool_leaves_no_link(case: &Case<'_>) -> Verdict {
    master(case)?;
    let mut conf = conf(case);
    conf["ipam"]["rangeStart"] = "10.69.0.9".into();
    conf["ipam"]["rangeEnd"] = "10.69.0.9".into();
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&one, &conf)?;
    case.cni("ADD", &two, &with(&conf, "vlanId", 43))?.error()?;
    ensure!(
        !case.holds_inside(&two, "ip link show eth0")?,
        "the failed ADD left its link"
    );
    Ok(())
}

fn del_works_after_the_master_is_gone(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.sh("ip link del up0")?;
    case.del(&at, &conf(case))?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn check_finds_another_number(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    let result = case.add(&at, &conf(case))?;
    let asked = with(&with_prev(&conf(case), &result), "vlanId", 43);
    case.cni("CHECK", &at, &asked)?.error()?;
    Ok(())
}

fn with_the_master_inside_del_works_after_the_namespace_is_gone(case: &Case<'_>) -> Verdict {
    staged::named("vlan")?.required(case)?;
    let at = case.sandbox("c1")?;
    case.inside(
        &at,
        "ip link add in0 type veth peer name in1; ip link set in0 up",
    )?;
    let mut conf = with(&conf(case), "linkInContainer", true);
    conf["master"] = "in0".into();
    case.add(&at, &conf)?;
    let mut gone = at.clone();
    gone.netns = "/run/netns/gone".into();
    case.del(&gone, &conf)?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}
