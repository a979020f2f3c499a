//! `tap`.

use serde_json::{Value, json};

use crate::attachment::{Attachment, host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, lacking, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        TA01,
        owner_group_queues_and_persistence_are_set,
        "tap: owner, group: who may use the device; multiQueue: multiqueue support"
    ),
    row!(
        Cni,
        TA01,
        the_owner_attaches_without_privilege,
        "tuntap: TUNSETOWNER: the user may attach to the device"
    ),
    row!(
        Cni,
        TA01,
        the_device_gets_addresses_and_is_checked,
        "SPEC ADD: ips, routes; SPEC CHECK: probe the status of an existing container"
    ),
    row!(
        Cni,
        TA01,
        check_finds_a_device_that_is_no_tap,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        TA01,
        del_takes_the_device_and_its_address_twice,
        "SPEC DEL: undo what ADD did; must accept multiple calls for the same attachment"
    ),
    row!(
        Cni,
        TA02,
        mac_and_mtu_are_set_beside_owner_and_group,
        "tap: mac, mtu, owner and group may be given together"
    ),
    row!(
        Cni,
        TA03,
        an_interface_that_is_there_is_left_alone,
        "SPEC ADD: if an interface of the requested name already exists, the plugin must return with an error"
    ),
    row!(
        Cni,
        TA03,
        a_tap_device_that_is_there_is_not_adopted,
        "SPEC ADD: if an interface of the requested name already exists, the plugin must return with an error"
    ),
    row!(
        Cni,
        TA03,
        a_failed_ipam_leaves_no_device_and_the_next_try_succeeds,
        "SPEC: a failed ADD must not leave what a DEL that never comes would remove"
    ),
    row!(
        Cni,
        TA04,
        the_device_is_a_port_of_a_bridge_in_the_container,
        "tap: bridge: the bridge in the container to which the tap will be added"
    ),
    row!(
        Cni,
        TA04,
        a_bridge_that_is_missing_is_refused_before_anything_is_made,
        "SPEC errors: no side effects of a refused ADD"
    ),
    row!(
        Cni,
        TA05,
        no_program_is_needed,
        "SPEC: all a plugin is told are CNI_* variables and its configuration"
    ),
    row!(
        Cni,
        TA06,
        the_device_has_the_selinux_context,
        "tap: selinuxContext: the SELinux context of the device"
    ),
    row!(
        Cni,
        TA06,
        a_context_without_selinux_is_refused,
        "SPEC errors: a configuration that cannot be served is an error, with nothing left"
    ),
];

fn conf() -> Value {
    json!({ "cniVersion": "1.0.0", "name": "net", "type": "tap" })
}

fn addressed(case: &Case<'_>) -> Value {
    with(&conf(), "ipam", host_local(case, "10.77.0.0/24"))
}

/// What ip(8) says of the interface, in one line.
fn shown(case: &Case<'_>, at: &Attachment) -> Verdict<String> {
    case.inside(at, "ip -d -o link show eth0")
}

fn owner_group_queues_and_persistence_are_set(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = with(&with(&conf(), "owner", 1234), "group", 2345);
    case.add(&at, &with(&conf, "multiQueue", true))?;
    let link = shown(case, &at)?;
    for word in [
        " tun type tap ",
        "persist on",
        "multi_queue",
        "user 1234",
        "group 2345",
    ] {
        ensure!(link.contains(word), "{word:?} is missing in {link}");
    }
    let plain = case.sandbox("c2")?;
    case.add(&plain, &self::conf())?;
    let link = shown(case, &plain)?;
    let other = ["user ", "group 2345", "multi_queue"];
    ensure!(
        link.contains("persist on") && !other.iter().any(|word| link.contains(word)),
        "a device without these: {link}"
    );
    Ok(())
}

