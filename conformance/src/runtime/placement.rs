//! Which clocks, processors, memory and bandwidth a process has.

use serde_json::{Value, json};
use testbed::Config;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, lacking, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F104,
        the_clocks_of_a_time_namespace_are_offset,
        "config-linux.md: timeOffsets: sets the offset for Time Namespace"
    ),
    row!(
        Runtime,
        F105,
        clock_offsets_without_a_time_namespace_are_refused,
        "runc: time namespace offsets specified, but time namespace isn't enabled in the config"
    ),
    row!(
        Runtime,
        F105,
        a_clock_that_cannot_be_offset_is_refused,
        "time_namespaces(7): the clocks monotonic and boottime alone have offsets"
    ),
    row!(
        Runtime,
        F122,
        the_io_priority_is_set_for_the_whole_group,
        "config.md: ioPriority: configures the I/O priority settings for the container's processes within the process group"
    ),
    row!(
        Runtime,
        F122,
        a_bad_io_priority_is_refused,
        "config.md: ioPriority: priority: in the range of 0 to 7"
    ),
    row!(
        Runtime,
        F123,
        exec_runs_on_the_processors_asked_for,
        "config.md: execCPUAffinity: final: CPU affinity a process will be in after being moved to the cgroup"
    ),
    row!(
        Runtime,
        F123,
        a_bad_list_of_processors_is_refused,
        "config.md: execCPUAffinity: a list of CPUs in the format of cpuset(7)"
    ),
    row!(
        Runtime,
        F126,
        the_memory_policy_is_set_in_every_mode,
        "config-linux.md: memoryPolicy: mode, nodes, flags as set_mempolicy(2) has them"
    ),
    row!(
        Runtime,
        F126,
        a_memory_policy_that_makes_no_sense_is_refused,
        "config-linux.md: memoryPolicy: nodes: must be empty for MPOL_DEFAULT and MPOL_LOCAL"
    ),
    row!(
        Runtime,
        F126,
        exec_has_the_memory_policy_and_the_domain_of_the_container,
        "config-linux.md: memoryPolicy and personality are the container's, so of each of its processes"
    ),
    row!(
        Runtime,
        F226,
        a_class_of_service_without_resctrl_is_refused,
        "config-linux.md: intelRdt; runc: intelRdt is specified in config, but Intel RDT is not enabled"
    ),
    row!(
        Runtime,
        F226,
        a_class_of_service_is_made_and_removed,
        "config-linux.md: intelRdt: closID, schemata, enableMonitoring; delete removes what create made"
    ),
];

fn in_time_namespace(offsets: Value) -> Config {
    Config::new()
        .push("/linux/namespaces", json!({ "type": "time" }))
        .set("/linux/timeOffsets", offsets)
}

fn the_clocks_of_a_time_namespace_are_offset(case: &Case<'_>) -> Verdict {
    let has = std::fs::metadata("/proc/self/ns/time").is_ok();
    needs!(has, "time namespaces (Linux 5.6)");
    let offsets =
        json!({ "boottime": { "secs": 7200, "nanosecs": 5 }, "monotonic": { "secs": 3600 } });
    let script = "tr -s ' ' </proc/self/timens_offsets; cut -d. -f1 /proc/uptime";
    let text = case
        .container(in_time_namespace(offsets).sh(script))?
        .output()?;
    let host: u64 = case
        .sh("cut -d. -f1 /proc/uptime")?
        .parse()
        .map_err(|_| Failure("uptime".into()))?;
    for line in ["monotonic 3600 0", "boottime 7200 5"] {
        ensure!(
            text.lines().any(|found| found.trim() == line),
            "no {line:?} in {text:?}"
        );
    }
    let inside: u64 = text.lines().last().unwrap_or_default().parse().unwrap_or(0);
    ensure!(
        inside.abs_diff(host + 7200) < 60,
        "uptime inside {inside}, outside {host}"
    );
    Ok(())
}

fn clock_offsets_without_a_time_namespace_are_refused(case: &Case<'_>) -> Verdict {
    let offsets = json!({ "boottime": { "secs": 1 } });
    let config = Config::new()
        .set("/linux/timeOffsets", offsets)
        .args(&["true"]);
    case.container(config)?
        .create()?
        .refuses()?
        .says(&["time namespace"])?;
    Ok(())
}

