//! `macvlan`.

use serde_json::{Value, json};

use super::bridge_faults::{RELEASE, releases_last};
use crate::attachment::{addresses, host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        MV01,
        each_mode_is_set,
        "macvlan: mode: bridge, private, vepa, passthru; default bridge"
    ),
    row!(
        Cni,
        MV01,
        an_unknown_mode_is_refused_before_anything_is_made,
        "SPEC 5: code 7: invalid network config"
    ),
    row!(
        Cni,
        MV01,
        two_containers_of_one_master_reach_each_other,
        "macvlan: mode bridge: endpoints of one master communicate"
    ),
    row!(
        Cni,
        MV02,
        without_master_the_default_route_s_link_is_taken,
        "macvlan: master: defaults to the default route interface"
    ),
    row!(
        Cni,
        MV02,
        without_a_default_route_the_error_says_so,
        "macvlan: master: defaults to the default route interface"
    ),
    row!(
        Cni,
        MV03,
        mac_and_mtu_are_set_and_told,
        "macvlan: mac, mtu; SPEC 1.1.0 Success: interfaces[].mac, mtu"
    ),
    row!(
        Cni,
        MV03,
        an_mtu_above_the_master_s_is_refused,
        "macvlan: mtu: 0 to the master's"
    ),
    row!(
        Cni,
        MV03,
        the_broadcast_queue_is_set,
        "macvlan: bcqueuelen: length of the queue of broadcast frames"
    ),
    row!(
        Cni,
        MV04,
        the_master_may_be_in_the_container,
        "macvlan: linkInContainer"
    ),
    row!(
        Cni,
        MV05,
        a_full_pool_leaves_no_link_and_a_retry_works,
        "SPEC ADD: a plugin that fails must leave nothing behind"
    ),
    row!(
        Cni,
        MV06,
        names_of_the_ipam_plugin_are_kept,
        "SPEC Delegated plugins: the result of the delegate is part of the plugin's own"
    ),
    row!(
        Cni,
        MV07,
        del_works_after_the_master_is_gone,
        "SPEC DEL: must complete without error even if some resources are missing"
    ),
    row!(
        Cni,
        MV07,
        del_works_without_the_namespace_and_twice,
        "SPEC DEL: CNI_NETNS is optional; multiple DEL"
    ),
    row!(
        Cni,
        MV07,
        an_address_is_not_released_while_its_link_is_there,
        RELEASE
    ),
    row!(
        Cni,
        MV07,
        del_spares_a_link_of_another_kind,
        "SPEC DEL: undo what ADD did, and nothing else"
    ),
    row!(
        Cni,
        MV08,
        check_finds_another_master,
        "SPEC CHECK: the container's networking is as expected"
    ),
    row!(
        Cni,
        MV08,
        check_finds_what_was_changed,
        "SPEC CHECK: the container's networking is as expected"
    ),
    row!(
        Cni,
        MV09,
        neighbours_are_told,
        "arp_notify and ndisc_notify of ip-sysctl"
    ),
];

/// A master `up0` on the host whose other end is in a namespace of its own.
fn master(case: &Case<'_>) -> Verdict {
    case.sh(
        "ip netns add far; ip link add up0 type veth peer name up1 netns far
         ip link set up0 up; ip -n far link set up1 up; ip -n far addr add 10.66.0.250/24 dev up1",
    )?;
    Ok(())
}

fn conf(case: &Case<'_>) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "macvlan", "master": "up0",
        "ipam": host_local(case, "10.66.0.0/24")
    })
}

fn each_mode_is_set(case: &Case<'_>) -> Verdict {
    master(case)?;
    for (number, mode) in ["bridge", "private", "vepa", "passthru"].iter().enumerate() {
        let at = case.sandbox(&format!("c{number}"))?;
        let conf = with(&conf(case), "mode", *mode);
        case.add(&at, &conf)?;
        let link = case.inside(&at, "ip -d link show eth0")?;
        ensure!(link.contains(&format!("macvlan mode {mode}")), "{link}");
        case.del(&at, &conf)?;
        ensure!(
            !case.holds_inside(&at, "ip link show eth0")?,
            "the link is still there"
        );
    }
    let at = case.sandbox("plain")?;
    case.add(&at, &conf(case))?;
    let link = case.inside(&at, "ip -d link show eth0")?;
    ensure!(link.contains("macvlan mode bridge"), "{link}");
    Ok(())
}

