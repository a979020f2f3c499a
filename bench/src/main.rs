//! `bench`: run beside its peers, inside the private host that bench/run.sh makes.
//!
//! `bench FLOOR OURS ROUNDS OUTPUT.json`: OURS is the directory with bin/davit and cni/.
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

use bench::measure::{Series, rounds};
use bench::subjects::{Chain, Runtime, floor};
use serde_json::Value;
use testbed::Rootfs;

const GAP: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [floor, ours, count, output] = args.as_slice() else {
        eprintln!("usage: bench FLOOR OURS ROUNDS OUTPUT.json");
        return ExitCode::from(2);
    };
    let count = count.parse().unwrap_or(25);
    match measured(Path::new(floor), Path::new(ours), count) {
        Ok(series) => {
            series.iter().for_each(|one| println!("{}", one.table()));
            let all = Value::Array(series.iter().map(Series::json).collect());
            match std::fs::write(output, format!("{all:#}\n")) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => complain(&format!("write {output}: {error}")),
            }
        }
        Err(why) => complain(&why),
    }
}

fn complain(why: &str) -> ExitCode {
    eprintln!("bench: {why}");
    ExitCode::FAILURE
}

fn measured(floor_program: &Path, ours: &Path, count: usize) -> Result<Vec<Series>, String> {
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
    let mut series = vec![rounds("run /bin/true", running, count, GAP)?];
    let executing = runtimes
        .iter()
        .map(Runtime::exec)
        .collect::<Result<Vec<_>, _>>()?;
    series.push(rounds("exec /bin/true", executing, count, GAP)?);
    for runtime in &runtimes {
        runtime.stop()?;
    }
    series.extend(plugins(ours, directory.path(), count)?);
    Ok(series)
}

fn plugins(ours: &Path, data: &Path, count: usize) -> Result<Vec<Series>, String> {
    let own = ours.join("cni");
    let reference = PathBuf::from("/usr/lib/cni");
    let chains = [
        ("davit nftables", &own, Some("nftables")),
        ("davit iptables", &own, Some("iptables")),
        ("reference iptables", &reference, None),
    ];
    let there = chains
        .iter()
        .enumerate()
        .filter(|(_, (_, path, _))| is_file(&path.join("bridge")));
    let chains: Vec<Chain> = there
        .map(|(number, (name, path, backend))| Chain::new(name, path, *backend, number, data))
        .collect();
    let adds = chains.iter().map(Chain::add).collect();
    let dels = chains.iter().map(Chain::del).collect();
    let title = "bridge + host-local + portmap";
    Ok(vec![
        rounds(&format!("{title} ADD"), adds, count, GAP)?,
        rounds(&format!("{title} DEL"), dels, count, GAP)?,
    ])
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}
