//! `update`: other limits for a container that lives.
//!
//! Nothing changes but what is asked for. The limits after the change are kept in the state
//! directory, in its copy of config.json.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::cgroup::{Hierarchies, update};
use crate::container::{Container, Status};
use crate::container_id::ContainerId;
use crate::log;
use crate::resctrl::{self, Membership};
use crate::state_dir::{Record, StateRoot};

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// File with `linux.resources`, `-` for stdin; the limits below do not count then.
    pub resources: Option<PathBuf>,
    /// Names of [`LIMITS`] with their values.
    pub limits: Vec<(&'static str, String)>,
    /// Line for the cache in the schemata of its RDT group.
    pub l3_cache_schema: Option<String>,
    /// Line for memory bandwidth in the schemata of its RDT group.
    pub mem_bw_schema: Option<String>,
}

/// How a limit is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number, -1 allowed.
    Number,
    /// Bytes with or without a suffix, or -1.
    Size,
    /// As the kernel takes it.
    Text,
    /// Accepted, and told to have no effect.
    Ignored,
}

/// A flag, its object and member in `linux.resources`, its kind and its help.
pub type Limit = (&'static str, &'static str, &'static str, Kind, &'static str);

/// The flags that are limits.
pub const LIMITS: [Limit; 16] = [
    (
        "blkio-weight",
        "blockIO",
        "weight",
        Kind::Number,
        "share of block I/O, 10 to 1000",
    ),
    (
        "cpu-period",
        "cpu",
        "period",
        Kind::Number,
        "period of the CPU quota, in microseconds",
    ),
    (
        "cpu-quota",
        "cpu",
        "quota",
        Kind::Number,
        "CPU time in a period, in microseconds; -1: all",
    ),
    (
        "cpu-burst",
        "cpu",
        "burst",
        Kind::Number,
        "CPU time that may be saved up, in microseconds",
    ),
    (
        "cpu-share",
        "cpu",
        "shares",
        Kind::Number,
        "share of CPU time, 1024 is usual",
    ),
    (
        "cpu-rt-period",
        "cpu",
        "realtimePeriod",
        Kind::Number,
        "period of the realtime limit",
    ),
    (
        "cpu-rt-runtime",
        "cpu",
        "realtimeRuntime",
        Kind::Number,
        "realtime CPU time in a period",
    ),
    (
        "cpuset-cpus",
        "cpu",
        "cpus",
        Kind::Text,
        "processors, as in 0-2,7",
    ),
    (
        "cpuset-mems",
        "cpu",
        "mems",
        Kind::Text,
        "memory nodes, as in 0-2,7",
    ),
    ("kernel-memory", "", "", Kind::Ignored, "has no effect"),
    ("kernel-memory-tcp", "", "", Kind::Ignored, "has no effect"),
    (
        "memory",
        "memory",
        "limit",
        Kind::Size,
        "memory, in bytes or as 50M; -1: no limit",
    ),
    (
        "memory-reservation",
        "memory",
        "reservation",
        Kind::Size,
        "memory that is kept for it",
    ),
    (
        "memory-swap",
        "memory",
        "swap",
        Kind::Size,
        "memory and swap together; -1: no limit",
    ),
    (
        "cpu-idle",
        "cpu",
        "idle",
        Kind::Number,
        "1: runs only when nobody else wants to",
    ),
    (
        "pids-limit",
        "pids",
        "limit",
        Kind::Number,
        "number of tasks; -1: no limit",
    ),
];

