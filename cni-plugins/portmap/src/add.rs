//! ADD: refuse what collides, install the rules, forget what connection tracking knows better.

use cni::{AddRequest, Attempt, Code, Error};
use cni_plugin::Claim;
use firewall::iptables::{Family, has_legacy_nat};
use firewall::nftables::Nftables;
use firewall::{BackEnd, Protocol, conntrack};
use netlink::{Socket, sysctl};

use crate::config::{Masqueraded, PortmapConfig, targets};
use crate::host::Published;
use crate::rules::Forward;
use crate::{host, in_firewall, iptables, nftables, owner};

/// Publishes the container's ports.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let network = &request.invocation.config;
    let config = PortmapConfig::parse(network)?;
    let previous = network.prev_result()?;
    let previous = previous.ok_or_else(|| Error::config("must be called as chained plugin"))?;
    let owner = owner(&network.name, &request.attachment);
    let targets = targets(&previous, request.attachment.ifname.as_str());
    let all = targets.iter().map(|target| Forward {
        config: &config,
        owner: &owner,
        target: *target,
    });
    let forwards: Vec<_> = all
        .filter(|forward| forward.mappings().next().is_some())
        .collect();
    if forwards.is_empty() {
        return Ok(previous);
    }
    refuse_listening(&forwards)?;
    match config.back_end {
        BackEnd::Nftables => publish_by_nftables(request, &forwards, claim)?,
        BackEnd::Iptables => publish_by_iptables(request, &forwards, claim)?,
    }
    forget_udp(&config);
    forwards.iter().try_for_each(open_loopback)?;
    Ok(previous)
}

/// The kernel takes the rules only if nobody has changed any since we looked for collisions.
fn publish_by_nftables(
    request: &AddRequest,
    forwards: &[Forward<'_>],
    claim: &mut Claim,
) -> Result<(), Error> {
    let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
    let mut taken = Ok(());
    let installed = nftables::install(&mut nft, forwards, |nft, seen| {
        let mut published = iptables::Seen::look(nft)?.published();
        published.extend(seen.published());
        taken = refuse_collisions(forwards, published);
        Ok(taken.is_ok())
    });
    if !matches!(installed, Ok(false)) {
        claim.made();
    }
    in_firewall(installed, || {
        format!("publish ports of {}", request.attachment)
    })?;
    taken?;
    if !Family::ALL.into_iter().any(has_legacy_nat) {
        return Ok(());
    }
    // The kernel does not number the changes of legacy tables.
    let what = || "list the published ports".to_owned();
    let seen = in_firewall(iptables::Seen::look(&mut nft), what)?;
    refuse_collisions(forwards, seen.published())
}

/// The programs do not tell what changed between look and change, so we look again behind it.
fn publish_by_iptables(
    request: &AddRequest,
    forwards: &[Forward<'_>],
    claim: &mut Claim,
) -> Result<(), Error> {
    let what = || "list the published ports".to_owned();
    let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
    let seen = in_firewall(iptables::Seen::look(&mut nft), what)?;
    let others = in_firewall(nftables::Seen::look(&mut nft), what)?;
    let published = seen.published().into_iter().chain(others.published());
    refuse_collisions(forwards, published.collect())?;
    claim.made();
    let rivals = in_firewall(iptables::install(&mut nft, forwards, &seen), || {
        format!("publish ports of {}", request.attachment)
    })?;
    refuse_collisions(forwards, rivals)
}

/// Conditions may tell the packets apart; nobody but the administrator can know.
fn is_conditional(forward: &Forward<'_>) -> bool {
    !forward.config.conditions[usize::from(forward.target.addr().is_ipv6())].is_empty()
}

fn refuse_collisions(forwards: &[Forward<'_>], mut published: Vec<Published>) -> Result<(), Error> {
    for forward in forwards.iter().filter(|forward| !is_conditional(forward)) {
        published.retain(|port| !port.is_of(&forward.owner.container));
        for mapping in forward.mappings() {
            if let Some(by) = published.iter().find(|port| port.collides(mapping)) {
                return Err(host::taken(mapping, by));
            }
        }
    }
    Ok(())
}

fn refuse_listening(forwards: &[Forward<'_>]) -> Result<(), Error> {
    for forward in forwards.iter().filter(|forward| !is_conditional(forward)) {
        let mappings: Vec<_> = forward.mappings().cloned().collect();
        host::refuse_listening(&mappings)?;
    }
    Ok(())
}

/// Clients that sent before the port was published would keep their old way. Not being able to
/// forget is no reason to refuse: they come back when the flow times out.
fn forget_udp(config: &PortmapConfig) {
    let udp = config
        .mappings
        .iter()
        .filter(|mapping| mapping.protocol == Protocol::Udp);
    let ports: Vec<_> = udp.map(|mapping| mapping.host_port).collect();
    let _ = conntrack::forget_udp(&ports);
}

/// Whether clients of this host reach the container by 127.0.0.1, which needs a route for it.
pub(crate) fn needs_loopback(forward: &Forward<'_>) -> bool {
    forward.target.addr().is_ipv4()
        && forward.config.sources != Masqueraded::Nobody
        && forward.mappings().any(|mapping| mapping.serves_loopback())
}

/// The setting that lets packets from 127.0.0.1 leave by the link towards the container.
pub(crate) fn loopback_setting(forward: &Forward<'_>) -> Result<Option<String>, Error> {
    let what = || format!("find the link towards {}", forward.target.addr());
    let mut socket = Socket::route().attempt(Code::PLUGIN, what)?;
    let Some(index) = socket
        .link_towards(forward.target.addr())
        .attempt(Code::PLUGIN, what)?
    else {
        return Ok(None);
    };
    let link = socket.link_by_index(index).attempt(Code::PLUGIN, what)?;
    Ok(link.map(|link| format!("ipv4/conf/{}/route_localnet", link.name)))
}

fn open_loopback(forward: &Forward<'_>) -> Result<(), Error> {
    if !needs_loopback(forward) {
        return Ok(());
    }
    let Some(setting) = loopback_setting(forward)? else {
        return Ok(());
    };
    let what = || format!("unable to enable route_localnet: {setting}");
    sysctl::ensure(&setting, "1").attempt(Code::PLUGIN, what)
}
