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
//!   an empty file; under the lock nobody else can be writing it, so an empty file is free, and
//!   goes with the next DEL or GC.
//! - What cannot be written completely is removed again.
//! - `last_reserved_ip` is a hint: without it, or with nonsense in it, the first address is next.
//!
//! Nothing is synced: after a power loss the containers are gone too, and an address whose file
//! came back empty is free. Which address to try is `choose`'s business.
//!
//! Finding an attachment or a free address that way means reading every file. An `index` beside
//! the directory makes both cost the same however many there are.
//!
//! A reservation made before this boot belongs to an interface that is gone, and yet its container
//! may be started again and should find its address. So it stays, until its attachment is deleted
//! or collected, or somebody asks for that very address, or nothing else is free.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cni::{Attachment, Attempt, Code, Error};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno, SyscallError};

use crate::index::{self, Entry, Index, Moment, Stamp};
use crate::ranges::{Span, address, number};

/// A directory of reservations under its lock.
#[derive(Debug)]
pub struct Reservations {
    dir: Dir,
    boot: Vec<u8>,
    /// Files not written since are of an earlier boot; nanoseconds since 1970.
    earlier_until: u64,
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

/// A thousand ADDs at once wait for one another for less than this.
const PATIENCE: Duration = Duration::from_secs(20);

const LOCK: &str = "lock";

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// More range sets than this, and the rest is not part of the stamp.
const MOST_HINTS: usize = 8;

/// The longest contents that we write. The kernel writes this much in one step, so a crash leaves
/// nothing or all of it.
const LONGEST: usize = 4096;

/// More than anybody can have written: a variable of the environment is shorter (execve(2)).
const LIMIT: u64 = 256 << 10;

/// Longer than nearly every file: a container ID has 64 characters, an interface 15.
const USUAL: usize = 256;

/// Fewer files than this are read faster than threads are made.
const WORTH_THREADS: usize = 1024;

impl Reservations {
    /// Locks the directory at `path`, making it first if need be. Code 11 if others keep the lock.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        let dir = Dir::open_or_create(path, 0o755).map_err(|error| told(path, error))?;
        Self::locked(dir, path)
    }

    /// As [`Self::lock`], but a directory that is not there stays so.
    pub fn lock_existing(path: &Path) -> Result<Option<Self>, Error> {
        match Dir::open(path) {
            Ok(dir) if is_unused(&dir)? => Ok(None),
            Ok(dir) => Self::locked(dir, path).map(Some),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(told(path, error)),
        }
    }

    fn locked(dir: Dir, path: &Path) -> Result<Self, Error> {
        Self::locked_in(dir, path, std::fs::read(BOOT_ID).unwrap_or_default())
    }

    /// As in the boot of this ID.
    fn locked_in(dir: Dir, path: &Path, boot: Vec<u8>) -> Result<Self, Error> {
        let lock = dir.lock_in_turn(LOCK, LockKind::Exclusive, PATIENCE);
        let lock = lock.map_err(|error| told(path, error))?;
        let mut reservations = Self {
            dir,
            boot,
            earlier_until: 0,
            index: None,
            index_is_behind: false,
            _lock: lock,
        };
        if let Some(path) = index_path(path) {
            let moment = reservations.moment();
            index::forget_after_step_back(&path, &moment)
                .attempt(Code::IO, || format!("remove {}", path.display()))?;
            reservations.index = Index::open(&path, &stamp(&reservations.dir), &moment);
            reservations.earlier_until = index::earlier_until(&path, &moment);
        }
        Ok(reservations)
    }

    fn moment(&self) -> Moment {
        Moment {
            boot: self.boot.clone(),
            now: nanoseconds(SystemTime::now()),
        }
    }

    /// Reserves `address`; false if somebody has it.
    pub fn reserve(&mut self, address: IpAddr, attachment: &Attachment) -> Result<bool, Error> {
        let Attachment {
            container_id,
            ifname,
        } = attachment;
        let name = address.to_string();
        let text = format!("{container_id}\r\n{ifname}");
        if text.len() > LONGEST {
            let length = text.len();
            let msg = format!("CNI_CONTAINERID is too long for a reservation: {length} bytes");
            return Err(Error::environment(msg).details(format!("at most {LONGEST} fit")));
        }
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
        self.index_gets(Entry {
            hash: index::hash(container_id.as_str(), ifname.as_str()),
            number: number(address),
            earlier: false,
        });
        Ok(true)
    }

