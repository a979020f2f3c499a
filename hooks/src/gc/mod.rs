//! Frees what dead containers left, from a timer or by hand, beside adds that are under way.
//!
//! An attachment is dead when its namespace is gone. With runtime roots it is dead too when the
//! process that a runtime remembers of it is gone, something else holding the namespace, or when no
//! runtime knows its container. The last proves nothing against a process that is there: whoever
//! forgot a root would cut off all that run below it, so it takes `--force`. With a network and
//! nothing else this is cnitool's `gc`: everything cached for that network goes, the living too.
//!
//! Promises: what cannot be judged stays; a root that cannot be is an error, behind the work that
//! needs no runtime's word. What was attached after the runtimes
//! were looked at, or less than the grace before, stays. What plugins know and no cache does stays
//! until they have known it for the grace: other callers write their cache last (decision 0064).
//! Every decision is made while no other
//! operation runs (`libcni`'s lock); one container's failure keeps nobody else's from being
//! freed. A dry run changes nothing: it is the doctor.

mod others; // callers that take no lock of ours
mod report; // what became of what, and how it is printed
pub mod runtimes; // which containers the runtimes know
mod sweep; // records, and files that killed writers left

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use clap::{Arg, ArgAction, ArgMatches, Command};
use libcni::{CachedAttachment, Caller, Error, Keep, NetworkList, sandbox};

use self::report::{Fate, Item, Report};
use self::runtimes::{Life, Runtimes};
use crate::args::{self, Format, Place};
use crate::{Answer, poststop, too_old};

/// What to free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Only this network.
    pub network: Option<String>,
    /// State directories of runtimes.
    pub roots: Vec<PathBuf>,
    /// How old an attachment must be before a runtime has to know its container.
    pub grace: Duration,
    /// Free also whose process is there, if no runtime knows it.
    pub is_forced: bool,
    /// Only say what would be done.
    pub is_dry: bool,
    /// How the report is printed.
    pub format: Format,
}

const GRACE: &str = "60";
const LONG: &str = "\
Frees what dead containers left: attachments whose network namespace is gone, with every network's
plugins (GC), records below the state directory, and files of killed writers.

With --runtime-root also those whose container none of the given runtimes knows any more, or whose
process is gone. Give the root of every runtime that has containers with networks: whom nobody lists
is dead, unless the process that it was attached for is there; --force frees that one too. Containers
attached by hand, under cnitool's IDs, are known to no runtime and stay. A root that is no runtime's is
an error, and then only what has lost its namespace is freed.

Rules, links and addresses that no cache knows may be of an add that containerd, CRI-O or nerdctl has
under way: davit's plugins note them, and free them when a later gc finds them older than the grace.
With --grace 0 they go at once.

With NETWORK alone everything of that network is freed, the living too, as cnitool does it.
--dry-run is the doctor: it tells what is left over and why, and changes nothing.";
const EXAMPLES: &str = "\
Examples:
  davit-cni gc --dry-run
  davit-cni gc --runtime-root /run/davit --runtime-root /run/runc --grace 120
  davit-cni gc --runtime-root /run/containerd/io.containerd.runtime.v2.task --output json";

/// The sub-command.
pub fn command() -> Command {
    let root = Arg::new("runtime-root")
        .long("runtime-root")
        .value_name("DIR")
        .action(ArgAction::Append)
        .value_parser(clap::value_parser!(PathBuf))
        .help("state directory of davit, runc or crun, or containerd's of tasks; may be repeated");
    let grace = Arg::new("grace")
        .long("grace")
        .value_name("SECONDS")
        .default_value(GRACE)
        .value_parser(clap::value_parser!(u64))
        .help(
            "leave alone what is younger, where a runtime would have to know it or no cache does",
        );
    let force = Arg::new("force")
        .long("force")
        .requires("runtime-root")
        .action(ArgAction::SetTrue);
    let dry = Arg::new("dry-run")
        .long("dry-run")
        .short('n')
        .action(ArgAction::SetTrue);
    Command::new("gc")
        .about("free what dead containers left; everything of NETWORK if one is given")
        .long_about(LONG)
        .after_help(EXAMPLES)
        .args([
            Arg::new("NETWORK").help("only this network"),
            Arg::new("NETNS").hide(true), // cnitool takes it and does not look at it
            args::ifname().hide(true),
            root,
            grace,
            force.help("free also a running process's networks, if no given runtime knows it"),
            dry.help("change nothing; say what would be freed, and why the rest stays"),
            args::output(&["table", "json"]),
        ])
}

