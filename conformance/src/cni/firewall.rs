//! `firewall`, with traffic between containers on two bridges and a peer outside.

use std::time::Duration;

use serde_json::{Value, json};

use crate::attachment::{Attachment, with};
use crate::case::Case;
use crate::row::{Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        FW01,
        a_container_talks_outside_though_the_host_drops,
        "firewall: iptables: allows forwarding from and related traffic to the container"
    ),
    row!(
        Cni,
        FW01,
        a_container_talks_outside_over_ipv6,
        "firewall: iptables: both families"
    ),
    row!(
        Cni,
        FW01,
        the_administrator_s_chain_comes_first,
        "firewall: iptablesAdminChainName: the admin chain is consulted before the plugin's rules"
    ),
    row!(
        Cni,
        FW01,
        without_a_previous_result_it_is_an_error,
        "SPEC: a chained plugin needs prevResult"
    ),
    row!(
        Cni,
        FW02,
        containers_of_different_bridges_are_kept_apart,
        "firewall: ingressPolicy: same-bridge"
    ),
    row!(
        Cni,
        FW02,
        containers_of_one_bridge_are_kept_apart,
        "firewall: ingressPolicy: isolated"
    ),
    row!(
        Cni,
        FW03,
        isolation_ends_with_the_last_attachment,
        "SPEC DEL: undo what ADD did: the bridge's rules have no user any more"
    ),
    row!(
        Cni,
        FW03,
        isolation_ends_though_the_first_del_failed,
        "SPEC DEL: may be repeated; what the first call could not remove, the second does"
    ),
    row!(
        Cni,
        FW03,
        another_policy_replaces_the_first,
        "firewall: ingressPolicy: what the configuration says now holds"
    ),
    row!(
        Cni,
        FW04,
        nftables_serves_without_iptables,
        "plugins#461, #519: a native nftables backend, without the iptables programs"
    ),
    row!(
        Cni,
        FW04,
        nftables_passes_a_dropping_forward_chain_of_iptables,
        "plugins#430: Docker's policy DROP; an accept elsewhere does not override a drop"
    ),
    row!(
        Cni,
        FW04,
        nftables_keeps_bridges_apart,
        "firewall: ingressPolicy: whatever the backend"
    ),
    row!(
        Cni,
        FW04,
        nftables_asks_the_administrator_s_chain_first,
        "firewall: iptablesAdminChainName: the admin chain is consulted, whatever the backend"
    ),
    row!(
        Cni,
        FW05,
        the_programs_of_one_family_are_enough,
        "firewall: a host may lack ip6tables, or iptables"
    ),
    row!(
        Cni,
        FW06,
        an_unknown_backend_is_refused_before_any_change,
        "SPEC error 7: invalid network config"
    ),
    row!(
        Cni,
        FW06,
        an_unknown_policy_is_refused_before_any_change,
        "SPEC error 7: invalid network config"
    ),
    row!(
        Cni,
        FW07,
        firewalld_has_the_address_until_del_and_after_a_reload,
        "firewall: firewalld: the address is a source of the zone; plugins#512: reload"
    ),
    row!(
        Cni,
        FW08,
        del_without_a_previous_result_cleans,
        "SPEC DEL: plugins should release as much as they can with missing information"
    ),
    row!(
        Cni,
        FW08,
        a_late_del_spares_who_has_the_address_now,
        "SPEC DEL: an attachment's own resources, and nobody else's"
    ),
    row!(
        Cni,
        FW08,
        del_without_a_record_goes_by_the_previous_result,
        "SPEC DEL: prevResult is given so that a plugin needs no state of its own"
    ),
    row!(
        Cni,
        FW08,
        del_leaves_the_host_as_it_was,
        "SPEC DEL: undo what ADD did, twice if need be"
    ),
    row!(
        Cni,
        FW08,
        gc_removes_the_rules_of_the_dead,
        "SPEC GC: remove resources of attachments that are not valid"
    ),
    row!(
        Cni,
        FW09,
        check_changes_nothing,
        "SPEC CHECK: looks at the attachment"
    ),
    row!(
        Cni,
        FW09,
        check_notices_each_lost_rule_iptables,
        "SPEC CHECK: must return an error if a resource is missing"
    ),
    row!(
        Cni,
        FW09,
        check_notices_each_lost_rule_nftables,
        "SPEC CHECK: must return an error if a resource is missing"
    ),
    row!(
        Cni,
        FW10,
        only_addresses_of_the_interface_are_opened,
        "SPEC: an attachment is one interface; CNI_IFNAME names it"
    ),
    row!(
        Cni,
        FW09,
        status_tells_that_the_backend_is_missing,
        "SPEC STATUS: error 50: the plugin cannot service ADD requests"
    ),
];

