//! The command line as engines use it: global options, output formats, exit statuses.

use serde_json::Value;
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Side, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F001,
        the_root_directory_cannot_be_slash,
        "runc(8): --root must not be set to /"
    ),
    row!(
        Runtime,
        F002,
        an_error_goes_to_the_log_file,
        "runc(8): --log: set the log file path"
    ),
    row!(
        Runtime,
        F003,
        a_json_log_record_has_msg_level_and_time,
        "runc(8): --log-format json; go-runc reads msg of the last record with level error, time as RFC 3339"
    ),
    row!(
        Runtime,
        F004,
        a_failure_leaves_one_json_record,
        "podman decodes the whole --log file as one JSON object"
    ),
    row!(
        Runtime,
        F005,
        create_says_nothing_on_success,
        "engines hand stderr of create to their users; conmon sends it on as an error"
    ),
    row!(
        Runtime,
        F008,
        the_rootless_flag_takes_a_value,
        "runc(8): --rootless true|false|auto"
    ),
    row!(
        Runtime,
        F011,
        the_version_names_the_program_and_the_specification,
        "go-runc reads `<name> version <x.y.z>` and `spec: <x.y.z>`"
    ),
    row!(
        Runtime,
        F011,
        called_as_runc_the_version_is_runc_s,
        "go-runc's Version looks for a line that begins with `runc version `"
    ),
    row!(
        Runtime,
        F012,
        features_lists_hooks_and_namespaces,
        "features.md: ociVersionMin, ociVersionMax REQUIRED; hooks, linux.namespaces"
    ),
    row!(
        Runtime,
        F014,
        features_is_silent_on_stderr,
        "CRI-O reads stdout and stderr of features together"
    ),
    row!(
        Runtime,
        F015,
        spec_writes_a_config_that_runs,
        "runc-spec(8): creates config.json; refuses to overwrite one"
    ),
    row!(
        Runtime,
        F016,
        spec_rootless_maps_one_user,
        "runc-spec(8): --rootless: generate a configuration for a rootless container"
    ),
    row!(
        Runtime,
        F017,
        list_prints_a_table,
        "runc-list(8): ID PID STATUS BUNDLE CREATED OWNER"
    ),
    row!(
        Runtime,
        F017,
        list_prints_json,
        "runc-list(8): --format json"
    ),
    row!(
        Runtime,
        F017,
        list_quiet_prints_ids_alone,
        "runc-list(8): --quiet: display only container IDs"
    ),
    row!(
        Runtime,
        F018,
        an_empty_json_list_parses,
        "runc-list(8): --format json: null or [] when there is none"
    ),
    row!(
        Runtime,
        F019,
        the_state_carries_what_the_specification_requires,
        "runtime.md: ociVersion, id, status, pid, bundle are REQUIRED; annotations"
    ),
    row!(
        Runtime,
        F036,
        an_exec_that_cannot_start_ends_with_255,
        "runc-exec(8): 255 when the runtime itself fails"
    ),
    row!(
        Runtime,
        F037,
        exec_ends_with_the_status_of_the_program,
        "runc-exec(8): exit status of the process in the foreground"
    ),
    row!(
        Runtime,
        F037,
        exec_ends_with_128_and_the_signal,
        "runc-exec(8): 128 + signal when a signal ended the process"
    ),
    row!(
        Runtime,
        F037,
        run_ends_with_the_status_of_the_program,
        "runc-run(8): exit status of the container's process in the foreground"
    ),
    row!(
        Runtime,
        F038,
        run_keep_keeps_the_container,
        "runc-run(8): --keep: do not delete the container after it exited"
    ),
    row!(
        Runtime,
        F042,
        a_signal_is_known_by_every_spelling,
        "runc-kill(8): SIGTERM, TERM and 15 are the same"
    ),
    row!(
        Runtime,
        F042,
        an_unknown_signal_is_refused,
        "runc-kill(8): SIGNAL must be a name or a number that exists"
    ),
    row!(
        Runtime,
        F044,
        help_of_checkpoint_ends_with_0,
        "podman reads the help of checkpoint to learn whether it can checkpoint"
    ),
];