fn the_owner_attaches_without_privilege(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &with(&conf(), "owner", 1234))?;
    // Open to everybody, on this row's host alone.
    case.sh("mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun")?;
    // ip-tuntap(8) attaches to the device before it takes its persistence away.
    let attach = |user: u32| {
        format!(
            "setpriv --reuid {user} --regid {user} --clear-groups --bounding-set=-all \
             ip tuntap del dev eth0 mode tap"
        )
    };
    ensure!(
        !case.holds_inside(&at, &attach(4321))?,
        "a stranger attaches to the device"
    );
    case.inside(&at, &attach(1234))?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "the owner did not attach"
    );
    Ok(())
}

fn the_device_gets_addresses_and_is_checked(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = addressed(case);
    conf["ipam"]["routes"] = json!([{ "dst": "198.51.100.0/24", "gw": "10.77.0.1" }]);
    let result = case.add(&at, &conf)?;
    ensure_eq!(result["interfaces"][0]["name"], "eth0", "interface");
    ensure_eq!(
        result["interfaces"][0]["sandbox"],
        at.netns.as_str(),
        "sandbox"
    );
    ensure_eq!(result["ips"][0]["interface"], 0, "index of the address");
    ensure!(
        case.inside(&at, "ip -4 -o addr show eth0")?
            .contains("10.77.0.2/24"),
        "address"
    );
    let route = case.inside(&at, "ip -4 route show 198.51.100.0/24")?;
    ensure!(route.contains("via 10.77.0.1 dev eth0"), "route: {route}");
    let checked = with_prev(&conf, &result);
    case.cni("CHECK", &at, &checked)?.silent()?;
    case.inside(&at, "ip addr del 10.77.0.2/24 dev eth0")?;
    case.cni("CHECK", &at, &checked)?.error()?;
    Ok(())
}

fn check_finds_a_device_that_is_no_tap(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = with(&conf(), "mac", "02:00:5e:10:00:01");
    let result = case.add(&at, &conf)?;
    let checked = with_prev(&conf, &result);
    case.cni("CHECK", &at, &checked)?.silent()?;
    case.inside(
        &at,
        "ip link del eth0; ip link add eth0 type veth peer name peer0
         ip link set eth0 address 02:00:5e:10:00:01 mtu 1500 up; ip link set peer0 up",
    )?;
    case.cni("CHECK", &at, &checked)?.error()?;
    Ok(())
}

fn del_takes_the_device_and_its_address_twice(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = addressed(case);
    case.add(&at, &conf)?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    for _ in 0..2 {
        case.del(&at, &conf)?;
        ensure!(
            !case.holds_inside(&at, "ip link show eth0")?,
            "eth0 is left"
        );
        ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    }
    Ok(())
}

fn mac_and_mtu_are_set_beside_owner_and_group(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({ "cniVersion": "1.1.0", "name": "net", "type": "tap", "owner": 1234,
        "group": 2345, "mac": "02:00:5e:10:00:01", "mtu": 1400 });
    let result = case.add(&at, &conf)?;
    let link = shown(case, &at)?;
    for word in ["mtu 1400", "02:00:5e:10:00:01", "user 1234", "group 2345"] {
        ensure!(link.contains(word), "{word:?} is missing in {link}");
    }
    let told = &result["interfaces"][0];
    ensure_eq!(told["mac"], "02:00:5e:10:00:01", "mac in the result");
    ensure_eq!(told["mtu"], 1400, "mtu in the result");
    Ok(())
}

/// ADD must fail, with the namespace's links as they were.
fn refused_unchanged(case: &Case<'_>, at: &Attachment, conf: &Value) -> Verdict {
    let links = "ip -d -o link | sed 's/qdisc.*//'; ip -o addr";
    let before = case.inside(at, links)?;
    case.cni("ADD", at, conf)?.error()?;
    ensure_eq!(case.inside(at, links)?, before, "links of the container");
    Ok(())
}