/// A container on a bridge, as the plugins before this one would have left it.
struct Member {
    at: Attachment,
    address: String,
    previous: Value,
}

/// The host: two bridges, a peer at 192.0.2.2, forwarding on, frames inside bridges filtered.
fn host(case: &Case<'_>) -> Verdict {
    case.sh(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
         for n in 1 2; do
            ip link add br$n type bridge; ip addr add 10.$n.0.1/24 dev br$n
            ip addr add fd0$n::1/64 dev br$n nodad; ip link set br$n up
         done
         ip netns add peer; ip link add up0 type veth peer name up1 netns peer
         ip addr add 192.0.2.1/24 dev up0; ip addr add fd00:2::1/64 dev up0 nodad
         ip link set up0 up
         nsenter --net=/run/netns/peer sh -ec '
            ip addr add 192.0.2.2/24 dev up1; ip addr add fd00:2::2/64 dev up1 nodad
            ip link set up1 up; ip route add default via 192.0.2.1
            ip route add default via fd00:2::1'",
    )?;
    Ok(())
}

/// A container `id` with host number `number` on bridge 1 or 2.
fn member(case: &Case<'_>, id: &str, bridge: u8, number: u8) -> Verdict<Member> {
    let at = case.sandbox(id)?;
    let (v4, v6) = (
        format!("10.{bridge}.0.{number}"),
        format!("fd0{bridge}::{number}"),
    );
    case.sh(&format!(
        "ip link add v-{id} type veth peer name eth0 netns {id}
         ip link set v-{id} master br{bridge} up
         nsenter --net={} sh -ec '
            ip link set lo up; ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad
            ip link set eth0 up; ip route add default via 10.{bridge}.0.1
            ip route add default via fd0{bridge}::1'",
        at.netns
    ))?;
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [
            { "name": format!("br{bridge}") }, { "name": format!("v-{id}") },
            { "name": "eth0", "sandbox": at.netns }
        ],
        "ips": [
            { "interface": 2, "address": format!("{v4}/24") },
            { "interface": 2, "address": format!("{v6}/64") }
        ]
    });
    Ok(Member {
        at,
        address: v4,
        previous,
    })
}

impl Member {
    fn conf(&self, backend: &str) -> Value {
        json!({
            "cniVersion": "1.0.0", "name": "net", "type": "firewall", "backend": backend,
            "prevResult": self.previous
        })
    }

    fn with_policy(&self, backend: &str, policy: &str) -> Value {
        with(&self.conf(backend), "ingressPolicy", policy)
    }

    /// Whether an echo request is answered.
    fn reaches(&self, case: &Case<'_>, address: &str) -> Verdict<bool> {
        case.holds_inside(
            &self.at,
            &format!("busybox ping -c 1 -W 1 {address} >/dev/null"),
        )
    }
}

const DROP: &str = "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP";
/// The programs make their tables at the first change.
const TABLES: &str = "for c in INPUT FORWARD OUTPUT; do
    iptables -P $c ACCEPT; ip6tables -P $c ACCEPT; done";
const PEER: &str = "192.0.2.2";
const RULES: &str = "{ iptables-save; ip6tables-save; nft list ruleset; } 2>/dev/null";

