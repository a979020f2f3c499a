//! cgroups as this machine has them: v1, each controller on its own mount.

use serde_json::{Value, json};
use testbed::Config;

use super::lifecycle::FEW_FILES;
use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, lacking, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F171,
        the_process_is_in_the_cgroup_of_every_controller,
        "config-linux.md: cgroupsPath: the runtime MUST attach the container's process to that cgroup"
    ),
    row!(
        Runtime,
        F171,
        cpu_shares_and_quota_are_set,
        "config-linux.md: resources.cpu: shares, quota, period"
    ),
    row!(
        Runtime,
        F171,
        cpuset_cpus_are_set,
        "config-linux.md: resources.cpu: cpus, mems"
    ),
    row!(
        Runtime,
        F178,
        a_memory_limit_is_set,
        "config-linux.md: resources.memory: limit in bytes"
    ),
    row!(
        Runtime,
        F178,
        a_memory_limit_holds,
        "config-linux.md: resources.memory: limit in bytes"
    ),
    row!(
        Runtime,
        F179,
        a_pids_limit_is_set,
        "config-linux.md: resources.pids.limit: maximum number of tasks"
    ),
    row!(
        Runtime,
        F179,
        exec_looks_into_a_full_container,
        "v1 pids.rst: organisational operations are not blocked by cgroup policies"
    ),
    row!(
        Runtime,
        F173,
        an_absolute_cgroups_path_starts_at_the_mount,
        "config-linux.md: cgroupsPath: an absolute path MUST be relative to the cgroups mount point"
    ),
    row!(
        Runtime,
        F173,
        without_a_cgroups_path_containers_do_not_share_one,
        "config-linux.md: cgroupsPath: a given path leads to the same place; without one the runtime chooses, and limits are per container"
    ),
    row!(
        Runtime,
        S186,
        an_unfit_cgroup_is_an_error_or_no_obstacle,
        "config-linux.md, control groups: check if the container cgroup is fit for purpose, and MUST generate an error if such a check fails"
    ),
    row!(
        Runtime,
        F186,
        a_cgroup_with_processes_is_refused_or_kept,
        "runtime.md, delete: resources not created by this container MUST NOT be deleted"
    ),
    row!(
        Runtime,
        F193,
        delete_removes_cgroups_made_below,
        "runtime.md, delete: MUST delete the resources that were created during the create step"
    ),
    row!(
        Runtime,
        F193,
        delete_removes_cgroups_however_deep_they_are,
        "runtime.md, delete: as before, of a container that nests more cgroups than the caller may open files"
    ),
    row!(
        Runtime,
        F127,
        exec_is_in_the_cgroup_of_the_container,
        "runc-exec(8): the process joins the container's cgroup"
    ),
    row!(
        Runtime,
        F198,
        a_container_starts_with_512_kib,
        "config-linux.md: resources.memory.limit applies to the container, not to the runtime"
    ),
    row!(
        Runtime,
        F199,
        a_container_starts_with_one_task,
        "config-linux.md: resources.pids.limit applies to the container, not to the runtime"
    ),
    row!(
        Runtime,
        F172,
        containers_run_beside_a_v2_hierarchy,
        "hybrid: v1 controllers with cgroup2 at /sys/fs/cgroup/unified"
    ),
];

fn needs_v1(controller: &str) -> Verdict {
    needs!(
        testbed::requires::has_cgroup_v1(controller),
        "cgroup v1 controller {controller}"
    );
    Ok(())
}

/// A sleeping container with these resources, in a machine that has `controller`.
fn up_with<'a>(
    case: &'a Case<'a>,
    controller: &str,
    resources: &[(&str, Value)],
) -> Verdict<Container<'a>> {
    needs_v1(controller)?;
    let config = resources
        .iter()
        .fold(Config::new(), |config, (key, value)| {
            config.set(&format!("/linux/resources/{key}"), value.clone())
        });
    let container = case.container(config.args(&["sleep", "60"]))?;
    container.up()?;
    Ok(container)
}

fn the_process_is_in_the_cgroup_of_every_controller(case: &Case<'_>) -> Verdict {
    let container = up_with(case, "pids", &[])?;
    let text = case.sh(&format!("cat /proc/{}/cgroup", container.pid()?))?;
    for controller in [
        "memory", "pids", "devices", "cpu", "cpuset", "blkio", "freezer",
    ] {
        let line = format!(":{controller}:{}", container.cgroup);
        ensure!(text.contains(&line), "{line} is missing in\n{text}");
    }
    Ok(())
}

