//! The `poststop` hook: detaches the container from everything it was attached to.
//!
//! It needs neither process nor namespace nor configuration: the cache tells what was attached,
//! by which list, with which arguments. A namespace is never handed to the plugins: it is gone, or
//! its path leads to somebody else's. A second run finds nothing and succeeds. What belongs to a
//! new container of the same ID, one that lives, is left alone, and a line on standard error says so:
//! whose it is, is judged under the container's lock, where no create can come between.

use std::cell::RefCell;

use anyhow::bail;
use cni::{Attachment, ContainerId, NetworkName};
use libcni::sandbox::Life;
use libcni::{CachedAttachment, Caller, Error, NetworkList, RuntimeConf};
use serde_json::Map;

use crate::annotations::Wanted;
use crate::args::Place;
use crate::neighbours;
use crate::note;
use crate::record::{Record, Records};
use crate::state::State;
use crate::timings::Timings;

/// Detaches the container.
pub fn run(place: &Place, state: &State) -> anyhow::Result<()> {
    let mut timings = Timings::new(place.log.as_deref(), format!("poststop {}", state.id));
    let caller = place.caller();
    let cached = cached(&caller, &state.id)?;
    // Annotations that are wrong attached nothing.
    let wanted = Wanted::parse(&state.annotations).unwrap_or_default();
    let names: Vec<_> = wanted.networks.iter().map(|each| &each.name).collect();
    let load = |name: &NetworkName| NetworkList::load(&place.net_dir, name.as_str());
    let mut errors = detach_unknown(&caller, &state.id, &names, load)?;
    let detached = timings.step("detach", || match detach_all(place, &caller, &cached) {
        errors if errors.is_empty() => Ok(()),
        errors => Err(errors.join("; ")),
    });
    errors.extend(detached.err());
    // Whatever is stuck, nobody finds the dead by their names.
    let left = timings.step("hosts files", || leave(place, &state.id, Record::is_dead));
    errors.extend(left.err().map(|error| format!("{error:#}")));
    if !errors.is_empty() {
        bail!("detach {}: {}", state.id, errors.join("; "));
    }
    Ok(())
}

/// Those of the networks eth0, eth1, ... that are not in the cache: it may have been lost, and DEL
/// costs little and needs nothing. The errors; nobody's keeps the others from being tried.
pub(crate) fn detach_unknown(
    caller: &Caller,
    id: &ContainerId,
    networks: &[&NetworkName],
    load: impl Fn(&NetworkName) -> Result<NetworkList, Error>,
) -> anyhow::Result<Vec<String>> {
    let mut errors = Vec::new();
    let cached = cached(caller, id)?;
    for (index, network) in networks.iter().enumerate().rev() {
        if cached.iter().any(|each| each.network == **network) {
            continue;
        }
        let attachment = Attachment {
            container_id: id.clone(),
            ifname: format!("eth{index}").parse()?,
        };
        let deleted = match load(network) {
            Err(Error::UnknownNetwork { .. }) => continue,
            list => list.and_then(|list| del_unless_anothers(caller, &list, attachment)),
        };
        errors.extend(deleted.err().map(|error| error.to_string()));
    }
    Ok(errors)
}

/// Whether the namespace of this may be there. Unlike `gc`, which must not err about any container,
/// this goes by the time of the boot where it has nothing else.
pub(crate) fn may_live(caller: &Caller, cached: &CachedAttachment) -> Result<bool, Error> {
    Ok(cached.is_alive()? && !caller.cache.is_of_earlier_boot(cached)?)
}

/// Whether this is of a container of the same ID that lives: a delete that is late must not take
/// away what a new create has made. The process of a container that has stopped is gone; a path of
/// any other kind may lead to a namespace that outlives its container. True only as long as the
/// container's lock is held.
pub(crate) fn is_anothers(caller: &Caller, cached: &CachedAttachment) -> Result<bool, Error> {
    Ok(cached.netns.starts_with("/proc/") && may_live(caller, cached)?)
}

