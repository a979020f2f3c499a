//! `tuning`, on a veth pair that the row makes, as bridge or ptp would.

use serde_json::{Value, json};

use crate::attachment::{Attachment, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        TU01,
        sysctls_are_set_by_either_spelling,
        "tuning: sysctl: net.core.somaxconn, net/core/somaxconn; IFNAME is the interface"
    ),
    row!(
        Cni,
        TU01,
        a_dot_in_the_interface_s_name_is_no_separator,
        "sysctl(8): VLAN interfaces are called eth0.100"
    ),
    row!(
        Cni,
        TU02,
        nothing_outside_of_net_is_set,
        "tuning: only sysctls below net, which belong to the namespace"
    ),
    row!(
        Cni,
        TU03,
        the_allow_list_decides,
        "tuning: /etc/cni/tuning/allowlist.conf: one regular expression in a line"
    ),
    row!(
        Cni,
        TU03,
        an_anchored_list_matches_whole_keys,
        "an allow-list that matches anywhere lets more pass than it says"
    ),
    row!(
        Cni,
        TU04,
        a_sysctl_given_twice_is_refused,
        "tuning: duplicated sysctl keys are not allowed"
    ),
    row!(
        Cni,
        TU04,
        a_sysctl_given_in_two_spellings_is_refused,
        "tuning: duplicated sysctl keys are not allowed, however they are spelt"
    ),
    row!(
        Cni,
        TU05,
        attributes_are_set_and_put_back,
        "tuning: mac, mtu, promisc, allmulti; SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        TU05,
        the_queue_s_length_is_set_and_put_back,
        "tuning: txQLen: length of the transmit queue; SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        TU05,
        a_repeated_add_keeps_what_was_first_there,
        "SPEC ADD after a lost DEL: DEL undoes both"
    ),
    row!(
        Cni,
        TU05,
        sysctls_are_put_back_in_a_namespace_that_lives_on,
        "SPEC DEL: undo what ADD did"
    ),
    row!(
        Cni,
        TU05,
        a_backup_of_the_reference_is_restored,
        "upgrade: <dataDir>/<containerID>_<ifname>.json"
    ),
    row!(
        Cni,
        TU05,
        every_version_is_answered,
        "SPEC: the result is in the version of the configuration"
    ),
    row!(
        Cni,
        TU06,
        the_container_s_interface_alone_is_reported,
        "SPEC: the result tells the interface as it is; one of the host may have its name"
    ),
    row!(
        Cni,
        TU07,
        routes_survive_a_new_mac_and_mtu,
        "plugins, podman#3743: the default route is lost after a MAC change"
    ),
    row!(
        Cni,
        TU08,
        the_backup_goes_with_the_namespace,
        "SPEC DEL: must complete, and leave nothing, if the namespace is gone"
    ),
    row!(
        Cni,
        TU08,
        gc_removes_backups_of_the_dead_alone,
        "SPEC GC: remove resources of attachments that are not valid"
    ),
    row!(
        Cni,
        TU09,
        two_entries_of_a_chain_put_back_their_own,
        "SPEC: a plugin may stand in a list twice"
    ),
    row!(
        Cni,
        TU10,
        args_alone_may_carry_sysctls,
        "CONVENTIONS: args.cni; an answer is always one JSON document"
    ),
    row!(
        Cni,
        TU11,
        check_understands_what_the_kernel_says,
        "SPEC CHECK: content while the attachment is as configured"
    ),
    row!(
        Cni,
        TU11,
        check_notices_each_change,
        "SPEC CHECK: must return an error if a resource is in an invalid state"
    ),
    row!(
        Cni,
        TU12,
        a_failure_half_way_puts_everything_back,
        "SPEC ADD: on an error nothing may be left"
    ),
    row!(
        Cni,
        TU12,
        an_answer_nobody_hears_puts_everything_back,
        "SPEC ADD: on an error nothing may be left"
    ),
];