fn an_interface_that_is_there_is_left_alone(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.inside(&at, "ip link add eth0 type veth peer name peer0")?;
    refused_unchanged(case, &at, &addressed(case))?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn a_tap_device_that_is_there_is_not_adopted(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.inside(&at, "ip tuntap add dev eth0 mode tap user 7")?;
    refused_unchanged(case, &at, &addressed(case))?;
    refused_unchanged(case, &at, &with(&addressed(case), "owner", 1234))
}

fn a_failed_ipam_leaves_no_device_and_the_next_try_succeeds(case: &Case<'_>) -> Verdict {
    let mut full = addressed(case);
    full["ipam"]["rangeStart"] = "10.77.0.9".into();
    full["ipam"]["rangeEnd"] = "10.77.0.9".into();
    let first = case.sandbox("c1")?;
    case.add(&first, &full)?;
    let at = case.sandbox("c2")?;
    refused_unchanged(case, &at, &full)?;
    case.del(&first, &full)?;
    case.add(&at, &full)?;
    Ok(())
}

fn the_device_is_a_port_of_a_bridge_in_the_container(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.inside(&at, "ip link add br1 type bridge; ip link set br1 up")?;
    let conf = with(&conf(), "bridge", "br1");
    let result = case.add(&at, &conf)?;
    let link = shown(case, &at)?;
    ensure!(link.contains("master br1"), "no port of br1: {link}");
    let checked = with_prev(&conf, &result);
    case.cni("CHECK", &at, &checked)?.silent()?;
    case.inside(&at, "ip link set eth0 nomaster")?;
    case.cni("CHECK", &at, &checked)?.error()?;
    Ok(())
}

fn a_bridge_that_is_missing_is_refused_before_anything_is_made(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    // One of the host's does not count.
    case.sh("ip link add br1 type bridge")?;
    refused_unchanged(case, &at, &with(&addressed(case), "bridge", "br1"))?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}

fn no_program_is_needed(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = with(&with(&addressed(case), "mtu", 1400), "owner", 1234);
    let conf = with(&conf, "mac", "02:00:5e:10:00:01");
    case.sh("mkdir /run/empty")?;
    let added = case.cni("ADD", &at, &conf)?.env("PATH", "/run/empty");
    let result = added.result()?;
    let link = shown(case, &at)?;
    ensure!(link.contains("mtu 1400"), "the device: {link}");
    let checked = with_prev(&conf, &result);
    let check = case.cni("CHECK", &at, &checked)?.env("PATH", "/run/empty");
    check.silent()?;
    let del = case.cni("DEL", &at, &conf)?.env("PATH", "/run/empty");
    del.silent()?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    Ok(())
}

fn has_selinux(case: &Case<'_>) -> Verdict<bool> {
    case.holds("test -e /sys/fs/selinux/enforce")
}

/// The kernel shows nobody the context of a device, but it knows which contexts there are.
fn the_device_has_the_selinux_context(case: &Case<'_>) -> Verdict {
    if !has_selinux(case)? {
        return Err(lacking("SELinux"));
    }
    let at = case.sandbox("c1")?;
    // One that the plugin certainly may take: that of whoever starts it.
    let own = case.sh("tr -d '\\0' < /proc/self/attr/current")?;
    let result = case.add(&at, &with(&conf(), "selinuxContext", own.as_str()))?;
    ensure_eq!(result["interfaces"][0]["name"], "eth0", "interface");
    let other = case.sandbox("c2")?;
    let nonsense = with(&conf(), "selinuxContext", "no:such:context:s0");
    refused_unchanged(case, &other, &nonsense)
}

fn a_context_without_selinux_is_refused(case: &Case<'_>) -> Verdict {
    if has_selinux(case)? {
        return Err(lacking("a host without SELinux"));
    }
    let at = case.sandbox("c1")?;
    let context = "system_u:system_r:container_t:s0";
    let conf = with(&addressed(case), "selinuxContext", context);
    let error = case.cni("ADD", &at, &conf)?.error()?;
    let told = error.to_string().to_lowercase();
    ensure!(told.contains("selinux"), "the error names nothing: {error}");
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    Ok(())
}
