//! Changes on a fake tree, where every file can be what a test wants, and on real cgroups of
//! version 1, where the kernel refuses.
#![allow(
    clippy::disallowed_methods,
    reason = "writes only into directories that it just made"
)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

/// A container's directory on each hierarchy of a host that is only files.
struct Fake {
    _dir: TempDir,
    cgroup: Cgroup,
    hierarchies: Hierarchies,
}

impl Fake {
    fn new(hierarchies: &[(&str, &[(&str, &str)])]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (mut paths, mut found) = (BTreeMap::new(), Hierarchies::default());
        for (controller, files) in hierarchies {
            let mount = root.join(if controller.is_empty() {
                "v2"
            } else {
                controller
            });
            let own = mount.join("box");
            std::fs::create_dir_all(&own).unwrap();
            for (file, text) in *files {
                std::fs::write(own.join(file), text).unwrap();
            }
            paths.insert((*controller).to_owned(), own);
            let controllers = match *controller {
                "" => ["cpu", "memory", "io", "pids", "cpuset"]
                    .map(str::to_owned)
                    .to_vec(),
                name => vec![name.to_owned()],
            };
            let hierarchy = Hierarchy {
                controllers,
                mount,
                own: "".into(),
            };
            match *controller {
                "" => found.v2 = Some(hierarchy),
                _ => found.v1.push(hierarchy),
            }
        }
        Self {
            _dir: dir,
            cgroup: Cgroup::from_saved(&paths),
            hierarchies: found,
        }
    }

    fn v1(cpu: &[(&str, &str)], memory: &[(&str, &str)]) -> Self {
        Self::new(&[("cpu", cpu), ("memory", memory)])
    }

    fn v2(files: &[(&str, &str)]) -> Self {
        let controllers = [("cgroup.controllers", "cpuset cpu io memory pids\n")];
        Self::new(&[("", &[&controllers, files].concat())])
    }

    fn plan(&self, patch: Value) -> Result<Update, Error> {
        self.cgroup.plan_update(&patch, &self.hierarchies)
    }

    fn writes(&self, patch: Value) -> Vec<String> {
        self.plan(patch).unwrap().writes()
    }

    fn refusal(&self, patch: Value) -> String {
        self.plan(patch).unwrap_err().to_string()
    }
}

const CPU_V2: [(&str, &str); 4] = [
    ("cpu.max", "50000 200000\n"),
    ("cpu.max.burst", "1000\n"),
    ("cpu.idle", "0\n"),
    ("cpu.weight", "100\n"),
];

#[test]
fn the_half_of_cpu_max_that_is_not_asked_for_stays() {
    let host = Fake::v2(&CPU_V2);
    assert_eq!(
        host.writes(json!({"cpu": {"quota": 30000}})),
        ["cpu.max=30000 200000"]
    );
    assert_eq!(
        host.writes(json!({"cpu": {"period": 80000}})),
        ["cpu.max=50000 80000"]
    );
    assert_eq!(
        host.writes(json!({"cpu": {"quota": -1, "period": 0}})),
        ["cpu.max=max 200000"]
    );
    assert_eq!(host.writes(json!({"cpu": {"shares": 2048}})).len(), 1);
    let unlimited = Fake::v2(&[("cpu.max", "max 70000\n")]);
    assert_eq!(
        unlimited.writes(json!({"cpu": {"period": 80000}})),
        ["cpu.max=max 80000"]
    );
}

#[test]
fn what_callers_send_for_nothing_changes_nothing() {
    let nothing = json!({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "memory": {"limit": 0, "swap": 0, "reservation": 0}, "blockIO": {"weight": 0},
        "pids": {}, "devices": [{"allow": true, "access": "rwm"}]});
    assert!(Fake::v2(&CPU_V2).writes(nothing.clone()).is_empty());
    assert!(Fake::v1(&[], &[]).writes(nothing).is_empty());
}

#[test]
fn swap_is_counted_from_the_limit_that_there_is() {
    let files = |limit| [("memory.max", limit), ("memory.swap.max", "max\n")];
    let swap = json!({"memory": {"swap": 300}});
    let limited = Fake::v2(&files("200\n"));
    assert_eq!(
        limited.writes(swap.clone()),
        ["memory.swap.max=100", "memory.max=200"]
    );
    let wanted = "/linux/resources/memory/swap: unable to set swap limit without memory limit";
    assert_eq!(Fake::v2(&files("max\n")).refusal(swap.clone()), wanted);
    let v1 = |limit| {
        Fake::v1(
            &[],
            &[
                ("memory.limit_in_bytes", limit),
                ("memory.memsw.limit_in_bytes", "500\n"),
            ],
        )
    };
    let both = [
        "memory.limit_in_bytes=200",
        "memory.memsw.limit_in_bytes=300",
    ];
    assert_eq!(v1("200\n").writes(swap.clone()), both);
    assert_eq!(v1("9223372036854771712\n").refusal(swap), wanted);
    assert_eq!(
        v1("200\n").writes(json!({"memory": {"limit": 400}})),
        ["memory.limit_in_bytes=400"]
    );
    let above = v1("200\n").refusal(json!({"memory": {"limit": 600}}));
    assert!(
        above.contains("memory+swap limit should be >= memory limit, and it is 500"),
        "{above}"
    );
}