/// An attachment on a veth pair `h-ID` - `eth0`, with an address and routes inside.
fn attached(case: &Case<'_>, id: &str) -> Verdict<(Attachment, Value)> {
    let at = case.sandbox(id)?;
    case.sh(&format!(
        "ip link add h-{id} type veth peer name eth0 netns {id}; ip link set h-{id} up"
    ))?;
    case.inside(
        &at,
        "ip link set eth0 address 02:00:00:00:00:aa up; ip link set lo up
         ip addr add 10.88.0.2/24 dev eth0; ip addr add fd88::2/64 dev eth0 nodad
         ip route add default via 10.88.0.1; ip route add 10.99.0.0/16 via 10.88.0.1 metric 7
         ip -6 route add default via fd88::1; ip -6 route add fd99::/64 via fd88::1 mtu 1300",
    )?;
    let previous = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{ "name": format!("h-{id}") },
                       { "name": "eth0", "mac": "02:00:00:00:00:aa", "sandbox": at.netns }],
        "ips": [{ "address": "10.88.0.2/24", "interface": 1 }]
    });
    Ok((at, previous))
}

/// A configuration whose records are in the row's own directory.
fn conf(case: &Case<'_>, previous: &Value, keys: Value) -> Value {
    let mut conf = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "tuning", "prevResult": previous,
        "dataDir": case.path("tuning")
    });
    for (key, value) in keys.as_object().into_iter().flatten() {
        conf[key] = value.clone();
    }
    conf
}

fn records(case: &Case<'_>) -> Verdict<Vec<String>> {
    let names = case.sh(&format!("ls -A {} 2>/dev/null || :", case.path("tuning")))?;
    Ok(names.lines().map(String::from).collect())
}

fn sysctl(case: &Case<'_>, at: &Attachment, name: &str) -> Verdict<String> {
    case.inside(at, &format!("cat /proc/sys/net/{name}"))
}

/// What is to be put back: address, MTU, queue, flags.
/// Without what the kernel finds out by and by.
fn link(case: &Case<'_>, at: &Attachment) -> Verdict<String> {
    case.inside(
        at,
        "ip -o link show eth0 | sed 's/ state [A-Z]* / /; s/NO-CARRIER,//; s/link-netns.*//'",
    )
}

fn sysctls_are_set_by_either_spelling(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let keys = json!({ "sysctl": {
        "net.ipv4.conf.IFNAME.log_martians": "1", "net/ipv4/conf/IFNAME/arp_filter": "1",
        "net.core.somaxconn": "77", "net/ipv4/ip_default_ttl": "99"
    }});
    let result = case.add(&at, &conf(case, &previous, keys))?;
    ensure_eq!(result["ips"], previous["ips"], "addresses");
    for (name, value) in [
        ("ipv4/conf/eth0/log_martians", "1"),
        ("ipv4/conf/eth0/arp_filter", "1"),
        ("core/somaxconn", "77"),
        ("ipv4/ip_default_ttl", "99"),
    ] {
        ensure_eq!(sysctl(case, &at, name)?, value, "{name}");
    }
    ensure!(
        case.sh("cat /proc/sys/net/ipv4/ip_default_ttl")? != "99",
        "the host's is set"
    );
    Ok(())
}

fn a_dot_in_the_interface_s_name_is_no_separator(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    case.inside(
        &at,
        "ip link set eth0 down; ip link set eth0 name eth0.7; ip link set eth0.7 up",
    )?;
    let at = Attachment {
        ifname: "eth0.7".into(),
        ..at
    };
    let mut previous = previous;
    previous["interfaces"][1]["name"] = "eth0.7".into();
    let keys = json!({ "sysctl": {
        "net.ipv4.conf.IFNAME.log_martians": "1", "net/ipv4/conf/eth0.7/arp_filter": "1"
    }});
    case.add(&at, &conf(case, &previous, keys))?;
    for name in ["log_martians", "arp_filter"] {
        ensure_eq!(
            sysctl(case, &at, &format!("ipv4/conf/eth0.7/{name}"))?,
            "1",
            "{name}"
        );
    }
    Ok(())
}

fn nothing_outside_of_net_is_set(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = case.sh("cat /proc/sys/kernel/domainname /proc/sys/fs/pipe-max-size")?;
    for key in [
        "kernel.domainname",
        "kernel/domainname",
        "net/../kernel/domainname",
        "net/ipv4/../../kernel/domainname",
        "net...kernel.domainname",
        "../kernel/domainname",
        "fs.pipe-max-size",
    ] {
        let keys = json!({ "sysctl": { key: "4096" } });
        case.cni("ADD", &at, &conf(case, &previous, keys))?
            .error()?;
        let after = case.sh("cat /proc/sys/kernel/domainname /proc/sys/fs/pipe-max-size")?;
        ensure_eq!(after, before, "{key}");
    }
    Ok(())
}

