//! An index of the reservations: a bitmap of the addresses and a lookup by attachment, so that
//! ADD and DEL read a few pages instead of every file.
//!
//! ```text
//! <dataDir>/.davit/<network>      0600, pages of 4096 bytes
//!     header        magic, pages of each table, changing, committed, earlier until, lengths,
//!                   boot, stamp
//!     attachments   24 bytes each: hash of (container, interface), address; a record is
//!                   anywhere in the page that its hash leads to
//!     bitmap        80 bytes for 256 addresses: their number, which are taken, and which of
//!                   those were taken before this boot
//! ```
//! It may be deleted at any time and is never believed: what it says is checked against the
//! reservation's file, and it is used at all only while its boot and [`Stamp`] fit. The stamp
//! holds what changes whenever somebody else changes the directory: its modification time, and
//! the last reserved addresses (the reference rewrites them at every ADD, also within one tick of
//! that clock). `changing` is set before the first change and cleared after the last, so a crash
//! in between spoils the index too. Nothing here is synced.
//!
//! The header is also how a reboot is noticed. A reservation last written before an index of
//! another boot was committed belongs to an interface that went with that boot; `earlier until`
//! carries that moment along, and survives whatever else spoils the index, but for a clock that goes
//! back behind it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sys::Dir;

use crate::ranges::Span;

/// What the directory of reservations looked like when the index was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(pub(crate) Vec<u8>);

/// The running boot, and when in it this is.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Empty where the kernel does not say; then no reboot is noticed.
    pub(crate) boot: Vec<u8>,
    /// Nanoseconds since 1970.
    pub(crate) now: u64,
}

/// One reservation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// Whose: see [`hash`].
    pub(crate) hash: u64,
    /// Which address.
    pub(crate) number: u128,
    /// Made before this boot.
    pub(crate) earlier: bool,
}

/// An index whose stamp fitted, or a new one.
#[derive(Debug)]
pub(crate) struct Index {
    file: File,
    attachments: Table,
    bitmap: Table,
    /// Pages read so far; every change is written through.
    pages: HashMap<u64, Vec<u8>>,
}

/// Pages `first` to `first + pages - 1` of the file.
#[derive(Clone, Copy, Debug)]
struct Table {
    first: u64,
    pages: u64,
}

/// Where a record is.
type Place = (u64, usize);

const MAGIC: &[u8; 8] = b"davitix2";
const PAGE: usize = 4096;
const WORDS: usize = 8 * 8;
const CHANGING_AT: u64 = 3 * 8;

const ATTACHMENT: usize = 24;
const BLOCK: usize = 80;
/// Records per page of a new index: a quarter to a half of what fits.
const ATTACHMENTS_EACH: usize = 64;
const BLOCKS_EACH: usize = 20;
/// Addresses of one block.
const BITS: u128 = 256;

