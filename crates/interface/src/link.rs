//! Making the container's link, in its namespace and under its name from the first moment.

use cni::{Code, Error, Interface};
use netlink::link::Setting;
use netlink::stacked::NewLink;
use netlink::{Link, Socket};
use sys::Errno;

use crate::sandbox::Sandbox;
use crate::{Owner, on_host, vanished};

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
    if error.errno() == Some(Errno::EEXIST) && sandbox.link(name)?.is_some() {
        let msg = format!("failed to create {kind}: {name:?} already exists");
        return Err(Error::new(Code::PLUGIN, msg).details(&sandbox.path));
    }
    on_host(Err(error), || what)
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