/// Writes the allow-list where nobody but this row sees it.
fn allow(case: &Case<'_>, list: &str) -> Verdict {
    std::fs::write(case.path("list"), list)?;
    case.sh(&format!(
        "mountpoint -q /etc || mount -t tmpfs tmpfs /etc
         mkdir -p /etc/cni/tuning; cp {} /etc/cni/tuning/allowlist.conf",
        case.path("list")
    ))?;
    Ok(())
}

fn is_allowed(case: &Case<'_>, (at, previous): &(Attachment, Value), key: &str) -> Verdict<bool> {
    let conf = conf(case, previous, json!({ "sysctl": { key: "1" } }));
    let outcome = case.cni("ADD", at, &conf)?.run()?;
    if outcome.success() {
        case.del(at, &conf)?;
        return Ok(true);
    }
    let says = outcome
        .text()
        .contains("is not allowed. Only the following sysctls are allowed");
    ensure!(says, "another error than the list's:\n{outcome}");
    Ok(false)
}

fn the_allow_list_decides(case: &Case<'_>) -> Verdict {
    let one = attached(case, "c1")?;
    let (martians, filter) = (
        "net.ipv4.conf.IFNAME.log_martians",
        "net.ipv4.conf.all.arp_filter",
    );
    allow(
        case,
        "\n  ^net\\.ipv4\\.conf\\.[a-zA-Z0-9]+\\.log_\\w+$  \n\n^net.core\n",
    )?;
    ensure!(
        is_allowed(case, &one, martians)?,
        "{martians} is on the list"
    );
    ensure!(
        is_allowed(case, &one, "net/core/somaxconn")?,
        "somaxconn is on the list"
    );
    ensure!(
        !is_allowed(case, &one, filter)?,
        "{filter} is not on the list"
    );
    allow(case, "conf")?;
    ensure!(is_allowed(case, &one, filter)?, "a line matches anywhere");
    allow(case, "")?;
    ensure!(
        !is_allowed(case, &one, martians)?,
        "an empty list allows nothing"
    );
    case.sh("rm /etc/cni/tuning/allowlist.conf")?;
    ensure!(
        is_allowed(case, &one, martians)?,
        "without a list all are allowed"
    );
    Ok(())
}

fn an_anchored_list_matches_whole_keys(case: &Case<'_>) -> Verdict {
    let one = attached(case, "c1")?;
    allow(
        case,
        "#anchored\nnet.ipv4.conf.all.arp_filter\nnet.ipv4.conf.[a-z]*.log_martians|x\n",
    )?;
    ensure!(
        is_allowed(case, &one, "net.ipv4.conf.all.arp_filter")?,
        "the whole key"
    );
    ensure!(
        is_allowed(case, &one, "net.ipv4.conf.all.log_martians")?,
        "one of two"
    );
    allow(case, "#anchored\nipv4.conf\n")?;
    ensure!(
        !is_allowed(case, &one, "net.ipv4.conf.all.arp_filter")?,
        "a part of the key"
    );
    Ok(())
}

fn is_refused_and_unset(case: &Case<'_>, sysctls: &str) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let text = conf(case, &previous, json!({ "sysctl": "SYSCTLS" })).to_string();
    let text = text.replace("\"SYSCTLS\"", sysctls);
    let call = case.cni("ADD", &at, &json!({ "type": "tuning" }))?;
    call.raw_stdin(text).refused_with(&[7])?;
    ensure_eq!(
        sysctl(case, &at, "ipv4/conf/eth0/log_martians")?,
        "0",
        "log_martians"
    );
    ensure_eq!(records(case)?, [""; 0], "records");
    Ok(())
}

fn a_sysctl_given_twice_is_refused(case: &Case<'_>) -> Verdict {
    let key = "net.ipv4.conf.eth0.log_martians";
    is_refused_and_unset(case, &format!("{{\"{key}\":\"1\",\"{key}\":\"1\"}}"))
}

fn a_sysctl_given_in_two_spellings_is_refused(case: &Case<'_>) -> Verdict {
    is_refused_and_unset(
        case,
        r#"{"net.ipv4.conf.IFNAME.log_martians":"1","net/ipv4/conf/eth0/log_martians":"0"}"#,
    )
}

fn attributes() -> Value {
    json!({ "mac": "02:00:00:00:00:01", "mtu": 1400, "promisc": true, "allmulti": true })
}

