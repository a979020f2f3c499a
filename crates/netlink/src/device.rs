//! A link on its way from one network namespace to another, and what the way takes from it.
//!
//! The messages are written as bytes: the runtime needs nothing else of rtnetlink, and the typed
//! messages of `link` would make it larger than all the rest of this.

use std::os::fd::{AsFd, AsRawFd};

use sys::Errno;

use crate::attribute::{Writer, attributes, find, text};
use crate::error::{Error, Result};
use crate::link::RTM_NEWLINK;
use crate::socket::{Message, Socket};

const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_EXCL: u16 = 0x200;

const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFF_UP: u32 = 1;
const IFINFOMSG: usize = 16;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const IFADDRMSG: usize = 8;
/// `RT_SCOPE_UNIVERSE`: valid beyond the link.
const GLOBAL: u8 = 0;
const AF_INET6: u8 = 10;

/// A link, by its number in the socket's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is administratively up.
    pub is_up: bool,
}

/// An address that a link loses when it changes its namespace, to be given to it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostAddress {
    family: u8,
    prefix: u8,
    flags: u32,
    /// Attributes as the kernel reported them.
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Socket {
    /// The link of this name, if there is one.
    pub fn device(&mut self, name: &str) -> Result<Option<Device>> {
        let what = format!("look up link {name:?}");
        let message = link_message(RTM_GETLINK, 0, [0, 0]);
        let body = self.lookup(with(message, |body| body.put_str(IFLA_IFNAME, name)), &what)?;
        body.map(|body| device(&body, &what)).transpose()
    }

    /// Every link.
    pub fn devices(&mut self) -> Result<Vec<Device>> {
        let what = "list links";
        let bodies = self.dump(
            with(link_message(RTM_GETLINK, 0, [0, 0]), |body| body),
            what,
        )?;
        bodies.iter().map(|body| device(body, what)).collect()
    }

    /// Moves a link into another namespace under another name, in which the kernel replaces
    /// `%d` by the first free number. It arrives down and without addresses. On `EEXIST` it may
    /// have arrived all the same, under its old name.
    pub fn move_device(&mut self, index: u32, netns: impl AsFd, name: &str) -> Result<()> {
        let what = format!("move link {index} as {name:?} into another network namespace");
        let fd = netns.as_fd().as_raw_fd().to_ne_bytes();
        let message = with(link_message(RTM_NEWLINK, index, [0, 0]), |body| {
            body.put(IFLA_NET_NS_FD, &fd).put_str(IFLA_IFNAME, name)
        });
        self.request(message, &what)
    }

    /// Sets a link administratively up.
    pub fn set_device_up(&mut self, index: u32) -> Result<()> {
        let message = link_message(RTM_NEWLINK, index, [IFF_UP, IFF_UP]);
        self.request(with(message, |body| body), &format!("set link {index} up"))
    }

    /// The permanent global addresses of a link, IPv4 and IPv6.
    pub fn addresses_to_keep(&mut self, index: u32) -> Result<Vec<LostAddress>> {
        let what = "list addresses";
        let mut header = [0; IFADDRMSG];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        let message = Message {
            kind: RTM_GETADDR,
            flags: 0,
            body: header.to_vec(),
        };
        let bodies = self.dump(message, what)?;
        Ok(bodies
            .iter()
            .filter_map(|body| address(body, index))
            .collect())
    }

    /// Gives a link an address that it had; one that is there already is no error.
    pub fn give_address(&mut self, index: u32, address: &LostAddress) -> Result<()> {
        let mut header = [address.family, address.prefix, 0, GLOBAL, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        let flags = address.flags.to_ne_bytes();
        let body = Writer::new(&header).put(IFA_FLAGS, &flags);
        let attributes = address.attributes.iter();
        let body = attributes.fold(body, |body, (kind, value)| body.put(*kind, value));
        let message = Message {
            kind: RTM_NEWADDR,
            flags: NLM_F_CREATE | NLM_F_EXCL,
            body: body.into_bytes(),
        };
        match self.request(message, &format!("add an address to link {index}")) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
            other => other,
        }
    }
}

/// A link message without attributes: `flags` are those to set and those that are meant.
fn link_message(kind: u16, index: u32, flags: [u32; 2]) -> (u16, [u8; IFINFOMSG]) {
    let mut header = [0; IFINFOMSG];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags[0].to_ne_bytes());
    header[12..].copy_from_slice(&flags[1].to_ne_bytes());
    (kind, header)
}

fn with(
    (kind, header): (u16, [u8; IFINFOMSG]),
    attributes: impl FnOnce(Writer) -> Writer,
) -> Message {
    Message {
        kind,
        flags: 0,
        body: attributes(Writer::new(&header)).into_bytes(),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn device(body: &[u8], what: &str) -> Result<Device> {
    let read = || {
        Some(Device {
            index: number(body, 4)?,
            name: text(find(body.get(IFINFOMSG..)?, IFLA_IFNAME)?),
            is_up: number(body, 8)? & IFF_UP != 0,
        })
    };
    read().ok_or_else(|| Error::malformed(what, "a link without a name"))
}

fn address(body: &[u8], index: u32) -> Option<LostAddress> {
    let [family, prefix, short_flags, scope, ..] = *body else {
        return None;
    };
    let rest = body.get(IFADDRMSG..)?;
    let flags = find(rest, IFA_FLAGS).and_then(|value| number(value, 0));
    let flags = flags.unwrap_or(short_flags.into());
    if number(body, 4)? != index || scope != GLOBAL || flags & IFA_F_PERMANENT == 0 {
        return None;
    }
    // It was found to be nobody else's where it comes from, and is to work at once.
    let no_detection = if family == AF_INET6 { IFA_F_NODAD } else { 0 };
    let kept = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_RT_PRIORITY];
    Some(LostAddress {
        family,
        prefix,
        flags: flags & IFA_F_NOPREFIXROUTE | no_detection,
        attributes: attributes(rest)
            .filter(|(kind, _)| kept.contains(kind))
            .map(|(kind, value)| (kind, value.to_vec()))
            .collect(),
    })
}

/// Both lists that are read here.
#[cfg(fuzzing)]
pub(crate) fn understand(body: &[u8]) {
    let _ = device(body, "fuzz");
    if let Some(index) = number(body, 4) {
        let _ = address(body, index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_permanent_global_addresses_are_kept() {
        let body = |flags: u32, scope: u8| {
            let mut header = [2, 24, 0, scope, 0, 0, 0, 0];
            header[4..].copy_from_slice(&7u32.to_ne_bytes());
            Writer::new(&header)
                .put(IFA_FLAGS, &flags.to_ne_bytes())
                .put(IFA_LOCAL, &[10, 0, 0, 1])
                .into_bytes()
        };
        assert!(address(&body(IFA_F_PERMANENT, GLOBAL), 7).is_some());
        assert!(address(&body(IFA_F_PERMANENT, GLOBAL), 8).is_none());
        assert!(address(&body(0, GLOBAL), 7).is_none());
        assert!(address(&body(IFA_F_PERMANENT, 253), 7).is_none());
        assert!(address(&[2, 24], 7).is_none());
    }
}
