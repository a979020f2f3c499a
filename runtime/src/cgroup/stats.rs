//! What a container's cgroups have counted, in the shape that `runc events` prints.
//!
//! A file that this kernel, this version or this container's controllers do not have is left out
//! and no error. Numbers that only one version counts are there on that version alone.

use serde_json::{Map, Value, json};
use sys::Dir;

use super::group::{open, present, read};
use super::plan::Version;
use super::{Cgroup, Error};

/// Where a controller's files are; nothing if the container has no such controller.
struct Place {
    version: Version,
    dir: Option<Dir>,
}

impl Cgroup {
    /// `cpu`, `cpuset`, `memory`, `pids`, `blkio` and `hugetlb`, and the pressure of the version 2
    /// hierarchy, which a hybrid host has as well.
    pub fn statistics(&self) -> Result<Value, Error> {
        let pressure = self.place("")?;
        let with_pressure = |mut section: Value, file: &str| {
            if let Some(psi) = pressure.text(file).as_deref().and_then(psi) {
                section["psi"] = psi;
            }
            section
        };
        let cpu = cpu(&self.place("cpu")?, &self.place("cpuacct")?);
        Ok(json!({
            "cpu": with_pressure(cpu, "cpu.pressure"),
            "cpuset": cpuset(&self.place("cpuset")?),
            "memory": with_pressure(memory(&self.place("memory")?), "memory.pressure"),
            "pids": pids(&self.place("pids")?),
            "blkio": with_pressure(block_io(&self.place("blkio")?), "io.pressure"),
            "hugetlb": hugetlb(&self.place("hugetlb")?),
        }))
    }

    /// The directory of a version 1 controller, or else that of version 2.
    fn place(&self, controller: &str) -> Result<Place, Error> {
        let (group, version) = match self.v1(controller) {
            Some(group) => (Some(group), Version::V1),
            None => (self.v2(), Version::V2),
        };
        let dir = group.map(|group| present(open(&group.path))).transpose()?;
        Ok(Place {
            version,
            dir: dir.flatten(),
        })
    }
}

impl Place {
    fn text(&self, file: &str) -> Option<String> {
        // A kernel without pressure accounting has the files and refuses to read them.
        read(self.dir.as_ref()?, file).ok()
    }

    /// A number; `max` is the largest there is.
    fn number(&self, file: &str) -> Option<u64> {
        parse(self.text(file)?.trim())
    }

    /// A file of `name number` lines.
    fn table(&self, file: &str) -> Map<String, Value> {
        let text = self.text(file).unwrap_or_default();
        let line = |line: &str| {
            let (name, number) = line.split_once(' ')?;
            Some((name.to_owned(), json!(parse(number.trim())?)))
        };
        text.lines().filter_map(line).collect()
    }

    fn numbers(&self, file: &str) -> Vec<u64> {
        let text = self.text(file).unwrap_or_default();
        text.split_whitespace().filter_map(parse).collect()
    }
}

fn parse(word: &str) -> Option<u64> {
    if word == "max" {
        return Some(u64::MAX);
    }
    word.parse().ok()
}

/// An object of those members that have a value.
fn object<const N: usize>(members: [(&str, Option<u64>); N]) -> Value {
    let members = members.into_iter();
    let given = members.filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
    Value::Object(given.collect())
}

fn at(table: &Map<String, Value>, name: &str) -> Option<u64> {
    table.get(name)?.as_u64()
}

fn cpu(cpu: &Place, usage: &Place) -> Value {
    let stat = cpu.table("cpu.stat");
    let nanoseconds = |name: &str| at(&stat, name).map(|micros| micros.saturating_mul(1000));
    let (usage, throttled_time) = match usage.version {
        Version::V1 => (cpu_usage_v1(usage), at(&stat, "throttled_time")),
        Version::V2 => {
            let usage = object([
                ("total", nanoseconds("usage_usec")),
                ("kernel", nanoseconds("system_usec")),
                ("user", nanoseconds("user_usec")),
            ]);
            (usage, nanoseconds("throttled_usec"))
        }
    };
    let throttling = object([
        ("periods", at(&stat, "nr_periods")),
        ("throttledPeriods", at(&stat, "nr_throttled")),
        ("throttledTime", throttled_time),
    ]);
    json!({"usage": usage, "throttling": throttling})
}

