//! ADD: choose tables, write down, make rules and copies, and last take the routes away from the
//! main table: until then every packet finds its way.

use cni::{AddRequest, Error};
use cni_plugin::Claim;
use interface::check::wrong;
use interface::{Sandbox, on_host, owner};
use netlink::Socket;

use crate::config::SbrConfig;
use crate::del::undo;
use crate::plan::{Plan, sources};
use crate::record::Record;

/// Routes the interface's packets by their source.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let network = &request.invocation.config;
    let ifname = request.attachment.ifname.as_str();
    let config = SbrConfig::parse(network)?;
    let previous = network.prev_result()?;
    let previous =
        previous.ok_or_else(|| Error::config("This plugin must be called as chained plugin"))?;
    let sources = sources(&previous, ifname, &config);
    if sources.is_empty() {
        let msg = format!("No IP addresses supplied on interface: {ifname}");
        return Err(Error::config(msg));
    }
    let mut sandbox = Sandbox::open(&request.netns)?;
    let owner = owner(&network.name, &request.attachment);
    if let Some(record) = Record::read(&owner)?.filter(|record| record.is_of(&sandbox.path)) {
        claim.made();
        undo(&mut sandbox, ifname, &record)?;
    }
    let link = sandbox.link(ifname)?;
    let link = link.ok_or_else(|| wrong(format!("interface {ifname:?} is missing")))?;
    let what = || format!("look at rules and routes in {:?}", request.netns);
    let rules = on_host(sandbox.route.rules(), what)?;
    let routes = on_host(sandbox.route.kept_routes(), what)?;
    let plan = Plan::new(&config, &sources, link.index, &rules, &routes)?;
    Record::new(&owner, &request.netns, &plan, config.table.is_none()).write(&owner)?;
    claim.made();
    on_host(make(&mut sandbox.route, &plan), || {
        format!("route by source in {:?}", request.netns)
    })?;
    Ok(previous)
}

fn make(socket: &mut Socket, plan: &Plan) -> netlink::Result<()> {
    for kept in &plan.copies {
        socket.restore_route(kept)?;
    }
    for route in &plan.defaults {
        socket.add_route(route)?;
    }
    for rule in &plan.rules {
        socket.add_rule(rule)?;
    }
    for kept in &plan.moved {
        socket.delete_route(kept)?;
    }
    for route in &plan.hints {
        socket.add_route(route)?;
    }
    Ok(())
}