fn a_clock_that_cannot_be_offset_is_refused(case: &Case<'_>) -> Verdict {
    let has = std::fs::metadata("/proc/self/ns/time").is_ok();
    needs!(has, "time namespaces (Linux 5.6)");
    let config = in_time_namespace(json!({ "realtime": { "secs": 1 } })).args(&["true"]);
    case.container(config)?.create()?.refuses()?;
    Ok(())
}

fn the_io_priority_is_set_for_the_whole_group(case: &Case<'_>) -> Verdict {
    let classes = [
        ("IOPRIO_CLASS_BE", 3, "best-effort: prio 3"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ];
    for (class, priority, wanted) in classes {
        let value = json!({ "class": class, "priority": priority });
        let config = Config::new().set("/process/ioPriority", value);
        let text = case
            .container(config.sh("ionice -p $$; ionice"))?
            .output()?;
        for line in text.lines() {
            ensure!(
                line.trim().starts_with(wanted),
                "with {class} {priority}: {text:?}"
            );
        }
    }
    Ok(())
}

fn a_bad_io_priority_is_refused(case: &Case<'_>) -> Verdict {
    for value in [
        json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
        json!({ "class": "IOPRIO_CLASS_NONE_SUCH", "priority": 1 }),
    ] {
        let config = Config::new()
            .set("/process/ioPriority", value)
            .args(&["true"]);
        case.container(config)?.run()?.refuses()?;
    }
    Ok(())
}

/// A process for exec's `--process` with this affinity, written to a file; its path.
fn process_file(case: &Case<'_>, container: &Container<'_>, affinity: Value) -> Verdict<String> {
    let text = std::fs::read_to_string(container.bundle.dir().join("config.json"))?;
    let config: Value = serde_json::from_str(&text)?;
    let mut process = config["process"].clone();
    process["args"] = json!(["grep", "Cpus_allowed_list", "/proc/self/status"]);
    process["execCPUAffinity"] = affinity;
    let path = case.path("process.json");
    std::fs::write(&path, process.to_string())?;
    Ok(path)
}

fn exec_runs_on_the_processors_asked_for(case: &Case<'_>) -> Verdict {
    needs!(case.sh("nproc")? != "1", "two processors");
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    for (affinity, wanted) in [
        (json!({ "initial": "0", "final": "1" }), "1"),
        (json!({ "initial": "1" }), "1"),
        (json!({ "final": "0" }), "0"),
        (json!({ "final": "0-1" }), "0-1"),
    ] {
        let path = process_file(case, &container, affinity.clone())?;
        let exec = case.runtime(&["exec", "--process", &path, &container.id])?;
        let text = case.call(&exec)?.succeeds()?.text();
        let list = text.split_whitespace().last().unwrap_or_default();
        ensure_eq!(list, wanted, "processors with {affinity}");
    }
    Ok(())
}

fn a_bad_list_of_processors_is_refused(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    for bad in ["a", "1-0", "-1", "1,,2"] {
        let path = process_file(case, &container, json!({ "initial": bad }))?;
        let exec = case.runtime(&["exec", "--process", &path, &container.id])?;
        case.call(&exec)?.refuses()?;
    }
    Ok(())
}

/// What numa_maps(5) calls each mode on node 0; local allocation has no name before Linux 5.14.
pub(super) const MODES: [(&str, &str, &[&str]); 7] = [
    ("MPOL_DEFAULT", "", &["default"]),
    ("MPOL_PREFERRED", "0", &["prefer:0", "prefer (many):0"]),
    ("MPOL_BIND", "0", &["bind:0"]),
    ("MPOL_INTERLEAVE", "0", &["interleave:0"]),
    ("MPOL_LOCAL", "", &["local"]),
    ("MPOL_PREFERRED_MANY", "0", &["prefer (many):0"]),
    ("MPOL_WEIGHTED_INTERLEAVE", "0", &["weighted interleave:0"]),
];

fn the_memory_policy_is_set_in_every_mode(case: &Case<'_>) -> Verdict {
    let has = std::fs::metadata("/proc/self/numa_maps").is_ok();
    needs!(has, "a kernel with NUMA");
    for (mode, nodes, names) in MODES {
        if kernel_has(case, mode)? {
            let value = json!({ "mode": mode, "nodes": nodes });
            policy_shows(case, &value, names)?;
        }
    }
    let value = json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] });
    policy_shows(case, &value, &["bind=static:0"])
}

