//! `bridge`.

use serde_json::{Value, json};

use crate::attachment::{Attachment, addresses, host_local, reserved, with, with_prev};
use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        BR01,
        the_bridge_is_made_on_demand_and_reused,
        "bridge: creates the bridge if it does not exist"
    ),
    row!(
        Cni,
        BR01,
        something_else_of_that_name_is_refused,
        "bridge: the name must belong to a bridge"
    ),
    row!(
        Cni,
        BR02,
        the_interface_is_a_veth_whose_other_end_is_a_port,
        "SPEC ADD: create the interface CNI_IFNAME inside the container at CNI_NETNS"
    ),
    row!(
        Cni,
        BR02,
        an_interface_that_is_there_is_an_error,
        "SPEC ADD: if an interface of the requested name already exists, the plugin must return with an error"
    ),
    row!(
        Cni,
        BR03,
        the_gateway_address_is_on_the_bridge_and_forwarding_on,
        "bridge: isGateway: assign an IP address to the bridge"
    ),
    row!(
        Cni,
        BR04,
        is_default_gateway_makes_the_default_route,
        "bridge: isDefaultGateway: sets isGateway and makes the assigned IP the default route"
    ),
    row!(
        Cni,
        BR04,
        each_network_of_a_container_brings_a_default_route,
        "bridge: the default routes of two networks, as the kernel keeps them when neither replaces"
    ),
    row!(
        Cni,
        BR05,
        a_default_route_of_ipam_without_gateway_is_no_duplicate,
        "bridge: isDefaultGateway beside an IPAM route 0.0.0.0/0"
    ),
    row!(
        Cni,
        BR06,
        a_different_address_is_refused_unless_forced,
        "bridge: forceAddress: set a new address if the previous one has changed"
    ),
    row!(
        Cni,
        BR07,
        ip_masq_hides_the_container_s_address,
        "bridge: ipMasq: set up IP masquerade for traffic leaving the network"
    ),
    row!(
        Cni,
        BR08,
        ip_masq_works_with_nftables,
        "bridge: ipMasqBackend: nftables"
    ),
    row!(
        Cni,
        BR09,
        del_removes_ip_masq,
        "SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        BR10,
        del_without_a_namespace_removes_ip_masq,
        "SPEC DEL: must complete without error even if some resources are missing; ctr sends CNI_NETNS empty"
    ),
    row!(
        Cni,
        BR10,
        del_after_the_namespace_is_gone_frees_the_address,
        "SPEC DEL: if CNI_NETNS does not exist, plugins should still remove what they can"
    ),
    row!(
        Cni,
        BR11,
        the_mtu_is_set_on_both_ends,
        "bridge: mtu: explicitly set MTU"
    ),
    row!(
        Cni,
        BR11,
        the_mtu_is_reported_in_1_1_0,
        "SPEC 1.1.0 Success: interfaces[].mtu"
    ),
    row!(
        Cni,
        BR12,
        hairpin_mode_is_set,
        "bridge: hairpinMode: set hairpin mode for interfaces on the bridge"
    ),
    row!(
        Cni,
        BR13,
        port_isolation_is_set,
        "bridge: portIsolation: containers on the bridge cannot reach each other"
    ),
    row!(
        Cni,
        BR16,
        macspoofchk_drops_a_foreign_address_and_goes_with_del,
        "bridge: macspoofchk: limit traffic to the MAC of the interface"
    ),
    row!(
        Cni,
        BR18,
        the_mac_comes_from_args_and_runtime_config,
        "CONVENTIONS: mac: CNI_ARGS MAC, args.cni.mac, runtimeConfig.mac"
    ),
    row!(
        Cni,
        BR18,
        args_take_the_place_of_cni_args,
        "CONVENTIONS: CNI_ARGS: if args has an equivalent key, the plugin must ignore the field"
    ),
    row!(
        Cni,
        BR20,
        the_container_interface_can_stay_down,
        "bridge: disableContainerInterface"
    ),
    row!(
        Cni,
        BR21,
        a_bridge_without_ipam_is_added_checked_and_deleted,
        "bridge: ipam is optional for an L2-only network"
    ),
    row!(
        Cni,
        BR22,
        the_result_lists_bridge_host_end_and_container_end,
        "SPEC Success: interfaces: all interfaces created; ips[].interface: index into the list"
    ),
    row!(
        Cni,
        BR23,
        dns_of_the_configuration_wins_only_when_set,
        "SPEC Success: dns; bridge: the configuration's dns over IPAM's"
    ),
    row!(
        Cni,
        BR24,
        a_failed_ipam_leaves_no_interface,
        "SPEC: a failed ADD must not leave what a DEL that never comes would remove"
    ),
    row!(
        Cni,
        BR24,
        a_missing_ipam_plugin_is_an_error,
        "SPEC delegation: the delegate is looked for in CNI_PATH"
    ),
    row!(
        Cni,
        BR26,
        a_missing_namespace_leaves_no_bridge,
        "SPEC errors: no side effects of a refused ADD"
    ),
    row!(
        Cni,
        BR27,
        del_with_a_file_for_a_namespace_frees_the_address,
        "SPEC DEL: must tolerate a namespace that is no more"
    ),
    row!(
        Cni,
        BR28,
        check_passes_on_a_healthy_attachment,
        "SPEC CHECK: probe the status of an existing container"
    ),
    row!(
        Cni,
        BR28,
        check_finds_a_missing_interface,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        BR28,
        check_finds_a_detached_port,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        BR28,
        check_finds_a_missing_address,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        BR29,
        check_finds_missing_masquerading,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        BR29,
        check_finds_hairpin_switched_off,
        "SPEC CHECK: must return an error if a resource is missing or in an invalid state"
    ),
    row!(
        Cni,
        BR31,
        fifty_first_adds_at_once_succeed,
        "SPEC: operations for different containers may run in parallel"
    ),
    row!(
        Cni,
        BR32,
        gc_frees_dead_attachments,
        "SPEC GC: remove resources of attachments that are not in cni.dev/valid-attachments"
    ),
    row!(
        Cni,
        BR33,
        status_notices_a_missing_delegate,
        "SPEC STATUS: error 50: the plugin is not available"
    ),
    row!(
        Cni,
        BR34,
        route_attributes_are_applied,
        "SPEC 1.1.0 Success: routes[]: mtu, advmss, priority, table, scope"
    ),
    row!(
        Cni,
        BR03,
        two_containers_reach_each_other_and_the_gateway,
        "SPEC: a network is a group of endpoints that can communicate amongst each other"
    ),
    row!(
        Cni,
        BR03,
        dual_stack_has_both_addresses,
        "SPEC Success: ips: one address of each range set"
    ),
    row!(
        Cni,
        BR09,
        del_twice_succeeds,
        "SPEC DEL: must accept multiple calls for the same attachment"
    ),
];

