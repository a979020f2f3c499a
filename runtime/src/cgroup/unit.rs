//! `slice:prefix:name` and resources as a unit of systemd: its name, its place and its
//! properties (systemd.resource-control(5)). Pure.
//!
//! The properties come from the very writes that the file system driver makes, so that nobody
//! can see two opinions; what systemd has no property for is written to the file alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use systemd::Value;

use super::Error;
use super::devices::{self, Kind, Rule, Verdict};
use super::plan::{Plan, Step, Version};

/// A unit around a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// `libpod-4711.scope`, or a slice.
    pub name: String,
    /// The slice that it is in.
    pub slice: String,
    /// Whether it is one of the user's manager.
    pub user: bool,
}

/// The longest name of a unit.
const MAX_NAME: usize = 255;

impl Unit {
    /// Reads a `cgroupsPath`; whatever it leaves out comes from the container's id.
    pub fn plan(cgroups_path: Option<&Path>, id: &str, user: bool) -> Result<Self, Error> {
        let given = cgroups_path.map(|path| path.to_string_lossy().into_owned());
        let given = given.filter(|text| !text.is_empty());
        let usual = if user { "user.slice" } else { "system.slice" };
        let (slice, prefix, name) = match &given {
            None => ("", "davit", ""),
            Some(text) => match text.split(':').collect::<Vec<_>>().as_slice() {
                [slice, prefix, name] => (*slice, *prefix, *name),
                _ => {
                    let reason = format!(
                        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd \
                         cgroups, got {text:?} instead"
                    );
                    return Err(Error::property("/linux/cgroupsPath", reason));
                }
            },
        };
        let slice = if slice.is_empty() { usual } else { slice }.to_owned();
        let escaped_id = id.replace('+', "\\x2b");
        let name = if name.is_empty() { &escaped_id } else { name };
        let name = match (prefix, name.ends_with(".slice")) {
            (_, true) => name.to_owned(),
            ("", false) => format!("{name}.scope"),
            (prefix, false) => format!("{prefix}-{name}.scope"),
        };
        expand(&slice)?;
        if name.len() > MAX_NAME || !name.bytes().all(may_be_in_name) {
            return refuse(format!("{name:?} is no name of a unit"));
        }
        let unit = Self { name, slice, user };
        if unit.is_slice() {
            expand(&unit.name)?;
        }
        Ok(unit)
    }

    /// Whether it is a slice, in which systemd puts no processes.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }

    /// Its cgroup below that of the manager.
    pub fn cgroup(&self) -> Result<PathBuf, Error> {
        if self.is_slice() {
            return expand(&self.name);
        }
        Ok(expand(&self.slice)?.join(&self.name))
    }

    /// What it is started with, around `pid` if that is already there.
    pub(super) fn properties(
        &self,
        id: &str,
        pid: Option<u32>,
        plan: &Plan,
        version: u32,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Properties, Error> {
        let mut list = Properties::default();
        list.set("Description", Value::Str(format!("davit container {id}")));
        if self.is_slice() {
            let slice = vec![Value::str(&*self.slice)];
            list.set("Wants", Value::Array("s".into(), slice));
        } else {
            list.set("Slice", Value::str(&*self.slice));
            list.set("Delegate", Value::Bool(true));
            // One that fails is forgotten at once, and leaves its name for the next.
            list.set("CollectMode", Value::str("inactive-or-failed"));
        }
        if let Some(pid) = pid {
            list.set("PIDs", Value::Array("u".into(), vec![Value::U32(pid)]));
        }
        let io = match plan.groups.iter().any(|group| group.version == Version::V1) {
            true => "BlockIOAccounting",
            false => "IOAccounting",
        };
        for name in ["MemoryAccounting", "CPUAccounting", io, "TasksAccounting"] {
            list.set(name, Value::Bool(true));
        }
        list.set("DefaultDependencies", Value::Bool(false));
        list.add_limits(plan, version);
        // A user's manager may not load programs.
        if !self.user {
            list.add_devices(&plan.devices);
        }
        list.add_annotations(annotations)?;
        Ok(list)
    }
}

fn refuse<T>(reason: String) -> Result<T, Error> {
    Err(Error::property("/linux/cgroupsPath", reason))
}

/// systemd.unit(5): "Valid unit names".
fn may_be_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte)
}

