//! Every CNI plugin of the suite, by name.
//!
//! They are separate crates that never use each other; here they are only put side by side, for
//! the executable that is all of them and for the man pages.

use std::process::ExitCode;

use cni::Version;
use cni_plugin::{Manual, Plugin, plugin_main};

/// One plugin of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The name of its executable.
    pub name: &'static str,
    /// What it tells a person.
    pub manual: Manual,
    /// The versions it speaks.
    pub versions: &'static [Version],
    /// Its `main`.
    pub main: fn() -> ExitCode,
}

impl Entry {
    const fn of<P: Plugin>() -> Self {
        Self {
            name: P::NAME,
            manual: P::MANUAL,
            versions: P::VERSIONS,
            main: plugin_main::<P>,
        }
    }
}

/// The plugins in the order of their names.
pub const PLUGINS: &[Entry] = &[
    Entry::of::<bandwidth::Bandwidth>(),
    Entry::of::<bridge::Bridge>(),
    Entry {
        main: dhcp::main, // it is the daemon as well
        ..Entry::of::<dhcp::Dhcp>()
    },
    Entry::of::<dummy::Dummy>(),
    Entry::of::<firewall_plugin::Firewall>(),
    Entry::of::<host_device::HostDevice>(),
    Entry::of::<host_local::HostLocal>(),
    Entry::of::<ipvlan::Ipvlan>(),
    Entry::of::<loopback::Loopback>(),
    Entry::of::<macvlan::Macvlan>(),
    Entry::of::<portmap::Portmap>(),
    Entry::of::<ptp::Ptp>(),
    Entry::of::<sbr::Sbr>(),
    Entry::of::<static_ipam::Static>(),
    Entry::of::<tap::Tap>(),
    Entry::of::<tuning::Tuning>(),
    Entry::of::<vlan::Vlan>(),
    Entry::of::<vrf::Vrf>(),
];

/// The plugin of this name.
pub fn named(name: &str) -> Option<&'static Entry> {
    PLUGINS.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_and_single() {
        assert!(PLUGINS.is_sorted_by(|one, next| one.name < next.name));
    }

    #[test]
    fn every_plugin_has_a_manual_whose_example_is_json() {
        for entry in PLUGINS {
            let example: Result<serde_json::Value, _> = serde_json::from_str(entry.manual.example);
            let example = example.unwrap_or_else(|error| panic!("{}: {error}", entry.name));
            let text = example.to_string();
            assert!(text.contains(&format!("\"{}\"", entry.name)), "{text}");
            assert!(!entry.manual.summary.is_empty() && !entry.manual.description.is_empty());
        }
    }
}
