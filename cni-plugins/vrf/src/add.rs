//! ADD: refuse, find or make the VRF, move the interface in.

use cni::{AddRequest, Error};
use cni_plugin::Claim;
use interface::check::wrong;
use interface::{Sandbox, on_host, vanished};
use netlink::link::Setting;
use netlink::route::MAIN_TABLE;
use netlink::{Link, Socket};
use sys::Errno;

use crate::config::VrfConfig;
use crate::member::relocate;

/// How often a table is chosen anew when another has just taken it.
const TRIES: u32 = 10;

/// Puts the interface into its VRF.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let network = &request.invocation.config;
    let ifname = request.attachment.ifname.as_str();
    let config = VrfConfig::parse(network, ifname)?;
    let previous = network.prev_result()?;
    let previous =
        previous.ok_or_else(|| Error::config("missing prevResult from earlier plugin"))?;
    let mut sandbox = Sandbox::open(&request.netns)?;
    let link = sandbox.link(ifname)?;
    let link = link.ok_or_else(|| wrong(format!("interface {ifname:?} is missing")))?;
    let present = sandbox.link(&config.name)?;
    if let Some(vrf) = &present {
        refuse_unsuitable(vrf, &config)?;
    }
    if let Some(master) = link.master {
        if present.as_ref().map(|vrf| vrf.index) == Some(master) {
            return Ok(previous); // by an earlier ADD
        }
        let master = on_host(sandbox.route.link_by_index(master), || {
            "look up the master".into()
        })?;
        let master = master.map(|link| link.name).unwrap_or_default();
        let msg = format!("interface {ifname} has already a master set: {master}");
        return Err(wrong(msg));
    }
    claim.made();
    let vrf = match present {
        Some(vrf) => vrf,
        None => make(&mut sandbox.route, &config)?,
    };
    let what = || format!("set {:?} up", config.name);
    on_host(sandbox.route.change_link(vrf.index, &[Setting::Up]), what)?;
    let table = vrf.vrf_table.unwrap_or(MAIN_TABLE);
    relocate(
        &mut sandbox,
        &link,
        Setting::Master(vrf.index),
        MAIN_TABLE,
        table,
    )?;
    Ok(previous)
}

fn refuse_unsuitable(link: &Link, config: &VrfConfig) -> Result<(), Error> {
    let name = &config.name;
    if link.kind.as_deref() != Some("vrf") {
        return Err(Error::config(format!("Netlink {name} is not a VRF"))
            .details("vrfname: the name of another link"));
    }
    match (config.table, link.vrf_table) {
        (Some(wanted), Some(table)) if wanted != table => Err(Error::config(format!(
            "VRF {name} already exist with different routing table {table}"
        ))
        .details(format!("table: {wanted}"))),
        _ => Ok(()),
    }
}

/// Makes the VRF; two tables of one number would be one VRF to the kernel.
fn make(socket: &mut Socket, config: &VrfConfig) -> Result<Link, Error> {
    let name = &config.name;
    let what = || format!("make VRF {name:?}");
    for _ in 0..TRIES {
        let table = match config.table {
            Some(table) => table,
            None => on_host(free_table(socket), what)?,
        };
        match socket.create_vrf(name, table) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => {} // by another ADD
            made => on_host(made, what)?,
        }
        let link = on_host(socket.link(name), what)?;
        if let Some(link) = link {
            refuse_unsuitable(&link, config)?;
            return Ok(link);
        }
    }
    Err(vanished(what()))
}

/// The lowest table that no VRF has, no route is in and no rule leads to.
fn free_table(socket: &mut Socket) -> netlink::Result<u32> {
    let mut used: Vec<u32> = (253..=255).collect(); // default, main, local
    used.extend(socket.links()?.iter().filter_map(|link| link.vrf_table));
    used.extend(
        socket
            .kept_routes()?
            .iter()
            .filter_map(|kept| kept.route.table),
    );
    used.extend(socket.rules()?.iter().filter_map(|rule| rule.table));
    let mut tables = 1..u32::MAX;
    Ok(tables
        .find(|table| !used.contains(table))
        .unwrap_or(u32::MAX))
}
