//! cgroup v2 through the file system: limits, the place in the tree, the view from inside.
//!
//! Skipped where `/sys/fs/cgroup` is not cgroup v2; `make test-vm` brings a machine.

use serde_json::{Value, json};
use testbed::Config;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, lacking, needs, row};

macro_rules! rows {
    ($(($feature:ident, $body:ident, $clause:literal)),* $(,)?) => {
        &[$(row!(Runtime, $feature, $body, $clause)),*]
    };
}

pub(crate) const ROWS: &[Row] = rows![
    (
        F169,
        the_process_is_in_its_v2_cgroup,
        "config-linux.md: cgroupsPath: the runtime MUST attach the container's process to that cgroup"
    ),
    (
        F175,
        the_usual_shares_become_the_usual_weight,
        "runc 1.3.2 and crun 1.23: shares 1024 is weight 100, 2 is 1, 262144 is 10000"
    ),
    (
        F176,
        v2_quota_period_and_burst_are_set,
        "config-linux.md: resources.cpu: quota, period, burst"
    ),
    (F176, v2_idle_is_set, "config-linux.md: resources.cpu.idle"),
    (
        F177,
        a_v2_cpuset_is_set,
        "config-linux.md: resources.cpu: cpus, mems"
    ),
    (
        F178,
        v2_memory_limits_are_set,
        "config-linux.md: resources.memory: limit, reservation"
    ),
    (
        F178,
        a_v2_memory_limit_holds,
        "config-linux.md: resources.memory.limit"
    ),
    (
        F179,
        v2_pids_limits_of_all_kinds_are_set,
        "config-linux.md: resources.pids.limit; -1 is no limit"
    ),
    (
        F180,
        v2_io_limits_are_set,
        "config-linux.md: resources.blockIO: weight, throttle devices"
    ),
    (
        F181,
        v2_huge_pages_are_limited_and_reserved,
        "config-linux.md: resources.hugepageLimits"
    ),
    (F182, v2_rdma_is_limited, "config-linux.md: resources.rdma"),
    (
        F183,
        the_unified_map_is_written_and_overrides,
        "config-linux.md: resources.unified"
    ),
    (
        F184,
        a_unified_key_of_a_missing_controller_is_refused,
        "config-linux.md: resources.unified: a controller that is not enabled MUST be an error"
    ),
    (
        F185,
        a_limit_below_the_usage_is_refused_if_asked,
        "config-linux.md: resources.memory.checkBeforeUpdate"
    ),
    (
        F186,
        a_frozen_v2_cgroup_is_refused,
        "runc 1.1: container's cgroup unexpectedly frozen"
    ),
    (
        F186,
        a_v2_cgroup_with_processes_is_kept,
        "runtime.md, delete: resources not created by this container MUST NOT be deleted"
    ),
    (
        F187,
        controllers_reach_a_deep_cgroup,
        "cgroup-v2.rst: cgroup.subtree_control, top-down"
    ),
    (
        F187,
        a_threaded_parent_is_lived_with,
        "cgroup-v2.rst, Threads: below a threaded cgroup only threaded controllers work"
    ),
    (
        F189,
        a_cgroup_namespace_shows_the_own_cgroup_as_root,
        "cgroup_namespaces(7): /proc/self/cgroup and the mount agree"
    ),
    (
        F189,
        without_a_cgroup_namespace_mount_and_path_agree,
        "config-linux.md: a mount of type cgroup: the container's cgroup is found by its path"
    ),
    (
        F190,
        exec_follows_an_init_that_made_cgroups,
        "runc#2356: init has moved itself to a sub-cgroup"
    ),
    (
        F193,
        v2_cgroups_below_go_with_the_container,
        "runtime.md, delete: MUST delete the resources that were created during the create step"
    ),
    (
        F197,
        a_limit_too_small_to_start_is_named,
        "config-linux.md: memory.limit; the error tells the reason"
    ),
    (
        F198,
        a_container_starts_with_512_kib_on_v2,
        "config-linux.md: resources.memory.limit applies to the container, not to the runtime"
    ),
    (
        F199,
        a_container_starts_with_one_task_on_v2,
        "config-linux.md: resources.pids.limit applies to the container, not to the runtime"
    ),
    (
        F192,
        all_processes_die_by_one_write,
        "cgroup-v2.rst: cgroup.kill"
    ),
    (
        F191,
        nobody_is_moved_by_a_pid_written,
        "clone(2): CLONE_INTO_CGROUP: no migration, no lock"
    ),
];