    /// As [`Self::reserve`], also if the address was reserved before this boot.
    pub fn claim(&mut self, address: IpAddr, attachment: &Attachment) -> Result<bool, Error> {
        if self.reserve(address, attachment)? {
            return Ok(true);
        }
        if !self.is_earlier(address)? {
            return Ok(false);
        }
        self.release(address)?;
        self.reserve(address, attachment)
    }

    /// Reserves the first address along `ring` that nobody has; if there is none, the first that
    /// was reserved before this boot.
    pub(crate) fn take(
        &mut self,
        ring: &[Span],
        attachment: &Attachment,
    ) -> Result<Option<IpAddr>, Error> {
        let free = self.index.as_mut().map(|index| index.first_free(ring));
        if let Some(free) = free.flatten().flatten().map(address)
            && self.reserve(free, attachment)?
        {
            return Ok(Some(free));
        }
        // Full, or there is no index, or it was wrong.
        let names: BTreeSet<u128> = self.addresses()?.into_iter().map(number).collect();
        if let Some(free) = gap(ring, &names).map(address)
            && self.reserve(free, attachment)?
        {
            return Ok(Some(free));
        }
        self.take_over(ring, &names, attachment)
    }

    /// Takes what a crash left or what was reserved before this boot.
    fn take_over(
        &mut self,
        ring: &[Span],
        names: &BTreeSet<u128>,
        attachment: &Attachment,
    ) -> Result<Option<IpAddr>, Error> {
        let indexed = self
            .index
            .as_mut()
            .and_then(|index| index.first_earlier(ring));
        let candidates: Vec<u128> = match indexed {
            Some(earlier) => earlier.into_iter().collect(),
            None => ring
                .iter()
                .flat_map(|(first, last)| names.range(first..=last).copied())
                .collect(),
        };
        for candidate in candidates.into_iter().map(address) {
            if (self.is_earlier(candidate)? || self.owner(candidate)?.is_none())
                && self.claim(candidate, attachment)?
            {
                return Ok(Some(candidate));
            }
        }
        Ok(None)
    }

    /// A reservation that its own attachment asks for again is of this boot.
    pub fn affirm(&mut self, address: IpAddr) -> Result<(), Error> {
        if !self.is_earlier(address)? {
            return Ok(());
        }
        self.index_falls_behind();
        let file = self.dir.open_file(address.to_string());
        let touched = file.map_err(std::io::Error::from).and_then(|file| {
            let now = SystemTime::now();
            file.set_modified(now)
        });
        touched.attempt(Code::IO, || format!("affirm reservation {address}"))?;
        self.index = self.index.take().and_then(|mut index| {
            index.affirm(number(address))?;
            Some(index)
        });
        Ok(())
    }

    /// Whether the reservation was made before this boot.
    fn is_earlier(&self, address: IpAddr) -> Result<bool, Error> {
        is_earlier(&self.dir, address, self.earlier_until)
    }

    /// Frees `address`; one that is free already is no error.
    pub fn release(&mut self, address: IpAddr) -> Result<(), Error> {
        self.index_falls_behind();
        if self.index.is_some() {
            let hash = self.owner(address)?.map(|owner| owner.hash());
            self.index = self.index.take().and_then(|mut index| {
                index.remove(hash, number(address))?;
                Some(index)
            });
        }
        match self.dir.remove(address.to_string()) {
            Err(error) if error.errno() != Errno::ENOENT => {
                // It says that the address is free.
                self.index = None;
                Err(error).attempt(Code::IO, || format!("release {address}"))
            }
            _ => Ok(()),
        }
    }

    /// Whom `address` belongs to; `None` when it is free, also if a crash left an empty file.
    pub fn owner(&self, address: IpAddr) -> Result<Option<Owner>, Error> {
        match self.dir.read(address.to_string(), LIMIT) {
            Ok(contents) => Ok(Owner::parse(&contents)),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(error).attempt(Code::IO, || format!("read reservation {address}")),
        }
    }

