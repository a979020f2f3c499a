//! `events`: statistics of a container, and what it is told when memory runs out.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::{Config, Invocation, Outcome};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};
use crate::runtime::limits::version;

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F023,
        events_stats_prints_every_section,
        "runc-events(8): --stats: display the container's stats then exit"
    ),
    row!(
        Runtime,
        F023,
        events_streams_until_the_container_ends,
        "runc-events(8): --interval: the stats collection interval, until the container is gone"
    ),
    row!(
        Runtime,
        F023,
        events_refuses_what_makes_no_sense,
        "runc-events(8) displays information about a running container, at an interval above 0"
    ),
    row!(
        Runtime,
        F024,
        events_tells_when_memory_runs_out,
        "runc-events(8): display container events such as OOM notifications"
    ),
    row!(
        Runtime,
        F025,
        events_has_the_pressure_of_version_2,
        "cgroup-v2.rst: cpu.pressure, memory.pressure, io.pressure; runc prints them as psi"
    ),
];

fn up<'a>(case: &'a Case<'a>, config: Config) -> Verdict<Container<'a>> {
    let container = case.container(config.args(&["sleep", "60"]))?;
    container.up()?;
    Ok(container)
}

fn stats(container: &Container<'_>) -> Verdict<Value> {
    let outcome = container
        .case
        .call(&container.command(&["events", "--stats"])?)?
        .succeeds()?;
    let event: Value = serde_json::from_slice(&outcome.stdout)?;
    ensure_eq!(event["type"], "stats", "type of {event}");
    ensure_eq!(event["id"], container.id, "id of {event}");
    Ok(event["data"].clone())
}

fn events_stats_prints_every_section(case: &Case<'_>) -> Verdict {
    version("memory")?;
    let container = up(
        case,
        Config::new()
            .set("/linux/resources/memory", json!({ "limit": 67_108_864 }))
            .set("/linux/resources/pids", json!({ "limit": 32 })),
    )?;
    container.exec(&[
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do head -c 1000000 /dev/urandom > /tmp/x; done",
    ])?;
    let data = stats(&container)?;
    for pointer in [
        "/cpu/usage/total",
        "/memory/cache",
        "/memory/usage/usage",
        "/memory/usage/limit",
        "/memory/swap/usage",
        "/pids/current",
        "/pids/limit",
    ] {
        let number = data.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        ensure!(number > 0, "{pointer} is not above 0 in {data}");
    }
    ensure_eq!(
        data["memory"]["usage"]["limit"],
        67_108_864,
        "limit of memory"
    );
    ensure_eq!(data["pids"]["limit"], 32, "limit of pids");
    ensure_eq!(data["pids"]["current"], 1, "number of pids");
    for pointer in [
        "/cpu/throttling",
        "/cpuset",
        "/memory/raw",
        "/blkio",
        "/hugetlb",
    ] {
        ensure!(
            data.pointer(pointer).is_some_and(Value::is_object),
            "{pointer} is missing in {data}"
        );
    }
    let raw = data["memory"]["raw"].as_object().map_or(0, |raw| raw.len());
    ensure!(raw > 10, "memory.stat has more than {raw} lines");
    ensure!(data["cpuset"]["cpus"].is_array(), "cpuset.cpus in {data}");
    Ok(())
}

/// The command in the background, its lines going to a file.
fn following(container: &Container<'_>, interval: &str) -> Verdict<(Invocation, String)> {
    let file = container.case.path("events");
    let events = container.command(&["events", "--interval", interval])?;
    let script = format!("exec \"$@\" > {file}");
    let events = events.within(&["sh", "-c", &script, "sh"]);
    Ok((events.deadline(Duration::from_secs(30)), file))
}

fn lines(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn wait_for(file: &str, what: &str, holds: impl Fn(&[String]) -> bool) -> Verdict {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds(&lines(file)) {
        ensure!(
            Instant::now() < deadline,
            "{what}: never in {:?}",
            lines(file)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Ended by itself, not by the deadline.
fn ended(outcome: Outcome) -> Verdict {
    ensure!(
        outcome.code().is_some(),
        "it did not end with the container:\n{outcome}"
    );
    Ok(())
}

fn events_streams_until_the_container_ends(case: &Case<'_>) -> Verdict {
    version("memory")?;
    let container = up(case, Config::new())?;
    let (events, file) = following(&container, "100ms")?;
    let running = events.spawn()?;
    wait_for(&file, "three times stats", |lines| lines.len() >= 3)?;
    container.stop()?;
    container.delete()?.succeeds()?;
    ended(running.wait()?)?;
    for line in lines(&file) {
        let wanted = format!(
            "{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{",
            container.id
        );
        ensure!(line.starts_with(&wanted), "expected {wanted}, got {line}");
        serde_json::from_str::<Value>(&line)?;
    }
    Ok(())
}

fn events_refuses_what_makes_no_sense(case: &Case<'_>) -> Verdict {
    let container = up(case, Config::new())?;
    for interval in ["0s", "soon"] {
        let command = container.command(&["events", "--interval", interval])?;
        case.call(&command.deadline(Duration::from_secs(5)))?
            .refuses()?;
    }
    container.stop()?;
    let answer = case
        .call(&container.command(&["events", "--stats"])?)?
        .refuses()?;
    answer.says(&["not running"])?;
    container.delete()?.succeeds()?;
    case.call(&container.command(&["events"])?)?
        .refuses()?
        .says(&["does not exist"])?;
    Ok(())
}

fn events_tells_when_memory_runs_out(case: &Case<'_>) -> Verdict {
    version("memory")?;
    let memory = json!({ "limit": 33_554_432, "swap": 33_554_432 });
    let container = up(case, Config::new().set("/linux/resources/memory", memory))?;
    let (events, file) = following(&container, "1h")?;
    let running = events.spawn()?;
    // Who watches from now on must be given the time to begin.
    std::thread::sleep(Duration::from_millis(1500));
    ensure_eq!(
        lines(&file),
        Vec::<String>::new(),
        "events before anything happened"
    );
    let hungry = container.exec(&["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"])?;
    ensure!(!hungry.success(), "200 MiB fitted into 32 MiB:\n{hungry}");
    let wanted = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}", container.id);
    wait_for(&file, &wanted, |lines| lines.contains(&wanted))?;
    container.stop()?;
    container.delete()?.succeeds()?;
    ended(running.wait()?)
}

fn events_has_the_pressure_of_version_2(case: &Case<'_>) -> Verdict {
    let accounted = case.holds("cat /sys/fs/cgroup/cgroup.controllers /proc/pressure/cpu")?;
    needs!(accounted, "cgroup v2 with pressure accounting");
    let container = up(case, Config::new())?;
    let data = stats(&container)?;
    for section in ["cpu", "memory", "blkio"] {
        for kind in ["some", "full"] {
            let psi = &data[section]["psi"][kind];
            let complete = ["avg10", "avg60", "avg300", "total"];
            let complete = complete.iter().all(|key| psi[*key].is_number());
            ensure!(complete, "{section}.psi.{kind} is {psi} in {data}");
        }
    }
    let total = |data: &Value| data["cpu"]["psi"]["some"]["total"].as_u64().unwrap_or(0);
    let busy = "for i in 1 2 3 4 5 6; do (timeout 1 sh -c 'while :; do :; done') & done; wait";
    container.exec(&["sh", "-c", busy])?;
    let after = total(&stats(&container)?);
    match after > total(&data) {
        true => Ok(()),
        false => Err(Failure(format!("six busy loops made no pressure: {after}"))),
    }
}