#[test]
fn a_limit_below_the_usage_is_refused_if_that_is_to_be_looked_at() {
    let host = Fake::v2(&[("memory.max", "max\n"), ("memory.current", "4096\n")]);
    let patch = |check: bool| json!({"memory": {"limit": 4096, "checkBeforeUpdate": check}});
    assert_eq!(
        host.refusal(patch(true)),
        "rejecting memory limit 4096 <= usage 4096"
    );
    assert_eq!(host.writes(patch(false)), ["memory.max=4096"]);
}

#[test]
fn an_idle_group_has_no_weight() {
    let idle = [
        ("cpu.idle", "1\n"),
        ("cpu.weight", "0\n"),
        ("cpu.shares", "3\n"),
    ];
    for host in [Fake::v2(&idle), Fake::v1(&idle, &[])] {
        assert!(
            host.refusal(json!({"cpu": {"shares": 512}}))
                .contains("set cpu.idle to 0")
        );
        let writes = host.writes(json!({"cpu": {"shares": 512, "idle": 0}}));
        assert_eq!(writes[0], "cpu.idle=0");
        assert_eq!(writes.len(), 2);
    }
}

#[test]
fn a_missing_file_is_told_before_the_first_write() {
    let host = Fake::v1(&[("cpu.shares", "1024")], &[]);
    let error = host.refusal(json!({"cpu": {"shares": 2048}, "memory": {"limit": 4096}}));
    assert!(error.contains("/linux/resources/memory/limit"), "{error}");
    let shares = host.cgroup.current("cpu", "cpu.shares", "").unwrap();
    assert_eq!(shares.as_deref(), Some("1024"));
}

#[test]
fn what_is_wrong_in_the_patch_is_named() {
    let host = Fake::v1(&[], &[]);
    let error = host.refusal(json!({"memory": {"limit": "x"}}));
    assert!(
        error.starts_with("/linux/resources/memory/limit: "),
        "{error}"
    );
    assert_eq!(
        host.refusal(json!([])),
        "/linux/resources: is not an object"
    );
    let unified = host.refusal(json!({"unified": {"memory.high": "1"}}));
    assert!(unified.contains("needs cgroup v2"), "{unified}");
    let memory = json!({"memory": {"limit": 8192, "swap": 4096}});
    assert!(
        host.refusal(memory)
            .ends_with("memory+swap limit should be >= memory limit")
    );
}

#[test]
fn a_change_arrives() {
    let host = Fake::v2(&CPU_V2);
    let patch = json!({"cpu": {"quota": 150_000}, "unified": {"cpu.weight": "777"}});
    host.plan(patch).unwrap().apply().unwrap();
    assert_eq!(
        host.cgroup.current("cpu", "", "cpu.max").unwrap().unwrap(),
        "150000 200000"
    );
    assert_eq!(
        host.cgroup
            .current("cpu", "", "cpu.weight")
            .unwrap()
            .unwrap(),
        "777"
    );
}

#[test]
fn the_former_value_is_what_can_be_written() {
    for (file, written, text, wanted) in [
        ("pids.max", "5", "max\n", "max"),
        ("cpu.max", "1 2", "max 100000\n", "max 100000"),
        ("cpuset.cpus", "0", "\n", "\n"),
        (
            "memory.oom_control",
            "1",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
            "0",
        ),
        (
            "io.max",
            "8:0 rbps=9",
            "8:16 rbps=1\n8:0 rbps=5 wbps=max\n",
            "8:0 rbps=5 wbps=max",
        ),
        (
            "io.max",
            "8:0 rbps=9",
            "",
            "8:0 rbps=max wbps=max riops=max wiops=max",
        ),
        (
            "io.bfq.weight",
            "200",
            "default 100\n8:0 300\n",
            "default 100",
        ),
        ("io.bfq.weight", "8:0 200", "default 100\n", "8:0 default"),
        (
            "blkio.throttle.read_bps_device",
            "8:0 5",
            "8:16 4\n",
            "8:0 0",
        ),
        (
            "rdma.max",
            "mlx hca_handle=1",
            "mlx hca_handle=max hca_object=max\n",
            "mlx hca_handle=max hca_object=max",
        ),
    ] {
        assert_eq!(former(file, written, text), [wanted], "{file}");
    }
}