/// Judged under the container's lock: a new create may have attached since the cache was read.
fn del_unless_anothers(
    caller: &Caller,
    list: &NetworkList,
    attachment: Attachment,
) -> Result<(), Error> {
    let is_left = RefCell::new(None);
    let may = |cached: Option<&CachedAttachment>| match cached {
        Some(cached) if is_anothers(caller, cached)? => {
            *is_left.borrow_mut() = Some(told_living(cached));
            Ok(false)
        }
        _ => Ok(true),
    };
    caller.del_if(list, &without_netns(attachment), may)?;
    if let Some(line) = is_left.into_inner() {
        note(&line);
    }
    Ok(())
}

/// Of [`Life::Unclear`].
pub(crate) const UNCLEAR: &str = "it was made in another pid namespace, and who lives there cannot \
                                  be seen from here (davit-cni del frees it)";

/// The same of a record whose container is attached to nothing.
pub(crate) const UNCLEAR_RECORD: &str = "it was made in another pid namespace, and who lives there \
    cannot be seen from here (davit-cni del --id frees it, and so does gc, if no --runtime-root knows \
    its container)";

fn told_living(cached: &CachedAttachment) -> String {
    let (attachment, netns) = (&cached.attachment, &cached.netns);
    match cached.life() {
        Ok(Some(Life::Unclear)) => format!("{attachment} stays attached: {UNCLEAR}"),
        _ => format!("{attachment} stays attached: the process of {netns} lives"),
    }
}

/// Removes the container's record and files, if `is_own`, and its name from its neighbours'.
/// Whose the record is, is looked at under the lock under which a create claims it.
pub(crate) fn leave(
    place: &Place,
    id: &ContainerId,
    is_own: impl Fn(&Record) -> bool,
) -> anyhow::Result<()> {
    let records = Records::new(&place.state_dir);
    // A poststop that was killed has left its part to the next.
    if !records.is_there(id)? && records.buried()?.is_empty() {
        return Ok(());
    }
    let caller = place.caller();
    let held = caller.cache.lock_container(id, caller.patience)?;
    let record = records.read(id)?;
    if record.as_ref().is_some_and(|record| !is_own(record)) {
        return Ok(());
    }
    let was_there = records.bury(id)?;
    drop(held);
    let buried = records.buried()?;
    // Nobody saw one that was not attached; what others left who were killed may have been seen.
    let is_unseen = was_there && record.is_some_and(|record| record.networks.is_empty());
    if buried.len() > usize::from(is_unseen) {
        neighbours::refresh(&place.state_dir, id.as_str())?;
    }
    records.remove(&buried)
}

/// Detaches each that is not of a living container, whatever becomes of the others; the errors.
pub(crate) fn detach_all(
    place: &Place,
    caller: &Caller,
    cached: &[CachedAttachment],
) -> Vec<String> {
    let detach = |each: &CachedAttachment| -> Result<(), Error> {
        // The list of its ADD: the file may have been changed or removed since.
        let list = match each.list() {
            Some(list) => list,
            None => NetworkList::load(&place.net_dir, each.network.as_str())?,
        };
        del_unless_anothers(caller, &list, each.attachment.clone())
    };
    cached
        .iter()
        .filter_map(|each| detach(each).err())
        .map(|error| error.to_string())
        .collect()
}

/// In the reverse order of attaching: eth10, eth9, ... eth0.
pub(crate) fn cached(caller: &Caller, id: &ContainerId) -> anyhow::Result<Vec<CachedAttachment>> {
    let mut cached = caller.cache.of_container(id)?;
    cached.sort_by_key(|each| std::cmp::Reverse(number(each.attachment.ifname.as_str())));
    Ok(cached)
}

fn number(ifname: &str) -> u32 {
    ifname
        .trim_start_matches(|letter: char| !letter.is_ascii_digit())
        .parse()
        .unwrap_or(0)
}

fn without_netns(attachment: Attachment) -> RuntimeConf {
    let (args, capability_args) = (Vec::new(), Map::new());
    RuntimeConf {
        attachment,
        netns: String::new(),
        args,
        capability_args,
    }
}
