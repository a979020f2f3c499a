//! Links that are made on another link, or on none: macvlan, ipvlan, vlan, dummy.

use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVlan, IpVlanFlags, LinkAttribute, LinkInfo,
    LinkMessage,
};
use sys::NetNs;

use crate::error::Result;
use crate::link::{Mac, RTM_NEWLINK, of};
use crate::socket::Socket;

pub use netlink_packet_route::link::{IpVlanMode, MacVlanMode, VlanProtocol};

/// A link to be. What is not given is the kernel's choice.
pub struct NewLink<'a> {
    /// Its name in the namespace in which it will be.
    pub name: &'a str,
    /// What it is.
    pub kind: Kind,
    /// Index of the link it is made on, in the socket's namespace.
    pub parent: Option<u32>,
    /// Where it will be; none means the socket's namespace.
    pub netns: Option<&'a NetNs>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: Option<u32>,
}

/// What a link of this module is, as far as it can be chosen. ip-link(8) explains the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Macvlan {
        mode: MacVlanMode,
        /// Length of the queue of broadcasts (Linux 5.11).
        broadcast_queue: Option<u32>,
    },
    Ipvlan {
        mode: IpVlanMode,
        flag: IpvlanFlag,
    },
    Vlan {
        protocol: VlanProtocol,
        id: u16,
    },
    Dummy,
}

/// Who may talk to whom among the ipvlan links of one parent (Linux 4.15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum IpvlanFlag {
    #[default]
    Bridge,
    Private,
    Vepa,
}

impl Socket {
    /// Creates a link. `EEXIST` when its name is taken where it will be, or when its parent has
    /// a vlan of this number already.
    pub fn create_link(&mut self, new: &NewLink<'_>) -> Result<()> {
        let mut message = LinkMessage::default();
        let attributes = &mut message.attributes;
        attributes.push(LinkAttribute::IfName(new.name.into()));
        attributes.extend(new.parent.map(LinkAttribute::Link));
        attributes.extend(new.mtu.map(LinkAttribute::Mtu));
        attributes.extend(new.mac.map(|mac| LinkAttribute::Address(mac.0.into())));
        let netns = new.netns.map(|netns| netns.as_fd().as_raw_fd());
        attributes.extend(netns.map(LinkAttribute::NetNsFd));
        attributes.push(LinkAttribute::LinkInfo(new.kind.attributes()));
        let what = format!("create {} {:?}", new.kind.name(), new.name);
        self.request(of(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &message), &what)
    }
}

impl Kind {
    /// The kernel's name of the kind, as in [`crate::Link::kind`].
    pub fn name(&self) -> &'static str {
        match self {
            Self::Macvlan { .. } => "macvlan",
            Self::Ipvlan { .. } => "ipvlan",
            Self::Vlan { .. } => "vlan",
            Self::Dummy => "dummy",
        }
    }

    fn attributes(&self) -> Vec<LinkInfo> {
        let (kind, data) = match *self {
            Self::Macvlan {
                mode,
                broadcast_queue,
            } => {
                let mut data = vec![InfoMacVlan::Mode(mode)];
                data.extend(broadcast_queue.map(InfoMacVlan::BcQueueLen));
                (InfoKind::MacVlan, InfoData::MacVlan(data))
            }
            Self::Ipvlan { mode, flag } => {
                let flags = match flag {
                    IpvlanFlag::Bridge => IpVlanFlags::empty(),
                    IpvlanFlag::Private => IpVlanFlags::Private,
                    IpvlanFlag::Vepa => IpVlanFlags::Vepa,
                };
                let data = vec![InfoIpVlan::Mode(mode), InfoIpVlan::Flags(flags)];
                (InfoKind::IpVlan, InfoData::IpVlan(data))
            }
            Self::Vlan { protocol, id } => {
                let data = vec![InfoVlan::Id(id), InfoVlan::Protocol(protocol)];
                (InfoKind::Vlan, InfoData::Vlan(data))
            }
            Self::Dummy => return vec![LinkInfo::Kind(InfoKind::Dummy)],
        };
        vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]
    }

    /// Reads what the kernel says of a link.
    pub(crate) fn read(data: &InfoData) -> Option<Self> {
        match data {
            InfoData::MacVlan(entries) => {
                let mode = entries.iter().find_map(|entry| match entry {
                    InfoMacVlan::Mode(mode) => Some(*mode),
                    _ => None,
                })?;
                let broadcast_queue = entries.iter().find_map(|entry| match entry {
                    InfoMacVlan::BcQueueLen(length) => Some(*length),
                    _ => None,
                });
                Some(Self::Macvlan {
                    mode,
                    broadcast_queue,
                })
            }
            InfoData::IpVlan(entries) => {
                let mode = entries.iter().find_map(|entry| match entry {
                    InfoIpVlan::Mode(mode) => Some(*mode),
                    _ => None,
                })?;
                let has = |flag| entries.contains(&InfoIpVlan::Flags(flag));
                let flag = match (has(IpVlanFlags::Private), has(IpVlanFlags::Vepa)) {
                    (true, _) => IpvlanFlag::Private,
                    (_, true) => IpvlanFlag::Vepa,
                    _ => IpvlanFlag::Bridge,
                };
                Some(Self::Ipvlan { mode, flag })
            }
            InfoData::Vlan(entries) => {
                let id = entries.iter().find_map(|entry| match entry {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                })?;
                let protocol = entries.iter().find_map(|entry| match entry {
                    InfoVlan::Protocol(protocol) => Some(*protocol),
                    _ => None,
                });
                let protocol = protocol.unwrap_or(VlanProtocol::Ieee8021Q);
                Some(Self::Vlan { protocol, id })
            }
            _ => None,
        }
    }
}
