//! ADD: a bucket for what the link sends, an ifb with a bucket for what arrives.

use cni::{AddRequest, Code, Error};
use cni_plugin::Claim;
use interface::link::interface;
use interface::{Owner, on_host, owner, vanished};
use netlink::link::Setting;
use netlink::{Bucket, Link};
use sys::Errno;

use crate::config::Limits;
use crate::place::{Place, names};

/// Limits the container's interface.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let network = &request.invocation.config;
    let limits = Limits::parse(network)?;
    let previous = network.prev_result()?;
    let mut result = previous.ok_or_else(|| Error::config("must be called as chained plugin"))?;
    if limits.is_empty() {
        return Ok(result);
    }
    if result.interfaces.is_empty() {
        return Err(Error::config("prevResult: no interfaces provided"));
    }
    let owner = owner(&network.name, &request.attachment);
    let mut place = Place::expect(&request.netns, request.attachment.ifname.as_str())?;
    claim.made();
    // An earlier ADD, of this owner and perhaps of other limits, may have been killed.
    place.clear(&owner)?;
    let [sent, arriving] = place.buckets(&limits);
    if let Some(bucket) = sent {
        let what = || format!("limit what {:?} sends", place.link.name);
        on_host(place.socket.set_bucket(place.link.index, bucket), what)?;
    }
    if let Some(bucket) = arriving {
        let ifb = redirect(&mut place, &owner, bucket)?;
        result.interfaces.push(cni::Interface {
            mtu: 0,
            sandbox: place.sandbox(),
            ..interface(ifb)
        });
    }
    Ok(result)
}

/// To redirect before another's filters would be to switch them off, with whatever they protect.
fn occupied(link: &str) -> Error {
    let msg = format!("{link:?} already has an ingress or clsact qdisc, which is not ours");
    let remedy = format!(
        "limit without egressRate, or take it away: tc qdisc del dev {link} clsact (or ingress)"
    );
    Error::new(Code::PLUGIN, msg).details(remedy)
}

/// Makes the ifb and leads there what arrives; no frame passes it without its bucket.
fn redirect(place: &mut Place, owner: &Owner, bucket: Bucket) -> Result<Link, Error> {
    let [name, _] = names(owner);
    let what = || {
        format!(
            "limit what arrives at {:?} by ifb {name:?}",
            place.link.name
        )
    };
    let socket = &mut place.socket;
    on_host(socket.create_ifb(&name, place.link.mtu), what)?;
    let ifb = on_host(socket.link(&name), what)?.ok_or_else(|| vanished(what()))?;
    let alias = [Setting::Alias(owner.comment())];
    on_host(socket.change_link(ifb.index, &alias), what)?;
    on_host(socket.set_bucket(ifb.index, bucket), what)?;
    on_host(socket.change_link(ifb.index, &[Setting::Up]), what)?;
    match socket.redirect_arriving(place.link.index, ifb.index) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => Err(occupied(&place.link.name)),
        redirected => on_host(redirected, what),
    }?;
    Ok(ifb)
}
