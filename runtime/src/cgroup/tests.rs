//! Plans as text, and real cgroups, which the tests make below names of their own and remove.
//!
//! A hybrid host serves both versions: its v2 hierarchy has freezer, kill and device programs
//! even if no controller is left for it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use oci::LinuxResources;
use serde_json::{Value, json};

use super::plan::Step;
use super::*;

fn hierarchy(controllers: &[&str], mount: &str, own: &str) -> Hierarchy {
    Hierarchy {
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        mount: mount.into(),
        own: own.into(),
    }
}

fn v1_host() -> Hierarchies {
    let one = |name: &str| hierarchy(&[name], &format!("/cg/{name}"), "");
    Hierarchies {
        v1: vec![
            hierarchy(&["cpu", "cpuacct"], "/cg/cpu,cpuacct", ""),
            one("cpuset"),
            hierarchy(&["memory"], "/cg/memory", "own/group"),
            one("pids"),
            one("blkio"),
            one("devices"),
            one("net_cls"),
        ],
        v2: Some(hierarchy(&["hugetlb"], "/cg/unified", "")),
    }
}

fn v2_host() -> Hierarchies {
    let controllers = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb", "rdma"];
    Hierarchies {
        v1: vec![],
        v2: Some(hierarchy(&controllers, "/cg", "user.slice/session.scope")),
    }
}

fn planned(host: &Hierarchies, resources: Value) -> Result<Plan, Error> {
    let resources: LinuxResources = oci::from_str(&resources.to_string()).unwrap();
    Plan::new(host, Some(Path::new("/davit/x")), "id", Some(&resources))
}

/// The writes of a plan, one per line; limits that may go in any order are joined by `|`.
fn writes(host: &Hierarchies, resources: Value) -> Vec<String> {
    let plan = planned(host, resources).unwrap();
    let show = |write: &plan::Write| {
        let files: Vec<String> = write
            .files
            .iter()
            .map(|(file, value)| format!("{file}={value}"))
            .collect();
        files.join(" or ")
    };
    let steps = plan.groups.iter().flat_map(|group| &group.steps);
    steps
        .map(|step| match step {
            Step::Write(write) => show(write),
            Step::AnyOrder(writes) => writes.iter().map(show).collect::<Vec<_>>().join(" | "),
        })
        .collect()
}

fn refusal(host: &Hierarchies, resources: Value) -> String {
    planned(host, resources).unwrap_err().to_string()
}

#[test]
fn paths_are_absolute_relative_or_the_container_s_id() {
    let paths = |host: &Hierarchies, path: Option<&str>| -> Vec<PathBuf> {
        let plan = Plan::new(host, path.map(Path::new), "id", None).unwrap();
        plan.groups.iter().map(plan::PlannedGroup::path).collect()
    };
    let v1 = paths(&v1_host(), Some("/a//./b"));
    assert_eq!(v1[0], Path::new("/cg/cpu,cpuacct/a/b"));
    assert_eq!(v1[2], Path::new("/cg/memory/a/b"));
    assert_eq!(v1[7], Path::new("/cg/unified/a/b"));
    assert_eq!(
        paths(&v1_host(), Some("a"))[2],
        Path::new("/cg/memory/own/group/a")
    );
    assert_eq!(
        paths(&v1_host(), None)[2],
        Path::new("/cg/memory/own/group/id")
    );
    assert_eq!(
        paths(&v1_host(), Some(""))[0],
        Path::new("/cg/cpu,cpuacct/id")
    );
    assert_eq!(paths(&v2_host(), Some("/a/b")), [Path::new("/cg/a/b")]);
    assert_eq!(
        paths(&v2_host(), Some("a/b")),
        [Path::new("/cg/user.slice/a/b")]
    );
}

