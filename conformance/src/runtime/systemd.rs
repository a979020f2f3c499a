//! cgroups made by systemd: scopes, their properties, a user's own manager.
//!
//! These rows act on the machine itself, not on a host of their own: its systemd is not in there.
//! Skipped where systemd is not PID 1; `make test-vm` brings a machine.

use serde_json::json;
use testbed::{Config, Invocation, Outcome};

use super::lifecycle::sleeper;
use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Side, Verdict, ensure, ensure_eq, lacking, needs, row};

macro_rules! rows {
    ($(($feature:ident, $body:ident, $clause:literal)),* $(,)?) => {
        &[$(row!(Runtime, $feature, $body, $clause)),*]
    };
}

pub(crate) const ROWS: &[Row] = rows![
    (
        F009,
        a_scope_of_systemd_is_around_the_container,
        "runc(8): --systemd-cgroup"
    ),
    (
        F010,
        without_cgroups_the_container_stays_where_its_caller_is,
        "crun(1): --cgroup-manager=disabled"
    ),
    (
        F170,
        limits_are_properties_and_files,
        "systemd.resource-control(5): MemoryMax, TasksMax, CPUQuota, CPUWeight"
    ),
    (
        F170,
        a_scope_is_gone_with_its_container,
        "runtime.md, delete: MUST delete the resources that were created during the create step"
    ),
    (
        F170,
        exec_and_kill_need_no_word_of_systemd,
        "conmon(8): exec without --systemd-cgroup"
    ),
    (
        F170,
        a_failed_unit_of_the_same_name_is_no_obstacle,
        "runc#3780: a leftover failed unit is reset"
    ),
    (
        F174,
        the_path_names_slice_prefix_and_name,
        "runc, systemd.md: slice:prefix:name"
    ),
    (
        F174,
        a_path_that_is_none_of_systemd_is_refused,
        "runc: expected cgroupsPath to be of format \"slice:prefix:name\""
    ),
    (
        F194,
        annotations_are_properties_of_the_unit,
        "runc, systemd.md: org.systemd.property.*"
    ),
    (
        F164,
        devices_outlive_a_daemon_reload,
        "nvidia-container-toolkit#48: DeviceAllow must say what the cgroup does"
    ),
    (
        F165,
        an_update_never_takes_a_device_away,
        "bpf(2): BPF_F_REPLACE: no moment without a program"
    ),
    (
        F188,
        the_root_of_a_user_namespace_owns_what_is_delegated,
        "config-linux.md: cgroup ownership: the files in /sys/kernel/cgroup/delegate"
    ),
    (
        F195,
        a_user_gets_a_scope_of_his_own_manager,
        "runc, rootless: the user's bus"
    ),
    (
        F196,
        without_root_a_limit_needs_a_cgroup,
        "runc, rootless: no limits and no path without permission"
    ),
];

fn needs_systemd() -> Verdict {
    needs!(
        std::path::Path::new("/run/systemd/system").exists(),
        "systemd as PID 1"
    );
    needs!(
        std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        "cgroup v2"
    );
    Ok(())
}

/// A container on the machine itself; it and its unit go with this value.
struct Scope<'a> {
    container: Container<'a>,
    name: String,
    slice: &'static str,
    /// Words before every command of the runtime.
    user: Vec<String>,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force"], &[]);
        let _ = std::fs::metadata(self.place()).is_ok().then(|| {
            Invocation::new(["systemctl", "kill", "-s", "KILL", self.unit().as_str()]).run()
        });
    }
}

impl<'a> Scope<'a> {
    fn new(case: &'a Case<'a>, config: Config) -> Verdict<Self> {
        needs_systemd()?;
        let name = case.cgroup_prefix();
        let path = format!("system.slice:dvt:{name}");
        let container = case.container(config.set("/linux/cgroupsPath", path.as_str()))?;
        let (slice, user) = ("system.slice", Vec::new());
        Ok(Self {
            container,
            name,
            slice,
            user,
        })
    }

    fn unit(&self) -> String {
        format!("dvt-{}.scope", self.name)
    }

