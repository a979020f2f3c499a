//! DEL: puts back what this entry of the chain found, where there is still somebody to see it.
//!
//! What cannot be put back any more stops nobody: the plugins before this one in the chain get
//! their DEL only after ours has succeeded, and an address would stay taken for a sysctl's sake.

use cni::{DelRequest, Error};
use interface::Sandbox;
use interface::sandbox::Found;
use netlink::sysctl;

use crate::config::{DATA_DIR, TuningConfig, data_dir};
use crate::record::{Layer, Place, Record, identity};
use crate::settings::set_attributes;

/// Puts back what was there.
pub(crate) fn del(request: &DelRequest) -> Result<(), Error> {
    let network = &request.invocation.config;
    let ifname = request.attachment.ifname.as_str();
    // A key that cannot be decoded was none when the record was made.
    let directory = data_dir(network).unwrap_or_else(|_| DATA_DIR.into());
    let place = Place::new(directory, &network.name, &request.attachment);
    let Some(mut record) = place.read()? else {
        return place.remove();
    };
    // Not reaching it now is no reason to forget what must be put back there.
    let Found::Here(mut sandbox) = Sandbox::find(request.netns.as_deref())? else {
        return place.remove();
    };
    if !is_about(&record, &sandbox) {
        return place.remove();
    }
    let entry = TuningConfig::parse(&request.invocation, ifname).ok();
    let entry = entry.map(|config| config.entry());
    for layer in record.take_off(entry.as_ref()) {
        put_back(&mut sandbox, ifname, &layer);
    }
    place.write(&record)
}

/// A path may lead to another namespace by now.
fn is_about(record: &Record, sandbox: &Sandbox) -> bool {
    record.netns.is_none() || record.netns == identity(&sandbox.path)
}

fn put_back(sandbox: &mut Sandbox, ifname: &str, layer: &Layer) {
    if let Ok(Some(link)) = sandbox.link(ifname) {
        let _ = set_attributes(sandbox, &link, &layer.link);
    }
    for (file, value) in layer.sysctls.iter().rev() {
        let _ = sandbox.netns.run(|| sysctl::ensure(file, value));
    }
}
