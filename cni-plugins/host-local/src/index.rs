//! An index of the reservations by attachment, so that ADD and DEL read two files instead of all.
//!
//! ```text
//! <dataDir>/.davit/<network>      0600, one page of header, then slots
//!     header   magic, slots, used, changing, stamp length, stamp
//!     slot     8 bytes hash of (container, interface), 16 bytes address; hash 0: never used;
//!              hash 1: freed. A hash's slots follow one another from hash % slots on.
//! ```
//! It may be deleted at any time and is never believed: what it says about an attachment is
//! checked against the reservation's file, and it is used at all only while its [`Stamp`] fits.
//! The stamp holds what changes whenever somebody else changes the directory: its modification
//! time, the last reserved addresses (the reference rewrites them at every ADD, also within one
//! tick of that clock), and the boot, because nothing here is synced. `changing` is set before
//! the first change and cleared after the last, so a crash in between spoils the index too.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sys::Dir;

/// What the directory of reservations looked like when the index was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) Vec<u8>);

/// An index whose stamp fitted, or a new one.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    slots: u64,
    used: u64,
}

const MAGIC: &[u8; 8] = b"davitix1";
const HEADER: u64 = 4096;
const SLOT: u64 = 24;
const SMALLEST: u64 = 1 << 10;
const NEVER: u64 = 0;
const FREED: u64 = 1;

/// One reservation: whose, and which address.
pub(crate) type Entry = (u64, IpAddr);