/// `a-b.slice` is `a.slice/a-b.slice`; `-.slice` is the root.
fn expand(slice: &str) -> Result<PathBuf, Error> {
    let bad = || refuse(format!("{slice:?} is no name of a slice"));
    let Some(name) = slice.strip_suffix(".slice") else {
        return bad();
    };
    if name == "-" {
        return Ok(PathBuf::new());
    }
    if slice.len() > MAX_NAME || !name.bytes().all(may_be_in_name) {
        return bad();
    }
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return bad();
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
        prefix.push('-');
    }
    Ok(path)
}

/// Properties in the order in which systemd shall see them.
#[derive(Debug, Default)]
pub(super) struct Properties(pub(super) Vec<(String, Value)>);

/// No limit, in every property of systemd.
const INFINITY: u64 = u64::MAX;
/// systemd keeps quotas in steps of 10 ms of a second.
const QUOTA_STEP: u64 = 10_000;

impl Properties {
    fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// The limits of a plan, as far as this version of systemd knows them.
    pub(super) fn add_limits(&mut self, plan: &Plan, version: u32) {
        let steps = plan.groups.iter().flat_map(|group| &group.steps);
        let writes = steps.flat_map(|step| match step {
            Step::Write(write) => std::slice::from_ref(write),
            Step::AnyOrder(writes) => writes.as_slice(),
        });
        let files: Vec<_> = writes.flat_map(|write| &write.files).collect();
        let files = files.iter().map(|(file, value)| (&**file, &**value));
        self.add_files(&mut files.into_iter(), version);
    }

    /// What files of cgroups with these values are to systemd.
    pub(super) fn add_files(
        &mut self,
        files: &mut dyn Iterator<Item = (&str, &str)>,
        version: u32,
    ) {
        let mut quota = (None, None);
        for (file, value) in files {
            match file {
                "cpu.cfs_quota_us" => quota.0 = Some(value.to_owned()),
                "cpu.cfs_period_us" => quota.1 = value.parse().ok(),
                "cpu.max" => {
                    let (max, period) = value.split_once(' ').unwrap_or((value, "100000"));
                    quota = (Some(max.to_owned()), period.parse().ok());
                }
                _ => self.add_limit(file, value, version),
            }
        }
        if quota != (None, None) {
            self.add_quota(quota.0.as_deref(), quota.1.unwrap_or(100_000), version);
        }
    }

    fn add_limit(&mut self, file: &str, value: &str, version: u32) {
        let (name, since) = match file {
            "cpu.weight" => ("CPUWeight", 0),
            "cpu.shares" => ("CPUShares", 0),
            "memory.max" => ("MemoryMax", 0),
            "memory.limit_in_bytes" => ("MemoryLimit", 0),
            "memory.high" => ("MemoryHigh", 0),
            "memory.low" => ("MemoryLow", 0),
            "memory.min" => ("MemoryMin", 240),
            "memory.swap.max" => ("MemorySwapMax", 0),
            "pids.max" => ("TasksMax", 0),
            "io.weight" => ("IOWeight", 0),
            "blkio.weight" => ("BlockIOWeight", 0),
            // Idle is a weight of zero to systemd.
            "cpu.idle" if value == "1" && version >= 252 => {
                return self.set("CPUWeight", Value::U64(0));
            }
            "cpuset.cpus" | "cpuset.mems" if version >= 244 => {
                let name = if file == "cpuset.cpus" {
                    "AllowedCPUs"
                } else {
                    "AllowedMemoryNodes"
                };
                if let Some(bits) = bitmap(value) {
                    self.set(name, Value::Array("y".into(), bits));
                }
                return;
            }
            _ => return,
        };
        let number = match value {
            "max" | "-1" => Some(INFINITY),
            number => number.parse().ok(),
        };
        if let Some(number) = number.filter(|_| version >= since) {
            self.set(name, Value::U64(number));
        }
    }

