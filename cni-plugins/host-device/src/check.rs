//! CHECK: is the device still as ADD left it, and can it come home? Looks, and changes nothing.

use cni::{CheckRequest, Error};
use interface::check::{View, wrong};
use interface::{ipam, owner};

use crate::claims::{Claims, Taken};
use crate::config::HostDeviceConfig;
use crate::del::name_in_alias;
use crate::device;

/// Compares previous result and claim with the container.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let config = HostDeviceConfig::parse_if_any(&request.invocation)?;
    ipam::check(request)?;
    if config.is_some_and(|config| device::user_space(&config.wanted).is_some()) {
        return Ok(()); // no link was moved
    }
    let mut view = View::open(request)?;
    view.check_state()?;
    let name = &view.link.name;
    match claimed(request)? {
        Some(taken) if taken.kind != view.link.kind => {
            let msg = format!("{name:?} is not the device {:?} that was moved", taken.name);
            Err(wrong(msg))
        }
        None if name_in_alias(&view.link).is_none() => {
            let msg = format!("the name that {name:?} had on the host is lost");
            Err(wrong(msg).details("alias"))
        }
        _ => Ok(()),
    }
}

fn claimed(request: &CheckRequest) -> Result<Option<Taken>, Error> {
    let token = owner(&request.invocation.config.name, &request.attachment).token();
    let Some(claims) = Claims::existing()? else {
        return Ok(None);
    };
    for device in claims.of_owner(&token)? {
        if let Some(taken) = claims.read(&token, &device)? {
            return Ok(Some(taken));
        }
    }
    Ok(None)
}
