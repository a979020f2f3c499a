//! `ps`, and what exec does about cgroups and pauses.

use std::time::Duration;

use testbed::{Config, Outcome};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};
use crate::runtime::limits::{Version, directory, version};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F021,
        ps_lists_processes_of_cgroups_below,
        "runc-ps(8): the processes inside a container, wherever it has moved them in its own cgroup"
    ),
    row!(
        Runtime,
        F022,
        ps_prints_a_table_of_the_processes,
        "runc-ps(8): ps CONTAINER [ps options]: those lines of ps(1) that are the container's, -ef without options"
    ),
    row!(
        Runtime,
        F034,
        exec_ignore_paused_waits_for_resume,
        "runc-exec(8): --ignore-paused: allow exec in a paused container"
    ),
    row!(
        Runtime,
        F035,
        exec_joins_a_cgroup_below_the_container_s,
        "runc-exec(8): --cgroup PATH: execute the process in a sub-cgroup, relative to the container's"
    ),
    row!(
        Runtime,
        F035,
        exec_stays_below_the_container_s_cgroup,
        "runc-exec(8): --cgroup: the path must lead to an existing cgroup of the container"
    ),
    row!(
        Runtime,
        F190,
        exec_follows_an_init_that_has_moved,
        "cgroup-v2.rst, no internal process constraint: an init such as systemd's moves, exec must still work"
    ),
];

fn up<'a>(case: &'a Case<'a>) -> Verdict<Container<'a>> {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    Ok(container)
}

/// Makes a cgroup below the container's own in every hierarchy; answers the directories.
fn make_below(container: &Container<'_>, name: &str) -> Verdict<Vec<String>> {
    let mut made = Vec::new();
    for own in container.case.cgroups(container)? {
        let below = format!("{own}/{name}");
        container.case.sh(&format!("mkdir {below}"))?;
        if own.starts_with("/sys/fs/cgroup/cpuset/") {
            // An empty cpuset of version 1 takes nobody.
            let copy = "for f in cpuset.cpus cpuset.mems; do cat ../$f > $f; done";
            container.case.sh(&format!("cd {below}; {copy}"))?;
        }
        made.push(below);
    }
    Ok(made)
}

fn listed(container: &Container<'_>) -> Verdict<Vec<u64>> {
    let ps = container.command(&["ps", "--format", "json"])?;
    Ok(serde_json::from_slice(
        &container.case.call(&ps)?.succeeds()?.stdout,
    )?)
}

fn ps_lists_processes_of_cgroups_below(case: &Case<'_>) -> Verdict {
    version("freezer")?;
    let container = up(case)?;
    let init = container.pid()?;
    ensure_eq!(listed(&container)?, [init], "processes");
    let file = case.path("pid");
    let exec = case.runtime(&[
        "exec",
        "-d",
        "--pid-file",
        &file,
        &container.id,
        "sleep",
        "61",
    ])?;
    case.call(&exec)?.succeeds()?;
    let other: u64 = case.read("pid")?.parse().unwrap_or(0);
    for below in make_below(&container, "below")? {
        case.sh(&format!("echo {other} > {below}/cgroup.procs"))?;
    }
    let mut found = listed(&container)?;
    found.sort_unstable();
    let mut wanted = [init, other];
    wanted.sort_unstable();
    ensure_eq!(found, wanted, "processes with one in a cgroup below");
    Ok(())
}

fn ps_prints_a_table_of_the_processes(case: &Case<'_>) -> Verdict {
    version("freezer")?;
    needs!(testbed::requires::is_installed("ps"), "the program ps");
    let container = up(case)?;
    let init = container.pid()?.to_string();
    let table = |options: &[&str]| -> Verdict<Vec<Vec<String>>> {
        let args = [&["ps", &container.id], options].concat();
        let text = case.call(&case.runtime(&args)?)?.succeeds()?.text();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        Ok(text.lines().map(words).collect())
    };
    let usual = table(&[])?;
    ensure_eq!(usual.len(), 2, "lines of {usual:?}");
    ensure!(
        usual[0].contains(&"PPID".to_owned()),
        "no head of ps -ef: {usual:?}"
    );
    ensure_eq!(usual[1].get(1), Some(&init), "pid in {usual:?}");
    let own = table(&["-e", "-o", "ppid,pid,args"])?;
    ensure_eq!(own[0].join(" "), "PPID PID COMMAND", "head");
    ensure_eq!(own.len(), 2, "lines of {own:?}");
    ensure_eq!(
        own[1][1..].join(" "),
        format!("{init} sleep 60"),
        "line of init"
    );
    let without_pid = case.runtime(&["ps", &container.id, "-e", "-o", "args"])?;
    case.call(&without_pid)?.refuses()?;
    Ok(())
}

