//! What plugins were attacked by, beside what the rows of each plugin try already: see
//! [`crate::vulnerability`].

use serde_json::{Value, json};

use super::bridge;
use super::staged::{Plugin, present};
use crate::attachment::{Attachment, with};
use crate::case::Case;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Cni,
        PR06,
        a_name_that_is_a_path_deletes_nothing,
        "CVE-2021-20206 and its class: an id, a name or an interface that is a path, on its way to a file that is removed"
    ),
    row!(
        Cni,
        PR27,
        a_flood_of_arguments_and_results_is_borne,
        "CVE-2020-8551: a request that is large enough must not stop who serves it"
    ),
    row!(
        Cni,
        BR16,
        macspoofchk_keeps_the_address_of_a_neighbour_where_it_is,
        "CNI bridge: macspoofchk: the container sends with its own hardware address; ARP with a neighbour's would draw its traffic"
    ),
];

/// What a path that got through would reach: `/var/lib` and `/run` of the row's own host.
const PATHS: [&str; 4] = ["../../decoy", "../decoy", "..", "net/../../decoy"];

fn a_name_that_is_a_path_deletes_nothing(case: &Case<'_>) -> Verdict {
    case.sh(
        "for d in /run /run/cni /run/davit-cni /var/lib /var/lib/cni /var/lib/cni/networks; do \
         mkdir -p $d/decoy/decoy; echo kept >$d/decoy/file; done",
    )?;
    let good = Attachment {
        id: "c1".into(),
        netns: "/run/netns/nowhere".into(),
        ifname: "eth0".into(),
    };
    let before = case.snapshot()?;
    for plugin in present(case)? {
        let conf = plugin.conf(case, &good, "1.1.0");
        for path in PATHS {
            let id = Attachment {
                id: path.into(),
                ..good.clone()
            };
            let ifname = Attachment {
                ifname: path.into(),
                ..good.clone()
            };
            for verb in ["ADD", "DEL", "CHECK"] {
                case.cni(verb, &id, &conf)?.refused_with(&[4])?;
                case.cni(verb, &ifname, &conf)?.refused_with(&[4])?;
                let named = with(&conf, "name", path);
                case.cni(verb, &good, &named)?.refused_with(&[7])?;
            }
            collected(case, plugin, &conf, path)?;
        }
    }
    case.has_nothing_since(&before)
}

/// A list of the living with a path in it is refused, or served without harm.
fn collected(case: &Case<'_>, plugin: &Plugin, conf: &Value, path: &str) -> Verdict {
    let living = json!([{ "containerID": path, "ifname": path }]);
    let conf = with(conf, "cni.dev/valid-attachments", living);
    let call = case.plugin(plugin.name, "GC")?.stdin(&conf);
    call.run()?.ends().map(drop)
}

fn a_flood_of_arguments_and_results_is_borne(case: &Case<'_>) -> Verdict {
    let at = case.sandbox("c1")?;
    let many = 40_000;
    let interfaces: Vec<_> = (0..many)
        .map(|number| json!({ "name": format!("i{number}"), "mac": "02:00:00:00:00:01", "sandbox": at.netns }))
        .collect();
    let ips: Vec<_> = (0..many)
        .map(|number| json!({ "interface": number, "address": format!("10.{}.{}.2/24", number / 256, number % 256) }))
        .collect();
    let previous = json!({ "cniVersion": "1.0.0", "interfaces": interfaces, "ips": ips });
    let args = format!("IgnoreUnknown=1;{}", "K=v;".repeat(30_000) + "L=w");
    for plugin in present(case)? {
        let conf = plugin.conf(case, &at, "1.0.0");
        let flooded = with(&conf, "prevResult", previous.clone());
        for (conf, args) in [(&flooded, ""), (&conf, args.as_str())] {
            // CHECK looks at all of it and changes nothing.
            let mut call = case.cni("CHECK", &at, conf)?;
            if !args.is_empty() {
                call = call.env("CNI_ARGS", args);
            }
            let outcome = call.run()?.ends()?;
            if outcome.refused() {
                let error: Value = serde_json::from_slice(&outcome.stdout)
                    .map_err(|error| Failure(format!("no error object ({error})")))?;
                ensure!(error["code"].is_u64(), "an error has a code: {error}");
            }
        }
    }
    Ok(())
}

/// Lets a container send with its neighbour's address, and answers at whose port the bridge then
/// looks for that: the sender's own, and the neighbour's.
fn after_a_forgery(
    case: &Case<'_>,
    network: &str,
    checked: bool,
) -> Verdict<(String, [String; 2])> {
    let conf = with(&bridge::conf(case), "name", network);
    let conf = with(&conf, "bridge", network);
    let conf = with(&conf, "macspoofchk", checked);
    let subnet = if checked {
        "10.78.0.0/24"
    } else {
        "10.79.0.0/24"
    };
    let conf = with(&conf, "ipam", crate::attachment::host_local(case, subnet));
    let gateway = subnet.replace(".0/24", ".1");
    let mut ports = Vec::new();
    let mut containers = Vec::new();
    for name in ["sender", "neighbour"] {
        let at = case.sandbox(&format!("{network}{name}"))?;
        let result = case.add(&at, &conf)?;
        let port = result["interfaces"][1]["name"].as_str().unwrap_or_default();
        ports.push(port.to_owned());
        ensure!(
            case.holds_inside(&at, &format!("busybox ping -c1 -W2 {gateway}"))?,
            "honest traffic is dropped"
        );
        containers.push(at);
    }
    let link = case.inside(&containers[1], "ip -o link show eth0")?;
    let mut words = link.split(' ').skip_while(|word| *word != "link/ether");
    let address = words.nth(1).unwrap_or_default();
    case.inside(
        &containers[0],
        &format!(
            "ip link set eth0 address {address}; busybox ping -c1 -W1 {gateway} || :; \
             ip neigh flush dev eth0; busybox ping -c1 -W1 {gateway} || :"
        ),
    )?;
    let found = case.sh(&format!(
        "bridge fdb show br {network} | grep '^{address} ' | grep -v permanent | cut -d' ' -f3"
    ))?;
    let [sender, neighbour] = ports.as_slice() else {
        return Err(Failure("two containers have two ports".into()));
    };
    Ok((found, [sender.clone(), neighbour.clone()]))
}

fn macspoofchk_keeps_the_address_of_a_neighbour_where_it_is(case: &Case<'_>) -> Verdict {
    let (found, [sender, _]) = after_a_forgery(case, "unchecked", false)?;
    ensure_eq!(found, sender, "without macspoofchk the forgery works");
    let (found, [_, neighbour]) = after_a_forgery(case, "checked", true)?;
    ensure_eq!(found, neighbour, "the port of the neighbour's address");
    Ok(())
}
