//! The log as engines read it, and failures that say what they are and what helps.

use serde_json::Value;
use testbed::Config;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

const CODES: &str = "a program must not have to read prose: the record of an error has a code";
const HINTS: &str = "users ask what `exec format error` and `no such file` mean: the record tells";

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F002,
        a_mistake_in_the_arguments_is_logged,
        "runc(8): --log; go-runc reads the error of a failed call from there"
    ),
    row!(
        Runtime,
        F004,
        a_success_leaves_the_log_empty,
        "podman decodes the whole --log file as one JSON object: at the default level only errors"
    ),
    row!(
        Runtime,
        F006,
        debug_writes_records_of_its_level,
        "runc(8): --debug: enable debug logging, in the format asked for"
    ),
    row!(Runtime, F245, an_error_has_a_code_and_a_hint, CODES),
    row!(
        Runtime,
        F245,
        different_failures_have_different_codes,
        CODES
    ),
    row!(Runtime, F245, a_missing_interpreter_is_named, HINTS),
    row!(Runtime, F245, a_script_with_dos_line_ends_is_told, HINTS),
    row!(Runtime, F245, another_architecture_is_named, HINTS),
    row!(Runtime, F245, a_missing_loader_is_named, HINTS),
    row!(Runtime, F245, a_noexec_mount_is_named, HINTS),
    row!(Runtime, F245, an_empty_cpuset_is_named, HINTS),
    row!(Runtime, F245, an_unmapped_user_is_named, HINTS),
    row!(Runtime, F245, a_tiny_address_space_is_named, HINTS),
    row!(Runtime, F245, a_full_disk_is_named, HINTS),
    row!(Runtime, F245, a_read_only_state_directory_is_named, HINTS),
    row!(Runtime, F245, too_few_descriptors_are_named, HINTS),
];

/// Runs `args` with a log in JSON, which must fail, and answers the one record of it.
fn record(case: &Case<'_>, args: &[&str]) -> Verdict<Value> {
    let log = case.path("failure.json");
    let _ = std::fs::remove_file(&log);
    let args = [&["--log", &log, "--log-format", "json"], args].concat();
    case.call(&case.runtime(&args)?)?.refuses()?;
    let text = case.read("failure.json")?;
    let lines = text.lines().map(serde_json::from_str);
    let records: Vec<Value> = lines.collect::<Result<_, _>>()?;
    let mut errors = records.into_iter().filter(|one| one["level"] == "error");
    errors
        .next_back()
        .ok_or_else(|| Failure(format!("no error in the log: {text}")))
}

/// The record of a `run` that must fail.
fn failed_run(container: &Container<'_>) -> Verdict<Value> {
    let run = ["run", "--bundle", &container.dir(), &container.id];
    record(container.case, &run)
}

/// Whether the record says one of these, in its message or beside it.
fn tells(record: &Value, any_of: &[&str]) -> Verdict {
    let said = record.to_string().to_lowercase();
    let found = any_of
        .iter()
        .any(|text| said.contains(&text.to_lowercase()));
    ensure!(found, "none of {any_of:?} in {record}");
    Ok(())
}

fn code(record: &Value) -> Verdict<String> {
    let code = record["code"].as_str().unwrap_or_default();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_word = !code.is_empty() && code.bytes().all(legal);
    ensure!(is_word, "no code of letters, digits and dashes in {record}");
    Ok(code.to_owned())
}

fn a_mistake_in_the_arguments_is_logged(case: &Case<'_>) -> Verdict {
    let record = record(case, &["list", "--format", "moon"])?;
    tells(&record, &["format"])
}

fn a_success_leaves_the_log_empty(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    let log = case.path("log.json");
    let global = ["--log", &log, "--log-format", "json"];
    let dir = container.dir();
    for command in [
        &["create", "--bundle", &dir][..],
        &["start"],
        &["state"],
        &["delete", "--force"],
    ] {
        let args = [&global, command, &[&container.id]].concat();
        case.call(&case.runtime(&args)?)?.succeeds()?;
    }
    let text = case.read("log.json").unwrap_or_default();
    ensure!(text.is_empty(), "the log says {text:?}");
    Ok(())
}

fn debug_writes_records_of_its_level(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    let log = case.path("log.json");
    let dir = container.dir();
    let id = &container.id;
    let args = [
        "--debug",
        "--log",
        &log,
        "--log-format",
        "json",
        "run",
        "--bundle",
        &dir,
        id,
    ];
    case.call(&case.runtime(&args)?)?.succeeds()?;
    let text = case.read("log.json")?;
    let lines = text.lines().map(serde_json::from_str);
    let records: Vec<Value> = lines.collect::<Result<_, _>>()?;
    let debug = records.iter().filter(|record| record["level"] == "debug");
    ensure!(debug.count() > 0, "no debug record in {text}");
    Ok(())
}

fn an_error_has_a_code_and_a_hint(case: &Case<'_>) -> Verdict {
    let record = record(case, &["state", "nobody"])?;
    code(&record)?;
    let hint = record["hint"].as_str().unwrap_or_default();
    ensure!(hint.len() > 5, "no hint in {record}");
    Ok(())
}

fn different_failures_have_different_codes(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let (id, dir) = (container.id.as_str(), container.dir());
    let failures = [
        &["state", "nobody"][..],
        &["create", "--bundle", &dir, id],
        &["start", id],
        &["resume", id],
        &["run", "--bundle", "/proc", "other"],
    ];
    let mut codes = Vec::new();
    for failure in failures {
        let first = code(&record(case, failure)?)?;
        ensure_eq!(
            code(&record(case, failure)?)?,
            first,
            "the code the second time"
        );
        ensure!(
            !codes.contains(&first),
            "{failure:?}: {first} again: {codes:?}"
        );
        codes.push(first);
    }
    Ok(())
}

