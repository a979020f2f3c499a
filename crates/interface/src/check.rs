//! CHECK: is the container's link still as ADD left it? Looks, and changes nothing.

use cni::{CheckRequest, Code, Error, Interface, IpConfig};
use ipnet::IpNet;
use netlink::Link;
use netlink::route::{MAIN_TABLE, Route};

use crate::assigned::kernel_route;
use crate::on_host;
use crate::sandbox::Sandbox;

/// What is wrong with the host, as an error.
pub fn wrong(msg: impl Into<String>) -> Error {
    Error::new(Code::PLUGIN, msg)
}

/// The container's link beside what prevResult says of it.
pub struct View {
    /// What ADD answered: all interfaces, and the addresses of this link alone.
    pub previous: cni::Result,
    /// Links of other plugins of the list in the container, with their addresses in prevResult.
    others: Vec<(u32, Vec<IpConfig>)>,
    /// The container's namespace.
    pub sandbox: Sandbox,
    /// The link.
    pub link: Link,
}

impl View {
    /// Opens the namespace and finds the link.
    pub fn open(request: &CheckRequest) -> Result<Self, Error> {
        let previous = request.invocation.config.prev_result()?;
        let mut previous = previous.ok_or_else(|| Error::config("Required prevResult missing"))?;
        let mut sandbox = Sandbox::open(&request.netns)?;
        let ifname = request.attachment.ifname.as_str();
        let link = sandbox.link(ifname)?;
        let link = link.ok_or_else(|| wrong(format!("link {ifname:?} is missing")))?;
        let others = others(&previous, ifname, &mut sandbox)?;
        let interfaces = &previous.interfaces;
        previous.ips.retain(|ip| {
            let of = ip.interface.and_then(|index| interfaces.get(index));
            of.is_none_or(|each| each.name == ifname && !each.sandbox.is_empty())
        });
        Ok(Self {
            previous,
            others,
            sandbox,
            link,
        })
    }

    /// All that can be said of any kind of link: its kind, what [`Self::check_interface`]
    /// compares, that it is up, its addresses and routes.
    pub fn check(&mut self, kind: &str) -> Result<(), Error> {
        if self.link.kind.as_deref() != Some(kind) {
            return Err(wrong(format!("{:?} is no {kind}", self.link.name)));
        }
        self.check_state()
    }

    /// The same but for the kind.
    pub fn check_state(&mut self) -> Result<(), Error> {
        self.check_interface()?;
        if !self.link.is_up {
            return Err(wrong(format!("{:?} is down", self.link.name)));
        }
        self.check_addresses()?;
        self.check_routes()
    }

    /// The link is made on this one.
    pub fn check_parent(&self, master: &Link) -> Result<(), Error> {
        if self.link.peer == Some(master.index) {
            return Ok(());
        }
        let msg = format!("{:?} is not on master {:?}", self.link.name, master.name);
        Err(wrong(msg))
    }

    /// The entry of prevResult: namespace, Ethernet address, MTU.
    pub fn check_interface(&self) -> Result<(), Error> {
        let (name, path) = (&self.link.name, &self.sandbox.path);
        let missing = || {
            wrong(format!(
                "prevResult has no interface {name:?} in a container"
            ))
        };
        let mut interfaces = self.previous.interfaces.iter();
        let interface = interfaces
            .find(|each| each.name == *name && !each.sandbox.is_empty())
            .ok_or_else(missing)?;
        if interface.sandbox != *path {
            let msg = "Sandbox in prevResult doesn't match configured netns";
            return Err(wrong(msg).details(format!("{} and {path}", interface.sandbox)));
        }
        if interface.mtu != 0 && interface.mtu != self.link.mtu {
            let msg = format!("{name:?} has MTU {}, not {}", self.link.mtu, interface.mtu);
            return Err(wrong(msg));
        }
        same_mac(interface, &self.link)
    }

    /// The addresses that prevResult gives the link.
    pub fn addresses(&self) -> Vec<IpNet> {
        let ips = self.previous.ips.iter();
        ips.map(|ip| ip.address).collect()
    }

    /// Every address is there, with its prefix length.
    pub fn check_addresses(&mut self) -> Result<(), Error> {
        let what = || "list addresses".to_owned();
        let present = on_host(self.sandbox.route.addresses(self.link.index), what)?;
        for wanted in self.addresses() {
            if !present.iter().any(|address| address.net == wanted) {
                let msg = format!("{:?} lacks the address {wanted}", self.link.name);
                return Err(wrong(msg));
            }
        }
        Ok(())
    }

    /// Every route is there, over this link and with what prevResult says of it; or over the link
    /// of another plugin of the list, which may have made it.
    pub fn check_routes(&mut self) -> Result<(), Error> {
        let present = on_host(self.sandbox.route.routes(), || "list routes".into())?;
        for route in &self.previous.routes {
            let leads = |link: u32, ips: &[IpConfig]| {
                let wanted = kernel_route(route, ips, link);
                present.iter().any(|found| is_as(found, &wanted))
            };
            let mut others = self.others.iter();
            if !leads(self.link.index, &self.previous.ips)
                && !others.any(|(link, ips)| leads(*link, ips))
            {
                let msg = format!("route to {} is missing or differs", route.dst);
                return Err(wrong(msg));
            }
        }
        Ok(())
    }
}

/// What prevResult puts into the container beside `ifname`, as far as it is there.
fn others(
    previous: &cni::Result,
    ifname: &str,
    sandbox: &mut Sandbox,
) -> Result<Vec<(u32, Vec<IpConfig>)>, Error> {
    let mut found = Vec::new();
    for (index, other) in previous.interfaces.iter().enumerate() {
        if other.sandbox != sandbox.path || other.name == ifname {
            continue;
        }
        if let Some(link) = sandbox.link(&other.name)? {
            let ips = previous.ips.iter().filter(|ip| ip.interface == Some(index));
            found.push((link.index, ips.cloned().collect()));
        }
    }
    Ok(found)
}

/// Whether a route of the container is one that was asked for: what was not given may be anything.
/// That holds for the table too, for a plugin later in the chain may have moved the route (`sbr`
/// does); it still leads out of the same link to the same gateway.
pub fn is_as(found: &Route, wanted: &Route) -> bool {
    let same = |want: Option<u32>, have| want.is_none() || want == have;
    found.destination == wanted.destination
        && found.gateway == wanted.gateway
        && found.link == wanted.link
        && same(wanted.table, Some(found.table.unwrap_or(MAIN_TABLE)))
        && same(wanted.priority, found.priority)
        && same(wanted.mtu, found.mtu)
        && same(wanted.advmss, found.advmss)
}

/// Compares Ethernet addresses; one that the result does not give may be any.
pub fn same_mac(interface: &Interface, link: &Link) -> Result<(), Error> {
    let present = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if interface.mac.is_empty() || interface.mac.eq_ignore_ascii_case(&present) {
        return Ok(());
    }
    let msg = format!(
        "{:?} has Ethernet address {present}, not {}",
        link.name, interface.mac
    );
    Err(wrong(msg))
}
