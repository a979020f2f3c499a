//! `ROOT/ID`: everything that davit remembers of a container. The only code that knows the names.
//!
//! ```text
//! /run/davit/              0700   --root
//!   web/                   0711   its creation is the claim on the id
//!     lock                 0600   flock(2): one operation at a time changes the container
//!     state.json           0600   Record, replaced by rename
//!     config.json          0600   the bundle's, as it was at create; never read from there again
//!     start.sock           0600   init waits here; it exists while the container is `created`
//!     criu-root/           0700   an empty directory; only `restore` mounts there, seen by CRIU alone
//!   web~4711/                     the same after delete has done its work, renamed in one step
//!                                 by pid 4711: poststop hooks are due, then it goes
//! ```
//!
//! state.json is written before the first cgroup is made and tells where they will be, so that
//! a kill at any moment leaves nothing that `delete --force` cannot find; and written again when
//! they are made, because until then they may turn out to be another container's. Its keys `id`,
//! `init_process_pid`, `init_process_start`, `created`, `cgroup_paths` and `namespace_paths` are
//! those of runc, which cAdvisor and its like read.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use serde::{Deserialize, Serialize};
use sys::dir::{Lock, LockKind, Pending};
use sys::{Dir, Errno};

use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Existing;
use crate::container_id::ContainerId;
use crate::fault::{Code, Fault};
use crate::resctrl::Membership;
use crate::state::HookState;

const RECORD: &str = "state.json";
const CONFIG: &str = "config.json";
const EXIT_STATUS: &str = "exit-status";
const START_SOCKET: &str = "start.sock";
const LOCK: &str = "lock";
const NOTIFY: &str = "notify";
const MOUNT_POINT: &str = "criu-root";

/// The version of the record's format that this davit writes and reads.
pub const VERSION: u32 = 1;

/// Between an id and a pid in a tombstone's name; no id has it.
const TOMB: &str = "~";

/// The largest state.json and config.json that are read back, in bytes.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// How long an operation waits for another one on the same container.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is remembered of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format.
    pub version: u32,
    /// The id.
    pub id: String,
    /// Whether `create` has finished.
    pub stage: Stage,
    /// Host pid of init; 0 while there is none.
    pub init_process_pid: i32,
    /// When init started, in clock ticks since boot (field 22 of proc_pid_stat(5)).
    pub init_process_start: u64,
    /// This boot (`/proc/sys/kernel/random/boot_id`); pids of another one mean nothing.
    pub boot_id: String,
    /// When the container was created, RFC 3339.
    pub created: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the root file system.
    pub rootfs: PathBuf,
    /// User id of whoever created it.
    pub owner: u32,
    /// Annotations of the configuration.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Where its cgroups are: controller to directory, `""` for version 2.
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// Those of them that were there before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lent_cgroups: Vec<PathBuf>,
    /// The unit of systemd that is around its cgroups.
    #[serde(default)]
    pub systemd_unit: Option<String>,
    /// Whether that is a unit of its user's manager.
    #[serde(default)]
    pub systemd_user: bool,
    /// Namespaces of init: `NEWPID` and so on to `/proc/<pid>/ns/pid`.
    #[serde(default)]
    pub namespace_paths: BTreeMap<String, PathBuf>,
    /// Whether it has a pid namespace of its own, which dies with init.
    pub own_pid_namespace: bool,
    /// Whether its root was entered without pivot_root.
    #[serde(default)]
    pub no_pivot: bool,
    /// Whether it has a session keyring of its own, `_ses.ID`.
    #[serde(default)]
    pub session_keyring: bool,
    /// Its Intel RDT groups.
    #[serde(default)]
    pub intel_rdt: Option<Membership>,
    /// What its standard streams were, as links of procfs; none with a terminal.
    #[serde(default)]
    pub external_descriptors: Vec<String>,
}

impl Record {
    /// What hooks and agents are told of the container.
    pub fn hook_state(&self) -> HookState {
        HookState {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
        }
    }

    /// Its cgroups, of which those that were there before stay when it goes.
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::from_saved(&self.cgroup_paths).sparing(&self.lent_cgroups)
    }

    /// The unit of systemd that is around its cgroups.
    pub fn unit(&self) -> Option<Existing<'_>> {
        let name = self.systemd_unit.as_deref()?;
        let user = self.systemd_user;
        Some(Existing { name, user })
    }
}

