//! Frees what dead containers left: those whose namespace is gone, on every network.
//!
//! With a network, it is cnitool's: everything cached for that network goes, the living too.

use anyhow::bail;
use libcni::{CachedAttachment, Keep, NetworkList};

use crate::args::Place;

/// Frees; `network` is cnitool's argument.
pub fn run(place: &Place, network: Option<&str>) -> anyhow::Result<()> {
    let caller = place.caller();
    if let Some(network) = network {
        let list = NetworkList::load(&place.net_dir, network)?;
        return Ok(caller.gc(&list, Keep::Unlisted)?);
    }
    let cached = caller.cache.entries()?;
    let (lists, broken) = NetworkList::load_all(&place.net_dir)?;
    let lists = with_cached_lists(lists, &cached);
    let collected = lists.iter().map(|list| caller.gc(list, Keep::Living));
    let mut errors: Vec<String> = collected
        .filter_map(|result| Some(result.err()?.to_string()))
        .collect();
    let unknown = |each: &&CachedAttachment| lists.iter().all(|list| list.name != each.network);
    for orphan in cached.iter().filter(unknown) {
        errors.push(format!(
            "{}: no configuration of network {}",
            orphan.attachment, orphan.network
        ));
        errors.extend(broken.iter().map(ToString::to_string));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        bail!("gc: {}", errors.join("; "))
    }
}

/// Networks whose file was removed still have attachments, each with the list of its ADD.
fn with_cached_lists(mut lists: Vec<NetworkList>, cached: &[CachedAttachment]) -> Vec<NetworkList> {
    for list in cached.iter().filter_map(CachedAttachment::list) {
        if lists.iter().all(|other| other.name != list.name) {
            lists.push(list);
        }
    }
    lists
}
