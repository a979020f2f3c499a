//! What is below a shared VLAN: a macvlan of the container's own.
//!
//! The kernel knows one vlan link per master, protocol and number, whatever namespace it is in;
//! each macvlan is a master of its own. It lies in the container beside the interface, under a
//! name that follows from the owner.

use cni::{DelRequest, Error};
use cni_plugin::Claim;
use interface::check::{View, wrong};
use interface::link::{self, Parents};
use interface::sandbox::Found;
use interface::{Owner, Sandbox, on_host, owner, removal};
use netlink::Link;
use netlink::link::Setting;
use netlink::stacked::{Kind, MacVlanMode, NewLink};

/// Makes the macvlan, and answers its index inside the container.
pub(crate) fn create(
    sandbox: &mut Sandbox,
    parents: Parents<'_>,
    master: &Link,
    owner: &Owner,
    claim: &mut Claim,
) -> Result<u32, Error> {
    let name = name(owner);
    let new = NewLink {
        name: &name,
        kind: Kind::Macvlan {
            mode: MacVlanMode::Bridge,
            broadcast_queue: None,
        },
        parent: Some(master.index),
        netns: None,
        mac: None,
        mtu: None,
    };
    link::create(sandbox, parents, new)?;
    claim.made();
    let base = link::own(sandbox, &name, owner)?;
    on_host(
        sandbox.route.change_link(base.index, &[Setting::Up]),
        || format!("set {name:?} up"),
    )?;
    Ok(base.index)
}

/// Deletes it, and with it the VLAN that is on it.
pub(crate) fn delete(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let Found::Here(mut sandbox) = Sandbox::find(request.netns.as_deref())? else {
        return Ok(());
    };
    let base = sandbox.link(&name(&owner))?;
    match base.filter(|link| removal::is_ours(link, "macvlan", &owner)) {
        Some(link) => on_host(sandbox.route.delete_link(link.index), || {
            format!("delete {:?}", link.name)
        })
        .map(drop),
        None => Ok(()),
    }
}

/// Interface, macvlan and master lie on each other.
pub(crate) fn check(view: &mut View, master: &Link, owner: &Owner) -> Result<(), Error> {
    let name = name(owner);
    let base = view.sandbox.link(&name)?;
    let base = base.ok_or_else(|| wrong(format!("link {name:?} is missing")))?;
    view.check_parent(&base)?;
    if base.is_up && base.peer == Some(master.index) {
        return Ok(());
    }
    let msg = format!("{name:?} is down or not on master {:?}", master.name);
    Err(wrong(msg))
}

fn name(owner: &Owner) -> String {
    owner.link_named("vlan", 0)
}