    /// The addresses of an attachment. Files that name the container alone count only when no
    /// file names the interface too.
    pub fn of(&mut self, attachment: &Attachment) -> Result<Vec<IpAddr>, Error> {
        let indexed = self.index.as_mut();
        let indexed = indexed.and_then(|index| indexed_addresses(index, attachment));
        if let Some(indexed) = indexed
            && let Some(found) = self.confirmed(&indexed, attachment)?
        {
            return Ok(found);
        }
        let read = self.entries()?;
        let entries = read.iter().map(|(owner, address, earlier)| Entry {
            hash: owner.hash(),
            number: number(*address),
            earlier: *earlier,
        });
        self.build_index(&entries.collect::<Vec<_>>());
        let owners = read.into_iter().map(|(owner, address, _)| (owner, address));
        Ok(pick(owners, attachment))
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

    /// Every reservation, read: whose, which address, and whether it was made before this boot.
    pub fn entries(&self) -> Result<Vec<(Owner, IpAddr, bool)>, Error> {
        let addresses = self.addresses()?;
        let threads = match addresses.len() {
            ..WORTH_THREADS => 1,
            _ => std::thread::available_parallelism().map_or(1, |cpus| cpus.get().min(8)),
        };
        let share = addresses.len().div_ceil(threads).max(1);
        let read = |addresses: &[IpAddr]| -> Result<Vec<_>, Error> {
            let read = addresses.iter().map(|address| self.entry(*address));
            read.filter_map(Result::transpose).collect()
        };
        std::thread::scope(|scope| {
            let (first, others) = addresses.split_at(share.min(addresses.len()));
            let others: Vec<_> = others
                .chunks(share)
                .map(|share| {
                    let thread = std::thread::Builder::new();
                    (share, thread.spawn_scoped(scope, move || read(share)))
                })
                .collect();
            let mut entries = read(first)?;
            for (share, other) in others {
                entries.extend(match other {
                    Ok(other) => other
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                    // No more threads for us here.
                    Err(_) => read(share)?,
                });
            }
            Ok(entries)
        })
    }

    fn entry(&self, address: IpAddr) -> Result<Option<(Owner, IpAddr, bool)>, Error> {
        let attempted = || format!("read reservation {address}");
        let mut file = match self.dir.open_file(address.to_string()) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            other => other.attempt(Code::IO, attempted)?,
        };
        // One read(2) where read_to_end() takes two, which tells at 60,000.
        let mut contents = [0; USUAL];
        let length = file.read(&mut contents).attempt(Code::IO, attempted)?;
        let owner = match contents.get(..length) {
            Some(contents) if length < USUAL => Owner::parse(contents),
            _ => self.owner(address)?,
        };
        let Some(owner) = owner else {
            // A killed ADD left it, before it had an owner: what no DEL would ask for goes with the
            // first that reads everything.
            if length == 0 {
                let _ = self.dir.remove(address.to_string());
            }
            return Ok(None);
        };
        let earlier = self.earlier_until > 0
            && file
                .metadata()
                .and_then(|about| about.modified())
                .is_ok_and(|written| nanoseconds(written) <= self.earlier_until);
        Ok(Some((owner, address, earlier)))
    }