/// Rows about frames inside a bridge need the kernel to show them to the packet filter.
fn bridged_frames_are_filtered(case: &Case<'_>) -> Verdict {
    let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    needs!(case.holds(&format!("test -e {setting}"))?, "br_netfilter");
    case.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1")?;
    Ok(())
}

/// What is there from the first use on and nobody's in particular: tables, a suite's lock files.
fn warm_up(case: &Case<'_>, one: &Member) -> Verdict {
    case.sh(TABLES)?;
    case.add(&one.at, &one.conf("iptables"))?;
    case.del(&one.at, &one.conf("iptables"))
}

fn a_container_talks_outside_though_the_host_drops(case: &Case<'_>) -> Verdict {
    talks_outside(case, "iptables")
}

fn nftables_passes_a_dropping_forward_chain_of_iptables(case: &Case<'_>) -> Verdict {
    talks_outside(case, "nftables")?;
    let two = member(case, "c2", 1, 3)?;
    case.add(&two.at, &two.conf("nftables"))?;
    // The table is still one that the host's programs can read.
    case.sh("iptables-save -t filter | grep -q 10.1.0.3")?;
    Ok(())
}

fn talks_outside(case: &Case<'_>, backend: &str) -> Verdict {
    host(case)?;
    case.sh(DROP)?;
    let one = member(case, "c1", 1, 2)?;
    ensure!(!one.reaches(case, PEER)?, "the host does not drop");
    let result = case.add(&one.at, &one.conf(backend))?;
    ensure_eq!(result["ips"], one.previous["ips"], "the result passed on");
    ensure!(one.reaches(case, PEER)?, "not forwarded after ADD");
    let inwards = format!(
        "nsenter --net=/run/netns/peer busybox ping -c 1 -W 1 {}",
        one.address
    );
    ensure!(!case.holds(&inwards)?, "anybody may begin to talk to it");
    case.del(&one.at, &one.conf(backend))?;
    ensure!(!one.reaches(case, PEER)?, "still forwarded after DEL");
    Ok(())
}

fn a_container_talks_outside_over_ipv6(case: &Case<'_>) -> Verdict {
    host(case)?;
    case.sh(DROP)?;
    let one = member(case, "c1", 1, 2)?;
    let v6 = "fd00:2::2";
    // Neighbours are found meanwhile.
    let reaches = || -> Verdict<bool> { Ok(one.reaches(case, v6)? || one.reaches(case, v6)?) };
    ensure!(!reaches()?, "the host does not drop");
    case.add(&one.at, &one.conf("iptables"))?;
    ensure!(reaches()?, "not forwarded after ADD");
    Ok(())
}

fn the_administrator_s_chain_comes_first(case: &Case<'_>) -> Verdict {
    host(case)?;
    case.sh("iptables -N SITE; iptables -A SITE -d 192.0.2.2 -j DROP")?;
    let one = member(case, "c1", 1, 2)?;
    let conf = with(&one.conf("iptables"), "iptablesAdminChainName", "SITE");
    ensure!(one.reaches(case, PEER)?, "nothing drops yet");
    case.add(&one.at, &conf)?;
    ensure!(!one.reaches(case, PEER)?, "the administrator is not asked");
    case.del(&one.at, &conf)?;
    ensure!(
        case.holds("iptables -C SITE -d 192.0.2.2 -j DROP")?,
        "the administrator's rule is gone"
    );
    Ok(())
}

/// Family and name of each table that has the administrator's chain and can compare 192.0.2.2.
const ADMINS: &str = r#"nft list ruleset | awk '
    $1 == "table" { t = $2 " " $3 } $1 == "chain" && $2 == "CNI-ADMIN" && t !~ /^ip6/ { print t }'"#;