/// Skips where the hierarchy is not v2 alone, or lacks a controller.
fn needs_v2(controllers: &[&str]) -> Verdict {
    let here = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    needs!(here.is_ok(), "cgroup v2");
    let here = here.unwrap_or_default();
    for controller in controllers {
        let has = here.split_whitespace().any(|word| word == *controller);
        needs!(has, "the cgroup v2 controller {controller}");
    }
    Ok(())
}

fn with(resources: Value) -> Config {
    let entries = resources.as_object().into_iter().flatten();
    entries.fold(
        Config::new().args(&["sleep", "60"]),
        |config, (key, value)| config.set(&format!("/linux/resources/{key}"), value.clone()),
    )
}

/// A running container with these resources.
fn up<'a>(case: &'a Case<'a>, resources: Value) -> Verdict<Container<'a>> {
    let container = case.container(with(resources))?;
    container.up()?;
    Ok(container)
}

fn place(container: &Container<'_>) -> String {
    format!("/sys/fs/cgroup{}", container.cgroup)
}

/// A file of the container's cgroup.
fn file(container: &Container<'_>, name: &str) -> Verdict<String> {
    container
        .case
        .sh(&format!("cat {}/{name}", place(container)))
}

fn ensure_file(container: &Container<'_>, name: &str, value: &str) -> Verdict {
    let found = file(container, name)?;
    ensure_eq!(found, value, "{name}");
    Ok(())
}

fn the_process_is_in_its_v2_cgroup(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let container = up(case, json!({}))?;
    let text = case.sh(&format!("cat /proc/{}/cgroup", container.pid()?))?;
    ensure_eq!(text, format!("0::{}", container.cgroup), "its membership");
    container.exec(&["true"])?.succeeds()?;
    Ok(())
}

fn the_usual_shares_become_the_usual_weight(case: &Case<'_>) -> Verdict {
    needs_v2(&["cpu"])?;
    for (shares, weight) in [(1024, "100"), (2, "1"), (262_144, "10000")] {
        let container = up(case, json!({ "cpu": { "shares": shares } }))?;
        ensure_file(&container, "cpu.weight", weight)?;
        container.delete_force()?.succeeds()?;
    }
    Ok(())
}

fn v2_quota_period_and_burst_are_set(case: &Case<'_>) -> Verdict {
    needs_v2(&["cpu"])?;
    let cpu = json!({ "quota": 30_000, "period": 200_000, "burst": 20_000 });
    let container = up(case, json!({ "cpu": cpu }))?;
    ensure_file(&container, "cpu.max", "30000 200000")?;
    ensure_file(&container, "cpu.max.burst", "20000")
}

fn v2_idle_is_set(case: &Case<'_>) -> Verdict {
    needs_v2(&["cpu"])?;
    let container = up(case, json!({ "cpu": { "idle": 1 } }))?;
    ensure_file(&container, "cpu.idle", "1")
}

fn a_v2_cpuset_is_set(case: &Case<'_>) -> Verdict {
    needs_v2(&["cpuset"])?;
    let container = up(case, json!({ "cpu": { "cpus": "0", "mems": "0" } }))?;
    ensure_file(&container, "cpuset.cpus", "0")?;
    ensure_file(&container, "cpuset.mems", "0")?;
    ensure_eq!(
        container.exec(&["nproc"])?.succeeds()?.text(),
        "1",
        "nproc of exec"
    );
    Ok(())
}

fn v2_memory_limits_are_set(case: &Case<'_>) -> Verdict {
    needs_v2(&["memory"])?;
    let memory = json!({ "limit": 67_108_864, "reservation": 33_554_432, "swap": 67_108_864 });
    let container = up(case, json!({ "memory": memory }))?;
    ensure_file(&container, "memory.max", "67108864")?;
    ensure_file(&container, "memory.low", "33554432")?;
    // Memory and swap together are no more than memory: no swap.
    ensure_file(&container, "memory.swap.max", "0")?;
    container.delete_force()?.succeeds()?;
    let container = up(case, json!({ "memory": { "limit": -1 } }))?;
    ensure_file(&container, "memory.max", "max")
}