#[test]
fn paths_that_leave_the_hierarchy_are_refused() {
    for (path, wanted) in [
        (
            "../x",
            "/linux/cgroupsPath: \"..\" leads out of the hierarchy",
        ),
        (
            "/a/../../b",
            "/linux/cgroupsPath: \"..\" leads out of the hierarchy",
        ),
        ("/", "/linux/cgroupsPath: names the root cgroup"),
        ("/a\nb", "/linux/cgroupsPath: has a control character"),
    ] {
        let error = Plan::new(&v2_host(), Some(Path::new(path)), "id", None).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}

fn everything() -> Value {
    json!({
        "cpu": {"shares": 1024, "quota": 50000, "period": 100000, "burst": 10, "cpus": "0-1",
                "mems": "0"},
        "memory": {"limit": 524288, "swap": 1048576, "reservation": 4096},
        "pids": {"limit": 1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]}
    })
}

#[test]
fn resources_become_files_of_v1() {
    assert_eq!(
        writes(&v1_host(), everything()),
        [
            "cpu.shares=1024",
            "cpu.cfs_period_us=100000 | cpu.cfs_quota_us=50000 | cpu.cfs_burst_us=10",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "memory.limit_in_bytes=524288 | memory.memsw.limit_in_bytes=1048576",
            "memory.soft_limit_in_bytes=4096",
            "pids.max=1",
            "blkio.bfq.weight=500 or blkio.weight=500",
            "blkio.throttle.read_bps_device=8:0 9",
            // This host has hugetlb on v2.
            "hugetlb.2MB.max=4194304",
            "hugetlb.2MB.rsvd.max=4194304",
        ]
    );
}

#[test]
fn resources_become_files_of_v2() {
    assert_eq!(
        writes(&v2_host(), everything()),
        [
            "memory.swap.max=524288",
            "memory.max=524288",
            "memory.low=4096",
            "cpu.weight=100",
            "cpu.max=50000 100000 | cpu.max.burst=10",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "io.bfq.weight=500 or io.weight=4950",
            "io.max=8:0 rbps=9",
            "pids.max=1",
            "hugetlb.2MB.max=4194304",
            "hugetlb.2MB.rsvd.max=4194304",
        ]
    );
}

#[test]
fn zero_and_minus_one_mean_what_callers_mean() {
    let unset = json!({"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": ""},
        "memory": {"limit": 0, "swap": 0, "disableOOMKiller": false}, "blockIO": {"weight": 0}});
    assert!(writes(&v1_host(), unset.clone()).is_empty());
    assert!(writes(&v2_host(), unset).is_empty());
    let unlimited = json!({"memory": {"limit": -1}, "pids": {"limit": -1}, "cpu": {"quota": -1}});
    assert_eq!(
        writes(&v1_host(), unlimited.clone()),
        [
            "cpu.cfs_quota_us=-1",
            "memory.limit_in_bytes=-1 | memory.memsw.limit_in_bytes=-1",
            "pids.max=max"
        ]
    );
    assert_eq!(
        writes(&v2_host(), unlimited),
        [
            "memory.swap.max=max",
            "memory.max=max",
            "cpu.max=max 100000",
            "pids.max=max"
        ]
    );
    let no_swap = json!({"memory": {"limit": 4096, "swap": 4096}});
    assert_eq!(
        writes(&v2_host(), no_swap),
        ["memory.swap.max=0", "memory.max=4096"]
    );
}

#[test]
fn shares_become_weights_through_the_three_known_points() {
    for (shares, weight) in [
        (1, 1),
        (2, 1),
        (1024, 100),
        (262_144, 10_000),
        (500_000, 10_000),
    ] {
        assert_eq!(v2::weight_of_shares(shares), weight, "{shares}");
    }
    let weights: Vec<u64> = (2..262_144).step_by(97).map(v2::weight_of_shares).collect();
    assert!(weights.is_sorted());
}

