//! CNI `loopback`: brings a container's `lo` up.
//!
//! `CNI_IFNAME` is not looked at, as in the reference: a list may call it anything, the link is
//! always `lo`. Nothing is claimed, because nothing is made: `lo` exists from the namespace's
//! first moment. The host's own `lo` is out of reach, `cni_plugin` refuses its namespace first.

mod manual; // what --help and the man page say

use cni::{
    AddRequest, Attempt, CheckRequest, Code, DelRequest, Error, GcRequest, Interface, IpConfig,
    StatusRequest,
};
use cni_plugin::{Claim, Plugin};
use netlink::Socket;
use netlink::address::Address;
use netlink::link::{Link, Setting};
use sys::NetNs;

/// The plugin.
pub struct Loopback;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    request.invocation.config.prev_result().map(drop)
}

impl Plugin for Loopback {
    const NAME: &'static str = "loopback";
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, _: &mut Claim) -> Result<cni::Result, Error> {
        let prev_result = request.invocation.config.prev_result()?;
        let mut lo = Lo::open(&open(&request.netns)?)?;
        lo.refuse_foreign_addresses()?;
        lo.set(Setting::Up)?;
        match prev_result {
            Some(result) => Ok(result),
            None => lo.result(&request.netns),
        }
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        let Some(path) = &request.netns else {
            return Ok(());
        };
        match NetNs::find(path).attempt(Code::NETNS, || format!("open netns {path:?}"))? {
            Some(netns) => Lo::open(&netns)?.set(Setting::Down),
            None => Ok(()), // its lo went with it
        }
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        let lo = Lo::open(&open(&request.netns)?)?;
        if lo.link.is_up {
            return Ok(());
        }
        Err(Error::new(
            Code::PLUGIN,
            format!("lo in {:?} is down", request.netns),
        ))
    }

    fn gc(_: &GcRequest) -> Result<(), Error> {
        Ok(()) // lo goes with its namespace; nothing of ours is outside
    }

    fn status(_: &StatusRequest) -> Result<(), Error> {
        Ok(())
    }
}

fn open(path: &str) -> Result<NetNs, Error> {
    NetNs::open(path).attempt(Code::NETNS, || format!("open netns {path:?}"))
}

/// The `lo` of one namespace.
struct Lo {
    socket: Socket,
    link: Link,
}

impl Lo {
    fn open(netns: &NetNs) -> Result<Self, Error> {
        let what = || "look up lo".to_owned();
        let mut socket = Socket::route_in(netns).attempt(Code::NETNS, what)?;
        let link = socket.link("lo").attempt(Code::INTERNAL, what)?;
        let link = link.ok_or_else(|| Error::new(Code::NETNS, "no lo in the namespace"))?;
        Ok(Self { socket, link })
    }

    fn set(&mut self, setting: Setting) -> Result<(), Error> {
        let what = || format!("set lo {setting:?}");
        self.socket
            .change_link(self.link.index, std::slice::from_ref(&setting))
            .attempt(Code::INTERNAL, what)
    }

    fn addresses(&mut self) -> Result<Vec<Address>, Error> {
        self.socket
            .addresses(self.link.index)
            .attempt(Code::INTERNAL, || "list the addresses of lo".into())
    }

    /// An address of somebody else's on `lo` is a sign of a namespace that is in other use.
    fn refuse_foreign_addresses(&mut self) -> Result<(), Error> {
        let addresses = self.addresses()?;
        let Some(foreign) = addresses.iter().find(|a| !a.net.addr().is_loopback()) else {
            return Ok(());
        };
        let net = foreign.net;
        let msg = format!(
            "loopback interface found with non-loopback address {:?}",
            net.to_string()
        );
        Err(Error::new(Code::PLUGIN, msg))
    }

    /// What the kernel gave `lo` when it came up: one address of each family it speaks.
    fn result(&mut self, sandbox: &str) -> Result<cni::Result, Error> {
        let interface = Interface {
            name: "lo".into(),
            mac: "00:00:00:00:00:00".into(),
            mtu: self.link.mtu,
            sandbox: sandbox.into(),
            ..Interface::default()
        };
        let addresses = self.addresses()?;
        let first = |v4: bool| addresses.iter().find(move |a| a.net.addr().is_ipv4() == v4);
        let ips = [true, false].into_iter().filter_map(first);
        let ips = ips.map(|a| IpConfig {
            address: a.net,
            gateway: None,
            interface: Some(0),
        });
        Ok(cni::Result {
            interfaces: vec![interface],
            ips: ips.collect(),
            ..cni::Result::default()
        })
    }
}
