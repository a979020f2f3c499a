//! Files that the configuration names and that are not there now: a client may still bring them
//! before `create`, so that these are warnings about the host.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use sys::root::{Links, Root};

use super::{Finding, is_missing};

pub(super) fn missing(spec: &oci::Spec, bundle: &Path) -> Vec<Finding> {
    let mut findings = sources(spec, bundle);
    findings.extend(hooks(spec));
    findings.extend(program(spec, bundle));
    findings.into_iter().map(Finding::of_host).collect()
}

fn sources(spec: &oci::Spec, bundle: &Path) -> Vec<Finding> {
    let mounts = spec.mounts().iter().flatten().enumerate();
    let missing = mounts.filter_map(|(index, mount)| {
        let mut options = mount.options().iter().flatten();
        let bind = mount.typ().as_deref() == Some("bind")
            || options.any(|option| option == "bind" || option == "rbind");
        let source = bundle.join(mount.source().as_deref().filter(|_| bind)?);
        is_missing(&source).then(|| {
            let cause = format!("{source:?} does not exist");
            let remedy = "create it, or correct the path";
            Finding::warning(format!("/mounts/{index}/source"), cause, remedy)
        })
    });
    missing.collect()
}

/// Hooks that run in the runtime's namespaces; the others are looked for in the container.
fn hooks(spec: &oci::Spec) -> Vec<Finding> {
    let Some(hooks) = spec.hooks() else {
        return Vec::new();
    };
    let lists = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    let mut findings = Vec::new();
    for (name, list) in lists {
        for (index, hook) in list.iter().flatten().enumerate() {
            if hook.path().is_absolute() && is_missing(hook.path()) {
                let cause = format!("{:?} does not exist", hook.path());
                let remedy = "install the hook, or remove it from the list";
                let pointer = format!("/hooks/{name}/{index}/path");
                findings.push(Finding::warning(pointer, cause, remedy));
            }
        }
    }
    findings
}

/// Looks for the program in the rootfs as it is, unless a mount may bring it.
fn program(spec: &oci::Spec, bundle: &Path) -> Option<Finding> {
    let process = spec.process().as_ref()?;
    let name = process.args().as_ref()?.first()?;
    let rootfs = bundle.join(spec.root().as_ref()?.path());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let rootfs = Root::new(open(&rootfs, flags, Mode::empty()).ok()?);
    let places = places(process, name);
    let mounts = spec.mounts().iter().flatten();
    let mut destinations = mounts.map(|mount| mount.destination());
    let brought =
        destinations.any(|destination| places.iter().any(|place| place.starts_with(destination)));
    let there = |place: &PathBuf| rootfs.lookup(place, Links::InRoot).is_ok();
    if brought || name.is_empty() || places.iter().any(there) {
        return None;
    }
    let cause = if name.contains('/') {
        format!("{name:?} is not in the rootfs")
    } else {
        format!("{name:?} is in no directory of PATH in the rootfs")
    };
    let remedy = "correct the name, PATH in /process/env, or the rootfs";
    Some(Finding::warning("/process/args/0", cause, remedy))
}

/// Where execvp(3) would look, from the container's root.
fn places(process: &oci::Process, name: &str) -> Vec<PathBuf> {
    if name.contains('/') {
        return vec![process.cwd().join(name)];
    }
    let variables = process.env().iter().flatten().rev();
    let path = variables
        .filter_map(|entry| entry.strip_prefix("PATH="))
        .next();
    let directories = path.unwrap_or_default().split(':');
    directories
        .filter(|directory| directory.starts_with('/'))
        .map(|directory| Path::new(OsStr::from_bytes(directory.as_bytes())).join(name))
        .collect()
}
