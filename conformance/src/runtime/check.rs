//! What can be known before anything runs: the configuration, the runtime's own description of
//! itself, and its executable.

use serde_json::{Value, json};
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Failure, Row, Side, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F012,
        features_fits_the_schema,
        "schema/features-schema.json and features-linux.json of runtime-spec 1.3.0"
    ),
    row!(
        Runtime,
        F234,
        the_executable_is_static_and_at_most_4_mib,
        "the size of the feature table; a dynamic loader can be made to load the container's libraries (CVE-2019-5736)"
    ),
    row!(
        Runtime,
        F246,
        all_faults_of_a_configuration_are_reported_at_once,
        "RFC 6901; config.md: invalid values MUST generate an error"
    ),
    row!(
        Runtime,
        F246,
        a_check_of_a_good_bundle_succeeds_and_changes_nothing,
        "a dry run has no effect"
    ),
    row!(
        Runtime,
        F246,
        a_misspelt_property_is_pointed_out,
        "config.md, Extensibility: unknown properties are ignored, so that nobody else will say"
    ),
];

/// What a value of the features document must be.
enum Shape {
    Version,
    Boolean,
    Words,
    /// Each matches: a prefix, then capital letters, digits and underscores.
    Names(&'static str),
    OneOf(&'static [&'static str]),
    Map,
}

/// Every property of the schema that has a type; all are optional but the versions.
const FEATURES: &[(&str, Shape)] = &[
    ("/ociVersionMin", Shape::Version),
    ("/ociVersionMax", Shape::Version),
    ("/hooks", Shape::Words),
    ("/mountOptions", Shape::Words),
    ("/annotations", Shape::Map),
    ("/potentiallyUnsafeConfigAnnotations", Shape::Words),
    (
        "/linux/namespaces",
        Shape::OneOf(&[
            "mount", "pid", "network", "uts", "ipc", "user", "cgroup", "time",
        ]),
    ),
    ("/linux/capabilities", Shape::Names("CAP_")),
    ("/linux/cgroup/v1", Shape::Boolean),
    ("/linux/cgroup/v2", Shape::Boolean),
    ("/linux/cgroup/systemd", Shape::Boolean),
    ("/linux/cgroup/systemdUser", Shape::Boolean),
    ("/linux/cgroup/rdma", Shape::Boolean),
    ("/linux/seccomp/enabled", Shape::Boolean),
    ("/linux/seccomp/actions", Shape::Names("SCMP_ACT_")),
    ("/linux/seccomp/operators", Shape::Names("SCMP_CMP_")),
    ("/linux/seccomp/archs", Shape::Names("SCMP_ARCH_")),
    (
        "/linux/seccomp/knownFlags",
        Shape::Names("SECCOMP_FILTER_FLAG_"),
    ),
    (
        "/linux/seccomp/supportedFlags",
        Shape::Names("SECCOMP_FILTER_FLAG_"),
    ),
    ("/linux/apparmor/enabled", Shape::Boolean),
    ("/linux/selinux/enabled", Shape::Boolean),
    ("/linux/intelRdt/enabled", Shape::Boolean),
    ("/linux/intelRdt/schemata", Shape::Boolean),
    ("/linux/intelRdt/monitoring", Shape::Boolean),
    ("/linux/memoryPolicy/modes", Shape::Names("MPOL_")),
    ("/linux/memoryPolicy/flags", Shape::Names("MPOL_F_")),
    ("/linux/mountExtensions/idmap/enabled", Shape::Boolean),
    ("/linux/netDevices/enabled", Shape::Boolean),
];

fn features_fits_the_schema(case: &Case<'_>) -> Verdict {
    let outcome = case.call(&case.bare_runtime(&["features"])?)?.succeeds()?;
    let features: Value = serde_json::from_slice(&outcome.stdout)?;
    for (pointer, shape) in FEATURES {
        match features.pointer(pointer) {
            Some(value) => ensure!(fits(value, shape), "{pointer} is {value}"),
            None => ensure!(!matches!(shape, Shape::Version), "{pointer} is required"),
        }
    }
    let known = |pointer: &str| FEATURES.iter().any(|(known, _)| known.starts_with(pointer));
    for part in ["", "/linux", "/linux/cgroup", "/linux/seccomp"] {
        let members = features.pointer(part).and_then(Value::as_object);
        for name in members.into_iter().flatten().map(|(name, _)| name) {
            ensure!(known(&format!("{part}/{name}")), "{part}/{name} is unknown");
        }
    }
    Ok(())
}

fn fits(value: &Value, shape: &Shape) -> bool {
    let each = |fits: &dyn Fn(&str) -> bool| {
        let list = value.as_array();
        list.is_some_and(|list| list.iter().all(|word| word.as_str().is_some_and(fits)))
    };
    match shape {
        Shape::Version => value.as_str().is_some_and(is_version),
        Shape::Boolean => value.is_boolean(),
        Shape::Words => each(&|_| true),
        Shape::Names(prefix) => each(&|word| {
            let rest = word.strip_prefix(prefix);
            let capital = |byte: u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
            rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(capital))
        }),
        Shape::OneOf(words) => each(&|word| words.contains(&word)),
        Shape::Map => value
            .as_object()
            .is_some_and(|map| map.values().all(Value::is_string)),
    }
}

