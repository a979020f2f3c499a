//! Making the container's link, in its namespace and under its name from the first moment.

use cni::{AddRequest, Code, Error, Interface};
use cni_plugin::Claim;
use netlink::link::Setting;
use netlink::stacked::{Kind, NewLink};
use netlink::{Link, Socket};
use sys::Errno;

use crate::assigned::Assigned;
use crate::sandbox::Sandbox;
use crate::setup::Setup;
use crate::{Owner, ipam, on_host, owner, vanished};

/// Where the link is on which another is made.
pub enum Parents<'a> {
    /// In the plugin's namespace; the new link is made into the container's from there.
    Host(&'a mut Socket),
    /// In the container's own (`linkInContainer`), or there is none.
    Inside,
}

/// Makes the container's link: this is the claim, for the kernel refuses a second of its name.
///
/// `new.netns` is set here.
pub fn create(sandbox: &mut Sandbox, parents: Parents<'_>, new: NewLink<'_>) -> Result<(), Error> {
    let (name, kind) = (new.name, new.kind.name());
    let what = format!("create {kind} {name:?} in {:?}", sandbox.path);
    let made = match parents {
        Parents::Host(host) => host.create_link(&NewLink {
            netns: Some(&sandbox.netns),
            ..new
        }),
        Parents::Inside => sandbox.route.create_link(&new),
    };
    let Err(error) = made else { return Ok(()) };
    if error.errno() == Some(Errno::EEXIST) {
        refuse_taken(sandbox, name)?;
        if let Kind::Vlan { id, .. } = new.kind {
            let msg = format!("failed to create vlan: the master has VLAN {id} already");
            let remedy = "\"shared\": true in all its networks lets containers share one";
            return Err(Error::new(Code::PLUGIN, msg).details(remedy));
        }
    }
    on_host(Err(error), || what)
}

/// Refuses a name that a link in the container has.
pub fn refuse_taken(sandbox: &mut Sandbox, name: &str) -> Result<(), Error> {
    let Some(link) = sandbox.link(name)? else {
        return Ok(());
    };
    let kind = link.kind.unwrap_or_default();
    let msg = format!("container interface {name:?} already exists");
    Err(Error::new(Code::PLUGIN, msg).details(format!("{kind} in {:?}", sandbox.path)))
}

/// Writes the owner on the link that was just made, and answers what it is.
pub fn own(sandbox: &mut Sandbox, name: &str, owner: &Owner) -> Result<Link, Error> {
    let what = || format!("look up {name:?}, which was just made");
    let link = sandbox.link(name)?.ok_or_else(|| vanished(what()))?;
    let alias = [Setting::Alias(owner.comment())];
    on_host(sandbox.route.change_link(link.index, &alias), || {
        format!("set the alias of {name:?}")
    })?;
    Ok(link)
}

/// The whole ADD of a plugin that makes one link inside the container and nothing else: claim,
/// owner, addresses (of `given`, or of the IPAM plugin), result.
pub fn attach(
    request: &AddRequest,
    claim: &mut Claim,
    sandbox: &mut Sandbox,
    parents: Parents<'_>,
    new: NewLink<'_>,
    setup: Setup,
    given: Option<Assigned>,
) -> Result<cni::Result, Error> {
    const CONTAINER: usize = 0; // the only interface of the result
    let config = &request.invocation.config;
    let (name, dns) = (new.name, config.dns()?);
    create(sandbox, parents, new)?;
    claim.made();
    let link = own(sandbox, name, &owner(&config.name, &request.attachment))?;
    let assigned = match given {
        Some(given) => Some(given),
        None => ipam::ask(request, CONTAINER)?,
    };
    setup.apply(sandbox, &link, assigned.as_ref())?;
    let interfaces = vec![interface_inside(sandbox, link.index)?];
    let assigned = assigned.unwrap_or_default();
    let dns = assigned.dns_or(&dns);
    Ok(cni::Result {
        interfaces,
        ips: assigned.ips,
        routes: assigned.routes,
        dns,
    })
}

/// The container's interface as it is now, for the result.
pub fn interface_inside(sandbox: &mut Sandbox, index: u32) -> Result<Interface, Error> {
    let what = || "read back the container's link".to_owned();
    let link = on_host(sandbox.route.link_by_index(index), what)?;
    Ok(Interface {
        sandbox: sandbox.path.clone(),
        ..interface(link.ok_or_else(|| vanished(what()))?)
    })
}

/// A link as results name it.
pub fn interface(link: Link) -> Interface {
    Interface {
        name: link.name,
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: link.mtu,
        ..Interface::default()
    }
}