fn the_root_directory_cannot_be_slash(case: &Case<'_>) -> Verdict {
    case.call(&case.bare_runtime(&["--root", "/", "list"])?)?
        .refuses()?;
    case.call(&case.bare_runtime(&["--root", &case.path("fresh"), "--help"])?)?
        .succeeds()?;
    Ok(())
}

fn an_error_goes_to_the_log_file(case: &Case<'_>) -> Verdict {
    let log = case.path("log");
    case.call(&case.runtime(&["--log", &log, "state", "nobody"])?)?
        .refuses()?;
    let text = case.read("log")?;
    ensure!(
        text.contains("does not exist") || text.contains("nobody"),
        "log says {text:?}"
    );
    Ok(())
}

fn failed_with_json_log(case: &Case<'_>) -> Verdict<String> {
    let log = case.path("log.json");
    let options = ["--log", &log, "--log-format", "json", "state", "nobody"];
    case.call(&case.runtime(&options)?)?.refuses()?;
    case.read("log.json")
}

fn a_json_log_record_has_msg_level_and_time(case: &Case<'_>) -> Verdict {
    let text = failed_with_json_log(case)?;
    let record: Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    ensure_eq!(record["level"], "error", "level of {record}");
    ensure!(
        record["msg"].as_str().is_some_and(|msg| msg.len() > 5),
        "msg of {record}"
    );
    let time = record["time"].as_str().unwrap_or_default();
    ensure!(
        time.len() >= 20 && time.contains('T'),
        "time of {record} is not RFC 3339"
    );
    Ok(())
}

fn a_failure_leaves_one_json_record(case: &Case<'_>) -> Verdict {
    let record: Value = serde_json::from_str(&failed_with_json_log(case)?)?;
    ensure_eq!(record["level"], "error", "level of {record}");
    Ok(())
}

fn create_says_nothing_on_success(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    let created = container.create()?.succeeds()?;
    ensure!(
        created.stderr.is_empty() && created.stdout.is_empty(),
        "create said\n{created}"
    );
    ensure_eq!(container.state()?["status"], "created", "status");
    Ok(())
}

fn the_rootless_flag_takes_a_value(case: &Case<'_>) -> Verdict {
    std::fs::create_dir(case.path("state"))?;
    case.call(&case.runtime(&["--rootless=false", "list"])?)?
        .succeeds()?;
    case.call(&case.runtime(&["--rootless", "auto", "list", "--format", "json"])?)?
        .succeeds()?;
    case.call(&case.runtime(&["--no-such-flag", "list"])?)?
        .refuses()?;
    Ok(())
}

fn called_as_runc_the_version_is_runc_s(case: &Case<'_>) -> Verdict {
    let runtime = case.target(Side::Runtime)?;
    let link = case.path("runc");
    std::os::unix::fs::symlink(runtime, &link)?;
    let call = case.with_subject_env(case.host.command([link, "--version".into()]));
    let text = case.call(&call)?.succeeds()?.text();
    ensure!(
        text.starts_with("runc version "),
        "the first line of {text:?}"
    );
    Ok(())
}

fn the_version_names_the_program_and_the_specification(case: &Case<'_>) -> Verdict {
    let text = case
        .call(&case.bare_runtime(&["--version"])?)?
        .succeeds()?
        .text();
    let first = text.lines().next().unwrap_or_default();
    let mut words = first.split(' ').skip(1);
    let starts = words.next() == Some("version")
        && words
            .next()
            .is_some_and(|version| version.split('.').count() >= 3);
    ensure!(starts, "first line {first:?}");
    let spec = text.lines().find_map(|line| line.strip_prefix("spec: "));
    ensure!(
        spec.is_some_and(|spec| spec.starts_with("1.")),
        "no spec line in {text:?}"
    );
    Ok(())
}

