//! The `createRuntime` hook: attaches the container to every network of its annotations.
//!
//! It runs in the runtime's namespaces before pivot_root, with the container's process waiting.
//! Everything is read and refused first; then networks are attached in order, and if one fails,
//! all that this call attached is detached again, in reverse, so that the runtime can give up.
//! A container of the same ID that still lives, perhaps under another runtime, is left alone.

use anyhow::{Context, ensure};
use libcni::NetworkList;
use sys::NetNs;

use crate::annotations::{NETWORKS, PORTS, Wanted};
use crate::args::Place;
use crate::attach::{self, Step, Subject};
use crate::poststop;
use crate::state::State;
use crate::timings::Timings;

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
    let mut timings = Timings::new(place.log.as_deref(), format!("create-runtime {}", state.id));
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
    let attached = attach::attach(&caller, &plan, &mut timings);
    attached
        .map(drop)
        .map_err(|error| attach::with_stuck(error, "left by an earlier container", &stale))
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
fn plan(place: &Place, state: &State, wanted: &Wanted, netns: &str) -> anyhow::Result<Vec<Step>> {
    let names = wanted.networks.iter().map(|network| &network.name);
    let lists = names.map(|name| NetworkList::load(&place.net_dir, name.as_str()));
    let lists = lists.collect::<Result<Vec<_>, _>>()?;
    let subject = Subject {
        id: state.id.clone(),
        netns: netns.to_owned(),
        args: vec![("IgnoreUnknown".to_owned(), "1".to_owned())],
    };
    attach::plan(lists, wanted, &subject)
}
