//! The result cache: what is attached, on disk, so that DEL and GC need no memory of ours.
//!
//! ```text
//! <cacheDir>/results/                             0700
//!     <network>-<container ID>-<interface>        0600, one JSON object:
//!         kind            "cniCacheV1"
//!         containerId, config (base64 of the list), ifName, networkName
//!         netns, cniArgs [[key, value]], capabilityArgs {}, result {}     each only if not empty
//!         davitResult     the result, if `result` is one of the list's cniVersion for callers that
//!                         do not know cniVersions; nobody else reads it
//!         davitSandbox    which namespace netns was, see `sandbox`; nobody else reads it
//! <cacheDir>/locks/gc                             shared by every operation, exclusive for GC
//! <cacheDir>/locks/<0 to 15>                      exclusive per container, chosen by its ID
//! ```
//! The files are Go libcni's, both ways; before `cniCacheV1` a file was the bare result. Because
//! `-` is legal inside all three parts, two attachments can want one name: whoever finds a
//! stranger's file there uses the name with each part's `-` written `%2D`, which is unique.
//!
//! An attachment is claimed here, without its result, before the first plugin runs: whatever is
//! killed when, DEL and GC find what may have been made.
//!
//! Promises: a file is replaced in one step, so it is never half written or empty; one that some
//! other writer left so counts as absent, except for GC, which frees nothing that its name may
//! stand for. What cannot be read at all is an error. The locks are a fixed number of empty files, because
//! unlinking a lock file races with whoever has just opened it. Plugins share the locks under which
//! they run, so that killing us does not let a DEL overtake an ADD that is still at work.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use cni::{Attachment, ContainerId, IfName, NetworkName};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sys::dir::{Lock, LockKind};
use sys::{Dir, Errno, SyscallError, SyscallResult, child};

use crate::base64;
use crate::error::{Error, Result};
use crate::sandbox::{self, Life};

/// The cache below one directory.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// What one ADD left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedAttachment {
    /// The network.
    pub network: NetworkName,
    /// The container and its interface.
    pub attachment: Attachment,
    /// Path of the namespace at the time of ADD; may be empty.
    pub netns: String,
    /// Which namespace that was, [`crate::sandbox::identify`]; empty when unknown.
    pub sandbox: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// What the runtime gave for the plugins' capabilities.
    pub capability_args: Map<String, Value>,
    /// The network list, as JSON.
    pub config: Vec<u8>,
    /// The final result, in the list's version; null when there is none.
    pub result: Value,
}

/// Locks that end when this is dropped.
#[derive(Debug)]
#[must_use = "the locks end when this value is dropped"]
pub struct Held {
    locks: Vec<Lock>,
}

impl Held {
    /// Lets the child of `command` hold the locks as well, and whoever it starts: if we are killed
    /// they end only when nobody of them can make anything any more.
    pub(crate) fn share_with(&self, command: &mut Command) -> sys::Result<()> {
        for lock in &self.locks {
            let fd = lock.as_fd().try_clone_to_owned();
            let fd = fd.call(|| "fcntl(lock, F_DUPFD_CLOEXEC)".into())?;
            child::keep_open(command, fd);
        }
        Ok(())
    }
}

const KIND: &str = "cniCacheV1";

/// Results are small, lists are bounded, and this holds both.
const LONGEST: u64 = 16 << 20;

const STRIPES: u32 = 16;

/// By how much the wall clock may have been set since this boot; no machine boots in less.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    kind: String,
    container_id: String,
    #[serde(default)]
    config: String,
    if_name: String,
    network_name: String,
    #[serde(default)]
    netns: String,
    #[serde(default)]
    davit_sandbox: String,
    #[serde(default)]
    cni_args: Vec<(String, String)>,
    #[serde(default)]
    capability_args: Map<String, Value>,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    davit_result: Value,
}

