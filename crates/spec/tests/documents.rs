//! Whole documents: what every property may be, what is said when it is not that, and what another
//! implementation of the same types makes of it.

use oci::{Inspection, Problem, Spec};
use serde_json::{Value, json};

/// Every property of the types, once.
const EVERYTHING: &str = include_str!("everything.json");

/// Parts of what clients really wrote.
const CLIENTS: [(&str, &str); 4] = [
    ("ctr", include_str!("clients/containerd-2.1-ctr.json")),
    ("cri", include_str!("clients/containerd-2.1-cri.json")),
    ("docker", include_str!("clients/dockerd-20.10.json")),
    ("podman", include_str!("clients/podman-4.3-rootless.json")),
];

fn inspect(document: &Value) -> Inspection<Spec> {
    oci::inspect(document.to_string().as_bytes()).unwrap()
}

fn pointers(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|p| p.pointer.as_str()).collect()
}

/// The pointer of every value below `value`.
fn all_pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut add = |step: &str, value: &Value| {
        let at = format!("{at}/{}", step.replace('~', "~0").replace('/', "~1"));
        found.push(at.clone());
        all_pointers(value, &at, found);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| add(key, value)),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .for_each(|(index, value)| add(&index.to_string(), value)),
        _ => {}
    }
}

#[test]
fn every_property_survives_reading_and_writing() {
    let document: Value = serde_json::from_str(EVERYTHING).unwrap();
    let inspection = inspect(&document);
    assert_eq!(inspection.problems, []);
    assert_eq!(inspection.unknown, []);
    let written: Value = serde_json::from_str(&oci::to_string(&inspection.value)).unwrap();
    assert_eq!(written, document);
}

#[test]
fn clients_documents_survive_reading_and_writing() {
    for (client, text) in CLIENTS {
        let spec: Spec =
            oci::from_str(text).unwrap_or_else(|problem| panic!("{client}: {problem}"));
        let written: Value = serde_json::from_str(&oci::to_string(&spec)).unwrap();
        let wanted: Value = serde_json::from_str(text).unwrap();
        assert_eq!(written, wanted, "{client}");
    }
    let text = include_str!("clients/podman-4.3-root.process.json");
    let process: oci::Process = oci::from_str(text).unwrap();
    assert_eq!(process.cwd(), std::path::Path::new("/"));
}

/// Whatever is wrong, its pointer is named, and nothing beside it.
#[test]
fn a_value_of_another_type_is_the_one_problem() {
    let document: Value = serde_json::from_str(EVERYTHING).unwrap();
    let mut places = Vec::new();
    all_pointers(&document, "", &mut places);
    assert!(places.len() > 250, "{}", places.len());
    for place in places {
        let before = document.pointer(&place).unwrap().clone();
        for wrong in [
            json!(true),
            json!(1.5),
            json!("no such word"),
            json!([]),
            json!({}),
        ] {
            let same = std::mem::discriminant(&wrong) == std::mem::discriminant(&before);
            if same && !before.is_number() {
                continue;
            }
            let mut document = document.clone();
            *document.pointer_mut(&place).unwrap() = wrong.clone();
            let inspection = inspect(&document);
            assert_eq!(pointers(&inspection.problems), [&place], "{wrong}");
        }
    }
}

#[test]
fn null_is_the_same_as_absent() {
    let document: Value = serde_json::from_str(EVERYTHING).unwrap();
    let mut places = Vec::new();
    all_pointers(&document, "", &mut places);
    for place in places {
        let (parent, name) = place.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        let mut absent = document.clone();
        let parent = absent.pointer_mut(parent).unwrap();
        // An element of an array cannot be absent.
        let Some(parent) = parent.as_object_mut() else {
            continue;
        };
        parent.remove(&name);
        let mut null = document.clone();
        *null.pointer_mut(&place).unwrap() = Value::Null;
        let (absent, null) = (inspect(&absent), inspect(&null));
        assert_eq!(absent.problems, null.problems, "{place}");
        if !place.starts_with("/linux/sysctl/") && !is_map_entry(&place) {
            assert_eq!(absent.value, null.value, "{place}");
        }
    }
}