    fn place(&self) -> String {
        format!("/sys/fs/cgroup/{}/{}", self.slice, self.unit())
    }

    /// A command of the runtime: options, the id, and what comes after.
    fn call(&self, options: &[&str], after: &[&str]) -> Verdict<Outcome> {
        let mut argv = self.user.clone();
        argv.push(self.container.case.under_test(Side::Runtime)?);
        argv.extend(["--root".to_owned(), self.container.case.path("state")]);
        argv.extend(options.iter().map(ToString::to_string));
        // The name of the unit: unlike c0, no other row's container on this machine has it.
        argv.push(self.name.clone());
        argv.extend(after.iter().map(ToString::to_string));
        self.container.case.call(&Invocation::new(argv))
    }

    fn create(&self) -> Verdict<Outcome> {
        let dir = self.container.dir();
        self.call(&["--systemd-cgroup", "create", "--bundle", &dir], &[])
    }

    fn up(self) -> Verdict<Self> {
        self.create()?.succeeds()?;
        self.call(&["start"], &[])?.succeeds()?;
        Ok(self)
    }

    fn file(&self, name: &str) -> Verdict<String> {
        sh(self.container.case, &format!("cat {}/{name}", self.place()))
    }

    fn property(&self, name: &str) -> Verdict<String> {
        let script = format!("systemctl show -p {name} --value {}", self.unit());
        sh(self.container.case, &script)
    }

    fn pid(&self) -> Verdict<u64> {
        let state: serde_json::Value =
            serde_json::from_slice(&self.call(&["state"], &[])?.succeeds()?.stdout)?;
        let pid = state["pid"].as_u64().filter(|pid| *pid > 1);
        pid.ok_or_else(|| Failure(format!("pid in {state}")))
    }
}

/// A line of shell on the machine itself.
fn sh(case: &Case<'_>, script: &str) -> Verdict<String> {
    let shell = Invocation::new(["sh", "-ec", script]);
    // A reload of an emulated machine takes its time.
    Ok(case
        .call(&shell.deadline(std::time::Duration::from_secs(60)))?
        .succeeds()?
        .text())
}

fn a_scope_of_systemd_is_around_the_container(case: &Case<'_>) -> Verdict {
    let scope = Scope::new(case, sleeper())?.up()?;
    ensure_eq!(scope.property("ActiveState")?, "active", "the scope");
    let member = sh(case, &format!("cat /proc/{}/cgroup", scope.pid()?))?;
    ensure!(
        member.contains(&format!("/system.slice/{}", scope.unit())),
        "it is in {member}"
    );
    ensure_eq!(scope.property("Delegate")?, "yes", "Delegate");
    Ok(())
}

fn without_cgroups_the_container_stays_where_its_caller_is(case: &Case<'_>) -> Verdict {
    let own = std::fs::read_to_string("/proc/self/cgroup")?;
    let container = case.container(sleeper().set("/linux/resources", json!({})))?;
    let create = [
        "--cgroup-manager=disabled",
        "create",
        "--bundle",
        &container.dir(),
    ];
    let outcome = case.call(&container.command(&create)?)?;
    outcome.succeeds()?;
    container.start()?.succeeds()?;
    let its = case.sh(&format!("cat /proc/{}/cgroup", container.pid()?))?;
    ensure_eq!(its, own.trim_end(), "the cgroups of the container");
    container.delete_force()?.succeeds()?;
    Ok(())
}

fn limits_are_properties_and_files(case: &Case<'_>) -> Verdict {
    let config = sleeper()
        .set("/linux/resources/memory", json!({ "limit": 67_108_864 }))
        .set("/linux/resources/pids", json!({ "limit": 21 }))
        .set(
            "/linux/resources/cpu",
            json!({ "quota": 50_000, "period": 100_000, "cpus": "0" }),
        )
        .set("/linux/resources/unified", json!({ "cpu.weight": "77" }));
    let scope = Scope::new(case, config)?.up()?;
    for (property, value, file, written) in [
        ("MemoryMax", "67108864", "memory.max", "67108864"),
        ("TasksMax", "21", "pids.max", "21"),
        ("CPUQuotaPerSecUSec", "500ms", "cpu.max", "50000 100000"),
        ("CPUWeight", "77", "cpu.weight", "77"),
        ("AllowedCPUs", "0", "cpuset.cpus", "0"),
    ] {
        ensure_eq!(scope.property(property)?, value, "{property}");
        ensure_eq!(scope.file(file)?, written, "{file}");
    }
    Ok(())
}