fn cpu_shares_and_quota_are_set(case: &Case<'_>) -> Verdict {
    let cpu = json!({ "shares": 512, "quota": 50_000, "period": 200_000 });
    let container = up_with(case, "cpu", &[("cpu", cpu)])?;
    ensure_eq!(
        container.cgroup_file("cpu", "cpu.shares")?,
        "512",
        "cpu.shares"
    );
    ensure_eq!(
        container.cgroup_file("cpu", "cpu.cfs_quota_us")?,
        "50000",
        "quota"
    );
    ensure_eq!(
        container.cgroup_file("cpu", "cpu.cfs_period_us")?,
        "200000",
        "period"
    );
    Ok(())
}

fn cpuset_cpus_are_set(case: &Case<'_>) -> Verdict {
    let container = up_with(
        case,
        "cpuset",
        &[("cpu", json!({ "cpus": "0", "mems": "0" }))],
    )?;
    ensure_eq!(
        container.cgroup_file("cpuset", "cpuset.cpus")?,
        "0",
        "cpuset.cpus"
    );
    ensure_eq!(
        container.exec(&["nproc"])?.succeeds()?.text(),
        "1",
        "nproc of exec"
    );
    Ok(())
}

fn a_memory_limit_is_set(case: &Case<'_>) -> Verdict {
    let container = up_with(
        case,
        "memory",
        &[("memory", json!({ "limit": 33_554_432 }))],
    )?;
    ensure_eq!(
        container.cgroup_file("memory", "memory.limit_in_bytes")?,
        "33554432",
        "limit"
    );
    Ok(())
}

fn a_memory_limit_holds(case: &Case<'_>) -> Verdict {
    let resources = [("memory", json!({ "limit": 16_777_216, "swap": 16_777_216 }))];
    let container = up_with(case, "memory", &resources)?;
    let script = "dd if=/dev/zero of=/dev/shm/f bs=1M count=40";
    let outcome = container.exec(&["sh", "-c", script])?;
    ensure!(!outcome.success(), "40 MiB fitted into 16 MiB:\n{outcome}");
    Ok(())
}

fn a_pids_limit_is_set(case: &Case<'_>) -> Verdict {
    let container = up_with(case, "pids", &[("pids", json!({ "limit": 7 }))])?;
    ensure_eq!(container.cgroup_file("pids", "pids.max")?, "7", "pids.max");
    Ok(())
}

fn exec_looks_into_a_full_container(case: &Case<'_>) -> Verdict {
    let container = up_with(case, "pids", &[("pids", json!({ "limit": 1 }))])?;
    // More than once: whether a program with threads finds room is a race.
    for _ in 0..60 {
        container.exec(&["true"])?.succeeds()?;
    }
    let seen = container.exec(&["cat", "/proc/self/cgroup"])?;
    let seen = seen.succeeds()?.text();
    let own = case.call(&case.host.command(["cat", "/proc/self/cgroup"]))?;
    let own = own.succeeds()?.text();
    let stayed: Vec<_> = seen
        .lines()
        .filter(|line| line.contains(":pids:") && own.contains(line))
        .collect();
    ensure!(stayed.is_empty(), "outside of the container's: {stayed:?}");
    Ok(())
}

fn an_absolute_cgroups_path_starts_at_the_mount(case: &Case<'_>) -> Verdict {
    needs_v1("pids")?;
    let path = format!("/{}-deep/er", case.cgroup_prefix());
    let config = Config::new()
        .set("/linux/cgroupsPath", path.as_str())
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    container.up()?;
    let tasks = case.sh(&format!("cat /sys/fs/cgroup/pids{path}/cgroup.procs"))?;
    ensure!(
        tasks
            .lines()
            .any(|pid| Some(pid.to_owned()) == container.pid().ok().map(|pid| pid.to_string())),
        "tasks are {tasks}"
    );
    Ok(())
}

fn without_a_cgroups_path_containers_do_not_share_one(case: &Case<'_>) -> Verdict {
    needs_v1("pids")?;
    let mut cgroups = Vec::new();
    for _ in 0..2 {
        // Null is "not there": Case would otherwise choose a path.
        let config = Config::new()
            .set("/linux/cgroupsPath", Value::Null)
            .args(&["sleep", "60"]);
        let mut value = config.value().clone();
        let container = case.container(config)?;
        if let Some(linux) = value["linux"].as_object_mut() {
            linux.remove("cgroupsPath");
        }
        let id = format!("{}-{}", case.cgroup_prefix(), container.id);
        std::fs::write(
            container.bundle.dir().join("config.json"),
            value.to_string(),
        )?;
        let run = ["create", "--bundle", &container.dir(), &id];
        case.call(&case.runtime(&run)?)?.succeeds()?;
        let state = case
            .call(&case.runtime(&["state", &id])?)?
            .succeeds()?
            .stdout;
        let state: Value = serde_json::from_slice(&state)?;
        let text = case.sh(&format!("grep :pids: /proc/{}/cgroup", state["pid"]))?;
        case.call(&case.runtime(&["delete", "--force", &id])?)?
            .succeeds()?;
        cgroups.push(text);
    }
    ensure!(cgroups[0] != cgroups[1], "both are in {}", cgroups[0]);
    ensure!(
        !cgroups[0].ends_with(":/"),
        "the container is in the root cgroup"
    );
    Ok(())
}

