//! `update`: other limits for a container that lives, and nothing else.

use serde_json::{Value, json};
use testbed::{Config, Outcome};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, lacking, needs, row};
use crate::runtime::limits::{Limit, Version, limit, offers, version};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F026,
        update_takes_limits_as_flags,
        "runc-update(8): --cpu-period, --cpu-quota, --cpu-share, --cpuset-cpus, --memory, --memory-reservation, --pids-limit"
    ),
    row!(
        Runtime,
        F026,
        update_works_on_a_created_and_on_a_paused_container,
        "runtime.md: the container exists from create on; a frozen cgroup takes limits like any other"
    ),
    row!(
        Runtime,
        F026,
        update_of_a_stopped_container_is_refused,
        "runc-update(8) changes a running container; containerd and CRI-O look for \"container not running\""
    ),
    row!(
        Runtime,
        F027,
        update_reads_resources_from_stdin_and_from_a_file,
        "runc-update(8): --resources FILE, or - for standard input; containerd and CRI-O do so"
    ),
    row!(
        Runtime,
        F028,
        update_takes_sizes_with_suffixes,
        "runc-update(8), as docker(1) has it: memory in bytes or with a suffix b, k, m, g of either case"
    ),
    row!(
        Runtime,
        F029,
        update_sets_burst_and_idle,
        "runc-update(8): --cpu-burst, --cpu-idle (config-linux.md: resources.cpu.burst, idle)"
    ),
    row!(
        Runtime,
        F030,
        update_keeps_what_is_not_asked_for,
        "runc-update(8): unchanged values can be omitted (runc issues 4210 and 4225: they were reset)"
    ),
    row!(
        Runtime,
        F030,
        a_refused_update_changes_nothing,
        "runtime.md: an operation that generates an error MUST leave the state as if it had never been attempted"
    ),
    row!(
        Runtime,
        F030,
        update_leaves_devices_alone,
        "runc-update(8) lists no devices: clients send the whole of linux.resources, and access must not change"
    ),
    row!(
        Runtime,
        F030,
        memory_and_swap_rise_and_fall_in_one_update,
        "config-linux.md: memory.swap is memory and swap together, so the kernel wants one of two orders"
    ),
    row!(
        Runtime,
        F031,
        update_merges_limits_of_devices,
        "config-linux.md: throttle*Device are limits per device; one that is not named keeps its own"
    ),
];

const SHARES: Limit = ("cpu", "cpu.shares", "cpu.weight");
const CPUS: Limit = ("cpuset", "cpuset.cpus", "cpuset.cpus");
const MEMORY: Limit = ("memory", "memory.limit_in_bytes", "memory.max");
const RESERVATION: Limit = ("memory", "memory.soft_limit_in_bytes", "memory.low");
const PIDS: Limit = ("pids", "pids.max", "pids.max");
const MEBIBYTE: u64 = 1 << 20;

fn up<'a>(case: &'a Case<'a>, resources: &[(&str, Value)]) -> Verdict<Container<'a>> {
    version("cpu")?;
    let config = resources
        .iter()
        .fold(Config::new(), |config, (key, value)| {
            config.set(&format!("/linux/resources/{key}"), value.clone())
        });
    let container = case.container(config.args(&["sleep", "60"]))?;
    container.up()?;
    Ok(container)
}

fn update(container: &Container<'_>, flags: &[&str]) -> Verdict<Outcome> {
    let command = container.command(&[&["update"], flags].concat())?;
    container.case.call(&command)
}

fn update_from(container: &Container<'_>, resources: &Value) -> Verdict<Outcome> {
    let command = container.command(&["update", "--resources", "-"])?;
    container.case.call(&command.stdin(resources.to_string()))
}

/// Quota and period, in the one file of version 2 or the two of version 1.
fn bandwidth(container: &Container<'_>) -> Verdict<String> {
    match version("cpu")? {
        Version::V2 => limit(container, ("cpu", "", "cpu.max")),
        Version::V1 => {
            let one = |file| limit(container, ("cpu", file, ""));
            Ok(format!(
                "{} {}",
                one("cpu.cfs_quota_us")?,
                one("cpu.cfs_period_us")?
            ))
        }
    }
}

