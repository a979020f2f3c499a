//! DEL: whatever the owner has, in both back ends and both families.
//!
//! The configuration is not asked for the mappings: runtimes often give none on DEL. An owner
//! without rules costs no process.

use std::collections::BTreeSet;

use cni::{Attempt, Code, DelRequest, Error};
use firewall::nftables::Nftables;
use firewall::{PATIENCE, Stamp, conntrack, legacy_chain};
use interface::removal::first_error;
use interface::{in_firewall, owner};

use crate::rules::{OLD_SNAT_PREFIX, OWN_PREFIX};
use crate::{iptables, nftables};

/// Takes the container's ports back.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let owner = owner(&request.invocation.config.name, &request.attachment);
    let token = owner.token();
    let chains = [
        owner.chain(OWN_PREFIX),
        legacy_chain(OWN_PREFIX, &owner),
        legacy_chain(OLD_SNAT_PREFIX, &owner),
    ];
    // The reference's nftables rules say nothing but the container's id.
    let is_ours = |comment: &str| {
        comment == owner.container || Stamp::parse(comment).is_some_and(|s| s.token == token)
    };
    let is_name = |chain: &str| chains.iter().any(|name| name == chain);
    // The reference's name is the same for all interfaces of a container.
    let is_free = |saved: &_, chain: &str| {
        iptables::stamp_of(saved, chain).is_none_or(|stamp| stamp.token == token)
    };
    remove(is_ours, is_name, |saved, chain| {
        is_name(chain) && is_free(saved, chain)
    })
}

/// Removes rules by comment (nftables) and chains by name (iptables), and what connection
/// tracking remembers of them: clients would go on sending to an address that is no longer there.
pub(crate) fn remove(
    by_comment: impl Fn(&str) -> bool,
    may_be: impl Fn(&str) -> bool,
    by_chain: impl iptables::Wanted,
) -> Result<(), Error> {
    let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
    let what = || "remove port mappings".to_owned();
    let mut ways = BTreeSet::new();
    let native = nftables::remove(&mut nft, by_comment, &mut ways);
    firewall::iptables::await_programs(PATIENCE);
    let legacy = match iptables::families(&mut nft, may_be) {
        Ok(families) if families.is_empty() => Ok(()),
        families => families.and_then(|families| iptables::remove(&families, by_chain, &mut ways)),
    };
    // Whatever became of the rest: a second call finds no rule that names these ports. Only flows
    // that the container answers are ours.
    let ports = ways.iter().map(|(port, _)| *port).collect();
    let forgotten = conntrack::forget_udp(&ports, |flow| {
        ways.contains(&(flow.port, flow.answers_from))
    });
    first_error([
        in_firewall(native, what),
        in_firewall(legacy, what),
        forgotten.attempt(Code::PLUGIN, || "forget UDP flows".into()),
    ])
}
