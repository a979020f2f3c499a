//! What config.md says of every configuration: what is known, what is not, and what is neither.
//!
//! The IDs with S stand beside the feature of that number, as in `operations`.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::Config;
use testbed::console::Console;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        S246,
        a_version_that_is_none_is_refused,
        "config.md: ociVersion MUST be in SemVer v2.0.0 format"
    ),
    row!(
        Runtime,
        S246,
        an_unknown_property_is_ignored,
        "config.md, extensibility: unknown properties MUST be ignored"
    ),
    row!(
        Runtime,
        S246,
        a_value_of_another_type_is_refused,
        "config.md, valid values: MUST generate an error when invalid values are encountered"
    ),
    row!(
        Runtime,
        S246,
        an_unknown_word_is_refused,
        "config.md, valid values: MUST generate an error when unsupported values are encountered"
    ),
    row!(
        Runtime,
        S019,
        annotations_that_are_no_map_are_refused,
        "config.md, annotations: annotations MUST be a key-value map"
    ),
    row!(
        Runtime,
        S019,
        an_annotation_that_is_no_text_is_refused,
        "config.md, annotations: values MUST be strings"
    ),
    row!(
        Runtime,
        S019,
        an_annotation_without_a_key_is_refused,
        "config.md, annotations: keys MUST NOT be an empty string"
    ),
    row!(
        Runtime,
        S019,
        an_unknown_annotation_is_no_error,
        "config.md, annotations: MUST handle unknown annotation keys like any other unknown property"
    ),
    row!(
        Runtime,
        F051,
        a_root_that_is_no_directory_is_refused,
        "config.md, root: a directory MUST exist at the path declared by the field"
    ),
    row!(
        Runtime,
        F127,
        a_relative_destination_starts_at_the_root,
        "config.md, mounts: a relative destination MUST be interpreted as relative to /"
    ),
    row!(
        Runtime,
        S133,
        mappings_of_users_alone_are_refused,
        "config.md, mounts: uidMappings MUST be specified along with gidMappings"
    ),
    row!(
        Runtime,
        S133,
        mappings_of_groups_alone_are_refused,
        "config.md, mounts: gidMappings MUST be specified along with uidMappings"
    ),
    row!(
        Runtime,
        F224,
        a_console_size_without_a_terminal_is_ignored,
        "config.md, process: MUST ignore consoleSize if terminal is false or unset"
    ),
    row!(
        Runtime,
        S224,
        a_console_size_without_height_is_refused,
        "config.md, consoleSize: height (uint, REQUIRED)"
    ),
    row!(
        Runtime,
        S224,
        a_console_size_without_width_is_refused,
        "config.md, consoleSize: width (uint, REQUIRED)"
    ),
    row!(
        Runtime,
        S201,
        a_capability_that_cannot_be_granted_is_no_error,
        "config.md, capabilities: SHOULD NOT fail if capabilities that cannot be granted are requested"
    ),
    row!(
        Runtime,
        S201,
        a_capability_that_cannot_be_granted_is_warned_of,
        "config.md, Linux process: a value that cannot be granted otherwise MUST be logged as a warning"
    ),
];

/// A configuration with this value there is refused.
pub(super) fn refused(case: &Case<'_>, pointer: &str, value: Value) -> Verdict {
    let outcome = case
        .container(Config::new().set(pointer, value.clone()))?
        .run()?;
    ensure!(outcome.refused(), "ran with {pointer} {value}:\n{outcome}");
    Ok(())
}

fn a_version_that_is_none_is_refused(case: &Case<'_>) -> Verdict {
    for version in ["banana", "1.0", "1", "1.0.x"] {
        refused(case, "/ociVersion", json!(version))?;
    }
    case.container(Config::new())?.run()?.succeeds()?;
    Ok(())
}

