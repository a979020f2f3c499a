//! ADD, DEL, CHECK, GC, STATUS and VERSION over the plugins of a list.
//!
//! ```text
//! ADD     list order     each gets the result of the one before; the last result is cached;
//!                        after an error all get DEL
//! CHECK   list order     each gets the cached result
//! DEL     reverse order  each gets the cached result; goes on after errors and reports all
//! GC      DEL for every cached attachment that is not valid, then GC in list order
//! STATUS  list order     the first error counts
//! ```
//! One operation per container at a time, GC alone (SPEC 1.1.0 section 3); the locks are `cache`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use cni::{Attachment, Code, Command, Version};
use serde_json::{Map, Value, json};
use sys::SyscallError;

use crate::cache::{Cache, CachedAttachment, Held};
use crate::error::{Error, Result};
use crate::invoke::{Call, Plugins};
use crate::network_list::{NetworkList, PluginConfig};
use crate::sandbox::{self, Life};

/// What a runtime says about one attachment.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeConf {
    /// The container and the interface it is to have.
    pub attachment: Attachment,
    /// Path of the container's network namespace; may be empty for DEL.
    pub netns: String,
    /// `CNI_ARGS`.
    pub args: Vec<(String, String)>,
    /// Values for the capabilities that plugins of the list have switched on.
    pub capability_args: Map<String, Value>,
}

/// What a GC leaves alone.
#[derive(Clone, Copy)]
pub enum Keep<'a> {
    /// The caller has no list: nothing cached stays, and plugins free nothing else (cnitool's).
    Unlisted,
    /// These.
    Listed(&'a [Attachment]),
    /// Everything cached whose namespace is there, as seen once all other operations have ended.
    Living,
    /// Everything cached that `stays` says is to stay, asked once all other operations have ended.
    /// When it cannot say, nothing is freed.
    ///
    /// Callers that write their cache behind the last plugin, and take no lock of ours, may have an
    /// ADD under way: plugins of davit leave alone what is in no cache, but what they have noted as
    /// stale before this second since boot.
    Judged {
        /// Whether a cached attachment stays.
        stays: &'a dyn Fn(&CachedAttachment) -> Result<bool>,
        /// `None`: what is in no cache goes at once.
        stale_before: Option<u64>,
    },
}

/// Runs lists.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where plugins are.
    pub plugins: Plugins,
    /// Where results are remembered.
    pub cache: Cache,
    /// How long another operation on the same container is waited for.
    pub patience: Duration,
}

/// What the plugins of a list are told in one pass over it.
struct Pass<'a> {
    list: &'a NetworkList,
    conf: &'a RuntimeConf,
    held: &'a Held,
    result: Option<Value>,
}

impl Caller {
    /// Attaches a container; the final result, in the list's version. If a plugin fails, all get
    /// a DEL, also the one that failed.
    ///
    /// One that is attached already is refused: SPEC 1.1.0 wants a DEL before a second ADD, and
    /// the undo of the second would take down what the first made. So is one to a network whose file
    /// was taken away before the lock was held: who removes a network waits for those who hold it.
    pub fn add(&self, list: &NetworkList, conf: &RuntimeConf) -> Result<Value> {
        let held = self
            .cache
            .lock_container(&conf.attachment.container_id, self.patience)?;
        refuse_changed(list)?;
        let known = self.cache.read(&list.name, &conf.attachment)?;
        if known.map_or(Ok(false), |known| known.is_alive())? {
            return Err(Error::AlreadyAttached {
                attachment: conf.attachment.clone(),
                network: list.name.to_string(),
            });
        }
        // Before the first plugin changes anything.
        for plugin in &list.plugins {
            let found = self.plugins.find(&plugin.plugin_type);
            found.map_err(|error| failed(list, plugin, Command::Add, error))?;
        }
        let mut cached = CachedAttachment {
            network: list.name.clone(),
            attachment: conf.attachment.clone(),
            netns: conf.netns.clone(),
            sandbox: identify(&conf.netns)?.unwrap_or_default(),
            args: conf.args.clone(),
            capability_args: conf.capability_args.clone(),
            config: list.bytes.clone(),
            result: Value::Null,
        };
        self.cache.claim(&cached)?;
        let mut pass = Pass {
            list,
            conf,
            held: &held,
            result: None,
        };
        let added = self.add_each(&mut pass).and_then(|()| {
            cached.result = pass.result.clone().unwrap_or_default();
            self.cache.write(&cached)
        });
        let Err(error) = added else {
            return Ok(cached.result);
        };
        // What cannot be rolled back stays in the cache for a later DEL or GC.
        let undone = self.delete_each(&pass);
        let undone = undone.and_then(|()| self.cache.remove(&list.name, &conf.attachment));
        Err(and(error, undone.err()))
    }

