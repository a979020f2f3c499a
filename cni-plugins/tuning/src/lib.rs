//! CNI `tuning`: sets sysctls of a container's network namespace and attributes of its interface.
//!
//! A chained plugin. What it changes is written down first, one layer for each `tuning` entry of
//! the chain (`record`), so that DEL of each puts back what that entry found, and an ADD that
//! fails half-way puts back everything.

mod add; // refuse, write down, set
mod allow_list; // which sysctls an administrator lets configurations set
mod check; // is everything still as configured?
mod config; // the configuration, refused or understood
mod del; // put back what the entry found
mod expression; // PURE: Go's regular expressions in the words of POSIX
mod gc; // records that no valid attachment owns
mod manual; // what --help and the man page say
mod record; // what was there before, on disk, in the reference's file and more
mod repeated_keys; // PURE: keys given twice, which JSON decoders hide
mod settings; // reading and writing an interface's attributes and sysctls
mod status; // would ADD be refused whatever it asked for?
mod sysctl_name; // PURE: from the spelling of a key to the kernel's file

use cni::{AddRequest, CheckRequest, DelRequest, Error, GcRequest, StatusRequest};
use cni_plugin::{Claim, Plugin};

/// The plugin.
pub struct Tuning;

/// What a fuzz run asks of it: all that is read of a configuration before the host is looked at.
#[cfg(fuzzing)]
pub fn understand(request: &cni::AddRequest) -> Result<(), cni::Error> {
    let config =
        config::TuningConfig::parse(&request.invocation, request.attachment.ifname.as_str())?;
    let written = config.link.to_json();
    assert_eq!(config::Attributes::from_json(&written).to_json(), written);
    config::data_dir(&request.invocation.config).map(drop)
}

impl Plugin for Tuning {
    const NAME: &'static str = "tuning";
    const MANUAL: cni_plugin::Manual = manual::MANUAL;

    fn add(request: &AddRequest, claim: &mut Claim) -> Result<cni::Result, Error> {
        add::add(request, claim)
    }

    fn del(request: &DelRequest) -> Result<(), Error> {
        del::del(request)
    }

    fn check(request: &CheckRequest) -> Result<(), Error> {
        check::check(request)
    }

    fn gc(request: &GcRequest) -> Result<(), Error> {
        gc::gc(request)
    }

    fn status(request: &StatusRequest) -> Result<(), Error> {
        status::status(request)
    }
}
