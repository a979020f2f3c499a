//! A node that changes suites with containers running: attached by the reference plugins, deleted
//! by the subject, and the other way round.

use serde_json::{Value, json};

use crate::attachment::{Attachment, with, with_prev};
use crate::case::Case;
use crate::row::{Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        SU06,
        the_subject_deletes_what_the_reference_attached_to_a_bridge,
        "suite: a node can change to it with containers running: bridge, host-local, ipMasq"
    ),
    row!(
        Cni,
        SU06,
        the_subject_deletes_the_reference_s_point_to_point_link,
        "suite: a node can change to it with containers running: ptp"
    ),
    row!(
        Cni,
        SU06,
        the_subject_deletes_the_reference_s_port_mappings,
        "suite: a node can change to it with containers running: portmap"
    ),
    row!(
        Cni,
        SU06,
        the_subject_deletes_the_reference_s_firewall_rules,
        "suite: a node can change to it with containers running: firewall"
    ),
    row!(
        Cni,
        SU06,
        the_reference_deletes_what_the_subject_attached_to_a_bridge,
        "suite: a node can change back with containers running: bridge, host-local, ipMasq"
    ),
    row!(
        Cni,
        SU06,
        the_reference_deletes_the_subject_s_point_to_point_link,
        "suite: a node can change back with containers running: ptp"
    ),
    row!(
        Cni,
        SU06,
        the_reference_deletes_the_subject_s_port_mappings,
        "suite: a node can change back with containers running: portmap"
    ),
    row!(
        Cni,
        SU06,
        the_reference_deletes_the_subject_s_firewall_rules,
        "suite: a node can change back with containers running: firewall"
    ),
    row!(
        Cni,
        SU06,
        gc_of_the_subject_collects_the_reference_s_bridge_attachments,
        "suite: GC after a change: ipMasq rules and reservations of the dead, none of the living"
    ),
    row!(
        Cni,
        SU06,
        gc_of_the_subject_collects_the_reference_s_port_mappings,
        "suite: GC after a change: port mappings of the dead, none of the living"
    ),
];

const REFERENCE: &str = "/usr/lib/cni";

/// Whose plugins run.
#[derive(Clone, Copy)]
enum Suite {
    Subject,
    Reference,
}
use Suite::{Reference, Subject};

fn run(case: &Case<'_>, suite: Suite, verb: &str, at: &Attachment, conf: &Value) -> Verdict<Value> {
    let call = match suite {
        Subject => case.cni(verb, at, conf)?,
        Reference => case.cni_of(REFERENCE, verb, at, conf),
    };
    match verb {
        "ADD" => call.result(),
        _ => call.silent().map(|()| Value::Null),
    }
}

fn main_plugin(kind: &str) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "net", "type": kind, "bridge": "br0",
        "isGateway": true, "ipMasq": true,
        "ipam": {
            "type": "host-local",
            "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd77::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }]
        }
    })
}

/// The two plugins of a chain; the second with its own keys.
fn chain(kind: &str, second: &str) -> Vec<Value> {
    let mut list = vec![main_plugin(kind)];
    let common = json!({ "cniVersion": "1.0.0", "name": "net", "type": second });
    match second {
        "portmap" => list.push(with(
            &with(&common, "backend", "iptables"),
            "runtimeConfig",
            json!({ "portMappings": [
                { "hostPort": 8080, "containerPort": 80, "protocol": "tcp" },
                { "hostPort": 5353, "containerPort": 53, "protocol": "udp" }
            ] }),
        )),
        "firewall" => list.push(with(&common, "backend", "iptables")),
        _ => {}
    }
    list
}

fn has_reference(case: &Case<'_>) -> Verdict {
    let is_there = case.holds(&format!("test -x {REFERENCE}/bridge"))?;
    needs!(is_there, "the reference plugins in {REFERENCE}");
    Ok(())
}

