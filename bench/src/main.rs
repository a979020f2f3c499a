//! `bench`: run beside its peers, inside the private host that bench/run.sh makes.
//!
//! `bench runtimes OURS ROUNDS OUTPUT.json FLOOR` or `bench plugins OURS ROUNDS OUTPUT.json`: OURS
//! is the directory with bin/davit and cni/.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the executable"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "writes one report where it was told to"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bench::hooks;
use bench::measure::{Series, rounds};
use bench::plugins::{Chain, Crowd, Pool};
use bench::subjects::{Runtime, floor};
use bench::target::Target;
use serde_json::{Value, json};
use testbed::Rootfs;

const GAP: Duration = Duration::from_millis(20);
/// The kernel takes apart the namespace of the container before: 50 ms and more under the lock that
/// every change of a link needs.
const CHAIN_GAP: Duration = Duration::from_millis(250);
const REFERENCE: &str = "/usr/lib/cni";
const RESERVED: [usize; 4] = [0, 1_000, 10_000, 60_000];
const CROWD: usize = 100;

const CHAIN_ADD: &str = "bridge + host-local + portmap ADD";
const CHAIN_DEL: &str = "bridge + host-local + portmap DEL";
const POOL_ADD: &str = "host-local ADD";
const POOL_DEL: &str = "host-local DEL";
const CROWD_ADD: &str = "chain ADD, many at once";
const CROWD_DEL: &str = "chain DEL, many at once";
const HOOK_CREATE: &str = "hook: one container with a network, create-runtime";
const HOOK_POSTSTOP: &str = "hook: one container with a network, poststop";
/// Each round of a crowd takes seconds.
const HOOK_ROUNDS: usize = 5;

/// Of the "Must show".
const TARGETS: [Target<'static>; 6] = [
    target(CHAIN_ADD, "davit nftables", "reference iptables", 0.1),
    target(CHAIN_DEL, "davit nftables", "reference iptables", 0.1),
    target(POOL_ADD, "davit, 60000 reserved", "davit, 0 reserved", 1.5),
    target(POOL_DEL, "davit, 60000 reserved", "davit, 0 reserved", 1.5),
    target(CROWD_ADD, "100 at once", "davit nftables", 12.0),
    target(HOOK_CREATE, "100 at once", "one", 15.0),
];

const fn target(
    title: &'static str,
    one: &'static str,
    other: &'static str,
    at_most: f64,
) -> Target<'static> {
    Target {
        title,
        one,
        other,
        at_most,
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (measured, output) = match args.as_slice() {
        ["runtimes", ours, count, output, floor] => {
            (runtimes(Path::new(floor), Path::new(ours), count), output)
        }
        ["plugins", ours, count, output] => (plugins(Path::new(ours), count), output),
        _ => {
            eprintln!("usage: bench runtimes OURS ROUNDS OUTPUT.json FLOOR");
            eprintln!("       bench plugins OURS ROUNDS OUTPUT.json");
            return ExitCode::from(2);
        }
    };
    match measured {
        Ok(series) => report(&series, output),
        Err(why) => complain(&why),
    }
}

fn report(series: &[Series], output: &str) -> ExitCode {
    series.iter().for_each(|one| println!("{}", one.table()));
    let judged: Vec<_> = TARGETS
        .iter()
        .filter_map(|target| target.judge(series))
        .collect();
    judged.iter().for_each(|one| println!("{}", one.line()));
    let all = json!({
        "series": series.iter().map(Series::json).collect::<Vec<Value>>(),
        "targets": judged.iter().map(|one| one.json()).collect::<Vec<Value>>(),
    });
    match std::fs::write(output, format!("{all:#}\n")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("write {output}: {error}")),
    }
}

fn complain(why: &str) -> ExitCode {
    eprintln!("bench: {why}");
    ExitCode::FAILURE
}