fn nftables_asks_the_administrator_s_chain_first(case: &Case<'_>) -> Verdict {
    host(case)?;
    case.sh(DROP)?;
    let (one, two) = (member(case, "c1", 1, 2)?, member(case, "c2", 1, 3)?);
    case.add(&one.at, &one.conf("nftables"))?;
    let tables = case.sh(ADMINS)?;
    let own = tables.lines().any(|table| !table.starts_with("ip "));
    ensure!(own, "no chain of the administrator's beside iptables'");
    for table in tables.lines() {
        let chain = format!("{table} CNI-ADMIN");
        ensure!(one.reaches(case, PEER)?, "not forwarded");
        case.sh(&format!("nft add rule {chain} ip daddr {PEER} drop"))?;
        ensure!(!one.reaches(case, PEER)?, "{chain} is not asked");
        // Neither another ADD nor the last DEL takes it.
        case.add(&two.at, &two.conf("nftables"))?;
        for at in [&two, &one] {
            case.del(&at.at, &at.conf("nftables"))?;
        }
        let rules = case.sh(&format!("nft list chain {chain}"))?;
        ensure!(rules.contains("drop"), "after DEL: {rules}");
        case.add(&one.at, &one.conf("nftables"))?;
        ensure!(!one.reaches(case, PEER)?, "{chain} after another ADD");
        case.sh(&format!("nft flush chain {chain}"))?;
    }
    Ok(())
}

fn without_a_previous_result_it_is_an_error(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let before = case.snapshot()?;
    let conf = json!({ "cniVersion": "1.0.0", "name": "net", "type": "firewall" });
    case.cni("ADD", &at, &conf)?.error()?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "changed:\n{}", difference.join("\n"));
    Ok(())
}

/// Two containers on one bridge and a third on another, attached with a policy.
fn three(case: &Case<'_>, backend: &str, policy: &str) -> Verdict<[Member; 3]> {
    host(case)?;
    let members = [
        member(case, "c1", 1, 2)?,
        member(case, "c2", 1, 3)?,
        member(case, "c3", 2, 2)?,
    ];
    for one in &members {
        case.add(&one.at, &one.with_policy(backend, policy))?;
    }
    Ok(members)
}

fn bridges_are_apart(case: &Case<'_>, [one, two, three]: &[Member; 3]) -> Verdict {
    ensure!(
        one.reaches(case, &two.address)?,
        "not reached on its own bridge"
    );
    ensure!(
        !one.reaches(case, &three.address)?,
        "reached on the other bridge"
    );
    ensure!(!three.reaches(case, &one.address)?, "reached the other way");
    ensure!(one.reaches(case, PEER)?, "nobody outside is reached");
    Ok(())
}

fn containers_of_different_bridges_are_kept_apart(case: &Case<'_>) -> Verdict {
    bridges_are_apart(case, &three(case, "iptables", "same-bridge")?)
}

fn nftables_keeps_bridges_apart(case: &Case<'_>) -> Verdict {
    let members = three(case, "nftables", "same-bridge")?;
    bridges_are_apart(case, &members)?;
    for one in &members {
        case.del(&one.at, &one.with_policy("nftables", "same-bridge"))?;
    }
    ensure!(
        members[0].reaches(case, &members[2].address)?,
        "kept apart after DEL"
    );
    Ok(())
}

fn containers_of_one_bridge_are_kept_apart(case: &Case<'_>) -> Verdict {
    bridged_frames_are_filtered(case)?;
    let [one, two, three] = three(case, "iptables", "isolated")?;
    ensure!(
        !one.reaches(case, &two.address)?,
        "reached on its own bridge"
    );
    ensure!(
        !one.reaches(case, &three.address)?,
        "reached on the other bridge"
    );
    ensure!(one.reaches(case, PEER)?, "nobody outside is reached");
    Ok(())
}

fn isolation_ends_with_the_last_attachment(case: &Case<'_>) -> Verdict {
    let [one, two, three] = three(case, "iptables", "same-bridge")?;
    case.del(&one.at, &one.with_policy("iptables", "same-bridge"))?;
    ensure!(
        !three.reaches(case, &two.address)?,
        "the first to leave ended it for the other"
    );
    case.del(&two.at, &two.with_policy("iptables", "same-bridge"))?;
    let left = case.sh("{ iptables-save; nft list ruleset; } | grep -w br1 || :")?;
    ensure_eq!(left, "", "rules about the bridge");
    case.del(&three.at, &three.with_policy("iptables", "same-bridge"))?;
    let left = case.sh(&format!("{RULES} | grep -i isolation || :"))?;
    ensure_eq!(left, "", "rules about isolation");
    Ok(())
}

