//! What has to hold at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::host::{ADDRESSES, CONTAINERS, id, init};
use super::totals::Totals;
use crate::leftovers;
use crate::world::HOME;

/// How many strangers live at a time.
pub(super) const STRANGERS: usize = 4;
/// How long a stranger lives, in seconds, and how long he may take to end.
const LIFE: &str = "0.2";
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until `end`.
pub(super) fn look(totals: &Totals, end: Instant) {
    let mut told = BTreeSet::new();
    while Instant::now() < end {
        let mut wrong = unreadable();
        wrong.extend(shared_addresses(totals));
        for what in wrong {
            // The same file or address is wrong at every look.
            if told.insert(what.clone()) {
                totals.wrong(what);
            }
        }
        totals.looks.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Files that others read while they are written, and that are not whole.
fn unreadable() -> Vec<String> {
    let states = (0..CONTAINERS)
        .map(|number| PathBuf::from(format!("/run/davit/{}/state.json", id(number))));
    let mut files: Vec<PathBuf> = states.collect();
    for directory in ["/var/lib/cni/results", "/run/davit-cni/containers"] {
        collect(Path::new(directory), &mut files);
    }
    let broken = |path: &PathBuf| {
        // What is gone was not unreadable.
        let bytes = fs::read(path).ok()?;
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&bytes);
        let error = parsed.err()?;
        Some(format!(
            "{}: {error}: {} bytes",
            path.display(),
            bytes.len()
        ))
    };
    files.iter().filter_map(broken).collect()
}

/// JSON is what is called so, and every result in the cache.
fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, files);
        } else if name.ends_with(".json") || directory.ends_with("results") {
            files.push(path);
        }
    }
}

/// Addresses that two network namespaces have at the same time.
fn shared_addresses(totals: &Totals) -> Vec<String> {
    let own = fs::read_link("/proc/self/ns/net").ok();
    // One process of each namespace.
    let mut namespaces = BTreeMap::new();
    for pid in leftovers::processes() {
        let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        if let Some(namespace) = namespace.filter(|found| Some(found) != own.as_ref()) {
            namespaces.entry(namespace).or_insert(pid.as_raw());
        }
    }
    let mut owners: BTreeMap<String, i32> = BTreeMap::new();
    let mut shared = Vec::new();
    for pid in namespaces.into_values() {
        for address in addresses(pid) {
            totals.addresses.fetch_add(1, Ordering::Relaxed);
            let Some(other) = owners.insert(address.clone(), pid) else {
                continue;
            };
            // He may have lost it since: both have it if he has, and this one, and he still.
            if [other, pid, other]
                .iter()
                .all(|&pid| addresses(pid).contains(&address))
            {
                shared.push(format!("{address} is that of two containers"));
            }
        }
    }
    shared
}

/// Those of our networks, in the namespace of a process.
fn addresses(pid: i32) -> BTreeSet<String> {
    local(&fs::read_to_string(format!("/proc/{pid}/net/fib_trie")).unwrap_or_default())
}

/// Local addresses in a routing trie, each below the line that has it.
fn local(trie: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut last = "";
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line == "/32 host LOCAL" && last.starts_with(ADDRESSES) {
            found.insert(last.to_owned());
        }
    }
    found
}

/// Processes that have nothing to do with any container but a number that one's first process had.
pub(super) fn be_a_stranger(totals: &Totals, end: Instant) {
    let mut number = 0;
    while Instant::now() < end {
        number = (number + 1) % CONTAINERS;
        let is_dead = |pid: &Pid| !Path::new(&format!("/proc/{pid}")).exists();
        let Some(wanted) = init(number).filter(is_dead).map(Pid::as_raw) else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        // The next number after this one (pid_namespaces(7)).
        let _ = fs::write("/proc/sys/kernel/ns_last_pid", (wanted - 1).to_string());
        let mut stranger = Command::new(format!("{HOME}/busybox"));
        let Ok(mut stranger) = stranger.arg0("sleep").arg(LIFE).spawn() else {
            continue;
        };
        if stranger.id().cast_signed() == wanted {
            totals.strangers.fetch_add(1, Ordering::Relaxed);
        }
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match stranger.try_wait() {
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10))
                }
                Ok(status) => break status,
                Err(_) => break None,
            }
        };
        match status.map(|status| status.signal()) {
            Some(None) => {}
            Some(Some(signal)) => totals.wrong(format!(
                "a stranger with number {wanted} got signal {signal}"
            )),
            None => {
                totals.wrong(format!("a stranger with number {wanted} was stopped"));
                let _ = stranger.kill();
                let _ = stranger.wait();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_of_our_networks_are_found() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n\
            Local:\n        |-- 10.97.0.7\n           /32 host LOCAL\n        |-- 10.97.0.255\n           \
            /32 link BROADCAST\n        |-- 127.0.0.1\n           /32 host LOCAL\n";
        assert_eq!(local(trie), BTreeSet::from(["10.97.0.7".to_owned()]));
    }
}