/// How far `create` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The cgroups are being made: what is at their paths may still be somebody else's.
    Claiming,
    /// The cgroups are its own; it is at work, or was killed.
    Creating,
    /// It finished.
    Created,
}

/// The directory of all containers, `--root`.
#[derive(Debug)]
pub struct StateRoot {
    path: PathBuf,
    /// Whether nobody asked for this very directory: then it need not exist.
    default: bool,
}

/// The directory of one container.
#[derive(Debug)]
pub struct StateDir {
    dir: Dir,
    /// The directory of all containers, in which it has its name.
    root: Dir,
    /// Its name below the root: the id, or a tombstone's.
    name: OsString,
    id: ContainerId,
}

impl StateRoot {
    /// The root at `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            default: false,
        }
    }

    /// The root that nobody has chosen. It is made with the sticky bit if it is a user's own:
    /// what cleans $XDG_RUNTIME_DIR leaves such directories alone (XDG Base Directory
    /// Specification).
    pub fn by_default(path: PathBuf) -> Self {
        Self {
            path,
            default: true,
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Claims `id`: makes its directory. This is the first side effect of `create`.
    pub fn claim(&self, id: &ContainerId) -> Result<StateDir> {
        let sticky = self.default && !self.path.starts_with("/run/davit");
        let mode = if sticky { 0o1700 } else { 0o700 };
        let root = Dir::open_or_create(&self.path, mode)
            .with_context(|| format!("the directory of all containers, --root {:?}", self.path))?;
        match root.create_dir(id.as_str(), 0o711) {
            Err(error) if error.errno() == Errno::EEXIST => {
                let text = format!("container with given ID already exists: {id}");
                bail!(Fault::new(Code::Exists, text))
            }
            other => other?,
        }
        Self::open_named(root, id.as_str().into(), id)
    }

    /// Opens the directory of `id`.
    pub fn open(&self, id: &ContainerId) -> Result<StateDir> {
        let opened = Dir::open(&self.path).and_then(|root| Ok((root.open_dir(id.as_str())?, root)));
        match opened {
            Ok((dir, root)) => Ok(StateDir::new(dir, root, id.as_str().into(), id)),
            Err(error) if error.errno() == Errno::ENOENT => {
                Err(NotFound).with_context(|| format!("container {:?}", id.as_str()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Containers called `id` whose delete was killed before it had run the poststop hooks.
    pub fn tombstones(&self, id: &ContainerId) -> Result<Vec<StateDir>> {
        let root = match Dir::open(&self.path) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(Vec::new()),
            other => other?,
        };
        let prefix = format!("{id}{TOMB}");
        let names = root.names()?.into_iter();
        let ours = names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(&prefix)));
        // One that somebody else has just finished is no error.
        Ok(ours
            .filter_map(|name| Self::open_named(Dir::open(&self.path).ok()?, name, id).ok())
            .collect())
    }

    fn open_named(root: Dir, name: OsString, id: &ContainerId) -> Result<StateDir> {
        Ok(StateDir::new(root.open_dir(&name)?, root, name, id))
    }

    /// The ids of all containers, sorted; none if the default root does not exist.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let root = match Dir::open(&self.path) {
            Err(error) if error.errno() == Errno::ENOENT && self.default => return Ok(Vec::new()),
            other => other?,
        };
        let parse = |name: OsString| ContainerId::parse(name.to_str()?).ok();
        Ok(root.names()?.into_iter().filter_map(parse).collect())
    }
}

/// There is no such container.
#[derive(Debug, thiserror::Error)]
#[error("container does not exist")]
pub struct NotFound;

impl StateDir {
    fn new(dir: Dir, root: Dir, name: OsString, id: &ContainerId) -> Self {
        let id = id.clone();
        Self {
            dir,
            root,
            name,
            id,
        }
    }

    /// The id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The directory of all containers.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Keeps other operations on this container out until the value is dropped.
    pub fn lock(&self) -> Result<Lock> {
        let locked = self.dir.lock(LOCK, LockKind::Exclusive, PATIENCE);
        let id = self.id.as_str();
        match locked {
            Err(error) if error.errno() == Errno::EAGAIN => {
                let text =
                    format!("container {id:?}: another operation has held it for {PATIENCE:?}");
                Err(error).context(Fault::new(Code::Busy, text))
            }
            other => other.with_context(|| format!("lock container {id:?}")),
        }
    }

    /// The same for who only has something to add: in a directory that a delete is emptying no
    /// lock file is made anew, or the delete could not remove it. `None` if it is gone.
    pub fn lock_unless_gone(&self) -> Result<Option<Lock>> {
        let locked = self.dir.lock_existing(LOCK, LockKind::Exclusive, PATIENCE);
        match locked {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            other => Ok(Some(other?)),
        }
    }

    /// Whether the name leads elsewhere by now, because somebody has deleted this container:
    /// whoever waited for its lock must not touch what has the name today.
    pub fn is_gone(&self) -> Result<bool> {
        let own = self.dir.stat_self()?;
        match self.root.stat(&self.name) {
            Ok(named) => Ok((named.st_dev, named.st_ino) != (own.st_dev, own.st_ino)),
            Err(error) if error.errno() == Errno::ENOENT => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether another operation holds the container right now. Looking leaves nothing behind.
    pub fn is_busy(&self) -> Result<bool> {
        Ok(self.dir.is_locked(LOCK)?)
    }

    /// Gives the id free in one step; what is left is to run the poststop hooks and remove.
    pub fn entomb(mut self) -> Result<Self> {
        let name = OsString::from(format!("{}{TOMB}{}", self.id, std::process::id()));
        self.root.rename(&self.name, &name)?;
        self.name = name;
        Ok(self)
    }

    /// Forgets the configuration, and with it that poststop hooks are due.
    pub fn forget_config(&self) -> Result<()> {
        match self.dir.remove(CONFIG) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(()),
            other => Ok(other?),
        }
    }

    /// The record; `None` if the claim was made and nothing was written yet.
    pub fn record(&self) -> Result<Option<Record>> {
        match self.dir.read(RECORD, MAX_SIZE) {
            Ok(text) => {
                let path = self.dir.path().join(RECORD);
                let record = parse_record(&text);
                Ok(Some(record.with_context(|| format!("read {path:?}"))?))
            }
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the record.
    pub fn save(&self, record: &Record) -> Result<()> {
        Ok(self.dir.put_in_place(self.prepare(record)?)?)
    }

    /// Does of [`Self::save`] what takes time; [`Self::save_prepared`] does the rest.
    pub fn prepare(&self, record: &Record) -> Result<Pending> {
        let text = serde_json::to_vec(record).context("encode state.json")?;
        Ok(self.dir.write_pending(RECORD, &text, 0o600)?)
    }

    /// Replaces the record by one that was prepared.
    pub fn save_prepared(&self, prepared: Pending) -> Result<()> {
        Ok(self.dir.put_in_place(prepared)?)
    }

    /// Keeps a copy of the configuration.
    pub fn save_config(&self, text: &[u8]) -> Result<()> {
        Ok(self.dir.replace_volatile(CONFIG, text, 0o600)?)
    }

    /// The configuration as it was at create.
    pub fn config(&self) -> Result<Vec<u8>> {
        Ok(self.dir.read(CONFIG, MAX_SIZE)?)
    }

    /// How its program ended, as a shell counts; `None` as long as nobody has noted it.
    pub fn exit_status(&self) -> Result<Option<u8>> {
        match self.dir.read(EXIT_STATUS, 16) {
            Ok(text) => {
                let number = std::str::from_utf8(&text).ok().and_then(|t| t.parse().ok());
                let path = self.dir.path().join(EXIT_STATUS);
                Ok(Some(number.with_context(|| {
                    let text = format!("{path:?} is not an exit status");
                    Fault::new(Code::StateDamaged, text)
                })?))
            }
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes how its program ended.
    pub fn save_exit_status(&self, status: u8) -> Result<()> {
        let text = status.to_string();
        Ok(self
            .dir
            .replace_volatile(EXIT_STATUS, text.as_bytes(), 0o600)?)
    }

    /// The numbers of what it holds open, for a clone that keeps it.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [&self.dir, &self.root].map(|dir| dir.as_fd().as_raw_fd())
    }

    /// Makes the socket on which init waits for `start`.
    pub fn make_start_socket(&self) -> Result<OwnedFd> {
        let listener = unix_socket(SockType::SeqPacket)?;
        let address = self.socket_address()?;
        // unix(7): the file gets the mode that the socket has when it is bound.
        fchmod(&listener, Mode::from_bits_truncate(0o600)).context("fchmod(start socket)")?;
        bind(listener.as_raw_fd(), &address)
            .and_then(|()| listen(&listener, Backlog::new(8)?))
            .with_context(|| format!("bind {:?}", self.dir.path().join(START_SOCKET)))?;
        Ok(listener)
    }

    /// Makes the directory that the container sees, and answers its path.
    pub fn make_notify_directory(&self) -> Result<PathBuf> {
        self.dir.create_dir(NOTIFY, 0o755)?;
        Ok(std::path::absolute(self.dir.path().join(NOTIFY))?)
    }

    /// Makes the socket in that directory; `None` if `create` made no directory.
    pub fn make_notify_socket(&self) -> Result<Option<OwnedFd>> {
        let directory = match self.dir.open_dir(NOTIFY) {
            Err(error) if error.errno() == Errno::ENOENT => return Ok(None),
            other => other?,
        };
        let receiver = unix_socket(SockType::Datagram)?;
        let address = address_in(&directory, "notify.sock")?;
        // Every user of the container may be the service.
        fchmod(&receiver, Mode::from_bits_truncate(0o777)).context("fchmod(notify socket)")?;
        bind(receiver.as_raw_fd(), &address)
            .with_context(|| format!("bind {:?}", directory.path().join("notify.sock")))?;
        Ok(Some(receiver))
    }

    /// Connects to init, which waits for `start`.
    pub fn connect_to_init(&self) -> Result<OwnedFd> {
        let connection = unix_socket(SockType::SeqPacket)?;
        connect(connection.as_raw_fd(), &self.socket_address()?)
            .with_context(|| format!("connect to {:?}", self.dir.path().join(START_SOCKET)))?;
        Ok(connection)
    }

    /// Whether init has not been started yet.
    pub fn awaits_start(&self) -> Result<bool> {
        match self.dir.stat(START_SOCKET) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(false),
            other => Ok(other.map(|_| true)?),
        }
    }

    /// Takes the start socket away: from now on the container is not `created` any more.
    pub fn remove_start_socket(&self) -> Result<()> {
        match self.dir.remove(START_SOCKET) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(()),
            other => Ok(other?),
        }
    }

    fn socket_address(&self) -> Result<UnixAddr> {
        address_in(&self.dir, START_SOCKET)
    }

    /// Makes an empty directory to mount the rootfs on while the container is restored.
    pub fn make_mount_point(&self) -> Result<PathBuf> {
        self.dir.create_dir(MOUNT_POINT, 0o700)?;
        Ok(self.dir.path().join(MOUNT_POINT))
    }

    /// Takes it away again.
    pub fn remove_mount_point(&self) -> Result<()> {
        Ok(self.dir.remove_dir(MOUNT_POINT)?)
    }

    /// Takes a claim back that could not be locked: without the lock nothing goes but what is empty, for
    /// the name may lead to somebody else's container by now.
    pub fn withdraw(self) -> Result<()> {
        if self.is_gone()? || self.is_busy()? {
            return Ok(());
        }
        let _ = self.dir.remove(LOCK); // in our own directory, whatever its name is
        match self.root.remove_dir(&self.name) {
            Err(error) if [Errno::ENOENT, Errno::ENOTEMPTY].contains(&error.errno()) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes the directory with all that is in it.
    pub fn remove(self) -> Result<()> {
        // What is nearly always all there is, without a look at the list.
        for name in [CONFIG, LOCK, RECORD] {
            match self.dir.remove(name) {
                Err(error) if error.errno() != Errno::ENOENT => break,
                _ => {}
            }
        }
        match self.root.remove_dir(&self.name) {
            Err(error) if error.errno() == Errno::ENOTEMPTY => self.remove_rest(),
            Err(error) if error.errno() == Errno::ENOENT => Ok(()),
            other => Ok(other?),
        }
    }

    fn remove_rest(&self) -> Result<()> {
        // Whoever waits for init writes the exit status at this very moment, by a file beside
        // it and a rename: two names at most that the list did not have.
        for _ in 0..3 {
            match self.root.remove_all(&self.name) {
                Err(error) if error.errno() == Errno::ENOTEMPTY => {}
                other => return Ok(other?),
            }
        }
        Ok(self.root.remove_all(&self.name)?)
    }
}

/// The address of a socket through its open directory: the path itself may be longer than the
/// 108 bytes that unix(7) allows.
fn address_in(directory: &Dir, name: &str) -> Result<UnixAddr> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_fd().as_raw_fd());
    UnixAddr::new(Path::new(&path)).with_context(|| format!("address of {name}"))
}

/// Reads a record; one of a later davit may mean something else by the same keys.
pub fn parse_record(text: &[u8]) -> Result<Record> {
    let version = |value: &serde_json::Value| value["version"].as_u64();
    let record: Result<Record, _> = serde_json::from_slice(text);
    let found = match &record {
        Ok(record) => Some(record.version.into()),
        Err(_) => serde_json::from_slice(text).ok().as_ref().and_then(version),
    };
    if let Some(found) = found.filter(|&found| found != u64::from(VERSION)) {
        let text = format!("it has version {found} of the format, and this davit knows {VERSION}");
        bail!(Fault::new(Code::StateVersion, text));
    }
    record.map_err(|error| Fault::new(Code::StateDamaged, error.to_string()).into())
}

fn unix_socket(kind: SockType) -> Result<OwnedFd> {
    socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).context("socket(AF_UNIX)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, StateRoot, ContainerId) {
        let dir = tempfile::tempdir().unwrap();
        let root = StateRoot::new(dir.path().join("davit"));
        (dir, root, ContainerId::parse("web").unwrap())
    }

    #[test]
    fn an_id_is_claimed_once() {
        let (_dir, root, id) = root();
        root.claim(&id).unwrap();
        let error = root.claim(&id).unwrap_err().to_string();
        assert!(
            error.contains("container with given ID already exists"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_id_does_not_exist() {
        let (_dir, root, id) = root();
        for _ in 0..2 {
            let error = root.open(&id).unwrap_err();
            assert!(error.downcast_ref::<NotFound>().is_some());
            assert!(format!("{error:#}").contains("container does not exist"));
            Dir::open_or_create(&root.path, 0o700).unwrap();
        }
    }

    #[test]
    fn a_tombstone_frees_the_id_and_is_found_by_it() {
        let (_dir, root, id) = root();
        let state = root.claim(&id).unwrap().entomb().unwrap();
        assert!(root.ids().unwrap().is_empty());
        assert!(root.open(&id).is_err());
        let again = root.claim(&id).unwrap();
        assert!(!again.is_gone().unwrap() && !state.is_gone().unwrap());
        let found = root.tombstones(&id).unwrap();
        assert_eq!(found.len(), 1);
        found.into_iter().for_each(|tomb| tomb.remove().unwrap());
        assert!(root.tombstones(&id).unwrap().is_empty());
        assert!(root.open(&id).is_ok());
    }

    #[test]
    fn whoever_waited_for_a_deleted_container_sees_that_it_is_gone() {
        let (_dir, root, id) = root();
        let waiting = root.claim(&id).unwrap();
        root.open(&id).unwrap().entomb().unwrap().remove().unwrap();
        assert!(waiting.is_gone().unwrap());
        let _next = root.claim(&id).unwrap();
        assert!(waiting.is_gone().unwrap());
    }

    #[test]
    fn looking_whether_it_is_busy_makes_no_file() {
        let (_dir, root, id) = root();
        let state = root.claim(&id).unwrap();
        assert!(!state.is_busy().unwrap());
        assert!(state.dir.names().unwrap().is_empty());
        let _lock = state.lock().unwrap();
        assert!(state.is_busy().unwrap());
    }

    #[test]
    fn removing_leaves_nothing() {
        let (_dir, root, id) = root();
        let state = root.claim(&id).unwrap();
        state.save_config(b"{}").unwrap();
        let _socket = state.make_start_socket().unwrap();
        assert!(state.awaits_start().unwrap());
        state.remove().unwrap();
        assert!(root.ids().unwrap().is_empty());
    }

    #[test]
    fn the_start_socket_works_below_a_path_that_is_too_long_for_one() {
        let (dir, _, id) = root();
        let deep = dir.path().join("x".repeat(120));
        let state = StateRoot::new(deep).claim(&id).unwrap();
        let _listener = state.make_start_socket().unwrap();
        state.connect_to_init().unwrap();
    }

    #[test]
    fn a_record_of_another_version_is_told_from_a_damaged_one() {
        let code = |text: &[u8]| Fault::of(&parse_record(text).unwrap_err()).code();
        assert_eq!(code(br#"{"version":2,"other":true}"#), Code::StateVersion);
        for damaged in [&b""[..], b"{", b"[]", b"null", br#"{"version":1}"#] {
            assert_eq!(code(damaged), Code::StateDamaged);
        }
    }

    #[test]
    fn a_claim_without_a_record_is_told_from_a_broken_one() {
        let (_dir, root, id) = root();
        let state = root.claim(&id).unwrap();
        assert!(state.record().unwrap().is_none());
        state.dir.replace(RECORD, b"", 0o600).unwrap();
        assert!(state.record().is_err());
    }
}