#[test]
fn unified_is_written_last_line_by_line_and_only_on_v2() {
    let unified = json!({"unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2\n", "memory.high": "9"},
        "memory": {"limit": 4096}});
    assert_eq!(
        writes(&v2_host(), unified.clone()),
        [
            "memory.max=4096",
            "io.max=8:0 rbps=1",
            "io.max=8:16 rbps=2",
            "memory.high=9"
        ]
    );
    assert_eq!(
        refusal(&v1_host(), unified),
        "/linux/resources/unified: needs cgroup v2, and this host has cgroup v1"
    );
    for (key, wanted) in [
        (
            "misc.max",
            "/linux/resources/unified/misc.max: unified resource \"misc.max\" can't be \
            set: controller \"misc\" not available",
        ),
        (
            "../memory.max",
            "/linux/resources/unified/..~1memory.max: is no file name of the form \
            CONTROLLER.PARAMETER",
        ),
        (
            "memory",
            "/linux/resources/unified/memory: is no file name of the form \
            CONTROLLER.PARAMETER",
        ),
        (
            "cgroup.procs",
            "/linux/resources/unified/cgroup.procs: is not a limit",
        ),
    ] {
        assert_eq!(refusal(&v2_host(), json!({"unified": {key: "1"}})), wanted);
    }
}

#[test]
fn a_refusal_names_the_property() {
    for (resources, wanted) in [
        (
            json!({"memory": {"swap": 4096}}),
            "/linux/resources/memory/swap: unable to set swap limit without memory limit",
        ),
        (
            json!({"memory": {"limit": 8192, "swap": 4096}}),
            "/linux/resources/memory/swap: memory+swap limit should be >= memory limit",
        ),
        (
            json!({"memory": {"limit": -2}}),
            "/linux/resources/memory/limit: is negative, and only -1 means no limit",
        ),
        (
            json!({"memory": {"swappiness": 101}}),
            "/linux/resources/memory/swappiness: must be between 0 and 100",
        ),
        (
            json!({"hugepageLimits": [{"pageSize": "2MiB", "limit": 1}]}),
            "/linux/resources/hugepageLimits/0/pageSize: \"2MiB\" is not of the form 2MB",
        ),
        (
            json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}),
            "/linux/resources/rdma/mlx5_1: needs the cgroup controller rdma, which this host does \
          not have",
        ),
    ] {
        assert_eq!(refusal(&v1_host(), resources), wanted);
    }
    for (resources, property) in [
        (json!({"memory": {"swappiness": 10}}), "memory/swappiness"),
        (
            json!({"memory": {"disableOOMKiller": true}}),
            "memory/disableOOMKiller",
        ),
        (
            json!({"cpu": {"realtimeRuntime": 9}}),
            "cpu/realtimeRuntime",
        ),
        (json!({"network": {"classID": 1}}), "network/classID"),
    ] {
        let wanted = format!("/linux/resources/{property}: cgroup v2 has nothing like it");
        assert_eq!(refusal(&v2_host(), resources), wanted);
    }
}

#[test]
fn a_saved_state_brings_the_same_cgroups_back() {
    let paths = [
        ("", "/cg/unified/x"),
        ("cpu", "/cg/c/x"),
        ("cpuacct", "/cg/c/x"),
    ];
    let saved = paths
        .map(|(name, path)| (name.to_owned(), PathBuf::from(path)))
        .into();
    assert_eq!(Cgroup::from_saved(&saved).saved_paths(), saved);
}

/// Real cgroups with a name of their own, removed at the end.
struct Real {
    cgroup: Cgroup,
    plan: Plan,
    hierarchies: Hierarchies,
    name: String,
    children: Vec<Child>,
}

/// Which hierarchies of the host a test uses.
#[derive(Clone, Copy, PartialEq)]
enum Use {
    V1,
    V2,
}

