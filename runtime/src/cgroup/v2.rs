//! `linux.resources` as files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst). Pure.
//!
//! A setting that only v1 has is an error if it would do something (config-linux.md: a runtime
//! that cannot convert a setting must say so), and ignored if it asks for what v2 does anyway.

use oci::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::Error;
use super::plan::{Step, Steps, Write};
use super::v1::{
    HugepageFiles, add_hugepages, add_rdma, check_memory, cpusets, pids_max, throttles,
};

/// Every write that the resources ask for, except devices and `unified`.
pub(super) fn steps(resources: &LinuxResources) -> Result<Steps, Error> {
    refuse_v1_only(resources)?;
    limits(resources)
}

/// The same, without asking about settings that only v1 has: those have their v1 files on a
/// hybrid host.
pub(super) fn limits(resources: &LinuxResources) -> Result<Steps, Error> {
    let mut steps = Steps::new();
    resources
        .memory()
        .iter()
        .try_for_each(|memory| add_memory(&mut steps, memory))?;
    resources
        .cpu()
        .iter()
        .for_each(|cpu| add_cpu(&mut steps, cpu));
    resources
        .block_io()
        .iter()
        .for_each(|block_io| add_io(&mut steps, block_io));
    if let Some(limit) = resources.pids().and_then(|pids| pids.limit()) {
        let write = Write::new("pids/limit", "pids.max", pids_max(limit));
        steps.push(("pids", Step::Write(write)));
    }
    add_hugepages(&mut steps, resources, HugepageFiles::V2)?;
    add_rdma(&mut steps, resources);
    Ok(steps)
}

#[allow(deprecated, reason = "memory.kernel must be looked at to be refused")]
fn refuse_v1_only(resources: &LinuxResources) -> Result<(), Error> {
    let memory = resources.memory().unwrap_or_default();
    let cpu = resources.cpu().clone().unwrap_or_default();
    let network = resources.network().clone().unwrap_or_default();
    let block_io = resources.block_io().clone().unwrap_or_default();
    let swappiness = memory.swappiness().is_some_and(|value| value != u64::MAX);
    for (property, is_set) in [
        ("memory/swappiness", swappiness),
        (
            "memory/disableOOMKiller",
            memory.disable_oom_killer() == Some(true),
        ),
        (
            "cpu/realtimeRuntime",
            cpu.realtime_runtime().is_some_and(|value| value != 0),
        ),
        (
            "cpu/realtimePeriod",
            cpu.realtime_period().is_some_and(|value| value != 0),
        ),
        (
            "blockIO/leafWeight",
            block_io.leaf_weight().is_some_and(|value| value != 0),
        ),
        (
            "network/classID",
            network.class_id().is_some_and(|value| value != 0),
        ),
        (
            "network/priorities",
            network
                .priorities()
                .as_ref()
                .is_some_and(|list| !list.is_empty()),
        ),
    ] {
        if is_set {
            let pointer = format!("/linux/resources/{property}");
            return Err(Error::property(pointer, "cgroup v2 has nothing like it"));
        }
    }
    Ok(())
}

fn max_or(value: i64) -> String {
    if value < 0 {
        "max".into()
    } else {
        value.to_string()
    }
}

fn add_memory(steps: &mut Steps, memory: &LinuxMemory) -> Result<(), Error> {
    check_memory(memory)?;
    let mut add = |write| steps.push(("memory", Step::Write(write)));
    let limit = memory.limit().filter(|limit| *limit != 0);
    let swap = memory.swap().filter(|swap| *swap != 0);
    // v2 limits swap alone; the specification's number is memory and swap together.
    let swap_max = match (limit, swap) {
        (_, Some(-1)) | (Some(-1), None) => Some("max".to_owned()),
        (Some(limit), Some(swap)) => Some((swap - limit).to_string()),
        _ => None,
    };
    if let Some(value) = swap_max {
        // Without swap in the kernel there is no file, and nothing to limit.
        let harmless = value == "max" || value == "0";
        let write = Write::new("memory/swap", "memory.swap.max", value);
        add(if harmless {
            write.harmless_if_missing()
        } else {
            write
        });
    }
    if let Some(limit) = limit {
        add(Write::new("memory/limit", "memory.max", max_or(limit)));
    }
    if let Some(reservation) = memory.reservation().filter(|value| *value != 0) {
        add(Write::new(
            "memory/reservation",
            "memory.low",
            max_or(reservation),
        ));
    }
    Ok(())
}

