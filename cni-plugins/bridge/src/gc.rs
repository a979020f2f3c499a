//! GC: what the host has of this network and no valid attachment owns.
//!
//! Ports are known by their alias, rules by their comments, addresses by the IPAM plugin. The
//! bridge itself is shared with whoever else uses it, and stays.

use cni::{Error, GcRequest, NetworkName, ValidAttachments};
use firewall::{Stamp, masquerade, spoofing};
use interface::removal::first_error;
use interface::{Owner, ipam, on_host};
use netlink::Socket;

use crate::in_firewall;

/// Frees what is stale; without a list nothing is known to be.
pub(crate) fn gc(request: &GcRequest) -> Result<(), Error> {
    let network = &request.invocation.config.name;
    let Some(valid) = &request.valid else {
        return Ok(());
    };
    let tokens = tokens(network, valid);
    let is_valid = |token: &str| tokens.iter().any(|valid| valid == token);
    // As with DEL: no address is released while a link may still have it.
    let ports = delete_ports(network, is_valid);
    let released = if ports.is_ok() {
        ipam::gc(request)
    } else {
        Ok(())
    };
    first_error([
        ports,
        released,
        in_firewall(spoofing::sweep(network.as_str(), is_valid), || {
            "sweep macspoofchk".into()
        }),
        in_firewall(masquerade::sweep(network.as_str(), is_valid), || {
            "sweep ipMasq".into()
        }),
    ])
}

fn tokens(network: &NetworkName, valid: &ValidAttachments) -> Vec<String> {
    let token =
        |(container, ifname): (&str, &str)| Owner::new(network.as_str(), container, ifname).token();
    valid.iter().map(token).collect()
}

fn delete_ports(network: &NetworkName, is_valid: impl Fn(&str) -> bool) -> Result<(), Error> {
    let what = || "delete stale ports".to_owned();
    let mut host = on_host(Socket::route(), what)?;
    for link in on_host(host.links(), what)? {
        let stamp = link.alias.as_deref().and_then(Stamp::parse);
        let is_veth = link.kind.as_deref() == Some("veth");
        let is_stale = |s: Stamp| s.is_of_network(network.as_str()) && !is_valid(&s.token);
        if is_veth && stamp.is_some_and(is_stale) {
            on_host(host.delete_link(link.index), what)?;
        }
    }
    Ok(())
}