impl Real {
    fn new(which: Use, resources: Value) -> Option<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("/davit-test-{}-{count}", std::process::id());
        let mut hierarchies = Hierarchies::discover().unwrap();
        match which {
            Use::V1 => hierarchies
                .v1
                .iter()
                .any(|h| h.has("freezer"))
                .then_some(())?,
            Use::V2 => hierarchies.v1.clear(),
        }
        hierarchies
            .v2
            .as_ref()
            .filter(|_| which == Use::V2)
            .or(hierarchies.v1.first())?;
        let resources: LinuxResources = oci::from_str(&resources.to_string()).unwrap();
        let plan = Plan::new(&hierarchies, Some(Path::new(&name)), "id", Some(&resources)).unwrap();
        let cgroup = match Cgroup::create(&plan) {
            Ok(cgroup) => cgroup,
            Err(error) if matches!(error.errno(), Some(sys::Errno::EROFS | sys::Errno::EACCES)) => {
                return None;
            }
            Err(error) => panic!("{error}"),
        };
        Some(Self {
            cgroup,
            plan,
            hierarchies,
            name,
            children: Vec::new(),
        })
    }

    fn path(&self, controller: &str) -> PathBuf {
        self.cgroup.saved_paths()[controller].clone()
    }

    fn read(&self, controller: &str, file: &str) -> String {
        std::fs::read_to_string(self.path(controller).join(file))
            .unwrap()
            .trim()
            .to_owned()
    }

    /// A process that joins by itself, as init will, and then becomes `script`.
    fn spawn(&mut self, script: &str) -> &mut Child {
        let files = self
            .cgroup
            .saved_paths()
            .into_iter()
            .map(|(controller, path)| {
                path.join(if controller.is_empty() {
                    "cgroup.procs"
                } else {
                    "tasks"
                })
            });
        let joining = format!("for f in \"$@\"; do echo 0 > \"$f\" || exit 99; done; {script}");
        let mut command = Command::new("sh");
        command
            .args(["-c", &joining, "sh"])
            .args(files)
            .stdout(Stdio::piped());
        self.children.push(command.spawn().unwrap());
        let expected = self.children.len();
        wait_until("the child has joined", || {
            self.cgroup.processes().unwrap().len() >= expected
                || self
                    .children
                    .iter_mut()
                    .any(|child| child.try_wait().unwrap().is_some())
        });
        self.children.last_mut().unwrap()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.cgroup.kill_all(libc::SIGKILL).unwrap();
        for child in &mut self.children {
            child.wait().unwrap();
        }
        self.cgroup.remove().unwrap();
        assert!(!self.cgroup.is_present().unwrap(), "{} is left", self.name);
    }
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "not within 10 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

macro_rules! real {
    ($which:expr, $resources:expr) => {
        match Real::new($which, $resources) {
            Some(real) => real,
            None => return eprintln!("SKIP: no cgroup hierarchy of that version to write to"),
        }
    };
}

#[test]
fn a_process_joins_every_v1_hierarchy_by_itself() {
    let mut real = real!(Use::V1, json!({}));
    assert_eq!(real.plan.saved_paths(), real.cgroup.saved_paths());
    let wanted = real.cgroup.groups_v1();
    assert_eq!(real.cgroup.join_files().unwrap().len(), wanted);
    let child = real.spawn("exec sleep 60");
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    let inside = own
        .lines()
        .filter(|line| line.ends_with(&real.name))
        .count();
    assert!(inside >= wanted, "{own}");
}

#[test]
fn half_a_mebibyte_and_one_process_are_enough_to_start() {
    let resources = json!({"memory": {"limit": 524288}, "pids": {"limit": 1}});
    let mut real = real!(Use::V1, resources);
    real.cgroup.apply(&real.plan).unwrap();
    assert_eq!(real.read("memory", "memory.limit_in_bytes"), "524288");
    assert_eq!(real.read("pids", "pids.max"), "1");
    assert_eq!(real.cgroup.oom_kill_count().unwrap(), Some(0));
    let child = real.spawn("exec true");
    assert!(child.wait().unwrap().success());
    let forking = real.spawn("(true) || exit 7");
    assert!(!forking.wait().unwrap().success());
}

#[test]
fn a_process_that_takes_too_much_memory_is_counted() {
    let mut real = real!(Use::V1, json!({"memory": {"limit": 4194304}}));
    real.cgroup.apply(&real.plan).unwrap();
    let hungry = real.spawn("exec dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null");
    assert!(!hungry.wait().unwrap().success());
    assert_eq!(real.cgroup.oom_kill_count().unwrap(), Some(1));
}

