//! The reservations of one network: which address belongs to which attachment.
//!
//! ```text
//! <dataDir>/<network>/            0755
//!     lock                        flock(2), held exclusively by every reader and writer
//!     10.1.0.2                    0600, made with O_EXCL: "<container ID>\r\n<interface>"
//!     fd00::2                     ... the name is the address; no final newline
//!     last_reserved_ip.<set>      0600: the address reserved last from that range set
//! ```
//! The reference's plugin reads and writes the same files under the same lock, so that a node can
//! change hands with containers running. Very old files hold the container ID alone.
//!
//! Promises, against kill -9 between any two system calls and a full disk:
//! - An address is reserved by one O_EXCL create. A crash before its contents are written leaves
//!   an empty file; under the lock nobody else can be writing it, so an empty file is free.
//! - What cannot be written completely is removed again.
//! - `last_reserved_ip` is a hint: without it, or with nonsense in it, the first address is next.
//!
//! Nothing is synced: after a power loss the containers are gone too, and an address whose file
//! came back empty is free. Which address to try is `choose`'s business.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use cni::{Attachment, Attempt, Code, Error};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno, SyscallError};

/// A directory of reservations under its lock.
#[derive(Debug)]
pub struct Reservations {
    dir: Dir,
    _lock: Lock,
}

/// Whom a reservation belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The container.
    pub container_id: String,
    /// The interface; files of old versions do not say.
    pub ifname: Option<String>,
}

/// A hundred ADDs at once wait for one another for less than this.
const PATIENCE: Duration = Duration::from_secs(20);

const LOCK: &str = "lock";

/// Container IDs have no limit of their own; a longer file is not ours.
const LONGEST: u64 = 64 << 10;

impl Reservations {
    /// Locks the directory at `path`, making it first if need be. Code 11 if others keep the lock.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        let dir = Dir::open_or_create(path, 0o755).map_err(|error| told(path, error))?;
        Self::locked(dir, path)
    }

    /// As [`Self::lock`], but a directory that is not there stays so.
    pub fn lock_existing(path: &Path) -> Result<Option<Self>, Error> {
        match Dir::open(path) {
            Ok(dir) => Self::locked(dir, path).map(Some),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(told(path, error)),
        }
    }

    fn locked(dir: Dir, path: &Path) -> Result<Self, Error> {
        let lock = dir.lock(LOCK, LockKind::Exclusive, PATIENCE);
        let lock = lock.map_err(|error| told(path, error))?;
        Ok(Self { dir, _lock: lock })
    }

    /// Reserves `address`; false if somebody has it.
    pub fn reserve(&self, address: IpAddr, attachment: &Attachment) -> Result<bool, Error> {
        let name = address.to_string();
        let text = format!("{}\r\n{}", attachment.container_id, attachment.ifname);
        match self.write_new(&name, &text) {
            Err(error) if error.errno() == Errno::EEXIST => {}
            other => {
                return other
                    .map(|()| true)
                    .attempt(Code::IO, || format!("reserve {name}"));
            }
        }
        if self.owner(address)?.is_some() {
            return Ok(false);
        }
        self.release(address)?;
        self.write_new(&name, &text)
            .attempt(Code::IO, || format!("reserve {name}"))?;
        Ok(true)
    }

    /// Reserves the first of `candidates` that nobody has.
    pub fn reserve_first<C: Iterator<Item = IpAddr>>(
        &self,
        candidates: impl Fn() -> C,
        attachment: &Attachment,
    ) -> Result<Option<IpAddr>, Error> {
        // Round robin makes the very first one free nearly always.
        if let Some(first) = candidates().next()
            && self.reserve(first, attachment)?
        {
            return Ok(Some(first));
        }
        // One look at the names is cheaper than an open(2) for each that is taken.
        let taken: HashSet<IpAddr> = self.addresses()?.into_iter().collect();
        for address in candidates().filter(|address| !taken.contains(address)) {
            if self.reserve(address, attachment)? {
                return Ok(Some(address));
            }
        }
        // Full, unless a crash left files without an owner behind.
        for address in candidates() {
            if self.reserve(address, attachment)? {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    /// Frees `address`; one that is free already is no error.
    pub fn release(&self, address: IpAddr) -> Result<(), Error> {
        match self.dir.remove(address.to_string()) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(()),
            other => other.attempt(Code::IO, || format!("release {address}")),
        }
    }

    /// Whom `address` belongs to; `None` when it is free, also if a crash left an empty file.
    pub fn owner(&self, address: IpAddr) -> Result<Option<Owner>, Error> {
        match self.dir.read(address.to_string(), LONGEST) {
            Ok(contents) => Ok(Owner::parse(&contents)),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(error).attempt(Code::IO, || format!("read reservation {address}")),
        }
    }

    /// The addresses of an attachment. Files that name the container alone count only when no
    /// file names the interface too.
    pub fn of(&self, attachment: &Attachment) -> Result<Vec<IpAddr>, Error> {
        let (mut exact, mut by_container) = (Vec::new(), Vec::new());
        for address in self.addresses()? {
            let owner = self.owner(address)?;
            let owner =
                owner.filter(|owner| owner.container_id == attachment.container_id.as_str());
            match owner.map(|owner| owner.ifname) {
                Some(None) => by_container.push(address),
                Some(Some(name)) if name == attachment.ifname.as_str() => exact.push(address),
                _ => {}
            }
        }
        Ok(if exact.is_empty() {
            by_container
        } else {
            exact
        })
    }

    /// Every address that has a file.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        addresses(&self.dir)
    }

    /// The address reserved last from range set number `set`.
    pub fn last(&self, set: usize) -> Option<IpAddr> {
        let contents = self.dir.read(last_name(set), LONGEST).ok()?;
        String::from_utf8(contents).ok()?.trim().parse().ok()
    }

    /// Remembers the address reserved last.
    pub fn set_last(&self, set: usize, address: IpAddr) -> Result<(), Error> {
        let name = last_name(set);
        // Two steps that a crash may part, because this is a hint and a sync would cost more.
        let _ = self.dir.remove(&name);
        self.write_new(&name, &address.to_string())
            .attempt(Code::IO, || format!("write {name}"))
    }

    /// A file with these contents, or none.
    fn write_new(&self, name: &str, contents: &str) -> Result<(), SyscallError> {
        let mut file = self.dir.create_new(name, 0o600)?;
        file.write_all(contents.as_bytes()).map_err(|error| {
            // The first error is the one to report.
            let _ = self.dir.remove(name);
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            SyscallError::new(
                format!("write({}/{name})", self.dir.path().display()),
                errno,
            )
        })
    }
}

