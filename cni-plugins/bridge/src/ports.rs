//! The VLANs of a bridge port.

use netlink::Socket;
use netlink::link::{PortVlan, VlanOf};

use crate::config::Vlans;

/// Gives a port its VLANs. The kernel put it into VLAN 1 when it became a port.
pub(crate) fn set_vlans(host: &mut Socket, port: u32, vlans: &Vlans) -> Result<(), netlink::Error> {
    if !vlans.keep_default {
        host.remove_vlans(
            VlanOf::Port(port),
            &[PortVlan {
                id: 1,
                native: true,
            }],
        )?;
    }
    let native = vlans
        .native
        .or(if vlans.keep_default { None } else { Some(1) });
    let mut wanted: Vec<_> = vlans
        .trunk
        .iter()
        .map(|id| PortVlan {
            id: *id,
            native: false,
        })
        .collect();
    wanted.extend(native.map(|id| PortVlan { id, native: true }));
    // A message holds some thousand entries; a trunk of all VLANs needs more than one.
    for part in wanted.chunks(1000) {
        host.add_vlans(VlanOf::Port(port), part)?;
    }
    Ok(())
}
