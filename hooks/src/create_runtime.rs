//! The `createRuntime` hook: attaches the container to every network of its annotations.
//!
//! It runs in the runtime's namespaces before pivot_root, with the container's process waiting.
//! Everything is read and refused first; then networks are attached in order, and if one fails,
//! all that this call attached is detached again, in reverse, so that the runtime can give up.
//! A container of the same ID that still lives, perhaps under another runtime, is left alone.

use anyhow::{Context, anyhow, ensure};
use cni::Attachment;
use libcni::{Caller, NetworkList, RuntimeConf};
use serde_json::Map;
use sys::NetNs;

use crate::annotations::{NETWORKS, PORTS, Wanted};
use crate::args::Place;
use crate::poststop;
use crate::state::State;

const PORT_MAPPINGS: &str = "portMappings";

/// Attaches the container.
pub fn run(place: &Place, state: &State) -> anyhow::Result<()> {
    let wanted = Wanted::parse(&state.annotations)?;
    if wanted.networks.is_empty() {
        ensure!(
            wanted.ports.is_empty(),
            "annotation {PORTS} needs {NETWORKS}"
        );
        return Ok(());
    }
    let pid = state
        .pid
        .context("OCI state has no pid: the container's process is not there")?;
    let netns = format!("/proc/{pid}/ns/net");
    let plan = plan(place, state, &wanted, &netns)?;
    let caller = place.caller();
    let cached = poststop::cached(&caller, &state.id)?;
    for each in &cached {
        let (attachment, netns) = (&each.attachment, &each.netns);
        ensure!(
            !each.is_alive()?,
            "{attachment} is attached already, inside {netns}"
        );
    }
    // A crash or a reboot without poststop. What stays stuck will be told by the ADD it hinders.
    let stale = poststop::detach_all(place, &caller, &cached);
    attach_all(&caller, &plan)
        .map_err(|error| match stale.join("; ").as_str() {
            "" => error,
            stale => anyhow!("{error:#}; left by an earlier container: {stale}"),
        })
        .map_err(|error| match shares_our_network(&netns) {
            true => error.context(
                "the container has no network namespace of its own (config.json /linux/namespaces)",
            ),
            false => error,
        })
}

/// The usual reason why plugins refuse a namespace, asked only when one did.
fn shares_our_network(netns: &str) -> bool {
    let same = NetNs::open(netns).and_then(|theirs| theirs.is_same(&NetNs::current()?));
    same.unwrap_or(false)
}

/// Which list is run with what, decided before anything happens.
fn plan(
    place: &Place,
    state: &State,
    wanted: &Wanted,
    netns: &str,
) -> anyhow::Result<Vec<(NetworkList, RuntimeConf)>> {
    let lists = wanted
        .networks
        .iter()
        .map(|name| NetworkList::load(&place.net_dir, name.as_str()));
    let lists = lists.collect::<Result<Vec<_>, _>>()?;
    let publishes = |list: &NetworkList| {
        list.plugins
            .iter()
            .any(|plugin| plugin.capabilities.get(PORT_MAPPINGS) == Some(&true))
    };
    // One network publishes them: two would fight for the same host ports.
    let publisher = lists.iter().position(publishes);
    ensure!(
        wanted.ports.is_empty() || publisher.is_some(),
        "annotation {PORTS}: no network of the container has the capability {PORT_MAPPINGS}"
    );
    let confs = lists.into_iter().enumerate().map(|(index, list)| {
        let mut capability_args = Map::new();
        if publisher == Some(index) && !wanted.ports.is_empty() {
            capability_args.insert(PORT_MAPPINGS.into(), wanted.port_mappings());
        }
        let ifname = format!("eth{index}").parse()?;
        let attachment = Attachment {
            container_id: state.id.clone(),
            ifname,
        };
        let args = wanted.args(index);
        Ok((
            list,
            RuntimeConf {
                attachment,
                netns: netns.into(),
                args,
                capability_args,
            },
        ))
    });
    confs.collect()
}

fn attach_all(caller: &Caller, plan: &[(NetworkList, RuntimeConf)]) -> anyhow::Result<()> {
    for (done, (list, conf)) in plan.iter().enumerate() {
        let Err(error) = caller.add(list, conf) else {
            continue;
        };
        // libcni has undone this network; the earlier ones are ours to undo.
        let undone = plan
            .iter()
            .take(done)
            .rev()
            .map(|(list, conf)| caller.del(list, conf));
        let stuck: Vec<String> = undone
            .filter_map(Result::err)
            .map(|error| format!("; undo: {error}"))
            .collect();
        let name = &list.name;
        return Err(anyhow!(
            "attach {}: network {name:?}: {error}{}",
            conf.attachment,
            stuck.concat(),
            name = name.as_str()
        ));
    }
    Ok(())
}
