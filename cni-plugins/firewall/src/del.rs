//! DEL: whatever the owner has, in every back end.
//!
//! By the record of ADD; without one (the reference has attached, or this is the second DEL) by
//! the addresses of the previous result, except those that another attachment has by now.

use std::net::IpAddr;

use cni::{Attempt, Code, DelRequest, Error};
use firewall::nftables::Nftables;
use interface::removal::first_error;
use interface::{in_firewall, owner};
use owner::Owner;

use crate::config::{DEFAULT_ADMIN_CHAIN, FirewallConfig, addresses};
use crate::firewalld::{self, Firewalld};
use crate::iptables::{self, Unwanted};
use crate::record::{Policy, Record, Records};
use crate::{in_firewalld, nftables};

/// Closes the container's way.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let owner = owner(&network.name, &request.attachment);
    let records = Records::find().attempt(Code::IO, || "open the records".into())?;
    let record = match &records {
        Some(records) => records
            .read(&owner)
            .attempt(Code::IO, || "read the record".into())?,
        None => None,
    };
    if let Some(record) = record {
        return release(&record);
    }
    // What cannot be understood names nothing to remove.
    let previous = network.prev_result().ok().flatten().unwrap_or_default();
    let mut addresses = addresses(&previous, request.attachment.ifname.as_str());
    if let Some(records) = &records {
        addresses.retain(|ip| !records.is_of_another(*ip, &owner.token()));
    }
    let zone = FirewallConfig::parse(network)
        .map(|config| config.zone)
        .ok();
    // An ADD that was killed before its record was whole, or a DEL after it was gone.
    let swept = records.as_ref().map_or(Ok(()), Records::sweep);
    let removed = first_error([
        remove_native(&owner, None),
        remove_programs(&addresses, None),
        leave_unrecorded_zone(zone.as_deref(), &addresses),
        swept.attempt(Code::IO, || "sweep the records".into()),
    ]);
    Records::tidy();
    removed
}

/// Removes what an attachment has on record, and the record last.
pub(crate) fn release(record: &Record) -> Result<(), Error> {
    let io = || "forget the record".to_owned();
    let records = Records::open().attempt(Code::IO, io)?;
    let (owner, token) = (record.owner(), record.owner().token());
    let mut addresses = record.addresses.clone();
    addresses.retain(|ip| !records.is_of_another(*ip, &token));
    let left = match &record.bridge {
        Some(bridge) => records.leave(bridge, &token).attempt(Code::IO, io),
        None => Ok(false),
    };
    let bridge = record
        .bridge
        .as_deref()
        .filter(|_| matches!(left, Ok(true)));
    let programs = match record.iptables {
        true => remove_programs(&addresses, bridge),
        false => Ok(()),
    };
    let removed = first_error([
        left.map(drop),
        remove_native(&owner, bridge),
        programs,
        leave_recorded_zone(record, &addresses),
        bridge.map_or(Ok(()), |bridge| restore(record, bridge)),
    ]);
    removed?;
    records.forget(record).attempt(Code::IO, io)?;
    Records::tidy();
    Ok(())
}

fn remove_native(owner: &Owner, bridge: Option<&str>) -> Result<(), Error> {
    let token = owner.token();
    let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
    let removed = nftables::remove(&mut nft, |stamp| stamp.token == token, bridge);
    in_firewall(removed, || format!("close the way of {}", owner.container))
}

fn remove_programs(addresses: &[IpAddr], bridge: Option<&str>) -> Result<(), Error> {
    let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
    let unwanted = Unwanted { addresses, bridge };
    in_firewall(unwanted.remove(&mut nft), || {
        "remove rules of iptables".into()
    })
}

/// What became of an attachment's sources.
enum Sources {
    TakenBack(Firewalld),
    NotReached,
}

