//! Whole reports.

use serde_json::{Value, json};

use super::*;
use crate::seccomp_cache::Programs;

/// A configuration without a fault, as `davit spec` would write it.
fn good() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {
            "cwd": "/", "args": ["/bin/true"], "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": ["CAP_KILL"]}
        },
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}],
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}
        }
    })
}

fn report(config: &str) -> Vec<Finding> {
    let bundle = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(bundle.path().join("rootfs/bin")).unwrap();
    let write = |dir: &str, name: &str, text: &str| {
        let dir = sys::Dir::open(bundle.path().join(dir)).unwrap();
        dir.replace(name, text.as_bytes(), 0o644).unwrap();
    };
    write("rootfs/bin", "true", "");
    write(".", "config.json", config);
    let findings = check(bundle.path()).unwrap();
    let left = std::fs::read_dir(bundle.path()).unwrap().count();
    assert_eq!(left, 2, "a check changes nothing");
    findings
}

fn pointers(findings: &[Finding], severity: Severity) -> Vec<&str> {
    let wanted = findings
        .iter()
        .filter(|finding| finding.severity == severity);
    wanted.map(|finding| finding.pointer.as_str()).collect()
}

fn with(changes: &[(&str, Value)]) -> String {
    let mut config = good();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    config.to_string()
}

#[test]
fn a_good_configuration_has_no_finding() {
    assert_eq!(report(&good().to_string()), []);
}