/// Every address that has a file in `dir`; without the lock this is a moment's view.
pub(crate) fn addresses(dir: &Dir) -> Result<Vec<IpAddr>, Error> {
    let names = dir
        .names()
        .attempt(Code::IO, || "list reservations".into())?;
    Ok(names
        .iter()
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect())
}

fn last_name(set: usize) -> String {
    format!("last_reserved_ip.{set}")
}

/// The code tells the runtime whether to try again, to mend the configuration, or the host.
fn told(path: &Path, error: SyscallError) -> Error {
    let (code, what) = match error.errno() {
        Errno::EAGAIN => (Code::TRY_AGAIN, "reservations are locked by others"),
        Errno::ENAMETOOLONG => (Code::CONFIG, "network name is too long for a directory"),
        _ => (Code::IO, "open reservations"),
    };
    Error::new(code, format!("{what}: {}", path.display())).details(error)
}

impl Owner {
    /// `None` for what a crash left: nothing but white space.
    fn parse(contents: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(contents);
        let (id, ifname) = text.split_once("\r\n").unwrap_or((&text, ""));
        let (id, ifname) = (id.trim(), ifname.trim());
        let ifname = (!ifname.is_empty()).then(|| ifname.to_owned());
        (!id.is_empty()).then(|| Self {
            container_id: id.to_owned(),
            ifname,
        })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {}",
            self.ifname.as_deref().unwrap_or("an interface"),
            self.container_id
        )
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

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The directory, a handle on it to put things there, and the reservations.
    fn store() -> (tempfile::TempDir, Dir, Reservations) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("net");
        let reservations = Reservations::lock(&path).unwrap();
        let dir = Dir::open(&path).unwrap();
        (root, dir, reservations)
    }

    #[test]
    fn the_files_are_the_references() {
        let (_root, dir, store) = store();
        assert!(store.reserve(ip("10.1.0.2"), &attachment("c1")).unwrap());
        assert!(store.reserve(ip("fd00:0::2"), &attachment("c1")).unwrap());
        store.set_last(0, ip("10.1.0.2")).unwrap();
        assert_eq!(dir.read("10.1.0.2", 64).unwrap(), b"c1\r\neth0");
        assert_eq!(dir.read("last_reserved_ip.0", 64).unwrap(), b"10.1.0.2");
        assert_eq!(dir.stat("10.1.0.2").unwrap().st_mode & 0o7777, 0o600);
        assert_eq!(
            dir.names().unwrap(),
            ["10.1.0.2", "fd00::2", "last_reserved_ip.0", "lock"]
        );
    }

    #[test]
    fn a_reserved_address_is_refused_and_a_released_one_is_not() {
        let (_root, _dir, store) = store();
        assert!(store.reserve(ip("10.1.0.2"), &attachment("c1")).unwrap());
        assert!(!store.reserve(ip("10.1.0.2"), &attachment("c2")).unwrap());
        store.release(ip("10.1.0.2")).unwrap();
        store
            .release(ip("10.1.0.2"))
            .expect("what is free is no error");
        assert!(store.reserve(ip("10.1.0.2"), &attachment("c2")).unwrap());
    }

    #[test]
    fn what_a_crash_left_is_free() {
        let (_root, dir, store) = store();
        for contents in ["", "\r\n", " \n", "\r\neth0"] {
            dir.replace("10.1.0.2", contents.as_bytes(), 0o600).unwrap();
            assert!(
                store.reserve(ip("10.1.0.2"), &attachment("c2")).unwrap(),
                "{contents:?}"
            );
        }
    }

    #[test]
    fn files_with_the_container_alone_match_when_nothing_matches_better() {
        let (_root, dir, store) = store();
        dir.replace("10.1.0.2", b"c1", 0o600).unwrap();
        dir.replace("10.1.0.3", b"c1\r\neth1", 0o600).unwrap();
        assert_eq!(store.of(&attachment("c1")).unwrap(), [ip("10.1.0.2")]);
        dir.replace("10.1.0.4", b"c1\r\neth0", 0o600).unwrap();
        assert_eq!(store.of(&attachment("c1")).unwrap(), [ip("10.1.0.4")]);
        assert!(store.of(&attachment("c")).unwrap().is_empty());
    }

    #[test]
    fn a_container_named_like_an_address_owns_nothing_by_accident() {
        let (_root, _dir, store) = store();
        store.set_last(0, ip("10.1.0.9")).unwrap();
        assert!(store.of(&attachment("10.1.0.9")).unwrap().is_empty());
    }

    #[test]
    fn the_hint_may_be_missing_or_nonsense() {
        let (_root, dir, store) = store();
        assert_eq!(store.last(0), None);
        for nonsense in ["", "x", "\u{0}"] {
            dir.replace("last_reserved_ip.0", nonsense.as_bytes(), 0o600)
                .unwrap();
            assert_eq!(store.last(0), None);
        }
        store.set_last(0, ip("10.1.0.2")).unwrap();
        assert_eq!((store.last(0), store.last(1)), (Some(ip("10.1.0.2")), None));
    }

    #[test]
    fn the_first_free_candidate_is_reserved_also_what_a_crash_left() {
        let (_root, dir, store) = store();
        let candidates = ["10.1.0.2", "10.1.0.3", "10.1.0.4"].map(ip);
        let take = |id: &str| store.reserve_first(|| candidates.into_iter(), &attachment(id));
        assert_eq!(take("a").unwrap(), Some(ip("10.1.0.2")));
        assert_eq!(take("b").unwrap(), Some(ip("10.1.0.3")));
        assert_eq!(take("c").unwrap(), Some(ip("10.1.0.4")));
        assert_eq!(take("d").unwrap(), None);
        dir.replace("10.1.0.3", b"", 0o600).unwrap();
        assert_eq!(take("d").unwrap(), Some(ip("10.1.0.3")));
    }

    #[test]
    fn a_directory_that_is_not_there_stays_so() {
        let root = tempfile::tempdir().unwrap();
        assert!(
            Reservations::lock_existing(&root.path().join("net"))
                .unwrap()
                .is_none()
        );
        assert!(std::fs::read_dir(root.path()).unwrap().next().is_none());
        let long = "x".repeat(300);
        let error = Reservations::lock(&root.path().join(long)).unwrap_err();
        assert_eq!(error.code, Code::CONFIG);
    }
}