/// FNV-1a of the two parts with the separator of the files; never 0, which marks what is empty.
pub(crate) fn hash(container_id: &str, ifname: &str) -> u64 {
    let bytes = container_id.bytes().chain(*b"\r\n").chain(ifname.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

/// The first page, parsed.
struct Header {
    attachments: u64,
    bitmap: u64,
    changing: bool,
    committed: u64,
    earlier_until: u64,
    boot: Vec<u8>,
    stamp: Vec<u8>,
}

impl Header {
    fn read(file: &File) -> Option<Self> {
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, 0).ok()?;
        let word = |index: usize| u64_at(&page, index * 8);
        let length = |index: usize| usize::try_from(word(index)).ok();
        let boot_end = WORDS.checked_add(length(6)?)?;
        let stamp_end = boot_end.checked_add(length(7)?)?;
        page.starts_with(MAGIC).then_some(())?;
        Some(Self {
            attachments: word(1),
            bitmap: word(2),
            changing: word(3) != 0,
            committed: word(4),
            earlier_until: word(5),
            boot: page.get(WORDS..boot_end)?.to_vec(),
            stamp: page.get(boot_end..stamp_end)?.to_vec(),
        })
    }

    /// Until when reservations are of an earlier boot; 0: none is known to be.
    fn earlier_until(&self, moment: &Moment) -> u64 {
        let until = self.claimed_until(moment);
        // A clock that went back tells nothing about files.
        if until < moment.now { until } else { 0 }
    }

    /// The same by the file alone.
    fn claimed_until(&self, moment: &Moment) -> u64 {
        if self.boot == moment.boot {
            return self.earlier_until;
        }
        let told = !self.boot.is_empty() && !moment.boot.is_empty();
        if told {
            self.committed.max(self.earlier_until)
        } else {
            0
        }
    }

    fn page(&self) -> Option<Vec<u8>> {
        let mut page = MAGIC.to_vec();
        for word in [
            self.attachments,
            self.bitmap,
            self.changing.into(),
            self.committed,
            self.earlier_until,
            self.boot.len() as u64,
            self.stamp.len() as u64,
        ] {
            page.extend(word.to_le_bytes());
        }
        page.extend(&self.boot);
        page.extend(&self.stamp);
        (page.len() <= PAGE).then(|| {
            page.resize(PAGE, 0);
            page
        })
    }
}

/// The moment until which reservations are of an earlier boot, by the index at `path`.
pub(crate) fn earlier_until(path: &Path, moment: &Moment) -> u64 {
    let header = File::open(path).ok().and_then(|file| Header::read(&file));
    header.map_or(0, |header| header.earlier_until(moment))
}

/// Removes the index at `path` if the clock has gone back behind the moment that parts this boot
/// from earlier ones: what is reserved from here on would seem to be of an earlier boot as soon as
/// the clock has passed that moment again.
pub(crate) fn forget_after_step_back(path: &Path, moment: &Moment) -> io::Result<()> {
    let header = File::open(path).ok().and_then(|file| Header::read(&file));
    let until = header.map_or(0, |header| header.claimed_until(moment));
    if until == 0 || until < moment.now {
        return Ok(());
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Index {
    /// The index at `path`, if it is whole and of this boot, and its stamp is `stamp`.
    pub(crate) fn open(path: &Path, stamp: &Stamp, moment: &Moment) -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        let header = Header::read(&file)?;
        let pages = header
            .attachments
            .checked_add(header.bitmap)?
            .checked_add(1)?;
        let whole = !header.changing
            && header.boot == moment.boot
            && header.stamp == stamp.0
            && header.attachments.is_power_of_two()
            && header.bitmap.is_power_of_two()
            && pages.checked_mul(PAGE as u64) == Some(file.metadata().ok()?.len());
        whole.then(|| Self::over(file, header.attachments, header.bitmap))
    }

    fn over(file: File, attachments: u64, bitmap: u64) -> Self {
        Self {
            file,
            attachments: Table {
                first: 1,
                pages: attachments,
            },
            bitmap: Table {
                first: 1 + attachments,
                pages: bitmap,
            },
            pages: HashMap::new(),
        }
    }

    /// A new index of `entries`, in place of whatever is there. It is not committed yet.
    pub(crate) fn build(
        dir: &Dir,
        name: &OsStr,
        entries: &[Entry],
        moment: &Moment,
        earlier_until: u64,
    ) -> Option<Self> {
        let (attachments, bitmap) = (attachment_pages(entries)?, bitmap_pages(entries)?);
        let header = Header {
            attachments: (attachments.len() / PAGE) as u64,
            bitmap: (bitmap.len() / PAGE) as u64,
            changing: true,
            committed: 0,
            earlier_until,
            boot: moment.boot.clone(),
            stamp: Vec::new(),
        };
        // The old one stays until the new one is whole, for what its header says of earlier
        // boots. The name is short, because a network's may be as long as a name can be.
        let temporary = format!(
            ".new-{:016x}",
            hash(&name.to_string_lossy(), &dir.path().to_string_lossy())
        );
        let _ = dir.remove(&temporary);
        let mut file = dir.create_new(&temporary, 0o600).ok()?;
        let written = [header.page()?, attachments, bitmap]
            .iter()
            .try_for_each(|part| file.write_all(part));
        if written.is_err() || dir.rename(&temporary, name).is_err() {
            let _ = dir.remove(&temporary);
            return None;
        }
        let path = dir.path().join(name);
        let file = OpenOptions::new().read(true).write(true).open(path).ok()?;
        Some(Self::over(file, header.attachments, header.bitmap))
    }

    /// From now on until [`Self::commit`] the index on disk is not to be believed.
    pub(crate) fn begin(&self) -> io::Result<()> {
        self.file.write_all_at(&1_u64.to_le_bytes(), CHANGING_AT)
    }

    /// The index is right again while the directory looks like `stamp`.
    pub(crate) fn commit(&self, stamp: &Stamp, moment: &Moment, earlier_until: u64) -> Option<()> {
        let header = Header {
            attachments: self.attachments.pages,
            bitmap: self.bitmap.pages,
            changing: false,
            committed: moment.now,
            earlier_until,
            boot: moment.boot.clone(),
            stamp: stamp.0.clone(),
        };
        self.file.write_all_at(&header.page()?, 0).ok()
    }

    /// The addresses of `hash`; others may have the same hash.
    pub(crate) fn lookup(&mut self, hash: u64) -> Option<Vec<u128>> {
        let page = self.page(self.attachments.page_of(hash))?;
        let records = page.chunks_exact(ATTACHMENT);
        let own = records.filter(|record| u64_at(record, 0) == hash);
        Some(own.map(|record| u128_at(record, 8)).collect())
    }

    /// Puts a reservation in; `None` when its page is full.
    pub(crate) fn insert(&mut self, entry: Entry) -> Option<()> {
        let table = self.attachments;
        let page = table.page_of(entry.hash);
        let place = self.find(page, ATTACHMENT, |record| u64_at(record, 0) == 0)??;
        self.put((page, place), &attachment_record(&entry))?;
        let block = block_of(entry.number);
        let page = self.bitmap.page_of(block_hash(block));
        let (place, mut record) = match self.block(block)? {
            Some((place, record)) => (place, record),
            None => {
                let free = self.find(page, BLOCK, |record| u128_at(record, 0) == 0)??;
                ((page, free), empty_block(block))
            }
        };
        set_bit(&mut record, TAKEN, entry.number, true);
        set_bit(&mut record, EARLIER, entry.number, entry.earlier);
        self.put(place, &record)
    }

    /// Takes a reservation out; what is not there is out already. Without a hash, all but the
    /// bit is left to whoever looks it up and finds no file.
    pub(crate) fn remove(&mut self, hash: Option<u64>, number: u128) -> Option<()> {
        if let Some(hash) = hash {
            let page = self.attachments.page_of(hash);
            let own = |record: &[u8]| u64_at(record, 0) == hash && u128_at(record, 8) == number;
            if let Some(place) = self.find(page, ATTACHMENT, own)? {
                self.put((page, place), &[0; ATTACHMENT])?;
            }
        }
        self.change_block(number, &[TAKEN, EARLIER])
    }

    /// The reservation is this boot's after all.
    pub(crate) fn affirm(&mut self, number: u128) -> Option<()> {
        self.change_block(number, &[EARLIER])
    }

    fn change_block(&mut self, number: u128, clear: &[usize]) -> Option<()> {
        let Some((place, mut record)) = self.block(block_of(number))? else {
            return Some(());
        };
        for bitmap in clear {
            set_bit(&mut record, *bitmap, number, false);
        }
        self.put(place, &record)
    }

    /// The first address along `ring` that nobody has.
    pub(crate) fn first_free(&mut self, ring: &[Span]) -> Option<Option<u128>> {
        self.first(ring, |record, index| !u64_at(record, TAKEN + index * 8))
    }

    /// The first address along `ring` that was taken before this boot. To be asked only when none
    /// is free: a range that is full has no more blocks than reservations.
    pub(crate) fn first_earlier(&mut self, ring: &[Span]) -> Option<Option<u128>> {
        self.first(ring, |record, index| {
            u64_at(record, TAKEN + index * 8) & u64_at(record, EARLIER + index * 8)
        })
    }

    /// The first address along `ring` whose bit is set in `word(block, 0 to 3)`.
    fn first(&mut self, ring: &[Span], word: fn(&[u8], usize) -> u64) -> Option<Option<u128>> {
        for (first, last) in ring {
            for block in block_of(*first)..=block_of(*last) {
                let record = self.block(block)?.map(|(_, record)| record);
                let record = record.unwrap_or_else(|| empty_block(block));
                for index in 0..4 {
                    let base = block * BITS + index as u128 * 64;
                    let found = word(&record, index) & mask(base, *first, *last);
                    if found != 0 {
                        return Some(Some(base + u128::from(found.trailing_zeros())));
                    }
                }
            }
        }
        Some(None)
    }

    /// Every reservation that this index knows.
    pub(crate) fn entries(&mut self) -> Option<Vec<Entry>> {
        let mut entries = Vec::new();
        for page in self.attachments.first..self.bitmap.first {
            let page = self.page(page)?.to_vec();
            let records = page.chunks_exact(ATTACHMENT);
            for record in records.filter(|record| u64_at(record, 0) != 0) {
                let number = u128_at(record, 8);
                let (word, bit) = split(number % BITS);
                let block = self.block(block_of(number))?;
                let earlier = |(_, block): (Place, Vec<u8>)| u64_at(&block, EARLIER + word * 8);
                entries.push(Entry {
                    hash: u64_at(record, 0),
                    number,
                    earlier: block.map_or(0, earlier) & bit != 0,
                });
            }
        }
        Some(entries)
    }

    fn block(&mut self, block: u128) -> Option<Option<(Place, Vec<u8>)>> {
        let page = self.bitmap.page_of(block_hash(block));
        let place = self.find(page, BLOCK, |record| u128_at(record, 0) == block + 1)?;
        Some(place.map(|place| ((page, place), self.record(page, place, BLOCK))))
    }

    fn record(&self, page: u64, place: usize, length: usize) -> Vec<u8> {
        let page = self.pages.get(&page);
        let record = page.and_then(|page| page.get(place..place + length));
        record.unwrap_or_default().to_vec()
    }

    /// Where in the page the first record is of which `holds`.
    fn find(
        &mut self,
        page: u64,
        length: usize,
        holds: impl Fn(&[u8]) -> bool,
    ) -> Option<Option<usize>> {
        let mut records = self.page(page)?.chunks_exact(length);
        Some(records.position(holds).map(|index| index * length))
    }

    fn page(&mut self, number: u64) -> Option<&[u8]> {
        if !self.pages.contains_key(&number) {
            let mut page = vec![0; PAGE];
            self.file
                .read_exact_at(&mut page, number * PAGE as u64)
                .ok()?;
            self.pages.insert(number, page);
        }
        self.pages.get(&number).map(Vec::as_slice)
    }

    fn put(&mut self, (page, place): Place, record: &[u8]) -> Option<()> {
        let at = page * PAGE as u64 + place as u64;
        self.file.write_all_at(record, at).ok()?;
        let page = self.pages.get_mut(&page)?;
        page.get_mut(place..place + record.len())?
            .copy_from_slice(record);
        Some(())
    }
}

impl Table {
    fn page_of(&self, hash: u64) -> u64 {
        self.first + hash % self.pages
    }
}

/// The attachments' pages, as few as hold them without crowding.
fn attachment_pages(entries: &[Entry]) -> Option<Vec<u8>> {
    let records = entries.iter().map(|entry| {
        let record = attachment_record(entry).to_vec();
        (entry.hash, record)
    });
    laid_out(&records.collect::<Vec<_>>(), ATTACHMENTS_EACH)
}

fn bitmap_pages(entries: &[Entry]) -> Option<Vec<u8>> {
    let mut blocks: HashMap<u128, Vec<u8>> = HashMap::new();
    for entry in entries {
        let block = block_of(entry.number);
        let record = blocks.entry(block).or_insert_with(|| empty_block(block));
        set_bit(record, TAKEN, entry.number, true);
        set_bit(record, EARLIER, entry.number, entry.earlier);
    }
    let records = blocks
        .into_iter()
        .map(|(block, record)| (block_hash(block), record));
    laid_out(&records.collect::<Vec<_>>(), BLOCKS_EACH)
}

/// Pages with each record where its hash leads. `None` if many have the same hash: the index
/// does without, as everything does without an index.
fn laid_out(records: &[(u64, Vec<u8>)], each: usize) -> Option<Vec<u8>> {
    let smallest = (records.len() / each + 1).next_power_of_two();
    (0..4).find_map(|step| {
        let pages = smallest << step;
        let mut bytes = vec![0; pages * PAGE];
        let mut ends = vec![0; pages];
        for (hash, record) in records {
            let page = usize::try_from(hash % pages as u64).ok()?;
            let end = ends.get_mut(page)?;
            let place = page * PAGE + *end;
            *end += record.len();
            (*end <= PAGE).then_some(())?;
            bytes
                .get_mut(place..place + record.len())?
                .copy_from_slice(record);
        }
        Some(bytes)
    })
}

/// Offsets of the two bitmaps in a block.
const TAKEN: usize = 16;
const EARLIER: usize = 48;

fn attachment_record(entry: &Entry) -> [u8; ATTACHMENT] {
    let mut record = [0; ATTACHMENT];
    let (hash, number) = record.split_at_mut(8);
    hash.copy_from_slice(&entry.hash.to_le_bytes());
    number.copy_from_slice(&entry.number.to_le_bytes());
    record
}

fn block_of(number: u128) -> u128 {
    number / BITS
}

/// Mixes every bit into every other (the finalizer of SplitMix64), so that no stride of addresses
/// makes many blocks meet in one page.
fn block_hash(block: u128) -> u64 {
    let folded = (block ^ (block >> 64)) as u64;
    let mixed = (folded ^ (folded >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn empty_block(block: u128) -> Vec<u8> {
    let mut record = vec![0; BLOCK];
    if let Some(own) = record.get_mut(..16) {
        own.copy_from_slice(&(block + 1).to_le_bytes());
    }
    record
}

/// The word of a bit, 0 to 3, and the bit in it.
fn split(bit: u128) -> (usize, u64) {
    let bit = (bit % BITS) as usize;
    (bit / 64, 1 << (bit % 64))
}

/// The bits of the word at `base` that are between `first` and `last`.
fn mask(base: u128, first: u128, last: u128) -> u64 {
    if last < base || first > base + 63 {
        return 0;
    }
    let (low, high) = (first.saturating_sub(base), (last - base).min(63));
    (u64::MAX << low) & (u64::MAX >> (63 - high))
}

fn set_bit(record: &mut [u8], bitmap: usize, number: u128, value: bool) {
    let (index, bit) = split(number % BITS);
    let at = bitmap + index * 8;
    let word = u64_at(record, at) & !bit | if value { bit } else { 0 };
    if let Some(place) = record.get_mut(at..at + 8) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// 0 behind the end.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    u64::from_le_bytes(word.unwrap_or_default())
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    let word = bytes.get(at..at + 16).and_then(|word| word.try_into().ok());
    u128::from_le_bytes(word.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u128 = 0xffff_0a00_0000;

    fn entry(number: u128) -> Entry {
        Entry {
            hash: hash(&format!("c{number}"), "eth0"),
            number: BASE + number,
            earlier: number.is_multiple_of(3),
        }
    }

    fn stamp(text: &str) -> Stamp {
        Stamp(text.as_bytes().to_vec())
    }

    fn moment() -> Moment {
        Moment {
            boot: b"this".to_vec(),
            now: 1000,
        }
    }

    fn directory() -> (tempfile::TempDir, Dir) {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        (root, dir)
    }

    fn build(dir: &Dir, entries: &[Entry]) -> Index {
        Index::build(dir, OsStr::new("net"), entries, &moment(), 5).unwrap()
    }

    fn open(dir: &Dir, text: &str) -> Option<Index> {
        Index::open(&dir.path().join("net"), &stamp(text), &moment())
    }

    #[test]
    fn what_was_put_in_is_found_after_reopening() {
        let (_root, dir) = directory();
        let entries: Vec<Entry> = (0..5000).map(entry).collect();
        let mut index = build(&dir, &entries);
        let seven = entry(7);
        index
            .insert(Entry {
                number: 7 << 100,
                ..seven
            })
            .unwrap();
        let eight = entry(8);
        index.remove(Some(eight.hash), eight.number).unwrap();
        index
            .remove(Some(eight.hash), eight.number)
            .expect("what is gone is no error");
        index.commit(&stamp("now"), &moment(), 5).unwrap();
        let mut index = open(&dir, "now").unwrap();
        assert_eq!(index.lookup(entry(4999).hash).unwrap(), [BASE + 4999]);
        assert_eq!(index.lookup(seven.hash).unwrap(), [BASE + 7, 7 << 100]);
        assert!(index.lookup(eight.hash).unwrap().is_empty());
        assert!(index.lookup(entry(9999).hash).unwrap().is_empty());
        assert_eq!(index.entries().unwrap().len(), 5000);
        assert_eq!(dir.names().unwrap(), ["net"]);
    }

    #[test]
    fn the_bitmap_finds_the_first_free_and_the_first_of_an_earlier_boot() {
        let (_root, dir) = directory();
        let mut entries: Vec<Entry> = (0..3000).map(entry).collect();
        entries.remove(2500);
        let mut index = build(&dir, &entries);
        let ring = [(BASE + 100, BASE + 2999), (BASE, BASE + 99)];
        assert_eq!(index.first_free(&ring), Some(Some(BASE + 2500)));
        assert_eq!(index.first_free(&[(BASE, BASE + 2499)]), Some(None));
        assert_eq!(
            index.first_free(&[(BASE + 2501, BASE + 3007)]),
            Some(Some(BASE + 3000))
        );
        assert_eq!(
            index.first_free(&[(BASE + 7000, BASE + 7000)]),
            Some(Some(BASE + 7000))
        );
        assert_eq!(index.first_earlier(&ring), Some(Some(BASE + 102)));
        index.affirm(BASE + 102).unwrap();
        index.remove(None, BASE + 105).unwrap();
        assert_eq!(index.first_earlier(&ring), Some(Some(BASE + 108)));
        assert_eq!(index.first_free(&ring), Some(Some(BASE + 105)));
        assert_eq!(index.first_free(&[(0, 1 << 64)]), Some(Some(0)));
    }

    #[test]
    fn every_bit_is_where_the_arithmetic_says() {
        let (_root, dir) = directory();
        for number in 0..700 {
            let mut index = build(&dir, &[]);
            index.insert(entry(number)).unwrap();
            let only = (BASE + number, BASE + number);
            assert_eq!(index.first_free(&[only]), Some(None), "{number}");
            let two = [(only.0, only.1 + 1)];
            assert_eq!(index.first_free(&two), Some(Some(only.1 + 1)), "{number}");
        }
    }

    #[test]
    fn another_stamp_another_boot_a_crash_or_damage_spoil_it() {
        let (_root, dir) = directory();
        let fresh = || {
            let index = build(&dir, &[]);
            index.commit(&stamp("now"), &moment(), 5).unwrap();
            index
        };
        fresh();
        assert!(open(&dir, "now").is_some());
        assert!(open(&dir, "later").is_none());
        let other = Moment {
            boot: b"other".to_vec(),
            now: 2000,
        };
        assert!(Index::open(&dir.path().join("net"), &stamp("now"), &other).is_none());
        fresh().begin().unwrap();
        assert!(open(&dir, "now").is_none(), "killed before commit");
        fresh().file.set_len(4096).unwrap();
        assert!(open(&dir, "now").is_none(), "cut off");
        dir.replace("net", b"nonsense", 0o600).unwrap();
        assert!(open(&dir, "now").is_none());
        drop(build(&dir, &[]));
        assert!(open(&dir, "").is_none(), "never committed");
    }

    #[test]
    fn a_full_page_asks_for_a_larger_index() {
        let (_root, dir) = directory();
        let mut index = build(&dir, &[]);
        let inserted = (0..1000).take_while(|number| index.insert(entry(*number)).is_some());
        assert_eq!(inserted.count(), PAGE / ATTACHMENT);
        let same = Entry {
            hash: 1,
            ..entry(1)
        };
        let many = vec![same; 2000];
        assert!(Index::build(&dir, OsStr::new("net"), &many, &moment(), 0).is_none());
    }

    #[test]
    fn addresses_far_apart_fill_no_page() {
        let (_root, dir) = directory();
        for shift in [8, 16, 24, 32, 48, 64] {
            let entries = (0..2000).map(|number| Entry {
                number: (0xfd << 120) + (number << shift),
                ..entry(number)
            });
            let mut index = build(&dir, &entries.collect::<Vec<_>>());
            assert_eq!(index.entries().unwrap().len(), 2000, "{shift}");
        }
    }
}