/// Whether the kernel is as new as this mode or flag of a memory policy.
pub(super) fn kernel_has(case: &Case<'_>, word: &str) -> Verdict<bool> {
    let release = case.sh("uname -r")?;
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(version
        >= match word {
            "MPOL_F_NUMA_BALANCING" => (5, 12),
            "MPOL_PREFERRED_MANY" => (5, 15),
            "MPOL_WEIGHTED_INTERLEAVE" => (6, 9),
            _ => (0, 0),
        })
}

/// With this memory policy a line of numa_maps(5) begins with one of `names`.
pub(super) fn policy_shows(case: &Case<'_>, policy: &Value, names: &[&str]) -> Verdict {
    let config = Config::new()
        .set("/linux/memoryPolicy", policy.clone())
        .sh("cut -d' ' -f2- /proc/self/numa_maps");
    let text = case.container(config)?.output()?;
    let found = names
        .iter()
        .any(|name| text.lines().any(|line| line.starts_with(name)));
    ensure!(found, "with {policy} no {names:?} in\n{text}");
    Ok(())
}

fn a_memory_policy_that_makes_no_sense_is_refused(case: &Case<'_>) -> Verdict {
    for value in [
        json!({ "mode": "MPOL_OF_TOMORROW", "nodes": "0" }),
        json!({ "mode": "MPOL_DEFAULT", "nodes": "0" }),
        json!({ "mode": "MPOL_BIND", "nodes": "" }),
        json!({ "mode": "MPOL_BIND", "nodes": "x" }),
        json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_OF_TOMORROW"] }),
    ] {
        let config = Config::new()
            .set("/linux/memoryPolicy", value)
            .args(&["true"]);
        case.container(config)?.create()?.refuses()?;
    }
    Ok(())
}

fn exec_has_the_memory_policy_and_the_domain_of_the_container(case: &Case<'_>) -> Verdict {
    let has = std::fs::metadata("/proc/self/numa_maps").is_ok();
    needs!(has, "a kernel with NUMA");
    let config = Config::new()
        .set(
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND", "nodes": "0" }),
        )
        .set("/linux/personality", json!({ "domain": "LINUX32" }));
    let script = "cut -d' ' -f2 /proc/self/numa_maps | sort -u; uname -m";
    let program = format!("({script}) > /out.new; mv /out.new /out; sleep 60");
    let container = case.container(config.sh(&program))?;
    container.up()?;
    container.makes("/out")?;
    let exec = container.exec(&["sh", "-c", script])?.succeeds()?.text();
    ensure_eq!(
        exec,
        container.left("out")?,
        "policy and machine of exec and of the program"
    );
    ensure!(exec.contains("bind:0"), "no bind:0 in {exec:?}");
    Ok(())
}

fn resctrl() -> Verdict<Option<String>> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let line = mounts.lines().find(|line| line.contains(" - resctrl "));
    Ok(line.and_then(|line| Some(line.split(' ').nth(4)?.to_owned())))
}

fn a_class_of_service_without_resctrl_is_refused(case: &Case<'_>) -> Verdict {
    needs!(resctrl()?.is_none(), "a machine without resctrl");
    let rdt = json!({ "closID": "dvt", "l3CacheSchema": "L3:0=f" });
    let config = Config::new().set("/linux/intelRdt", rdt).args(&["true"]);
    let refused = case.container(config)?.create()?.refuses()?;
    refused.says(&["Intel RDT", "resctrl"])?;
    Ok(())
}

fn a_class_of_service_is_made_and_removed(case: &Case<'_>) -> Verdict {
    let place = resctrl()?.ok_or_else(|| lacking("resctrl"))?;
    let rdt = json!({ "enableMonitoring": true });
    let config = Config::new()
        .set("/linux/intelRdt", rdt)
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    container.up()?;
    let group = format!("{place}/{}", container.id);
    let tasks = case.sh(&format!(
        "cat {group}/tasks {group}/mon_groups/{}/tasks",
        container.id
    ))?;
    let pid = container.pid()?.to_string();
    ensure_eq!(
        tasks.lines().filter(|line| *line == pid).count(),
        2,
        "tasks of {group}: {tasks}"
    );
    container.stop()?;
    container.delete()?.succeeds()?;
    ensure!(
        !case.holds(&format!("test -e {group}"))?,
        "{group} is still there"
    );
    Ok(())
}
