//! `linux.resources` as files of cgroup v1 (Documentation/admin-guide/cgroup-v1). Pure.

use oci::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::Error;
use super::plan::{Step, Steps, Write};

/// Every write that the resources ask for, device rules aside.
pub(super) fn steps(resources: &LinuxResources) -> Result<Steps, Error> {
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
        .for_each(|block_io| add_block_io(&mut steps, block_io));
    if let Some(limit) = resources.pids().and_then(|pids| pids.limit()) {
        let write = Write::new("pids/limit", "pids.max", pids_max(limit));
        steps.push(("pids", Step::Write(write)));
    }
    add_hugepages(&mut steps, resources, HugepageFiles::V1)?;
    add_network(&mut steps, resources);
    add_rdma(&mut steps, resources);
    Ok(steps)
}

/// A number of which zero means "not set", as callers written in Go send it.
fn set<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

/// `pids.max`: nothing above zero is no limit, except that 0 allows the one process there is.
pub(super) fn pids_max(limit: i64) -> String {
    match limit {
        0 => "1".into(),
        1.. => limit.to_string(),
        _ => "max".into(),
    }
}

/// The rules that hold for memory limits on both versions.
pub(super) fn check_memory(memory: &LinuxMemory) -> Result<(), Error> {
    let refuse = |property: &str, reason: &str| {
        Err(Error::property(
            format!("/linux/resources/memory/{property}"),
            reason,
        ))
    };
    for (property, value) in [
        ("limit", memory.limit()),
        ("swap", memory.swap()),
        ("reservation", memory.reservation()),
    ] {
        if value.is_some_and(|value| value < -1) {
            return refuse(property, "is negative, and only -1 means no limit");
        }
    }
    let (limit, swap) = (set(memory.limit()), set(memory.swap()));
    match (limit, swap) {
        (None, Some(1..)) => refuse("swap", "unable to set swap limit without memory limit"),
        (Some(limit), Some(swap)) if swap >= 0 && (limit < 0 || swap < limit) => {
            refuse("swap", "memory+swap limit should be >= memory limit")
        }
        _ if memory
            .swappiness()
            .is_some_and(|value| value > 100 && value != u64::MAX) =>
        {
            refuse("swappiness", "must be between 0 and 100")
        }
        _ => Ok(()),
    }
}

fn add_memory(steps: &mut Steps, memory: &LinuxMemory) -> Result<(), Error> {
    check_memory(memory)?;
    let mut add = |step| steps.push(("memory", step));
    let limit = set(memory.limit());
    // No limit on memory alone would leave an older limit on memory and swap together.
    let swap = set(memory.swap()).or(limit.filter(|limit| *limit == -1));
    let mut limits = Vec::new();
    if let Some(limit) = limit {
        limits.push(Write::new("memory/limit", "memory.limit_in_bytes", limit));
    }
    if let Some(swap) = swap {
        let write = Write::new("memory/swap", "memory.memsw.limit_in_bytes", swap);
        limits.push(if swap == -1 {
            write.harmless_if_missing()
        } else {
            write
        });
    }
    if !limits.is_empty() {
        add(Step::AnyOrder(limits));
    }
    if let Some(reservation) = set(memory.reservation()) {
        let file = "memory.soft_limit_in_bytes";
        add(Step::Write(Write::new(
            "memory/reservation",
            file,
            reservation,
        )));
    }
    if let Some(swappiness) = memory.swappiness().filter(|value| *value != u64::MAX) {
        add(Step::Write(Write::new(
            "memory/swappiness",
            "memory.swappiness",
            swappiness,
        )));
    }
    if memory.disable_oom_killer() == Some(true) {
        add(Step::Write(Write::new(
            "memory/disableOOMKiller",
            "memory.oom_control",
            1,
        )));
    }
    // kernel and kernelTCP: the kernel accepts and ignores them since 5.11; so do we.
    Ok(())
}

