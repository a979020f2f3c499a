//! DEL and GC: devices come home, addresses are released.
//!
//! Steps that do not depend on each other, with one exception: an address is released when its
//! device is out of the container. Each is content when there is nothing to do.

use cni::{DelRequest, Error, GcRequest, IfName};
use interface::Grace;
use interface::pair::tokens;
use interface::removal::{first_error, is_released_first};
use interface::sandbox::{Found, Sandbox};
use interface::{ipam, master, on_host, owner};
use netlink::{Link, Mac};
use owner::Stamp;

use crate::claims::{Claims, Taken};
use crate::config::{Wanted, device_name, wanted_device};
use crate::home::{self, Ended};

/// Detaches the container.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let released_first = is_released_first(request);
    let early = if released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    let home = come_home(request);
    let late = if home.is_ok() && !released_first {
        ipam::release(request)
    } else {
        Ok(())
    };
    first_error([home, early, late])
}

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = &request.invocation.config.name;
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let tokens = tokens(network, valid);
    let grace = Grace::of(request)?;
    let mut steps = Vec::new();
    if let Some(claims) = Claims::existing()? {
        steps.push(claims.sweep());
        for (token, device) in claims.all()? {
            let stamp = Stamp {
                token,
                container: String::new(),
            };
            if stamp.is_of_network(network.as_str()) && grace.frees(&tokens, &stamp.token) {
                steps.push(settle(&claims, &stamp.token, &device, None).map(drop));
            }
        }
    }
    let home = first_error(steps);
    let released = if home.is_ok() {
        ipam::gc(request)
    } else {
        Ok(())
    };
    first_error([home, released])
}

/// The attachment's device comes home, if it has one.
fn come_home(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let (token, netns) = (owner.token(), request.netns.as_deref());
    let mut settled = Vec::new();
    if let Some(claims) = Claims::existing()? {
        // An ADD that was killed while it wrote has left a file.
        settled.push(claims.sweep().map(|()| false));
        for device in claims.of_owner(&token)? {
            settled.push(settle(&claims, &token, &device, netns));
        }
    }
    let is_known = settled.iter().any(|one| !matches!(one, Ok(false)));
    first_error(settled.into_iter().map(|one| one.map(drop)))?;
    match is_known {
        true => Ok(()),
        false => come_home_unclaimed(request),
    }
}

/// Brings a claimed device home and gives the claim up; false when it told nothing. The claim on
/// a physical device that is out of sight stays: it will come back under another name, and the
/// next ADD or GC sees to that.
fn settle(claims: &Claims, token: &str, device: &str, netns: Option<&str>) -> Result<bool, Error> {
    let _lock = claims.lock(device)?;
    let taken = claims.read(token, device)?;
    if let Some(taken) = &taken {
        let paths = [netns.unwrap_or_default(), taken.netns.as_str()];
        let ended = home::bring(taken, &paths)?;
        if ended == Ended::Nowhere && taken.kind.is_none() {
            return Ok(true);
        }
    }
    claims.remove(token, device)?;
    Ok(taken.is_some())
}

/// What the reference plugin moved: the alias tells the name, as far as the container can be
/// believed, which may have written it.
fn come_home_unclaimed(request: &DelRequest) -> Result<(), Error> {
    let ifname = request.attachment.ifname.as_str();
    if let Found::Here(mut sandbox) = Sandbox::find(request.netns.as_deref())? {
        let link = sandbox.link(ifname)?;
        let Some((name, link)) = link.and_then(|link| Some((name_in_alias(&link)?, link))) else {
            return Ok(()); // not a device that was moved here
        };
        if !is_of_the_host(request, &name, &link)? {
            return Ok(());
        }
        let taken = Taken {
            name,
            ifname: ifname.into(),
            kind: link.kind,
            index: link.index,
            has_left: true,
            ..Taken::default()
        };
        return home::bring(&taken, &[&sandbox.path]).map(drop);
    }
    let Some(name) = device_name(&request.invocation) else {
        return Ok(());
    };
    let taken = Taken {
        name,
        ifname: ifname.into(),
        ..Taken::default()
    };
    home::bring(&taken, &[]).map(drop)
}

/// Whether a link that nobody has claimed, and whose alias is `name`, can have come from the host.
///
/// Links of a kind are made by whoever may, so by the container as well: such a one has to be the
/// device of the configuration, with the address of the previous result, and missing on the host.
/// A physical device is nobody's forgery, but its alias may be.
fn is_of_the_host(request: &DelRequest, name: &str, link: &Link) -> Result<bool, Error> {
    let claims = Claims::existing()?;
    let claimed = claims.map_or(Ok(Vec::new()), |claims| claims.of_device(name))?;
    if !claimed.is_empty() {
        return Ok(false); // another container has the device of that name
    }
    let has_mac = |mac: Mac| link.mac == Some(mac) || link.permanent_mac == Some(mac);
    let ifname = request.attachment.ifname.as_str();
    let previous = request.invocation.config.prev_result().ok().flatten();
    let was_told = previous.unwrap_or_default().interfaces.iter().any(|told| {
        let inside = told.name == ifname && !told.sandbox.is_empty();
        inside && told.mac.parse().is_ok_and(has_mac)
    });
    let wanted = wanted_device(&request.invocation);
    let is_named = matches!(&wanted, Some(Wanted::Name(wanted)) if wanted == name);
    if link.kind.is_some() {
        let what = || format!("look whether the host has {name:?}");
        let is_missing = || on_host(master::host()?.link(name), what).map(|link| link.is_none());
        return Ok(is_named && was_told && is_missing()?);
    }
    Ok(match wanted {
        Some(Wanted::Name(_)) => is_named,
        Some(Wanted::Mac(mac)) => has_mac(mac),
        _ => was_told,
    })
}

/// The alias, if it is the name of a device: ours and those of people have blanks in them.
pub(crate) fn name_in_alias(link: &Link) -> Option<String> {
    let name = link.alias.as_ref()?.parse::<IfName>().ok()?;
    Some(name.as_str().to_owned())
}