    /// The result of each goes into the next, and that of the last stays in `pass`.
    fn add_each(&self, pass: &mut Pass<'_>) -> Result<()> {
        let list = pass.list;
        for plugin in &list.plugins {
            let stdout = self.send(Command::Add, plugin, pass)?;
            let answer = answer(&stdout, list.cni_version);
            let answer = answer.map_err(|error| failed(list, plugin, Command::Add, error))?;
            pass.result = Some(answer);
        }
        Ok(())
    }

    /// Detaches a container, with what was remembered of its ADD.
    ///
    /// Arguments that `conf` lacks are those of the ADD: a runtime that forgets the port mappings
    /// must not leave their rules behind.
    pub fn del(&self, list: &NetworkList, conf: &RuntimeConf) -> Result<()> {
        self.del_if(list, conf, |_| Ok(true)).map(|_| ())
    }

    /// The same if `may` says so of what is cached, asked once all other operations on the
    /// container have ended; whether it did. For a caller who read the cache before: by now a new
    /// container of the same ID may be attached.
    pub fn del_if(
        &self,
        list: &NetworkList,
        conf: &RuntimeConf,
        may: impl FnOnce(Option<&CachedAttachment>) -> Result<bool>,
    ) -> Result<bool> {
        let held = self
            .cache
            .lock_container(&conf.attachment.container_id, self.patience)?;
        let cached = self.cache.read(&list.name, &conf.attachment)?;
        if !may(cached.as_ref())? {
            return Ok(false);
        }
        self.delete(list, conf, &held).map(|()| true)
    }

    fn delete(&self, list: &NetworkList, conf: &RuntimeConf, held: &Held) -> Result<()> {
        let cached = self.cache.read(&list.name, &conf.attachment)?;
        let conf = completed(conf, cached.as_ref());
        let result = cached.and_then(|cached| in_version(cached.result, list.cni_version));
        // SPEC 0.4.0 brought prevResult to DEL.
        let result = result.filter(|_| list.cni_version >= Version::V0_4_0);
        self.delete_each(&Pass {
            list,
            conf: &conf,
            held,
            result,
        })?;
        self.cache.remove(&list.name, &conf.attachment)
    }

    /// Plugins refuse a path that leads to the host's own namespace, and rightly: what they made is
    /// freed without one then, as that of a container whose namespace is gone.
    fn delete_each(&self, pass: &Pass<'_>) -> Result<()> {
        let deleted = self.delete_once(pass);
        if deleted.is_ok() || !sandbox::is_own(&pass.conf.netns) {
            return deleted;
        }
        let conf = RuntimeConf {
            netns: String::new(),
            ..pass.conf.clone()
        };
        self.delete_once(&Pass {
            conf: &conf,
            result: pass.result.clone(),
            ..*pass
        })
    }

    fn delete_once(&self, pass: &Pass<'_>) -> Result<()> {
        let plugins = pass.list.plugins.iter().rev();
        let sent = plugins.map(|plugin| self.send(Command::Del, plugin, pass));
        Error::all(sent.filter_map(Result::err).collect())
    }

