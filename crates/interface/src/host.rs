//! Settings of the host that a network needs.

use cni::{Attempt, Code, Error};
use netlink::sysctl;
use sys::Errno;

/// `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding`.
pub const FORWARDING: [&str; 2] = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];

/// Switches forwarding on for the protocols in use: IPv4, IPv6.
pub fn enable_forwarding(families: [bool; 2]) -> Result<(), Error> {
    for (used, name) in families.into_iter().zip(FORWARDING) {
        if used {
            let what = || format!("enable forwarding: {name}");
            sysctl::ensure(name, "1").attempt(Code::PLUGIN, what)?;
        }
    }
    Ok(())
}

/// For CHECK: forwarding is still on for this protocol.
pub fn check_forwarding(is_v6: bool) -> Result<(), Error> {
    let setting = FORWARDING[usize::from(is_v6)];
    let value = sysctl::read(setting).attempt(Code::PLUGIN, || format!("read {setting}"))?;
    if value == "1" {
        return Ok(());
    }
    let msg = format!("forwarding is off: {setting} is {value}");
    Err(Error::new(Code::PLUGIN, msg))
}

/// A container must not be able to give the host routes (CVE-2020-10749).
pub fn refuse_router_advertisements(link: &str) -> Result<(), Error> {
    let name = format!("ipv6/conf/{link}/accept_ra");
    match sysctl::ensure(&name, "0") {
        Err(error) if error.errno() == Errno::ENOENT => Ok(()), // a host without IPv6
        done => done.attempt(Code::PLUGIN, || {
            format!("refuse router advertisements on {link:?}")
        }),
    }
}