/// Faults of every kind: types, ranges, words, and what only the plan refuses.
#[test]
fn twenty_one_errors_are_twenty_one_pointers() {
    let config = with(&[
        ("/ociVersion", json!("2.0.0")),
        ("/hostname", json!("h".repeat(65))),
        ("/process/args", json!([])),
        ("/process/cwd", json!("relative")),
        ("/process/env", json!(["A=b", "novalue", "=x"])),
        ("/process/oomScoreAdj", json!(2000)),
        (
            "/process/user",
            json!({"uid": -1, "gid": 2_147_483_648_u32}),
        ),
        (
            "/process/rlimits",
            json!([
                {"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}, {"type": "RLIMIT_SOCKETS", "soft": 1, "hard": 1},
            ]),
        ),
        (
            "/mounts",
            json!([
                {"destination": "/proc", "type": "proc"},
                {"destination": "/", "type": "tmpfs"},
                {"destination": "/a"},
                {"destination": 1, "type": "tmpfs"},
                {"destination": "/b", "type": "bind", "source": "/", "options": ["size=1k"]},
            ]),
        ),
        (
            "/hooks",
            json!({
                "poststop": [{"path": "x"}], "createRuntime": [{"path": "/proc/self/exe", "timeout": 0}],
            }),
        ),
        ("/linux/sysctl", json!({"vm.swappiness": "1"})),
        (
            "/linux/namespaces",
            json!([
                {"type": "mount"}, {"type": "moon"}, {"type": "uts"}, {"type": "uts"},
            ]),
        ),
        (
            "/linux/seccomp/syscalls",
            json!([{"names": [], "action": "SCMP_ACT_ERRNO"}]),
        ),
    ]);
    let findings = report(&config);
    let mut errors = pointers(&findings, Severity::Error);
    errors.sort_unstable();
    let wanted = [
        "/hooks/createRuntime/0/timeout",
        "/hooks/poststop/0/path",
        "/hostname",
        "/linux/namespaces/1/type",
        "/linux/namespaces/3/type",
        "/linux/seccomp/syscalls/0/names",
        "/linux/sysctl/vm.swappiness",
        "/mounts/1/destination",
        "/mounts/2/type",
        "/mounts/3/destination",
        "/mounts/4/options",
        "/ociVersion",
        "/process/args",
        "/process/cwd",
        "/process/env/1",
        "/process/env/2",
        "/process/oomScoreAdj",
        "/process/rlimits/0/soft",
        "/process/rlimits/1/type",
        "/process/user/gid",
        "/process/user/uid",
    ];
    assert_eq!(errors, wanted);
    for finding in findings {
        assert!(
            !finding.cause.is_empty() && !finding.remedy.is_empty(),
            "{finding:?}"
        );
    }
}

#[test]
fn every_refusal_of_create_is_in_the_report() {
    let changes = [
        ("/process/selinuxLabel", json!("a:b:c:d")),
        (
            "/linux/resources",
            json!({"memory": {"swap": 1}, "hugepageLimits": [{"pageSize": "2MiB", "limit": 1}]}),
        ),
        ("/linux/cgroupsPath", json!("/../x")),
        ("/linux/memoryPolicy", json!({"mode": "MPOL_BIND"})),
    ];
    let findings = report(&with(&changes));
    let errors = pointers(&findings, Severity::Error);
    for pointer in [
        "/linux/cgroupsPath",
        "/linux/memoryPolicy/nodes",
        "/linux/resources/memory/swap",
        "/linux/resources/hugepageLimits/0/pageSize",
    ] {
        assert!(errors.contains(&pointer), "{errors:?}");
    }
    let host = findings
        .iter()
        .find(|f| f.pointer == "/process/selinuxLabel");
    assert!(host.is_none_or(|finding| finding.depends_on == Cause::Host));
    // What one version of cgroups has does not hide what neither takes.
    let resources =
        json!({"memory": {"swap": 1}, "unified": {"a.b": "1"}, "network": {"classID": 1}});
    let both = report(&with(&[("/linux/resources", resources)]));
    let errors = both.iter().filter(|f| f.severity == Severity::Error);
    let (swap, others): (Vec<_>, Vec<_>) =
        errors.partition(|f| f.pointer == "/linux/resources/memory/swap");
    assert_eq!(swap[0].depends_on, Cause::Configuration);
    assert!(
        others.iter().all(|f| f.depends_on == Cause::Host),
        "{both:?}"
    );
    let swap = findings
        .iter()
        .find(|f| f.pointer == "/linux/resources/memory/swap");
    assert_eq!(swap.unwrap().depends_on, Cause::Configuration);
}

#[test]
fn what_is_there_twice_and_what_is_no_json() {
    let text = good()
        .to_string()
        .replacen("{", "{\"hostname\":\"a\",\"hostname\":\"b\",", 1);
    assert_eq!(pointers(&report(&text), Severity::Error), ["/hostname"]);
    let findings = report("{\"ociVersion\":");
    assert_eq!(pointers(&findings, Severity::Error), [""]);
}

#[test]
fn warnings_name_what_was_probably_meant() {
    let config = with(&[
        ("/hostnam", json!("x")),
        ("/windows", json!({})),
        ("/linux/cgroupPath", json!("/a")),
        ("/process/args", json!(["missing"])),
        ("/process/env", json!(["PATH=/bin", "A=1", "A=2"])),
        (
            "/process/capabilities",
            json!({
                "bounding": ["CAP_OF_TOMORROW"], "effective": ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"],
                "ambient": ["CAP_KILL"],
            }),
        ),
        (
            "/mounts",
            json!([
                {"destination": "proc", "type": "proc"},
                {"destination": "/etc", "type": "bind", "source": "/etc"},
                {"destination": "/x", "type": "bind", "source": "gone", "options": ["ro"]},
            ]),
        ),
        ("/hooks", json!({"prestart": [{"path": "/no/such/hook"}]})),
        ("/linux/resources", json!({"devices": [{"allow": true}]})),
    ]);
    let findings = report(&config);
    assert_eq!(pointers(&findings, Severity::Error), [""; 0]);
    let warned = pointers(&findings, Severity::Warning);
    let wanted = [
        "/hooks/prestart",
        "/hooks/prestart/0/path",
        "/hostnam",
        "/linux/cgroupPath",
        "/linux/namespaces",
        "/linux/resources/devices/0",
        "/mounts",
        "/mounts/0/destination",
        "/mounts/1/source",
        "/mounts/2/source",
        "/process/args/0",
        "/process/capabilities/ambient/0",
        "/process/capabilities/bounding/0",
        "/process/capabilities/effective",
        "/process/env/1",
        "/windows",
    ];
    assert_eq!(warned, wanted);
    let remedy = |pointer: &str| {
        let finding = findings.iter().find(|finding| finding.pointer == pointer);
        finding.unwrap().remedy.clone()
    };
    assert_eq!(remedy("/hostnam"), "did you mean \"hostname\"?");
    assert_eq!(remedy("/linux/cgroupPath"), "did you mean \"cgroupsPath\"?");
}

#[test]
fn a_rootfs_that_is_not_there_depends_on_the_host() {
    let findings = report(&with(&[("/root/path", json!("nowhere"))]));
    assert_eq!(pointers(&findings, Severity::Error), ["/root/path"]);
    assert_eq!(findings[0].depends_on, Cause::Host);
}

/// The promise of the module: what `create` says first is said here as well, and where nothing is
/// said `create` plans.
#[test]
fn the_report_and_create_agree() {
    use crate::bundle::Bundle;
    use crate::host::Host;
    use crate::plan::{Entry, Plan, Refusal};
    let bundle = tempfile::tempdir().unwrap();
    std::fs::create_dir(bundle.path().join("rootfs")).unwrap();
    let dir = sys::Dir::open(bundle.path()).unwrap();
    let mut places = Vec::new();
    all_pointers(&good(), "", &mut places);
    let wrongs = [
        json!(-1),
        json!("x"),
        json!([]),
        json!({"type": "user"}),
        json!(["a", "a"]),
    ];
    for (place, wrong) in places
        .iter()
        .flat_map(|p| wrongs.iter().map(move |w| (p, w)))
    {
        let mut config = good();
        *config.pointer_mut(place).unwrap() = wrong.clone();
        dir.replace("config.json", config.to_string().as_bytes(), 0o644)
            .unwrap();
        let findings = check(bundle.path()).unwrap();
        let errors = pointers(&findings, Severity::Error);
        let planned = Bundle::open(bundle.path(), None, &Programs::default())
            .and_then(|opened| Ok(Plan::new(&opened, &Host::look(), Entry::Pivot)?));
        match planned {
            Ok(_) => assert_eq!(errors, [""; 0], "{place} {wrong}"),
            Err(error) => {
                assert!(!errors.is_empty(), "{place} {wrong}: {error:#}");
                if let Some(refusal) = error.downcast_ref::<Refusal>() {
                    assert!(
                        errors.contains(&refusal.pointer.as_str()),
                        "{place}: {errors:?}"
                    );
                }
            }
        }
    }
}

fn all_pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), v)).collect(),
        Value::Array(values) => {
            let each = values.iter().enumerate();
            each.map(|(index, value)| (index.to_string(), value))
                .collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in members {
        let at = format!("{at}/{name}");
        found.push(at.clone());
        all_pointers(value, &at, found);
    }
}