    /// Without an index everything works, so what goes wrong with one is no error.
    fn build_index(&mut self, entries: &[Entry]) {
        self.index = None;
        let Some(path) = index_path(self.dir.path()) else {
            return;
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let Ok(dir) = Dir::open_or_create(parent, 0o700) else {
            return;
        };
        let moment = self.moment();
        self.index = Index::build(&dir, name, entries, &moment, self.earlier_until);
        self.index_is_behind = self.index.is_some();
    }

    /// Puts a reservation into the index, which grows if it must.
    fn index_gets(&mut self, entry: Entry) {
        let Some(mut index) = self.index.take() else {
            return;
        };
        if index.insert(entry).is_some() {
            self.index = Some(index);
            return;
        }
        if let Some(mut entries) = index.entries() {
            entries.retain(|each| (each.hash, each.number) != (entry.hash, entry.number));
            entries.push(entry);
            self.build_index(&entries);
        }
    }

    /// To be called before the first change: killed after it, the index must not be believed.
    fn index_falls_behind(&mut self) {
        if self.index_is_behind {
            return;
        }
        self.index_is_behind = true;
        let Some(index) = self.index.take() else {
            return;
        };
        if index.begin().is_ok() {
            self.index = Some(index);
        } else if let Some(path) = index_path(self.dir.path()) {
            // What cannot be marked must not be there.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Every address that has a file.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        addresses(&self.dir)
    }

    /// The address reserved last from range set number `set`.
    pub fn last(&self, set: usize) -> Option<IpAddr> {
        let contents = self.dir.read(last_name(set), LIMIT).ok()?;
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
            let _ = index.commit(&stamp(&self.dir), &self.moment(), self.earlier_until);
        }
    }
}

/// What an ADD left behind that found the disk full: no lock, no reservation. A DEL needs no space
/// to find nothing there.
fn is_unused(dir: &Dir) -> Result<bool, Error> {
    match dir.stat(LOCK) {
        Err(error) if error.errno() == Errno::ENOENT => Ok(addresses(dir)?.is_empty()),
        _ => Ok(false),
    }
}

/// Beside the directory: the reference reads every file inside it.
fn index_path(store: &Path) -> Option<PathBuf> {
    Some(store.parent()?.join(".davit").join(store.file_name()?))
}

/// What the index goes by.
fn stamp(dir: &Dir) -> Stamp {
    let mut stamp = Vec::new();
    if let Ok(stat) = dir.stat_self() {
        let parts = [stat.st_ino.cast_signed(), stat.st_mtime, stat.st_mtime_nsec];
        stamp.extend(parts.iter().flat_map(|part| part.to_le_bytes()));
    }
    let hints = (0..).map_while(|set| dir.read(last_name(set), LIMIT).ok());
    stamp.extend(hints.take(MOST_HINTS).flatten());
    Stamp(stamp)
}

/// Addresses that may be the attachment's, by the index.
fn indexed_addresses(index: &mut Index, attachment: &Attachment) -> Option<Vec<IpAddr>> {
    let Attachment {
        container_id,
        ifname,
    } = attachment;
    let mut found = index.lookup(index::hash(container_id.as_str(), ifname.as_str()))?;
    if found.is_empty() {
        found = index.lookup(index::hash(container_id.as_str(), ""))?;
    }
    Some(found.into_iter().map(address).collect())
}

/// The first number along `ring` that is not among `taken`.
fn gap(ring: &[Span], taken: &BTreeSet<u128>) -> Option<u128> {
    ring.iter().find_map(|(first, last)| {
        let mut free = *first;
        for number in taken.range(first..=last) {
            if *number != free {
                break;
            }
            free += 1;
        }
        (free <= *last).then_some(free)
    })
}

/// Whether `address` was reserved before this boot, which `until` tells.
fn is_earlier(dir: &Dir, address: IpAddr, until: u64) -> Result<bool, Error> {
    if until == 0 {
        return Ok(false);
    }
    let attempted = || format!("stat reservation {address}");
    let file = match dir.open_file(address.to_string()) {
        Err(error) if error.errno() == Errno::ENOENT => return Ok(false),
        other => other.attempt(Code::IO, attempted)?,
    };
    let written = file.metadata().and_then(|about| about.modified());
    Ok(nanoseconds(written.attempt(Code::IO, attempted)?) <= until)
}

/// Since 1970; before that counts as 0.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let nanoseconds = since.unwrap_or_default().as_nanos();
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

/// How many of `addresses` nobody can be using: reserved before this boot, or by a crash. Without
/// the lock this is a moment's view.
pub(crate) fn reclaimable(dir: &Dir, addresses: &[IpAddr]) -> Result<usize, Error> {
    let boot = std::fs::read(BOOT_ID).unwrap_or_default();
    let now = nanoseconds(SystemTime::now());
    let until =
        index_path(dir.path()).map_or(0, |path| index::earlier_until(&path, &Moment { boot, now }));
    let mut count = 0;
    for address in addresses {
        let empty = || {
            dir.stat(address.to_string())
                .is_ok_and(|stat| stat.st_size == 0)
        };
        count += usize::from(is_earlier(dir, *address, until)? || empty());
    }
    Ok(count)
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
    let mut found = if exact.is_empty() {
        by_container
    } else {
        exact
    };
    found.sort_unstable();
    found
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
    fn an_empty_file_goes_with_the_next_who_reads_all() {
        let (_root, dir, mut store) = store();
        dir.replace("10.1.0.2", b"", 0o600).unwrap();
        dir.replace("10.1.0.3", b"c1\r\neth0", 0o600).unwrap();
        assert!(store.of(&attachment("c2")).unwrap().is_empty());
        assert_eq!(store.addresses().unwrap(), [ip("10.1.0.3")]);
    }

    #[test]
    fn files_with_the_container_alone_match_when_nothing_matches_better() {
        let (_root, dir, mut store) = store();
        let others = |store: Reservations, name: &str, contents: &str| {
            let path = store.dir.path().to_owned();
            drop(store);
            dir.replace(name, contents.as_bytes(), 0o600).unwrap();
            Reservations::lock(&path).unwrap()
        };
        store = others(store, "10.1.0.2", "c1");
        store = others(store, "10.1.0.3", "c1\r\neth1");
        assert_eq!(store.of(&attachment("c1")).unwrap(), [ip("10.1.0.2")]);
        store = others(store, "10.1.0.4", "c1\r\neth0");
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

    fn span(first: &str, last: &str) -> Span {
        (number(ip(first)), number(ip(last)))
    }

    #[test]
    fn the_first_free_address_is_taken_also_what_a_crash_left() {
        let (_root, dir, mut store) = store();
        let ring = [span("10.1.0.3", "10.1.0.4"), span("10.1.0.2", "10.1.0.2")];
        let take = |store: &mut Reservations, id: &str| {
            store.of(&attachment(id)).unwrap();
            store.take(&ring, &attachment(id)).unwrap()
        };
        assert_eq!(take(&mut store, "a"), Some(ip("10.1.0.3")));
        assert_eq!(take(&mut store, "b"), Some(ip("10.1.0.4")));
        assert_eq!(take(&mut store, "c"), Some(ip("10.1.0.2")));
        assert_eq!(take(&mut store, "d"), None);
        let path = store.dir.path().to_owned();
        drop(store);
        dir.replace("10.1.0.3", b"", 0o600).unwrap();
        let mut store = Reservations::lock(&path).unwrap();
        assert_eq!(take(&mut store, "d"), Some(ip("10.1.0.3")));
    }

    #[test]
    fn without_any_index_the_same_addresses_are_taken() {
        let (_root, dir, mut store) = store();
        let ring = [span("10.1.0.2", "10.1.0.4")];
        dir.replace("10.1.0.2", b"old\r\neth0", 0o600).unwrap();
        dir.replace("10.1.0.3", b"", 0o600).unwrap();
        for expected in [Some(ip("10.1.0.4")), Some(ip("10.1.0.3")), None] {
            assert!(store.index.is_none());
            assert_eq!(store.take(&ring, &attachment("a")).unwrap(), expected);
        }
    }

    /// The same directory in another boot.
    fn rebooted(store: Reservations, boot: &str) -> Reservations {
        let path = store.dir.path().to_owned();
        drop(store);
        let dir = Dir::open(&path).unwrap();
        Reservations::locked_in(dir, &path, boot.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn reservations_of_an_earlier_boot_are_given_away_last_and_only_those() {
        let (_root, _dir, mut store) = store();
        let ring = [span("10.1.0.2", "10.1.0.5")];
        for id in ["a", "b"] {
            store.of(&attachment(id)).unwrap();
            store.take(&ring, &attachment(id)).unwrap().unwrap();
        }
        assert!(
            !store.claim(ip("10.1.0.2"), &attachment("x")).unwrap(),
            "same boot"
        );
        let mut store = rebooted(store, "second");
        let take = |store: &mut Reservations, id: &str| {
            let before = store.of(&attachment(id)).unwrap();
            match before.first() {
                Some(address) => store.affirm(*address).map(|()| Some(*address)).unwrap(),
                None => store.take(&ring, &attachment(id)).unwrap(),
            }
        };
        assert_eq!(take(&mut store, "b"), Some(ip("10.1.0.3")), "started again");
        let mut store = rebooted(store, "second");
        assert_eq!(take(&mut store, "c"), Some(ip("10.1.0.4")));
        assert_eq!(take(&mut store, "d"), Some(ip("10.1.0.5")));
        let mut store = rebooted(store, "second");
        assert_eq!(take(&mut store, "e"), Some(ip("10.1.0.2")), "a's");
        assert_eq!(take(&mut store, "f"), None, "all others are of this boot");
        let mut store = rebooted(store, "third");
        assert!(
            store.claim(ip("10.1.0.3"), &attachment("g")).unwrap(),
            "asked for"
        );
    }

    #[test]
    fn what_spoils_the_index_does_not_spoil_what_is_known_of_boots() {
        let (_root, dir, mut store) = store();
        store.of(&attachment("old")).unwrap();
        assert!(store.reserve(ip("10.1.0.2"), &attachment("old")).unwrap());
        let mut store = rebooted(store, "second");
        // The reference, in the second boot.
        dir.replace("10.1.0.3", b"new\r\neth0", 0o600).unwrap();
        assert_eq!(store.of(&attachment("new")).unwrap(), [ip("10.1.0.3")]);
        assert!(store.reserve(ip("10.1.0.4"), &attachment("x")).unwrap());
        // Killed: neither commit nor anything else of drop() runs, but for the lock.
        let path = store.dir.path().to_owned();
        drop(store.index.take());
        drop(store);
        let dir = Dir::open(&path).unwrap();
        let mut store = Reservations::locked_in(dir, &path, b"second".to_vec()).unwrap();
        assert!(store.index.is_none());
        let ring = [span("10.1.0.2", "10.1.0.4")];
        store.of(&attachment("y")).unwrap();
        assert_eq!(
            store.take(&ring, &attachment("y")).unwrap(),
            Some(ip("10.1.0.2"))
        );
        assert_eq!(store.take(&ring, &attachment("z")).unwrap(), None);
    }

    #[test]
    fn a_clock_that_went_back_makes_nothing_old() {
        let (_root, _dir, mut store) = store();
        store.of(&attachment("old")).unwrap();
        assert!(store.reserve(ip("10.1.0.2"), &attachment("old")).unwrap());
        let path = index_path(store.dir.path()).unwrap();
        drop(store);
        let moment = |now| Moment {
            boot: b"second".to_vec(),
            now,
        };
        assert_eq!(index::earlier_until(&path, &moment(1)), 0);
        assert_ne!(index::earlier_until(&path, &moment(u64::MAX)), 0);
        let unknown = Moment {
            boot: Vec::new(),
            now: u64::MAX,
        };
        assert_eq!(index::earlier_until(&path, &unknown), 0);
    }

    #[test]
    fn a_clock_that_goes_back_later_makes_no_living_reservation_old() {
        let (_root, _dir, mut store) = store();
        store.of(&attachment("old")).unwrap();
        assert!(store.reserve(ip("10.1.0.2"), &attachment("old")).unwrap());
        let mut store = rebooted(store, "second");
        let place = store.dir.path().to_owned();
        store.of(&attachment("x")).unwrap();
        assert!(store.reserve(ip("10.1.0.3"), &attachment("x")).unwrap());
        let path = index_path(store.dir.path()).unwrap();
        drop(store);
        // As if the clock had been an hour ahead at the boot.
        let later = nanoseconds(SystemTime::now()) + 3_600_000_000_000;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &later.to_le_bytes(), 5 * 8).unwrap();
        let again = Dir::open(&place).unwrap();
        let mut store = Reservations::locked_in(again, &place, b"second".to_vec()).unwrap();
        assert!(store.reserve(ip("10.1.0.4"), &attachment("new")).unwrap());
        assert_eq!(store.earlier_until, 0);
        drop(store);
        let passed = Moment {
            boot: b"second".to_vec(),
            now: u64::MAX,
        };
        assert_eq!(index::earlier_until(&path, &passed), 0, "for good");
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
        assert!(store.index.is_some());
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
            let read = store.entries().unwrap().into_iter();
            let read = read.map(|(owner, address, _)| (owner, address));
            assert_eq!(by_index, pick(read, &id), "{number}");
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
    fn many_files_are_read_at_the_same_time_and_all_of_them() {
        let (_root, dir, store) = store();
        let path = store.dir.path().to_owned();
        drop(store);
        let long = "x".repeat(LONGEST);
        for number in 0..3 * WORTH_THREADS {
            let (high, low) = (number / 256, number % 256);
            let mut file = dir.create_new(format!("10.1.{high}.{low}"), 0o600).unwrap();
            let id = if number == 2000 { &long } else { "c" };
            write!(file, "{id}{number}\r\neth0").unwrap();
        }
        let mut store = Reservations::lock(&path).unwrap();
        assert_eq!(store.of(&attachment("c2999")).unwrap(), [ip("10.1.11.183")]);
        let owners: BTreeSet<String> = store
            .entries()
            .unwrap()
            .into_iter()
            .map(|(owner, ..)| owner.container_id)
            .collect();
        assert_eq!(owners.len(), 3 * WORTH_THREADS);
        assert!(owners.contains(&format!("{long}2000")));
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
        let moment = Moment {
            boot: std::fs::read(BOOT_ID).unwrap(),
            now: u64::MAX,
        };
        assert!(Index::open(&index_path(&path).unwrap(), &stamp(&dir), &moment).is_none());
    }
}