fn a_v2_memory_limit_holds(case: &Case<'_>) -> Verdict {
    needs_v2(&["memory"])?;
    let memory = json!({ "limit": 16_777_216, "swap": 16_777_216 });
    let container = up(case, json!({ "memory": memory }))?;
    let fill = ["sh", "-c", "dd if=/dev/zero of=/dev/shm/f bs=1M count=40"];
    ensure!(
        !container.exec(&fill)?.success(),
        "40 MiB fitted into 16 MiB"
    );
    Ok(())
}

fn v2_pids_limits_of_all_kinds_are_set(case: &Case<'_>) -> Verdict {
    needs_v2(&["pids"])?;
    for (limit, value) in [(7, "7"), (-1, "max")] {
        let container = up(case, json!({ "pids": { "limit": limit } }))?;
        ensure_file(&container, "pids.max", value)?;
        container.delete_force()?.succeeds()?;
    }
    Ok(())
}

fn v2_io_limits_are_set(case: &Case<'_>) -> Verdict {
    needs_v2(&["io"])?;
    let disk = case.sh("cat /sys/block/[vsn]*/dev 2>/dev/null | head -n 1")?;
    let (major, minor) = disk.split_once(':').ok_or_else(|| lacking("a disk"))?;
    let number = |text: &str| text.parse::<u64>().unwrap_or_default();
    let device =
        |rate: u64| json!([{ "major": number(major), "minor": number(minor), "rate": rate }]);
    let block_io = json!({
        "weight": 750,
        "throttleReadBpsDevice": device(1_048_576),
        "throttleWriteIOPSDevice": device(500),
    });
    let container = up(case, json!({ "blockIO": block_io }))?;
    let line = format!("{disk} rbps=1048576 wbps=max riops=max wiops=500");
    ensure_file(&container, "io.max", &line)?;
    let bfq = case.holds(&format!("test -e {}/io.bfq.weight", place(&container)))?;
    let (name, weight) = if bfq {
        ("io.bfq.weight", "default 750")
    } else {
        ("io.weight", "default 7475")
    };
    ensure_file(&container, name, weight)
}

fn v2_huge_pages_are_limited_and_reserved(case: &Case<'_>) -> Verdict {
    needs_v2(&["hugetlb"])?;
    let limit = json!([{ "pageSize": "2MB", "limit": 4_194_304 }]);
    let container = up(case, json!({ "hugepageLimits": limit }))?;
    ensure_file(&container, "hugetlb.2MB.max", "4194304")?;
    ensure_file(&container, "hugetlb.2MB.rsvd.max", "4194304")
}

fn v2_rdma_is_limited(case: &Case<'_>) -> Verdict {
    needs_v2(&["rdma"])?;
    let devices = case.sh("ls /sys/class/infiniband 2>/dev/null || :")?;
    let device = devices.lines().next().unwrap_or_default();
    needs!(!device.is_empty(), "an RDMA device");
    let limit = json!({ device: { "hcaHandles": 3, "hcaObjects": 100 } });
    let container = up(case, json!({ "rdma": limit }))?;
    let line = format!("{device} hca_handle=3 hca_object=100");
    let text = file(&container, "rdma.max")?;
    ensure!(text.contains(&line), "rdma.max is {text}");
    Ok(())
}

fn the_unified_map_is_written_and_overrides(case: &Case<'_>) -> Verdict {
    needs_v2(&["memory", "pids", "cpu"])?;
    let unified = json!({ "memory.high": "50331648", "pids.max": "42", "cpu.weight": "77" });
    let resources = json!({ "pids": { "limit": 9 }, "unified": unified });
    let container = up(case, resources)?;
    ensure_file(&container, "memory.high", "50331648")?;
    ensure_file(&container, "pids.max", "42")?;
    ensure_file(&container, "cpu.weight", "77")
}

fn a_unified_key_of_a_missing_controller_is_refused(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let container = case.container(with(json!({ "unified": { "nonsense.max": "1" } })))?;
    container.create()?.refuses()?;
    ensure!(
        !case.holds(&format!("test -e {}", place(&container)))?,
        "its cgroup is left"
    );
    Ok(())
}

fn a_limit_below_the_usage_is_refused_if_asked(case: &Case<'_>) -> Verdict {
    needs_v2(&["memory"])?;
    let container = up(case, json!({ "memory": { "limit": 134_217_728 } }))?;
    let fill = ["sh", "-c", "dd if=/dev/zero of=/dev/shm/f bs=1M count=20"];
    container.exec(&fill)?.succeeds()?;
    let limit = json!({ "memory": { "limit": 8_388_608, "checkBeforeUpdate": true } });
    let update = case.runtime(&["update", "--resources", "-", &container.id])?;
    case.call(&update.stdin(limit.to_string()))?.refuses()?;
    ensure_file(&container, "memory.max", "134217728")?;
    container.reaches("running")
}