fn an_unknown_mode_is_refused_before_anything_is_made(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    let conf = with(&conf(case), "mode", "x");
    case.cni("ADD", &at, &conf)?.refused_with(&[7])?;
    ensure!(!case.holds_inside(&at, "ip link show eth0")?, "a link");
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn two_containers_of_one_master_reach_each_other(case: &Case<'_>) -> Verdict {
    master(case)?;
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&one, &conf(case))?;
    let result = case.add(&two, &conf(case))?;
    let address = addresses(&result).concat();
    let address = address.split('/').next().unwrap_or_default();
    for target in [address, "10.66.0.250"] {
        let ping = format!("busybox ping -c1 -W2 {target} || busybox ping -c1 -W2 {target}");
        ensure!(case.holds_inside(&one, &ping)?, "no answer of {target}");
    }
    Ok(())
}

fn without_master_the_default_route_s_link_is_taken(case: &Case<'_>) -> Verdict {
    master(case)?;
    case.sh("ip addr add 10.66.0.1/24 dev up0; ip route add default via 10.66.0.250")?;
    let mut conf = conf(case);
    conf["master"] = Value::Null;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf)?;
    let index = case.sh("ip -o link show up0 | cut -d: -f1")?;
    let link = case.inside(&at, "ip link show eth0")?;
    ensure!(link.contains(&format!("eth0@if{index}:")), "{link}");
    Ok(())
}