fn cpu_usage_v1(place: &Place) -> Value {
    // The head names the columns: `cpu user system`.
    let all = place.text("cpuacct.usage_all").unwrap_or_default();
    let column = |index| -> Vec<u64> {
        let lines = all.lines().skip(1);
        lines
            .filter_map(|line| line.split_whitespace().nth(index).and_then(parse))
            .collect()
    };
    json!({
        "total": place.number("cpuacct.usage"),
        "percpu": place.numbers("cpuacct.usage_percpu"),
        "percpu_kernel": column(2),
        "percpu_user": column(1),
        "kernel": place.number("cpuacct.usage_sys"),
        "user": place.number("cpuacct.usage_user"),
    })
}

fn cpuset(place: &Place) -> Value {
    let list = |names: [&str; 2]| {
        let mut filled = names.iter().filter_map(|name| place.text(name));
        let text = filled.find(|text| !text.trim().is_empty())?;
        Some(expand(text.trim()))
    };
    let mut section = json!({});
    // An empty list of version 2 means what the parent has.
    if let Some(cpus) = list(["cpuset.cpus", "cpuset.cpus.effective"]) {
        section["cpus"] = json!(cpus);
    }
    add_flag(&mut section, place, "cpu_exclusive");
    if let Some(mems) = list(["cpuset.mems", "cpuset.mems.effective"]) {
        section["mems"] = json!(mems);
    }
    const FLAGS: [&str; 8] = [
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ];
    for flag in FLAGS {
        add_flag(&mut section, place, flag);
    }
    section
}

/// These are of version 1 alone, and one of them may be -1.
fn add_flag(section: &mut Value, place: &Place, flag: &str) {
    let text = place.text(&format!("cpuset.{flag}"));
    if let Some(number) = text.and_then(|text| text.trim().parse::<i64>().ok()) {
        section[flag] = json!(number);
    }
}

/// `0-2,7` as its members.
fn expand(list: &str) -> Vec<u64> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        // More than any machine has: not what the kernel writes.
        (last.saturating_sub(first) < 1 << 16).then_some(first..=last)
    };
    list.split(',').filter_map(range).flatten().collect()
}

fn memory(place: &Place) -> Value {
    let raw = place.table("memory.stat");
    if raw.is_empty() {
        return json!({});
    }
    match place.version {
        Version::V1 => memory_v1(place, raw),
        Version::V2 => memory_v2(place, raw),
    }
}

fn memory_v1(place: &Place, raw: Map<String, Value>) -> Value {
    let account = |prefix: &str| {
        let file = |what: &str| place.number(&format!("memory.{prefix}{what}"));
        object([
            ("limit", file("limit_in_bytes")),
            ("usage", file("usage_in_bytes")),
            ("max", file("max_usage_in_bytes")),
            ("failcnt", file("failcnt")),
        ])
    };
    json!({
        "cache": at(&raw, "cache"),
        "usage": account(""),
        "swap": account("memsw."),
        "kernel": account("kmem."),
        "kernelTCP": account("kmem.tcp."),
        "raw": raw,
    })
}

/// As version 1 has it: swap is counted together with memory, and there is no limit of its own
/// on the kernel's part.
fn memory_v2(place: &Place, raw: Map<String, Value>) -> Value {
    let (usage, limit) = (place.number("memory.current"), place.number("memory.max"));
    let together = |memory: Option<u64>, swap: Option<u64>| Some(memory?.saturating_add(swap?));
    let failures = |file| at(&place.table(file), "max");
    let swap = object([
        ("limit", together(limit, place.number("memory.swap.max"))),
        (
            "usage",
            together(usage, place.number("memory.swap.current")),
        ),
        ("failcnt", failures("memory.swap.events")),
    ]);
    let usage = object([
        ("limit", limit),
        ("usage", usage),
        ("max", place.number("memory.peak")),
        ("failcnt", failures("memory.events")),
    ]);
    let part = |name| object([("usage", at(&raw, name))]);
    json!({
        "cache": at(&raw, "file"),
        "usage": usage,
        "swap": swap,
        "kernel": part("kernel"),
        "kernelTCP": part("sock"),
        "raw": raw,
    })
}

fn pids(place: &Place) -> Value {
    // 0 is runc's word for "no limit".
    let limit = place
        .number("pids.max")
        .map(|limit| if limit == u64::MAX { 0 } else { limit });
    object([("current", place.number("pids.current")), ("limit", limit)])
}

fn block_io(place: &Place) -> Value {
    match place.version {
        Version::V1 => block_io_v1(place),
        Version::V2 => block_io_v2(&place.text("io.stat").unwrap_or_default()),
    }
}

