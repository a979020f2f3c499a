//! The device of the host that a configuration names, by rtnetlink and sysfs(5).

use std::path::{Path, PathBuf};

use cni::{Attempt, Code, Error};
use interface::on_host;
use netlink::{Link, Socket};

use crate::claims::Claims;
use crate::config::Wanted;

const PCI: &str = "/sys/bus/pci/devices";
const AUXILIARY: &str = "/sys/bus/auxiliary/devices";
/// Drivers that give a device to a program and not to the kernel's network.
const USER_SPACE_DRIVERS: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// A link of the host, and its PCI address if the configuration said it.
    Link(Box<Link>, Option<String>),
    /// A PCI device that a program drives: there is no link to move.
    UserSpace(String),
}

/// Finds the device.
pub(crate) fn find(host: &mut Socket, wanted: &Wanted) -> Result<Device, Error> {
    match wanted {
        Wanted::Name(name) => {
            let found = on_host(host.link(name), || format!("look up {name:?}"))?;
            let found = match found {
                None => by_alias(host, name)?,
                found => found,
            };
            let link = found.ok_or_else(|| missing(name))?;
            Ok(Device::Link(Box::new(link), None))
        }
        Wanted::Mac(mac) => {
            let links = on_host(host.links(), || "list links".into())?;
            let link = links.into_iter().find(|link| link.mac == Some(*mac));
            let link = link.ok_or_else(|| missing(&mac.to_string()))?;
            Ok(Device::Link(Box::new(link), None))
        }
        Wanted::KernelPath(path) => {
            let link = first_link(host, &[Path::new(path).join("net")])?;
            let link = link.ok_or_else(|| missing(path))?;
            Ok(Device::Link(Box::new(link), None))
        }
        Wanted::Pci(address) => of_pci(host, address),
        Wanted::Id(id) => of_id(host, id),
    }
}

/// The PCI address of a device that a program drives.
pub(crate) fn user_space(wanted: &Wanted) -> Option<String> {
    let (Wanted::Pci(address) | Wanted::Id(address)) = wanted else {
        return None;
    };
    let driver = std::fs::read_link(Path::new(PCI).join(address).join("driver")).ok()?;
    let driver = driver.file_name()?;
    let known = USER_SPACE_DRIVERS.iter().any(|known| driver == *known);
    known.then(|| address.clone())
}

/// A device that was taken and has come back under another name, as it does when a container's
/// namespace ends without DEL.
fn by_alias(host: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let Some(claims) = Claims::existing()? else {
        return Ok(None);
    };
    if claims.of_device(name)?.is_empty() {
        return Ok(None);
    }
    let links = on_host(host.links(), || "list links".into())?;
    Ok(links
        .into_iter()
        .find(|link| link.alias.as_deref() == Some(name)))
}

fn of_id(host: &mut Socket, id: &str) -> Result<Device, Error> {
    if is_there(&Path::new(PCI).join(id)) {
        return of_pci(host, id);
    }
    let auxiliary = Path::new(AUXILIARY).join(id);
    if !is_there(&auxiliary) {
        let msg = format!("runtime config DeviceID {id} not found or unsupported");
        return Err(Error::config(msg).details(format!("neither in {PCI} nor in {AUXILIARY}")));
    }
    let link = first_link(host, &[auxiliary.join("net")])?.ok_or_else(|| missing(id))?;
    Ok(Device::Link(Box::new(link), None))
}

fn of_pci(host: &mut Socket, address: &str) -> Result<Device, Error> {
    let device = Path::new(PCI).join(address);
    if let Some(address) = user_space(&Wanted::Pci(address.into())) {
        return Ok(Device::UserSpace(address));
    }
    let mut places = vec![device.join("net")];
    // A virtio device is one of its own below the PCI device.
    let below = names(&device).unwrap_or_default();
    let virtio = below.iter().filter(|name| name.starts_with("virtio"));
    places.extend(virtio.map(|name| device.join(name).join("net")));
    let link = first_link(host, &places)?.ok_or_else(|| {
        let msg = format!("no net directory under pci device {address}");
        Error::new(Code::PLUGIN, msg)
            .details("its driver makes no network device, or another namespace has it")
    })?;
    Ok(Device::Link(Box::new(link), Some(address.into())))
}

/// The first name in these directories that a link of the host has. sysfs shows the namespace of
/// whoever mounted it, which need not be ours.
fn first_link(host: &mut Socket, places: &[PathBuf]) -> Result<Option<Link>, Error> {
    for name in places
        .iter()
        .filter_map(|place| names(place).ok())
        .flatten()
    {
        let link = on_host(host.link(&name), || format!("look up {name:?}"))?;
        if link.is_some() {
            return Ok(link);
        }
    }
    Ok(None)
}

fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let what = || format!("list {directory:?}");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).attempt(Code::PLUGIN, what)? {
        let entry = entry.attempt(Code::PLUGIN, what)?;
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn missing(device: &str) -> Error {
    let msg = format!("failed to find host device: no {device:?} on the host");
    let holder = Claims::holder(device);
    let details = holder.unwrap_or_else(|| "it may be in another network namespace".into());
    Error::new(Code::PLUGIN, msg).details(details)
}
