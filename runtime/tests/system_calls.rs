//! What `davit run` asks of the kernel, seen by strace: the promises that cost time or safety when
//! they are broken and that no result would show.

use std::time::Duration;

use testbed::{Bundle, Cgroups, Config, Host, Rootfs, requires};

/// The calls that show them, with the paths of descriptors (`-yy`).
const TRACED: &str = "trace=clone,clone3,fork,vfork,unshare,setns,write,mount,umount2,move_mount,\
                      mount_setattr,pivot_root,execve,execveat,prctl";

/// One line of strace: who, and the call as written.
struct Call {
    pid: u32,
    text: String,
}

impl Call {
    fn is(&self, names: &[&str]) -> bool {
        let name = self.text.split('(').next().unwrap_or_default();
        names.contains(&name)
    }
}

/// Runs `config` under strace and answers the calls that succeeded, in their order.
fn traced(config: &Config) -> Option<Vec<Call>> {
    requires::root()?;
    requires::program("strace")?;
    let directory = tempfile::tempdir().unwrap();
    let rootfs = Rootfs::prepare(directory.path()).unwrap();
    // The tests of this file run side by side.
    let unique = directory.path().file_name().unwrap().to_string_lossy();
    let group = format!(
        "/{}trace-{}",
        testbed::snapshot::CGROUP_PREFIX,
        unique.trim_start_matches('.')
    );
    let config = config.clone().set("/linux/cgroupsPath", group.as_str());
    let bundle = Bundle::create(directory.path().join("bundle"), &rootfs, &config).unwrap();
    let host = Host::start(Cgroups::AsMounted).unwrap();
    let log = directory.path().join("log");
    let words = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let run = host
        .command([
            "strace".to_owned(),
            "-f".into(),
            "-yy".into(),
            "-z".into(),
            "-s256".into(),
            "-o".into(),
            words("log"),
            "-e".into(),
            TRACED.into(),
            env!("CARGO_BIN_EXE_davit").into(),
            "--root".into(),
            words("state"),
            "run".into(),
            "--bundle".into(),
            bundle.dir().to_string_lossy().into_owned(),
            "traced".into(),
        ])
        .deadline(Duration::from_secs(60))
        .run()
        .unwrap();
    assert!(run.success(), "{run}");
    let text = std::fs::read_to_string(log).unwrap();
    let calls = text.lines().filter_map(|line| {
        let (pid, text) = line.split_once(' ')?;
        let (pid, text) = (pid.parse().ok()?, text.trim().to_owned());
        Some(Call { pid, text })
    });
    Some(calls.collect())
}

/// How many calls of a kind there are; the trace is printed if it is not `wanted`.
fn count(calls: &[Call], wanted: usize, what: &str, of: impl Fn(&Call) -> bool) {
    let found: Vec<&str> = calls
        .iter()
        .filter(|call| of(call))
        .map(|call| call.text.as_str())
        .collect();
    assert_eq!(found.len(), wanted, "{what}: {found:#?}");
}

const CLONES: &[&str] = &["clone", "clone3", "fork", "vfork"];

#[test]
fn one_clone_makes_init_and_nothing_else_is_cloned() {
    let Some(calls) = traced(&Config::new()) else {
        return;
    };
    count(&calls, 1, "clones", |call| call.is(CLONES));
    count(&calls, 1, "clones into a new pid namespace", |call| {
        call.is(&["clone3"]) && call.text.contains("CLONE_NEWPID")
    });
    // Init's own work, all in one call, while its cgroups are made (decision 0066).
    count(&calls, 1, "namespaces made by init", |call| {
        let made = [
            "CLONE_NEWNS",
            "CLONE_NEWNET",
            "CLONE_NEWIPC",
            "CLONE_NEWUTS",
        ];
        call.is(&["unshare"]) && made.iter().all(|flag| call.text.contains(flag))
    });
    // Out of the container's reach it gets without one (decision 0001).
    count(&calls, 2, "executions", |call| {
        call.is(&["execve", "execveat"])
    });
    count(&calls, 1, "moves onto another file", |call| {
        call.is(&["prctl"]) && call.text.contains("PR_SET_MM")
    });
}

#[test]
fn limits_hold_before_init_is_in_its_cgroup() {
    let Some(calls) = traced(&Config::new()) else {
        return;
    };
    if !requires::has_cgroup_v1("devices") {
        return;
    }
    let at = |file: &str| {
        calls
            .iter()
            .rposition(|call| call.is(&["write"]) && call.text.contains(file))
    };
    let last_rule = at("/devices.allow>").expect("devices are allowed");
    let first_join = calls
        .iter()
        .position(|call| call.is(&["write"]) && call.text.contains("/tasks>"));
    assert!(
        first_join.is_some_and(|joined| joined > last_rule),
        "rule at {last_rule}, join at {first_join:?}"
    );
}

#[test]
fn no_pid_is_written_to_cgroup_procs() {
    let Some(calls) = traced(&Config::new()) else {
        return;
    };
    count(&calls, 0, "writes to cgroup.procs", |call| {
        call.is(&["write"]) && call.text.contains("cgroup.procs")
    });
    // Who joins v1 hierarchies moves itself, by 0, and is still one thread.
    let init = calls
        .iter()
        .find(|call| call.is(&["execve"]) && call.text.contains("/bin/true"));
    let init = init.expect("the program was executed").pid;
    count(
        &calls,
        0,
        "joins by another process or of another",
        |call| {
            call.is(&["write"])
                && call.text.contains("/tasks>")
                && !(call.pid == init && call.text.contains("\"0\""))
        },
    );
    if requires::has_cgroup_v1("pids") {
        let joined = calls
            .iter()
            .any(|call| call.is(&["write"]) && call.text.contains("/tasks>"));
        assert!(
            joined,
            "the trace does not show how v1 hierarchies are joined"
        );
    }
}

#[test]
fn nothing_is_mounted_in_the_mount_namespace_of_the_host() {
    let Some(calls) = traced(&Config::new()) else {
        return;
    };
    let init = calls.iter().find(|call| call.is(&["pivot_root"]));
    let init = init.expect("the rootfs was entered").pid;
    let mounts = [
        "mount",
        "umount2",
        "move_mount",
        "pivot_root",
        "mount_setattr",
    ];
    // A detached tree, as `mount_setattr` on what open_tree made, is in no namespace.
    count(&calls, 0, "mounts by the runtime", |call| {
        call.pid != init && call.is(&mounts) && !call.text.starts_with("mount_setattr")
    });
    // unshare(CLONE_THREAD) only asks whether there is a second thread.
    count(&calls, 0, "changes of the runtime's namespaces", |call| {
        call.pid != init
            && call.is(&["unshare", "setns"])
            && !call.text.starts_with("unshare(CLONE_THREAD)")
    });
}

#[test]
fn a_user_namespace_costs_no_further_clone() {
    let maps = serde_json::json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    let config = Config::new()
        .push("/linux/namespaces", serde_json::json!({ "type": "user" }))
        .set("/linux/uidMappings", maps.clone())
        .set("/linux/gidMappings", maps);
    let Some(calls) = traced(&config) else {
        return;
    };
    count(&calls, 1, "clones", |call| call.is(CLONES));
}
