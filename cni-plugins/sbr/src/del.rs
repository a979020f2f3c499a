//! DEL: rules away, and where the interface is still there its routes back to the main table.
//!
//! The record says which. Without one, as after the reference's ADD, the rules are those from the
//! addresses that the interface has, or that the previous result gives it.

use cni::{DelRequest, Error};
use interface::sandbox::{Found, Sandbox};
use interface::{on_host, owner};
use netlink::{Rule, Socket};

use crate::config::SbrConfig;
use crate::plan::{PROTOCOL, sources};
use crate::record::{Record, remove};

/// Takes back what ADD made.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let ifname = request.attachment.ifname.as_str();
    let owner = owner(&network.name, &request.attachment);
    if let Found::Here(mut sandbox) = Sandbox::find(request.netns.as_deref())? {
        match Record::read(&owner)?.filter(|record| record.is_of(&sandbox.path)) {
            Some(record) => undo(&mut sandbox, ifname, &record)?,
            None => delete_by_address(&mut sandbox, request)?,
        }
    }
    remove(&owner)
}

/// Undoes what a record tells, as far as it was done.
pub(crate) fn undo(sandbox: &mut Sandbox, ifname: &str, record: &Record) -> Result<(), Error> {
    let what = || format!("take back routing by source in {:?}", sandbox.path);
    let rules = on_host(sandbox.route.rules(), what)?;
    for wanted in &record.rules {
        let is_it = |rule: &&Rule| {
            rule.source == wanted.source
                && rule.table == wanted.table
                && rule.protocol == wanted.protocol
        };
        for rule in rules.iter().filter(is_it) {
            on_host(sandbox.route.delete_rule(rule), what)?;
        }
    }
    match on_host(sandbox.route.link(ifname), what)? {
        Some(link) => on_host(give_back(&mut sandbox.route, link.index, record), what),
        None => Ok(()), // its routes went with it
    }
}

fn give_back(socket: &mut Socket, index: u32, record: &Record) -> netlink::Result<()> {
    let is_of_link = |link: Option<u32>| link == Some(index);
    let tables: Vec<u32> = record.rules.iter().filter_map(|rule| rule.table).collect();
    let routes = socket.kept_routes()?;
    // What stands in their place in the main table goes first.
    for kept in routes.iter().filter(|kept| is_of_link(kept.route.link)) {
        let is_hint = kept.route.table == Some(netlink::route::MAIN_TABLE)
            && kept.route.gateway.is_none()
            && record.hints.contains(&kept.route.destination);
        if is_hint {
            socket.delete_route(kept)?;
        }
    }
    // Those on the link before those beyond it. One that cannot come back, because an address has
    // gone meanwhile, holds up nothing else.
    for kept in record
        .moved
        .iter()
        .rev()
        .filter(|kept| is_of_link(kept.route.link))
    {
        let _ = socket.restore_route(kept);
    }
    if !record.owns_tables {
        return Ok(());
    }
    for kept in routes.iter().filter(|kept| is_of_link(kept.route.link)) {
        if kept
            .route
            .table
            .is_some_and(|table| tables.contains(&table))
        {
            socket.delete_route(kept)?;
        }
    }
    Ok(())
}

/// Rules of ours or of the reference (which has no protocol) that are from the interface's
/// addresses and from nobody else.
fn delete_by_address(sandbox: &mut Sandbox, request: &DelRequest) -> Result<(), Error> {
    let ifname = request.attachment.ifname.as_str();
    let what = || format!("delete rules in {:?}", request.netns);
    // A previous result that cannot be understood names nobody.
    let previous = request.invocation.config.prev_result().ok().flatten();
    let given = previous.map(|result| sources(&result, ifname, &SbrConfig::default()));
    let mut addresses: Vec<_> = given
        .iter()
        .flatten()
        .map(|source| source.net.addr())
        .collect();
    if let Some(link) = sandbox.link(ifname)? {
        let present = on_host(sandbox.route.addresses(link.index), what)?;
        addresses.extend(present.iter().map(|address| address.net.addr()));
    }
    for rule in on_host(sandbox.route.rules(), what)? {
        let is_from = rule.source.is_some_and(|source| {
            source.prefix_len() == source.max_prefix_len() && addresses.contains(&source.addr())
        });
        if is_from
            && !rule.is_narrow
            && rule.table.is_some()
            && [PROTOCOL, 0].contains(&rule.protocol)
        {
            on_host(sandbox.route.delete_rule(&rule), what)?;
        }
    }
    Ok(())
}
