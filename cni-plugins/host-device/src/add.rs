//! ADD, as numbered steps.
//!
//! 1 refuse what can be refused without touching anything, 2 finish what an earlier attachment
//! never came to: its device, or the device that is wanted now, comes home, 3 write the claim,
//! 4 move the device: the kernel gives it to one of those who ask at once, 5 IPAM, 6 addresses,
//! up, routes, 7 the result. From the claim on, an error makes `cni_plugin` run DEL.

use cni::{AddRequest, Code, Error, Interface};
use cni_plugin::Claim;
use interface::link::{interface_inside, refuse_taken};
use interface::setup::{Detection, Setup};
use interface::{Assigned, Owner, Sandbox, ipam, master, on_host, owner, vanished};
use netlink::link::Setting;
use netlink::route::MAIN_TABLE;
use netlink::{Link, Socket};
use owner::Stamp;
use sys::Errno;

use crate::claims::{Claims, Taken};
use crate::config::HostDeviceConfig;
use crate::device::{self, Device};
use crate::home::{self, Ended};

/// Attaches the container.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let config = HostDeviceConfig::parse(&request.invocation)?;
    ipam::refuse_unusable(request)?;
    let mut sandbox = Sandbox::open(&request.netns)?;
    refuse_taken(&mut sandbox, request.attachment.ifname.as_str())?;
    let mut host = master::host()?;
    let (link, pci) = match device::find(&mut host, &config.wanted)? {
        Device::UserSpace(address) => return user_space(request, claim, &config, address),
        Device::Link(link, pci) => (link, pci),
    };
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let link = take(&owner, *link, &mut host, &mut sandbox, claim)?;
    let assigned = ipam::ask(request, 0)?;
    // Others on the device's network may remember the addresses' last owner.
    let setup = Setup {
        detection: Detection::Kernel,
        announce: true,
    };
    setup.apply(&mut sandbox, &link, assigned.as_ref())?;
    let interface = Interface {
        pci_id: pci.unwrap_or_default(),
        ..interface_inside(&mut sandbox, link.index)?
    };
    Ok(result(&config, interface, assigned))
}

/// A device that a program drives has no link: the result tells where it belongs.
fn user_space(
    request: &AddRequest,
    claim: &mut Claim,
    config: &HostDeviceConfig,
    address: String,
) -> Result<cni::Result, Error> {
    claim.made();
    let assigned = ipam::ask(request, 0)?;
    let interface = Interface {
        name: request.attachment.ifname.to_string(),
        sandbox: request.netns.clone(),
        pci_id: address,
        ..Interface::default()
    };
    Ok(result(config, interface, assigned))
}

fn result(
    config: &HostDeviceConfig,
    interface: Interface,
    assigned: Option<Assigned>,
) -> cni::Result {
    let dns = match &assigned {
        Some(assigned) => assigned.dns_or(&config.dns),
        None => config.dns.clone(),
    };
    let assigned = assigned.unwrap_or_default();
    cni::Result {
        interfaces: vec![interface],
        ips: assigned.ips,
        routes: assigned.routes,
        dns,
    }
}

/// Claims the device and moves it; what it is in the container.
fn take(
    owner: &Owner,
    link: Link,
    host: &mut Socket,
    sandbox: &mut Sandbox,
    claim: &mut Claim,
) -> Result<Link, Error> {
    let claims = Claims::open()?;
    let netns = sandbox.path.clone();
    finish_earlier(&claims, &owner.token(), &netns)?;
    let name = name_at_home(&claims, &link)?;
    let _lock = claims.lock(&name)?;
    come_home(&claims, &name)?;
    let what = || format!("move {name:?} into {netns:?}");
    let link = on_host(host.link(&name), what)?;
    let link = link.ok_or_else(|| {
        let holder = Claims::holder(&name);
        Error::new(Code::TRY_AGAIN, what()).details(holder.unwrap_or("it vanished".into()))
    })?;
    refuse_unfit(&link)?;
    warn_of_loss(host, &link, claim)?;
    let mut taken = Taken::new(owner, &netns, &link);
    claims.write(&owner.token(), &taken)?;
    claim.made();
    let ifname = &owner.ifname;
    let settings = [Setting::Alias(name.clone()), Setting::Name(ifname.clone())];
    match host.move_link(link.index, &sandbox.netns, &settings) {
        Err(error) if error.errno() == Some(Errno::EEXIST) => {
            let msg = format!("container interface {ifname:?} already exists");
            return Err(Error::new(Code::PLUGIN, msg).details(error));
        }
        Err(error) if error.errno() == Some(Errno::ENODEV) => return Err(vanished(what())),
        moved => on_host(moved, what)?,
    }
    taken.has_left = true;
    let inside = sandbox.link(ifname)?;
    taken.index = inside.as_ref().map_or(0, |link| link.index);
    claims.write(&owner.token(), &taken)?;
    inside.ok_or_else(|| vanished(what()))
}

/// What this attachment had before, and nobody deleted.
fn finish_earlier(claims: &Claims, token: &str, netns: &str) -> Result<(), Error> {
    for device in claims.of_owner(token)? {
        let _lock = claims.lock(&device)?;
        if let Some(taken) = claims.read(token, &device)? {
            home::bring(&taken, &[netns, &taken.netns])?;
        }
        claims.remove(token, &device)?;
    }
    Ok(())
}

/// The name under which a device is claimed. One that came back under another name, because its
/// container's namespace ended, has it as its alias.
fn name_at_home(claims: &Claims, link: &Link) -> Result<String, Error> {
    match &link.alias {
        Some(alias) if !claims.of_device(alias)?.is_empty() => Ok(alias.clone()),
        _ => Ok(link.name.clone()),
    }
}

/// Under the device's lock: whoever has a claim on it while it is on the host was killed, or lost
/// it with the namespace.
fn come_home(claims: &Claims, device: &str) -> Result<(), Error> {
    for token in claims.of_device(device)? {
        let taken = claims.read(&token, device)?.unwrap_or_else(|| Taken {
            name: device.into(),
            ..Taken::default()
        });
        if home::bring(&taken, &[])? == Ended::Home {
            claims.remove(&token, device)?;
        }
    }
    Ok(())
}

fn refuse_unfit(link: &Link) -> Result<(), Error> {
    let name = &link.name;
    if name == "lo" {
        let msg = "device: \"lo\" cannot leave its namespace";
        return Err(Error::config(msg).details("every container has its own"));
    }
    let stamp = link.alias.as_deref().and_then(Stamp::parse);
    match stamp {
        Some(stamp) => {
            let msg = format!("device: {name:?} belongs to another attachment");
            Err(Error::config(msg).details(format!("container {:?}", stamp.container)))
        }
        None => Ok(()),
    }
}

/// A device loses its addresses, its routes and its bridge. They are not given back: a lease may
/// be over and somebody else have the address. Whoever configured them hears that it is there.
fn warn_of_loss(host: &mut Socket, link: &Link, claim: &mut Claim) -> Result<(), Error> {
    let name = &link.name;
    let what = || format!("look what the host loses with {name:?}");
    let routes = on_host(host.routes(), what)?;
    let is_default = |route: &netlink::route::Route| {
        let table = route.table.unwrap_or(MAIN_TABLE);
        route.destination.prefix_len() == 0 && table == MAIN_TABLE && route.link == Some(link.index)
    };
    if routes.iter().any(is_default) {
        claim.warn(format!("the host loses its default route with {name:?}"));
    }
    if link.master.is_some() {
        claim.warn(format!(
            "{name:?} was a port of a bridge or bond of the host"
        ));
    }
    Ok(())
}