pub(super) fn conf(case: &Case<'_>) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br0", "isGateway": true,
        "ipam": host_local(case, "10.77.0.0/24")
    })
}

fn the_bridge_is_made_on_demand_and_reused(case: &Case<'_>) -> Verdict {
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&one, &conf(case))?;
    ensure!(
        case.holds("ip -d link show br0 | grep -q ' bridge '")?,
        "br0 is no bridge"
    );
    let index =
        case.sh("cat /sys/class/net/br0/ifindex 2>/dev/null || ip -o link show br0 | cut -d: -f1")?;
    case.add(&two, &conf(case))?;
    let again =
        case.sh("cat /sys/class/net/br0/ifindex 2>/dev/null || ip -o link show br0 | cut -d: -f1")?;
    ensure_eq!(again, index, "index of br0");
    ensure_eq!(
        case.sh("ip -o link show master br0 | wc -l")?,
        "2",
        "ports of br0"
    );
    Ok(())
}

fn something_else_of_that_name_is_refused(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.sh("ip link add br0 type veth peer name br0p")?;
    case.cni("ADD", &at, &conf(case))?.error()?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    Ok(())
}

fn the_interface_is_a_veth_whose_other_end_is_a_port(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    let inside = case.inside(&at, "ip -d -o link show eth0")?;
    ensure!(
        inside.contains("veth") && inside.contains("UP"),
        "eth0: {inside}"
    );
    ensure!(
        case.inside(&at, "ip -4 -o addr show eth0")?
            .contains("10.77.0.2/24"),
        "address"
    );
    let host = case.sh("ip -d -o link show master br0")?;
    ensure!(
        host.contains("veth") && host.contains("state UP"),
        "host end: {host}"
    );
    Ok(())
}