/// Its options.
pub fn options(matches: &ArgMatches) -> Options {
    let roots = matches.get_many::<PathBuf>("runtime-root");
    let grace = matches.get_one::<u64>("grace").copied().unwrap_or(60);
    Options {
        network: matches.get_one::<String>("NETWORK").cloned(),
        roots: roots.into_iter().flatten().cloned().collect(),
        grace: Duration::from_secs(grace),
        is_forced: matches.get_flag("force"),
        is_dry: matches.get_flag("dry-run"),
        format: Format::of(matches),
    }
}

/// Frees. The report is the answer, also when something failed.
pub fn run(place: &Place, options: &Options) -> anyhow::Result<Answer> {
    // Before the runtimes are looked at: what is attached from here on is too young.
    let judge = Judge {
        moment: SystemTime::now(),
        stale_before: sys::clock::since_boot()
            .saturating_sub(options.grace)
            .as_secs(),
        runtimes: match &options.roots[..] {
            [] => None,
            roots => Some(Runtimes::look(roots)),
        },
        options,
        caller: place.caller(),
    };
    let (mut lists, broken) = lists(place, options)?;
    let asked = lists.iter().filter(|list| !list.disable_gc);
    too_old::tell(asked, cni::Command::Gc);
    if options.network.is_none() {
        add_cached_lists(&mut lists, &judge.caller.cache.entries()?);
    }
    let mut report = Report::default();
    let complaints = judge.runtimes.iter().flat_map(Runtimes::complaints);
    report.errors.extend(complaints);
    // Before libcni's own sweep, which tells nobody.
    sweep::sweep_results(&judge, &mut report)?;
    let nerdctl = match options.is_dry {
        true => None, // it would keep a hook waiting
        false => others::lock(&place.net_dir, judge.caller.patience)?,
    };
    for list in &lists {
        judge.collect(list, &mut report);
    }
    drop(nerdctl);
    if !options.is_dry {
        others::forget_used(&lists, judge.stale_before)?;
    }
    if options.network.is_none() {
        judge.tell_orphans(&lists, &broken, &mut report)?;
        sweep::run(place, &judge, &mut report)?;
    }
    let failure = report.failure().map(|text| anyhow!("gc: {text}"));
    Ok(Answer {
        text: report.print(options.format),
        failure,
    })
}

/// The networks that are asked for, and files that may be others'.
fn lists(place: &Place, options: &Options) -> Result<(Vec<NetworkList>, Vec<Error>), Error> {
    match &options.network {
        Some(network) => {
            let list = NetworkList::load(&place.net_dir, network)?;
            Ok((vec![list], Vec::new()))
        }
        None => NetworkList::load_all(&place.net_dir),
    }
}

/// Networks whose file was removed still have attachments, each with the list of its ADD.
fn add_cached_lists(lists: &mut Vec<NetworkList>, cached: &[CachedAttachment]) {
    for list in cached.iter().filter_map(CachedAttachment::list) {
        if lists.iter().all(|other| other.name != list.name) {
            lists.push(list);
        }
    }
}

/// Whether something stays, and why.
struct Verdict {
    stays: bool,
    reason: String,
}

impl Verdict {
    fn stays(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            stays: true,
            reason,
        }
    }

    fn goes(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self {
            stays: false,
            reason,
        }
    }
}

struct Judge<'a> {
    moment: SystemTime,
    /// The grace ago, in seconds since this boot.
    stale_before: u64,
    runtimes: Option<Runtimes>,
    options: &'a Options,
    caller: Caller,
}