fn attributes_are_set_and_put_back(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = link(case, &at)?;
    let conf = conf(case, &previous, attributes());
    let result = case.add(&at, &conf)?;
    let tuned = link(case, &at)?;
    for part in ["02:00:00:00:00:01", "mtu 1400", "PROMISC", "ALLMULTI"] {
        ensure!(tuned.contains(part), "no {part} in {tuned}");
    }
    ensure_eq!(records(case)?.len(), 1, "records after ADD");
    case.del(&at, &with_prev(&conf, &result))?;
    ensure_eq!(link(case, &at)?, before, "the link after DEL");
    ensure_eq!(records(case)?, [""; 0], "records after DEL");
    case.del(&at, &with_prev(&conf, &result))
}

fn the_queue_s_length_is_set_and_put_back(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = link(case, &at)?;
    let conf = conf(case, &previous, json!({ "txQLen": 77 }));
    let result = case.add(&at, &conf)?;
    ensure!(link(case, &at)?.contains("qlen 77"), "txQLen");
    let conf = with_prev(&conf, &result);
    case.cni("CHECK", &at, &conf)?.silent()?;
    case.del(&at, &conf)?;
    ensure_eq!(link(case, &at)?, before, "the link after DEL");
    Ok(())
}

fn a_repeated_add_keeps_what_was_first_there(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = link(case, &at)?;
    let conf = conf(case, &previous, attributes());
    case.add(&at, &conf)?;
    let result = case.add(&at, &conf)?;
    case.del(&at, &with_prev(&conf, &result))?;
    ensure_eq!(link(case, &at)?, before, "the link after DEL");
    ensure_eq!(records(case)?, [""; 0], "records after DEL");
    Ok(())
}

fn sysctls_are_put_back_in_a_namespace_that_lives_on(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let keys = json!({ "sysctl": {
        "net.ipv4.conf.IFNAME.log_martians": "1", "net.ipv4.ip_default_ttl": "99",
        "net.ipv4.tcp_rmem": "4096 100000 200000"
    }});
    let all = "cat /proc/sys/net/ipv4/conf/eth0/log_martians /proc/sys/net/ipv4/ip_default_ttl \
               /proc/sys/net/ipv4/tcp_rmem";
    let before = case.inside(&at, all)?;
    let conf = conf(case, &previous, keys);
    let result = case.add(&at, &conf)?;
    ensure!(case.inside(&at, all)? != before, "ADD changes nothing");
    case.del(&at, &with_prev(&conf, &result))?;
    ensure_eq!(case.inside(&at, all)?, before, "after DEL");
    Ok(())
}

fn a_backup_of_the_reference_is_restored(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = link(case, &at)?;
    case.inside(
        &at,
        "ip link set eth0 address 02:00:00:00:00:01 mtu 1400 promisc on allmulticast on",
    )?;
    let backup =
        json!({ "mac": "02:00:00:00:00:aa", "promisc": false, "mtu": 1500, "allmulti": false });
    case.sh(&format!("mkdir {}", case.path("tuning")))?;
    std::fs::write(case.path("tuning/c1_eth0.json"), backup.to_string())?;
    std::fs::write(case.path("tuning/c2_eth0.json"), backup.to_string())?;
    case.del(&at, &conf(case, &previous, attributes()))?;
    ensure_eq!(link(case, &at)?, before, "the link after DEL");
    ensure_eq!(records(case)?, ["c2_eth0.json"], "records after DEL");
    Ok(())
}

fn every_version_is_answered(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    for version in [
        "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
    ] {
        let mut previous = with(&previous, "cniVersion", version);
        if version.starts_with("0.") {
            previous["ips"][0]["version"] = "4".into();
        }
        if ["0.1.0", "0.2.0"].contains(&version) {
            previous = json!({ "cniVersion": version, "ip4": { "ip": "10.88.0.2/24" } });
        }
        let conf = with(&conf(case, &previous, attributes()), "cniVersion", version);
        let result = case.add(&at, &conf)?;
        ensure_eq!(result["cniVersion"], version, "version");
        ensure_eq!(result["ips"], previous["ips"], "addresses in {version}");
        ensure_eq!(result["ip4"], previous["ip4"], "addresses in {version}");
        case.del(&at, &with_prev(&conf, &result))?;
    }
    Ok(())
}

