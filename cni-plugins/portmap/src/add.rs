//! ADD: refuse what collides, install the rules, forget what connection tracking knows better.

use std::time::Duration;

use cni::{AddRequest, Attempt, Code, Error};
use cni_plugin::Claim;
use firewall::nftables::Nftables;
use firewall::{BackEnd, Protocol, conntrack};
use netlink::{Socket, sysctl};
use sys::Dir;
use sys::dir::{Lock, LockKind};

use crate::config::{Masqueraded, PortmapConfig, targets};
use crate::host::Published;
use crate::rules::Forward;
use crate::{host, in_firewall, iptables, nftables, owner};

/// A hundred ADDs at once wait for each other here.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);

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
    let lock = lock()?;
    let mut nft = in_firewall(Nftables::open(), || "open nftables".into())?;
    let what = || "list the published ports".to_owned();
    let seen = in_firewall(iptables::Seen::look(&mut nft), what)?;
    let mut published = in_firewall(nftables::published(&mut nft), what)?;
    published.extend(seen.published());
    refuse_collisions(&forwards, published)?;
    claim.made();
    let installed = match config.back_end {
        BackEnd::Nftables => nftables::install(&mut nft, &forwards),
        BackEnd::Iptables => iptables::install(&forwards, &seen),
    };
    in_firewall(installed, || {
        format!("publish ports of {}", request.attachment)
    })?;
    drop(lock);
    forget_udp(&config);
    forwards.iter().try_for_each(open_loopback)?;
    Ok(previous)
}

/// Looking for collisions and installing must not be interleaved with another container's.
pub(crate) fn lock() -> Result<Lock, Error> {
    let lock = Dir::open_or_create("/run/davit-cni", 0o755)
        .and_then(|dir| dir.lock("portmap.lock", LockKind::Exclusive, LOCK_PATIENCE));
    let late = matches!(&lock, Err(error) if error.errno() == sys::Errno::EAGAIN);
    let code = if late { Code::TRY_AGAIN } else { Code::IO };
    lock.attempt(code, || "lock /run/davit-cni/portmap.lock".into())
}

fn refuse_collisions(forwards: &[Forward<'_>], mut published: Vec<Published>) -> Result<(), Error> {
    for forward in forwards {
        // Conditions may tell the packets apart; nobody but the administrator can know.
        if !forward.config.conditions[usize::from(forward.target.addr().is_ipv6())].is_empty() {
            continue;
        }
        published.retain(|port| !port.is_of(&forward.owner.container));
        for mapping in forward.mappings() {
            if let Some(by) = published.iter().find(|port| port.collides(mapping)) {
                return Err(host::taken(mapping, by));
            }
        }
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