impl Cache {
    /// The cache in `dir`, which is made when something is put into it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Keeps other operations on this container, and GC, away.
    pub fn lock_container(&self, id: &ContainerId, patience: Duration) -> Result<Held> {
        let stripe = id
            .as_str()
            .bytes()
            .fold(0_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
        let stripe = (stripe % STRIPES).to_string();
        let gc = self.lock("gc", LockKind::Shared, patience)?;
        let container = self.lock(&stripe, LockKind::Exclusive, patience)?;
        Ok(Held {
            locks: vec![container, gc],
        })
    }

    /// Keeps every other operation away, as GC must.
    pub fn lock_all(&self, patience: Duration) -> Result<Held> {
        Ok(Held {
            locks: vec![self.lock("gc", LockKind::Exclusive, patience)?],
        })
    }

    fn lock(&self, name: &str, kind: LockKind, patience: Duration) -> Result<Lock> {
        let told = |source| Error::Cache {
            doing: format!("lock {} in {}", name, self.dir.display()),
            source,
        };
        let dir = Dir::open_or_create(self.dir.join("locks"), 0o700).map_err(told)?;
        dir.lock(name, kind, patience).map_err(told)
    }

    /// Remembers an attachment.
    pub fn write(&self, cached: &CachedAttachment) -> Result<()> {
        let key = Key::of(&cached.network, &cached.attachment);
        let dir =
            Dir::open_or_create(self.results(), 0o700).map_err(|error| key.told("cache", error))?;
        let name = match read(&dir, &key.plain()).map_err(|error| key.told("cache", error))? {
            Found::V1(other) if !key.fits(&other) => key.escaped(),
            _ => key.plain(),
        };
        dir.replace(name, cached.to_json().to_string().as_bytes(), 0o600)
            .map_err(|error| key.told("cache", error))
    }

    /// Remembers an attachment that is about to be made; one that is known stays as it is.
    ///
    /// Not synced, unlike [`Self::write`]: a power loss ends what the claim stands for. It appears
    /// in one step all the same: an empty file would keep GC from freeing what it may stand for.
    pub fn claim(&self, cached: &CachedAttachment) -> Result<()> {
        if self.read(&cached.network, &cached.attachment)?.is_some() {
            return Ok(());
        }
        self.remove(&cached.network, &cached.attachment)?;
        let key = Key::of(&cached.network, &cached.attachment);
        let told = |error| key.told("claim", error);
        let dir = Dir::open_or_create(self.results(), 0o700).map_err(told)?;
        let name = match read(&dir, &key.plain()).map_err(told)? {
            Found::Nothing => key.plain(),
            _ => key.escaped(),
        };
        dir.replace_volatile(name, cached.to_json().to_string().as_bytes(), 0o600)
            .map_err(told)
    }

    /// Removes what killed writers left: with every other operation away there are no others.
    pub(crate) fn sweep(&self, _all: &Held) -> Result<()> {
        let told = |source| Error::Cache {
            doing: "sweep the cache".into(),
            source,
        };
        let Some(dir) = self.open_results().map_err(told)? else {
            return Ok(());
        };
        let names = dir.names().map_err(told)?;
        let is_temporary = |name: &str| name.starts_with('.') && name.ends_with(".tmp");
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        for name in names.filter(|name| is_temporary(name)) {
            dir.remove(name).map_err(told)?;
        }
        Ok(())
    }

    /// What is known of an attachment; damaged contents are not known.
    pub fn read(
        &self,
        network: &NetworkName,
        attachment: &Attachment,
    ) -> Result<Option<CachedAttachment>> {
        let key = Key::of(network, attachment);
        let told = |error| key.told("look up", error);
        let Some(dir) = self.open_results().map_err(told)? else {
            return Ok(None);
        };
        for name in [key.plain(), key.escaped()] {
            match read(&dir, &name).map_err(told)? {
                Found::V1(cached) if key.fits(&cached) => return Ok(Some(*cached)),
                Found::Bare(result) => return Ok(Some(key.bare(result))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether an ADD left anything for it, be it damaged by now.
    pub fn knows(&self, network: &NetworkName, attachment: &Attachment) -> Result<bool> {
        let key = Key::of(network, attachment);
        let told = |error| key.told("look up", error);
        let Some(dir) = self.open_results().map_err(told)? else {
            return Ok(false);
        };
        Ok(!key.files(&dir).map_err(told)?.is_empty())
    }

    /// Forgets an attachment; one that is not known is no error.
    pub fn remove(&self, network: &NetworkName, attachment: &Attachment) -> Result<()> {
        let key = Key::of(network, attachment);
        let told = |error| key.told("forget", error);
        let Some(dir) = self.open_results().map_err(told)? else {
            return Ok(());
        };
        for name in key.files(&dir).map_err(told)? {
            dir.remove(name).map_err(told)?;
        }
        Ok(())
    }

    /// Every attachment that says which it is, sorted by file name. A file that cannot be read is
    /// an error: the caller would take what it stands for as not there.
    pub fn entries(&self) -> Result<Vec<CachedAttachment>> {
        let found = self.scan()?.into_iter();
        Ok(found
            .filter_map(|(_, found)| match found {
                Found::V1(cached) => Some(*cached),
                _ => None,
            })
            .collect())
    }

    /// The second in which the file of an attachment was written; none when there is no such file any more.
    pub fn written(&self, cached: &CachedAttachment) -> Result<Option<SystemTime>> {
        let key = Key::of(&cached.network, &cached.attachment);
        let told = |error| key.told("look up", error);
        let Some(dir) = self.open_results().map_err(told)? else {
            return Ok(None);
        };
        for name in [key.plain(), key.escaped()] {
            match read(&dir, &name).map_err(told)? {
                Found::V1(found) if key.fits(&found) => {
                    let stat = dir.stat(&name).map_err(told)?;
                    let since = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
                    return Ok(SystemTime::UNIX_EPOCH.checked_add(since));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether an attachment that says neither which namespace it had nor, where that cannot be
    /// seen, of which boot, was written before this boot, which nothing in a namespace outlives. For
    /// who is asked about this very container: where the clock was wrong for some time after the
    /// boot, so is this.
    pub fn is_of_earlier_boot(&self, cached: &CachedAttachment) -> Result<bool> {
        let is_told = match cached.life()? {
            Some(Life::Unclear) => sandbox::boot_in(&cached.sandbox).is_some(),
            _ => !cached.sandbox.is_empty(),
        };
        if is_told {
            return Ok(false);
        }
        let booted = SystemTime::now().checked_sub(sys::clock::since_boot());
        let booted = booted.and_then(|booted| booted.checked_sub(CLOCKS_DIFFER));
        let written = self.written(cached)?;
        Ok(written
            .zip(booted)
            .is_some_and(|(written, booted)| written < booted))
    }

    /// Files whose contents nobody can read, by their paths: GC leaves alone what they may stand
    /// for, until somebody removes them.
    pub fn damaged(&self) -> Result<Vec<PathBuf>> {
        let found = self.scan()?.into_iter();
        let damaged = found.filter(|(_, found)| matches!(found, Found::Damaged));
        Ok(damaged.map(|(name, _)| self.results().join(name)).collect())
    }

    /// The directory with a file for each attachment.
    pub fn results(&self) -> PathBuf {
        self.dir.join("results")
    }

    /// The attachments of one container, sorted by file name. Only files whose name may be theirs
    /// are read.
    pub fn of_container(&self, id: &ContainerId) -> Result<Vec<CachedAttachment>> {
        let (plain, escaped) = (id.as_str(), id.as_str().replace('-', "%2D"));
        let may_be = |name: &str| name.contains(plain) || name.contains(&escaped);
        let found = self.scan_where(may_be)?.into_iter();
        Ok(found
            .filter_map(|(_, found)| match found {
                Found::V1(cached) if cached.attachment.container_id == *id => Some(*cached),
                _ => None,
            })
            .collect())
    }

    /// The files of a network that do not say whose they are.
    pub(crate) fn unclear(&self, network: &NetworkName) -> Result<Vec<Unclear>> {
        let found = self.scan()?.into_iter();
        let unclear = found.filter_map(|(name, found)| {
            let is_damaged = match found {
                Found::Damaged => true,
                Found::Bare(_) => false,
                Found::Nothing | Found::V1(_) => return None,
            };
            let may_be = meanings(network, &name);
            (!may_be.is_empty()).then(|| Unclear {
                damaged: is_damaged.then(|| self.results().join(&name)),
                may_be,
            })
        });
        Ok(unclear.collect())
    }

    /// Every file by its name; not the temporary ones, which begin with a dot.
    fn scan(&self) -> Result<Vec<(String, Found)>> {
        self.scan_where(|_| true)
    }

    fn scan_where(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Found)>> {
        let told = |source| Error::Cache {
            doing: "list cached attachments".into(),
            source,
        };
        let Some(dir) = self.open_results().map_err(told)? else {
            return Ok(Vec::new());
        };
        let names = dir.names().map_err(told)?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        let names = names.filter(|name| !name.starts_with('.') && wanted(name));
        let found = names.map(|name| read(&dir, &name).map(|found| (name, found)));
        found.collect::<sys::Result<_>>().map_err(told)
    }

    fn open_results(&self) -> sys::Result<Option<Dir>> {
        match Dir::open(self.results()) {
            Err(error) if error.errno() == Errno::ENOENT => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The directory of this cache.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl CachedAttachment {
    fn to_json(&self) -> Value {
        let mut file = Map::from_iter([
            ("kind".to_owned(), json!(KIND)),
            (
                "containerId".to_owned(),
                json!(self.attachment.container_id.as_str()),
            ),
            ("config".to_owned(), json!(base64::encode(&self.config))),
            ("ifName".to_owned(), json!(self.attachment.ifname.as_str())),
            ("networkName".to_owned(), json!(self.network.as_str())),
        ]);
        let mut optional = |key: &str, value: Value, is_empty: bool| {
            if !is_empty {
                file.insert(key.to_owned(), value);
            }
        };
        optional("netns", json!(self.netns), self.netns.is_empty());
        optional("cniArgs", json!(self.args), self.args.is_empty());
        optional(
            "capabilityArgs",
            json!(self.capability_args),
            self.capability_args.is_empty(),
        );
        let for_older = self.result_for_older();
        let own = for_older
            .as_ref()
            .map_or(Value::Null, |_| self.result.clone());
        let shared = for_older.unwrap_or_else(|| self.result.clone());
        optional("result", shared, self.result.is_null());
        optional("davitResult", own.clone(), own.is_null());
        optional("davitSandbox", json!(self.sandbox), self.sandbox.is_empty());
        file.into()
    }

    /// The result in the list's `cniVersion` if it is newer, by `cniVersions`: a caller that does
    /// not know these has no words for the newer one either, and could not delete.
    fn result_for_older(&self) -> Option<Value> {
        let config = cni::go_json::parse(&self.config).ok()?;
        config.get("cniVersions")?;
        let older = config.get("cniVersion")?.as_str()?.parse().ok()?;
        let own = cni::result::version_of(&self.result).ok()??;
        let is_newer = own > older;
        let result = cni::Result::from_json(&self.result, own).ok()?;
        result.to_json(older).ok().filter(|_| is_newer)
    }

    /// `None` unless the object is of our kind and its names are names.
    fn from_file(file: File) -> Option<Self> {
        Some(Self {
            network: file.network_name.parse().ok()?,
            attachment: Attachment {
                container_id: file.container_id.parse::<ContainerId>().ok()?,
                ifname: file.if_name.parse::<IfName>().ok()?,
            },
            netns: file.netns,
            sandbox: file.davit_sandbox,
            args: file.cni_args,
            capability_args: file.capability_args,
            config: base64::decode(&file.config)?,
            result: match says_the_same(&file.davit_result, &file.result) {
                true => file.davit_result,
                false => file.result,
            },
        })
    }
}

/// Whether a result of ours is the one that everybody reads, in a newer version: another caller may
/// have written that one since, and kept ours without knowing it.
fn says_the_same(own: &Value, shared: &Value) -> bool {
    let in_its_version = || {
        let version = cni::result::version_of(shared).ok()??;
        let own_version = cni::result::version_of(own).ok()??;
        let result = cni::Result::from_json(own, own_version).ok()?;
        result.to_json(version).ok()
    };
    in_its_version().as_ref() == Some(shared)
}

/// What stands under a name.
enum Found {
    Nothing,
    /// Empty, cut off, or somebody else's.
    Damaged,
    /// A bare result, as before `cniCacheV1`.
    Bare(Value),
    V1(Box<CachedAttachment>),
}

/// An error is about us or the disk (`EMFILE`, `EIO`, ...), and says nothing about the file.
fn read(dir: &Dir, name: &str) -> sys::Result<Found> {
    let bytes = match dir.read(name, LONGEST) {
        Ok(bytes) => bytes,
        Err(error) => {
            return match error.errno() {
                Errno::ENOENT => Ok(Found::Nothing),
                // Too long, a symbolic link, a directory, a socket: nothing that we wrote.
                Errno::EFBIG | Errno::ELOOP | Errno::EISDIR | Errno::ENXIO => Ok(Found::Damaged),
                _ => Err(error),
            };
        }
    };
    Ok(understand(&bytes))
}

fn understand(bytes: &[u8]) -> Found {
    let Ok(json) = cni::go_json::parse(bytes) else {
        return Found::Damaged;
    };
    match cni::go_json::decode::<File>(&json) {
        Ok(file) if file.kind == KIND => match CachedAttachment::from_file(file) {
            Some(cached) => Found::V1(Box::new(cached)),
            None => Found::Damaged,
        },
        _ if json.is_object() => Found::Bare(json),
        _ => Found::Damaged,
    }
}

/// A file that does not say whose it is.
pub(crate) struct Unclear {
    /// Its path, unless it is a whole one from before `cniCacheV1`.
    pub(crate) damaged: Option<PathBuf>,
    /// All that its name can stand for.
    pub(crate) may_be: Vec<Attachment>,
}

/// The attachments to `network` that a file name can stand for: every `-` may be the separator.
fn meanings(network: &NetworkName, name: &str) -> Vec<Attachment> {
    let prefixes = [network.as_str().to_owned(), escape(network.as_str())];
    let rest = prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix.as_str())?.strip_prefix('-'));
    let rest = rest.unwrap_or_default();
    let unescape = |part: &str| part.replace("%2D", "-").replace("%25", "%");
    let meaning = |(at, _)| {
        let (container_id, ifname) = rest.split_at_checked(at)?;
        Some(Attachment {
            container_id: unescape(container_id).parse().ok()?,
            ifname: unescape(ifname.strip_prefix('-')?).parse().ok()?,
        })
    };
    rest.match_indices('-').filter_map(meaning).collect()
}

fn escape(part: &str) -> String {
    part.replace('%', "%25").replace('-', "%2D")
}

/// Whose file is meant.
struct Key<'a> {
    network: &'a NetworkName,
    attachment: &'a Attachment,
}

impl<'a> Key<'a> {
    fn of(network: &'a NetworkName, attachment: &'a Attachment) -> Self {
        Self {
            network,
            attachment,
        }
    }

    fn parts(&self) -> [&str; 3] {
        let Attachment {
            container_id,
            ifname,
        } = self.attachment;
        [
            self.network.as_str(),
            container_id.as_str(),
            ifname.as_str(),
        ]
    }

    fn plain(&self) -> String {
        self.parts().join("-")
    }

    fn escaped(&self) -> String {
        self.parts().map(escape).join("-")
    }

    fn fits(&self, cached: &CachedAttachment) -> bool {
        cached.network == *self.network && cached.attachment == *self.attachment
    }

    /// The names under which there is a file that is its own, or that nobody can read any more.
    fn files(&self, dir: &Dir) -> sys::Result<Vec<String>> {
        let mut names = Vec::new();
        for name in [self.plain(), self.escaped()] {
            match read(dir, &name)? {
                Found::V1(other) if !self.fits(&other) => {}
                Found::Nothing => {}
                Found::V1(_) | Found::Bare(_) | Found::Damaged => names.push(name),
            }
        }
        // Most names need no escape, and then both are one.
        names.dedup();
        Ok(names)
    }

    fn bare(&self, result: Value) -> CachedAttachment {
        CachedAttachment {
            network: self.network.clone(),
            attachment: self.attachment.clone(),
            netns: String::new(),
            sandbox: String::new(),
            args: Vec::new(),
            capability_args: Map::new(),
            config: Vec::new(),
            result,
        }
    }

    fn told(&self, verb: &str, source: SyscallError) -> Error {
        Error::Cache {
            doing: format!("{verb} {} in {}", self.attachment, self.network),
            source,
        }
    }
}

#[cfg(fuzzing)]
fn has_fraction(json: &Value) -> bool {
    match json {
        Value::Number(number) => number.is_f64(),
        Value::Array(values) => values.iter().any(has_fraction),
        Value::Object(members) => members.values().any(has_fraction),
        _ => false,
    }
}

/// A file of the cache, and one of that name. What is whole is the same when it was written again.
#[cfg(fuzzing)]
pub fn understand_file(bytes: &[u8]) {
    if let Ok(name) = std::str::from_utf8(bytes)
        && let Some(network) = name.split('-').next().and_then(|name| name.parse().ok())
    {
        meanings(&network, name);
    }
    let Found::V1(cached) = understand(bytes) else {
        return;
    };
    let written = cached.to_json();
    let Found::V1(again) = understand(written.to_string().as_bytes()) else {
        panic!("what was written is damaged: {written}");
    };
    // A fraction may lose its last bit in serde_json each time; results have none where it matters.
    if !has_fraction(&written) {
        assert_eq!(again.to_json(), written);
    }
    let key = Key::of(&cached.network, &cached.attachment);
    assert!(meanings(&cached.network, &key.escaped()).contains(&cached.attachment));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(id: &str, ifname: &str) -> Attachment {
        Attachment {
            container_id: id.parse().unwrap(),
            ifname: ifname.parse().unwrap(),
        }
    }

    fn cached(network: &str, id: &str) -> CachedAttachment {
        CachedAttachment {
            network: network.parse().unwrap(),
            attachment: attachment(id, "eth0"),
            netns: "/run/netns/x".into(),
            sandbox: String::new(),
            args: vec![("IgnoreUnknown".into(), "1".into())],
            capability_args: Map::from_iter([("ips".to_owned(), json!(["10.0.0.2"]))]),
            config: b"{\"name\":\"n\"}".to_vec(),
            result: json!({"cniVersion": "1.0.0"}),
        }
    }

    fn cache() -> (tempfile::TempDir, Cache, Dir) {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open_or_create(root.path().join("results"), 0o700).unwrap();
        let cache = Cache::new(root.path());
        (root, cache, dir)
    }

    #[test]
    fn the_file_is_go_libcnis() {
        let (_root, cache, dir) = cache();
        cache.write(&cached("n", "c1")).unwrap();
        let expected = r#"{"kind":"cniCacheV1","containerId":"c1","config":"eyJuYW1lIjoibiJ9","ifName":"eth0","networkName":"n","netns":"/run/netns/x","cniArgs":[["IgnoreUnknown","1"]],"capabilityArgs":{"ips":["10.0.0.2"]},"result":{"cniVersion":"1.0.0"}}"#;
        assert_eq!(dir.read("n-c1-eth0", 4096).unwrap(), expected.as_bytes());
        assert_eq!(dir.names().unwrap(), ["n-c1-eth0"]);
        assert_eq!(dir.stat("n-c1-eth0").unwrap().st_mode & 0o7777, 0o600);
    }

    #[test]
    fn a_caller_that_knows_no_list_of_versions_finds_a_result_that_it_can_read() {
        let (_root, cache, dir) = cache();
        let newest = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "mtu": 1400}],
            "ips": [{"address": "10.0.0.2/24", "interface": 0}]});
        let mut one = cached("n", "c1");
        let mut result_of = |config: &str, result: &Value| {
            one.config = config.into();
            one.result = result.clone();
            cache.write(&one).unwrap();
            let read = cache.read(&one.network, &one.attachment).unwrap();
            assert_eq!(read.unwrap().result, *result, "{config}");
            let file: Value =
                serde_json::from_slice(&dir.read("n-c1-eth0", 4096).unwrap()).unwrap();
            (file["result"].clone(), file.get("davitResult").cloned())
        };
        let both = r#"{"name":"n","cniVersion":"1.0.0","cniVersions":["1.0.0","1.1.0"]}"#;
        let (shared, own) = result_of(both, &newest);
        assert_eq!(shared["cniVersion"], "1.0.0");
        assert_eq!(shared["interfaces"], json!([{"name": "eth0"}]));
        assert_eq!(shared["ips"], newest["ips"]);
        assert_eq!(own.as_ref(), Some(&newest));
        let alone = r#"{"name":"n","cniVersion":"1.1.0"}"#;
        assert_eq!(result_of(alone, &newest), (newest.clone(), None));
        let older = json!({"cniVersion": "1.0.0"});
        assert_eq!(result_of(both, &older), (older, None));
    }

    #[test]
    fn a_result_of_ours_that_is_not_the_shared_one_is_not_believed() {
        let (_root, cache, dir) = cache();
        let mut one = cached("n", "c1");
        one.config =
            br#"{"name":"n","cniVersion":"1.0.0","cniVersions":["1.0.0","1.1.0"]}"#.to_vec();
        one.result = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}],
            "interfaces": [{"name": "eth0", "mtu": 1400}]});
        let whole = one.to_json();
        let read_with = |own: Value, shared: Option<&Value>| {
            let mut file = whole.clone();
            file["davitResult"] = own;
            match shared {
                Some(shared) => file["result"] = shared.clone(),
                None => drop(file.as_object_mut().unwrap().remove("result")),
            }
            dir.replace("n-c1-eth0", file.to_string().as_bytes(), 0o600)
                .unwrap();
            let read = cache.read(&one.network, &one.attachment).unwrap();
            read.unwrap().result
        };
        let shared = &whole["result"];
        assert_eq!(read_with(one.result.clone(), Some(shared)), one.result);
        for damaged in [
            json!("text"),
            json!({}),
            json!({"cniVersion": "9.0.0"}),
            json!({"cniVersion": "1.1.0", "ips": "none"}),
            json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.3/24"}]}),
        ] {
            assert_eq!(
                read_with(damaged.clone(), Some(shared)),
                *shared,
                "{damaged}"
            );
        }
        let since = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.9/24"}]});
        assert_eq!(read_with(one.result.clone(), Some(&since)), since);
        assert_eq!(read_with(one.result.clone(), None), Value::Null);
    }

    #[test]
    fn what_says_nothing_else_is_of_an_earlier_boot_if_it_was_written_before_this() {
        let (_root, cache, _dir) = cache();
        let mut one = cached("n", "c1");
        let mut of_earlier = |sandbox: &str, written: SystemTime| {
            one.sandbox = sandbox.into();
            cache.write(&one).unwrap();
            let file = std::fs::File::open(cache.results().join("n-c1-eth0")).unwrap();
            file.set_modified(written).unwrap();
            cache.is_of_earlier_boot(&one).unwrap()
        };
        let now = SystemTime::now();
        let booted = now - sys::clock::since_boot();
        let minute = Duration::from_secs(60);
        assert!(of_earlier("", booted - minute));
        assert!(!of_earlier("", booted - Duration::from_secs(2)));
        assert!(!of_earlier("", now));
        // By what it says, it is judged.
        assert!(!of_earlier("1@2", booted - minute));
        cache.remove(&one.network, &one.attachment).unwrap();
        assert!(!cache.is_of_earlier_boot(&one).unwrap());
    }

    #[test]
    fn what_was_written_is_read_listed_and_forgotten() {
        let (_root, cache, _dir) = cache();
        let (one, two) = (cached("n", "c1"), cached("m", "c1"));
        cache.write(&one).unwrap();
        cache.write(&two).unwrap();
        assert_eq!(
            cache.read(&one.network, &one.attachment).unwrap(),
            Some(one.clone())
        );
        assert_eq!(cache.entries().unwrap(), [two.clone(), one.clone()]);
        cache.remove(&one.network, &one.attachment).unwrap();
        cache
            .remove(&one.network, &one.attachment)
            .expect("what is gone is no error");
        assert_eq!(cache.entries().unwrap(), [two]);
    }

    #[test]
    fn two_attachments_that_want_one_name_are_both_found() {
        let (_root, cache, dir) = cache();
        let (one, two) = (cached("a-b", "c"), cached("a", "b-c"));
        cache.write(&one).unwrap();
        cache.write(&two).unwrap();
        assert_eq!(dir.names().unwrap(), ["a-b%2Dc-eth0", "a-b-c-eth0"]);
        for each in [&one, &two] {
            assert_eq!(
                cache
                    .read(&each.network, &each.attachment)
                    .unwrap()
                    .as_ref(),
                Some(each)
            );
        }
        cache.remove(&two.network, &two.attachment).unwrap();
        assert_eq!(
            cache.read(&one.network, &one.attachment).unwrap(),
            Some(one.clone())
        );
        assert_eq!(cache.read(&two.network, &two.attachment).unwrap(), None);
    }

    #[test]
    fn a_bare_result_is_read_as_before_1_0() {
        let (_root, cache, dir) = cache();
        let result = json!({"cniVersion": "0.3.1", "dns": {}});
        dir.replace("n-c1-eth0", result.to_string().as_bytes(), 0o600)
            .unwrap();
        let one = cached("n", "c1");
        let found = cache.read(&one.network, &one.attachment).unwrap().unwrap();
        assert_eq!((found.result, found.config.len()), (result, 0));
        cache.remove(&one.network, &one.attachment).unwrap();
        assert!(dir.names().unwrap().is_empty());
    }

    #[test]
    fn a_damaged_file_counts_as_absent_and_is_replaced_or_removed() {
        let (_root, cache, dir) = cache();
        let one = cached("n", "c1");
        for damage in ["", "{", "null", "[]", r#"{"kind":"cniCacheV1"}{"#] {
            dir.replace("n-c1-eth0", damage.as_bytes(), 0o600).unwrap();
            assert_eq!(
                cache.read(&one.network, &one.attachment).unwrap(),
                None,
                "{damage:?}"
            );
            assert!(cache.entries().unwrap().is_empty());
            cache.remove(&one.network, &one.attachment).unwrap();
            assert!(dir.names().unwrap().is_empty());
        }
        dir.replace("n-c1-eth0", b"", 0o600).unwrap();
        cache.write(&one).unwrap();
        assert_eq!(
            cache.read(&one.network, &one.attachment).unwrap(),
            Some(one)
        );
    }

    #[test]
    fn an_unclear_file_may_be_whatever_its_name_can_stand_for() {
        let (_root, cache, dir) = cache();
        let names = [
            "a-b-c-eth0",
            "a-b%2Dc-eth0",
            "ab-c-eth0",
            ".a-c-eth0.1.0.tmp",
        ];
        for name in names {
            dir.replace(name, b"", 0o600).unwrap();
        }
        cache.write(&cached("a", "whole")).unwrap();
        let of = |network: &str| {
            let unclear = cache.unclear(&network.parse().unwrap()).unwrap();
            let meanings = unclear.into_iter().flat_map(|each| each.may_be);
            meanings.map(|each| each.to_string()).collect::<Vec<_>>()
        };
        let all = ["eth0 of b-c", "c-eth0 of b", "eth0 of b-c"];
        assert_eq!(of("a"), all);
        assert_eq!(of("a-b"), ["eth0 of c"]);
        assert!(of("other").is_empty());
    }

    #[test]
    fn a_sweep_takes_what_killed_writers_left_and_nothing_else() {
        let (_root, cache, dir) = cache();
        for name in [".n-c1-eth0.7.0.tmp", "n-c2-eth0"] {
            dir.replace(name, b"", 0o600).unwrap();
        }
        cache.write(&cached("n", "c1")).unwrap();
        let held = cache.lock_all(Duration::ZERO).unwrap();
        cache.sweep(&held).unwrap();
        assert_eq!(dir.names().unwrap(), ["n-c1-eth0", "n-c2-eth0"]);
    }

    #[test]
    fn gc_excludes_every_other_operation_and_containers_only_themselves() {
        let (_root, cache, _dir) = cache();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let none = Duration::ZERO;
        let _a = cache.lock_container(&a, none).unwrap();
        let held = cache.lock_container(&b, none).unwrap();
        assert!(cache.lock_container(&a, none).is_err());
        assert!(cache.lock_all(none).is_err());
        drop((_a, held));
        let _all = cache.lock_all(none).unwrap();
        assert!(cache.lock_container(&a, none).is_err());
    }
}