#[test]
fn limits_can_grow_and_shrink_in_one_step() {
    let real = real!(Use::V1, json!({}));
    for limit in [8_i64 << 20, 64 << 20, 4 << 20] {
        let resources = json!({"memory": {"limit": limit, "swap": limit},
            "cpu": {"period": limit >> 8, "quota": limit >> 9}});
        let resources: LinuxResources = oci::from_str(&resources.to_string()).unwrap();
        let plan = Plan::new(
            &real.hierarchies,
            Some(Path::new(&real.name)),
            "id",
            Some(&resources),
        );
        match real.cgroup.apply(&plan.unwrap()) {
            Ok(()) => {}
            Err(error @ Error::Limit { .. }) if error.errno() == Some(sys::Errno::ENOENT) => {
                return eprintln!("SKIP: no memory.memsw.limit_in_bytes");
            }
            Err(error) => panic!("{error}: {:?}", error.errno()),
        }
        assert_eq!(
            real.read("memory", "memory.memsw.limit_in_bytes"),
            limit.to_string()
        );
    }
}

#[test]
fn an_inhabited_or_frozen_cgroup_is_refused_and_nothing_is_left() {
    let mut real = real!(Use::V1, json!({}));
    real.cgroup.freeze().unwrap();
    assert!(real.cgroup.is_frozen().unwrap());
    let error = Cgroup::create(&real.plan).unwrap_err();
    assert_eq!(error.to_string(), "container's cgroup unexpectedly frozen");
    real.cgroup.thaw().unwrap();
    real.spawn("exec sleep 60");
    let error = Cgroup::create(&real.plan).unwrap_err();
    assert_eq!(
        error.to_string(),
        "container's cgroup is not empty: 1 process(es) found"
    );
    // One hierarchy has an inhabited directory, the others have none yet.
    let name = format!("{}-b", real.name);
    let plan = Plan::new(&real.hierarchies, Some(Path::new(&name)), "id", None).unwrap();
    let last = plan.groups.last().unwrap().path();
    std::fs::create_dir(&last).unwrap();
    let dir = sys::Dir::open(&last).unwrap();
    sys::kernel_file::write(&dir, "cgroup.procs", &real.children[0].id().to_string()).unwrap();
    assert!(matches!(
        Cgroup::create(&plan),
        Err(Error::NotEmpty { processes: 1 })
    ));
    let left = plan
        .groups
        .iter()
        .filter(|group| group.path().is_dir())
        .count();
    assert_eq!(left, 1, "only what was there before");
    real.cgroup.kill_all(libc::SIGKILL).unwrap();
    real.children[0].wait().unwrap();
    wait_until("the other cgroup is empty", || {
        std::fs::remove_dir(&last).is_ok()
    });
}

fn stops_and_goes(which: Use) {
    let mut real = real!(which, json!({}));
    real.spawn("while :; do :; done");
    real.cgroup.freeze().unwrap();
    assert!(real.cgroup.is_frozen().unwrap());
    real.cgroup.thaw().unwrap();
    assert!(!real.cgroup.is_frozen().unwrap());
    // A frozen one is killed all the same.
    real.cgroup.freeze().unwrap();
    real.cgroup.kill_all(libc::SIGKILL).unwrap();
    assert!(real.cgroup.processes().unwrap().is_empty());
}

#[test]
fn a_v1_cgroup_freezes_thaws_and_dies() {
    stops_and_goes(Use::V1);
}

#[test]
fn a_v2_cgroup_freezes_thaws_and_dies() {
    stops_and_goes(Use::V2);
}

fn forks_without_end(which: Use) {
    let mut real = real!(which, json!({}));
    real.spawn("while :; do sleep 5 & sleep 0.01; done");
    wait_until("there are several", || {
        real.cgroup.processes().unwrap().len() > 3
    });
    real.cgroup.kill_all(libc::SIGKILL).unwrap();
    assert!(real.cgroup.processes().unwrap().is_empty());
    assert!(!real.cgroup.is_frozen().unwrap());
}

