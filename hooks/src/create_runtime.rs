//! The `createRuntime` hook: attaches the container to every network of its annotations.
//!
//! It runs in the runtime's namespaces before pivot_root, with the container's process waiting.
//! Everything is read and refused first; then networks are attached in order, and the container's
//! files and its neighbours' are written. If anything fails, all that this call did is undone, in
//! reverse, so that the runtime can give up. A container of the same ID that still lives, perhaps
//! under another runtime, is left alone.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use libcni::sandbox::{self, Life};
use libcni::{CachedAttachment, Caller, NetworkList};

use crate::annotations::{
    self, ALIASES, ExtraHost, FILES, HOST_GATEWAY, HOSTS, HostAddress, NETWORKS, PORTS, Wanted,
};
use crate::args::Place;
use crate::attach::{self, Attached, Step, Subject};
use crate::block::OURS;
use crate::inject::BUNDLE_FILES;
use crate::kept_files::{self, KeptFiles};
use crate::poststop::UNCLEAR_RECORD;
use crate::record::{Membership, Record, Records};
use crate::state::State;
use crate::timings::Timings;
use crate::{host_ports, neighbours, poststop, privileges, resolv_conf};

/// Attaches the container.
pub fn run(place: &Place, state: &State) -> anyhow::Result<()> {
    annotations::refuse_unknown(&state.annotations)?;
    let wanted = Wanted::parse(&state.annotations)?;
    ensure!(
        wanted.ports.is_empty() || !wanted.networks.is_empty(),
        "annotation {PORTS} needs {NETWORKS}"
    );
    if wanted.is_nothing() {
        return Ok(());
    }
    let mut timings = Timings::new(place.log.as_deref(), format!("create-runtime {}", state.id));
    let mut job = timings.step("plan", || Job::new(place, state, &wanted))?;
    let mut timings_of_all = timings.clone();
    timings_of_all.step("all", || job.run(&mut timings))
}

/// All that is known before the first side effect.
struct Job<'a> {
    place: &'a Place,
    caller: Caller,
    state: &'a State,
    wanted: &'a Wanted,
    plan: Vec<Step>,
    records: Records,
    record: Record,
    /// What an earlier container of the same ID left and could not be removed.
    stale: Vec<String>,
}

impl<'a> Job<'a> {
    /// Reads and refuses.
    fn new(place: &'a Place, state: &'a State, wanted: &'a Wanted) -> anyhow::Result<Self> {
        let pid = state
            .pid
            .context("OCI state has no pid: the container's process is not there")?;
        let netns = format!("/proc/{pid}/ns/net");
        let plan = plan(place, state, wanted, &netns)?;
        if !plan.is_empty() {
            privileges::refuse_rootless(!wanted.ports.is_empty())?;
            host_ports::refuse(&wanted.ports).with_context(|| format!("annotation {PORTS}"))?;
        }
        let records = Records::new(&place.state_dir);
        let name = wanted.name.clone().unwrap_or_else(|| state.id.to_string());
        let files = match &wanted.files {
            Some(files) => own_files(files, state, &records)?,
            None => records.dir(&state.id),
        };
        let record = Record {
            id: state.id.to_string(),
            hostname: state.hostname().unwrap_or_else(|| name.clone()),
            name,
            sandbox: sandbox::identify(&netns)?.unwrap_or_default(),
            netns,
            files,
            networks: Vec::new(),
            hosts: Vec::new(),
        };
        refuse_too_long(&record, wanted)?;
        Ok(Self {
            place,
            caller: place.caller(),
            state,
            wanted,
            plan,
            records,
            record,
            stale: Vec::new(),
        })
    }

    fn run(&mut self, timings: &mut Timings) -> anyhow::Result<()> {
        timings.step("remove what is stale", || self.remove_stale())?;
        self.claim()?;
        let attached = attach::attach(&self.caller, &self.plan, timings);
        let attached = attached.map_err(|error| {
            let error = attach::with_stuck(error, "left by an earlier container", &self.stale);
            self.undo(&[], self.explained(error), timings)
        })?;
        let named = self.name(&attached, timings);
        named.map_err(|error| self.undo(&attached, error, timings))
    }

    /// Writes the record while no `gc` looks at it, and no other create of the same ID: of two, the
    /// second finds the record of the first and goes without having touched anything.
    fn claim(&self) -> anyhow::Result<()> {
        let (id, caller) = (&self.state.id, &self.caller);
        let _held = caller.cache.lock_container(id, caller.patience)?;
        self.refuse_living()?;
        if let Some(other) = self.records.read(id)? {
            ensure!(
                other.sandbox == self.record.sandbox || !other.lives(),
                "{}",
                told_living(&other)
            );
        }
        self.refuse_shared_files()?;
        self.records.write(id, &self.record)
    }