/// Shares (2 to 262144, 1024 is usual) to weight (1 to 10000, 100 is usual): a parabola in the
/// logarithms through those three points, as runc 1.3.2 and crun 1.23 and later have it.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10_f64.powf(exponent).ceil() as u64
        }
    }
}

fn add_cpu(steps: &mut Steps, cpu: &LinuxCpu) {
    let mut add = |step| steps.push(("cpu", step));
    let idle = cpu.idle();
    if let Some(idle) = idle {
        let write = Write::new("cpu/idle", "cpu.idle", idle);
        add(Step::Write(if idle == 0 {
            write.harmless_if_missing()
        } else {
            write
        }));
    }
    // An idle group has no weight: the kernel refuses the write.
    if let Some(shares) = cpu
        .shares()
        .filter(|shares| *shares != 0 && idle != Some(1))
    {
        add(Step::Write(Write::new(
            "cpu/shares",
            "cpu.weight",
            weight_of_shares(shares),
        )));
    }
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let mut bandwidth = Vec::new();
    if quota.is_some() || period.is_some() {
        let quota = quota
            .filter(|quota| *quota > 0)
            .map_or("max".into(), |quota| quota.to_string());
        let value = format!("{quota} {}", period.unwrap_or(100_000));
        bandwidth.push(Write::new("cpu/quota", "cpu.max", value));
    }
    if let Some(burst) = cpu.burst() {
        let write = Write::new("cpu/burst", "cpu.max.burst", burst);
        bandwidth.push(if burst == 0 {
            write.harmless_if_missing()
        } else {
            write
        });
    }
    if !bandwidth.is_empty() {
        add(Step::AnyOrder(bandwidth));
    }
    steps.extend(cpusets(cpu));
}

/// 10 to 1000 becomes 1 to 10000.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9_999 / 990
}

fn add_io(steps: &mut Steps, block_io: &LinuxBlockIo) {
    let mut add = |write| steps.push(("io", Step::Write(write)));
    if let Some(weight) = block_io.weight().filter(|weight| *weight != 0) {
        let pointer = "blockIO/weight";
        // BFQ takes the specification's range as it is; its file is there if the scheduler is.
        add(Write::new(pointer, "io.bfq.weight", weight).or_value("io.weight", io_weight(weight)));
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
            let pointer = format!("blockIO/weightDevice/{index}/weight");
            let value = format!("{}:{} {weight}", device.major(), device.minor());
            add(Write::new(&pointer, "io.bfq.weight", value));
        }
    }
    for (property, _, key, devices) in throttles(block_io) {
        for (index, device) in devices.iter().enumerate() {
            let value = format!(
                "{}:{} {key}={}",
                device.major(),
                device.minor(),
                device.rate()
            );
            add(Write::new(
                &format!("blockIO/{property}/{index}"),
                "io.max",
                value,
            ));
        }
    }
}

/// `resources.unified`: file names and values as they are, sorted so that a plan is repeatable.
pub(super) fn unified(
    resources: &LinuxResources,
    controllers: &[String],
) -> Result<Vec<Step>, Error> {
    let mut entries: Vec<_> = resources.unified().iter().flatten().collect();
    entries.sort();
    let mut steps = Vec::new();
    for (key, value) in entries {
        let pointer = format!("unified/{}", key.replace('~', "~0").replace('/', "~1"));
        check_unified_key(key, controllers)
            .map_err(|reason| Error::property(format!("/linux/resources/{pointer}"), reason))?;
        // A file such as io.max takes one line per write.
        for line in value.lines().filter(|line| !line.is_empty()) {
            steps.push(Step::Write(Write::new(&pointer, key, line)));
        }
    }
    Ok(steps)
}

/// Writes to these are not limits: they move processes, or stop and end them.
const NO_LIMITS: [&str; 7] = [
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.kill",
    "cgroup.freeze",
    "cgroup.type",
    "cgroup.subtree_control",
    "cgroup.events",
];

fn check_unified_key(key: &str, controllers: &[String]) -> Result<(), String> {
    let Some((controller, _)) = key.split_once('.').filter(|_| !key.contains('/')) else {
        return Err("is no file name of the form CONTROLLER.PARAMETER".into());
    };
    if NO_LIMITS.contains(&key) {
        return Err("is not a limit".into());
    }
    if controller != "cgroup" && !controllers.iter().any(|here| here == controller) {
        return Err(format!(
            "unified resource \"{key}\" can't be set: controller \"{controller}\" not available"
        ));
    }
    Ok(())
}