/// The lists of version 1: how runc calls them and how the kernel does.
const BLOCK_IO: [(&str, &str); 8] = [
    ("ioServiceBytesRecursive", "io_service_bytes"),
    ("ioServicedRecursive", "io_serviced"),
    ("ioQueueRecursive", "io_queued"),
    ("ioServiceTimeRecursive", "io_service_time"),
    ("ioWaitTimeRecursive", "io_wait_time"),
    ("ioMergedRecursive", "io_merged"),
    ("ioTimeRecursive", "time"),
    ("sectorsRecursive", "sectors"),
];

fn block_io_v1(place: &Place) -> Value {
    let list = |name: &str| {
        // Who counts depends on the disk's scheduler; the throttler counts two of them always.
        let files = ["blkio.bfq.", "blkio.", "blkio.throttle."];
        let lists = files.iter().map(|prefix| {
            let text = place.text(&format!("{prefix}{name}_recursive"));
            let text = text.unwrap_or_default();
            text.lines().filter_map(block_io_entry).collect::<Vec<_>>()
        });
        lists
            .into_iter()
            .find(|list| !list.is_empty())
            .unwrap_or_default()
    };
    let lists = BLOCK_IO
        .iter()
        .map(|(key, name)| ((*key).to_owned(), json!(list(name))));
    Value::Object(lists.collect())
}

/// `8:0 Read 4096`, or `8:0 4096`; the sum at the end has no device.
fn block_io_entry(line: &str) -> Option<Value> {
    let mut words = line.split_whitespace();
    let (major, minor) = device(words.next()?)?;
    let (op, value) = match (words.next()?, words.next()) {
        (op, Some(value)) => (op, value),
        (value, None) => ("", value),
    };
    Some(json!({"major": major, "minor": minor, "op": op, "value": parse(value)?}))
}

fn block_io_v2(text: &str) -> Value {
    const COUNTERS: [(&str, usize, &str); 6] = [
        ("rbytes", 0, "Read"),
        ("wbytes", 0, "Write"),
        ("dbytes", 0, "Discard"),
        ("rios", 1, "Read"),
        ("wios", 1, "Write"),
        ("dios", 1, "Discard"),
    ];
    let mut lists = [Vec::new(), Vec::new()];
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else {
            continue;
        };
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let counter = COUNTERS.iter().find(|(known, _, _)| *known == name);
            if let (Some((_, list, op)), Some(value)) = (counter, parse(value)) {
                lists[*list]
                    .push(json!({"major": major, "minor": minor, "op": op, "value": value}));
            }
        }
    }
    let [bytes, operations] = lists;
    json!({"ioServiceBytesRecursive": bytes, "ioServicedRecursive": operations})
}

fn device(word: &str) -> Option<(u64, u64)> {
    let (major, minor) = word.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn hugetlb(place: &Place) -> Value {
    let end = match place.version {
        Version::V1 => ".usage_in_bytes",
        Version::V2 => ".current",
    };
    let names = place.dir.as_ref().and_then(|dir| dir.names().ok());
    let mut section = json!({});
    for name in names.iter().flatten().filter_map(|name| name.to_str()) {
        let size = name
            .strip_prefix("hugetlb.")
            .and_then(|rest| rest.strip_suffix(end));
        // Reservations are counted beside: `hugetlb.2MB.rsvd.current`.
        let Some(size) = size.filter(|size| !size.contains('.')) else {
            continue;
        };
        let file = |what: &str| format!("hugetlb.{size}.{what}");
        let failures = match place.version {
            Version::V1 => place.number(&file("failcnt")),
            Version::V2 => at(&place.table(&file("events")), "max"),
        };
        section[size] = object([
            ("usage", place.number(name)),
            ("max", place.number(&file("max_usage_in_bytes"))),
            ("failcnt", failures),
        ]);
    }
    section
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn psi(text: &str) -> Option<Value> {
    let mut section = json!({});
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let kind = words.next()?;
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            section[kind][name] = match name {
                "total" => json!(value.parse::<u64>().ok()?),
                _ => json!(value.parse::<f64>().ok()?),
            };
        }
    }
    section["some"].is_object().then_some(section)
}

/// The text of a file as every function reads it that reads one.
#[cfg(fuzzing)]
pub(super) fn understand(text: &str) {
    let _ = (psi(text), block_io_v2(text));
    text.lines().for_each(|line| drop(block_io_entry(line)));
    // A list in one line may name at most 65536 numbers a part.
    let short = text
        .lines()
        .next()
        .filter(|line| line.matches(',').count() < 8);
    short.map(expand);
}