fn an_interface_that_is_there_is_an_error(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    let other = Attachment {
        id: "c2".into(),
        ..at.clone()
    };
    case.cni("ADD", &other, &conf(case))?.error()?;
    ensure!(
        case.inside(&at, "ip -4 -o addr show eth0")?
            .contains("10.77.0.2/24"),
        "the first one"
    );
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    Ok(())
}

fn the_gateway_address_is_on_the_bridge_and_forwarding_on(case: &Case<'_>) -> Verdict {
    case.sh("echo 0 > /proc/sys/net/ipv4/ip_forward")?;
    case.add(&case.sandbox("c1")?, &conf(case))?;
    ensure!(
        case.sh("ip -4 -o addr show br0")?.contains("10.77.0.1/24"),
        "gateway address"
    );
    ensure_eq!(
        case.sh("cat /proc/sys/net/ipv4/ip_forward")?,
        "1",
        "ip_forward"
    );
    Ok(())
}

fn is_default_gateway_makes_the_default_route(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &with(&conf(case), "isDefaultGateway", true))?;
    let routes = case.inside(&at, "ip -4 route show default")?;
    ensure!(
        routes.starts_with("default via 10.77.0.1 dev eth0"),
        "routes: {routes}"
    );
    Ok(())
}

/// In IPv4 the later one comes first, in IPv6 they are one route over both gateways.
fn each_network_of_a_container_brings_a_default_route(case: &Case<'_>) -> Verdict {
    let first = case.sandbox("c1")?;
    let second = Attachment {
        ifname: "eth1".into(),
        ..first.clone()
    };
    for (at, number) in [(&first, 77), (&second, 78)] {
        let mut conf = with(&conf(case), "bridge", format!("br{number}"));
        conf["name"] = format!("net{number}").into();
        conf["ipam"] = json!({
            "type": "host-local", "dataDir": case.path("reservations"),
            "ranges": [[{ "subnet": format!("10.{number}.0.0/24") }],
                       [{ "subnet": format!("fd{number}::/64") }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]
        });
        case.add(at, &conf)?;
    }
    let v4 = case.inside(&first, "ip -4 route show default")?;
    let lines: Vec<&str> = v4.lines().map(str::trim).collect();
    ensure_eq!(
        lines,
        [
            "default via 10.78.0.1 dev eth1",
            "default via 10.77.0.1 dev eth0"
        ],
        "IPv4"
    );
    let v6 = case.inside(&first, "ip -6 route show default")?;
    for hop in ["via fd77::1 dev eth0", "via fd78::1 dev eth1"] {
        ensure!(v6.contains(hop), "IPv6: {v6}");
    }
    Ok(())
}

fn a_default_route_of_ipam_without_gateway_is_no_duplicate(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = with(&conf(case), "isDefaultGateway", true);
    conf["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }]);
    case.add(&at, &conf)?;
    ensure_eq!(
        case.inside(&at, "ip -4 route show default | wc -l")?,
        "1",
        "default routes"
    );
    Ok(())
}

fn a_different_address_is_refused_unless_forced(case: &Case<'_>) -> Verdict {
    case.sh(
        "ip link add br0 type bridge && ip addr add 10.99.0.1/24 dev br0 && ip link set br0 up",
    )?;
    let at = case.sandbox("c1")?;
    case.cni("ADD", &at, &conf(case))?.error()?;
    ensure_eq!(reserved(case, "net")?, Vec::<String>::new(), "reservations");
    let other = case.sandbox("c2")?;
    case.add(&other, &with(&conf(case), "forceAddress", true))?;
    let addresses = case.sh("ip -4 -o addr show br0")?;
    ensure!(
        addresses.contains("10.77.0.1") && !addresses.contains("10.99.0.1"),
        "{addresses}"
    );
    Ok(())
}

/// Whether the container reaches a peer of the host that has no route back: only if the host
/// puts its own address into the packets.
pub(super) fn reaches_a_peer_without_a_route(case: &Case<'_>, at: &Attachment) -> Verdict<bool> {
    case.sh(
        "ip netns add peer; ip link add up0 type veth peer name up1 netns peer
         ip addr add 192.0.2.1/24 dev up0; ip link set up0 up
         nsenter --net=/run/netns/peer sh -c 'ip addr add 192.0.2.2/24 dev up1; ip link set up1 up'",
    )?;
    case.holds_inside(
        at,
        "for i in 1 2 3; do busybox ping -c1 -W1 192.0.2.2 && exit 0; done; exit 1",
    )
}

fn ip_masq_hides_the_container_s_address(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let plain = with(&conf(case), "isDefaultGateway", true);
    let masq = with(&plain, "ipMasq", true);
    case.add(&at, &masq)?;
    ensure!(
        reaches_a_peer_without_a_route(case, &at)?,
        "traffic is not masqueraded"
    );
    Ok(())
}

fn ip_masq_works_with_nftables(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let masq = with(&with(&conf(case), "isDefaultGateway", true), "ipMasq", true);
    case.add(&at, &with(&masq, "ipMasqBackend", "nftables"))?;
    let iptables = case.sh("iptables-save -t nat 2>/dev/null")?;
    ensure!(
        !iptables.contains("MASQUERADE"),
        "iptables' own rules:\n{iptables}"
    );
    ensure!(
        reaches_a_peer_without_a_route(case, &at)?,
        "traffic is not masqueraded"
    );
    Ok(())
}

/// Rules that speak of the container, in all tools.
pub(super) fn rules_about(case: &Case<'_>, id: &str) -> Verdict<String> {
    case.sh(&format!(
        "{{ iptables-save; ip6tables-save; nft list ruleset; }} 2>/dev/null | grep -w {id} || :"
    ))
}

/// DEL in this way after an ADD with ipMasq; then no rule speaks of the container.
pub(super) fn masq_goes_with(
    case: &Case<'_>,
    conf: &Value,
    unmade: impl Fn(&Attachment) -> Verdict<Attachment>,
) -> Verdict {
    let at = case.sandbox("container77")?;
    let masq = with(conf, "ipMasq", true);
    let result = case.add(&at, &masq)?;
    ensure!(
        !rules_about(case, "container77")?.is_empty(),
        "no rule carries the container's id"
    );
    case.del(&unmade(&at)?, &with_prev(&masq, &result))?;
    ensure_eq!(rules_about(case, "container77")?, "", "rules left");
    ensure_eq!(
        reserved(case, "net")?,
        Vec::<String>::new(),
        "reservations left"
    );
    Ok(())
}

fn del_removes_ip_masq(case: &Case<'_>) -> Verdict {
    masq_goes_with(case, &conf(case), |at| Ok(at.clone()))
}

fn del_without_a_namespace_removes_ip_masq(case: &Case<'_>) -> Verdict {
    masq_goes_with(case, &conf(case), |at| {
        Ok(Attachment {
            netns: String::new(),
            ..at.clone()
        })
    })
}

fn del_after_the_namespace_is_gone_frees_the_address(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    case.sh("ip netns del c1")?;
    case.del(&at, &conf(case))?;
    ensure_eq!(
        reserved(case, "net")?,
        Vec::<String>::new(),
        "reservations left"
    );
    Ok(())
}

fn the_mtu_is_set_on_both_ends(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &with(&conf(case), "mtu", 1400))?;
    ensure!(
        case.inside(&at, "ip -o link show eth0")?
            .contains("mtu 1400"),
        "inside"
    );
    ensure!(
        case.sh("ip -o link show master br0")?.contains("mtu 1400"),
        "host end"
    );
    ensure!(
        case.sh("ip -o link show br0")?.contains("mtu 1400"),
        "bridge"
    );
    Ok(())
}

fn the_mtu_is_reported_in_1_1_0(case: &Case<'_>) -> Verdict {
    let conf = with(&with(&conf(case), "mtu", 1400), "cniVersion", "1.1.0");
    let result = case.add(&case.sandbox("c1")?, &conf)?;
    ensure_eq!(
        result["interfaces"][2]["mtu"],
        1400,
        "mtu of the container's end in {result}"
    );
    Ok(())
}

fn hairpin_mode_is_set(case: &Case<'_>) -> Verdict {
    case.add(
        &case.sandbox("c1")?,
        &with(&conf(case), "hairpinMode", true),
    )?;
    ensure!(
        case.sh("ip -d -o link show master br0")?
            .contains("hairpin on"),
        "hairpin is off"
    );
    Ok(())
}

fn port_isolation_is_set(case: &Case<'_>) -> Verdict {
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    let isolated = with(&conf(case), "portIsolation", true);
    case.add(&one, &isolated)?;
    case.add(&two, &isolated)?;
    ensure!(
        case.holds_inside(&one, "busybox ping -c1 -W1 10.77.0.1")?,
        "the gateway is out of reach"
    );
    ensure!(
        !case.holds_inside(&one, "busybox ping -c1 -W1 10.77.0.3")?,
        "the neighbour is in reach"
    );
    Ok(())
}

fn macspoofchk_drops_a_foreign_address_and_goes_with_del(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let checked = with(&conf(case), "macspoofchk", true);
    let result = case.add(&at, &checked)?;
    ensure!(
        case.holds_inside(&at, "busybox ping -c1 -W1 10.77.0.1")?,
        "honest traffic is dropped"
    );
    case.inside(&at, "ip link set eth0 address 02:00:00:00:00:99")?;
    ensure!(
        !case.holds_inside(&at, "busybox ping -c1 -W1 10.77.0.1")?,
        "a forged address passes"
    );
    case.del(&at, &with_prev(&checked, &result))?;
    ensure!(
        !case.sh("nft list ruleset")?.contains("c1-eth0"),
        "rules left"
    );
    Ok(())
}

fn args_take_the_place_of_cni_args(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let args = json!({ "cni": { "mac": "02:00:00:00:00:02" } });
    let call = case.cni("ADD", &at, &with(&conf(case), "args", args))?;
    call.env("CNI_ARGS", "IgnoreUnknown=1;MAC=02:00:00:00:00:01")
        .result()?;
    let link = case.inside(&at, "ip -o link show eth0")?;
    ensure!(link.contains("02:00:00:00:00:02"), "{link}");
    Ok(())
}

fn the_mac_comes_from_args_and_runtime_config(case: &Case<'_>) -> Verdict {
    let mac = |n: u8| format!("02:00:00:00:00:0{n}");
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.cni("ADD", &one, &conf(case))?
        .env("CNI_ARGS", &format!("IgnoreUnknown=1;MAC={}", mac(1)))
        .result()?;
    ensure!(
        case.inside(&one, "ip -o link show eth0")?.contains(&mac(1)),
        "CNI_ARGS"
    );
    let mut both = with(&conf(case), "args", json!({ "cni": { "mac": mac(2) } }));
    both["runtimeConfig"] = json!({ "mac": mac(3) });
    let result = case.add(&two, &both)?;
    ensure!(
        case.inside(&two, "ip -o link show eth0")?.contains(&mac(3)),
        "runtimeConfig"
    );
    ensure_eq!(result["interfaces"][2]["mac"], mac(3), "mac in the result");
    Ok(())
}

fn the_container_interface_can_stay_down(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br0",
        "disableContainerInterface": true
    });
    case.add(&at, &conf)?;
    ensure!(
        !case.inside(&at, "ip -o link show eth0")?.contains("UP"),
        "eth0 is up"
    );
    Ok(())
}

