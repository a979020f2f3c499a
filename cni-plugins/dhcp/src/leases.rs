//! The files from which leases are known again after the daemon's end.
//!
//! ```text
//! /run/cni/dhcp.sock            the socket; leases are beside it
//! /run/cni/dhcp-leases/
//!     <hash>.json               one attachment: what ADD wanted, where it is, its leases
//!     <hash>.del                a DEL that found no daemon: to be released by the next one
//! ```
//! The daemon alone writes the first kind, the plugin alone makes the second, so neither needs a
//! lock. Every file is replaced whole. `<hash>` is of the attachment's name, which may be long.

use std::path::{Path, PathBuf};

use cni::{Attempt, Code, Error};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use sys::{Dir, Errno};

use crate::lease::Lease;
use crate::place::Place;
use crate::protocol::{Key, Wish};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// What `provide` may hold, twice over for JSON, and then some.
const LONGEST: u64 = 1 << 20;
const RECORD: &str = ".json";
const MARK: &str = ".del";

/// What is written down about an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Of another boot, there is no namespace any more, and every moment in it means nothing.
    pub(crate) boot: String,
    pub(crate) wish: Wish,
    pub(crate) place: Place,
    /// Of the ADD that made it.
    pub(crate) ticket: String,
    pub(crate) leases: Vec<Lease>,
}

/// The directory.
#[derive(Debug)]
pub(crate) struct Store(Dir);

impl Store {
    /// Where the leases of the daemon behind `socket` are.
    pub(crate) fn beside(socket: &Path) -> PathBuf {
        let name = socket.file_name().unwrap_or_default().to_string_lossy();
        let stem = name.strip_suffix(".sock").unwrap_or(&name);
        socket.with_file_name(format!("{stem}-leases"))
    }

    /// Opens it, made if need be: the daemon.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let dir = Dir::open_or_create(path, 0o700);
        dir.map(Self).attempt(Code::IO, || {
            format!("open the directory of leases {path:?}")
        })
    }

    /// Opens it if it is there: the plugin.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, Error> {
        match Dir::open(path) {
            Ok(dir) => Ok(Some(Self(dir))),
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => {
                let msg = format!("open the directory of leases {path:?}");
                Err(Error::new(Code::IO, msg).details(error))
            }
        }
    }

    /// Writes a record. Nothing in it outlives the boot, so it is not synced.
    pub(crate) fn save(&self, record: &Record) -> Result<(), Error> {
        let key = &record.wish.key;
        let what = || format!("write down the lease of {}", key.text());
        let json = serde_json::to_vec(record).attempt(Code::INTERNAL, what)?;
        let written = self.0.replace_volatile(name_of(key, RECORD), &json, 0o600);
        written.attempt(Code::IO, what)
    }

    /// Removes what there is of an attachment. What cannot be removed is found dead next time.
    pub(crate) fn forget(&self, key: &Key) {
        let _ = self.0.remove(name_of(key, RECORD));
        let _ = self.0.remove(name_of(key, MARK));
    }

    /// Notes that an attachment is over; only if there is a record, and only if it is of that ADD.
    /// True if there was one.
    pub(crate) fn mark(&self, key: &Key, ticket: Option<&str>) -> Result<bool, Error> {
        let record = match self.0.read(name_of(key, RECORD), LONGEST) {
            Ok(bytes) => serde_json::from_slice::<Record>(&bytes).ok(),
            Err(error) if error.errno() == Errno::ENOENT => return Ok(false),
            Err(_) => None,
        };
        let is_other = |wanted: &str| record.as_ref().is_some_and(|known| known.ticket != wanted);
        if ticket.is_some_and(is_other) {
            return Ok(false);
        }
        let marked = self.0.replace_volatile(name_of(key, MARK), b"", 0o600);
        marked.attempt(Code::IO, || format!("note the release of {}", key.text()))?;
        Ok(true)
    }

    /// Whether a DEL found no daemon.
    pub(crate) fn is_marked(&self, key: &Key) -> bool {
        self.0.stat(name_of(key, MARK)).is_ok()
    }

    /// Everything that is written down. What cannot be read is not: a file of another version, of
    /// a full disk. It is told by its name, and replaced by the next ADD.
    pub(crate) fn records(&self) -> Result<(Vec<Record>, Vec<String>), Error> {
        let names = self
            .0
            .names()
            .attempt(Code::IO, || "list the leases".into())?;
        let (mut records, mut broken) = (Vec::new(), Vec::new());
        for name in names {
            let name = name.to_string_lossy();
            if !name.ends_with(RECORD) {
                continue;
            }
            match self.0.read(&*name, LONGEST) {
                Ok(bytes) => match serde_json::from_slice(&bytes) {
                    Ok(record) => records.push(record),
                    Err(error) => broken.push(format!("{name}: {error}")),
                },
                Err(error) if error.errno() == Errno::ENOENT => {}
                Err(error) => broken.push(error.to_string()),
            }
        }
        Ok((records, broken))
    }
}

/// This boot.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    id.trim().to_owned()
}

/// The first 16 bytes of a hash of the attachment's name.
pub(crate) fn hash(key: &Key) -> [u8; 16] {
    let digest = Sha512::digest(key.text());
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    first
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name_of(key: &Key, suffix: &str) -> String {
    format!("{}{suffix}", hex(&hash(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(container: &str) -> Record {
        let key = Key {
            container: container.into(),
            network: "net".into(),
            ifname: "eth0".into(),
        };
        Record {
            boot: boot_id(),
            wish: Wish {
                key,
                netns: "/run/netns/x".into(),
                ipv4: true,
                ipv6: false,
                provide: Vec::new(),
                request: Vec::new(),
                priority: 0,
            },
            place: Place::default(),
            ticket: "1".into(),
            leases: Vec::new(),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("leases")).unwrap();
        (dir, store)
    }

    #[test]
    fn leases_are_beside_the_socket() {
        for (socket, leases) in [
            ("/run/cni/dhcp.sock", "/run/cni/dhcp-leases"),
            ("/x/socket", "/x/socket-leases"),
        ] {
            assert_eq!(Store::beside(Path::new(socket)), Path::new(leases));
        }
    }

    #[test]
    fn what_is_saved_is_found_until_it_is_forgotten() {
        let (_dir, store) = store();
        let long = record(&"x".repeat(300));
        store.save(&record("c1")).unwrap();
        store.save(&long).unwrap();
        let (mut found, broken) = store.records().unwrap();
        found.sort_by_key(|record| record.wish.key.text().len());
        assert_eq!((found, broken), (vec![record("c1"), long.clone()], vec![]));
        store.forget(&long.wish.key);
        assert_eq!(store.records().unwrap().0, [record("c1")]);
    }

    #[test]
    fn only_what_is_written_down_can_be_marked() {
        let (_dir, store) = store();
        let key = &record("c1").wish.key;
        assert!(!store.mark(key, None).unwrap());
        store.save(&record("c1")).unwrap();
        assert!(!store.mark(key, Some("another ADD")).unwrap() && !store.is_marked(key));
        assert!(store.mark(key, Some("1")).unwrap() && store.is_marked(key));
        store.forget(key);
        assert!(!store.is_marked(key));
    }

    #[test]
    fn what_a_full_disk_left_spoils_nothing() {
        let (_dir, store) = store();
        store.save(&record("c1")).unwrap();
        store.0.replace("ff.json", b"{\"boot\":", 0o600).unwrap();
        let (records, broken) = store.records().unwrap();
        assert_eq!((records.len(), broken.len()), (1, 1));
        assert!(broken[0].starts_with("ff.json: "));
    }
}