fn an_unfit_cgroup_is_an_error_or_no_obstacle(case: &Case<'_>) -> Verdict {
    needs_v1("pids")?;
    let cgroup = format!("/{}-unfit", case.cgroup_prefix());
    let directory = format!("/sys/fs/cgroup/pids{cgroup}");
    case.sh(&format!(
        "mkdir {directory}; sleep 64 & echo $! > {directory}/cgroup.procs"
    ))?;
    let config = Config::new().set("/linux/cgroupsPath", cgroup.as_str());
    let container = case.container(config.sh("echo ran > /ran"))?;
    // A runtime may look or not: what it finds is an error, and without one the container is whole.
    if container.create()?.refused() {
        return Ok(());
    }
    container.start()?.succeeds()?;
    container.reaches("stopped")?;
    ensure_eq!(container.left("/ran")?, "ran", "what the program left");
    Ok(())
}

fn a_cgroup_with_processes_is_refused_or_kept(case: &Case<'_>) -> Verdict {
    needs_v1("pids")?;
    let cgroup = format!("/{}-used", case.cgroup_prefix());
    let directory = format!("/sys/fs/cgroup/pids{cgroup}");
    case.sh(&format!(
        "mkdir {directory}; sleep 64 & echo $! > {directory}/cgroup.procs"
    ))?;
    let config = Config::new()
        .set("/linux/cgroupsPath", cgroup.as_str())
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    container.create()?;
    container.delete_force()?;
    let survivors = case.sh("busybox ps -o args | grep -c '[s]leep 64' || :")?;
    ensure_eq!(survivors, "1", "processes of others after delete --force");
    ensure_eq!(
        case.sh(&format!("wc -l < {directory}/cgroup.procs"))?,
        "1",
        "in their cgroup"
    );
    Ok(())
}

fn delete_removes_cgroups_made_below(case: &Case<'_>) -> Verdict {
    let container = up_with(case, "pids", &[])?;
    let directory = format!("/sys/fs/cgroup/pids{}", container.cgroup);
    case.sh(&format!("mkdir -p {directory}/below/it"))?;
    container.stop()?;
    container.delete()?.succeeds()?;
    ensure!(
        !case.holds(&format!("ls -d {directory}"))?,
        "{directory} is still there"
    );
    Ok(())
}

fn delete_removes_cgroups_however_deep_they_are(case: &Case<'_>) -> Verdict {
    let container = up_with(case, "pids", &[])?;
    let directory = format!("/sys/fs/cgroup/pids{}", container.cgroup);
    case.sh(&format!("mkdir -p {directory}/{}", "a/".repeat(400)))?;
    let id = &*container.id;
    for words in [
        &["kill", "--all", id, "KILL"][..],
        &["delete", "--force", id],
    ] {
        let call = case.runtime(words)?.within(&FEW_FILES);
        case.call(&call)?.succeeds()?;
    }
    ensure!(
        !case.holds(&format!("ls -d {directory}"))?,
        "{directory} is still there"
    );
    Ok(())
}

fn exec_is_in_the_cgroup_of_the_container(case: &Case<'_>) -> Verdict {
    let container = up_with(case, "pids", &[])?;
    let text = container
        .exec(&["grep", ":pids:", "/proc/self/cgroup"])?
        .succeeds()?
        .text();
    ensure!(text.ends_with(&container.cgroup), "exec is in {text}");
    Ok(())
}

fn a_container_starts_with_512_kib(case: &Case<'_>) -> Verdict {
    let memory = json!({ "limit": 524_288, "swap": 524_288 });
    let config = Config::new()
        .set("/linux/resources/memory", memory)
        .args(&["/bin/true"]);
    case.container(config)?.run()?.succeeds()?;
    Ok(())
}

fn a_container_starts_with_one_task(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .set("/linux/resources/pids/limit", 1)
        .args(&["echo", "alone"]);
    ensure_eq!(case.container(config)?.output()?, "alone", "output");
    Ok(())
}

fn containers_run_beside_a_v2_hierarchy(case: &Case<'_>) -> Verdict {
    let mounted = case.holds("mkdir /run/v2 && mount -t cgroup2 cgroup2 /run/v2")?;
    needs!(mounted, "cgroup v2 hierarchy beside v1");
    case.sh("mount --bind /run/v2 /sys/fs/cgroup/unified")
        .map_err(|_| lacking("the directory /sys/fs/cgroup/unified"))?;
    ensure_eq!(
        case.container(Config::new().args(&["echo", "hybrid"]))?
            .output()?,
        "hybrid",
        "output"
    );
    Ok(())
}
