//! CHECK: every rule leads to a table that has the interface's routes, and the main table has not.

use cni::{CheckRequest, Error};
use interface::check::{View, wrong};
use interface::{on_host, owner};
use netlink::route::{MAIN_TABLE, Route};
use netlink::{KeptRoute, Rule};

use crate::config::SbrConfig;
use crate::plan::{Source, sources};
use crate::record::Record;

/// Compares the configuration with the namespace.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let ifname = request.attachment.ifname.as_str();
    let config = SbrConfig::parse(network)?;
    let mut view = View::open(request)?;
    let what = || "look at rules and routes".to_owned();
    let rules = on_host(view.sandbox.route.rules(), what)?;
    let routes = on_host(view.sandbox.route.kept_routes(), what)?;
    let index = view.link.index;
    let over_link: Vec<_> = routes
        .into_iter()
        .filter(|kept| kept.route.link == Some(index))
        .collect();
    for source in sources(&view.previous, ifname, &config) {
        let table = check_rule(&config, &source, &rules)?;
        if config.table.is_none() {
            check_table(&source, table, &over_link)?;
        }
    }
    let record = Record::read(&owner(&network.name, &request.attachment))?;
    match record.filter(|record| record.is_of(&request.netns)) {
        Some(record) => check_moved(&record, &over_link),
        None => Ok(()), // the reference's ADD leaves none
    }
}

fn check_rule(config: &SbrConfig, source: &Source, rules: &[Rule]) -> Result<u32, Error> {
    let address = source.net.addr();
    let mut from = rules
        .iter()
        .filter(|rule| rule.source == Some(address.into()));
    let table = from.find_map(|rule| {
        rule.table
            .filter(|table| config.table.is_none_or(|t| t == *table))
    });
    table.ok_or_else(|| wrong(format!("the rule from {address} is missing")))
}

fn check_table(source: &Source, table: u32, over_link: &[KeptRoute]) -> Result<(), Error> {
    let own = |route: &&KeptRoute| route.route.table == Some(table);
    let mut own = over_link.iter().filter(own).map(|kept| &kept.route);
    let is_there = match source.gateway {
        Some(gateway) => own.any(|route| is_default(route) && route.gateway == Some(gateway)),
        None => own.next().is_some(),
    };
    if is_there {
        return Ok(());
    }
    let address = source.net.addr();
    Err(wrong(format!(
        "table {table} has lost the routes of {address}"
    )))
}

fn is_default(route: &Route) -> bool {
    route.destination.prefix_len() == 0
}

/// What was moved is where it was moved to, and no longer where it was.
fn check_moved(record: &Record, over_link: &[KeptRoute]) -> Result<(), Error> {
    let tables: Vec<_> = record.rules.iter().filter_map(|rule| rule.table).collect();
    for moved in &record.moved {
        let destination = moved.route.destination;
        let is_same = |kept: &&KeptRoute| {
            kept.route.destination == destination && kept.route.gateway == moved.route.gateway
        };
        let mut present = over_link
            .iter()
            .filter(is_same)
            .filter_map(|kept| kept.route.table);
        let hinted = record.hints.contains(&destination);
        if present.clone().any(|table| table == MAIN_TABLE) && !hinted {
            return Err(wrong(format!(
                "the main table has a route to {destination}"
            )));
        }
        let replaced = is_default(&moved.route); // by a gateway of the configuration
        if !replaced && !present.any(|table| tables.contains(&table)) {
            return Err(wrong(format!("the route to {destination} is missing")));
        }
    }
    Ok(())
}