fn features_lists_hooks_and_namespaces(case: &Case<'_>) -> Verdict {
    let features: Value = serde_json::from_slice(
        &case
            .call(&case.bare_runtime(&["features"])?)?
            .succeeds()?
            .stdout,
    )?;
    for key in ["ociVersionMin", "ociVersionMax"] {
        let version = features[key].as_str().unwrap_or_default();
        ensure!(version.starts_with("1."), "{key} in {features}");
    }
    let has = |list: &Value, wanted: &str| {
        list.as_array()
            .is_some_and(|list| list.iter().any(|name| name == wanted))
    };
    for hook in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        ensure!(
            has(&features["hooks"], hook),
            "{hook} in {}",
            features["hooks"]
        );
    }
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        ensure!(
            has(&features["linux"]["namespaces"], namespace),
            "{namespace} in {features}"
        );
    }
    Ok(())
}

fn features_is_silent_on_stderr(case: &Case<'_>) -> Verdict {
    let outcome = case.call(&case.bare_runtime(&["features"])?)?.succeeds()?;
    ensure!(outcome.stderr.is_empty(), "stderr of\n{outcome}");
    let _: Value = serde_json::from_slice(&outcome.stdout)?;
    Ok(())
}

fn spec_writes_a_config_that_runs(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    std::fs::remove_file(container.bundle.dir().join("config.json"))?;
    let spec = case.bare_runtime(&["spec", "--bundle", &container.dir()])?;
    case.call(&spec)?.succeeds()?;
    case.call(&spec)?.refuses()?;
    let path = container.bundle.dir().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    ensure!(
        config["ociVersion"].as_str().is_some(),
        "ociVersion in {config}"
    );
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["echo", "from spec"]);
    config["linux"]["cgroupsPath"] = container.cgroup.clone().into();
    std::fs::write(&path, config.to_string())?;
    ensure_eq!(container.output()?, "from spec", "output");
    Ok(())
}