impl Judge<'_> {
    /// One network.
    fn collect(&self, list: &NetworkList, report: &mut Report) {
        let judged = RefCell::new(Vec::new());
        let stays = |each: &CachedAttachment| {
            let verdict = self.verdict(each)?;
            let stays = verdict.stays;
            judged.borrow_mut().push((each.clone(), verdict));
            Ok(stays)
        };
        let ended = match self.options.is_dry || list.disable_gc {
            true => self.judge_only(list, &stays),
            false => self.caller.gc(list, self.keep(&stays)),
        };
        if let Err(error) = ended {
            report.errors.push(error.to_string());
        }
        for (cached, verdict) in judged.into_inner() {
            let fate = self.fate(list, &cached, &verdict);
            let reason = match list.disable_gc && !verdict.stays {
                true => format!("{}; its network has disableGC", verdict.reason),
                false => verdict.reason,
            };
            report
                .items
                .push(Item::attachment(&cached, fate).because(reason));
        }
    }

    /// What is in no cache has no verdict, so it has a grace: other callers' adds are under way.
    /// None when everything was asked for.
    fn keep<'k>(&self, stays: &'k dyn Fn(&CachedAttachment) -> Result<bool, Error>) -> Keep<'k> {
        let has_grace = !self.is_cnitools() && !self.options.grace.is_zero();
        Keep::Judged {
            stays,
            stale_before: has_grace.then_some(self.stale_before),
        }
    }

    /// Whether everything of one network is to go.
    fn is_cnitools(&self) -> bool {
        self.options.network.is_some() && self.runtimes.is_none()
    }

    /// The same decisions without a lock, which would be a file.
    fn judge_only(
        &self,
        list: &NetworkList,
        stays: &dyn Fn(&CachedAttachment) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let cached = self.caller.cache.entries()?;
        let mut own = cached.iter().filter(|each| each.network == list.name);
        own.try_for_each(|each| stays(each).map(|_| ()))
    }

    /// What a verdict came to: an attachment that is still cached was not freed.
    fn fate(&self, list: &NetworkList, cached: &CachedAttachment, verdict: &Verdict) -> Fate {
        if verdict.stays || list.disable_gc {
            return Fate::Kept;
        }
        if self.options.is_dry {
            return Fate::WouldGo;
        }
        let cache = &self.caller.cache;
        match cache.read(&cached.network, &cached.attachment) {
            Ok(None) => Fate::Freed,
            _ => Fate::Failed,
        }
    }

    fn verdict(&self, cached: &CachedAttachment) -> Result<Verdict, Error> {
        if self.is_cnitools() {
            return Ok(Verdict::goes("everything of the network was asked for"));
        }
        let life = cached.life()?;
        if life == Some(sandbox::Life::Gone) {
            return Ok(Verdict::goes("its namespace is gone"));
        }
        if life == Some(sandbox::Life::Unclear) && !self.is_forced_upon(cached) {
            return Ok(Verdict::stays(poststop::UNCLEAR));
        }
        let Some(runtimes) = &self.runtimes else {
            return Ok(match cached.netns.as_str() {
                "" => Verdict::stays("it does not say which namespace it has"),
                _ => Verdict::stays("its namespace is there"),
            });
        };
        if cached.attachment.container_id.as_str().starts_with(BY_HAND) {
            return Ok(Verdict::stays("made by hand: its namespace is there"));
        }
        let verdict = match runtimes.life(cached.attachment.container_id.as_str()) {
            Life::Lives(reason) | Life::Unclear(reason) => return Ok(Verdict::stays(reason)),
            Life::Dead(reason) => Verdict::goes(reason),
            Life::Unknown if !self.options.is_forced && cached.is_process() => {
                return Ok(Verdict::stays(PROCESS_THERE));
            }
            Life::Unknown => Verdict::goes("no runtime knows its container"),
        };
        let written = self.caller.cache.written(cached)?;
        if written.is_some_and(|written| self.is_young(written)) {
            return Ok(Verdict::stays(format!(
                "{}, but it is younger than the grace",
                verdict.reason
            )));
        }
        Ok(verdict)
    }

    /// Whether somebody goes who cannot be seen. The pids that runtimes remember may be of that
    /// other namespace too, so it must be one whom no runtime knows.
    fn is_forced_upon(&self, cached: &CachedAttachment) -> bool {
        let id = cached.attachment.container_id.as_str();
        let life = self.runtimes.as_ref().map(|runtimes| runtimes.life(id));
        self.options.is_forced && life == Some(Life::Unknown)
    }

    /// Whether something of this time may belong to a container that is just being made.
    fn is_young(&self, written: SystemTime) -> bool {
        // `written` is a whole second, so it may have been up to one later, behind the moment.
        self.age(written) < self.options.grace + Duration::from_secs(1)
    }

    fn age(&self, written: SystemTime) -> Duration {
        self.moment.duration_since(written).unwrap_or_default()
    }

    /// What no list reaches.
    fn tell_orphans(
        &self,
        lists: &[NetworkList],
        broken: &[Error],
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for cached in self.caller.cache.entries()? {
            if lists.iter().any(|list| list.name == cached.network) {
                continue;
            }
            let (attachment, network) = (&cached.attachment, &cached.network);
            report.errors.push(format!(
                "{attachment}: no configuration of network {network}"
            ));
            report.errors.extend(broken.iter().map(ToString::to_string));
            report
                .items
                .push(Item::attachment(&cached, Fate::Failed).because("no configuration"));
        }
        for file in self.caller.cache.damaged()? {
            let reason = "damaged: what it may stand for is left alone until it is removed";
            report
                .items
                .push(Item::file(file, Fate::Kept).because(reason));
        }
        Ok(())
    }
}

/// Why what no runtime knows may stay.
const PROCESS_THERE: &str =
    "no runtime knows its container, but its process is there: --force frees it";

/// How `by_hand` and cnitool name what no runtime knows.
const BY_HAND: &str = "cnitool-";
