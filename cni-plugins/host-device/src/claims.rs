//! [`Claims`]: which attachment has taken which device of the host, and how the device was.
//!
//! ```text
//! /run/davit-cni/host-device/
//!     TOKEN@DEVICE    JSON of Taken; TOKEN is the owner's, DEVICE the name on the host
//!     lock@DEVICE     flock(2) of whoever is moving the device
//! ```
//! A claim is written before the device moves and removed after it is home again. It is read and
//! written under the device's lock alone, so a claim on a device that is on the host belongs to
//! nobody any more. A reboot takes all devices home, and /run with it.

use std::time::Duration;

use cni::{Attempt, Code, Error};
use netlink::Link;
use owner::Owner;
use serde::{Deserialize, Serialize};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno};

const DIRECTORY: &str = "/run/davit-cni/host-device";
/// A device takes part of a second to move; its driver may be slower.
const PATIENCE: Duration = Duration::from_secs(15);
const LONGEST: u64 = 64 << 10;

/// A device as it was on the host, and where it went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Taken {
    pub(crate) network: String,
    pub(crate) container: String,
    pub(crate) ifname: String,
    /// `CNI_NETNS` of ADD.
    pub(crate) netns: String,
    /// Its name on the host.
    pub(crate) name: String,
    /// `None` for a physical device.
    pub(crate) kind: Option<String>,
    pub(crate) mac: Option<String>,
    /// What the hardware says, which nobody can change.
    pub(crate) permanent_mac: Option<String>,
    pub(crate) mtu: u32,
    pub(crate) is_up: bool,
    pub(crate) alias: String,
    /// It has left the host, as far as is known: a kill may have come before this was written.
    pub(crate) has_left: bool,
    /// Its index in the container, which nobody there can change; 0 when it is not known.
    pub(crate) index: u32,
}

impl Taken {
    /// What `owner` takes when it moves this link into `netns`.
    pub(crate) fn new(owner: &Owner, netns: &str, link: &Link) -> Self {
        Self {
            network: owner.network.clone(),
            container: owner.container.clone(),
            ifname: owner.ifname.clone(),
            netns: netns.into(),
            name: link.name.clone(),
            kind: link.kind.clone(),
            mac: link.mac.map(|mac| mac.to_string()),
            permanent_mac: link.permanent_mac.map(|mac| mac.to_string()),
            mtu: link.mtu,
            is_up: link.is_up,
            alias: link.alias.clone().unwrap_or_default(),
            has_left: false,
            index: 0,
        }
    }
}

/// The directory of claims.
pub(crate) struct Claims(Dir);

impl Claims {
    /// Opens the directory, making it if need be.
    pub(crate) fn open() -> Result<Self, Error> {
        let opened = Dir::open_or_create(DIRECTORY, 0o700);
        opened
            .attempt(Code::PLUGIN, || format!("make {DIRECTORY}"))
            .map(Self)
    }

    /// Opens the directory; `None` when nobody has ever made it.
    pub(crate) fn existing() -> Result<Option<Self>, Error> {
        match Dir::open(DIRECTORY) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            opened => opened
                .attempt(Code::PLUGIN, || format!("open {DIRECTORY}"))
                .map(|dir| Some(Self(dir))),
        }
    }

    /// Keeps all others from moving this device; code 11 when they do not come to an end.
    pub(crate) fn lock(&self, device: &str) -> Result<Lock, Error> {
        let lock = self
            .0
            .lock(format!("lock@{device}"), LockKind::Exclusive, PATIENCE);
        let held = matches!(&lock, Err(error) if error.errno() == Errno::EAGAIN);
        let code = if held { Code::TRY_AGAIN } else { Code::PLUGIN };
        lock.attempt(code, || format!("wait for others who move {device:?}"))
    }

    /// Writes a claim in one step.
    pub(crate) fn write(&self, token: &str, taken: &Taken) -> Result<(), Error> {
        let what = || format!("write down that {:?} is taken", taken.name);
        let json = serde_json::to_vec(taken).attempt(Code::PLUGIN, what)?;
        let written = self
            .0
            .replace_volatile(file(token, &taken.name), &json, 0o600);
        written.attempt(Code::PLUGIN, what)
    }

    /// Reads a claim; `None` when there is none, or when it cannot be understood.
    pub(crate) fn read(&self, token: &str, device: &str) -> Result<Option<Taken>, Error> {
        let bytes = match self.0.read(file(token, device), LONGEST) {
            Err(error) if matches!(error.errno(), Errno::ENOENT | Errno::EFBIG) => return Ok(None),
            read => read.attempt(Code::PLUGIN, || format!("read who has taken {device:?}"))?,
        };
        let taken = serde_json::from_slice::<Taken>(&bytes).ok();
        Ok(taken.filter(|taken| taken.name == device))
    }

    /// Removes a claim; one that is gone is no error.
    pub(crate) fn remove(&self, token: &str, device: &str) -> Result<(), Error> {
        match self.0.remove(file(token, device)) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(()),
            removed => removed.attempt(Code::PLUGIN, || {
                format!("write down that {device:?} is back")
            }),
        }
    }

    /// Removes files that killed writers have left.
    pub(crate) fn sweep(&self) -> Result<(), Error> {
        let swept = self.0.remove_abandoned();
        swept.attempt(Code::PLUGIN, || format!("sweep {DIRECTORY}"))
    }

    /// The devices that an owner has claimed.
    pub(crate) fn of_owner(&self, token: &str) -> Result<Vec<String>, Error> {
        let all = self.all()?.into_iter();
        Ok(all
            .filter(|(each, _)| each == token)
            .map(|(_, device)| device)
            .collect())
    }

    /// The owners that have claimed a device.
    pub(crate) fn of_device(&self, device: &str) -> Result<Vec<String>, Error> {
        let all = self.all()?.into_iter();
        Ok(all
            .filter(|(_, each)| each == device)
            .map(|(token, _)| token)
            .collect())
    }

    /// Every claim: token and device.
    pub(crate) fn all(&self) -> Result<Vec<(String, String)>, Error> {
        let names = self
            .0
            .names()
            .attempt(Code::PLUGIN, || format!("list {DIRECTORY}"))?;
        let names = names.iter().filter_map(|name| name.to_str());
        let claims = names.filter_map(|name| name.split_once('@'));
        // The rest are locks, and files on their way to a name.
        let claims = claims.filter(|(token, _)| *token != "lock" && !token.starts_with('.'));
        Ok(claims
            .map(|(token, device)| (token.into(), device.into()))
            .collect())
    }

    /// Who has a device, as far as it can be told, for an error.
    pub(crate) fn holder(device: &str) -> Option<String> {
        let claims = Self::existing().ok()??;
        let token = claims.of_device(device).ok()?.pop()?;
        let taken = claims.read(&token, device).ok()??;
        let Taken {
            ifname,
            container,
            network,
            ..
        } = taken;
        Some(format!(
            "it is {ifname:?} of container {container:?} in network {network:?}"
        ))
    }
}

fn file(token: &str, device: &str) -> String {
    format!("{token}@{device}")
}
