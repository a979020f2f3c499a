//! CHECK: every bucket is there, at its rate, and what arrives still goes through its ifb.

use cni::{CheckRequest, Error};
use interface::check::wrong;
use interface::{Owner, on_host, owner};
use netlink::{Bucket, Link};

use crate::config::Limits;
use crate::place::{Place, may_delete, names};

/// Compares the limits with the host.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let limits = Limits::parse(network)?;
    if limits.is_empty() {
        return Ok(());
    }
    let previous = network.prev_result()?;
    previous.ok_or_else(|| Error::config("Required prevResult missing"))?;
    let owner = owner(&network.name, &request.attachment);
    let mut place = Place::expect(&request.netns, request.attachment.ifname.as_str())?;
    let [sent, arriving] = place.buckets(&limits);
    if let Some(bucket) = sent {
        let link = place.link.clone();
        check_bucket(&mut place, &link, bucket)?;
    }
    match arriving {
        Some(bucket) => check_arriving(&mut place, &owner, bucket),
        None => Ok(()),
    }
}

fn check_arriving(place: &mut Place, owner: &Owner, bucket: Bucket) -> Result<(), Error> {
    let name = place.link.name.clone();
    let what = || format!("look where what arrives at {name:?} goes");
    let targets = on_host(place.socket.redirections(place.link.index), what)?;
    for candidate in names(owner) {
        let ifb = on_host(place.socket.link(&candidate), what)?;
        let Some(ifb) = ifb.filter(|link| may_delete(link, owner)) else {
            continue;
        };
        if !targets.contains(&ifb.index) {
            return Err(wrong(format!(
                "what arrives at {name:?} passes by ifb {candidate:?}"
            )));
        }
        if !ifb.is_up {
            return Err(wrong(format!("ifb {candidate:?} is down")));
        }
        return check_bucket(place, &ifb, bucket);
    }
    Err(wrong(format!("the ifb of {name:?} is missing")))
}

fn check_bucket(place: &mut Place, link: &Link, bucket: Bucket) -> Result<(), Error> {
    let name = &link.name;
    let installed = on_host(place.socket.bucket(link.index), || {
        format!("look up the bucket of {name:?}")
    })?;
    match installed {
        None => Err(wrong(format!("{name:?} has no limit"))),
        Some(installed) if bucket.is(&installed) => Ok(()),
        Some(installed) => Err(wrong(format!("{name:?} has another limit"))
            .details(format!("{installed:?}, and not {bucket:?}"))),
    }
}
