//! ADD: refuse what collides, install the rules, forget what connection tracking knows better.

use std::net::IpAddr;

use cni::{AddRequest, Attempt, Code, Error};
use cni_plugin::Claim;
use firewall::nftables::Nftables;
use firewall::{BackEnd, Protocol, conntrack};
use interface::{in_firewall, owner};
use netlink::{Socket, sysctl};

use crate::config::{Masqueraded, PortmapConfig, targets};
use crate::host::Published;
use crate::rules::Forward;
use crate::{host, iptables, nftables};

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
    publish(request, &forwards, claim)?;
    forget_udp(&config);
    forwards.iter().try_for_each(open_loopback)?;
    Ok(previous)
}

/// Looks for collisions, installs the rules, and looks again for who has been faster.
fn publish(request: &AddRequest, forwards: &[Forward<'_>], claim: &mut Claim) -> Result<(), Error> {
    let Some(first) = forwards.first() else {
        return Ok(());
    };
    let what = || "list the published ports".to_owned();
    let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
    let seen = in_firewall(iptables::Seen::look(&mut nft), what)?;
    let native = in_firewall(nftables::Seen::look(&mut nft), what)?;
    let published = seen.published().into_iter().chain(native.published());
    refuse_collisions(forwards, published.collect())?;
    claim.made();
    let rivals = match first.config.back_end {
        BackEnd::Nftables => nftables::install(&mut nft, forwards),
        BackEnd::Iptables => iptables::install(&mut nft, forwards, &seen),
    };
    let mut rivals = in_firewall(rivals, || {
        format!("publish ports of {}", request.attachment)
    })?;
    // Who uses the other back end has no place in our order: both may lose.
    rivals.extend(match first.config.back_end {
        BackEnd::Nftables => in_firewall(iptables::Seen::look(&mut nft), what)?.published(),
        BackEnd::Iptables => {
            let native = in_firewall(nftables::Seen::look(&mut nft), what)?;
            native.published().collect()
        }
    });
    refuse_collisions(forwards, rivals)
}

/// Conditions may tell the packets apart; nobody but the administrator can know.
fn is_conditional(forward: &Forward<'_>) -> bool {
    !forward.config.conditions[usize::from(forward.target.addr().is_ipv6())].is_empty()
}

fn refuse_collisions(forwards: &[Forward<'_>], mut published: Vec<Published>) -> Result<(), Error> {
    for forward in forwards.iter().filter(|forward| !is_conditional(forward)) {
        published.retain(|port| !port.is_of(forward.owner));
        let target = forward.target.addr();
        for mapping in forward.mappings() {
            if let Some(by) = published.iter().find(|port| port.collides(mapping, target)) {
                return Err(host::taken(mapping, by));
            }
        }
    }
    Ok(())
}

fn refuse_listening(forwards: &[Forward<'_>]) -> Result<(), Error> {
    for forward in forwards.iter().filter(|forward| !is_conditional(forward)) {
        let mappings: Vec<_> = forward.mappings().cloned().collect();
        host::refuse_listening(&mappings, forward.target.addr())?;
    }
    Ok(())
}

/// Clients that sent before the port was published would keep their old way. Not being able to
/// forget is no reason to refuse: they come back when the flow times out.
///
/// Only those to an address of this host, or to the mapping's own: others to that port pass through.
fn forget_udp(config: &PortmapConfig) {
    let udp = config.mappings.iter();
    let udp: Vec<_> = udp.filter(|m| m.protocol == Protocol::Udp).collect();
    if udp.is_empty() {
        return;
    }
    let Ok(local) = Socket::route().and_then(|mut host| host.all_addresses()) else {
        return;
    };
    let is_local = |ip: IpAddr| ip.is_loopback() || local.iter().any(|own| own.net.addr() == ip);
    let ports = udp.iter().map(|mapping| mapping.host_port).collect();
    let _ = conntrack::forget_udp(&ports, |flow| {
        udp.iter().any(|mapping| {
            let host_ip = mapping.host_ip.filter(|ip| !ip.is_unspecified());
            mapping.host_port == flow.port
                && host_ip.map_or_else(|| is_local(flow.destination), |ip| ip == flow.destination)
        })
    });
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