fn update_takes_limits_as_flags(case: &Case<'_>) -> Verdict {
    let container = up(case, &[("memory", json!({ "limit": 64 * MEBIBYTE }))])?;
    let shares = limit(&container, SHARES)?;
    let one_by_one = [
        &["--cpu-share", "512"][..],
        &["--cpu-quota", "30000", "--cpu-period", "60000"],
        &["--cpuset-cpus", "0"],
        &["--memory", "33554432"],
        &["--memory-reservation", "16777216"],
        &["--pids-limit", "20"],
    ];
    for flags in one_by_one {
        update(&container, flags)?.succeeds()?;
    }
    ensure!(
        limit(&container, SHARES)? != shares,
        "shares are still {shares}"
    );
    ensure_eq!(bandwidth(&container)?, "30000 60000", "quota and period");
    ensure_eq!(limit(&container, CPUS)?, "0", "processors");
    ensure_eq!(limit(&container, MEMORY)?, "33554432", "memory");
    ensure_eq!(limit(&container, RESERVATION)?, "16777216", "reservation");
    ensure_eq!(limit(&container, PIDS)?, "20", "pids");
    update(&container, &["--pids-limit", "-1"])?.succeeds()?;
    ensure_eq!(limit(&container, PIDS)?, "max", "pids without a limit");
    update(&container, &["--memory", "some"])?.refuses()?;
    update(&container, &["--cpu-period", "long"])?.refuses()?;
    ensure_eq!(
        bandwidth(&container)?,
        "30000 60000",
        "quota and period at last"
    );
    Ok(())
}

fn update_works_on_a_created_and_on_a_paused_container(case: &Case<'_>) -> Verdict {
    version("pids")?;
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.create()?.succeeds()?;
    update(&container, &["--pids-limit", "30"])?.succeeds()?;
    ensure_eq!(
        limit(&container, PIDS)?,
        "30",
        "pids of a created container"
    );
    container.start()?.succeeds()?;
    case.call(&container.command(&["pause"])?)?.succeeds()?;
    update(&container, &["--memory", "33554432"])?.succeeds()?;
    ensure_eq!(
        limit(&container, MEMORY)?,
        "33554432",
        "memory of a paused container"
    );
    ensure_eq!(container.state()?["status"], "paused", "status");
    case.call(&container.command(&["resume"])?)?.succeeds()?;
    Ok(())
}

fn update_of_a_stopped_container_is_refused(case: &Case<'_>) -> Verdict {
    let container = up(case, &[])?;
    container.stop()?;
    let answer = update(&container, &["--pids-limit", "30"])?.refuses()?;
    answer.says(&["container not running", "is not running"])?;
    container.delete()?.succeeds()?;
    let answer = update(&container, &["--pids-limit", "30"])?.refuses()?;
    answer.says(&["does not exist"])?;
    Ok(())
}

fn update_reads_resources_from_stdin_and_from_a_file(case: &Case<'_>) -> Verdict {
    let container = up(case, &[])?;
    let resources = json!({ "pids": { "limit": 40 }, "memory": { "limit": 64 * MEBIBYTE } });
    update_from(&container, &resources)?.succeeds()?;
    ensure_eq!(limit(&container, PIDS)?, "40", "pids");
    ensure_eq!(limit(&container, MEMORY)?, "67108864", "memory");
    let joined = container.command(&["update", "--resources=-"])?;
    let joined = joined.stdin(json!({ "pids": { "limit": 41 } }).to_string());
    case.call(&joined)?.succeeds()?;
    ensure_eq!(limit(&container, PIDS)?, "41", "pids by --resources=-");
    let file = case.path("resources.json");
    std::fs::write(
        &file,
        json!({ "cpu": { "quota": 20000, "period": 50000 } }).to_string(),
    )?;
    update(&container, &["-r", &file])?.succeeds()?;
    ensure_eq!(bandwidth(&container)?, "20000 50000", "quota and period");
    ensure_eq!(
        limit(&container, PIDS)?,
        "41",
        "pids, of which the file says nothing"
    );
    std::fs::write(&file, "{\"pids\": ")?;
    update(&container, &["-r", &file])?.refuses()?;
    Ok(())
}

fn update_takes_sizes_with_suffixes(case: &Case<'_>) -> Verdict {
    let container = up(case, &[])?;
    for (text, bytes) in [("50M", 50), ("40m", 40), ("1G", 1024), ("65536k", 64)] {
        update(&container, &["--memory", text])?.succeeds()?;
        let wanted = (bytes * MEBIBYTE).to_string();
        ensure_eq!(limit(&container, MEMORY)?, wanted, "memory after {text}");
    }
    update(&container, &["--memory-reservation", "16M"])?.succeeds()?;
    ensure_eq!(limit(&container, RESERVATION)?, "16777216", "reservation");
    Ok(())
}