fn exec_ignore_paused_waits_for_resume(case: &Case<'_>) -> Verdict {
    version("freezer")?;
    let container = up(case)?;
    case.call(&container.command(&["pause"])?)?.succeeds()?;
    let exec = ["exec", "--ignore-paused", &container.id, "echo", "thawed"];
    let running = case
        .runtime(&exec)?
        .deadline(Duration::from_secs(15))
        .spawn()?;
    std::thread::sleep(Duration::from_millis(700));
    ensure_eq!(container.state()?["status"], "paused", "status meanwhile");
    case.call(&container.command(&["resume"])?)?.succeeds()?;
    ensure_eq!(
        running.wait()?.succeeds()?.text(),
        "thawed",
        "output after resume"
    );
    Ok(())
}

fn exec_in(container: &Container<'_>, cgroups: &[&str], args: &[&str]) -> Verdict<Outcome> {
    let flags = cgroups.iter().flat_map(|cgroup| ["--cgroup", *cgroup]);
    let args = [
        &["exec"],
        &flags.collect::<Vec<_>>()[..],
        &[&container.id],
        args,
    ]
    .concat();
    container.case.call(&container.case.runtime(&args)?)
}

fn exec_joins_a_cgroup_below_the_container_s(case: &Case<'_>) -> Verdict {
    let kind = version("freezer")?;
    let container = up(case)?;
    let wanted = make_below(&container, "sub")?.len();
    let look = &["cat", "/proc/self/cgroup"];
    let seen = |cgroups: &[&str]| -> Verdict<Vec<String>> {
        let text = exec_in(&container, cgroups, look)?.succeeds()?.text();
        let ours = text.lines().filter(|line| line.contains(&container.cgroup));
        Ok(ours.map(str::to_owned).collect())
    };
    let below = format!("{}/sub", container.cgroup);
    let inside = |lines: &[String]| lines.iter().filter(|line| line.ends_with(&below)).count();
    for path in ["sub", "/sub", "sub/"] {
        let lines = seen(&[path])?;
        ensure_eq!(inside(&lines), wanted, "--cgroup {path}: {lines:?}");
    }
    ensure_eq!(inside(&seen(&[])?), 0, "cgroups below without the flag");
    ensure_eq!(inside(&seen(&["/"])?), 0, "cgroups below with --cgroup /");
    if kind == Version::V1 {
        let lines = seen(&["pids,memory:sub", "cpu:/"])?;
        ensure_eq!(
            inside(&lines),
            2,
            "cgroups below of pids and memory: {lines:?}"
        );
    }
    Ok(())
}

fn exec_stays_below_the_container_s_cgroup(case: &Case<'_>) -> Verdict {
    version("freezer")?;
    let container = up(case)?;
    // A sibling whose name begins like the container's.
    let sibling = format!("../{}-twin", container.cgroup.trim_start_matches('/'));
    for own in case.cgroups(&container)? {
        case.sh(&format!("mkdir {own}-twin"))?;
    }
    for path in ["..", "../..", "sub/../..", &sibling, "missing"] {
        exec_in(&container, &[path], &["true"])?.refuses()?;
    }
    exec_in(&container, &[], &["true"])?.succeeds()?;
    Ok(())
}

fn exec_follows_an_init_that_has_moved(case: &Case<'_>) -> Verdict {
    needs!(version("pids")? == Version::V2, "cgroup v2");
    let container = up(case)?;
    let own = directory(&container, "pids")?;
    let pid = container.pid()?;
    case.sh(&format!(
        "mkdir {own}/init; echo {pid} > {own}/init/cgroup.procs; echo +pids > {own}/cgroup.subtree_control"
    ))?;
    let seen = container
        .exec(&["cat", "/proc/self/cgroup"])?
        .succeeds()?
        .text();
    ensure!(
        seen.ends_with(&format!("{}/init", container.cgroup)),
        "exec is in {seen}"
    );
    // Asked for the cgroup itself, which cannot take a process now.
    exec_in(&container, &["/"], &["true"])?.refuses()?;
    Ok(())
}