    /// Two containers of one bundle would each read the other's names as their own.
    fn refuse_shared_files(&self) -> anyhow::Result<()> {
        let own = &self.record;
        if self.wanted.files.is_none() {
            return Ok(());
        }
        let shares = |other: &Record| other.id != own.id && other.files == own.files;
        let living = self.records.living()?.into_iter();
        match living.filter(Record::lives).find(shares) {
            Some(other) => bail!(
                "annotation {FILES}: container {} lives and has its files in {:?} (a bundle serves one \
                 container at a time, unless davit-cni inject --id is told whom)",
                other.id,
                own.files
            ),
            None => Ok(()),
        }
    }

    /// What is attached under this ID and lives, perhaps under another runtime.
    fn refuse_living(&self) -> anyhow::Result<Vec<CachedAttachment>> {
        let cached = poststop::cached(&self.caller, &self.state.id)?;
        for each in &cached {
            let (attachment, netns) = (&each.attachment, &each.netns);
            ensure!(
                !poststop::may_live(&self.caller, each)?,
                "{attachment} is attached already, inside {netns}"
            );
        }
        Ok(cached)
    }

    /// What a crash or a reboot without poststop left. What stays stuck will be told by the ADD
    /// that it hinders.
    fn remove_stale(&mut self) -> anyhow::Result<()> {
        let cached = self.refuse_living()?;
        self.stale = poststop::detach_all(self.place, &self.caller, &cached);
        Ok(())
    }

    /// Gives the container and its neighbours their files.
    fn name(&mut self, attached: &[Attached], timings: &mut Timings) -> anyhow::Result<()> {
        self.record.networks = self.memberships(attached);
        self.record.hosts = extra_hosts(&self.wanted.hosts, attached)?;
        timings.step("own files", || self.complete(attached))?;
        timings.step("hosts files", || {
            neighbours::refresh(&self.place.state_dir, self.state.id.as_str())
        })
    }

    /// The container has its files and the claim becomes whole, unless a delete or another create
    /// has taken its place meanwhile: then the files are the other's.
    fn complete(&self, attached: &[Attached]) -> anyhow::Result<()> {
        let (id, caller) = (&self.state.id, &self.caller);
        let _held = caller.cache.lock_container(id, caller.patience)?;
        let claimed = self.records.read(id)?;
        ensure!(
            claimed.is_some_and(|claimed| claimed.sandbox == self.record.sandbox),
            "container {id} was deleted while it was attached"
        );
        self.write_own_files(attached)?;
        self.records.write(id, &self.record)
    }

    fn memberships(&self, attached: &[Attached]) -> Vec<Membership> {
        let networks = attached.iter().zip(&self.wanted.networks);
        let membership = |(one, wanted): (&Attached, &crate::annotations::WantedNetwork)| {
            let addresses = one.result.ips.iter().map(|ip| ip.address.addr());
            let aliases = wanted.aliases.iter().chain(&self.wanted.aliases);
            Membership {
                network: wanted.name.to_string(),
                ifname: one.step.conf.attachment.ifname.to_string(),
                addresses: addresses.collect(),
                aliases: aliases.cloned().collect(),
            }
        };
        networks.map(membership).collect()
    }

    fn write_own_files(&self, attached: &[Attached]) -> anyhow::Result<()> {
        let Record {
            files: path,
            hostname,
            ..
        } = &self.record;
        let files = KeptFiles::open_or_create(path);
        let files = files.with_context(|| format!("files in {}", path.display()))?;
        for name in [
            kept_files::HOSTS,
            kept_files::RESOLV_CONF,
            kept_files::HOSTNAME,
        ] {
            files.ensure(name)?;
        }
        let results: Vec<_> = attached.iter().map(|one| &one.result.dns).collect();
        let dns = resolv_conf::block(&self.wanted.dns, &results, &resolv_conf::Host::look());
        files.change(kept_files::RESOLV_CONF, |old| OURS.replace(old, &dns))?;
        let hostname = format!("{hostname}\n").into_bytes();
        Ok(files.change(kept_files::HOSTNAME, |_| hostname)?)
    }