fn update_sets_burst_and_idle(case: &Case<'_>) -> Verdict {
    let container = up(
        case,
        &[("cpu", json!({ "quota": 50000, "period": 100_000 }))],
    )?;
    const BURST: Limit = ("cpu", "cpu.cfs_burst_us", "cpu.max.burst");
    const IDLE: Limit = ("cpu", "cpu.idle", "cpu.idle");
    needs!(offers(case, IDLE)?, "Linux 5.15 (cpu.idle)");
    update(&container, &["--cpu-burst", "20000"])?.succeeds()?;
    ensure_eq!(limit(&container, BURST)?, "20000", "burst");
    update(&container, &["--cpu-idle", "1"])?.succeeds()?;
    ensure_eq!(limit(&container, IDLE)?, "1", "idle");
    ensure_eq!(
        limit(&container, BURST)?,
        "20000",
        "burst after another update"
    );
    update(&container, &["--cpu-idle", "0", "--cpu-share", "200"])?.succeeds()?;
    ensure_eq!(limit(&container, IDLE)?, "0", "idle at last");
    update(&container, &["--cpu-burst", "0"])?.succeeds()?;
    ensure_eq!(limit(&container, BURST)?, "0", "burst at last");
    Ok(())
}

fn update_keeps_what_is_not_asked_for(case: &Case<'_>) -> Verdict {
    let resources = [
        (
            "cpu",
            json!({ "quota": 50000, "period": 200_000, "shares": 700, "cpus": "0" }),
        ),
        (
            "memory",
            json!({ "limit": 64 * MEBIBYTE, "reservation": 32 * MEBIBYTE }),
        ),
        ("pids", json!({ "limit": 33 })),
    ];
    let container = up(case, &resources)?;
    let shares = limit(&container, SHARES)?;
    update(&container, &["--memory", "100663296"])?.succeeds()?;
    ensure_eq!(bandwidth(&container)?, "50000 200000", "after --memory");
    update(&container, &["--cpu-quota", "30000"])?.succeeds()?;
    ensure_eq!(bandwidth(&container)?, "30000 200000", "after --cpu-quota");
    update(&container, &["--cpu-period", "150000"])?.succeeds()?;
    ensure_eq!(bandwidth(&container)?, "30000 150000", "after --cpu-period");
    update_from(&container, &json!({ "cpu": { "quota": -1 } }))?.succeeds()?;
    update(&container, &["--pids-limit", "44"])?.succeeds()?;
    update(&container, &["--cpu-quota", "25000"])?.succeeds()?;
    ensure_eq!(
        bandwidth(&container)?,
        "25000 150000",
        "after two quotas and pids"
    );
    ensure_eq!(limit(&container, SHARES)?, shares, "shares");
    ensure_eq!(limit(&container, CPUS)?, "0", "processors");
    ensure_eq!(limit(&container, MEMORY)?, "100663296", "memory");
    ensure_eq!(limit(&container, RESERVATION)?, "33554432", "reservation");
    Ok(())
}

/// Memory and pids are far from the processors in every runtime's order of writing.
fn a_refused_update_changes_nothing(case: &Case<'_>) -> Verdict {
    let resources = [
        ("memory", json!({ "limit": 64 * MEBIBYTE })),
        ("pids", json!({ "limit": 33 })),
        ("cpu", json!({ "quota": 50000, "period": 200_000 })),
    ];
    let container = up(case, &resources)?;
    let wrong = json!({ "cpu": { "cpus": "0,4000", "quota": 10000, "period": 100_000 },
        "memory": { "limit": 32 * MEBIBYTE }, "pids": { "limit": 5 } });
    update_from(&container, &wrong)?.refuses()?;
    ensure_eq!(limit(&container, MEMORY)?, "67108864", "memory");
    ensure_eq!(limit(&container, PIDS)?, "33", "pids");
    ensure_eq!(bandwidth(&container)?, "50000 200000", "quota and period");
    Ok(())
}

fn update_leaves_devices_alone(case: &Case<'_>) -> Verdict {
    let devices = json!([{ "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw" }]);
    let container = up(case, &[("devices", devices)])?;
    let look = "mknod /tmp/kmsg c 1 11 2>/dev/null; echo x > /dev/null && echo null; \
        (: < /dev/kmsg) 2>/dev/null && echo kmsg; mknod /tmp/mem$1 c 1 1 2>/dev/null && echo mem; :";
    let before = container
        .exec(&["sh", "-c", look, "sh", "1"])?
        .succeeds()?
        .text();
    ensure!(
        before.contains("null") && !before.contains("mem"),
        "devices are {before:?}"
    );
    for devices in [json!([]), json!([{ "allow": true, "access": "rwm" }])] {
        let patch = json!({ "pids": { "limit": 50 }, "devices": devices });
        update_from(&container, &patch)?.succeeds()?;
        let after = container
            .exec(&["sh", "-c", look, "sh", "2"])?
            .succeeds()?
            .text();
        ensure_eq!(after, before, "what can be opened after {patch}");
    }
    Ok(())
}

