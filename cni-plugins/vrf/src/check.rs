//! CHECK: the interface is in its VRF, with its addresses, and its routes are in the VRF's table.

use cni::{CheckRequest, Error};
use interface::check::{View, wrong};
use interface::on_host;

use crate::config::VrfConfig;

/// Compares the configuration with the namespace.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let config = VrfConfig::parse(network, request.attachment.ifname.as_str())?;
    let mut view = View::open(request)?;
    let name = &config.name;
    let vrf = view.sandbox.link(name)?;
    let vrf = vrf.ok_or_else(|| wrong(format!("VRF {name:?} is missing")))?;
    let faults = [
        (vrf.kind.as_deref() != Some("vrf"), "is no VRF"),
        (!vrf.is_up, "is down"),
        (
            config.table.is_some() && config.table != vrf.vrf_table,
            "has another table",
        ),
        (
            view.link.master != Some(vrf.index),
            "does not have the interface",
        ),
    ];
    if let Some((_, fault)) = faults.iter().find(|(is, _)| *is) {
        return Err(wrong(format!("{name:?} {fault}")));
    }
    view.check_addresses()?;
    let present = on_host(view.sandbox.route.routes(), || "list routes".into())?;
    for route in &view.previous.routes {
        let is_there = present.iter().any(|found| {
            let table = route.table.or(vrf.vrf_table);
            found.destination == route.dst
                && found.link == Some(view.link.index)
                && found.table == table
        });
        if !is_there {
            return Err(wrong(format!(
                "the route to {} is not in {name:?}",
                route.dst
            )));
        }
    }
    Ok(())
}