#[test]
fn recorded_limits_are_laid_over_each_other() {
    let device = |minor: u64, rate: u64| json!({"major": 8, "minor": minor, "rate": rate});
    let mut resources = json!({"cpu": {"period": 5, "shares": 9}, "devices": [{"allow": false}],
        "blockIO": {"throttleReadIOPSDevice": [device(0, 1), device(16, 2)]}});
    merge(
        &mut resources,
        &json!({"cpu": {"period": 0, "quota": 7, "burst": 0, "cpus": ""}, "devices": [],
            "memory": {"limit": 0, "swap": null, "reservation": 3}, "pids": {"limit": 0},
            "blockIO": {"throttleReadIOPSDevice": [device(16, 3), device(32, 4)]}}),
    );
    let wanted = json!({"cpu": {"period": 5, "shares": 9, "quota": 7, "burst": 0},
        "devices": [{"allow": false}],
        "blockIO": {"throttleReadIOPSDevice": [device(0, 1), device(16, 3), device(32, 4)]},
        "memory": {"reservation": 3}, "pids": {"limit": 0}});
    assert_eq!(resources, wanted);
    let mut none = Value::Null;
    merge(&mut none, &json!({"pids": {"limit": 4}}));
    assert_eq!(none, json!({"pids": {"limit": 4}}));
}

/// A real cgroup of version 1 with these controllers, removed at the end.
struct Real(Cgroup);

impl Real {
    fn new(controllers: &[&str]) -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("davit-test-update-{}-{count}", std::process::id());
        let found = Hierarchies::discover().unwrap();
        let mut paths = BTreeMap::new();
        for controller in controllers {
            let hierarchy = found
                .v1
                .iter()
                .find(|hierarchy| hierarchy.has(controller))?;
            let path = hierarchy.mount.join(&name);
            std::fs::create_dir_all(&path).ok()?;
            paths.insert((*controller).to_owned(), path);
        }
        Some(Self(Cgroup::from_saved(&paths)))
    }

    fn read(&self, controller: &str, file: &str) -> String {
        self.0.current(controller, file, "").unwrap().unwrap()
    }

    fn apply(&self, patch: Value) -> Result<(), Error> {
        self.0
            .plan_update(&patch, &Hierarchies::discover().unwrap())?
            .apply()
            .map(drop)
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.0.remove().unwrap();
    }
}

#[test]
fn a_refused_change_changes_nothing_and_an_accepted_one_only_what_it_says() {
    let Some(real) = Real::new(&["cpu", "cpuset", "memory", "pids"]) else {
        return eprintln!("SKIP: no cgroup v1 hierarchy to write to");
    };
    real.apply(json!({"cpu": {"quota": 50000, "period": 200_000}, "pids": {"limit": 9}}))
        .unwrap();
    let before = |real: &Real| {
        [
            real.read("cpu", "cpu.cfs_quota_us"),
            real.read("cpu", "cpu.cfs_period_us"),
            real.read("memory", "memory.limit_in_bytes"),
            real.read("memory", "memory.memsw.limit_in_bytes"),
            real.read("cpuset", "cpuset.cpus"),
            real.read("pids", "pids.max"),
        ]
    };
    let old = before(&real);
    assert_eq!(old[..2], ["50000", "200000"]);
    // Memory and CPU are written before the processors, of which this host has fewer.
    let refused = json!({"cpu": {"quota": 30000, "cpus": "0,4000"}, "pids": {"limit": 3},
        "memory": {"limit": 64 << 20, "swap": 96 << 20}});
    let error = real.apply(refused).unwrap_err().to_string();
    assert_eq!(error, "set /linux/resources/cpu/cpus");
    assert_eq!(before(&real), old);
    real.apply(json!({"cpu": {"quota": 30000}})).unwrap();
    assert_eq!(before(&real)[..2], ["30000", "200000"]);
    assert_eq!(before(&real)[2..], old[2..]);
}

#[test]
fn memory_and_swap_rise_and_fall_together() {
    let Some(real) = Real::new(&["memory"]) else {
        return eprintln!("SKIP: no cgroup v1 hierarchy to write to");
    };
    for limit in [64_i64 << 20, 256 << 20, 32 << 20, -1] {
        real.apply(json!({"memory": {"limit": limit, "swap": limit}}))
            .unwrap();
        let both = real.read("memory", "memory.memsw.limit_in_bytes");
        assert_eq!(both, real.read("memory", "memory.limit_in_bytes"));
        assert_eq!(both == limit.to_string(), limit > 0, "{both}");
    }
}

#[test]
fn a_unit_gets_back_what_was_in_the_files() {
    use systemd::Value::U64;
    let host = Fake::v2(&[("cpu.max", "50000 100000\n"), ("pids.max", "max\n")]);
    let update = host
        .plan(json!({"cpu": {"quota": 30000}, "pids": {"limit": 7}}))
        .unwrap();
    let applied = update.apply().unwrap();
    let mut told = applied.former_properties(252).0;
    told.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("CPUQuotaPerSecUSec", 500_000),
        ("CPUQuotaPeriodUSec", 100_000),
        ("TasksMax", u64::MAX),
    ];
    assert_eq!(
        told,
        expected.map(|(name, value)| (name.to_owned(), U64(value)))
    );
}