/// Changes the limits of the container `id`.
pub fn run(root: &StateRoot, id: &str, flags: &Flags) -> Result<()> {
    let id = ContainerId::parse(id)?;
    // Before the lock: who writes to our stdin may take long.
    let patch = match &flags.resources {
        Some(path) => read(path)?,
        None => from_limits(&flags.limits)?,
    };
    let container = Container::open(root, &id)?;
    let _lock = container.state.lock()?;
    match container.status()? {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Stopped => bail!("container not running"),
        Status::Creating => bail!("container {:?} is still being created", id.as_str()),
    }
    let context = || format!("update container {:?}", id.as_str());
    let cgroup = container.cgroup()?;
    if !cgroup.is_present()? {
        bail!("update container {:?}: cgroup not exist", id.as_str());
    }
    let update = cgroup
        .plan_update(&patch, &Hierarchies::discover()?)
        .with_context(context)?;
    let schemata = Schemata::plan(
        flags,
        container.record()?,
        resctrl::mount_point().as_deref(),
    )?;
    let config = config_after(&container, &patch, flags)?;
    let applied = update.apply().with_context(context)?;
    let unit = container.record()?.unit();
    let rest = || {
        schemata.iter().try_for_each(Schemata::write)?;
        if let Some(unit) = &unit {
            // systemd rounds quotas, and the files have the last word.
            unit.set_limits(&update)?;
            update.apply()?;
        }
        let recorded = container.state.save_config(&config);
        recorded.context("record the limits")
    };
    let done: Result<()> = rest();
    if done.is_err() {
        // systemd writes files, too, so those come last.
        let told = unit.iter().try_for_each(|unit| unit.take_back(&applied));
        told.unwrap_or_else(|error| {
            log::warn(&format!("systemd keeps the refused limits: {error}"));
        });
        schemata.iter().for_each(Schemata::take_back);
        applied.take_back();
    }
    done.with_context(context)
}

/// A change of the container's RDT group.
struct Schemata<'a> {
    group: &'a Membership,
    lines: String,
    /// All lines as they were.
    former: String,
}

impl<'a> Schemata<'a> {
    /// Checks what is asked for on a machine whose resctrl is mounted at `root`.
    fn plan(flags: &Flags, record: &'a Record, root: Option<&Path>) -> Result<Option<Self>> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (l3, mb) = (given(&flags.l3_cache_schema), given(&flags.mem_bw_schema));
        if l3.is_some() && !resctrl::is_enabled(root, &resctrl::CACHE) {
            bail!("Intel RDT/CAT: l3 cache schema is not enabled");
        }
        if mb.is_some() && !resctrl::is_enabled(root, &resctrl::BANDWIDTH) {
            bail!("Intel RDT/MBA: memory bandwidth schema is not enabled");
        }
        let texts: Vec<String> = l3.into_iter().chain(mb).collect();
        if texts.is_empty() {
            return Ok(None);
        }
        let group = record.intel_rdt.as_ref();
        let group =
            group.context("updating a non-existent Intel RDT configuration is not supported")?;
        let former = group.schemata()?;
        let lines = texts.iter().flat_map(|text| text.lines());
        Ok(Some(Self {
            group,
            former,
            lines: lines.map(|line| format!("{line}\n")).collect(),
        }))
    }

    fn write(&self) -> Result<()> {
        self.group.set_schemata(&self.lines)
    }

    fn take_back(&self) {
        if let Err(error) = self.group.set_schemata(&self.former) {
            log::warn(&format!(
                "the old schemata could not be set back: {error:#}"
            ));
        }
    }
}

/// The container's configuration with its limits as they will be.
fn config_after(container: &Container, patch: &Value, flags: &Flags) -> Result<Vec<u8>> {
    let mut config: Value =
        serde_json::from_slice(&container.state.config()?).context("config.json")?;
    update::merge(&mut config["linux"]["resources"], patch);
    let schemas = [
        ("l3CacheSchema", &flags.l3_cache_schema),
        ("memBwSchema", &flags.mem_bw_schema),
    ];
    for (member, text) in schemas {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            config["linux"]["intelRdt"][member] = json!(text);
        }
    }
    serde_json::to_vec(&config).context("encode config.json")
}

fn read(path: &Path) -> Result<Value> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .read_to_end(&mut text)
            .context("read the resources from stdin")?;
    } else {
        text = std::fs::read(path).with_context(|| format!("open {path:?}"))?;
    }
    // Read by the types first: they refuse a property that is there twice.
    oci::from_slice::<oci::LinuxResources>(&text)
        .map_err(|problems| anyhow!("the resources in {path:?}: {problems}"))?;
    serde_json::from_slice(&text).context("read the resources")
}

