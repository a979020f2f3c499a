//! The runtime under the programs that call it, and inside a container of itself.
//!
//! The scripts in `clients/rows` run the real client, unchanged, on the private host of the row.
//! Suites that are not ours to carry are named and skipped.

use serde_json::json;
use testbed::Config;

use crate::case::Case;
use crate::client::Client;
use crate::row::{Demand, Row, Side, Verdict, ensure, ensure_eq, lacking, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F041,
        info_names_the_kernel_and_the_cgroups,
        "score sheet: an info command that prints what the host has"
    ),
    row!(
        Runtime,
        F236,
        other_machines_have_it,
        "score sheet: the runtime is built for aarch64, armv7, riscv64, s390x, ppc64le and loong64"
    ),
    row!(
        Runtime,
        F237,
        docker_runs_it,
        "dockerd(8), --add-runtime: an OCI compliant runtime; exit statuses as docker-run(1) has them"
    ),
    row!(
        Runtime,
        F238,
        containerd_runs_it,
        "containerd's runc shim, BinaryName: a drop-in for runc under ctr run, exec, pause, kill"
    ),
    row!(
        Runtime,
        F239,
        cri_o_runs_it,
        "score sheet: CRI-O with critest of cri-tools"
    ),
    row!(
        Runtime,
        F240,
        podman_runs_it,
        "podman(1), --runtime: path to the OCI-compatible binary used to run containers"
    ),
    row!(
        Runtime,
        F241,
        a_kubernetes_node_runs_it,
        "score sheet: the node end-to-end suite of Kubernetes"
    ),
    row!(
        Runtime,
        F242,
        the_tests_of_runc_pass,
        "score sheet: the share of runc's own integration tests"
    ),
    row!(
        Runtime,
        F243,
        the_validation_of_runtime_tools_passes,
        "score sheet: the validation programs of opencontainers/runtime-tools"
    ),
    row!(
        Runtime,
        F244,
        it_runs_inside_a_privileged_container,
        "score sheet: nested in a container of itself with every capability"
    ),
    row!(
        Runtime,
        F244,
        it_runs_inside_a_user_namespace,
        "user_namespaces(7): root of a user namespace may mount and make namespaces there"
    ),
];

const DOCKER: &str = include_str!("../../clients/rows/docker.sh");
const CONTAINERD: &str = include_str!("../../clients/rows/containerd.sh");
const PODMAN: &str = include_str!("../../clients/rows/podman.sh");

fn info_names_the_kernel_and_the_cgroups(case: &Case<'_>) -> Verdict {
    let told = case.call(&case.bare_runtime(&["info"])?)?.succeeds()?;
    let told = told.text().to_lowercase();
    let kernel = case.sh("uname -r")?;
    ensure!(
        told.contains(&kernel.to_lowercase()),
        "no kernel {kernel} in\n{told}"
    );
    ensure!(told.contains("cgroup"), "no cgroup in\n{told}");
    Ok(())
}

fn other_machines_have_it(_: &Case<'_>) -> Verdict {
    Err(lacking("machines other than this one's"))
}

fn cri_o_runs_it(_: &Case<'_>) -> Verdict {
    Err(lacking("CRI-O and critest"))
}

fn a_kubernetes_node_runs_it(_: &Case<'_>) -> Verdict {
    Err(lacking("a Kubernetes node"))
}

fn the_tests_of_runc_pass(_: &Case<'_>) -> Verdict {
    Err(lacking("runc's own integration tests"))
}

fn the_validation_of_runtime_tools_passes(_: &Case<'_>) -> Verdict {
    Err(lacking("the validation programs of runtime-tools"))
}

/// Runs a client's script with the runtime and a cgroup of the row's own.
fn client(case: &Case<'_>, programs: &[&str], script: &str, parent: &str) -> Verdict {
    let Some(runtime) = case.subject.path(Side::Runtime) else {
        return Err(lacking("a runtime"));
    };
    Client {
        programs,
        script,
        runtime: &runtime.to_string_lossy(),
        parent,
        more: &[],
    }
    .run(case)
}

fn docker_runs_it(case: &Case<'_>) -> Verdict {
    let parent = format!("/{}-docker", case.cgroup_prefix());
    client(case, &["dockerd", "docker", "containerd"], DOCKER, &parent)
}

fn containerd_runs_it(case: &Case<'_>) -> Verdict {
    let parent = format!("{}-ctr", case.cgroup_prefix());
    client(case, &["containerd", "ctr"], CONTAINERD, &parent)
}

fn podman_runs_it(case: &Case<'_>) -> Verdict {
    let parent = format!("--cgroup-parent=/{}-podman", case.cgroup_prefix());
    client(case, &["podman", "conmon"], PODMAN, &parent)
}

/// Every capability, the host's programs, no masks: a container as nested runtimes are given.
fn roomy() -> Config {
    let all = json!(ALL);
    let mut config = Config::new()
        .set("/process/noNewPrivileges", false)
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .set(
            "/linux/resources/devices",
            json!([{ "allow": true, "access": "rwm" }]),
        )
        .retain("/mounts", |mount| mount["type"] != "cgroup")
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw", "nosuid"]);
    for set in ["bounding", "effective", "permitted"] {
        config = config.set(&format!("/process/capabilities/{set}"), all.clone());
    }
    for directory in ["/usr", "/lib", "/lib64"] {
        if std::path::Path::new(directory).exists() {
            config = config.mount(directory, "bind", directory, &["rbind", "ro"]);
        }
    }
    config
}

/// Runs the subject in a container of itself and compares what the inner program says.
fn nested(case: &Case<'_>, outer: Config) -> Verdict {
    let Some(runtime) = case.subject.path(Side::Runtime) else {
        return Err(lacking("a runtime"));
    };
    let runtime = runtime.to_string_lossy();
    let script = "/subject --root /tmp/state run --bundle /inner inner";
    let outer = outer
        .mount("/subject", "bind", &runtime, &["bind", "ro"])
        .sh(script);
    let container = case.container(outer)?;
    let inner = Config::new()
        .args(&["/bin/echo", "from the inner container"])
        .set("/linux/cgroupsPath", "/inner");
    std::fs::create_dir(container.bundle.in_rootfs("inner"))?;
    std::fs::write(
        container.bundle.in_rootfs("inner/config.json"),
        inner.to_string(),
    )?;
    case.unpack(&container.bundle.in_rootfs("inner/rootfs"))?;
    ensure_eq!(
        container.output()?,
        "from the inner container",
        "what the inner program printed"
    );
    Ok(())
}

fn it_runs_inside_a_privileged_container(case: &Case<'_>) -> Verdict {
    nested(case, roomy())
}

fn it_runs_inside_a_user_namespace(case: &Case<'_>) -> Verdict {
    let whole = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    let outer = roomy()
        .push("/linux/namespaces", json!({ "type": "user" }))
        .set("/linux/uidMappings", whole.clone())
        .set("/linux/gidMappings", whole);
    nested(case, outer)
}

/// Every capability of capabilities(7) that Debian 12's tools know.
const ALL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_SYS_NICE",
    "CAP_MKNOD",
    "CAP_AUDIT_WRITE",
    "CAP_SETFCAP",
];