fn spec_rootless_maps_one_user(case: &Case<'_>) -> Verdict {
    let dir = case.path("rootless");
    std::fs::create_dir(&dir)?;
    let spec = case.bare_runtime(&["spec", "--rootless", "--bundle", &dir])?;
    case.call(&spec)?.succeeds()?;
    let config: Value = serde_json::from_str(&case.read("rootless/config.json")?)?;
    let kinds = config["linux"]["namespaces"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    ensure!(
        kinds.iter().any(|kind| kind["type"] == "user"),
        "no user namespace in {config}"
    );
    ensure!(
        kinds.iter().all(|kind| kind["type"] != "network"),
        "network in {config}"
    );
    for key in ["uidMappings", "gidMappings"] {
        let size = &config["linux"][key][0]["size"];
        ensure_eq!(*size, 1, "size of {key}");
    }
    Ok(())
}

fn list_prints_a_table(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let text = case.call(&case.runtime(&["list"])?)?.succeeds()?.text();
    let mut lines = text.lines();
    let header: Vec<_> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    ensure_eq!(
        header,
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
        "header"
    );
    let fields: Vec<_> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    ensure_eq!(
        fields[..4],
        [
            &container.id,
            &container.pid()?.to_string(),
            "running",
            &container.dir()
        ],
        "line"
    );
    ensure_eq!(fields[5], "root", "owner");
    Ok(())
}

fn list_prints_json(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let list = case
        .call(&case.runtime(&["list", "--format", "json"])?)?
        .succeeds()?;
    let list: Value = serde_json::from_slice(&list.stdout)?;
    ensure_eq!(list[0]["id"], container.id.as_str(), "id in {list}");
    ensure_eq!(list[0]["status"], "running", "status in {list}");
    ensure_eq!(list[0]["pid"], container.pid()?, "pid in {list}");
    Ok(())
}

fn list_quiet_prints_ids_alone(case: &Case<'_>) -> Verdict {
    let one = case.container(Config::new().args(&["sleep", "60"]))?;
    let two = case.container(Config::new().args(&["sleep", "60"]))?;
    one.up()?;
    two.create()?.succeeds()?;
    let text = case
        .call(&case.runtime(&["list", "-q"])?)?
        .succeeds()?
        .text();
    let mut ids: Vec<_> = text.lines().collect();
    ids.sort_unstable();
    ensure_eq!(ids, [one.id.as_str(), two.id.as_str()], "ids");
    Ok(())
}

fn an_empty_json_list_parses(case: &Case<'_>) -> Verdict {
    std::fs::create_dir(case.path("state"))?;
    let list = case
        .call(&case.runtime(&["list", "--format", "json"])?)?
        .succeeds()?;
    let list: Value = serde_json::from_slice(&list.stdout)?;
    ensure!(
        list.is_null() || list.as_array().is_some_and(Vec::is_empty),
        "list is {list}"
    );
    Ok(())
}

fn the_state_carries_what_the_specification_requires(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .args(&["sleep", "60"])
        .set("/annotations/org.example", "kept");
    let container = case.container(config)?;
    container.up()?;
    let state = container.state()?;
    ensure!(
        state["ociVersion"].as_str().is_some(),
        "ociVersion in {state}"
    );
    ensure_eq!(state["id"], container.id.as_str(), "id");
    ensure_eq!(state["status"], "running", "status");
    ensure_eq!(state["bundle"], container.dir(), "bundle");
    ensure_eq!(state["annotations"]["org.example"], "kept", "annotation");
    let pid = container.pid()?;
    ensure!(
        case.holds(&format!("grep -q sleep /proc/{pid}/cmdline"))?,
        "{pid} is not our program"
    );
    Ok(())
}

fn an_exec_that_cannot_start_ends_with_255(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let outcome = container.exec(&["/no/such/program"])?;
    ensure_eq!(outcome.code(), Some(255), "status");
    outcome.says(&["no such file", "not found"])?;
    Ok(())
}

fn exec_ends_with_the_status_of_the_program(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    ensure_eq!(
        container.exec(&["sh", "-c", "exit 7"])?.code(),
        Some(7),
        "status"
    );
    let outcome = container.exec(&["echo", "beside"])?.succeeds()?;
    ensure_eq!(outcome.text(), "beside", "output");
    Ok(())
}

fn exec_ends_with_128_and_the_signal(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    ensure_eq!(
        container.exec(&["sh", "-c", "kill -TERM $$"])?.code(),
        Some(143),
        "status"
    );
    Ok(())
}

fn run_ends_with_the_status_of_the_program(case: &Case<'_>) -> Verdict {
    ensure_eq!(
        case.container(Config::new().sh("exit 42"))?.run()?.code(),
        Some(42),
        "status"
    );
    let killed = case.container(Config::new().sh("trap - TERM; kill -KILL $$; sleep 1; exit 5"))?;
    // pid 1 does not die of its own signals, so the shell goes on.
    ensure_eq!(
        killed.run()?.code(),
        Some(5),
        "status of pid 1 that signals itself"
    );
    Ok(())
}

fn run_keep_keeps_the_container(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new())?;
    let run = case.runtime(&["run", "--keep", "--bundle", &container.dir(), &container.id])?;
    case.call(&run)?.succeeds()?;
    ensure_eq!(container.state()?["status"], "stopped", "status");
    container.delete()?.succeeds()?;
    container.command(&["state"])?.run()?.refuses()?;
    Ok(())
}

fn a_signal_is_known_by_every_spelling(case: &Case<'_>) -> Verdict {
    for signal in ["TERM", "SIGTERM", "15", "term"] {
        let script =
            "trap 'echo caught > /caught; exit 0' TERM; touch /ready; while :; do sleep 0.05; done";
        let container = case.container(Config::new().sh(script))?;
        container.up()?;
        let ready = container.bundle.in_rootfs("/ready");
        case.sh(&format!(
            "i=0; until [ -e {ready:?} ]; do i=$((i+1)); [ $i -lt 200 ]; sleep 0.02; done"
        ))?;
        container.kill(signal)?.succeeds()?;
        container.reaches("stopped")?;
        ensure_eq!(container.left("/caught")?, "caught", "after {signal}");
    }
    Ok(())
}

fn an_unknown_signal_is_refused(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    for signal in ["SIGNONSENSE", "-1", "99999"] {
        container.kill(signal)?.refuses()?;
        ensure_eq!(
            container.state()?["status"],
            "running",
            "status after {signal}"
        );
    }
    Ok(())
}

fn help_of_checkpoint_ends_with_0(case: &Case<'_>) -> Verdict {
    let help = case
        .call(&case.bare_runtime(&["checkpoint", "--help"])?)?
        .succeeds()?;
    help.says(&["--image-path"])?;
    Ok(())
}