/// Semantic Versioning 2.0.0, as far as this specification uses it.
fn is_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<_> = core.split('.').collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok())
}

fn the_executable_is_static_and_at_most_4_mib(case: &Case<'_>) -> Verdict {
    let runtime = case.target(Side::Runtime)?;
    let file = std::fs::read(runtime)?;
    ensure!(file.starts_with(b"\x7fELF\x02\x01"), "no 64-bit ELF file");
    let number = |at: usize, bytes: usize| {
        let slice = file.get(at..at + bytes).unwrap_or_default();
        slice
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte))
    };
    // Elf64_Ehdr: e_phoff, e_phentsize, e_phnum; PT_INTERP is 3, PT_LOAD is 1.
    let (offset, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let headers: Vec<_> = (0..count).map(|index| offset + index * size).collect();
    let interpreter = headers.iter().find(|&&at| number(at, 4) == 3);
    ensure!(interpreter.is_none(), "it needs a dynamic loader");
    needs!(
        !is_debug_build(&file),
        "an executable without debug information (a release build)"
    );
    ensure!(file.len() <= 4 << 20, "it has {} bytes", file.len());
    Ok(())
}

/// The name of a section, in the table of such names.
fn is_debug_build(file: &[u8]) -> bool {
    let name = b"\0.debug_info\0";
    file.windows(name.len()).any(|window| window == name)
}

/// The report of `check` on `config`.
fn report(case: &Case<'_>, config: Config) -> Verdict<(bool, Value)> {
    let container = case.container(config)?;
    let check = case.runtime(&["check", "--format", "json", &container.dir()])?;
    let outcome = case.call(&check)?;
    let report = serde_json::from_slice(&outcome.stdout);
    let report = report.map_err(|error| Failure(format!("no report ({error}):\n{outcome}")))?;
    Ok((outcome.success(), report))
}

/// The pointers of all findings of one severity, each with a cause and a remedy.
fn pointers(report: &Value, severity: &str) -> Verdict<Vec<String>> {
    let mut pointers = Vec::new();
    for finding in report["findings"].as_array().into_iter().flatten() {
        for part in ["cause", "remedy"] {
            let text = finding[part].as_str().unwrap_or_default();
            ensure!(!text.is_empty(), "no {part} in {finding}");
        }
        if finding["severity"] == severity {
            pointers.push(finding["pointer"].as_str().unwrap_or_default().to_owned());
        }
    }
    pointers.sort();
    Ok(pointers)
}

fn all_faults_of_a_configuration_are_reported_at_once(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .set("/process/cwd", "relative")
        .set("/process/args", json!([]))
        .set("/process/oomScoreAdj", 2000)
        .set("/process/user/uid", -1)
        .set("/hostname", json!(["h"]))
        .set(
            "/hooks",
            json!({"poststop": [{"path": "x"}, {"path": "/x", "timeout": 0}]}),
        )
        .set("/linux/sysctl", json!({"vm.swappiness": "1"}))
        .set("/linux/rootfsPropagation", "sideways")
        .push("/linux/namespaces", json!({"type": "moon"}));
    let namespaces = config.value()["linux"]["namespaces"].as_array();
    let moon = namespaces.map_or(0, Vec::len) - 1;
    let (success, report) = report(case, config)?;
    ensure!(!success, "exit status 0 for {report}");
    let wanted = [
        "/hooks/poststop/0/path".to_owned(),
        "/hooks/poststop/1/timeout".to_owned(),
        "/hostname".to_owned(),
        format!("/linux/namespaces/{moon}/type"),
        "/linux/rootfsPropagation".to_owned(),
        "/linux/sysctl/vm.swappiness".to_owned(),
        "/process/args".to_owned(),
        "/process/cwd".to_owned(),
        "/process/oomScoreAdj".to_owned(),
        "/process/user/uid".to_owned(),
    ];
    ensure_eq!(pointers(&report, "error")?, wanted, "of {report}");
    Ok(())
}

fn a_check_of_a_good_bundle_succeeds_and_changes_nothing(case: &Case<'_>) -> Verdict {
    let before = case.snapshot()?;
    let (success, report) = report(case, Config::new())?;
    ensure!(success, "exit status not 0 for {report}");
    ensure_eq!(pointers(&report, "error")?, [""; 0], "of {report}");
    ensure_eq!(case.snapshot()?, before, "the host");
    Ok(())
}

fn a_misspelt_property_is_pointed_out(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/linux/readOnlyPath", json!(["/proc/sys"]));
    let (success, report) = report(case, config)?;
    ensure!(success, "exit status not 0 for {report}");
    let findings = report["findings"].as_array().into_iter().flatten();
    let mut about = findings.filter(|finding| finding["pointer"] == "/linux/readOnlyPath");
    let remedy = about.next().map(|finding| finding["remedy"].to_string());
    let remedy = remedy.ok_or_else(|| Failure(format!("nothing about it in {report}")))?;
    ensure!(remedy.contains("readonlyPaths"), "{remedy}");
    Ok(())
}
