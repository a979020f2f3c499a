//! ADD: refuse, write down what is there, set what shall be, report it.

use cni::{AddRequest, Error};
use cni_plugin::Claim;
use interface::Sandbox;
use interface::check::wrong;
use netlink::Link;

use crate::allow_list::AllowList;
use crate::config::{Attributes, TuningConfig, data_dir};
use crate::record::{Layer, Place, Record, identity};
use crate::settings::{present, read_sysctl, replaced, set_attributes, write_sysctl};

/// Tunes the container.
pub(crate) fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
    let network = &request.invocation.config;
    let ifname = request.attachment.ifname.as_str();
    let config = TuningConfig::parse(&request.invocation, ifname)?;
    let previous = network.prev_result()?;
    let result = previous.ok_or_else(|| Error::config("Required prevResult missing"))?;
    if let Some(list) = AllowList::read()? {
        config
            .sysctls
            .iter()
            .try_for_each(|sysctl| list.allow(&sysctl.key))?;
    }
    if config.is_empty() {
        return Ok(result);
    }
    let mut sandbox = Sandbox::open(&request.netns)?;
    let link = sandbox.link(ifname)?;
    let link = link.ok_or_else(|| wrong(format!("interface {ifname:?} is missing")))?;
    let place = Place::new(data_dir(network)?, &network.name, &request.attachment);
    if write_down(&place, &sandbox, &link, &config)? {
        claim.made();
    }
    for sysctl in &config.sysctls {
        write_sysctl(&sandbox, sysctl)?;
    }
    set_attributes(&mut sandbox, &link, &config.link)?;
    Ok(reported(result, ifname, &config.link))
}

/// Records what this entry is about to replace, before anything changes; false when it did so
/// before: an ADD that is repeated must not take what is tuned for what was there.
fn write_down(
    place: &Place,
    sandbox: &Sandbox,
    link: &Link,
    config: &TuningConfig,
) -> Result<bool, Error> {
    let netns = identity(&sandbox.path);
    let present = present(link);
    let recorded = place.read()?;
    // One of a namespace that is gone: its DEL was lost.
    let recorded = recorded.filter(|record| record.netns.is_none() || record.netns == netns);
    let mut record = recorded.unwrap_or_else(|| Record {
        first: present.clone(),
        netns,
        layers: Vec::new(),
    });
    let entry = config.entry();
    let mut sysctls = Vec::new();
    for sysctl in &config.sysctls {
        let value = read_sysctl(sandbox, sysctl)?;
        sysctls.extend(value.map(|value| (sysctl.file.clone(), value)));
    }
    if record.layers.iter().any(|layer| layer.entry == entry) {
        return Ok(false);
    }
    record.layers.push(Layer {
        entry,
        link: replaced(&present, &config.link),
        sysctls,
    });
    place.write(&record)?;
    Ok(true)
}

/// The result, with what changed of the container's interface; the host's may have the same name.
fn reported(mut result: cni::Result, ifname: &str, link: &Attributes) -> cni::Result {
    let interfaces = result.interfaces.iter_mut();
    for interface in interfaces.filter(|each| each.name == ifname && !each.sandbox.is_empty()) {
        if let Some(mac) = link.mac {
            interface.mac = mac.to_string();
        }
        interface.mtu = link.mtu.unwrap_or(interface.mtu);
    }
    result
}
