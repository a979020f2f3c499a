//! CHECK: are both ends still as ADD left them? Looks, and changes nothing.

use cni::{CheckRequest, Error};
use firewall::masquerade::Masquerade;
use interface::check::{View, is_as, same_mac, wrong};
use interface::host::check_forwarding;
use interface::{Assigned, in_firewall, ipam, master, on_host, owner};
use netlink::route::Route;
use netlink::{Link, Socket};

use crate::config::PtpConfig;
use crate::plan::Plan;

/// Compares configuration and previous result with the host.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let config = PtpConfig::parse(&request.invocation)?;
    ipam::check(request)?;
    let mut view = View::open(request)?;
    view.check("veth")?;
    let plan = planned(&view)?;
    let mut host = master::host()?;
    let outside = other_end(&mut host, &view)?;
    check_routes(&mut view.sandbox.route, &plan.inner_routes(view.link.index))?;
    check_routes(&mut host, &plan.outer_routes(outside.index))?;
    check_gateways(&mut host, &outside, &plan)?;
    for address in view.addresses() {
        check_forwarding(address.addr().is_ipv6())?;
    }
    check_masquerading(request, &config, &view)
}

/// What ADD would make of the addresses that it answered.
fn planned(view: &View) -> Result<Plan, Error> {
    let own = view.addresses();
    let mut result = view.previous.clone();
    result.ips.retain(|ip| own.contains(&ip.address));
    Plan::new(Assigned::new(result, 0)?)
}

fn other_end(host: &mut Socket, view: &View) -> Result<Link, Error> {
    let ifname = &view.link.name;
    let what = || format!("look up the other end of {ifname:?}");
    let peer = view.link.peer.map(|index| host.link_by_index(index));
    let outside = on_host(peer.transpose(), what)?.flatten();
    let outside = outside.filter(|link| link.kind.as_deref() == Some("veth"));
    let outside = outside.ok_or_else(|| wrong(format!("{ifname:?} has no other end here")))?;
    let mut interfaces = view.previous.interfaces.iter();
    let told = interfaces.find(|each| each.name == outside.name && each.sandbox.is_empty());
    let told = told.ok_or_else(|| wrong(format!("prevResult lacks {:?}", outside.name)))?;
    if !outside.is_up {
        return Err(wrong(format!("host veth {:?} is down", outside.name)));
    }
    same_mac(told, &outside)?;
    Ok(outside)
}

fn check_routes(socket: &mut Socket, wanted: &[Route]) -> Result<(), Error> {
    let present = on_host(socket.routes(), || "list routes".into())?;
    let missing = |route: &&Route| !present.iter().any(|found| is_as(found, route));
    match wanted.iter().find(missing) {
        Some(route) => Err(wrong(format!(
            "route to {} is missing or differs",
            route.destination
        ))),
        None => Ok(()),
    }
}

fn check_gateways(host: &mut Socket, outside: &Link, plan: &Plan) -> Result<(), Error> {
    let what = || format!("list the addresses of {:?}", outside.name);
    let present = on_host(host.addresses(outside.index), what)?;
    for gateway in &plan.gateways {
        if !present.iter().any(|address| address.net == *gateway) {
            let msg = format!("{:?} lacks its gateway address {gateway}", outside.name);
            return Err(wrong(msg));
        }
    }
    Ok(())
}

fn check_masquerading(
    request: &CheckRequest,
    config: &PtpConfig,
    view: &View,
) -> Result<(), Error> {
    let Some(back_end) = config.masquerade else {
        return Ok(());
    };
    let masquerade = Masquerade {
        owner: &owner(&request.invocation.config.name, &request.attachment),
        addresses: &view.addresses(),
    };
    let missing = masquerade.first_missing(back_end);
    match in_firewall(missing, || "look for ipMasq rules".into())? {
        Some(rule) => Err(wrong("a rule of ipMasq is missing").details(format!("{rule:?}"))),
        None => Ok(()),
    }
}