fn without_a_default_route_the_error_says_so(case: &Case<'_>) -> Verdict {
    let mut conf = conf(case);
    conf["master"] = "".into();
    let at = case.sandbox("c1")?;
    let outcome = case.cni("ADD", &at, &conf)?.run()?.refuses()?;
    outcome.says(&["no default route interface found"])?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn mac_and_mtu_are_set_and_told(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    let mut conf = with(&conf(case), "cniVersion", "1.1.0");
    conf["mac"] = "02:00:00:00:00:11".into();
    conf["mtu"] = 1400.into();
    conf["runtimeConfig"] = json!({ "mac": "02:00:00:00:00:22" });
    let result = case.add(&at, &conf)?;
    let link = case.inside(&at, "ip link show eth0")?;
    ensure!(
        link.contains("02:00:00:00:00:22") && link.contains("mtu 1400"),
        "{link}"
    );
    let interface = &result["interfaces"][0];
    ensure_eq!(interface["mac"], "02:00:00:00:00:22", "mac");
    ensure_eq!(interface["mtu"], 1400, "mtu");
    ensure_eq!(interface["sandbox"], at.netns.as_str(), "sandbox");
    Ok(())
}

fn an_mtu_above_the_master_s_is_refused(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    let conf = with(&conf(case), "mtu", 9000);
    let outcome = case.cni("ADD", &at, &conf)?.run()?.refuses()?;
    outcome.says(&["invalid MTU 9000, must be [0, master MTU(1500)]"])?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn the_broadcast_queue_is_set(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    case.add(&at, &with(&conf(case), "bcqueuelen", 200))?;
    let link = case.inside(&at, "ip -d link show eth0")?;
    ensure!(link.contains("bcqueuelen 200"), "{link}");
    Ok(())
}

fn the_master_may_be_in_the_container(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.inside(
        &at,
        "ip link add in0 type veth peer name in1; ip link set in0 up",
    )?;
    let mut conf = with(&conf(case), "linkInContainer", true);
    conf["master"] = "in0".into();
    let result = case.add(&at, &conf)?;
    let link = case.inside(&at, "ip link show eth0")?;
    ensure!(link.contains("eth0@in0"), "{link}");
    case.cni("CHECK", &at, &with_prev(&conf, &result))?
        .silent()?;
    case.del(&at, &with_prev(&conf, &result))
}

fn a_full_pool_leaves_no_link_and_a_retry_works(case: &Case<'_>) -> Verdict {
    master(case)?;
    let mut conf = conf(case);
    conf["ipam"]["rangeStart"] = "10.66.0.9".into();
    conf["ipam"]["rangeEnd"] = "10.66.0.9".into();
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&one, &conf)?;
    case.cni("ADD", &two, &conf)?.error()?;
    ensure!(
        !case.holds_inside(&two, "ip link show eth0")?,
        "the failed ADD left its link"
    );
    case.del(&one, &conf)?;
    case.add(&two, &conf)?;
    Ok(())
}

fn names_of_the_ipam_plugin_are_kept(case: &Case<'_>) -> Verdict {
    master(case)?;
    let file = case.path("resolv.conf");
    std::fs::write(&file, "nameserver 192.0.2.53\nsearch example.net\n")?;
    let mut conf = conf(case);
    conf["ipam"]["resolvConf"] = file.into();
    let result = case.add(&case.sandbox("c1")?, &conf)?;
    ensure_eq!(
        result["dns"]["nameservers"],
        json!(["192.0.2.53"]),
        "nameservers"
    );
    conf["dns"] = json!({ "nameservers": ["192.0.2.54"] });
    let result = case.add(&case.sandbox("c2")?, &conf)?;
    ensure_eq!(
        result["dns"]["nameservers"],
        json!(["192.0.2.54"]),
        "nameservers of the configuration"
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

fn del_works_without_the_namespace_and_twice(case: &Case<'_>) -> Verdict {
    master(case)?;
    for (id, netns) in [("c1", ""), ("c2", "/run/netns/none"), ("c3", "file")] {
        let at = case.sandbox(id)?;
        case.add(&at, &conf(case))?;
        let mut other = at.clone();
        other.netns = match netns {
            "file" => {
                std::fs::write(case.path("file"), "")?;
                case.path("file")
            }
            netns => netns.into(),
        };
        case.del(&other, &conf(case))?;
        ensure_eq!(
            reserved(case, "net")?,
            Vec::<String>::new(),
            "reservations with CNI_NETNS {:?}",
            other.netns
        );
        case.del(&at, &conf(case))?;
        case.del(&at, &conf(case))?;
    }
    Ok(())
}

fn an_address_is_not_released_while_its_link_is_there(case: &Case<'_>) -> Verdict {
    master(case)?;
    releases_last(case, &conf(case))
}

fn del_spares_a_link_of_another_kind(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    let own = case.sandbox("c2")?;
    case.add(&own, &conf(case))?;
    case.inside(&at, "ip link add eth0 type veth peer name eth1")?;
    for at in [&at, &own] {
        case.del(at, &conf(case))?;
    }
    ensure!(
        !case.holds_inside(&own, "ip link show eth0")?,
        "DEL of what ADD has made leaves it"
    );
    ensure!(
        case.holds_inside(&at, "ip link show eth0")?,
        "a link that no macvlan ADD has made is gone"
    );
    Ok(())
}

fn check_finds_another_master(case: &Case<'_>) -> Verdict {
    master(case)?;
    case.sh("ip link add other0 type veth peer name other1; ip link set other0 up")?;
    let at = case.sandbox("c1")?;
    let result = case.add(&at, &conf(case))?;
    let asked = with_prev(&conf(case), &result);
    case.cni("CHECK", &at, &asked)?.silent()?;
    case.cni("CHECK", &at, &with(&asked, "master", "other0"))?
        .error()?;
    Ok(())
}

fn check_finds_what_was_changed(case: &Case<'_>) -> Verdict {
    master(case)?;
    let mut conf = conf(case);
    conf["ipam"]["routes"] = json!([{ "dst": "198.51.100.0/24" }]);
    for (number, change) in [
        "ip link set eth0 address 02:00:00:00:00:99",
        "ip addr flush dev eth0",
        "ip route del 198.51.100.0/24",
        "ip link set eth0 down",
        "ip link set eth0 type macvlan mode private",
    ]
    .iter()
    .enumerate()
    {
        let at = case.sandbox(&format!("c{number}"))?;
        let result = case.add(&at, &conf)?;
        let asked = with_prev(&conf, &result);
        case.cni("CHECK", &at, &asked)?.silent()?;
        case.inside(&at, change)?;
        let outcome = case.cni("CHECK", &at, &asked)?.run()?;
        ensure!(outcome.refused(), "not noticed: {change}\n{outcome}");
    }
    Ok(())
}

fn neighbours_are_told(case: &Case<'_>) -> Verdict {
    master(case)?;
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    for setting in ["ipv4/conf/eth0/arp_notify", "ipv6/conf/eth0/ndisc_notify"] {
        // The container's namespace decides what /proc/sys/net shows.
        let value = case.inside(&at, &format!("cat /proc/sys/net/{setting}"))?;
        ensure_eq!(value, "1", "{setting}");
    }
    Ok(())
}