fn an_unknown_property_is_ignored(case: &Case<'_>) -> Verdict {
    let places = [
        "/org.example.new",
        "/process/org.example.new",
        "/process/user/org.example.new",
        "/root/org.example.new",
        "/mounts/0/org.example.new",
        "/linux/org.example.new",
        "/linux/namespaces/0/org.example.new",
        "/linux/resources/org.example.new",
        "/linux/resources/devices/0/org.example.new",
    ];
    let value = json!({ "any": [1, null, "thing"] });
    let config = places.iter().fold(Config::new(), |config, place| {
        config.set(place, value.clone())
    });
    let container = case.container(config.args(&["echo", "ran"]))?;
    ensure_eq!(container.output()?, "ran", "output");
    Ok(())
}

fn a_value_of_another_type_is_refused(case: &Case<'_>) -> Verdict {
    for (pointer, value) in [
        ("/process/args", json!("true")),
        ("/process/cwd", json!(7)),
        ("/process/env", json!({ "A": "1" })),
        ("/process/user/uid", json!("root")),
        ("/root/readonly", json!("yes")),
        ("/mounts", json!("none")),
        ("/linux/namespaces", json!({ "type": "pid" })),
        ("/linux/maskedPaths", json!("/proc/kcore")),
        ("/linux/resources/pids", json!({ "limit": "many" })),
    ] {
        refused(case, pointer, value)?;
    }
    case.container(Config::new())?.run()?.succeeds()?;
    Ok(())
}

fn an_unknown_word_is_refused(case: &Case<'_>) -> Verdict {
    let rule = json!([{ "names": ["swapon"], "action": "SCMP_ACT_DANCE" }]);
    for (pointer, value) in [
        ("/linux/namespaces/0/type", json!("moon")),
        ("/linux/rootfsPropagation", json!("sideways")),
        (
            "/linux/devices",
            json!([{ "path": "/dev/x", "type": "x", "major": 1, "minor": 3 }]),
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_DANCE" }),
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule }),
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_MOON"] }),
        ),
        ("/process/rlimits/0/type", json!("RLIMIT_MOON")),
    ] {
        refused(case, pointer, value)?;
    }
    case.container(Config::new())?.run()?.succeeds()?;
    Ok(())
}

fn annotations_that_are_no_map_are_refused(case: &Case<'_>) -> Verdict {
    refused(case, "/annotations", json!(["org.example.key", "value"]))?;
    refused(case, "/annotations", json!("org.example.key"))
}

fn an_annotation_that_is_no_text_is_refused(case: &Case<'_>) -> Verdict {
    refused(case, "/annotations", json!({ "org.example.key": 1 }))?;
    refused(case, "/annotations", json!({ "org.example.key": ["1"] }))
}

fn an_annotation_without_a_key_is_refused(case: &Case<'_>) -> Verdict {
    refused(case, "/annotations", json!({ "": "value" }))
}

fn an_unknown_annotation_is_no_error(case: &Case<'_>) -> Verdict {
    let annotations = json!({ "org.example.new": "1", "org.opencontainers.new": "", "plain": "x" });
    let config = Config::new().set("/annotations", annotations.clone());
    let container = case.container(config.args(&["sleep", "60"]))?;
    container.create()?.succeeds()?;
    ensure_eq!(
        container.state()?["annotations"],
        annotations,
        "annotations in the state"
    );
    Ok(())
}

fn a_root_that_is_no_directory_is_refused(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().set("/root/path", "config.json"))?;
    container.create()?.refuses()?;
    container.command(&["state"])?.run()?.refuses()?;
    Ok(())
}

fn a_relative_destination_starts_at_the_root(case: &Case<'_>) -> Verdict {
    // Neither the bundle nor the working directory is what it starts from.
    let config = Config::new()
        .set("/process/cwd", "/tmp")
        .mount("relative/place", "tmpfs", "told", &[])
        .sh("awk '$(NF-1) == \"told\" {print $5}' /proc/self/mountinfo");
    ensure_eq!(
        case.container(config)?.output()?,
        "/relative/place",
        "mount point"
    );
    Ok(())
}