/// ADD of the whole chain by one suite, and DEL by another; nothing more than before may be there.
fn attached_and_deleted(
    case: &Case<'_>,
    chain: &[Value],
    (attaching, deleting): (Suite, Suite),
) -> Verdict {
    has_reference(case)?;
    // The bridge, shared chains and lock files of either suite are nobody's in particular.
    let first = case.sandbox("first")?;
    for suite in [attaching, deleting] {
        once(case, chain, &first, (suite, suite))?;
    }
    let at = case.sandbox("swapped")?;
    let before = case.snapshot()?;
    once(case, chain, &at, (attaching, deleting))?;
    let difference = before.difference(&case.snapshot()?);
    // A bridge without ports is down, and its route says so.
    let is_told = |line: &str| line.contains("last_reserved_ip") || line.contains("dev br0 proto");
    let is_left = |line: &&String| line.starts_with('+') && !is_told(line);
    let mut left: Vec<&String> = difference.iter().filter(is_left).collect();
    let difference;
    if let (Subject, Reference) = (attaching, deleting) {
        // What the subject has noted for itself alone goes with its GC.
        let in_use = left
            .iter()
            .filter(|line| !line.starts_with("+ files: /run/"));
        let in_use: Vec<_> = in_use.collect();
        ensure!(in_use.is_empty(), "left before GC:\n{in_use:#?}");
        if !left.is_empty() {
            collect(case, chain, json!([]))?;
            difference = before.difference(&case.snapshot()?);
            left = difference.iter().filter(is_left).collect();
        }
    }
    ensure!(left.is_empty(), "left:\n{left:#?}");
    let inside = case.inside(&at, "ip -o link | grep -v ' lo:' | grep -c eth0 || :")?;
    ensure!(inside == "0", "the interface is left");
    Ok(())
}

/// The subject's GC, as far as it knows what is alive.
fn collect(case: &Case<'_>, chain: &[Value], valid: Value) -> Verdict {
    let nobody = Attachment {
        id: String::new(),
        netns: String::new(),
        ifname: String::new(),
    };
    for conf in chain {
        let conf = with(conf, "cniVersion", "1.1.0");
        let conf = match valid {
            Value::Null => conf,
            _ => with(&conf, "cni.dev/valid-attachments", valid.clone()),
        };
        run(case, Subject, "GC", &nobody, &conf)?;
    }
    Ok(())
}

/// ADD of the whole chain; its last result.
fn attach(case: &Case<'_>, chain: &[Value], at: &Attachment, suite: Suite) -> Verdict<Value> {
    let mut result = Value::Null;
    for conf in chain {
        let conf = match &result {
            Value::Null => conf.clone(),
            previous => with_prev(conf, previous),
        };
        result = run(case, suite, "ADD", at, &conf)?;
    }
    Ok(result)
}

fn once(
    case: &Case<'_>,
    chain: &[Value],
    at: &Attachment,
    (attaching, deleting): (Suite, Suite),
) -> Verdict {
    let result = attach(case, chain, at, attaching)?;
    if matches!((attaching, deleting), (Reference, Subject)) {
        for conf in chain {
            run(case, deleting, "CHECK", at, &with_prev(conf, &result))?;
        }
    }
    for conf in chain.iter().rev() {
        run(case, deleting, "DEL", at, &with_prev(conf, &result))?;
    }
    Ok(())
}

fn the_subject_deletes_what_the_reference_attached_to_a_bridge(case: &Case<'_>) -> Verdict {
    attached_and_deleted(case, &chain("bridge", ""), (Reference, Subject))
}

fn the_subject_deletes_the_reference_s_point_to_point_link(case: &Case<'_>) -> Verdict {
    attached_and_deleted(case, &chain("ptp", ""), (Reference, Subject))
}

fn the_subject_deletes_the_reference_s_port_mappings(case: &Case<'_>) -> Verdict {
    attached_and_deleted(case, &chain("bridge", "portmap"), (Reference, Subject))
}

fn the_subject_deletes_the_reference_s_firewall_rules(case: &Case<'_>) -> Verdict {
    attached_and_deleted(case, &chain("bridge", "firewall"), (Reference, Subject))
}

fn the_reference_deletes_what_the_subject_attached_to_a_bridge(case: &Case<'_>) -> Verdict {
    attached_and_deleted(case, &chain("bridge", ""), (Subject, Reference))
}

fn the_reference_deletes_the_subject_s_point_to_point_link(case: &Case<'_>) -> Verdict {
    attached_and_deleted(case, &chain("ptp", ""), (Subject, Reference))
}

fn the_reference_deletes_the_subject_s_port_mappings(case: &Case<'_>) -> Verdict {
    attached_and_deleted(case, &chain("bridge", "portmap"), (Subject, Reference))
}

