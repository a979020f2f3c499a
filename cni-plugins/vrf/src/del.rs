//! DEL: the interface leaves its VRF with its addresses and routes; without members the VRF goes.

use cni::{DelRequest, Error};
use interface::on_host;
use interface::sandbox::{Found, Sandbox};
use netlink::Link;
use netlink::link::Setting;
use netlink::route::MAIN_TABLE;

use crate::config::VrfConfig;
use crate::member::relocate;

/// Takes the interface out of its VRF.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let ifname = request.attachment.ifname.as_str();
    // Without the name there is nothing that this could be about.
    let Ok(config) = VrfConfig::parse(&request.invocation.config, ifname) else {
        return Ok(());
    };
    let Found::Here(mut sandbox) = Sandbox::find(request.netns.as_deref())? else {
        return Ok(());
    };
    let vrf = sandbox.link(&config.name)?;
    let Some(vrf) = vrf.filter(|link| link.kind.as_deref() == Some("vrf")) else {
        return Ok(());
    };
    let released = match sandbox.link(ifname)? {
        Some(link) if link.master == Some(vrf.index) => release(&mut sandbox, &link, &vrf),
        _ => Ok(()),
    };
    released.and(remove_unused(&mut sandbox, &vrf))
}

/// What cannot move with the interface is lost, and no reason to keep it where it is.
fn release(sandbox: &mut Sandbox, link: &Link, vrf: &Link) -> Result<(), Error> {
    let table = vrf.vrf_table.unwrap_or(MAIN_TABLE);
    let moved = relocate(sandbox, link, Setting::NoMaster, table, MAIN_TABLE);
    let what = || format!("take {:?} out of {:?}", link.name, vrf.name);
    let now = on_host(sandbox.route.link_by_index(link.index), what)?;
    match now {
        Some(now) if now.master == Some(vrf.index) => moved,
        _ => Ok(()),
    }
}

fn remove_unused(sandbox: &mut Sandbox, vrf: &Link) -> Result<(), Error> {
    let what = || format!("remove VRF {:?}", vrf.name);
    let links = on_host(sandbox.route.links(), what)?;
    if links.iter().any(|link| link.master == Some(vrf.index)) {
        return Ok(());
    }
    on_host(sandbox.route.delete_link(vrf.index), what).map(drop)
}