fn a_scope_is_gone_with_its_container(case: &Case<'_>) -> Verdict {
    let scope = Scope::new(case, sleeper())?.up()?;
    scope.call(&["delete", "--force"], &[])?.succeeds()?;
    ensure_eq!(
        scope.property("LoadState")?,
        "not-found",
        "the unit after delete"
    );
    ensure!(
        !std::path::Path::new(&scope.place()).exists(),
        "its cgroup is left"
    );
    Ok(())
}

fn exec_and_kill_need_no_word_of_systemd(case: &Case<'_>) -> Verdict {
    let scope = Scope::new(case, sleeper())?.up()?;
    let member = scope
        .call(&["exec"], &["cat", "/proc/self/cgroup"])?
        .succeeds()?
        .text();
    ensure!(member.contains(&scope.unit()), "exec is in {member}");
    scope.call(&["pause"], &[])?.succeeds()?;
    let state = scope.call(&["state"], &[])?.succeeds()?.text();
    ensure!(state.contains("\"paused\""), "it is not paused: {state}");
    scope.call(&["resume"], &[])?.succeeds()?;
    scope.call(&["kill"], &["KILL"])?.succeeds()?;
    sh(
        case,
        &format!(
            "timeout 10 sh -c 'while grep -q . {}/cgroup.procs 2>/dev/null; do sleep 0.1; done'",
            scope.place()
        ),
    )?;
    scope.call(&["delete"], &[])?.succeeds()?;
    Ok(())
}

fn a_failed_unit_of_the_same_name_is_no_obstacle(case: &Case<'_>) -> Verdict {
    let scope = Scope::new(case, sleeper())?;
    // A scope whose time is over has failed, and stays loaded.
    let unit = scope.unit();
    let failed = format!(
        "systemd-run --scope --unit={unit} -p RuntimeMaxSec=1 -p TimeoutStopSec=1 sleep 30 || :; \
         systemctl is-failed {unit}"
    );
    ensure_eq!(
        sh(case, &failed)?.lines().last(),
        Some("failed"),
        "what is there before"
    );
    let scope = scope.up()?;
    ensure_eq!(scope.property("ActiveState")?, "active", "the scope");
    Ok(())
}

fn the_path_names_slice_prefix_and_name(case: &Case<'_>) -> Verdict {
    let mut scope = Scope::new(case, sleeper())?;
    let path = format!("dvt-deep.slice:dvt:{}", scope.name);
    let config = sleeper().set("/linux/cgroupsPath", path.as_str());
    scope.container.bundle.configure(&config)?;
    scope.slice = "dvt.slice/dvt-deep.slice";
    let scope = scope.up()?;
    ensure!(
        std::path::Path::new(&scope.place()).exists(),
        "{} is not there",
        scope.place()
    );
    ensure_eq!(scope.property("Slice")?, "dvt-deep.slice", "Slice");
    Ok(())
}

fn a_path_that_is_none_of_systemd_is_refused(case: &Case<'_>) -> Verdict {
    let scope = Scope::new(case, sleeper())?;
    let config = sleeper().set("/linux/cgroupsPath", "/dvt/none");
    scope.container.bundle.configure(&config)?;
    scope.create()?.refuses()?;
    Ok(())
}