    /// Asks every plugin whether the attachment is as its ADD left it.
    ///
    /// SPEC 1.1.0 section 2 wants no CHECK of what has had no ADD, or a DEL since. A cache file
    /// that cannot be read any more is no such proof.
    pub fn check(&self, list: &NetworkList, conf: &RuntimeConf) -> Result<()> {
        if !list.has(Command::Check) {
            return Err(Error::TooOld {
                version: list.cni_version,
                command: Command::Check,
            });
        }
        if list.disable_check {
            return Ok(());
        }
        let held = self
            .cache
            .lock_container(&conf.attachment.container_id, self.patience)?;
        if !self.cache.knows(&list.name, &conf.attachment)? {
            return Err(Error::NotAttached {
                attachment: conf.attachment.clone(),
                network: list.name.to_string(),
            });
        }
        let cached = self.cache.read(&list.name, &conf.attachment)?;
        let conf = completed(conf, cached.as_ref());
        let result = cached.and_then(|cached| in_version(cached.result, list.cni_version));
        let pass = Pass {
            list,
            conf: &conf,
            held: &held,
            result,
        };
        for plugin in &list.plugins {
            self.send(Command::Check, plugin, &pass)?;
        }
        Ok(())
    }

    /// Frees every attachment of the network that is not to be kept: those in the cache by DEL,
    /// then whatever the plugins know of by GC.
    pub fn gc(&self, list: &NetworkList, keep: Keep<'_>) -> Result<()> {
        if list.disable_gc {
            return Ok(());
        }
        let held = self.cache.lock_all(self.patience)?;
        self.cache.sweep(&held)?;
        let mut cached = self.cache.entries()?;
        cached.retain(|each| each.network == list.name);
        let mut errors = Vec::new();
        let valid: Option<Vec<Attachment>> = match keep {
            Keep::Unlisted => None,
            Keep::Listed(valid) => Some(valid.to_vec()),
            Keep::Living => {
                let lives = |each: &CachedAttachment| Ok(!each.is_dead()?);
                Some(self.living(list, &cached, &lives, &mut errors)?)
            }
            Keep::Judged { stays, .. } => Some(self.living(list, &cached, stays, &mut errors)?),
        };
        let mut keys = gc_keys(valid.as_deref());
        if let Keep::Judged {
            stale_before: Some(second),
            ..
        } = keep
        {
            keys.insert("davit.dev/stale-before".into(), json!(second));
        }
        let is_valid = |one: &Attachment| valid.as_ref().is_some_and(|valid| valid.contains(one));
        let stale = cached.iter().filter(|each| !is_valid(&each.attachment));
        let deleted = stale.map(|each| self.delete_cached(list, each, &held));
        errors.extend(deleted.filter_map(Result::err));
        if list.has(Command::Gc) {
            let request_for = |plugin| request(list, plugin, keys.clone());
            let sent = list.plugins.iter().map(|plugin| {
                let call = Call {
                    held: Some(&held),
                    ..Call::bare(Command::Gc, request_for(plugin))
                };
                self.run(list, plugin, &call)
            });
            errors.extend(sent.filter_map(Result::err));
        }
        Error::all(errors)
    }

    /// What must be taken for alive: all that is not proven dead. Nothing is freed when that
    /// cannot be told of one of them; files that do not say whose they are keep what they may
    /// stand for, and damaged ones are told.
    fn living(
        &self,
        list: &NetworkList,
        cached: &[CachedAttachment],
        stays: &dyn Fn(&CachedAttachment) -> Result<bool>,
        damaged: &mut Vec<Error>,
    ) -> Result<Vec<Attachment>> {
        let mut living = Vec::new();
        for each in cached {
            if stays(each)? {
                living.push(each.attachment.clone());
            }
        }
        for unclear in self.cache.unclear(&list.name)? {
            let files = unclear.damaged.into_iter();
            damaged.extend(files.map(|file| Error::Damaged { file }));
            living.extend(unclear.may_be);
        }
        Ok(living)
    }

    /// DEL as it was attached, with `list` if the cache does not hold the configuration.
    fn delete_cached(
        &self,
        list: &NetworkList,
        cached: &CachedAttachment,
        held: &Held,
    ) -> Result<()> {
        let own = cached.list();
        let conf = RuntimeConf {
            attachment: cached.attachment.clone(),
            // A path that leads to somebody else's namespace by now must not be touched.
            netns: cached.netns_now()?.to_owned(),
            args: cached.args.clone(),
            capability_args: cached.capability_args.clone(),
        };
        self.delete(own.as_ref().unwrap_or(list), &conf, held)
    }

