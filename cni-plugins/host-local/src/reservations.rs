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
//!
//! Finding an attachment means reading every file, as the reference does. From [`MANY`] files on
//! an `index` beside the directory is kept, so that it costs the same however many there are.

use std::collections::HashSet;
use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni::{Attachment, Attempt, Code, Error};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno, SyscallError};

use crate::index::{self, Index, Stamp};

/// A directory of reservations under its lock.
#[derive(Debug)]
pub struct Reservations {
    dir: Dir,
    index: Option<Index>,
    index_is_behind: bool,
    // Last, so that it is let go of after the index has caught up.
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

/// From how many reservations on an index pays.
const MANY: usize = 128;

const LOCK: &str = "lock";

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// More range sets than this, and the rest is not part of the stamp.
const MOST_HINTS: usize = 8;

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
        let index = index_path(path).and_then(|path| Index::open(&path, &stamp(&dir)));
        Ok(Self {
            dir,
            index,
            index_is_behind: false,
            _lock: lock,
        })
    }

    /// Reserves `address`; false if somebody has it.
    pub fn reserve(&mut self, address: IpAddr, attachment: &Attachment) -> Result<bool, Error> {
        let Attachment {
            container_id,
            ifname,
        } = attachment;
        let name = address.to_string();
        let text = format!("{container_id}\r\n{ifname}");
        self.index_falls_behind();
        let mut written = self.write_new(&name, &text);
        if written
            .as_ref()
            .is_err_and(|error| error.errno() == Errno::EEXIST)
        {
            if self.owner(address)?.is_some() {
                return Ok(false);
            }
            self.release(address)?;
            written = self.write_new(&name, &text);
        }
        written.attempt(Code::IO, || format!("reserve {name}"))?;
        let hash = index::hash(container_id.as_str(), ifname.as_str());
        self.index = self.index.take().and_then(|mut index| {
            index.insert(hash, address)?;
            Some(index)
        });
        Ok(true)
    }

    /// Reserves the first of `candidates` that nobody has.
    pub fn reserve_first<C: Iterator<Item = IpAddr>>(
        &mut self,
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
    pub fn release(&mut self, address: IpAddr) -> Result<(), Error> {
        if self.index.is_some() {
            let hash = self.owner(address)?.map(|owner| owner.hash());
            self.index_falls_behind();
            self.index = self.index.take().and_then(|mut index| {
                hash.map_or(Some(()), |hash| index.remove(hash, address))?;
                Some(index)
            });
        }
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
    pub fn of(&mut self, attachment: &Attachment) -> Result<Vec<IpAddr>, Error> {
        let indexed = self
            .index
            .as_ref()
            .and_then(|index| indexed(index, attachment));
        if let Some(indexed) = indexed
            && let Some(found) = self.confirmed(&indexed, attachment)?
        {
            return Ok(found);
        }
        let entries = self.entries()?;
        self.index = None;
        if entries.len() >= MANY {
            let hashed = entries
                .iter()
                .map(|(owner, address)| (owner.hash(), *address));
            self.build_index(&hashed.collect::<Vec<_>>());
        }
        Ok(pick(entries, attachment))
    }

    /// `None` when the index was wrong about one of them.
    fn confirmed(
        &self,
        indexed: &[IpAddr],
        attachment: &Attachment,
    ) -> Result<Option<Vec<IpAddr>>, Error> {
        let mut owners = Vec::new();
        for address in indexed {
            match self.owner(*address)? {
                Some(owner) => owners.push((owner, *address)),
                None => return Ok(None),
            }
        }
        let id = attachment.container_id.as_str();
        let right = owners.iter().all(|(owner, _)| owner.container_id == id);
        Ok(right.then(|| pick(owners, attachment)))
    }

    /// Every reservation, read.
    fn entries(&self) -> Result<Vec<(Owner, IpAddr)>, Error> {
        let mut entries = Vec::new();
        for address in self.addresses()? {
            if let Some(owner) = self.owner(address)? {
                entries.push((owner, address));
            }
        }
        Ok(entries)
    }

    /// Without an index everything works, so what goes wrong with one is no error.
    fn build_index(&mut self, entries: &[index::Entry]) {
        let Some(path) = index_path(self.dir.path()) else {
            return;
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let Ok(dir) = Dir::open_or_create(parent, 0o700) else {
            return;
        };
        self.index = Index::build(&dir, name, entries);
        self.index_is_behind = self.index.is_some();
    }

    /// To be called before the first change: killed after it, the index must not be believed.
    fn index_falls_behind(&mut self) {
        if !self.index_is_behind {
            self.index = self.index.take().filter(|index| index.begin().is_some());
            self.index_is_behind = true;
        }
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

impl Drop for Reservations {
    fn drop(&mut self) {
        if let Some(index) = self.index.as_ref().filter(|_| self.index_is_behind) {
            // Without its commit it is built anew next time.
            let _ = index.commit(&stamp(&self.dir));
        }
    }
}

/// Beside the directory: the reference reads every file inside it.
fn index_path(store: &Path) -> Option<PathBuf> {
    Some(store.parent()?.join(".davit").join(store.file_name()?))
}

/// What the index goes by.
fn stamp(dir: &Dir) -> Stamp {
    let mut stamp = std::fs::read(BOOT_ID).unwrap_or_default();
    if let Ok(stat) = dir.stat_self() {
        let parts = [stat.st_ino.cast_signed(), stat.st_mtime, stat.st_mtime_nsec];
        stamp.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
    }
    let hints = (0..).map_while(|set| dir.read(last_name(set), LONGEST).ok());
    stamp.extend(hints.take(MOST_HINTS).flatten());
    Stamp(stamp)
}

/// Addresses that may be the attachment's, by the index.
fn indexed(index: &Index, attachment: &Attachment) -> Option<Vec<IpAddr>> {
    let Attachment {
        container_id,
        ifname,
    } = attachment;
    let exact = index.lookup(index::hash(container_id.as_str(), ifname.as_str()))?;
    match exact.is_empty() {
        true => index.lookup(index::hash(container_id.as_str(), "")),
        false => Some(exact),
    }
}

fn pick(owners: impl IntoIterator<Item = (Owner, IpAddr)>, attachment: &Attachment) -> Vec<IpAddr> {
    let (mut exact, mut by_container) = (Vec::new(), Vec::new());
    for (owner, address) in owners {
        if owner.container_id != attachment.container_id.as_str() {
            continue;
        }
        match owner.ifname {
            None => by_container.push(address),
            Some(name) if name == attachment.ifname.as_str() => exact.push(address),
            Some(_) => {}
        }
    }
    if exact.is_empty() {
        by_container
    } else {
        exact
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
    fn hash(&self) -> u64 {
        index::hash(
            &self.container_id,
            self.ifname.as_deref().unwrap_or_default(),
        )
    }

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
        let (_root, dir, mut store) = store();
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
        let (_root, _dir, mut store) = store();
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
        let (_root, dir, mut store) = store();
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
        let (_root, dir, mut store) = store();
        dir.replace("10.1.0.2", b"c1", 0o600).unwrap();
        dir.replace("10.1.0.3", b"c1\r\neth1", 0o600).unwrap();
        assert_eq!(store.of(&attachment("c1")).unwrap(), [ip("10.1.0.2")]);
        dir.replace("10.1.0.4", b"c1\r\neth0", 0o600).unwrap();
        assert_eq!(store.of(&attachment("c1")).unwrap(), [ip("10.1.0.4")]);
        assert!(store.of(&attachment("c")).unwrap().is_empty());
    }

    #[test]
    fn a_container_named_like_an_address_owns_nothing_by_accident() {
        let (_root, _dir, mut store) = store();
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
        let (_root, dir, mut store) = store();
        let candidates = ["10.1.0.2", "10.1.0.3", "10.1.0.4"].map(ip);
        let mut take = |id: &str| store.reserve_first(|| candidates.into_iter(), &attachment(id));
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

    /// The same, opened again: what another process would see.
    fn again(store: Reservations) -> Reservations {
        let path = store.dir.path().to_owned();
        drop(store);
        Reservations::lock(&path).unwrap()
    }

    fn crowded() -> (tempfile::TempDir, Dir, Reservations) {
        let (root, dir, mut store) = store();
        for number in 0..200 {
            let address = ip(&format!("10.1.1.{number}"));
            assert!(
                store
                    .reserve(address, &attachment(&format!("c{number}")))
                    .unwrap()
            );
        }
        assert!(store.of(&attachment("nobody")).unwrap().is_empty());
        assert!(store.index.is_some(), "so many that an index pays");
        (root, dir, store)
    }

    #[test]
    fn the_index_says_what_reading_every_file_says() {
        let (_root, _dir, mut store) = crowded();
        for number in 0..90 {
            let id = attachment(&format!("c{number}"));
            match number % 3 {
                0 => store
                    .release(ip(&format!("10.1.1.{}", number % 200)))
                    .unwrap(),
                1 => {
                    store
                        .reserve(ip(&format!("10.1.2.{}", number % 250)), &id)
                        .unwrap();
                }
                _ => store.set_last(0, ip("10.1.2.9")).unwrap(),
            }
            if number % 7 == 0 {
                store = again(store);
                assert!(store.index.is_some(), "our own changes do not spoil it");
            }
            let by_index = store.of(&id).unwrap();
            assert_eq!(by_index, pick(store.entries().unwrap(), &id), "{number}");
        }
    }

    #[test]
    fn an_index_that_others_made_wrong_is_not_believed() {
        let (_root, dir, store) = crowded();
        let mut store = again(store);
        assert_eq!(store.of(&attachment("c7")).unwrap(), [ip("10.1.1.7")]);
        let path = store.dir.path().to_owned();
        drop(store);
        // The reference, which knows of no index.
        dir.remove("10.1.1.7").unwrap();
        dir.replace("10.1.3.7", b"c7\r\neth0", 0o600).unwrap();
        dir.replace("last_reserved_ip.0", b"10.1.3.7", 0o600)
            .unwrap();
        let mut store = Reservations::lock(&path).unwrap();
        assert!(store.index.is_none());
        assert_eq!(store.of(&attachment("c7")).unwrap(), [ip("10.1.3.7")]);
        let mut store = again(store);
        assert!(store.index.is_some(), "and it is built anew");
        // A removal within one tick of the clock leaves the stamp as it was.
        dir.remove("10.1.3.7").unwrap();
        assert!(store.of(&attachment("c7")).unwrap().is_empty());
    }

    #[test]
    fn the_index_may_be_deleted_at_any_time() {
        let (root, _dir, store) = crowded();
        drop(store);
        let data = Dir::open(root.path()).unwrap();
        data.remove_all(".davit").unwrap();
        let mut store = Reservations::lock(&root.path().join("net")).unwrap();
        assert_eq!(store.of(&attachment("c7")).unwrap(), [ip("10.1.1.7")]);
    }

    #[test]
    fn killed_between_two_changes_the_index_is_not_believed() {
        let (root, dir, store) = crowded();
        let mut store = again(store);
        assert!(store.reserve(ip("10.1.4.1"), &attachment("late")).unwrap());
        // Neither commit nor anything else of drop() runs.
        std::mem::forget(store);
        let path = root.path().join("net");
        assert!(Index::open(&index_path(&path).unwrap(), &stamp(&dir)).is_none());
    }
}