fn a_bridge_without_ipam_is_added_checked_and_deleted(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let conf = json!({ "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br0" });
    let result = case.add(&at, &conf)?;
    ensure!(
        case.inside(&at, "ip -o link show eth0")?.contains("UP"),
        "eth0 is down"
    );
    case.cni("CHECK", &at, &with_prev(&conf, &result))?
        .silent()?;
    case.del(&at, &with_prev(&conf, &result))
}

fn the_result_lists_bridge_host_end_and_container_end(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let result = case.add(&at, &conf(case))?;
    let interfaces = result["interfaces"].as_array().cloned().unwrap_or_default();
    ensure_eq!(interfaces.len(), 3, "interfaces of {result}");
    ensure_eq!(interfaces[0]["name"], "br0", "first");
    let host = interfaces[1]["name"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    ensure!(
        case.sh("ip -o link show master br0")?.contains(&host),
        "second is no port: {host}"
    );
    ensure_eq!(interfaces[2]["name"], "eth0", "third");
    ensure_eq!(
        interfaces[2]["sandbox"],
        at.netns.as_str(),
        "sandbox of the third"
    );
    ensure_eq!(result["ips"][0]["interface"], 2, "index of the address");
    let mac = case.inside(
        &at,
        "ip -o link show eth0 | sed 's/.*ether \\([^ ]*\\).*/\\1/'",
    )?;
    ensure_eq!(interfaces[2]["mac"], mac, "mac of the third");
    Ok(())
}

fn dns_of_the_configuration_wins_only_when_set(case: &Case<'_>) -> Verdict {
    std::fs::write(
        case.path("resolv.conf"),
        "nameserver 192.0.2.53\nsearch from.ipam\n",
    )?;
    let mut conf = conf(case);
    conf["ipam"]["resolvConf"] = case.path("resolv.conf").into();
    let result = case.add(&case.sandbox("c1")?, &conf)?;
    ensure_eq!(
        result["dns"]["nameservers"],
        json!(["192.0.2.53"]),
        "IPAM's dns in {result}"
    );
    let conf = with(&conf, "dns", json!({ "nameservers": ["192.0.2.54"] }));
    let result = case.add(&case.sandbox("c2")?, &conf)?;
    ensure_eq!(
        result["dns"]["nameservers"],
        json!(["192.0.2.54"]),
        "own dns in {result}"
    );
    Ok(())
}

fn a_failed_ipam_leaves_no_interface(case: &Case<'_>) -> Verdict {
    let mut full = conf(case);
    full["ipam"]["rangeStart"] = "10.77.0.9".into();
    full["ipam"]["rangeEnd"] = "10.77.0.9".into();
    case.add(&case.sandbox("c1")?, &full)?;
    let at = case.sandbox("c2")?;
    case.cni("ADD", &at, &full)?.error()?;
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    ensure_eq!(
        case.sh("ip -o link show master br0 | wc -l")?,
        "1",
        "ports of br0"
    );
    ensure_eq!(reserved(case, "net")?, ["10.77.0.9"], "reservations");
    Ok(())
}

fn a_missing_ipam_plugin_is_an_error(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = conf(case);
    conf["ipam"]["type"] = "no-such-ipam".into();
    let error = case.cni("ADD", &at, &conf)?.error()?;
    ensure!(
        error.to_string().contains("no-such-ipam"),
        "the error names nothing: {error}"
    );
    ensure!(
        !case.holds_inside(&at, "ip link show eth0")?,
        "eth0 is left"
    );
    Ok(())
}

fn a_missing_namespace_leaves_no_bridge(case: &Case<'_>) -> Verdict {
    let at = Attachment {
        id: "c1".into(),
        netns: "/nonexistent".into(),
        ifname: "eth0".into(),
    };
    case.cni("ADD", &at, &conf(case))?.error()?;
    ensure!(!case.holds("ip link show br0")?, "br0 was made");
    Ok(())
}

fn del_with_a_file_for_a_namespace_frees_the_address(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    case.add(&at, &conf(case))?;
    case.sh("umount /run/netns/c1")?;
    case.del(&at, &conf(case))?;
    ensure_eq!(
        reserved(case, "net")?,
        Vec::<String>::new(),
        "reservations left"
    );
    Ok(())
}

/// CHECK passes, then `damage` is done (on the host or inside), then CHECK must fail.
pub(super) fn noticed(
    case: &Case<'_>,
    conf: &Value,
    damage: impl Fn(&Attachment) -> Verdict<String>,
) -> Verdict {
    let at = case.sandbox("c1")?;
    let checked = with_prev(conf, &case.add(&at, conf)?);
    case.cni("CHECK", &at, &checked)?.silent()?;
    damage(&at)?;
    case.cni("CHECK", &at, &checked)?.error()?;
    Ok(())
}

fn check_passes_on_a_healthy_attachment(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let full = with(&with(&conf(case), "ipMasq", true), "isDefaultGateway", true);
    let result = case.add(&at, &full)?;
    case.cni("CHECK", &at, &with_prev(&full, &result))?
        .silent()?;
    case.cni("CHECK", &at, &full)?.run()?.refuses()?;
    Ok(())
}

fn check_finds_a_missing_interface(case: &Case<'_>) -> Verdict {
    noticed(case, &conf(case), |at| case.inside(at, "ip link del eth0"))
}

fn check_finds_a_detached_port(case: &Case<'_>) -> Verdict {
    noticed(case, &conf(case), |_| {
        case.sh("ip link set $(ip -o link show master br0 | sed 's/.*: \\(.*\\)@.*/\\1/') nomaster")
    })
}

fn check_finds_a_missing_address(case: &Case<'_>) -> Verdict {
    noticed(case, &conf(case), |at| {
        case.inside(at, "ip addr flush dev eth0")
    })
}

fn check_finds_missing_masquerading(case: &Case<'_>) -> Verdict {
    noticed(case, &with(&conf(case), "ipMasq", true), |_| {
        case.sh("nft flush ruleset")
    })
}

fn check_finds_hairpin_switched_off(case: &Case<'_>) -> Verdict {
    noticed(case, &with(&conf(case), "hairpinMode", true), |_| {
        case.sh("ip link set $(ip -o link show master br0 | sed 's/.*: \\(.*\\)@.*/\\1/') type bridge_slave hairpin off")
    })
}

fn fifty_first_adds_at_once_succeed(case: &Case<'_>) -> Verdict {
    let conf = with(&with(&conf(case), "ipMasq", true), "macspoofchk", true);
    let mut calls = Vec::new();
    for number in 0..50 {
        let at = case.sandbox(&format!("c{number}"))?;
        calls.push((case.cni("ADD", &at, &conf)?.invocation().clone(), at));
    }
    let running = calls
        .iter()
        .map(|(call, _)| call.spawn())
        .collect::<Result<Vec<_>, _>>()?;
    let (mut seen, mut results) = (std::collections::BTreeSet::new(), Vec::new());
    for add in running {
        let outcome = add.wait()?.succeeds()?;
        let result: Value = serde_json::from_slice(&outcome.stdout)?;
        seen.extend(addresses(&result));
        results.push(result);
    }
    ensure_eq!(seen.len(), 50, "distinct addresses: {seen:?}");
    // None of them has undone what another relies on.
    for ((_, at), result) in calls.iter().zip(results) {
        case.cni("CHECK", at, &with_prev(&conf, &result))?
            .silent()?;
    }
    Ok(())
}

fn gc_frees_dead_attachments(case: &Case<'_>) -> Verdict {
    let masq = with(&with(&conf(case), "ipMasq", true), "cniVersion", "1.1.0");
    let (alive, dead) = (case.sandbox("alive77")?, case.sandbox("dead77")?);
    case.add(&alive, &masq)?;
    case.add(&dead, &masq)?;
    case.sh("ip netns del dead77")?;
    let valid = json!([{ "containerID": "alive77", "ifname": "eth0" }]);
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    case.cni(
        "GC",
        &nobody,
        &with(&masq, "cni.dev/valid-attachments", valid),
    )?
    .silent()?;
    ensure_eq!(reserved(case, "net")?, ["10.77.0.2"], "reservations");
    ensure_eq!(rules_about(case, "dead77")?, "", "rules of the dead");
    ensure!(
        !rules_about(case, "alive77")?.is_empty(),
        "the rules of the living are gone"
    );
    Ok(())
}

fn status_notices_a_missing_delegate(case: &Case<'_>) -> Verdict {
    let mut conf = with(&conf(case), "cniVersion", "1.1.0");
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    case.cni("STATUS", &nobody, &conf)?.silent()?;
    conf["ipam"]["type"] = "no-such-ipam".into();
    case.cni("STATUS", &nobody, &conf)?.refused_with(&[50])?;
    Ok(())
}

fn route_attributes_are_applied(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = with(&conf(case), "cniVersion", "1.1.0");
    conf["ipam"]["routes"] = json!([{
        "dst": "192.0.2.0/24", "gw": "10.77.0.1", "mtu": 1300, "advmss": 1200,
        "priority": 77, "table": 99
    }, { "dst": "198.51.100.0/24", "gw": "0.0.0.0", "scope": 253 }]);
    case.add(&at, &conf)?;
    let route = case.inside(&at, "ip -4 route show table 99")?;
    ensure!(
        route.contains("192.0.2.0/24") && route.contains("metric 77"),
        "route: {route}"
    );
    ensure!(
        route.contains("mtu 1300") && route.contains("advmss 1200"),
        "route: {route}"
    );
    let scoped = case.inside(&at, "ip -4 route show 198.51.100.0/24")?;
    ensure!(scoped.contains("scope link"), "route: {scoped}");
    Ok(())
}

fn two_containers_reach_each_other_and_the_gateway(case: &Case<'_>) -> Verdict {
    let (one, two) = (case.sandbox("c1")?, case.sandbox("c2")?);
    case.add(&one, &conf(case))?;
    case.add(&two, &conf(case))?;
    for address in ["10.77.0.1", "10.77.0.3"] {
        ensure!(
            case.holds_inside(&one, &format!("busybox ping -c1 -W2 {address}"))?,
            "{address}"
        );
    }
    Ok(())
}

fn dual_stack_has_both_addresses(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let mut conf = with(&conf(case), "isDefaultGateway", true);
    conf["ipam"] = json!({
        "type": "host-local", "dataDir": case.path("reservations"),
        "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd77::/64" }]]
    });
    let result = case.add(&at, &conf)?;
    ensure_eq!(
        addresses(&result),
        ["10.77.0.2/24", "fd77::2/64"],
        "addresses"
    );
    ensure!(
        case.holds_inside(
            &at,
            "for i in 1 2 3 4; do busybox ping -c1 -W1 fd77::1 && exit 0; sleep 0.5; done; exit 1"
        )?,
        "the IPv6 gateway"
    );
    ensure!(
        case.inside(&at, "ip -6 route show default")?
            .contains("via fd77::1"),
        "IPv6 route"
    );
    Ok(())
}

fn del_twice_succeeds(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let masq = with(&conf(case), "ipMasq", true);
    let result = case.add(&at, &masq)?;
    for _ in 0..3 {
        case.del(&at, &with_prev(&masq, &result))?;
    }
    ensure_eq!(
        reserved(case, "net")?,
        Vec::<String>::new(),
        "reservations left"
    );
    let other = case.sandbox("never-added")?;
    case.del(&other, &masq)
}