fn add_cpu(steps: &mut Steps, cpu: &LinuxCpu) {
    let mut add = |controller, step| steps.push((controller, step));
    let idle = cpu.idle();
    if let Some(idle) = idle {
        let write = Write::new("cpu/idle", "cpu.idle", idle);
        add(
            "cpu",
            Step::Write(if idle == 0 {
                write.harmless_if_missing()
            } else {
                write
            }),
        );
    }
    // After cpu.idle, and not with it: the kernel refuses a weight for an idle group.
    if let Some(shares) = set(cpu.shares()).filter(|_| idle != Some(1)) {
        add(
            "cpu",
            Step::Write(Write::new("cpu/shares", "cpu.shares", shares)),
        );
    }
    let bandwidth = [
        set(cpu.period()).map(|value| Write::new("cpu/period", "cpu.cfs_period_us", value)),
        set(cpu.quota()).map(|value| Write::new("cpu/quota", "cpu.cfs_quota_us", value)),
        cpu.burst().map(|value| {
            let write = Write::new("cpu/burst", "cpu.cfs_burst_us", value);
            if value == 0 {
                write.harmless_if_missing()
            } else {
                write
            }
        }),
    ];
    let bandwidth: Vec<Write> = bandwidth.into_iter().flatten().collect();
    if !bandwidth.is_empty() {
        add("cpu", Step::AnyOrder(bandwidth));
    }
    let realtime = [
        set(cpu.realtime_period())
            .map(|value| Write::new("cpu/realtimePeriod", "cpu.rt_period_us", value)),
        set(cpu.realtime_runtime())
            .map(|value| Write::new("cpu/realtimeRuntime", "cpu.rt_runtime_us", value)),
    ];
    let realtime: Vec<Write> = realtime.into_iter().flatten().collect();
    if !realtime.is_empty() {
        add("cpu", Step::AnyOrder(realtime));
    }
    steps.extend(cpusets(cpu));
}

/// The same file names on both versions.
pub(super) fn cpusets(cpu: &LinuxCpu) -> Steps {
    let filled = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
    let cpus = filled(cpu.cpus()).map(|list| Write::new("cpu/cpus", "cpuset.cpus", list));
    let mems = filled(cpu.mems()).map(|list| Write::new("cpu/mems", "cpuset.mems", list));
    cpus.into_iter()
        .chain(mems)
        .map(|write| ("cpuset", Step::Write(write)))
        .collect()
}

/// The four throttle lists, with their property, file and v2 key.
pub(super) type Throttle<'a> = (
    &'static str,
    &'static str,
    &'static str,
    &'a [LinuxThrottleDevice],
);

pub(super) fn throttles(block_io: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    fn list(devices: &Option<Vec<LinuxThrottleDevice>>) -> &[LinuxThrottleDevice] {
        devices.as_deref().unwrap_or(&[])
    }
    [
        (
            "throttleReadBpsDevice",
            "read_bps",
            "rbps",
            list(block_io.throttle_read_bps_device()),
        ),
        (
            "throttleWriteBpsDevice",
            "write_bps",
            "wbps",
            list(block_io.throttle_write_bps_device()),
        ),
        (
            "throttleReadIOPSDevice",
            "read_iops",
            "riops",
            list(block_io.throttle_read_iops_device()),
        ),
        (
            "throttleWriteIOPSDevice",
            "write_iops",
            "wiops",
            list(block_io.throttle_write_iops_device()),
        ),
    ]
}

