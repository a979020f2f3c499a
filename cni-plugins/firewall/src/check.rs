//! CHECK: everything that ADD would make is there. Looks, and changes nothing.

use cni::{Attempt, CheckRequest, Code, Error};
use firewall::nftables::Nftables;
use interface::{in_firewall, owner};

use crate::add::Plan;
use crate::config::{BackEnd, FirewallConfig};
use crate::firewalld::Firewalld;
use crate::in_firewalld;
use crate::record::{Record, Records};

/// Compares the configuration with the host.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let config = FirewallConfig::parse(network)?;
    let previous = network.prev_result()?;
    let previous = previous.ok_or_else(|| Error::config("Required prevResult missing"))?;
    let owner = owner(&network.name, &request.attachment);
    let mut plan = Plan::new(
        &config,
        &owner,
        &previous,
        request.attachment.ifname.as_str(),
    )?;
    let record = Records::find()
        .and_then(|records| records.map_or(Ok(None), |records| records.read(&owner)))
        .attempt(Code::IO, || "read the record".into())?;
    // What "automatic" means may have changed since ADD.
    if let Some(record) = &record {
        plan.back_end = back_end_of(record);
    }
    check_zone(&plan)?;
    if plan.back_end == BackEnd::Firewalld && plan.bridge.is_none() {
        return Ok(());
    }
    let missing = match plan.uses_iptables() {
        true => plan.for_iptables().first_missing(),
        false => Nftables::open().and_then(|mut nft| plan.for_nftables().first_missing(&mut nft)),
    };
    match in_firewall(missing, || "look for the rules".into())? {
        None => Ok(()),
        Some(missing) => {
            let msg = format!("a rule of {} is missing", request.attachment);
            Err(Error::new(Code::PLUGIN, msg).details(missing))
        }
    }
}

fn back_end_of(record: &Record) -> BackEnd {
    match (&record.zone, record.iptables) {
        (Some(_), _) => BackEnd::Firewalld,
        (None, true) => BackEnd::Rules(firewall::BackEnd::Iptables),
        (None, false) => BackEnd::Rules(firewall::BackEnd::Nftables),
    }
}

fn check_zone(plan: &Plan<'_>) -> Result<(), Error> {
    if plan.back_end != BackEnd::Firewalld {
        return Ok(());
    }
    let what = || "ask firewalld".to_owned();
    let mut firewalld = in_firewalld(Firewalld::connect(), what)?;
    for ip in &plan.addresses {
        if !in_firewalld(firewalld.has(&plan.config.zone, *ip), what)? {
            let msg = format!("{ip} is no source of zone {}", plan.config.zone);
            return Err(Error::new(Code::PLUGIN, msg));
        }
    }
    Ok(())
}