fn memory_and_swap_rise_and_fall_in_one_update(case: &Case<'_>) -> Verdict {
    let container = up(case, &[("memory", json!({ "limit": 32 * MEBIBYTE }))])?;
    const SWAP: Limit = ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max");
    needs!(offers(case, SWAP)?, "swap accounting");
    for (memory, both) in [(32, 40), (256, 300), (48, 48), (64, 128)] {
        let patch = json!({ "memory": { "limit": memory * MEBIBYTE, "swap": both * MEBIBYTE } });
        update_from(&container, &patch)?.succeeds()?;
        let wanted = match version("memory")? {
            Version::V1 => both * MEBIBYTE,
            Version::V2 => (both - memory) * MEBIBYTE,
        };
        ensure_eq!(
            limit(&container, MEMORY)?,
            (memory * MEBIBYTE).to_string(),
            "memory"
        );
        ensure_eq!(
            limit(&container, SWAP)?,
            wanted.to_string(),
            "swap after {patch}"
        );
    }
    let below = json!({ "memory": { "limit": 64 * MEBIBYTE, "swap": 32 * MEBIBYTE } });
    update_from(&container, &below)?.refuses()?;
    ensure_eq!(
        limit(&container, MEMORY)?,
        (64 * MEBIBYTE).to_string(),
        "memory at last"
    );
    Ok(())
}

fn update_merges_limits_of_devices(case: &Case<'_>) -> Verdict {
    version("blkio")?;
    let disks = case.sh("cat /sys/block/*/dev | head -2")?;
    let disks: Vec<Value> = disks.lines().filter_map(disk).collect();
    let [first, second] = disks.as_slice() else {
        return Err(lacking("two block devices"));
    };
    let rate = |disk: &Value, rate: u64| json!([{ "major": disk["major"], "minor": disk["minor"], "rate": rate }]);
    let given = json!({ "throttleReadIOPSDevice": rate(first, 100) });
    let container = up(case, &[("blockIO", given)])?;
    let more = json!({ "blockIO": { "throttleReadIOPSDevice": rate(second, 200) } });
    update_from(&container, &more)?.succeeds()?;
    let more = json!({ "blockIO": { "throttleWriteIOPSDevice": rate(first, 300) } });
    update_from(&container, &more)?.succeeds()?;
    for (disk, read, write) in [(first, "100", Some("300")), (second, "200", None)] {
        let (found_read, found_write) = operations(&container, disk)?;
        ensure_eq!(found_read.as_deref(), Some(read), "reads of {disk}");
        ensure_eq!(found_write.as_deref(), write, "writes of {disk}");
    }
    Ok(())
}

fn disk(number: &str) -> Option<Value> {
    let (major, minor) = number.split_once(':')?;
    Some(json!({ "major": major.parse::<u64>().ok()?, "minor": minor.parse::<u64>().ok()? }))
}

/// The limits of reads and writes per second of a disk, if there are any.
fn operations(
    container: &Container<'_>,
    disk: &Value,
) -> Verdict<(Option<String>, Option<String>)> {
    let number = format!("{}:{} ", disk["major"], disk["minor"]);
    let line = |text: String| {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(&number).map(str::to_owned));
        found.unwrap_or_default()
    };
    let given = |text: String| Some(text).filter(|text| !text.is_empty() && text != "max");
    match version("blkio")? {
        Version::V1 => {
            let file = |name: &'static str| Ok(line(limit(container, ("blkio", name, ""))?));
            let read: Verdict<String> = file("blkio.throttle.read_iops_device");
            let write: Verdict<String> = file("blkio.throttle.write_iops_device");
            Ok((given(read?), given(write?)))
        }
        Version::V2 => {
            let line = line(limit(container, ("blkio", "", "io.max"))?);
            let key = |key: &str| {
                let mut words = line.split_whitespace();
                words.find_map(|word| word.strip_prefix(key).map(str::to_owned))
            };
            Ok((
                given(key("riops=").unwrap_or_default()),
                given(key("wiops=").unwrap_or_default()),
            ))
        }
    }
}