    fn add_quota(&mut self, quota: Option<&str>, period: u64, version: u32) {
        let quota = quota.and_then(|quota| quota.parse::<u64>().ok());
        let per_second = match quota.filter(|quota| *quota > 0 && period > 0) {
            Some(quota) => (quota.saturating_mul(1_000_000) / period).next_multiple_of(QUOTA_STEP),
            None => INFINITY,
        };
        self.set("CPUQuotaPerSecUSec", Value::U64(per_second));
        if version >= 242 {
            self.set("CPUQuotaPeriodUSec", Value::U64(period));
        }
    }

    /// At least what the rules allow: systemd puts its own program, or its own list, back with
    /// every reload of its configuration, and whoever loses a device by that has lost it.
    fn add_devices(&mut self, rules: &[Rule]) {
        let strict = device_allow(rules);
        let policy = if strict.is_some() { "strict" } else { "auto" };
        self.set("DevicePolicy", Value::str(policy));
        // An empty list forgets what was there; a list adds to it.
        self.0.push((
            "DeviceAllow".into(),
            Value::Array("(ss)".into(), Vec::new()),
        ));
        if let Some(allowed) = strict {
            let pair = |(node, access)| Value::Struct(vec![Value::Str(node), Value::Str(access)]);
            let pairs = allowed.into_iter().map(pair).collect();
            self.0
                .push(("DeviceAllow".into(), Value::Array("(ss)".into(), pairs)));
        }
    }

    /// `org.systemd.property.NAME`, which overrides whatever came before.
    fn add_annotations(&mut self, annotations: &BTreeMap<String, String>) -> Result<(), Error> {
        for (key, text) in annotations {
            let Some(name) = key.strip_prefix("org.systemd.property.") else {
                continue;
            };
            let refuse = |reason: String| {
                Error::property(format!("/annotations/{}", key.replace('/', "~1")), reason)
            };
            if name.len() < 3 {
                return Err(refuse("the name of the property is too short".into()));
            }
            if !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Err(refuse(
                    "the name of the property contains non-alphabetic character(s)".into(),
                ));
            }
            let value = systemd::text::parse(text).map_err(refuse)?;
            // Times are in microseconds on the bus, and in seconds in files.
            match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
                None => self.replace(name, value),
                Some(stem) => {
                    let micros = microseconds(&value)
                        .ok_or_else(|| refuse(format!("{text:?} is no number of seconds")))?;
                    self.replace(&format!("{stem}USec"), Value::U64(micros));
                }
            }
        }
        Ok(())
    }

    fn replace(&mut self, name: &str, value: Value) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value));
    }
}

fn microseconds(value: &Value) -> Option<u64> {
    let seconds = match value {
        Value::Byte(number) => f64::from(*number),
        Value::I16(number) => f64::from(*number),
        Value::U16(number) => f64::from(*number),
        Value::I32(number) => f64::from(*number),
        Value::U32(number) => f64::from(*number),
        Value::I64(number) => *number as f64,
        Value::U64(number) => *number as f64,
        Value::F64(number) => *number,
        _ => return None,
    };
    (0.0..1e12)
        .contains(&seconds)
        .then_some((seconds * 1e6) as u64)
}

/// `0-2,7` as bits, the lowest first; `None` for what is no such list.
fn bitmap(list: &str) -> Option<Vec<Value>> {
    let mut bits: Vec<u8> = Vec::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        // The kernel's CPU numbers end far below.
        if last > 0xffff {
            return None;
        }
        if bits.len() <= last / 8 {
            bits.resize(last / 8 + 1, 0);
        }
        (first..=last).for_each(|bit| bits[bit / 8] |= 1 << (bit % 8));
    }
    Some(bits.into_iter().map(Value::Byte).collect())
}

/// `DeviceAllow=` of everything that the rules may allow; `None` if that cannot be said.
fn device_allow(rules: &[Rule]) -> Option<Vec<(String, String)>> {
    let start = rules.iter().rposition(|rule| rule.kind == Kind::All);
    let rules = match start {
        Some(start) if rules[start].verdict == Verdict::Allow => return None,
        Some(start) => &rules[start + 1..],
        None => rules,
    };
    let mut allowed: Vec<(String, devices::Access)> = Vec::new();
    for rule in rules.iter().filter(|rule| rule.verdict == Verdict::Allow) {
        let (group, node) = match rule.kind {
            Kind::Block => ("block", "/dev/block"),
            _ => ("char", "/dev/char"),
        };
        let name = match (rule.major, rule.minor) {
            (None, None) => format!("{group}-*"),
            (Some(major), None) => format!("{group}-{major}"),
            (Some(major), Some(minor)) => format!("{node}/{major}:{minor}"),
            (None, Some(_)) => return None,
        };
        match allowed.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = known.1.with(rule.access),
            None => allowed.push((name, rule.access)),
        }
    }
    let text = |(name, access): (String, devices::Access)| (name, access.text());
    Some(allowed.into_iter().map(text).collect())
}