fn isolation_ends_though_the_first_del_failed(case: &Case<'_>) -> Verdict {
    host(case)?;
    let (one, two) = (member(case, "c1", 1, 2)?, member(case, "c2", 2, 2)?);
    for member in [&one, &two] {
        case.add(&member.at, &member.with_policy("iptables", "same-bridge"))?;
    }
    let rules = "iptables-save | grep -w br1 || :";
    ensure!(
        !case.sh(rules)?.is_empty(),
        "no rules about the bridge after ADD"
    );
    let broken = case.path("broken");
    case.sh(&format!(
        "printf '#!/bin/sh\nexit 4\n' >{broken}; chmod +x {broken}
         mount --bind {broken} $(readlink -f /usr/sbin/iptables-restore)"
    ))?;
    let conf = one.with_policy("iptables", "same-bridge");
    case.cni("DEL", &one.at, &conf)?.error()?;
    case.sh("umount $(readlink -f /usr/sbin/iptables-restore)")?;
    case.del(&one.at, &conf)?;
    ensure_eq!(case.sh(rules)?, "", "rules about the bridge");
    let left = case.sh("iptables-save | grep -cw br2")?;
    ensure!(
        !left.trim().starts_with('0'),
        "the other bridge's rules are gone"
    );
    Ok(())
}

fn another_policy_replaces_the_first(case: &Case<'_>) -> Verdict {
    bridged_frames_are_filtered(case)?;
    let [one, two, _three] = three(case, "iptables", "isolated")?;
    ensure!(!one.reaches(case, &two.address)?, "isolated, and reached");
    for member in [&one, &two] {
        case.add(&member.at, &member.with_policy("iptables", "same-bridge"))?;
    }
    ensure!(
        one.reaches(case, &two.address)?,
        "the old policy still holds"
    );
    Ok(())
}

/// Takes the programs whose names match out of /usr/sbin.
fn hide(case: &Case<'_>, names: &str) -> Verdict {
    let (all, some) = (case.path("all"), case.path("some"));
    case.sh(&format!(
        "mkdir -p {all}; mountpoint -q {all} || mount --bind /usr/sbin {all}
         rm -rf {some}; mkdir {some}; cp -rs {all}/. {some}
         rm -f {some}/{names}; mount --bind {some} /usr/sbin"
    ))?;
    Ok(())
}

fn nftables_serves_without_iptables(case: &Case<'_>) -> Verdict {
    host(case)?;
    let one = member(case, "c1", 1, 2)?;
    hide(case, "ip*tables*")?;
    let conf = with(&one.conf("nftables"), "cniVersion", "1.1.0");
    case.cni("STATUS", &one.at, &conf)?.silent()?;
    case.add(&one.at, &conf)?;
    let rules = "nft list ruleset | grep -F 10.1.0.2 || :";
    ensure!(!case.sh(rules)?.is_empty(), "no rule about the container");
    case.cni("CHECK", &one.at, &conf)?.silent()?;
    case.del(&one.at, &conf)?;
    ensure_eq!(case.sh("nft list ruleset")?, "", "rules after DEL");
    Ok(())
}