fn annotations_are_properties_of_the_unit(case: &Case<'_>) -> Verdict {
    let annotate = |config: Config, name: &str, value: &str| {
        config.set(&format!("/annotations/org.systemd.property.{name}"), value)
    };
    let config = annotate(sleeper(), "TimeoutStopUSec", "uint64 123000000");
    let config = annotate(config, "CollectMode", "'inactive-or-failed'");
    let scope = Scope::new(case, config)?.up()?;
    ensure_eq!(
        scope.property("TimeoutStopUSec")?,
        "2min 3s",
        "TimeoutStopUSec"
    );
    ensure_eq!(
        scope.property("CollectMode")?,
        "inactive-or-failed",
        "CollectMode"
    );
    scope.call(&["delete", "--force"], &[])?.succeeds()?;
    let wrong = Scope::new(case, annotate(sleeper(), "No1", "true"))?;
    wrong.create()?.refuses()?;
    Ok(())
}

/// A device whose major number stands in no file of the machine, so that only the rule counts.
fn with_device() -> Config {
    sleeper()
        .push(
            "/linux/devices",
            json!({ "path": "/dev/rule", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666 }),
        )
        .push(
            "/linux/resources/devices",
            json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm" }),
        )
}

fn devices_outlive_a_daemon_reload(case: &Case<'_>) -> Verdict {
    let scope = Scope::new(case, with_device())?.up()?;
    let open = || scope.call(&["exec"], &["sh", "-c", ": > /dev/rule && : < /dev/null"]);
    open()?.succeeds()?;
    sh(case, "systemctl daemon-reload")?;
    open()?.succeeds()?;
    Ok(())
}

fn an_update_never_takes_a_device_away(case: &Case<'_>) -> Verdict {
    needs_systemd()?;
    let script = "while :; do : < /dev/null || echo lost >> /lost; done 2>/dev/null";
    let config = Config::new().sh(script);
    let container = case.container(config)?;
    container.up()?;
    for weight in 1..6 {
        let limits = json!({ "cpu": { "shares": 1000 + weight } });
        let update = case.runtime(&["update", "--resources", "-", &container.id])?;
        case.call(&update.stdin(limits.to_string()))?.succeeds()?;
    }
    ensure!(
        !container.bundle.in_rootfs("/lost").exists(),
        "/dev/null was out of reach"
    );
    Ok(())
}

fn the_root_of_a_user_namespace_owns_what_is_delegated(case: &Case<'_>) -> Verdict {
    let map = json!([{ "containerID": 0, "hostID": 400_000, "size": 65536 }]);
    let script = "cd /sys/fs/cgroup && mkdir below && echo 1 > below/cgroup.procs && \
                  echo +pids > cgroup.subtree_control && echo good > /dev/shm/said; \
                  cat /dev/shm/said; sleep 60";
    let config = Config::new()
        .sh(script)
        .push("/linux/namespaces", json!({ "type": "user" }))
        .push("/linux/namespaces", json!({ "type": "cgroup" }))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "rw"],
        );
    let scope = Scope::new(case, config)?;
    let root = scope.container.bundle.dir().join("rootfs");
    let above = case.dir().display();
    // The mapped root has to come through to its rootfs.
    sh(
        case,
        &format!(
            "chmod a+x $(dirname {above}) {above}; chown -R 400000:400000 {}",
            root.display()
        ),
    )?;
    let scope = scope.up()?;
    let said = |word: &str| {
        let script = format!(
            "timeout 10 sh -c 'until grep -q . /proc/{0}/root/dev/shm/said; do sleep 0.1; done'; cat /proc/{0}/root/dev/shm/said",
            scope.pid()?
        );
        ensure_eq!(sh(case, &script)?, word, "what the container could do");
        Ok(())
    };
    said("good")?;
    let owner = sh(
        case,
        &format!(
            "stat -c %u {0} {0}/cgroup.procs {0}/memory.max",
            scope.place()
        ),
    )?;
    ensure_eq!(
        owner,
        "400000\n400000\n0",
        "the owners of the cgroup, cgroup.procs and memory.max"
    );
    Ok(())
}

