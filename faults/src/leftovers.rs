//! What there is on a worker's host, as lines: two moments are compared.
//!
//! Everything is read from the kernel's own files, but for rules, which nft lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use crate::tracer::{Command, Plan};
use crate::world::{DIRECTORIES, HOME, World, hierarchies};

/// One line for each thing.
pub(crate) type Things = BTreeSet<String>;

/// How long what is gone may take to be gone: namespaces and links are taken apart by the kernel's
/// own threads.
const PATIENCE: Duration = Duration::from_secs(3);

/// What there is now; `network` looks at links and rules too.
pub(crate) fn all(world: &mut World, network: bool) -> Things {
    world.tracer.reap(Duration::ZERO);
    let mut things = of_host(&world.cgroup, &[Pid::from_raw(1), world.holder]);
    if network {
        of_namespace("self", &mut things);
        of_namespace(&world.holder.to_string(), &mut things);
        rules(&ruleset(world), &mut things);
    }
    things
}

/// Processes but those that are `known`, cgroups, mounts, files.
pub(crate) fn of_host(cgroup: &str, known: &[Pid]) -> Things {
    let mut things = Things::new();
    for pid in processes() {
        if !known.contains(&pid) {
            things.insert(process(pid));
        }
    }
    for hierarchy in hierarchies() {
        directories(&hierarchy.join(cgroup), &mut things);
    }
    for line in lines("/proc/self/mountinfo") {
        let fields: Vec<&str> = line.split(' ').skip(3).collect();
        things.insert(format!("mount {}", fields.join(" ")));
    }
    for directory in DIRECTORIES {
        files(Path::new(directory), &mut things);
    }
    files(&Path::new(HOME).join("bundle"), &mut things);
    things
}

/// What there is when nobody is about to go any more.
pub(crate) fn at_rest(world: &mut World, network: bool) -> Things {
    let started = Instant::now();
    let mut last = all(world, network);
    loop {
        world.tracer.reap(Duration::from_millis(20));
        let now = all(world, network);
        let alone = !now.iter().any(|thing| thing.starts_with("process"));
        if now == last && (alone || started.elapsed() > PATIENCE) {
            return now;
        }
        last = now;
    }
}

/// What is there now and was not, or was and is not; empty when they are the same in the end.
pub(crate) fn since(before: &Things, world: &mut World, network: bool) -> Vec<String> {
    differing(before, world, network, |_| true)
}

/// The same, but for directories: an empty one says nothing of anybody.
pub(crate) fn since_but_directories(
    before: &Things,
    world: &mut World,
    network: bool,
) -> Vec<String> {
    differing(before, world, network, |thing| {
        !["+ directory ", "- directory "]
            .iter()
            .any(|start| thing.starts_with(start))
    })
}

fn differing(
    before: &Things,
    world: &mut World,
    network: bool,
    counts: fn(&str) -> bool,
) -> Vec<String> {
    let started = Instant::now();
    loop {
        let mut different = difference(before, &all(world, network));
        different.retain(|line| counts(line));
        if different.is_empty() || started.elapsed() > PATIENCE {
            return different;
        }
        world.tracer.reap(Duration::from_millis(2));
    }
}

/// What `now` has more (`+ `) and less (`- `).
pub(crate) fn difference(before: &Things, now: &Things) -> Vec<String> {
    let new = now.difference(before).map(|thing| format!("+ {thing}"));
    let gone = before.difference(now).map(|thing| format!("- {thing}"));
    new.chain(gone).collect()
}

/// Every process of the worker's pid namespace.
pub(crate) fn processes() -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .map(Pid::from_raw)
        .collect()
}

fn process(pid: Pid) -> String {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state: String = stat
        .split(' ')
        .skip(1)
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    format!("process {state} {}", line.replace('\0', " ").trim_end())
}

fn directories(top: &Path, things: &mut Things) {
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            things.insert(format!("cgroup {}", entry.path().display()));
            directories(&entry.path(), things);
        }
    }
}

fn files(top: &Path, things: &mut Things) {
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        let path = entry.path();
        if is_a_hint(&path) {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            things.insert(format!("directory {}", path.display()));
            files(&path, things);
        } else {
            things.insert(format!("file {}", path.display()));
        }
    }
}

/// host-local does without these at any time, and makes them again; locks there are as many at most as
/// the cache has; what a GC has noted of somebody who was gone goes a grace later (decision 0064).
fn is_a_hint(path: &Path) -> bool {
    let text = path.to_string_lossy();
    [
        "/last_reserved_ip.",
        "/networks/.davit/",
        "/cni/locks/",
        "/run/davit-cni/stale/",
    ]
    .iter()
    .any(|part| text.contains(part))
}

/// Links, addresses, routes of a process's network namespace.
pub(crate) fn of_namespace(process: &str, things: &mut Things) {
    for (name, field) in [("dev", 0), ("if_inet6", 5)] {
        for line in lines(&format!("/proc/{process}/net/{name}"))
            .iter()
            .skip(usize::from(name == "dev") * 2)
        {
            let found = line.split_whitespace().nth(field).unwrap_or_default();
            things.insert(format!("{name} of {process}: {found}"));
        }
    }
    for line in lines(&format!("/proc/{process}/net/route")).iter().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().take(3).collect();
        things.insert(format!("route of {process}: {}", fields.join(" ")));
    }
    for line in lines(&format!("/proc/{process}/net/arp")).iter().skip(1) {
        things.insert(format!("neighbour of {process}: {line}"));
    }
}

fn ruleset(world: &mut World) -> String {
    let command = Command {
        argv: RULESET.map(str::to_owned).into(),
        ..Command::default()
    };
    match world.tracer.run(&command, Plan::Untraced, &[]) {
        Ok(run) => run.stdout,
        Err(error) => error,
    }
}

/// What prints nftables' rules, which iptables-nft writes too.
pub(crate) const RULESET: [&str; 3] = ["/usr/sbin/nft", "list", "ruleset"];

/// Rules as they were printed, without handles and counters, which are the kernel's.
pub(crate) fn rules(text: &str, things: &mut Things) {
    let mut chain = String::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("table") || line.starts_with("chain") {
            chain = line.to_owned();
        }
        let words: Vec<&str> = line.split(' ').collect();
        let mut shown = Vec::new();
        let mut index = 0;
        while let Some(word) = words.get(index) {
            shown.push(*word);
            index += if *word == "counter" && words.get(index + 1) == Some(&"packets") {
                5
            } else {
                1
            };
        }
        // The same rule twice is two things.
        let mut rule = format!("rule {chain} {}", shown.join(" "));
        while !things.insert(rule.clone()) {
            rule.push_str(" again");
        }
    }
}

fn lines(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
