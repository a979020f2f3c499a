//! Who has which address, for `ipam.unique`.
//!
//! ```text
//! <dataDir>/<network>/            0755
//!     lock                        flock(2), held exclusively by every reader and writer
//!     10.1.0.2                    0600, made with O_EXCL: "<container ID>\r\n<interface>"
//! ```
//! As host-local's reservations, so that people and tools can read both. A crash before the
//! contents are written leaves an empty file; under the lock nobody else can be writing it, so it
//! is nobody's. The default place is on a file system that a reboot empties, because no address
//! outlives one.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use cni::{Attachment, Attempt, Code, Error};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno, SyscallError};

/// The records of one network, under their lock.
#[derive(Debug)]
pub(crate) struct Records {
    dir: Dir,
    _lock: Lock,
}

/// Whom an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) container_id: String,
    pub(crate) ifname: String,
}

/// A thousand ADDs at once wait for one another for less than this.
const PATIENCE: Duration = Duration::from_secs(20);

const LOCK: &str = "lock";

/// The longest contents. The kernel writes this much in one step, so a crash leaves nothing or
/// all of it.
const LONGEST: usize = 4096;

impl Records {
    /// Locks the directory at `path`, making it first if need be. Code 11 if others keep the lock.
    pub(crate) fn lock(path: &Path) -> Result<Self, Error> {
        let dir = Dir::open_or_create(path, 0o755).map_err(|error| told(path, error))?;
        Self::locked(dir, path)
    }

    /// As [`Self::lock`], but a directory without records stays as it is.
    pub(crate) fn lock_existing(path: &Path) -> Result<Option<Self>, Error> {
        let dir = match Dir::open(path) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            other => other.map_err(|error| told(path, error))?,
        };
        match dir.stat(LOCK) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            _ => Self::locked(dir, path).map(Some),
        }
    }

    fn locked(dir: Dir, path: &Path) -> Result<Self, Error> {
        let lock = dir.lock_in_turn(LOCK, LockKind::Exclusive, PATIENCE);
        let lock = lock.map_err(|error| told(path, error))?;
        Ok(Self { dir, _lock: lock })
    }

    /// Every address that has a file.
    pub(crate) fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let names = self.dir.names();
        let names = names.attempt(Code::IO, || "list records".into())?;
        let addresses = names.iter().filter_map(|name| name.to_str()?.parse().ok());
        Ok(addresses.collect())
    }

    /// Whom `address` belongs to, if to anybody.
    pub(crate) fn owner(&self, address: IpAddr) -> Result<Option<Owner>, Error> {
        match self.dir.read(address.to_string(), LONGEST as u64) {
            Ok(contents) => Ok(Owner::parse(&contents)),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(error).attempt(Code::IO, || format!("read record {address}")),
        }
    }

    /// Makes `address` the attachment's. It is nobody's: the caller holds the lock and has looked.
    pub(crate) fn put(&self, address: IpAddr, attachment: &Attachment) -> Result<(), Error> {
        let text = format!("{}\r\n{}", attachment.container_id, attachment.ifname);
        if text.len() > LONGEST {
            let msg = format!("CNI_CONTAINERID is too long: {} bytes", text.len());
            return Err(Error::environment(msg).details(format!("at most {LONGEST} fit")));
        }
        // What a crash left.
        self.remove(address)?;
        let name = address.to_string();
        let attempted = || format!("record {address}");
        let file = self.dir.create_new(&name, 0o600);
        let mut file = file.attempt(Code::IO, attempted)?;
        let written = file.write_all(text.as_bytes());
        if written.is_err() {
            // The first error is the one to report.
            let _ = self.dir.remove(&name);
        }
        written.attempt(Code::IO, attempted)
    }

    /// Forgets `address`; what is not known is forgotten already.
    pub(crate) fn remove(&self, address: IpAddr) -> Result<(), Error> {
        match self.dir.remove(address.to_string()) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(()),
            other => other.attempt(Code::IO, || format!("forget record {address}")),
        }
    }
}

/// Whether records could be written: in `path`, or where ADD would make it.
pub(crate) fn probe(path: &Path) -> std::io::Result<()> {
    let mut place = path;
    let dir = loop {
        match (Dir::open(place), place.parent()) {
            (Err(error), Some(parent)) if error.errno() == Errno::ENOENT => place = parent,
            (opened, _) => break opened?,
        }
    };
    let name = format!(".status.{}", std::process::id());
    let mut file = dir.create_new(&name, 0o600)?;
    let written = file.write_all(b"probe");
    dir.remove(&name)?;
    written
}

/// The code tells the runtime whether to try again, to mend the configuration, or the host.
fn told(path: &Path, error: SyscallError) -> Error {
    let (code, what) = match error.errno() {
        Errno::EAGAIN => (Code::TRY_AGAIN, "records are locked by others"),
        Errno::ENAMETOOLONG => (Code::CONFIG, "network name is too long for a directory"),
        _ => (Code::IO, "open records"),
    };
    Error::new(code, format!("{what}: {}", path.display())).details(error)
}

impl Owner {
    pub(crate) fn is(&self, attachment: &Attachment) -> bool {
        self.container_id == attachment.container_id.as_str()
            && self.ifname == attachment.ifname.as_str()
    }

    fn parse(contents: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(contents).ok()?;
        let (container_id, ifname) = text.split_once("\r\n")?;
        Some(Self {
            container_id: container_id.to_owned(),
            ifname: ifname.to_owned(),
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.ifname, self.container_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(id: &str) -> Attachment {
        Attachment {
            container_id: id.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        }
    }

    #[test]
    fn an_address_is_its_owners_until_it_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let records = Records::lock(&root.path().join("net")).unwrap();
        let address = "10.1.0.5".parse().unwrap();
        assert_eq!(records.owner(address).unwrap(), None);
        records.put(address, &attachment("c1")).unwrap();
        let owner = records.owner(address).unwrap().unwrap();
        assert!(owner.is(&attachment("c1")) && !owner.is(&attachment("c2")));
        assert_eq!(owner.to_string(), "eth0 of c1");
        assert_eq!(records.addresses().unwrap(), [address]);
        records.remove(address).unwrap();
        records.remove(address).expect("twice is no error");
        assert_eq!(records.owner(address).unwrap(), None);
    }

    #[test]
    fn what_a_crash_left_is_nobodys() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("net");
        let records = Records::lock(&path).unwrap();
        let dir = Dir::open(&path).unwrap();
        let address = "fd00::5".parse().unwrap();
        for contents in ["", "c1", "\u{0}"] {
            dir.replace("fd00::5", contents.as_bytes(), 0o600).unwrap();
            assert_eq!(records.owner(address).unwrap(), None, "{contents:?}");
        }
        records.put(address, &attachment("c1")).unwrap();
        assert_eq!(dir.read("fd00::5", 64).unwrap(), b"c1\r\neth0");
    }

    #[test]
    fn where_nothing_was_recorded_nothing_is_made() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("net");
        assert!(Records::lock_existing(&path).unwrap().is_none());
        probe(&path).unwrap();
        assert!(Dir::open(root.path()).unwrap().names().unwrap().is_empty());
        let long = root.path().join("x".repeat(300));
        assert_eq!(Records::lock(&long).unwrap_err().code, Code::CONFIG);
    }
}
