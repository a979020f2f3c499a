//! `--timeline`: what it tells of a run, in both forms, with the hooks and the container's side.

use std::fs;

use serde_json::Value;
use testbed::{Bundle, Cgroups, Config, Host, Rootfs, requires};

/// A time namespace shifts other clocks than the one of the calendar.
const SHIFT: &str = "/linux/timeOffsets";

fn steps(trace: &Value, lane: u64) -> Vec<(String, f64, f64)> {
    let events = trace["traceEvents"].as_array().unwrap().iter();
    let own = events.filter(|event| event["ph"] == "X" && event["tid"] == lane);
    own.map(|event| {
        let number = |key: &str| event[key].as_f64().unwrap();
        let name = event["name"].as_str().unwrap().to_owned();
        (name, number("ts"), number("ts") + number("dur"))
    })
    .collect()
}

#[test]
fn both_sides_of_a_run_are_on_one_clock() {
    if requires::root().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let rootfs = Rootfs::prepare(dir.path()).unwrap();
    let group = format!(
        "/{}timeline-{}",
        testbed::snapshot::CGROUP_PREFIX,
        std::process::id()
    );
    let mut config = Config::new()
        .set("/linux/cgroupsPath", group)
        .hook("createRuntime", "sleep 0.05")
        .hook("poststop", "true")
        .sh("sleep 0.2");
    if fs::metadata("/proc/self/ns/time").is_ok() {
        config = config
            .push("/linux/namespaces", serde_json::json!({"type": "time"}))
            .set(
                SHIFT,
                serde_json::json!({"boottime": {"secs": 86_400}, "monotonic": {"secs": 86_400}}),
            );
    }
    let bundle = Bundle::create(dir.path().join("bundle"), &rootfs, &config).unwrap();
    let host = Host::start(Cgroups::AsMounted).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let outcome = host
        .command([
            env!("CARGO_BIN_EXE_davit").to_owned(),
            "--root".into(),
            path("root"),
            "--timeline".into(),
            path("t.svg"),
            "run".into(),
            "--bundle".into(),
            bundle.dir().display().to_string(),
            "timed".into(),
        ])
        .run()
        .unwrap();
    assert!(outcome.success(), "{outcome}");

    let trace: Value = serde_json::from_slice(&fs::read(path("t.json")).unwrap()).unwrap();
    let (davit, init) = (steps(&trace, 0), steps(&trace, 2));
    let find = |steps: &[(String, f64, f64)], name: &str| {
        let found = steps.iter().find(|(step, ..)| step == name);
        let (_, begin, end) = found.unwrap_or_else(|| panic!("no step {name:?} in {steps:?}"));
        (*begin, *end)
    };
    assert_eq!(find(&davit, "protect davit").0, 0.0);
    let hook = find(&davit, "createRuntime /bin/sh");
    assert!(hook.1 - hook.0 >= 50_000.0, "{hook:?}");
    // What init waits for is what davit does meanwhile: one clock, whatever the time namespace.
    let waited = find(&init, "wait for the hooks");
    assert!(
        waited.0 <= hook.0 && hook.1 <= waited.1,
        "{waited:?} {hook:?}"
    );
    assert!(find(&init, "mounts").0 < find(&init, "mount /proc").1);
    let program = find(&davit, "the program runs");
    assert!(program.1 - program.0 >= 150_000.0, "{program:?}");
    assert!(find(&init, "execve").1 <= program.1);
    assert!(find(&davit, "poststop /bin/sh").0 >= program.1);

    let drawing = fs::read_to_string(path("t.svg")).unwrap();
    assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>\n"));
    assert!(
        drawing.contains("<title>createRuntime /bin/sh "),
        "{drawing}"
    );
    // Nobody else sees the option by which davit tells itself when it began.
    assert!(!outcome.complaint().contains("timeline-since"), "{outcome}");
}