fn a_frozen_v2_cgroup_is_refused(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let container = case.container(with(json!({})))?;
    case.sh(&format!(
        "mkdir {0}; echo 1 > {0}/cgroup.freeze",
        place(&container)
    ))?;
    let create = container.command(&["create", "--bundle", &container.dir()])?;
    let outcome = case.call(&create.deadline(std::time::Duration::from_secs(20)))?;
    outcome.refuses()?.says(&["frozen"])?;
    Ok(())
}

fn a_v2_cgroup_with_processes_is_kept(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let container = case.container(with(json!({})))?;
    let place = place(&container);
    case.sh(&format!(
        "mkdir {place}; sleep 64 & echo $! > {place}/cgroup.procs"
    ))?;
    container.create()?;
    container.delete_force()?;
    let left = case.sh(&format!("cat {place}/cgroup.procs || :"))?;
    ensure_eq!(
        left.lines().count(),
        1,
        "processes left of the one that was there"
    );
    Ok(())
}

fn controllers_reach_a_deep_cgroup(case: &Case<'_>) -> Verdict {
    needs_v2(&["pids", "memory"])?;
    let path = format!("/{}-deep/a/b", case.cgroup_prefix());
    let limits = json!({ "pids": { "limit": 30 }, "memory": { "limit": 67_108_864 } });
    let container = case.container(with(limits).set("/linux/cgroupsPath", path.as_str()))?;
    container.up()?;
    for (name, value) in [("pids.max", "30"), ("memory.max", "67108864")] {
        ensure_eq!(
            case.sh(&format!("cat /sys/fs/cgroup{path}/{name}"))?,
            value,
            "{name}"
        );
    }
    Ok(())
}

fn a_threaded_parent_is_lived_with(case: &Case<'_>) -> Verdict {
    needs_v2(&["pids", "memory"])?;
    let parent = format!("/{}-thr", case.cgroup_prefix());
    let inside = format!("/sys/fs/cgroup{parent}");
    case.sh(&format!(
        "mkdir -p {inside}/t; echo threaded > {inside}/t/cgroup.type"
    ))?;
    let path = format!("{parent}/t/c");
    let below =
        |resources: Value| case.container(with(resources).set("/linux/cgroupsPath", path.as_str()));
    // Memory belongs to the whole tree, so it cannot be limited here.
    below(json!({ "memory": { "limit": 67_108_864 } }))?
        .create()?
        .refuses()?;
    let container = below(json!({ "pids": { "limit": 30 } }))?;
    container.up()?;
    ensure_eq!(
        case.sh(&format!("cat /sys/fs/cgroup{path}/pids.max"))?,
        "30",
        "pids.max"
    );
    container.delete_force()?.succeeds()?;
    Ok(())
}

/// With a mount of `/sys/fs/cgroup`, in a cgroup namespace or not.
fn viewing(namespaced: bool, script: &str) -> Config {
    let config = Config::new()
        .mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "ro"],
        )
        .sh(script);
    match namespaced {
        true => config.push("/linux/namespaces", json!({ "type": "cgroup" })),
        false => config,
    }
}

fn a_cgroup_namespace_shows_the_own_cgroup_as_root(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let script =
        "cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/x 2>&1";
    let outcome = case.container(viewing(true, script))?.run()?;
    let text = outcome.text();
    let mut lines = text.lines();
    ensure_eq!(lines.next(), Some("0::/"), "its membership");
    ensure_eq!(
        lines.next(),
        Some("1"),
        "the processes at the root of the mount"
    );
    ensure!(text.contains("Read-only"), "it can write: {text}");
    Ok(())
}

fn without_a_cgroup_namespace_mount_and_path_agree(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let script = "cat /sys/fs/cgroup$(sed s/0::// /proc/self/cgroup)/cgroup.procs";
    let text = case.container(viewing(false, script))?.output()?;
    ensure!(
        text.lines().any(|pid| pid == "1"),
        "the processes there are {text}"
    );
    Ok(())
}