fn add_block_io(steps: &mut Steps, block_io: &LinuxBlockIo) {
    let mut add = |write| steps.push(("blkio", Step::Write(write)));
    if let Some(weight) = set(block_io.weight()) {
        add(Write::new("blockIO/weight", "blkio.bfq.weight", weight).or("blkio.weight"));
    }
    if let Some(weight) = set(block_io.leaf_weight()) {
        add(Write::new(
            "blockIO/leafWeight",
            "blkio.leaf_weight",
            weight,
        ));
    }
    for (index, device) in block_io.weight_device().iter().flatten().enumerate() {
        let number = format!("{}:{}", device.major(), device.minor());
        if let Some(weight) = set(device.weight()) {
            let pointer = format!("blockIO/weightDevice/{index}/weight");
            let value = format!("{number} {weight}");
            add(Write::new(&pointer, "blkio.bfq.weight_device", value).or("blkio.weight_device"));
        }
        if let Some(weight) = set(device.leaf_weight()) {
            let pointer = format!("blockIO/weightDevice/{index}/leafWeight");
            add(Write::new(
                &pointer,
                "blkio.leaf_weight_device",
                format!("{number} {weight}"),
            ));
        }
    }
    for (property, file, _, devices) in throttles(block_io) {
        for (index, device) in devices.iter().enumerate() {
            let file = format!("blkio.throttle.{file}_device");
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            add(Write::new(
                &format!("blockIO/{property}/{index}"),
                &file,
                value,
            ));
        }
    }
}

/// How a version calls its hugetlb files.
#[derive(Clone, Copy, Debug)]
pub(super) enum HugepageFiles {
    V1,
    V2,
}

pub(super) fn add_hugepages(
    steps: &mut Steps,
    resources: &LinuxResources,
    files: HugepageFiles,
) -> Result<(), Error> {
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        let size = limit.page_size();
        let pointer = format!("hugepageLimits/{index}");
        if !is_page_size(size) {
            let reason = format!("{size:?} is not of the form 2MB");
            return Err(Error::property(
                format!("/linux/resources/{pointer}/pageSize"),
                reason,
            ));
        }
        let (end, value) = match (files, limit.limit()) {
            (HugepageFiles::V1, value) => ("limit_in_bytes", value.to_string()),
            (HugepageFiles::V2, u64::MAX) => ("max", "max".into()),
            (HugepageFiles::V2, value) => ("max", value.to_string()),
        };
        let pointer = format!("{pointer}/limit");
        let usage = Write::new(&pointer, &format!("hugetlb.{size}.{end}"), &value);
        // Reservations have limits of their own since Linux 5.7.
        let reserved = Write::new(&pointer, &format!("hugetlb.{size}.rsvd.{end}"), &value);
        steps.push(("hugetlb", Step::Write(usage)));
        steps.push(("hugetlb", Step::Write(reserved.harmless_if_missing())));
    }
    Ok(())
}

/// `^[1-9][0-9]*[KMG]B$` (config-linux.md)
fn is_page_size(size: &str) -> bool {
    let digits = size
        .strip_suffix('B')
        .and_then(|size| size.strip_suffix(['K', 'M', 'G']));
    digits.is_some_and(|digits| {
        !digits.starts_with('0')
            && !digits.is_empty()
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn add_network(steps: &mut Steps, resources: &LinuxResources) {
    let Some(network) = resources.network() else {
        return;
    };
    if let Some(class) = set(network.class_id()) {
        let write = Write::new("network/classID", "net_cls.classid", class);
        steps.push(("net_cls", Step::Write(write)));
    }
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let value = format!("{} {}", priority.name(), priority.priority());
        let pointer = format!("network/priorities/{index}");
        steps.push((
            "net_prio",
            Step::Write(Write::new(&pointer, "net_prio.ifpriomap", value)),
        ));
    }
}

/// The same file on both versions.
pub(super) fn add_rdma(steps: &mut Steps, resources: &LinuxResources) {
    let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
    devices.sort_by_key(|(name, _)| name.as_str());
    for (name, limit) in devices {
        let handles = limit
            .hca_handles()
            .map(|count| format!(" hca_handle={count}"));
        let objects = limit
            .hca_objects()
            .map(|count| format!(" hca_object={count}"));
        let value = format!(
            "{name}{}{}",
            handles.unwrap_or_default(),
            objects.unwrap_or_default()
        );
        let pointer = format!("rdma/{}", name.replace('~', "~0").replace('/', "~1"));
        steps.push(("rdma", Step::Write(Write::new(&pointer, "rdma.max", value))));
    }
}