/// FNV-1a of the two parts with the separator of the files; never one of the marks.
pub(crate) fn hash(container_id: &str, ifname: &str) -> u64 {
    let bytes = container_id.bytes().chain(*b"\r\n").chain(ifname.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(FREED + 1)
}

impl Index {
    /// The index at `path`, if it is whole and its stamp is `stamp`.
    pub(crate) fn open(path: &Path, stamp: &Stamp) -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, 0).ok()?;
        let word = |index: usize| {
            header
                .get(index * 8..index * 8 + 8)?
                .try_into()
                .ok()
                .map(u64::from_le_bytes)
        };
        let (slots, used, changing, length) = (word(1)?, word(2)?, word(3)?, word(4)?);
        let length = usize::try_from(length).ok()?;
        let whole = header.starts_with(MAGIC)
            && changing == 0
            && slots.is_power_of_two()
            && file.metadata().ok()?.len() == HEADER + slots * SLOT
            && header.get(40..40_usize.checked_add(length)?)? == stamp.0;
        whole.then_some(Self { file, slots, used })
    }

    /// A new index of `entries`, in place of whatever is there. Its stamp does not fit yet.
    pub(crate) fn build(dir: &Dir, name: impl AsRef<OsStr>, entries: &[Entry]) -> Option<Self> {
        let slots = (entries.len() as u64 * 4).next_power_of_two().max(SMALLEST);
        // Not replace(): another process may have the old file open only under the lock, which
        // is ours, and a sync would cost more than building it again after a power loss.
        let name = name.as_ref();
        let _ = dir.remove(name);
        drop(dir.create_new(name, 0o600).ok()?);
        let path = dir.path().join(name);
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        file.set_len(HEADER + slots * SLOT).ok()?;
        let mut index = Self {
            file,
            slots,
            used: 0,
        };
        for (hash, address) in entries {
            index.insert(*hash, *address)?;
        }
        Some(index)
    }

    /// From now on until [`Self::commit`] the index on disk is not to be believed.
    pub(crate) fn begin(&self) -> Option<()> {
        self.file.write_all_at(&1_u64.to_le_bytes(), 24).ok()
    }

    /// The index is right again while the directory looks like `stamp`.
    pub(crate) fn commit(&self, stamp: &Stamp) -> Option<()> {
        let mut header = MAGIC.to_vec();
        for word in [self.slots, self.used, 0, stamp.0.len() as u64] {
            header.extend(word.to_le_bytes());
        }
        header.extend(&stamp.0);
        (header.len() as u64 <= HEADER).then_some(())?;
        self.file.write_all_at(&header, 0).ok()
    }

    /// The addresses of `hash`; others may have the same hash.
    pub(crate) fn lookup(&self, hash: u64) -> Option<Vec<IpAddr>> {
        let mut found = Vec::new();
        for position in self.probe(hash) {
            match self.slot(position)? {
                (NEVER, _) => return Some(found),
                (own, address) if own == hash => found.push(address),
                _ => {}
            }
        }
        Some(found)
    }

    /// `None` when it must be built anew, larger: half full is full.
    pub(crate) fn insert(&mut self, hash: u64, address: IpAddr) -> Option<()> {
        (self.used * 2 < self.slots).then_some(())?;
        for position in self.probe(hash) {
            let (own, _) = self.slot(position)?;
            if own <= FREED {
                self.used += u64::from(own == NEVER);
                return self.put(position, hash, address);
            }
        }
        None
    }

    /// What is not there is removed already.
    pub(crate) fn remove(&mut self, hash: u64, address: IpAddr) -> Option<()> {
        for position in self.probe(hash) {
            match self.slot(position)? {
                (NEVER, _) => return Some(()),
                (own, there) if own == hash && there == address => {
                    return self.put(position, FREED, address);
                }
                _ => {}
            }
        }
        Some(())
    }

    fn probe(&self, hash: u64) -> impl Iterator<Item = u64> + use<> {
        let slots = self.slots;
        (0..slots).map(move |step| HEADER + (hash.wrapping_add(step) % slots) * SLOT)
    }

    fn slot(&self, position: u64) -> Option<(u64, IpAddr)> {
        let mut bytes = [0; SLOT as usize];
        self.file.read_exact_at(&mut bytes, position).ok()?;
        let (hash, address) = bytes.split_at(8);
        let address: [u8; 16] = address.try_into().ok()?;
        Some((
            u64::from_le_bytes(hash.try_into().ok()?),
            Ipv6Addr::from(address).to_canonical(),
        ))
    }

    fn put(&self, position: u64, hash: u64, address: IpAddr) -> Option<()> {
        let address = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let slot = [&hash.to_le_bytes()[..], &address.octets()[..]].concat();
        self.file.write_all_at(&slot, position).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn stamp(text: &str) -> Stamp {
        Stamp(text.as_bytes().to_vec())
    }

    fn directory() -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        (root, dir)
    }

    #[test]
    fn what_was_put_in_is_found_after_reopening() {
        let (_root, dir) = directory();
        let entries: Vec<Entry> = (0..5000)
            .map(|n| (hash(&format!("c{n}"), "eth0"), ip(n)))
            .collect();
        let mut index = Index::build(&dir, "net", &entries).unwrap();
        index
            .insert(hash("c7", "eth0"), "fd00::7".parse().unwrap())
            .unwrap();
        index.remove(hash("c8", "eth0"), ip(8)).unwrap();
        index
            .remove(hash("c8", "eth0"), ip(8))
            .expect("what is gone is no error");
        index.commit(&stamp("now")).unwrap();
        let index = Index::open(&dir.path().join("net"), &stamp("now")).unwrap();
        let of = |id: &str| index.lookup(hash(id, "eth0")).unwrap();
        assert_eq!(of("c4999"), [ip(4999)]);
        assert_eq!(of("c7"), [ip(7), "fd00::7".parse().unwrap()]);
        assert!(of("c8").is_empty() && of("nobody").is_empty());
    }

    #[test]
    fn another_stamp_a_crash_or_damage_spoil_it() {
        let (_root, dir) = directory();
        let path = dir.path().join("net");
        let fresh = || {
            let index = Index::build(&dir, "net", &[]).unwrap();
            index.commit(&stamp("now")).unwrap();
            index
        };
        fresh();
        assert!(Index::open(&path, &stamp("now")).is_some());
        assert!(Index::open(&path, &stamp("later")).is_none());
        fresh().begin().unwrap();
        assert!(
            Index::open(&path, &stamp("now")).is_none(),
            "killed before commit"
        );
        fresh().file.set_len(HEADER).unwrap();
        assert!(Index::open(&path, &stamp("now")).is_none(), "cut off");
        dir.replace("net", b"nonsense", 0o600).unwrap();
        assert!(Index::open(&path, &stamp("now")).is_none());
        drop(Index::build(&dir, "net", &[]).unwrap());
        assert!(Index::open(&path, &stamp("")).is_none(), "never committed");
    }

    #[test]
    fn a_half_full_index_asks_to_be_built_anew() {
        let (_root, dir) = directory();
        let mut index = Index::build(&dir, "net", &[]).unwrap();
        let inserted = (0..2000).take_while(|n| index.insert(u64::from(*n) + 2, ip(*n)).is_some());
        assert_eq!(inserted.count() as u64, SMALLEST / 2);
    }
}