    /// The ordinary way out, and the error with what stays stuck.
    fn undo(
        &self,
        attached: &[Attached],
        error: anyhow::Error,
        timings: &mut Timings,
    ) -> anyhow::Error {
        let mut stuck = attach::detach(&self.caller, attached, timings);
        let left = poststop::leave(self.place, &self.state.id, |record| {
            record.sandbox == self.record.sandbox
        });
        stuck.extend(left.err().map(|error| format!("{error:#}")));
        attach::with_stuck(error, "undo", &stuck)
    }

    /// The usual reason why plugins refuse a namespace, asked only when one did.
    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        match sandbox::is_own(&self.record.netns) {
            true => error.context(
                "the container has no network namespace of its own (config.json /linux/namespaces)",
            ),
            false => error,
        }
    }
}

fn told_living(other: &Record) -> String {
    let Record { id, netns, .. } = other;
    match other.life() {
        Ok(Some(Life::Unclear)) => {
            format!("container {id} has a record already, of {netns}: {UNCLEAR_RECORD}")
        }
        _ => format!("container {id} lives already, inside {netns}"),
    }
}

/// Every network's aliases and every host are in the record, which must be readable again.
fn refuse_too_long(record: &Record, wanted: &Wanted) -> anyhow::Result<()> {
    let networks = wanted.networks.iter().map(|network| Membership {
        network: network.name.to_string(),
        ifname: String::new(),
        addresses: Vec::new(),
        aliases: network
            .aliases
            .iter()
            .chain(&wanted.aliases)
            .cloned()
            .collect(),
    });
    let longest = std::net::IpAddr::from([0xffff_u16; 8]);
    let mut whole = Record {
        networks: networks.collect(),
        ..record.clone()
    };
    ensure!(
        !whole.is_too_long(),
        "annotation {ALIASES}: too many names for the container's record"
    );
    let hosts = wanted.hosts.iter();
    whole.hosts = hosts.map(|host| (host.name.clone(), longest)).collect();
    ensure!(
        !whole.is_too_long(),
        "annotation {HOSTS}: too many hosts for the container's record"
    );
    Ok(())
}

/// Which list is run with what.
fn plan(place: &Place, state: &State, wanted: &Wanted, netns: &str) -> anyhow::Result<Vec<Step>> {
    let names = wanted.networks.iter().map(|network| &network.name);
    let lists = names.map(|name| NetworkList::load(&place.net_dir, name.as_str()));
    let lists = lists.collect::<Result<Vec<_>, _>>()?;
    let subject = Subject {
        id: state.id.clone(),
        netns: netns.to_owned(),
        args: vec![("IgnoreUnknown".to_owned(), "1".to_owned())],
    };
    attach::plan(lists, wanted, &subject)
}

/// The extra hosts with their addresses; the gateway is that of the first network.
fn extra_hosts(
    hosts: &[ExtraHost],
    attached: &[Attached],
) -> anyhow::Result<Vec<(String, std::net::IpAddr)>> {
    let ips = attached.first().map_or(&[][..], |first| &first.result.ips);
    let mut gateways: Vec<_> = ips.iter().filter_map(|ip| ip.gateway).collect();
    gateways.sort_by_key(|gateway| gateway.is_ipv6());
    let address = |host: &ExtraHost| match host.address {
        HostAddress::Ip(ip) => Ok((host.name.clone(), ip)),
        HostAddress::Gateway => {
            let gateway = gateways.first().with_context(|| {
                format!("annotation {HOSTS}: {HOST_GATEWAY}: the first network has no gateway")
            });
            Ok((host.name.clone(), *gateway?))
        }
    };
    hosts.iter().map(address).collect()
}

/// The directory of the annotation, which must be this container's own: who may set annotations
/// must not have us write hosts and resolv.conf, as root, into any other.
fn own_files(files: &Path, state: &State, records: &Records) -> anyhow::Result<PathBuf> {
    let own = records.absolute_dir(&state.id)?;
    ensure!(
        files == own || is_of_bundle(files, state),
        "annotation {FILES}: {files:?} is neither \"{BUNDLE_FILES}\" in the bundle nor {own:?} \
         (davit-cni inject, with --id where the bundle is copied, sets it)"
    );
    Ok(files.to_owned())
}

fn is_of_bundle(files: &Path, state: &State) -> bool {
    let identity = |path: &Path| path.metadata().map(|meta| (meta.dev(), meta.ino())).ok();
    let (Some(parent), Some(bundle)) = (files.parent(), &state.bundle) else {
        return false;
    };
    let bundle = identity(bundle);
    files.ends_with(BUNDLE_FILES) && bundle.is_some() && identity(parent) == bundle
}