fn the_reference_deletes_the_subject_s_firewall_rules(case: &Case<'_>) -> Verdict {
    attached_and_deleted(case, &chain("bridge", "firewall"), (Subject, Reference))
}

/// What the host has of containers, whoever made it: links, rules, reservations.
fn possessions(case: &Case<'_>) -> Verdict<Vec<String>> {
    let listed = case.sh(
        "ip -o link | sed 's/^[0-9]*: //; s/@.*//' | grep '^veth' || :
         iptables-save -t nat | grep '^[:-].*CNI-' || :
         ip6tables-save -t nat | grep '^[:-].*CNI-' || :
         grep -sr '' /var/lib/cni/networks --include='[1f]*' || :",
    )?;
    let without_counters = |line: &str| line.split(" [").next().unwrap_or(line).trim().to_owned();
    let mut lines: Vec<_> = listed.lines().map(without_counters).collect();
    lines.sort_unstable();
    Ok(lines)
}

/// The reference attaches one that lives, one of another network, and one that dies unseen: the
/// subject's GC takes all that the last one had, and not a line more.
fn collected_after_a_change(case: &Case<'_>, second: &str) -> Verdict {
    has_reference(case)?;
    let chain_of = |network: &str, port: u16| -> Vec<Value> {
        let mut list = chain("bridge", second);
        for conf in &mut list {
            conf["name"] = network.into();
        }
        let portmap = list.last_mut().filter(|conf| conf["type"] == "portmap");
        if let Some(portmap) = portmap {
            portmap["runtimeConfig"]["portMappings"] = json!([
                { "hostPort": port, "containerPort": 80, "protocol": "tcp" },
                { "hostPort": port, "containerPort": 53, "protocol": "udp" }
            ]);
        }
        list
    };
    let alive = case.sandbox("alive77")?;
    attach(case, &chain_of("net", 8081), &alive, Reference)?;
    // A network whose name begins like the other's, with a subnet of its own.
    let elsewhere = case.sandbox("elsewhere")?;
    let mut others = chain_of("net2", 8082);
    others[0]["ipam"]["ranges"] = json!([[{ "subnet": "10.78.0.0/24" }]]);
    others[0]["bridge"] = "br1".into();
    attach(case, &others, &elsewhere, Reference)?;
    let before = possessions(case)?;

    let dead = case.sandbox("dead77")?;
    let dead_chain = chain_of("net", 8083);
    attach(case, &dead_chain, &dead, Reference)?;
    // The kernel takes the links of a namespace some time after its name.
    case.sh("ip netns del dead77
         for try in $(seq 100); do [ $(grep -c veth /proc/net/dev) = 2 ] && exit; sleep 0.05; done
         exit 1")?;
    let with_dead = possessions(case)?;
    collect(case, &dead_chain, Value::Null)?;
    ensure_eq!(possessions(case)?, with_dead, "GC without a list");
    let both = json!([
        { "containerID": "alive77", "ifname": "eth0" },
        { "containerID": "dead77", "ifname": "eth0" }
    ]);
    collect(case, &dead_chain, both)?;
    ensure_eq!(possessions(case)?, with_dead, "GC while both are alive");
    let one = json!([{ "containerID": "alive77", "ifname": "eth0" }]);
    collect(case, &dead_chain, one)?;
    ensure_eq!(possessions(case)?, before, "GC after one has died");
    collect(case, &dead_chain, json!([]))?;
    let left = possessions(case)?;
    let names_alive = |line: &&String| line.contains("alive77");
    let of_alive: Vec<_> = left.iter().filter(names_alive).collect();
    ensure!(
        of_alive.is_empty(),
        "left when nobody lives:\n{of_alive:#?}"
    );
    let elsewhere = left.iter().any(|line| line.contains("elsewhere"));
    ensure!(elsewhere, "another network's is gone:\n{left:#?}");
    Ok(())
}

fn gc_of_the_subject_collects_the_reference_s_bridge_attachments(case: &Case<'_>) -> Verdict {
    collected_after_a_change(case, "")
}

fn gc_of_the_subject_collects_the_reference_s_port_mappings(case: &Case<'_>) -> Verdict {
    collected_after_a_change(case, "portmap")
}