/// A firewalld that cannot be reached is no error: at run time it has no sources then, and the note
/// of its permanent ones stays. The next who reaches it takes them back, for the record is gone.
fn leave_zone(zone: Option<&str>, addresses: &[IpAddr]) -> Result<Sources, Error> {
    let (Some(zone), Ok(mut firewalld)) = (zone, Firewalld::connect()) else {
        return Ok(Sources::NotReached);
    };
    let mut first = Ok(());
    for ip in addresses {
        first = first.and(firewalld.remove(zone, *ip));
    }
    in_firewalld(first, || format!("remove sources of zone {zone}"))?;
    Ok(Sources::TakenBack(firewalld))
}

/// As [`leave_zone`], by the record; the note goes only behind what it tells of.
fn leave_recorded_zone(record: &Record, addresses: &[IpAddr]) -> Result<(), Error> {
    match leave_zone(record.zone.as_deref(), addresses)? {
        Sources::TakenBack(_) => firewalld::forget(&record.owner().token())
            .attempt(Code::IO, || "forget the sources".into()),
        Sources::NotReached => Ok(()),
    }
}

/// As [`leave_zone`], without a record: what an earlier DEL could not take back is noted.
fn leave_unrecorded_zone(zone: Option<&str>, addresses: &[IpAddr]) -> Result<(), Error> {
    let Sources::TakenBack(mut firewalld) = leave_zone(zone, addresses)? else {
        return Ok(());
    };
    let records = Records::open().attempt(Code::IO, || "open the records".into())?;
    in_firewalld(firewalld::sweep(&mut firewalld, &records), || {
        "take back what is noted of firewalld".into()
    })
}

/// Somebody may have joined the bridge, and have seen its rules, while we were removing them.
fn restore(record: &Record, bridge: &str) -> Result<(), Error> {
    let what = || format!("keep the ingress policy of {bridge}");
    let records = Records::open().attempt(Code::IO, what)?;
    let Some(policy) = records.policy_of(bridge) else {
        return Ok(());
    };
    isolate(record, (bridge, policy))
}

fn isolate(record: &Record, bridge: (&str, Policy)) -> Result<(), Error> {
    let what = || format!("keep the ingress policy of {}", bridge.0);
    if record.iptables {
        return in_firewall(iptables::isolate(bridge, &record.addresses), what);
    }
    let mut nft = in_firewall(Nftables::open(), what)?;
    let wanted = nftables::Wanted {
        owner: &record.owner(),
        addresses: &[],
        admin_chain: DEFAULT_ADMIN_CHAIN,
        bridge: Some(bridge),
    };
    in_firewall(wanted.install(&mut nft), what)
}

#[cfg(test)]
mod tests {
    use sys::NetNs;

    use super::*;
    use crate::firewalld::Kept;

    #[test]
    fn sources_that_could_not_be_taken_back_stay_noted() {
        let Ok(netns) = NetNs::new() else {
            println!("SKIP: only root makes namespaces");
            return;
        };
        if Firewalld::connect().is_ok() {
            println!("SKIP: firewalld runs here");
            return;
        }
        let addresses: Vec<IpAddr> = vec!["192.0.2.77".parse().unwrap()];
        let record = Record {
            network: format!("unreached-{}", std::process::id()),
            container: "c".into(),
            ifname: "eth0".into(),
            addresses: addresses.clone(),
            zone: Some("trusted".into()),
            bridge: None,
            iptables: false,
        };
        let token = record.owner().token();
        Records::note(&record, None).unwrap();
        let zone = "trusted".into();
        Kept { zone, addresses }.write(&token).unwrap();
        let released = netns.run(|| -> sys::Result<()> {
            release(&record).unwrap();
            Ok(())
        });
        released.unwrap();
        assert!(firewalld::is_noted(&token));
        let record = Records::open().unwrap().read(&record.owner()).unwrap();
        assert_eq!(record, None, "so that it is swept");
        firewalld::forget(&token).unwrap();
        Records::tidy();
    }
}