fn from_limits(given: &[(&'static str, String)]) -> Result<Value> {
    let mut patch = json!({});
    for (name, text) in given.iter().filter(|(_, text)| !text.is_empty()) {
        let Some((_, object, member, kind, _)) = LIMITS.iter().find(|limit| limit.0 == *name)
        else {
            continue;
        };
        let invalid = || format!("invalid value for {name}: {text:?}");
        patch[*object][*member] = match kind {
            Kind::Ignored => {
                log::warn("Kernel memory settings are ignored and will be removed");
                continue;
            }
            Kind::Text => json!(text),
            Kind::Number => json!(text.parse::<i64>().with_context(invalid)?),
            Kind::Size => json!(bytes(text).with_context(invalid)?),
        };
    }
    Ok(patch)
}

/// `50M`, `1.5GiB`, `512 kb`, `4096`, `-1`: units are powers of 1024 however they are written.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let letter = unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(&unit);
    let shift = ["", "k", "m", "g", "t", "p"]
        .iter()
        .position(|known| *known == letter)?
        * 10;
    // "ib" alone is no unit.
    if shift == 0 && unit == "ib" {
        return None;
    }
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift);
    }
    let number: f64 = number.parse().ok()?;
    let bytes = number * (1_u64 << shift) as f64;
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a temporary directory")]
    fn schemata_that_are_taken_back_are_as_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("schemata");
        std::fs::write(&file, "L3:0=f\n").unwrap();
        let group = Membership {
            group: dir.path().to_owned(),
            made: false,
            monitor: None,
        };
        let former = group.schemata().unwrap();
        let change = Schemata {
            group: &group,
            lines: "L3:0=3\n".into(),
            former,
        };
        change.write().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "L3:0=3\n");
        change.take_back();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "L3:0=f\n");
    }

    #[test]
    fn sizes_have_binary_suffixes_in_any_case() {
        for (text, number) in [
            ("4096", 4096),
            ("50M", 50 << 20),
            ("50m", 50 << 20),
            ("50mb", 50 << 20),
            ("50MiB", 50 << 20),
            ("2 GB", 2 << 30),
            ("1.5k", 1536),
            ("100b", 100),
            ("1P", 1 << 50),
            ("-1", -1),
        ] {
            assert_eq!(bytes(text), Some(number), "{text}");
        }
        for bad in [
            "", "M", "foo", "-2", "1x", "1ib", "1.2.3", "9000000P", "1  k", "0x10", "1e3",
        ] {
            assert_eq!(bytes(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn schemata_need_a_processor_and_a_group() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let group = root.join("box");
        for name in ["info/MB", "box"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        #[allow(clippy::disallowed_methods, reason = "a file of this test alone")]
        std::fs::write(group.join("schemata"), "L3:0=fffff\n").unwrap();
        let membership = Membership {
            group: group.clone(),
            made: true,
            monitor: None,
        };
        let record = |intel_rdt| Record {
            intel_rdt,
            ..crate::container::tests::record_of_this_process()
        };
        let (with, without) = (record(Some(membership)), record(None));
        let flags = |l3: &str, mb: &str| Flags {
            l3_cache_schema: Some(l3.to_owned()),
            mem_bw_schema: Some(mb.to_owned()),
            ..Flags::default()
        };
        let refusal = |flags: Flags, record: &Record, root: Option<&Path>| {
            Schemata::plan(&flags, record, root)
                .err()
                .unwrap()
                .to_string()
        };
        assert!(
            Schemata::plan(&flags("", ""), &without, None)
                .unwrap()
                .is_none()
        );
        let wanted = "Intel RDT/MBA: memory bandwidth schema is not enabled";
        assert_eq!(refusal(flags("", "MB:0=20"), &with, None), wanted);
        let wanted = "Intel RDT/CAT: l3 cache schema is not enabled";
        assert_eq!(refusal(flags("L3:0=f", ""), &with, Some(root)), wanted);
        std::fs::create_dir(root.join("info/L3")).unwrap();
        let wanted = "updating a non-existent Intel RDT configuration is not supported";
        assert_eq!(refusal(flags("L3:0=f", ""), &without, Some(root)), wanted);
        let planned = Schemata::plan(&flags("L3:0=f", "MB:0=20"), &with, Some(root)).unwrap();
        planned.unwrap().write().unwrap();
        let text = std::fs::read_to_string(group.join("schemata")).unwrap();
        assert_eq!(text, "L3:0=f\nMB:0=20\n");
    }

    #[test]
    fn limits_become_resources() {
        let flags = [
            ("memory", "1M".into()),
            ("cpu-quota", "-1".into()),
            ("cpuset-cpus", "".into()),
        ];
        let patch = from_limits(&flags).unwrap();
        assert_eq!(
            patch,
            json!({"memory": {"limit": 1 << 20}, "cpu": {"quota": -1}})
        );
        let error = from_limits(&[("cpu-period", "abc".into())]).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("invalid value for cpu-period: "),
            "{error}"
        );
    }
}