fn runtimes(floor_program: &Path, ours: &Path, count: &str) -> Result<Vec<Series>, String> {
    let count = count.parse().unwrap_or(25);
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let rootfs = Rootfs::prepare(directory.path()).map_err(|error| error.to_string())?;
    let programs = [
        ours.join("bin/davit"),
        "/usr/bin/crun".into(),
        "/usr/sbin/runc".into(),
    ];
    let there = programs.iter().filter(|program| is_file(program));
    let runtimes = there.map(|program| Runtime::new(program, &rootfs, directory.path()));
    let runtimes = runtimes.collect::<Result<Vec<_>, _>>()?;
    let first = runtimes.first().ok_or("no runtime to measure")?;
    let cgroup = format!("dvt-bench{}-floor", std::process::id());
    let mut running: Vec<_> = runtimes.iter().map(Runtime::run).collect();
    running.push(floor(floor_program, first.rootfs(), None));
    running.push(floor(floor_program, first.rootfs(), Some(cgroup)));
    let mut series = rounds(&["run /bin/true"], running, count, GAP)?;
    let executing = runtimes
        .iter()
        .map(Runtime::exec)
        .collect::<Result<Vec<_>, _>>()?;
    series.extend(rounds(&["exec /bin/true"], executing, count, GAP)?);
    for runtime in &runtimes {
        runtime.stop()?;
    }
    Ok(series)
}

fn plugins(ours: &Path, count: &str) -> Result<Vec<Series>, String> {
    let count = count.parse().unwrap_or(25);
    let directory = tempfile::tempdir_in("/run").map_err(|error| error.to_string())?;
    let data = directory.path();
    let (own, reference) = (ours.join("cni"), PathBuf::from(REFERENCE));
    let suites = [("davit", &own), ("reference", &reference)];
    let there = |path: &Path| is_file(&path.join("bridge"));
    let chains = [
        ("davit nftables", &own, Some("nftables")),
        ("davit iptables", &own, Some("iptables")),
        ("reference iptables", &reference, None),
    ];
    let chains: Vec<Chain> = chains
        .iter()
        .enumerate()
        .filter(|(_, (_, path, _))| there(path))
        .map(|(number, (name, path, backend))| Chain::new(name, path, *backend, number, data))
        .collect();
    let lives = chains.iter().map(Chain::lives).collect();
    let mut series = rounds(&[CHAIN_ADD, CHAIN_DEL], lives, count, CHAIN_GAP)?;
    let sizes = RESERVED.iter().rev();
    let pools = sizes.flat_map(|size| suites.iter().map(move |suite| (*size, suite)));
    let pools = pools.filter(|(_, (_, path))| there(path));
    let pools = pools.map(|(size, (suite, path))| Pool::new(suite, path, size, data));
    let pools = pools.collect::<Result<Vec<_>, _>>()?;
    let lives = pools.iter().map(Pool::lives).collect();
    // The reference takes seconds for each of its large ones.
    series.extend(rounds(&[POOL_ADD, POOL_DEL], lives, count.min(10), GAP)?);
    series.extend(crowds(&own, count.min(10), data)?);
    if is_file(&ours.join("bin/davit-cni")) {
        series.extend(hooks(ours, count.min(HOOK_ROUNDS), data)?);
    }
    Ok(series)
}

/// A hundred containers of ours at once beside a single one, and beside what the processors allow.
fn crowds(own: &Path, count: usize, data: &Path) -> Result<Vec<Series>, String> {
    let chain = |number| Chain::new("davit nftables", own, Some("nftables"), number, data);
    let crowd = Crowd::new(chain(8), CROWD)?;
    let single = chain(9);
    let subjects = vec![crowd.all(), single.lives(), single.floor(CROWD)];
    rounds(&[CROWD_ADD, CROWD_DEL], subjects, count, CHAIN_GAP)
}

/// The same for the hooks of whole containers: plugins, names, hosts files.
fn hooks(ours: &Path, count: usize, data: &Path) -> Result<Vec<Series>, String> {
    let crowd = hooks::Crowd::new(hooks::Hook::new(ours, 0, data)?, CROWD);
    let single = hooks::Single::new(hooks::Hook::new(ours, 1, data)?);
    let subjects = vec![crowd.all(), single.lives(), single.floor(CROWD)];
    rounds(&[HOOK_CREATE, HOOK_POSTSTOP], subjects, count, CHAIN_GAP)
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}