fn the_programs_of_one_family_are_enough(case: &Case<'_>) -> Verdict {
    host(case)?;
    let one = member(case, "c1", 1, 2)?;
    case.sh("iptables -P FORWARD DROP")?;
    let mut conf = one.conf("iptables");
    conf["prevResult"]["ips"] = json!([one.previous["ips"][0]]);
    hide(case, "ip6tables*")?;
    case.add(&one.at, &conf)?;
    ensure!(one.reaches(case, PEER)?, "not forwarded after ADD");
    case.cni("CHECK", &one.at, &conf)?.silent()?;
    case.del(&one.at, &conf)?;
    ensure!(!one.reaches(case, PEER)?, "still forwarded after DEL");
    case.sh("umount /usr/sbin; ip6tables -P FORWARD DROP")?;
    hide(case, "iptables*")?;
    let mut conf = one.conf("iptables");
    conf["prevResult"]["ips"] = json!([one.previous["ips"][1]]);
    case.add(&one.at, &conf)?;
    let answered = one.reaches(case, "fd00:2::2")? || one.reaches(case, "fd00:2::2")?;
    ensure!(answered, "IPv6 is not forwarded after ADD");
    Ok(())
}

fn refused(case: &Case<'_>, key: &str, value: &str) -> Verdict {
    host(case)?;
    let one = member(case, "c1", 1, 2)?;
    let before = case.snapshot()?;
    let conf = with(&one.conf("iptables"), key, value);
    case.cni("ADD", &one.at, &conf)?.refused_with(&[7])?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "changed:\n{}", difference.join("\n"));
    Ok(())
}

fn an_unknown_backend_is_refused_before_any_change(case: &Case<'_>) -> Verdict {
    refused(case, "backend", "ebtables")
}

fn an_unknown_policy_is_refused_before_any_change(case: &Case<'_>) -> Verdict {
    refused(case, "ingressPolicy", "closed")
}

const A_MINUTE: Duration = Duration::from_secs(60);

/// A bus and a firewalld of the row's own.
fn firewalld(case: &Case<'_>) -> Verdict {
    let installed = case.holds("command -v firewalld && command -v dbus-daemon")?;
    needs!(installed, "firewalld and dbus-daemon");
    let etc = case.path("etc-firewalld");
    let script = format!(
        "mkdir -p /run/dbus {etc}; cp -r /etc/firewalld/. {etc}; mount --bind {etc} /etc/firewalld
         dbus-daemon --system --fork --nopidfile
         (firewalld --nofork --nopid >{etc}.log 2>&1 &)
         for i in $(seq 250); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.2; done
         firewall-cmd --state"
    );
    // A program in Python, beside other rows: it takes seconds before it answers.
    let start = case.host.command(["sh", "-ec", &script]).deadline(A_MINUTE);
    let outcome = case.call(&start)?;
    let log = std::fs::read_to_string(format!("{etc}.log")).unwrap_or_default();
    ensure!(outcome.success(), "firewalld:\n{outcome}\n{log}");
    Ok(())
}

fn firewalld_has_the_address_until_del_and_after_a_reload(case: &Case<'_>) -> Verdict {
    firewalld(case)?;
    host(case)?;
    let one = member(case, "c1", 1, 2)?;
    let query = "firewall-cmd --zone=trusted --query-source=10.1.0.2/32";
    let permanent = "firewall-cmd --permanent --zone=trusted --list-sources";
    let conf = one.conf("");
    case.add(&one.at, &conf)?;
    ensure!(case.holds(query)?, "no source of the zone after ADD");
    case.cni("CHECK", &one.at, &conf)?.silent()?;
    ensure!(one.reaches(case, PEER)?, "not forwarded after ADD");
    case.sh("firewall-cmd --reload")?;
    ensure!(case.holds(query)?, "no source of the zone after a reload");
    ensure!(one.reaches(case, PEER)?, "not forwarded after a reload");
    case.sh("firewall-cmd --zone=trusted --remove-source=10.1.0.2/32")?;
    case.cni("CHECK", &one.at, &conf)?.error()?;
    case.add(&one.at, &conf)?;
    case.del(&one.at, &conf)?;
    ensure!(!case.holds(query)?, "still a source after DEL");
    ensure_eq!(case.sh(permanent)?, "", "permanent sources after DEL");
    case.del(&one.at, &conf)?;
    Ok(())
}