fn the_container_s_interface_alone_is_reported(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let mut previous = previous;
    previous["interfaces"][0] = json!({ "name": "eth0", "mac": "02:00:00:00:00:bb", "mtu": 1500 });
    previous["interfaces"][1]["mtu"] = 1500.into();
    for version in ["1.0.0", "1.1.0"] {
        let previous = with(&previous, "cniVersion", version);
        let conf = with(&conf(case, &previous, attributes()), "cniVersion", version);
        let result = case.add(&at, &conf)?;
        ensure_eq!(
            result["interfaces"][0]["mac"],
            "02:00:00:00:00:bb",
            "mac of the host's"
        );
        ensure_eq!(result["interfaces"][1]["mac"], "02:00:00:00:00:01", "mac");
        if version == "1.1.0" {
            ensure_eq!(result["interfaces"][0]["mtu"], 1500, "mtu of the host's");
            ensure_eq!(result["interfaces"][1]["mtu"], 1400, "mtu");
        }
        case.del(&at, &with_prev(&conf, &result))?;
    }
    Ok(())
}

/// Routes and addresses of both families, but not those that follow from the Ethernet address.
fn routes(case: &Case<'_>, at: &Attachment) -> Verdict<String> {
    case.inside(
        at,
        "ip route show; ip -6 route show | grep -v fe80; ip -o addr show dev eth0 scope global |
         sed 's/valid_lft.*//'",
    )
}

fn routes_survive_a_new_mac_and_mtu(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = routes(case, &at)?;
    ensure!(
        before.contains("default via 10.88.0.1"),
        "no default route in {before}"
    );
    let conf = conf(case, &previous, attributes());
    let result = case.add(&at, &conf)?;
    ensure_eq!(routes(case, &at)?, before, "after ADD");
    case.del(&at, &with_prev(&conf, &result))?;
    ensure_eq!(routes(case, &at)?, before, "after DEL");
    Ok(())
}

fn the_backup_goes_with_the_namespace(case: &Case<'_>) -> Verdict {
    for netns in ["/run/netns/c1", ""] {
        let (at, previous) = attached(case, "c1")?;
        let conf = conf(case, &previous, attributes());
        let result = case.add(&at, &conf)?;
        ensure_eq!(records(case)?.len(), 1, "records after ADD");
        case.sh("ip netns del c1; ip link del h-c1 2>/dev/null || :")?;
        let gone = Attachment {
            netns: netns.into(),
            ..at
        };
        case.del(&gone, &with_prev(&conf, &result))?;
        ensure_eq!(
            records(case)?,
            [""; 0],
            "records after DEL with netns {netns:?}"
        );
    }
    Ok(())
}

fn gc_removes_backups_of_the_dead_alone(case: &Case<'_>) -> Verdict {
    for (id, network) in [("c1", "net"), ("c2", "net"), ("c3", "other")] {
        let (at, previous) = attached(case, id)?;
        let previous = with(&previous, "cniVersion", "1.1.0");
        let conf = with(&conf(case, &previous, attributes()), "cniVersion", "1.1.0");
        case.add(&at, &with(&conf, "name", network))?;
    }
    let gc = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "tuning", "dataDir": case.path("tuning")
    });
    case.plugin("tuning", "GC")?.stdin(&gc).silent()?;
    ensure_eq!(records(case)?.len(), 3, "records after GC without a list");
    let valid = json!([{ "containerID": "c1", "ifname": "eth0" }]);
    let gc = with(&gc, "cni.dev/valid-attachments", valid);
    case.plugin("tuning", "GC")?.stdin(&gc).silent()?;
    ensure_eq!(
        records(case)?,
        ["c1_eth0.json", "c3_eth0.json"],
        "records after GC"
    );
    Ok(())
}

fn two_entries_of_a_chain_put_back_their_own(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = link(case, &at)?;
    let one = conf(
        case,
        &previous,
        json!({ "mac": "02:00:00:00:00:01", "mtu": 1400 }),
    );
    let result = case.add(&at, &one)?;
    let between = link(case, &at)?;
    let two = conf(case, &result, json!({ "mtu": 1300, "promisc": true }));
    let result = case.add(&at, &two)?;
    ensure!(
        link(case, &at)?.contains("mtu 1300"),
        "the second entry's MTU"
    );
    case.del(&at, &with_prev(&two, &result))?;
    ensure_eq!(
        link(case, &at)?,
        between,
        "the link after the second entry's DEL"
    );
    case.del(&at, &with_prev(&one, &result))?;
    ensure_eq!(link(case, &at)?, before, "the link after both");
    ensure_eq!(records(case)?, [""; 0], "records after both");
    Ok(())
}

