//! CHECK: everything is still as configured. Looks, and changes nothing.

use cni::{CheckRequest, Error};
use interface::check::{View, wrong};

use crate::config::TuningConfig;
use crate::settings::{is_same_value, present, read_sysctl};

/// Compares the configuration with the container.
pub(crate) fn check(request: &CheckRequest) -> Result<(), Error> {
    let name = request.attachment.ifname.as_str();
    let config = TuningConfig::parse(&request.invocation, name)?;
    let view = View::open(request)?;
    for sysctl in &config.sysctls {
        let Some(value) = read_sysctl(&view.sandbox, sysctl)? else {
            continue; // nobody can tell
        };
        if !is_same_value(&value, &sysctl.value) {
            let msg = format!("sysctl {} is {value:?}, not {:?}", sysctl.key, sysctl.value);
            return Err(wrong(msg));
        }
    }
    let (wanted, present) = (config.link, present(&view.link));
    let mut is_promiscuous = present.promiscuous;
    // Whoever listens makes it promiscuous as well.
    if view.link.is_promiscuous {
        is_promiscuous = Some(true);
    }
    let faults = [
        ("mac", wanted.mac.is_some() && wanted.mac != present.mac),
        (
            "promisc",
            wanted.promiscuous.is_some() && wanted.promiscuous != is_promiscuous,
        ),
        ("mtu", wanted.mtu.is_some() && wanted.mtu != present.mtu),
        (
            "allmulti",
            wanted.all_multicast.is_some() && wanted.all_multicast != present.all_multicast,
        ),
        (
            "txQLen",
            wanted.tx_queue_length.is_some() && wanted.tx_queue_length != present.tx_queue_length,
        ),
    ];
    match faults.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((key, _)) => Err(wrong(format!("{name:?} differs in {key}")).details(format!(
            "wanted {}, found {}",
            wanted.to_json(),
            present.to_json()
        ))),
    }
}