fn del_without_a_previous_result_cleans(case: &Case<'_>) -> Verdict {
    host(case)?;
    let one = member(case, "c1", 1, 2)?;
    for backend in ["iptables", ""] {
        let conf = one.conf(backend);
        case.add(&one.at, &conf)?;
        let about = format!("{RULES} | grep -e 10.1.0.2 -e fd01::2 || :");
        ensure!(!case.sh(&about)?.is_empty(), "no rule about the container");
        let mut bare = conf;
        bare.as_object_mut().map(|conf| conf.remove("prevResult"));
        let mut gone = one.at.clone();
        gone.netns = String::new();
        case.del(&gone, &bare)?;
        ensure_eq!(case.sh(&about)?, "", "rules about the container");
    }
    Ok(())
}

fn del_without_a_record_goes_by_the_previous_result(case: &Case<'_>) -> Verdict {
    host(case)?;
    let one = member(case, "c1", 1, 2)?;
    for backend in ["iptables", "nftables"] {
        let conf = one.with_policy(backend, "same-bridge");
        case.add(&one.at, &conf)?;
        let about = format!("{RULES} | grep -e 10.1.0.2 -e fd01::2 || :");
        ensure!(!case.sh(&about)?.is_empty(), "no rule about the container");
        // Where davit's plugin writes down what it has made; others have no such place.
        case.sh("rm -rf /run/davit-cni/firewall")?;
        case.del(&one.at, &conf)?;
        ensure_eq!(case.sh(&about)?, "", "rules left by {backend}");
    }
    Ok(())
}

fn a_late_del_spares_who_has_the_address_now(case: &Case<'_>) -> Verdict {
    host(case)?;
    case.sh(DROP)?;
    let one = member(case, "c1", 1, 2)?;
    let earlier = Attachment {
        id: "earlier".into(),
        ..one.at.clone()
    };
    case.add(&earlier, &one.conf("iptables"))?;
    case.add(&one.at, &one.conf("iptables"))?;
    for _ in 0..2 {
        case.del(&earlier, &one.conf("iptables"))?;
        ensure!(
            one.reaches(case, PEER)?,
            "somebody else's DEL closed its way"
        );
    }
    Ok(())
}

fn del_leaves_the_host_as_it_was(case: &Case<'_>) -> Verdict {
    host(case)?;
    let (one, two) = (member(case, "c1", 1, 2)?, member(case, "c2", 1, 3)?);
    warm_up(case, &one)?;
    let before = case.snapshot()?;
    for (one, policy) in [(&one, "open"), (&two, "same-bridge")] {
        case.add(&one.at, &one.with_policy("iptables", policy))?;
    }
    for one in [&one, &two, &one] {
        case.del(&one.at, &one.with_policy("iptables", "same-bridge"))?;
    }
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "left:\n{}", difference.join("\n"));
    Ok(())
}

fn gc_removes_the_rules_of_the_dead(case: &Case<'_>) -> Verdict {
    host(case)?;
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    let members = [
        (
            "iptables",
            member(case, "alive", 1, 2)?,
            member(case, "dead", 1, 22)?,
        ),
        (
            "nftables",
            member(case, "alive2", 1, 3)?,
            member(case, "dead2", 1, 33)?,
        ),
    ];
    for (backend, alive, dead) in &members {
        for one in [alive, dead] {
            case.add(&one.at, &with(&one.conf(backend), "cniVersion", "1.1.0"))?;
        }
        let gc = json!({ "cniVersion": "1.1.0", "name": "net", "type": "firewall" });
        let rules = |address: &str| case.sh(&format!("{RULES} | grep -wF {address} || :"));
        let (dead, alive) = (&dead.address, alive);
        // Without a list, refused or not, nothing may go.
        case.cni("GC", &nobody, &gc)?.run()?;
        ensure!(
            !rules(dead)?.is_empty(),
            "removed without a list ({backend})"
        );
        let valid = json!([
            { "containerID": "alive", "ifname": "eth0" },
            { "containerID": "alive2", "ifname": "eth0" }
        ]);
        let gc = with(&gc, "cni.dev/valid-attachments", valid);
        case.cni("GC", &nobody, &gc)?.silent()?;
        ensure_eq!(rules(dead)?, "", "rules of the dead ({backend})");
        ensure!(!rules(&alive.address)?.is_empty(), "the living lost theirs");
    }
    Ok(())
}