fn program(case: &Case<'_>, contents: &[u8]) -> Verdict<Value> {
    use std::os::unix::fs::PermissionsExt;
    let container = case.container(Config::new().args(&["/program"]))?;
    let path = container.bundle.in_rootfs("program");
    std::fs::write(&path, contents)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    failed_run(&container)
}

fn a_missing_interpreter_is_named(case: &Case<'_>) -> Verdict {
    let record = program(case, b"#!/opt/lang/bin/lang -w\n1\n")?;
    tells(&record, &["no such file or directory"])?;
    tells(&record, &["/opt/lang/bin/lang"])
}

fn a_script_with_dos_line_ends_is_told(case: &Case<'_>) -> Verdict {
    let record = program(case, b"#!/bin/sh\r\ntrue\r\n")?;
    tells(&record, &["carriage return", "crlf", "line end"])
}

fn another_architecture_is_named(case: &Case<'_>) -> Verdict {
    // The header of a program for s390x (elf(5)): 64 bits, most significant byte first.
    let mut header = vec![0; 4096];
    header[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
    header[16..24].copy_from_slice(&[0, 2, 0, 22, 0, 0, 0, 1]);
    let record = program(case, &header)?;
    tells(&record, &["exec format error"])?;
    tells(&record, &["s390"])?;
    tells(&record, &[std::env::consts::ARCH])
}

fn a_missing_loader_is_named(case: &Case<'_>) -> Verdict {
    let text = std::fs::read("/bin/ls")?;
    let needs = text.windows(9).any(|bytes| bytes == b"/ld-linux");
    needs!(needs, "a /bin/ls that is linked dynamically");
    let record = program(case, &text)?;
    tells(&record, &["/ld-linux"])
}

fn a_noexec_mount_is_named(case: &Case<'_>) -> Verdict {
    let config = Config::new().args(&["/mnt/busybox", "true"]).mount(
        "/mnt",
        "bind",
        &case.path("programs"),
        &["bind", "noexec"],
    );
    let programs = case.dir().join("programs");
    std::fs::create_dir(&programs)?;
    testbed::copy_program("/bin/busybox".as_ref(), &programs.join("busybox"))?;
    let record = failed_run(&case.container(config)?)?;
    tells(&record, &["permission denied"])?;
    tells(&record, &["noexec"])
}

fn an_empty_cpuset_is_named(case: &Case<'_>) -> Verdict {
    let cpuset = testbed::requires::has_cgroup_v1("cpuset");
    needs!(cpuset, "cgroup v1 controller cpuset");
    // A cgroup that has no processor gives its children none.
    let parent = format!("{}-empty", case.cgroup_prefix());
    case.sh(&format!("mkdir /sys/fs/cgroup/cpuset/{parent}"))?;
    let config = Config::new()
        .set("/linux/cgroupsPath", format!("/{parent}/below"))
        .set(
            "/linux/resources/cpu",
            serde_json::json!({ "cpus": "4000" }),
        );
    let record = failed_run(&case.container(config)?)?;
    tells(&record, &["cpuset"])?;
    tells(&record, &["cpus", "processor"])
}

fn an_unmapped_user_is_named(case: &Case<'_>) -> Verdict {
    let map = serde_json::json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }]);
    let config = Config::new()
        .push("/linux/namespaces", serde_json::json!({ "type": "user" }))
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set("/process/user/uid", 4711);
    let record = failed_run(&case.container(config)?)?;
    tells(&record, &["4711"])?;
    tells(&record, &["map"])
}

fn a_tiny_address_space_is_named(case: &Case<'_>) -> Verdict {
    let limit = serde_json::json!({ "type": "RLIMIT_AS", "soft": 65536, "hard": 65536 });
    let container = case.container(Config::new().push("/process/rlimits", limit))?;
    // The kernel kills the program in the middle of execve: nothing can be refused.
    container.run()?.refuses()?.says(&["RLIMIT_AS"])?;
    Ok(())
}

/// `state nobody` would not write; `run` with its state in `root` does.
fn failed_with_root(case: &Case<'_>, root: &str) -> Verdict<Value> {
    let container = case.container(Config::new())?;
    let (dir, id) = (container.dir(), container.id.as_str());
    record(case, &["--root", root, "run", "--bundle", &dir, id])
}

fn a_full_disk_is_named(case: &Case<'_>) -> Verdict {
    let root = case.path("full");
    // Two inodes: its own and one more.
    case.sh(&format!(
        "mkdir {root}; mount -t tmpfs -o nr_inodes=2 tmpfs {root}"
    ))?;
    let record = failed_with_root(case, &root)?;
    tells(&record, &["no space left"])?;
    tells(&record, &[&root])
}

fn a_read_only_state_directory_is_named(case: &Case<'_>) -> Verdict {
    let root = case.path("ro");
    case.sh(&format!("mkdir {root}; mount -t tmpfs -o ro tmpfs {root}"))?;
    let record = failed_with_root(case, &root)?;
    tells(&record, &["read-only"])?;
    tells(&record, &[&root])
}

fn too_few_descriptors_are_named(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    let run = run.within(&["prlimit", "--nofile=9:9"]);
    let refused = case.call(&run)?.refuses()?;
    refused.says(&["too many open files"])?;
    ensure!(case.cgroups(&container)?.is_empty(), "a cgroup is left");
    Ok(())
}
