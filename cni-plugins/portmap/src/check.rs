//! CHECK: every rule that ADD would make is there. Looks, and changes nothing.

use cni::{Attempt, CheckRequest, Code, Error};
use firewall::BackEnd;
use interface::{in_firewall, owner};
use netlink::sysctl;

use crate::add::{loopback_setting, needs_loopback};
use crate::config::{PortmapConfig, targets};
use crate::rules::Forward;
use crate::{iptables, nftables};

/// Compares the configuration with the host.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let config = PortmapConfig::parse(network)?;
    let previous = network.prev_result()?;
    let previous = previous.ok_or_else(|| Error::config("Required prevResult missing"))?;
    let owner = owner(&network.name, &request.attachment);
    for target in targets(&previous, request.attachment.ifname.as_str()) {
        let forward = Forward {
            config: &config,
            owner: &owner,
            target,
        };
        if forward.mappings().next().is_some() {
            check_rules(&forward)?;
            check_loopback(&forward)?;
        }
    }
    Ok(())
}

fn check_rules(forward: &Forward<'_>) -> Result<(), Error> {
    let missing = match forward.config.back_end {
        BackEnd::Nftables => nftables::first_missing(forward),
        BackEnd::Iptables => iptables::first_missing(forward),
    };
    match in_firewall(missing, || "look for the port mappings' rules".into())? {
        None => Ok(()),
        Some(rule) => {
            let msg = format!("a rule for {} is missing", forward.target.addr());
            Err(Error::new(Code::PLUGIN, msg).details(format!("{rule:?}")))
        }
    }
}

fn check_loopback(forward: &Forward<'_>) -> Result<(), Error> {
    if !needs_loopback(forward) {
        return Ok(());
    }
    let Some(setting) = loopback_setting(forward)? else {
        return Ok(());
    };
    let value = sysctl::read(&setting).attempt(Code::PLUGIN, || format!("read {setting}"))?;
    if value == "1" {
        return Ok(());
    }
    Err(Error::new(
        Code::PLUGIN,
        format!("127.0.0.1 leads nowhere: {setting} is {value}"),
    ))
}