/// A bind mount with one kind of mappings: refused; with both it would not be.
fn refused_with(case: &Case<'_>, kind: &str) -> Verdict {
    let source = case.path("source");
    case.sh(&format!("mkdir {source}"))?;
    let ids = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    let mut mount =
        json!({ "destination": "/data", "type": "bind", "source": source, "options": ["bind"] });
    mount[kind] = ids;
    let outcome = case
        .container(Config::new().push("/mounts", mount))?
        .run()?;
    ensure!(outcome.refused(), "ran with {kind} alone:\n{outcome}");
    Ok(())
}

fn mappings_of_users_alone_are_refused(case: &Case<'_>) -> Verdict {
    refused_with(case, "uidMappings")
}

fn mappings_of_groups_alone_are_refused(case: &Case<'_>) -> Verdict {
    refused_with(case, "gidMappings")
}

fn a_console_size_without_a_terminal_is_ignored(case: &Case<'_>) -> Verdict {
    for size in [
        json!({ "height": 25, "width": 80 }),
        json!({ "height": 25 }),
    ] {
        let config = Config::new().set("/process/consoleSize", size).args(&[
            "sh",
            "-c",
            "test -t 0 || test -t 1 || echo none",
        ]);
        ensure_eq!(case.container(config)?.output()?, "none", "terminals");
    }
    Ok(())
}

/// Whether a container is made that has a terminal of this size.
fn is_made(case: &Case<'_>, size: &Value) -> Verdict<bool> {
    let config = Config::new()
        .set("/process/terminal", true)
        .set("/process/consoleSize", size.clone());
    let container = case.container(config)?;
    let socket = case.path(&format!("{}.sock", container.id));
    let console = Console::listen(std::path::Path::new(&socket))?;
    let dir = container.dir();
    let words = ["create", "--bundle", &dir, "--console-socket", &socket];
    let create = container.command(&words)?.spawn()?;
    // A runtime that goes on sends the terminal before it answers, and somebody must hold it.
    let held = console.receive(Duration::from_secs(4));
    let made = create.wait()?;
    drop(held);
    Ok(made.success())
}

fn half_sized(case: &Case<'_>, size: &Value) -> Verdict {
    let whole = json!({ "height": 25, "width": 80 });
    ensure!(is_made(case, &whole)?, "not made with {whole}");
    ensure!(!is_made(case, size)?, "made with {size}");
    Ok(())
}

fn a_console_size_without_height_is_refused(case: &Case<'_>) -> Verdict {
    half_sized(case, &json!({ "width": 80 }))
}

fn a_console_size_without_width_is_refused(case: &Case<'_>) -> Verdict {
    half_sized(case, &json!({ "height": 25 }))
}

fn a_capability_that_cannot_be_granted_is_no_error(case: &Case<'_>) -> Verdict {
    ungranted(case).map(drop)
}

fn a_capability_that_cannot_be_granted_is_warned_of(case: &Case<'_>) -> Verdict {
    ungranted(case)?.says(&["AUDIT_READ"])?;
    Ok(())
}

/// A run with one capability that there is not and one that the caller cannot give; it ends well.
fn ungranted(case: &Case<'_>) -> Verdict<testbed::Outcome> {
    let names = json!(["CAP_KILL", "CAP_OF_TOMORROW", "CAP_AUDIT_READ"]);
    let config = Config::new()
        .set(
            "/process/capabilities",
            json!({ "bounding": names, "permitted": names, "effective": names }),
        )
        .sh("grep CapBnd /proc/self/status | tr -d '\\t'");
    let container = case.container(config)?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    // A caller that has lost one for good, as an outer container has.
    let run = run.within(&["setpriv", "--bounding-set", "-audit_read", "--"]);
    let outcome = case.call(&run)?.succeeds()?;
    ensure_eq!(outcome.text(), "CapBnd:0000000000000020", "what it has");
    Ok(outcome)
}
