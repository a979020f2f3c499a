//! The `poststop` hook: detaches the container from everything it was attached to.
//!
//! It needs neither process nor namespace nor configuration: the cache tells what was attached,
//! by which list, with which arguments. A namespace is never handed to the plugins: it is gone, or
//! its path leads to somebody else's. A second run finds nothing and succeeds.

use anyhow::bail;
use cni::{Attachment, ContainerId};
use libcni::{CachedAttachment, Caller, Error, NetworkList, RuntimeConf};
use serde_json::Map;

use crate::annotations::Wanted;
use crate::args::Place;
use crate::state::State;

/// Detaches the container.
pub fn run(place: &Place, state: &State) -> anyhow::Result<()> {
    let caller = place.caller();
    let cached = cached(&caller, &state.id)?;
    let mut errors: Vec<String> = detach_all(place, &caller, &cached);
    // Annotations that are wrong attached nothing.
    let wanted = Wanted::parse(&state.annotations).unwrap_or_default();
    let networks = wanted.networks.iter().map(|network| &network.name);
    for (index, network) in networks.enumerate().rev() {
        if cached.iter().any(|each| each.network == *network) {
            continue;
        }
        // The cache may have been lost; DEL costs little and needs nothing.
        let list = match NetworkList::load(&place.net_dir, network.as_str()) {
            Err(Error::UnknownNetwork { .. }) => continue,
            other => other?,
        };
        let ifname = format!("eth{index}").parse()?;
        let attachment = Attachment {
            container_id: state.id.clone(),
            ifname,
        };
        errors.extend(
            caller
                .del(&list, &without_netns(attachment))
                .err()
                .map(|error| error.to_string()),
        );
    }
    if !errors.is_empty() {
        bail!("detach {}: {}", state.id, errors.join("; "));
    }
    Ok(())
}

/// Detaches each, whatever becomes of the others; the errors.
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
        caller.del(&list, &without_netns(each.attachment.clone()))
    };
    cached
        .iter()
        .filter_map(|each| detach(each).err())
        .map(|error| error.to_string())
        .collect()
}

/// In the reverse order of attaching: eth10, eth9, ... eth0.
pub(crate) fn cached(caller: &Caller, id: &ContainerId) -> anyhow::Result<Vec<CachedAttachment>> {
    let mut cached = caller.cache.entries()?;
    cached.retain(|each| each.attachment.container_id == *id);
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