fn check_changes_nothing(case: &Case<'_>) -> Verdict {
    host(case)?;
    let one = member(case, "c1", 1, 2)?;
    let conf = one.conf("iptables");
    warm_up(case, &one)?;
    case.sh("iptables -F; iptables -X; ip6tables -F; ip6tables -X")?;
    let before = case.snapshot()?;
    case.cni("CHECK", &one.at, &conf)?.error()?;
    let difference = before.difference(&case.snapshot()?);
    ensure!(difference.is_empty(), "changed:\n{}", difference.join("\n"));
    Ok(())
}

fn check_notices_each_lost_rule_iptables(case: &Case<'_>) -> Verdict {
    each_lost_rule_is_noticed(case, "iptables")
}

fn check_notices_each_lost_rule_nftables(case: &Case<'_>) -> Verdict {
    each_lost_rule_is_noticed(case, "nftables")
}

/// Table, chain and handle of every rule; what only ends a chain is no loss.
const EACH_RULE: &str = r#"nft -a list ruleset | tr -d '"' | awk '
    $1 == "table" { t = $2 " " $3 } $1 == "chain" { c = $2 }
    / # handle / && $1 != "table" && $1 != "chain" && !/ return / { print t, c, "handle", $NF }'"#;

/// Every rule that ADD has made is taken out in turn, and put back by another ADD.
fn each_lost_rule_is_noticed(case: &Case<'_>, backend: &str) -> Verdict {
    host(case)?;
    case.sh(DROP)?;
    let one = member(case, "c1", 1, 2)?;
    let conf = one.with_policy(backend, "same-bridge");
    case.add(&one.at, &conf)?;
    let count = case.sh(EACH_RULE)?.lines().count();
    ensure!(count >= 5, "only {count} rules were made");
    for number in 0..count {
        case.cni("CHECK", &one.at, &conf)?.silent()?;
        let rules = case.sh(EACH_RULE)?;
        let rule = rules.lines().nth(number).unwrap_or_default();
        case.sh(&format!("nft delete rule {rule}"))?;
        let noticed = case.cni("CHECK", &one.at, &conf)?.error();
        noticed.map_err(|Failure(why)| Failure(format!("without {rule}: {why}")))?;
        case.add(&one.at, &conf)?;
    }
    Ok(())
}

fn only_addresses_of_the_interface_are_opened(case: &Case<'_>) -> Verdict {
    host(case)?;
    let one = member(case, "c1", 1, 2)?;
    let mut conf = one.conf("iptables");
    let other = json!({ "name": "eth1", "sandbox": one.at.netns });
    let foreign = json!({ "interface": 3, "address": "10.9.0.9/24" });
    for (list, entry) in [("interfaces", other), ("ips", foreign)] {
        if let Some(list) = conf["prevResult"][list].as_array_mut() {
            list.push(entry);
        }
    }
    case.add(&one.at, &conf)?;
    let rules = |address: &str| case.sh(&format!("{RULES} | grep -F {address} || :"));
    ensure!(
        !rules("10.1.0.2")?.is_empty(),
        "no rule about its own address"
    );
    ensure_eq!(rules("10.9.0.9")?, "", "rules about another interface's");
    Ok(())
}

fn status_tells_that_the_backend_is_missing(case: &Case<'_>) -> Verdict {
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    let conf = |backend: &str| {
        json!({
            "cniVersion": "1.1.0", "name": "net", "type": "firewall", "backend": backend
        })
    };
    case.cni("STATUS", &nobody, &conf("iptables"))?.silent()?;
    case.cni("STATUS", &nobody, &conf("firewalld"))?
        .refused_with(&[50])?;
    hide(case, "ip*tables*")?;
    case.cni("STATUS", &nobody, &conf("iptables"))?
        .refused_with(&[50])?;
    Ok(())
}