/// Keys of maps are not properties: a null is an entry, as for Go.
fn is_map_entry(pointer: &str) -> bool {
    let (parent, _) = pointer.rsplit_once('/').unwrap();
    let maps = [
        "annotations",
        "sysctl",
        "rdma",
        "unified",
        "netDevices",
        "timeOffsets",
    ];
    maps.iter().any(|map| parent.ends_with(map))
}

#[test]
fn what_is_required_is_said() {
    let required = [
        "/ociVersion",
        "/root/path",
        "/process/cwd",
        "/process/user/uid",
        "/process/user/gid",
        "/process/rlimits/0/type",
        "/process/rlimits/0/soft",
        "/process/ioPriority/priority",
        "/mounts/0/destination",
        "/hooks/poststop/0/path",
        "/linux/namespaces/1/type",
        "/linux/devices/0/type",
        "/linux/seccomp/defaultAction",
        "/linux/seccomp/syscalls/0/names",
        "/linux/seccomp/syscalls/0/action",
        "/linux/seccomp/syscalls/0/args/0/index",
        "/linux/seccomp/syscalls/0/args/0/op",
        "/linux/uidMappings/0/hostID",
        "/linux/resources/devices/0/allow",
        "/linux/memoryPolicy/mode",
        "/linux/personality/domain",
    ];
    for place in required {
        let mut document: Value = serde_json::from_str(EVERYTHING).unwrap();
        *document.pointer_mut(place).unwrap() = Value::Null;
        let problems = inspect(&document).problems;
        assert_eq!(pointers(&problems), [place]);
        assert_eq!(problems[0].reason, "is required");
    }
}

#[test]
fn all_problems_are_found_at_once() {
    let text = r#"{"ociVersion":1,"process":{"args":["a",2],"user":{"uid":-1,"gid":0}},
        "linux":{"namespaces":[{"type":"moon"},{"type":"pid"},{}]}}"#;
    let problems = oci::from_str::<Spec>(text).unwrap_err();
    let found: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "/ociVersion: is a number, not a string",
            "/process/user/uid: -1 is not in 0..4294967295",
            "/process/args/1: is a number, not a string",
            "/process/cwd: is required",
            "/linux/namespaces/0/type: \"moon\" is none of pid, network, mount, ipc, uts, user, \
             cgroup, time",
            "/linux/namespaces/2/type: is required",
        ]
    );
    let all = "/ociVersion: is a number, not a string (and 5 more)";
    assert_eq!(problems.to_string(), all);
}

#[test]
fn integers_are_exact_and_in_range() {
    let limit = |number: &str| {
        let text = format!(r#"{{"limit":{number},"swappiness":{number}}}"#);
        let inspection = oci::inspect::<oci::LinuxMemory>(text.as_bytes()).unwrap();
        let wrong = inspection.problems.iter().map(|p| p.pointer.clone());
        (inspection.value, wrong.collect::<Vec<_>>())
    };
    let (memory, wrong) = limit("9007199254740993");
    assert_eq!(
        (memory.limit(), wrong.len()),
        (Some(9_007_199_254_740_993), 0)
    );
    let (memory, wrong) = limit("18446744073709551615");
    assert_eq!(memory.swappiness(), Some(u64::MAX));
    assert_eq!(wrong, ["/limit"]);
    let (memory, wrong) = limit("-9223372036854775808");
    assert_eq!(memory.limit(), Some(i64::MIN));
    assert_eq!(wrong, ["/swappiness"]);
    let long = "1".repeat(10_000);
    for number in ["1.0", "1e3", "18446744073709551616", "1e400", &long] {
        assert_eq!(limit(number).1, ["/limit", "/swappiness"], "{number}");
    }
    assert_eq!(limit("-0").1, ["/swappiness"]);
}

#[test]
fn unknown_properties_are_noted_and_ignored() {
    let text = r#"{"ociVersion":"1.3.0","Hostname":"x","linux":{"cgroupPath":{"a":[1]},
        "future/thing":1,"sysctl":{"any.name":"1"}}}"#;
    let inspection = oci::inspect::<Spec>(text.as_bytes()).unwrap();
    assert_eq!(inspection.problems, []);
    let unknown: Vec<_> = inspection
        .unknown
        .iter()
        .map(|u| u.pointer.as_str())
        .collect();
    assert_eq!(
        unknown,
        ["/Hostname", "/linux/cgroupPath", "/linux/future~1thing"]
    );
    assert!(inspection.unknown[1].known.contains(&"cgroupsPath"));
    assert_eq!(inspection.value.hostname(), &None);
}