    /// Asks every plugin whether an ADD could be served.
    pub fn status(&self, list: &NetworkList) -> Result<()> {
        if !list.has(Command::Status) {
            return Ok(());
        }
        for plugin in &list.plugins {
            let call = Call::bare(Command::Status, request(list, plugin, Map::new()));
            self.run(list, plugin, &call)?;
        }
        Ok(())
    }

    /// Asks every plugin for its versions; the sorted capabilities that the list switches on.
    pub fn validate(&self, list: &NetworkList) -> Result<BTreeSet<String>> {
        let checked = list.plugins.iter().map(|plugin| self.speaks(list, plugin));
        Error::all(checked.filter_map(Result::err).collect())?;
        let enabled = list.plugins.iter().flat_map(|plugin| &plugin.capabilities);
        Ok(enabled
            .filter(|(_, on)| **on)
            .map(|(name, _)| name.clone())
            .collect())
    }

    fn speaks(&self, list: &NetworkList, plugin: &PluginConfig) -> Result<()> {
        let told = |error| failed(list, plugin, Command::Version, error);
        let versions = self.plugins.versions(&plugin.plugin_type).map_err(told)?;
        if versions.contains(&list.cni_version) {
            return Ok(());
        }
        let version = list.cni_version.to_string();
        let msg = format!("plugin does not support config version {version:?}");
        Err(told(cni::Error::new(Code::INCOMPATIBLE_VERSION, msg)))
    }

    fn send(&self, command: Command, plugin: &PluginConfig, pass: &Pass<'_>) -> Result<Vec<u8>> {
        let Pass {
            list,
            conf,
            held,
            result,
        } = pass;
        let mut extra = Map::new();
        if let Some(result) = result {
            extra.insert("prevResult".into(), result.clone());
        }
        let wanted = |name: &String| plugin.capabilities.get(name).copied().unwrap_or(false);
        let given = conf.capability_args.iter().filter(|(name, _)| wanted(name));
        let given: Map<String, Value> = given
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !given.is_empty() {
            extra.insert("runtimeConfig".into(), given.into());
        }
        let call = Call {
            command,
            attachment: Some(&conf.attachment),
            netns: &conf.netns,
            args: &conf.args,
            stdin: request(list, plugin, extra),
            held: Some(held),
        };
        self.run(list, plugin, &call)
    }

    fn run(&self, list: &NetworkList, plugin: &PluginConfig, call: &Call<'_>) -> Result<Vec<u8>> {
        let ran = self.plugins.run(&plugin.plugin_type, call);
        ran.map_err(|error| failed(list, plugin, call.command, error))
    }
}

impl CachedAttachment {
    /// The list that made this attachment; `None` for what Go's libcni left without it.
    pub fn list(&self) -> Option<NetworkList> {
        let list = NetworkList::parse(&self.config, None).ok()?;
        (list.name == self.network).then_some(list)
    }

    /// Whether the namespace of its ADD may be there.
    pub fn is_alive(&self) -> Result<bool> {
        Ok(!self.netns.is_empty() && !self.is_dead()?)
    }

    /// The path of its namespace, if that leads to the very one; else nothing.
    pub fn netns_now(&self) -> Result<&str> {
        Ok(match self.life()? {
            Some(Life::There) => &self.netns,
            _ => "",
        })
    }

    /// What became of the namespace of its ADD; `None` when the file does not say which it was.
    pub fn life(&self) -> Result<Option<Life>> {
        if self.netns.is_empty() {
            return Ok(None);
        }
        let life = sandbox::life(&self.netns, &self.sandbox);
        life.map(Some).map_err(|source| untold(&self.netns, source))
    }

    /// Whether its namespace is known by a process, `/proc/<pid>/ns/net`: unless the attachment is
    /// dead, that very process is there.
    pub fn is_process(&self) -> bool {
        sandbox::process_of(&self.netns).is_some()
    }