#[test]
fn whoever_forks_in_v1_does_not_escape_the_kill() {
    forks_without_end(Use::V1);
}

#[test]
fn whoever_forks_in_v2_does_not_escape_the_kill() {
    forks_without_end(Use::V2);
}

#[test]
fn another_signal_is_sent_once_to_each() {
    let mut real = real!(Use::V1, json!({}));
    let child = real.spawn("trap 'exit 42' TERM; while :; do :; done").id();
    std::thread::sleep(Duration::from_millis(20));
    real.cgroup.kill_all(libc::SIGTERM).unwrap();
    let ended = real
        .children
        .iter_mut()
        .find(|known| known.id() == child)
        .unwrap();
    assert_eq!(ended.wait().unwrap().code(), Some(42));
}

#[test]
fn cgroups_that_the_container_made_go_with_it() {
    for which in [Use::V1, Use::V2] {
        let real = real!(which, json!({}));
        for path in real.cgroup.saved_paths().into_values() {
            std::fs::create_dir_all(path.join("a/b")).unwrap();
            std::fs::create_dir(path.join("c")).unwrap();
        }
        real.cgroup.remove().unwrap();
        assert!(!real.cgroup.is_present().unwrap());
        real.cgroup.remove().expect("what is gone is no error");
    }
}

#[test]
fn a_cgroup_that_stays_busy_is_reported_with_its_processes() {
    let mut real = real!(Use::V2, json!({}));
    let pid = real.spawn("exec sleep 60").id();
    let text = real.cgroup.remove().unwrap_err().to_string();
    assert!(
        text.ends_with(&format!("after 1 s, processes left: {pid}")),
        "{text}"
    );
}

fn guards_devices(which: Use) {
    let resources = json!({"devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]});
    let mut real = real!(which, resources);
    // Twice, because the second time a program is replaced.
    for _ in 0..2 {
        match real.cgroup.apply(&real.plan) {
            Err(error) if error.errno() == Some(sys::Errno::EPERM) => {
                return eprintln!("SKIP: {error}");
            }
            result => result.unwrap(),
        }
    }
    let script = "head -c 1 /dev/zero >/dev/null || exit 1; : >/dev/kmsg || exit 2; \
        head -c 1 /dev/kmsg >/dev/null 2>&1 && exit 3; exit 0";
    assert_eq!(real.spawn(script).wait().unwrap().code(), Some(0));
}

#[test]
fn a_v1_cgroup_guards_devices() {
    guards_devices(Use::V1);
}

#[test]
fn a_v2_cgroup_guards_devices() {
    guards_devices(Use::V2);
}

/// Not a promise, only the number: `cargo test --release -- --ignored --nocapture cgroup_time`.
#[test]
#[ignore = "a measurement"]
fn cgroup_time() {
    let hierarchies = Hierarchies::discover().unwrap();
    let name = format!("/davit-test-{}-time", std::process::id());
    let resources = json!({"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 9},
        "memory": {"limit": 1 << 30}, "cpu": {"shares": 512}});
    let resources: LinuxResources = oci::from_str(&resources.to_string()).unwrap();
    let mut times: Vec<[Duration; 5]> = (0..50)
        .map(|_| {
            let start = Instant::now();
            Hierarchies::discover().unwrap();
            let discovered = start.elapsed();
            let plan = Plan::new(&hierarchies, Some(Path::new(&name)), "id", Some(&resources));
            let plan = plan.unwrap();
            let planned = start.elapsed();
            let cgroup = Cgroup::create(&plan).unwrap();
            let created = start.elapsed();
            cgroup.apply(&plan).unwrap();
            drop(cgroup.join_files().unwrap());
            let applied = start.elapsed();
            cgroup.remove().unwrap();
            [
                discovered,
                planned - discovered,
                created - planned,
                applied - created,
                start.elapsed() - applied,
            ]
        })
        .collect();
    times.sort_unstable_by_key(|times| times.iter().sum::<Duration>());
    println!(
        "discover, plan, create, apply, remove (median): {:?}",
        times[25]
    );
}