fn args_alone_may_carry_sysctls(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let keys = json!({ "args": { "cni": {
        "sysctl": { "net.ipv4.conf.IFNAME.log_martians": "1" }, "mtu": 1400
    }}});
    case.add(&at, &conf(case, &previous, keys))?;
    ensure_eq!(
        sysctl(case, &at, "ipv4/conf/eth0/log_martians")?,
        "1",
        "log_martians"
    );
    ensure!(link(case, &at)?.contains("mtu 1400"), "mtu");
    Ok(())
}

fn check_understands_what_the_kernel_says(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let keys = json!({
        "mac": "02:00:00:00:00:AB", "sysctl": { "net.ipv4.tcp_rmem": "4096 100000 200000" }
    });
    let conf = conf(case, &previous, keys);
    let result = case.add(&at, &conf)?;
    let conf = with_prev(&conf, &result);
    case.cni("CHECK", &at, &conf)?.silent()?;
    // Not configured, so whoever listens may have it.
    case.inside(&at, "ip link set eth0 promisc on")?;
    case.cni("CHECK", &at, &conf)?.silent()
}

fn check_notices_each_change(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let mut keys = attributes();
    keys["sysctl"] = json!({ "net.ipv4.conf.IFNAME.log_martians": "1" });
    let conf = conf(case, &previous, keys);
    let result = case.add(&at, &conf)?;
    let conf = with_prev(&conf, &result);
    for (damage, repair) in [
        ("ip link set eth0 mtu 1399", "ip link set eth0 mtu 1400"),
        (
            "ip link set eth0 promisc off",
            "ip link set eth0 promisc on",
        ),
        (
            "ip link set eth0 allmulticast off",
            "ip link set eth0 allmulticast on",
        ),
        (
            "ip link set eth0 address 02:00:00:00:00:02",
            "ip link set eth0 address 02:00:00:00:00:01",
        ),
        (
            "echo 0 > /proc/sys/net/ipv4/conf/eth0/log_martians",
            "echo 1 > /proc/sys/net/ipv4/conf/eth0/log_martians",
        ),
    ] {
        case.cni("CHECK", &at, &conf)?.silent()?;
        case.inside(&at, damage)?;
        let checked = case.cni("CHECK", &at, &conf)?.run()?;
        ensure!(checked.refused(), "CHECK is content after {damage}");
        case.inside(&at, repair)?;
    }
    Ok(())
}

/// Everything that the failing configuration would change.
fn state(case: &Case<'_>, at: &Attachment) -> Verdict<[String; 3]> {
    let sysctl = sysctl(case, at, "ipv4/conf/eth0/log_martians")?;
    Ok([sysctl, link(case, at)?, records(case)?.join(" ")])
}

fn a_failure_half_way_puts_everything_back(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = state(case, &at)?;
    // The kernel refuses a group's address for an interface; the sysctl is written by then.
    let keys = json!({
        "mac": "01:00:5e:00:00:01", "mtu": 1400,
        "sysctl": { "net.ipv4.conf.IFNAME.log_martians": "1" }
    });
    case.cni("ADD", &at, &conf(case, &previous, keys))?
        .error()?;
    ensure_eq!(state(case, &at)?, before, "after a refused MAC");
    let keys = json!({ "sysctl": {
        "net.ipv4.conf.IFNAME.log_martians": "1", "net.ipv4.ip_default_ttl": "100000"
    }});
    case.cni("ADD", &at, &conf(case, &previous, keys))?
        .error()?;
    ensure_eq!(state(case, &at)?, before, "after a refused sysctl");
    Ok(())
}

fn an_answer_nobody_hears_puts_everything_back(case: &Case<'_>) -> Verdict {
    let (at, previous) = attached(case, "c1")?;
    let before = state(case, &at)?;
    let keys = with(
        &attributes(),
        "sysctl",
        json!({ "net.ipv4.conf.IFNAME.log_martians": "1" }),
    );
    case.add_unheard(&at, &conf(case, &previous, keys))?;
    ensure_eq!(state(case, &at)?, before, "after a failed ADD");
    Ok(())
}