    /// Whether the namespace of its ADD is gone: nothing is at the path, or another one is.
    /// What says nothing about its namespace is not dead; what cannot be told is an error.
    pub fn is_dead(&self) -> Result<bool> {
        Ok(self.life()? == Some(Life::Gone))
    }
}

/// By now it may be gone, and what an ADD would make would be nobody's.
fn refuse_changed(list: &NetworkList) -> Result<()> {
    match &list.file {
        Some(file) if !list.is_current() => Err(Error::Changed {
            network: list.name.to_string(),
            file: file.clone(),
        }),
        _ => Ok(()),
    }
}

fn identify(netns: &str) -> Result<Option<String>> {
    sandbox::identify(netns).map_err(|source| untold(netns, source))
}

fn untold(netns: &str, source: SyscallError) -> Error {
    Error::Namespace {
        netns: netns.to_owned(),
        source,
    }
}

/// The plugin's object with what the specification adds to it (SPEC 1.1.0 section 3).
fn request(list: &NetworkList, plugin: &PluginConfig, extra: Map<String, Value>) -> String {
    let mut document = plugin.document.clone();
    // They are for the caller to read: "must not be set", though Go's libcni leaves them in.
    document.remove("capabilities");
    document.insert("name".into(), list.name.as_str().into());
    document.insert("cniVersion".into(), list.cni_version.to_string().into());
    document.extend(extra);
    Value::from(document).to_string()
}

/// What GC is told; nothing when there is no list, and then plugins free nothing.
fn gc_keys(valid: Option<&[Attachment]>) -> Map<String, Value> {
    let Some(valid) = valid else {
        return Map::new();
    };
    let valid: Vec<Value> = valid.iter().map(attachment_json).collect();
    // Go's libcni writes the second, misspelt key too, and plugins may read it.
    let keys = ["cni.dev/valid-attachments", "cni.dev/attachments"];
    keys.iter()
        .map(|key| ((*key).to_owned(), json!(valid)))
        .collect()
}

fn attachment_json(attachment: &Attachment) -> Value {
    let Attachment {
        container_id,
        ifname,
    } = attachment;
    json!({"containerID": container_id.as_str(), "ifname": ifname.as_str()})
}

/// What the caller did not say is as it was at ADD.
fn completed(conf: &RuntimeConf, cached: Option<&CachedAttachment>) -> RuntimeConf {
    let mut conf = conf.clone();
    if let Some(cached) = cached {
        if conf.capability_args.is_empty() {
            conf.capability_args = cached.capability_args.clone();
        }
        if conf.args.is_empty() {
            conf.args = cached.args.clone();
        }
    }
    conf
}

/// A plugin's result in the list's version. One without a version is in it already.
fn answer(stdout: &[u8], wanted: Version) -> std::result::Result<Value, cni::Error> {
    let wrong =
        |problem: String| cni::Error::new(Code::DECODE, "result is no JSON").details(problem);
    let mut json = cni::go_json::parse(stdout).map_err(|error| wrong(error.to_string()))?;
    let own = cni::result::version_of(&json)?;
    let result = cni::Result::from_json(&json, own.unwrap_or(wanted))?;
    match own {
        Some(own) if own != wanted => result.to_json(wanted),
        Some(_) => Ok(json),
        None => {
            if let Some(object) = json.as_object_mut() {
                object.insert("cniVersion".into(), wanted.to_string().into());
            }
            Ok(json)
        }
    }
}

/// A cached result for plugins of `wanted`; none if it cannot be read.
fn in_version(json: Value, wanted: Version) -> Option<Value> {
    answer(json.to_string().as_bytes(), wanted).ok()
}

fn failed(list: &NetworkList, plugin: &PluginConfig, command: Command, error: cni::Error) -> Error {
    Error::Plugin {
        plugin: plugin.plugin_type.clone(),
        network: list.name.to_string(),
        command,
        error,
    }
}

/// The first error first.
fn and(first: Error, second: Option<Error>) -> Error {
    match second {
        None => first,
        Some(Error::Several(rest)) => Error::Several(std::iter::once(first).chain(rest).collect()),
        Some(second) => Error::Several(vec![first, second]),
    }
}