/// Whatever is in the file, the check ends: damaged copies of a good configuration.
#[test]
fn a_check_ends_whatever_the_configuration_is() {
    let mut config = good();
    let wrongs = [
        json!(null),
        json!(-1),
        json!("x"),
        json!([]),
        json!({}),
        json!([{}]),
        json!([[""]]),
    ];
    for pointer in [
        "/root",
        "/process",
        "/process/args",
        "/process/user",
        "/mounts",
        "/mounts/0",
        "/linux",
        "/linux/namespaces",
        "/linux/namespaces/1",
        "/linux/seccomp",
        "/process/capabilities",
    ] {
        for wrong in &wrongs {
            let before = config.pointer(pointer).unwrap().clone();
            *config.pointer_mut(pointer).unwrap() = wrong.clone();
            let findings = report(&config.to_string());
            assert!(findings.len() < 100, "{pointer} {wrong}: {findings:?}");
            *config.pointer_mut(pointer).unwrap() = before;
        }
    }
}

/// Each of these has two faults whose stand-ins contradict each other.
#[test]
fn mappings_that_contradict_each_other_are_reported_and_end() {
    let map =
        |inside: u32, size: u32| json!([{"containerID": inside, "hostID": 1000, "size": size}]);
    let spaces = json!([{"type": "pid"}, {"type": "mount"}, {"type": "user"}]);
    for (uids, gids) in [
        (map(1, 10), map(1, 10)),
        (map(0, 0), map(0, 0)),
        (map(0, 0), map(0, 1)),
        (map(0, 100), map(1, 100)),
    ] {
        let config = with(&[
            ("/linux/namespaces", spaces.clone()),
            ("/linux/uidMappings", uids),
            ("/linux/gidMappings", gids),
        ]);
        let findings = report(&config);
        let places = pointers(&findings, Severity::Error);
        let about_ids = |place: &&str| {
            place.starts_with("/process/user/") || place.ends_with("Mappings/0/size")
        };
        assert!(places.iter().any(about_ids), "{places:?}");
        let invented = |place: &&str| *place == "/process" || place.ends_with("Mappings");
        assert!(!places.iter().any(invented), "{places:?}");
    }
}