#[test]
fn what_is_there_twice_is_refused() {
    let text = r#"{"ociVersion":"1.3.0","annotations":{"a":"1","a":"2"},"root":{"path":"a"},
        "hostname":"a","hostname":"b","unknown":1,"unknown":2}"#;
    let problems = oci::inspect::<Spec>(text.as_bytes()).unwrap().problems;
    assert_eq!(pointers(&problems), ["/hostname", "/annotations/a"]);
}

#[test]
fn an_empty_word_is_an_absent_one() {
    let text = r#"{"allow":true,"type":"","access":"r"}"#;
    let rule: oci::LinuxDeviceCgroup = oci::from_str(text).unwrap();
    assert_eq!(rule.typ(), None);
    let problems = oci::from_str::<oci::LinuxNamespace>(r#"{"type":""}"#).unwrap_err();
    assert_eq!(problems.to_string(), "/type: is required");
}

#[test]
fn a_path_has_no_nul() {
    let problems = oci::from_str::<oci::Root>("{\"path\":\"a\\u0000b\"}").unwrap_err();
    assert_eq!(problems.to_string(), "/path: has a NUL byte");
}

/// The types of another hand read the same from what we write and from what we read.
#[test]
fn the_oracle_reads_the_same() {
    let everything = [("everything", EVERYTHING)];
    for (name, text) in everything.iter().chain(&CLIENTS) {
        let theirs: oci_spec::runtime::Spec =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let ours: Spec = oci::from_str(text).unwrap();
        let again: oci_spec::runtime::Spec = serde_json::from_str(&oci::to_string(&ours)).unwrap();
        assert_eq!(again, theirs, "{name}");
        let back: Spec = oci::from_str(&serde_json::to_string(&theirs).unwrap()).unwrap();
        let mut lost = Vec::new();
        let (ours, back) = (to_value(&ours), to_value(&back));
        missing(&ours, &back, "", &mut lost);
        // What those types spell otherwise than the specification: enableCmt, enableMbm.
        lost.retain(|pointer| !pointer.starts_with("/linux/intelRdt/enable"));
        assert_eq!(lost, [""; 0], "{name}");
    }
}

fn to_value(spec: &Spec) -> Value {
    serde_json::from_str(&oci::to_string(spec)).unwrap()
}

/// Pointers of what is in `ours` and not, or otherwise, in `theirs`; lists that they keep as sets
/// may have another order.
fn missing(ours: &Value, theirs: &Value, at: &str, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                let at = format!("{at}/{key}");
                missing(value, theirs.get(key).unwrap_or(&Value::Null), &at, found);
            }
        }
        (Value::Array(ours), Value::Array(theirs))
            if ours
                .iter()
                .all(|word| word.is_string() && theirs.contains(word)) => {}
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                missing(ours, theirs, &format!("{at}/{index}"), found);
            }
        }
        (ours, theirs) if ours != theirs => found.push(at.to_owned()),
        _ => {}
    }
}

/// `cargo test -p oci --release parse_time -- --ignored --nocapture`: the types against the oracle.
#[test]
#[ignore = "a measurement"]
fn parse_time() {
    let text = std::env::var("CONFIG").map_or_else(
        |_| EVERYTHING.to_owned(),
        |path| std::fs::read_to_string(path).unwrap(),
    );
    let median = |read: &dyn Fn()| {
        let mut times: Vec<_> = (0..2001)
            .map(|_| {
                let start = std::time::Instant::now();
                read();
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[times.len() / 2]
    };
    let ours = median(&|| drop(oci::from_str::<Spec>(&text).unwrap()));
    let theirs = median(&|| drop(serde_json::from_str::<oci_spec::runtime::Spec>(&text).unwrap()));
    println!("{} bytes: oci {ours:?}, oci-spec {theirs:?}", text.len());
}