/// A list of CPUs, and a unit of a name from outside.
#[cfg(fuzzing)]
pub(super) fn understand(text: &str) {
    let _ = bitmap(text);
    if let Ok(unit) = Unit::plan(Some(Path::new(text)), "id", false) {
        let _ = unit.cgroup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str) -> Result<Unit, Error> {
        Unit::plan(Some(Path::new(path)), "web", false)
    }

    #[test]
    fn a_unit_is_named_and_placed_as_engines_expect() {
        for (path, name, cgroup) in [
            ("", "davit-web.scope", "system.slice/davit-web.scope"),
            (
                "machine.slice:libpod:4711",
                "libpod-4711.scope",
                "machine.slice/libpod-4711.scope",
            ),
            (
                "kubepods-burstable-pod1.slice:cri-containerd:ab",
                "cri-containerd-ab.scope",
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-ab.scope",
            ),
            ("-.slice:x:y", "x-y.scope", "x-y.scope"),
            (":x:y", "x-y.scope", "system.slice/x-y.scope"),
            ("a.slice::y", "y.scope", "a.slice/y.scope"),
            ("a.slice:p:", "p-web.scope", "a.slice/p-web.scope"),
            ("a.slice:p:a-b.slice", "a-b.slice", "a.slice/a-b.slice"),
        ] {
            let unit = unit(path).unwrap();
            assert_eq!(unit.name, name, "{path}");
            assert_eq!(unit.cgroup().unwrap(), Path::new(cgroup), "{path}");
        }
        let rootless = Unit::plan(None, "a+b", true).unwrap();
        assert_eq!(rootless.slice, "user.slice");
        assert_eq!(rootless.name, "davit-a\\x2bb.scope");
    }

    #[test]
    fn what_is_no_unit_is_refused_by_its_property() {
        for bad in [
            "/a/b",
            "a:b",
            "a:b:c:d",
            "a:b:c",
            "a--b.slice:x:y",
            "-a.slice:x:y",
            "a.slice:x:y/z",
            "a.slice:x:y z",
        ] {
            let error = unit(bad).unwrap_err().to_string();
            assert!(error.starts_with("/linux/cgroupsPath: "), "{bad}: {error}");
        }
        assert!(
            unit("/a/b")
                .unwrap_err()
                .to_string()
                .contains("\"slice:prefix:name\"")
        );
    }

    #[test]
    fn annotations_are_properties_and_seconds_become_microseconds() {
        let annotated = |key: &str, value: &str| {
            let mut list = Properties::default();
            let map = BTreeMap::from([(format!("org.systemd.property.{key}"), value.to_owned())]);
            list.add_annotations(&map).map(|()| list.0)
        };
        let one = |name: &str, value| vec![(name.to_owned(), value)];
        assert_eq!(
            annotated("TimeoutStopSec", "1.5").unwrap(),
            one("TimeoutStopUSec", Value::U64(1_500_000))
        );
        assert_eq!(
            annotated("TimeoutStopUSec", "uint64 5").unwrap(),
            one("TimeoutStopUSec", Value::U64(5))
        );
        assert_eq!(
            annotated("CollectMode", "'inactive'").unwrap(),
            one("CollectMode", Value::str("inactive"))
        );
        for (key, value, why) in [
            ("ab", "true", "too short"),
            ("Ab1", "true", "non-alphabetic"),
            ("TimeoutStopSec", "'1'", "no number of seconds"),
            ("Nice", "", "expected at"),
        ] {
            let error = annotated(key, value).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(
                error.starts_with("/annotations/org.systemd.property."),
                "{error}"
            );
        }
    }

    #[test]
    fn processors_are_bits() {
        let bytes = |list: &str| bitmap(list).map(|bits| bits.len());
        assert_eq!(bitmap("0-1,9"), Some(vec![Value::Byte(3), Value::Byte(2)]));
        assert_eq!(bytes(""), Some(0));
        assert_eq!(bytes("0-99999999"), None);
        assert_eq!(bytes("x"), None);
    }

    #[test]
    fn quotas_are_rounded_up_as_systemd_keeps_them() {
        let quota = |quota, period| {
            let mut list = Properties::default();
            list.add_quota(Some(quota), period, 252);
            list.0[0].1.clone()
        };
        assert_eq!(quota("50000", 100_000), Value::U64(500_000));
        assert_eq!(quota("33333", 100_000), Value::U64(340_000));
        assert_eq!(quota("max", 100_000), Value::U64(u64::MAX));
        assert_eq!(quota("-1", 100_000), Value::U64(u64::MAX));
    }

    /// The property that a file's value becomes, if there is one.
    fn property(file: &str, value: &str, version: u32) -> Option<(String, Value)> {
        let mut list = Properties::default();
        list.add_limit(file, value, version);
        list.0.pop()
    }

    #[test]
    fn every_limit_has_its_property() {
        for (file, name) in [
            ("cpu.weight", "CPUWeight"),
            ("cpu.shares", "CPUShares"),
            ("memory.max", "MemoryMax"),
            ("memory.limit_in_bytes", "MemoryLimit"),
            ("memory.high", "MemoryHigh"),
            ("memory.low", "MemoryLow"),
            ("memory.min", "MemoryMin"),
            ("memory.swap.max", "MemorySwapMax"),
            ("pids.max", "TasksMax"),
            ("io.weight", "IOWeight"),
            ("blkio.weight", "BlockIOWeight"),
        ] {
            let wanted = |value| Some((name.to_owned(), Value::U64(value)));
            assert_eq!(property(file, "77", 252), wanted(77), "{file}");
            assert_eq!(property(file, "max", 252), wanted(INFINITY), "{file}");
        }
        let bits = |name: &str| {
            Some((
                name.to_owned(),
                Value::Array("y".into(), vec![Value::Byte(4)]),
            ))
        };
        assert_eq!(property("cpuset.cpus", "2", 252), bits("AllowedCPUs"));
        assert_eq!(
            property("cpuset.mems", "2", 252),
            bits("AllowedMemoryNodes")
        );
        let idle = Some(("CPUWeight".to_owned(), Value::U64(0)));
        assert_eq!(property("cpu.idle", "1", 252), idle);
        assert_eq!(property("hugetlb.2MB.max", "1", 252), None);
    }

    #[test]
    fn an_older_systemd_is_not_told_what_it_does_not_know() {
        assert_eq!(property("memory.min", "1", 239), None);
        assert_eq!(property("cpuset.cpus", "0", 243), None);
        assert_eq!(property("cpu.idle", "1", 251), None);
        let names = |version| {
            let mut list = Properties::default();
            list.add_quota(Some("50000"), 100_000, version);
            list.0.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(241), ["CPUQuotaPerSecUSec"]);
        assert_eq!(names(242), ["CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec"]);
    }

    #[test]
    fn a_scope_is_delegated_and_forgotten_and_a_user_s_has_no_devices() {
        let plan = Plan::nowhere(None).unwrap();
        let names = |user: bool| -> Vec<(String, Value)> {
            let unit = Unit::plan(None, "web", user).unwrap();
            let none = BTreeMap::new();
            unit.properties("web", Some(7), &plan, 252, &none)
                .unwrap()
                .0
        };
        let of = |list: &[(String, Value)], wanted: &str| {
            let found = list.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let (root, user) = (names(false), names(true));
        assert_eq!(of(&root, "Delegate"), Some(Value::Bool(true)));
        assert_eq!(
            of(&root, "CollectMode"),
            Some(Value::str("inactive-or-failed"))
        );
        assert_eq!(of(&root, "Slice"), Some(Value::str("system.slice")));
        assert_eq!(of(&user, "Slice"), Some(Value::str("user.slice")));
        assert!(of(&root, "DevicePolicy").is_some());
        assert_eq!(of(&user, "DevicePolicy"), None);
        assert_eq!(of(&user, "DeviceAllow"), None);
    }
}