fn exec_follows_an_init_that_made_cgroups(case: &Case<'_>) -> Verdict {
    needs_v2(&["pids"])?;
    let script = "cd /sys/fs/cgroup; mkdir init; echo 1 > init/cgroup.procs; \
                  echo +pids > cgroup.subtree_control; echo done > /ready; sleep 60";
    let config = Config::new()
        .mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "rw"],
        )
        .push("/linux/namespaces", json!({ "type": "cgroup" }))
        .set("/linux/resources/pids", json!({ "limit": 50 }))
        .sh(script);
    let container = case.container(config)?;
    container.up()?;
    let ready = container.bundle.in_rootfs("/ready");
    case.sh(&format!(
        "timeout 10 sh -c 'until test -s {}; do sleep 0.1; done'",
        ready.display()
    ))?;
    let text = container
        .exec(&["cat", "/proc/self/cgroup"])?
        .succeeds()?
        .text();
    ensure_eq!(text, "0::/init", "the cgroup of exec");
    container.delete_force()?.succeeds()?;
    ensure!(
        !case.holds(&format!("test -e {}", place(&container)))?,
        "its cgroup is left"
    );
    Ok(())
}

fn v2_cgroups_below_go_with_the_container(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let container = up(case, json!({}))?;
    let place = place(&container);
    case.sh(&format!("mkdir -p {place}/a/b {place}/c"))?;
    container.delete_force()?.succeeds()?;
    ensure!(
        !case.holds(&format!("test -e {place}"))?,
        "its cgroup is left"
    );
    Ok(())
}

fn a_limit_too_small_to_start_is_named(case: &Case<'_>) -> Verdict {
    needs_v2(&["memory"])?;
    let container = case.container(with(json!({ "memory": { "limit": 4096 } })))?;
    let outcome = container.create()?.refuses()?;
    outcome.says(&["OOM", "oom", "memory limit"])?;
    ensure!(
        !case.holds(&format!("test -e {}", place(&container)))?,
        "its cgroup is left"
    );
    Ok(())
}

fn a_container_starts_with_512_kib_on_v2(case: &Case<'_>) -> Verdict {
    needs_v2(&["memory"])?;
    let container = case.container(with(json!({ "memory": { "limit": 524_288 } })))?;
    container.up()?;
    ensure_file(&container, "memory.max", "524288")
}

fn a_container_starts_with_one_task_on_v2(case: &Case<'_>) -> Verdict {
    needs_v2(&["pids"])?;
    let container = case.container(with(json!({ "pids": { "limit": 1 } })))?;
    container.up()?;
    ensure_file(&container, "pids.max", "1")
}

/// What strace sees of a command of the runtime about this container and of all its children,
/// which must end.
fn traced(container: &Container<'_>, calls: &str, options: &[&str]) -> Verdict<String> {
    let case = container.case;
    needs!(testbed::requires::is_installed("strace"), "strace");
    let trace = case.path("trace");
    let filter = format!("trace={calls}");
    let strace = [
        "strace", "-f", "-y", "-s", "200", "-o", &trace, "-e", &filter,
    ];
    let outcome = case.call(&container.command(options)?.within(&strace))?;
    outcome.succeeds()?;
    case.read("trace")
}

fn all_processes_die_by_one_write(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let config = with(json!({}))
        .share("pid")
        .sh("sleep 61 & sleep 61 & sleep 61");
    let container = case.container(config)?;
    container.up()?;
    let trace = traced(&container, "write", &["delete", "--force"])?;
    let write = |line: &&str| line.contains("cgroup.kill>") && line.contains("\"1\"");
    ensure!(
        trace.lines().any(|line| write(&line)),
        "nothing was written to cgroup.kill:\n{trace}"
    );
    let left = case.sh("busybox ps -o args | grep -c '[s]leep 61' || :")?;
    ensure_eq!(left, "0", "processes left");
    Ok(())
}

fn nobody_is_moved_by_a_pid_written(case: &Case<'_>) -> Verdict {
    needs_v2(&[])?;
    let config = Config::new().sh("cat /proc/self/cgroup > /member");
    let container = case.container(config)?;
    let dir = container.dir();
    let trace = traced(&container, "write", &["run", "--bundle", &dir])?;
    let moves = |line: &&str| line.contains("cgroup.procs>") && line.contains("write(");
    let moved = trace.lines().find(moves);
    ensure!(
        moved.is_none(),
        "a process was moved: {}",
        moved.unwrap_or_default()
    );
    let member = format!("0::{}", container.cgroup);
    ensure_eq!(container.left("/member")?, member, "its membership");
    Ok(())
}
