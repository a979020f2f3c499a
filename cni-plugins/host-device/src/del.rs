//! DEL and GC: devices come home, addresses are released.
//!
//! Steps that do not depend on each other, with one exception: an address is released when its
//! device is out of the container. Each is content when there is nothing to do.

use cni::{DelRequest, Error, GcRequest, IfName};
use interface::pair::tokens;
use interface::removal::{first_error, is_released_first};
use interface::sandbox::{Found, Sandbox};
use interface::{ipam, owner};
use netlink::Link;
use owner::Stamp;

use crate::claims::{Claims, Taken};
use crate::config::device_name;
use crate::home::{self, Ended};

/// Detaches the container.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let released_first = is_released_first(request)?;
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
    let mut steps = Vec::new();
    if let Some(claims) = Claims::existing()? {
        for (token, device) in claims.all()? {
            let stamp = Stamp {
                token,
                container: String::new(),
            };
            if stamp.is_of_network(network.as_str()) && !tokens.contains(&stamp.token) {
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

/// What the reference plugin moved: the alias tells the name.
fn come_home_unclaimed(request: &DelRequest) -> Result<(), Error> {
    let ifname = request.attachment.ifname.as_str();
    if let Found::Here(mut sandbox) = Sandbox::find(request.netns.as_deref())? {
        let link = sandbox.link(ifname)?;
        let Some((name, link)) = link.and_then(|link| Some((name_in_alias(&link)?, link))) else {
            return Ok(()); // not a device that was moved here
        };
        let taken = Taken {
            name,
            ifname: ifname.into(),
            kind: link.kind,
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

/// The alias, if it is the name of a device: ours and those of people have blanks in them.
pub(crate) fn name_in_alias(link: &Link) -> Option<String> {
    let name = link.alias.as_ref()?.parse::<IfName>().ok()?;
    Some(name.as_str().to_owned())
}
