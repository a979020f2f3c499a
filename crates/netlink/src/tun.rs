//! What the kernel says of a tun or tap device (Linux 4.17).

use netlink_packet_core::Nla;
use netlink_packet_route::link::InfoTun;

const IFLA_TUN_OWNER: u16 = 1;
const IFLA_TUN_GROUP: u16 = 2;
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_TUN_PERSIST: u16 = 6;
const IFLA_TUN_MULTI_QUEUE: u16 = 7;
const IFF_TAP: u8 = 2;

/// A tun or tap device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tun {
    /// Frames (tap), not packets (tun).
    pub is_tap: bool,
    /// The user who may attach to it.
    pub owner: Option<u32>,
    /// The group that may.
    pub group: Option<u32>,
    /// It has more than one queue, or may have.
    pub multi_queue: bool,
    /// It outlives who attached to it.
    pub persistent: bool,
}

impl Tun {
    pub(crate) fn read(entries: &[InfoTun]) -> Self {
        let mut tun = Self::default();
        for entry in entries {
            let mut value = vec![0; entry.value_len()];
            entry.emit_value(&mut value);
            let number = || Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?));
            let flag = value.first() == Some(&1);
            match entry.kind() {
                IFLA_TUN_OWNER => tun.owner = number(),
                IFLA_TUN_GROUP => tun.group = number(),
                IFLA_TUN_TYPE => tun.is_tap = value.first() == Some(&IFF_TAP),
                IFLA_TUN_PERSIST => tun.persistent = flag,
                IFLA_TUN_MULTI_QUEUE => tun.multi_queue = flag,
                _ => {}
            }
        }
        tun
    }
}
