//! Rows for CNI plugins, in the order of the feature tables.

use crate::row::Row;

mod bandwidth;
mod bridge;
mod bridge_faults;
mod bridge_vlan;
mod crowd;
mod delegation;
mod dhcp;
mod dummy;
mod every_plugin;
mod firewall;
mod host_device;
mod host_local;
mod ipvlan;
mod loopback;
mod macvlan;
mod past_vulnerabilities;
mod portmap;
mod protocol;
mod ptp;
mod results;
mod sbr;
mod staged;
mod static_ipam;
mod suite;
mod swap;
mod tap;
mod tuning;
mod vlan;
mod vrf;

pub(crate) const ROWS: &[&[Row]] = &[
    protocol::ROWS,
    every_plugin::ROWS,
    delegation::ROWS,
    results::ROWS,
    bridge::ROWS,
    bridge_faults::ROWS,
    bridge_vlan::ROWS,
    host_local::ROWS,
    portmap::ROWS,
    past_vulnerabilities::ROWS,
    loopback::ROWS,
    ptp::ROWS,
    host_device::ROWS,
    macvlan::ROWS,
    ipvlan::ROWS,
    vlan::ROWS,
    dummy::ROWS,
    tap::ROWS,
    dhcp::ROWS,
    static_ipam::ROWS,
    tuning::ROWS,
    firewall::ROWS,
    bandwidth::ROWS,
    sbr::ROWS,
    vrf::ROWS,
    suite::ROWS,
    swap::ROWS,
    crowd::ROWS,
];

/// The names of all plugins that rows ask.
pub(crate) fn plugins() -> impl Iterator<Item = &'static str> {
    staged::SUITE.iter().map(|plugin| plugin.name)
}
