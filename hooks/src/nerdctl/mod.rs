//! The hooks of a container that nerdctl made: `internal oci-hook createRuntime|postStop`.
//!
//! The work is that of `create_runtime` and `poststop`; what is asked for is in nerdctl's
//! annotations, and what is known of neighbours is in nerdctl's own store, in its formats, so that
//! both tools understand what the other wrote. Containers of nerdctl's special networks (none,
//! host, container:ID, ns:PATH) are left alone.

mod annotations; // what nerdctl's annotations ask for
mod etchosts; // its store of names and hosts files

use anyhow::{bail, ensure};
use clap::{Arg, ArgMatches, Command};
use cni::NetworkName;
use libcni::{Error, NetworkList};
use serde_json::Value;

use self::annotations::Container;
use self::etchosts::Store;
use crate::args::Place;
use crate::attach::{self, Attached, Step, Subject};
use crate::state::State;
use crate::timings::Timings;
use crate::{host_ports, poststop, privileges};

/// The queues of all stores, below the state directory.
pub(crate) const QUEUES: &str = "nerdctl";

/// When the container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Before its program is there.
    CreateRuntime,
    /// After its end.
    PostStop,
}

impl Event {
    fn parse(word: &str) -> anyhow::Result<Self> {
        match word {
            "createRuntime" => Ok(Self::CreateRuntime),
            "postStop" => Ok(Self::PostStop),
            _ => bail!("unexpected event {word:?}: expected createRuntime or postStop"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::CreateRuntime => "createRuntime",
            Self::PostStop => "postStop",
        }
    }
}

const EXAMPLE: &str = "Example:\n  davit-cni internal oci-hook createRuntime < state.json";

/// The sub-command, which nerdctl has below `internal`.
pub fn command() -> Command {
    let event = Arg::new("EVENT").required(true);
    Command::new("oci-hook")
        .about("as a hook of a container that nerdctl made (state on stdin)")
        .arg(event.help("createRuntime or postStop"))
        .after_help(EXAMPLE)
}

/// The same under nerdctl's own words.
pub fn internal() -> Command {
    Command::new("internal")
        .about("nerdctl's name for what no person calls")
        .hide(true)
        .after_help(EXAMPLE)
        .subcommand_required(true)
        .subcommand(command())
}

/// The event, as typed, of either.
pub fn event(matches: &ArgMatches) -> String {
    let own = matches.subcommand().map_or(matches, |(_, own)| own);
    own.get_one::<String>("EVENT").cloned().unwrap_or_default()
}

/// Runs one hook; `state` is read only for an event that is known.
pub fn run(
    place: &Place,
    event: &str,
    state: impl FnOnce() -> anyhow::Result<State>,
) -> anyhow::Result<()> {
    let event = Event::parse(event)?;
    let state = state()?;
    let container = Container::parse(&state)?;
    let own_log = container
        .state_dir
        .join(format!("oci-hook.{}.log", event.name()));
    let log = place.log.as_deref().unwrap_or(&own_log);
    let mut timings = Timings::new(Some(log), format!("{} {}", event.name(), container.cni_id));
    let mut parts = timings.clone();
    timings.step("all", || match event {
        Event::CreateRuntime => create(place, &state, &container, &mut parts),
        Event::PostStop => stop(place, &container, &mut parts),
    })
}

fn create(
    place: &Place,
    state: &State,
    container: &Container,
    timings: &mut Timings,
) -> anyhow::Result<()> {
    let netns = container.netns(state)?;
    let plan = plan(place, container, &netns)?;
    if !plan.is_empty() {
        privileges::refuse_rootless(!container.wanted.ports.is_empty())?;
        host_ports::refuse(&container.wanted.ports)?;
    }
    let caller = place.caller();
    let cached = poststop::cached(&caller, &container.cni_id)?;
    for each in &cached {
        let (attachment, netns) = (&each.attachment, &each.netns);
        ensure!(
            !poststop::is_anothers(&caller, each)?,
            "{attachment} is attached already, inside {netns}"
        );
    }
    let stale = poststop::detach_all(place, &caller, &cached);
    container.write_pid_file(state)?;
    if plan.is_empty() {
        return Ok(());
    }
    let attached = attach::attach(&caller, &plan, timings);
    let attached = attached.map_err(|error| {
        let error = attach::with_stuck(error, "left by an earlier container", &stale);
        undo(place, container, (&[], error), timings)
    })?;
    let store = Store::of(place, container);
    let named = timings.step("hosts files", || store.join(container, &attached));
    named.map_err(|error| undo(place, container, (&attached, error), timings))
}

/// What is known by this ID is of a dead predecessor, or ours, unless another lives by now.
fn undo(
    place: &Place,
    container: &Container,
    (attached, error): (&[Attached], anyhow::Error),
    timings: &mut Timings,
) -> anyhow::Error {
    let caller = place.caller();
    let mut stuck = attach::detach(&caller, attached, timings);
    let left = leave(place, &caller, container);
    stuck.extend(left.err().map(|error| format!("{error:#}")));
    attach::with_stuck(error, "undo", &stuck)
}

fn stop(place: &Place, container: &Container, timings: &mut Timings) -> anyhow::Result<()> {
    let caller = place.caller();
    let cached = poststop::cached(&caller, &container.cni_id)?;
    let names: Vec<_> = container
        .wanted
        .networks
        .iter()
        .map(|each| &each.name)
        .collect();
    let load = |name: &NetworkName| load(place, container, name);
    let mut errors = poststop::detach_unknown(&caller, &container.cni_id, &names, load)?;
    errors.extend(poststop::detach_all(place, &caller, &cached));
    let left = timings.step("hosts files", || leave(place, &caller, container));
    errors.extend(left.err().map(|error| format!("{error:#}")));
    ensure!(
        errors.is_empty(),
        "detach {}: {}",
        container.cni_id,
        errors.join("; ")
    );
    Ok(())
}

/// Unless a living container of the same ID, a late delete's successor, is known by now.
fn leave(place: &Place, caller: &libcni::Caller, container: &Container) -> anyhow::Result<()> {
    let store = Store::of(place, container);
    let held = caller
        .cache
        .lock_container(&container.cni_id, caller.patience)?;
    for each in poststop::cached(caller, &container.cni_id)? {
        if poststop::is_anothers(caller, &each)? {
            return Ok(());
        }
    }
    let was_there = store.forget(container)?;
    drop(held);
    match was_there {
        true => store.tell(container),
        false => Ok(()),
    }
}

fn plan(place: &Place, container: &Container, netns: &str) -> anyhow::Result<Vec<Step>> {
    let names = container.wanted.networks.iter().map(|each| &each.name);
    let lists = names.map(|name| load(place, container, name));
    let lists = lists.collect::<Result<Vec<_>, _>>()?;
    let mut args = vec![("IgnoreUnknown".to_owned(), "1".to_owned())];
    if !container.hostname.is_empty() {
        let hostname = container.hostname.clone();
        args.push(("NERDCTL_CNI_DHCP_HOSTNAME".to_owned(), hostname));
    }
    let subject = Subject {
        id: container.cni_id.clone(),
        netns: netns.to_owned(),
        args,
    };
    attach::plan(lists, &container.wanted, &subject)
}

/// By name or by nerdctl's ID of a network, among all networks and those of the namespace.
fn load(place: &Place, container: &Container, name: &NetworkName) -> Result<NetworkList, Error> {
    let own = place.net_dir.join(&container.namespace);
    let first = NetworkList::load(&place.net_dir, name.as_str());
    if !matches!(first, Err(Error::UnknownNetwork { .. })) {
        return first;
    }
    if let Ok(list) = NetworkList::load(&own, name.as_str()) {
        return Ok(list);
    }
    let all = [&place.net_dir, &own].map(|dir| NetworkList::load_all(dir));
    let mut lists = all.into_iter().flatten().flat_map(|(lists, _)| lists);
    lists
        .find(|list| has_id(list, name.as_str()))
        .map_or(first, Ok)
}

fn has_id(list: &NetworkList, id: &str) -> bool {
    let json: Result<Value, _> = serde_json::from_slice(&list.bytes);
    json.is_ok_and(|json| json["nerdctlID"] == id)
}