/// Words that run a command as an ordinary user with a manager of his own, and that user's id.
fn as_user() -> Verdict<(Vec<String>, u32)> {
    needs_systemd()?;
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let users = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, uid) = (fields.next()?, fields.nth(1)?.parse::<u32>().ok()?);
        Some((name.to_owned(), uid))
    });
    let with_bus = |uid: u32| std::path::Path::new(&format!("/run/user/{uid}/bus")).exists();
    let Some((name, uid)) = users
        .into_iter()
        .find(|(_, uid)| *uid >= 1000 && with_bus(*uid))
    else {
        return Err(lacking("a user with a running manager"));
    };
    let words = [
        "runuser",
        "-u",
        &name,
        "--",
        "env",
        &format!("XDG_RUNTIME_DIR=/run/user/{uid}"),
        &format!("DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/{uid}/bus"),
    ]
    .map(String::from);
    Ok((words.to_vec(), uid))
}

/// A rootless container of that user.
fn rootless(uid: u32, config: Config) -> Config {
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    config
        .share("network")
        .push("/linux/namespaces", json!({ "type": "user" }))
        .push("/linux/namespaces", json!({ "type": "network" }))
        .set("/linux/uidMappings", map(uid))
        .set("/linux/gidMappings", map(uid))
        .retain("/mounts", |mount| mount["destination"] != "/dev/pts")
}

/// Gives the directories of a row to a user.
fn hand_over(case: &Case<'_>, uid: u32) -> Verdict {
    let above = case.dir().display();
    sh(
        case,
        &format!("chmod a+x $(dirname {above}); chown -R {uid}:{uid} {above}"),
    )
    .map(drop)
}

fn a_user_gets_a_scope_of_his_own_manager(case: &Case<'_>) -> Verdict {
    let (words, uid) = as_user()?;
    let mut scope = Scope::new(case, rootless(uid, sleeper()))?;
    let path = format!("user.slice:dvt:{}", scope.name);
    let config = rootless(uid, sleeper())
        .set("/linux/cgroupsPath", path.as_str())
        .set("/linux/resources/pids", json!({ "limit": 33 }));
    scope.container.bundle.configure(&config)?;
    hand_over(case, uid)?;
    scope.user = words;
    let scope = scope.up()?;
    let member = sh(case, &format!("cat /proc/{}/cgroup", scope.pid()?))?;
    let place = format!("user@{uid}.service/user.slice/{}", scope.unit());
    ensure!(member.contains(&place), "it is in {member}");
    let top = member.split_inclusive(".scope").next().unwrap_or_default();
    let top = top.trim_start_matches("0::");
    let limit = sh(case, &format!("cat /sys/fs/cgroup{top}/pids.max"))?;
    ensure_eq!(limit, "33", "pids.max");
    let exec = scope.call(&["exec"], &["sh", "-c", "sleep 0.2; cat /proc/self/cgroup"])?;
    ensure!(
        exec.succeeds()?.text().contains(&scope.unit()),
        "exec is elsewhere"
    );
    scope.call(&["delete", "--force"], &[])?.succeeds()?;
    Ok(())
}

fn without_root_a_limit_needs_a_cgroup(case: &Case<'_>) -> Verdict {
    let (words, uid) = as_user()?;
    let mut scope = Scope::new(case, sleeper())?;
    scope.user = words;
    // A null is "not there" to Case, which would choose a path; an engine leaves it out.
    let configure = |config: Config| {
        let mut value = rootless(uid, config).value().clone();
        value["linux"]
            .as_object_mut()
            .map(|linux| linux.remove("cgroupsPath"));
        std::fs::write(
            scope.container.bundle.dir().join("config.json"),
            value.to_string(),
        )
    };
    configure(sleeper())?;
    hand_over(case, uid)?;
    let dir = scope.container.dir();
    let create = || scope.call(&["create", "--bundle", &dir], &[]);
    create()?.succeeds()?;
    scope.call(&["delete", "--force"], &[])?.succeeds()?;
    configure(sleeper().set("/linux/resources/pids", json!({ "limit": 33 })))?;
    create()?.refuses()?.says(&["cgroup"])?;
    Ok(())
}
