//! Namespaces, new, joined and shared, and what each brings: mappings, host name, `lo`.

use serde_json::{Value, json};
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F088,
        a_pid_namespace_is_new,
        "config-linux.md: path not specified: the runtime MUST create a new container namespace of type type"
    ),
    row!(
        Runtime,
        F088,
        without_a_pid_namespace_it_is_the_host_s,
        "config-linux.md: a type not in the array MUST inherit the runtime namespace of that type"
    ),
    row!(
        Runtime,
        F089,
        a_mount_namespace_is_new,
        "config-linux.md: path not specified: the runtime MUST create a new container namespace of type type"
    ),
    row!(
        Runtime,
        F090,
        a_network_namespace_is_new,
        "config-linux.md: path not specified: the runtime MUST create a new container namespace of type type"
    ),
    row!(
        Runtime,
        F090,
        without_a_network_namespace_it_is_the_host_s,
        "config-linux.md: a type not in the array MUST inherit the runtime namespace of that type"
    ),
    row!(
        Runtime,
        F091,
        an_ipc_namespace_is_new,
        "config-linux.md: path not specified: the runtime MUST create a new container namespace of type type"
    ),
    row!(
        Runtime,
        F092,
        a_uts_namespace_is_new,
        "config-linux.md: path not specified: the runtime MUST create a new container namespace of type type"
    ),
    row!(
        Runtime,
        F093,
        a_user_namespace_is_new,
        "config-linux.md: path not specified: the runtime MUST create a new container namespace of type type"
    ),
    row!(
        Runtime,
        F094,
        a_cgroup_namespace_is_new,
        "config-linux.md: path not specified: the runtime MUST create a new container namespace of type type"
    ),
    row!(
        Runtime,
        F095,
        a_time_namespace_is_new,
        "config-linux.md: path not specified: the runtime MUST create a new container namespace of type type"
    ),
    row!(
        Runtime,
        F096,
        a_network_namespace_is_joined_by_its_path,
        "config-linux.md: path: the runtime MUST place the container process in the namespace associated with that path"
    ),
    row!(
        Runtime,
        F096,
        a_uts_namespace_is_joined_by_its_path,
        "config-linux.md: path: the runtime MUST place the container process in the namespace associated with that path"
    ),
    row!(
        Runtime,
        F096,
        an_ipc_namespace_is_joined_by_its_path,
        "config-linux.md: path: the runtime MUST place the container process in the namespace associated with that path"
    ),
    row!(
        Runtime,
        F096,
        a_pid_namespace_is_joined_by_its_path,
        "config-linux.md: path: the runtime MUST place the container process in the namespace associated with that path"
    ),
    row!(
        Runtime,
        F098,
        a_namespace_of_another_type_is_refused,
        "config-linux.md: MUST generate an error if the path is not associated with a namespace of type type"
    ),
    row!(
        Runtime,
        F098,
        a_path_that_is_no_namespace_is_refused,
        "config-linux.md: MUST generate an error if the path is not associated with a namespace of type type"
    ),
    row!(
        Runtime,
        F099,
        a_namespace_given_twice_is_refused,
        "config-linux.md: duplicated namespaces with the same type: the runtime MUST generate an error"
    ),
    row!(
        Runtime,
        F100,
        ids_are_mapped,
        "config-linux.md: uidMappings, gidMappings: containerID, hostID, size"
    ),
    row!(
        Runtime,
        F106,
        the_hostname_is_set,
        "config.md: hostname: the container's hostname as seen by processes running inside the container"
    ),
    row!(
        Runtime,
        F106,
        the_domainname_is_set,
        "config.md: domainname: the container's domainname as seen by processes running inside the container"
    ),
    row!(
        Runtime,
        F107,
        a_hostname_without_a_uts_namespace_is_refused,
        "runc: unable to set hostname without a private UTS namespace"
    ),
    row!(
        Runtime,
        F108,
        lo_is_up_in_a_new_network_namespace,
        "runc: a new network namespace has its loopback interface up"
    ),
    row!(
        Runtime,
        F112,
        a_user_whose_name_is_a_number_is_no_other_user,
        "CVE-2016-3697: uid is a number and never looked up in the container's passwd"
    ),
    row!(
        Runtime,
        S089,
        without_a_mount_namespace_it_is_the_host_s,
        "config-linux.md: a type not in the array MUST inherit the runtime namespace of that type"
    ),
    row!(
        Runtime,
        S091,
        without_an_ipc_namespace_it_is_the_host_s,
        "config-linux.md: a type not in the array MUST inherit the runtime namespace of that type"
    ),
    row!(
        Runtime,
        S092,
        without_a_uts_namespace_it_is_the_host_s,
        "config-linux.md: a type not in the array MUST inherit the runtime namespace of that type"
    ),
    row!(
        Runtime,
        S093,
        without_a_user_namespace_it_is_the_host_s,
        "config-linux.md: a type not in the array MUST inherit the runtime namespace of that type"
    ),
    row!(
        Runtime,
        S094,
        without_a_cgroup_namespace_it_is_the_host_s,
        "config-linux.md: a type not in the array MUST inherit the runtime namespace of that type"
    ),
    row!(
        Runtime,
        S095,
        without_a_time_namespace_it_is_the_host_s,
        "config-linux.md: a type not in the array MUST inherit the runtime namespace of that type"
    ),
];

/// Whether the container's namespace `file` is the host's.
fn is_shared(case: &Case<'_>, config: Config, file: &str) -> Verdict<bool> {
    let link = format!("readlink /proc/self/ns/{file}");
    let inside = case.container(config.sh(&link))?.output()?;
    ensure!(inside.starts_with(file), "readlink answered {inside:?}");
    Ok(inside == case.sh(&link)?)
}

fn is_new(case: &Case<'_>, kind: &str, file: &str) -> Verdict {
    let config = Config::new()
        .share(kind)
        .push("/linux/namespaces", json!({ "type": kind }));
    ensure!(
        !is_shared(case, config, file)?,
        "the {kind} namespace is the host's"
    );
    Ok(())
}

fn a_pid_namespace_is_new(case: &Case<'_>) -> Verdict {
    is_new(case, "pid", "pid")?;
    let container = case.container(Config::new().sh("echo $$"))?;
    ensure_eq!(container.output()?, "1", "pid of the program");
    Ok(())
}

fn without_a_pid_namespace_it_is_the_host_s(case: &Case<'_>) -> Verdict {
    ensure!(
        is_shared(case, Config::new().share("pid"), "pid")?,
        "the pid namespace is new"
    );
    Ok(())
}

/// Without an entry for `kind` the container is in the namespace `file` of its runtime, which has
/// mounts of its own here: those of a container that shares them would be left on the host.
fn is_inherited(case: &Case<'_>, kind: &str, file: &str) -> Verdict {
    let link = format!("readlink /proc/self/ns/{file}");
    needs!(case.holds(&link)?, "a kernel with {kind} namespaces");
    // Nothing that would be set in the host's namespace instead, and is refused for that.
    let config = Config::new()
        .share(kind)
        .set("/hostname", Value::Null)
        .set("/linux/maskedPaths", Value::Null)
        .set("/linux/readonlyPaths", Value::Null);
    let config = match kind {
        "mount" => config.set("/mounts", json!([])),
        _ => config,
    };
    let container = case.container(config.sh(&link))?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    // The runtime and the program may need a /proc under the new root.
    let proc = format!("mount --rbind /proc {}/rootfs/proc", container.dir());
    let first = format!("{link}; {proc}; exec \"$@\"");
    let run = run.within(&["unshare", "--mount", "sh", "-ec", &first, "sh"]);
    let text = case.call(&run)?.succeeds()?.text();
    let links: Vec<_> = text.lines().collect();
    ensure!(
        links.len() == 2 && links[0] == links[1],
        "the {kind} namespaces of runtime and container: {links:?}"
    );
    Ok(())
}

fn without_a_mount_namespace_it_is_the_host_s(case: &Case<'_>) -> Verdict {
    is_inherited(case, "mount", "mnt")
}

fn without_an_ipc_namespace_it_is_the_host_s(case: &Case<'_>) -> Verdict {
    is_inherited(case, "ipc", "ipc")
}

fn without_a_uts_namespace_it_is_the_host_s(case: &Case<'_>) -> Verdict {
    is_inherited(case, "uts", "uts")
}

fn without_a_user_namespace_it_is_the_host_s(case: &Case<'_>) -> Verdict {
    is_inherited(case, "user", "user")
}

fn without_a_cgroup_namespace_it_is_the_host_s(case: &Case<'_>) -> Verdict {
    is_inherited(case, "cgroup", "cgroup")
}

fn without_a_time_namespace_it_is_the_host_s(case: &Case<'_>) -> Verdict {
    is_inherited(case, "time", "time")
}

fn a_mount_namespace_is_new(case: &Case<'_>) -> Verdict {
    is_new(case, "mount", "mnt")
}

fn a_network_namespace_is_new(case: &Case<'_>) -> Verdict {
    is_new(case, "network", "net")
}

fn without_a_network_namespace_it_is_the_host_s(case: &Case<'_>) -> Verdict {
    ensure!(
        is_shared(case, Config::new().share("network"), "net")?,
        "the network namespace is new"
    );
    Ok(())
}

fn an_ipc_namespace_is_new(case: &Case<'_>) -> Verdict {
    is_new(case, "ipc", "ipc")
}

fn a_uts_namespace_is_new(case: &Case<'_>) -> Verdict {
    is_new(case, "uts", "uts")
}

fn a_cgroup_namespace_is_new(case: &Case<'_>) -> Verdict {
    is_new(case, "cgroup", "cgroup")?;
    let config = Config::new().push("/linux/namespaces", json!({ "type": "cgroup" }));
    let text = case
        .container(config.args(&["cat", "/proc/self/cgroup"]))?
        .output()?;
    // The one line that every machine has: of the pids controller, or of the unified hierarchy.
    let own = |of: &str| text.lines().find_map(|line| Some(line.split_once(of)?.1));
    let path = own(":pids:").or_else(|| own("0::"));
    ensure_eq!(path, Some("/"), "own cgroup, seen from inside");
    Ok(())
}

fn a_time_namespace_is_new(case: &Case<'_>) -> Verdict {
    is_new(case, "time", "time")
}

/// Mappings that give the container 65536 ids from 100000 on, and a rootfs that belongs to them.
fn mapped() -> Config {
    let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    Config::new()
        .push("/linux/namespaces", json!({ "type": "user" }))
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping)
}

fn a_user_namespace_is_new(case: &Case<'_>) -> Verdict {
    let container = case.container(mapped().sh("readlink /proc/self/ns/user"))?;
    case.sh(&format!(
        "chmod 755 {0} {0}/.. {0}/rootfs; chmod a+x {0}/../..",
        container.dir()
    ))?;
    let inside = container.output()?;
    ensure!(inside.starts_with("user:"), "readlink answered {inside:?}");
    ensure!(
        inside != case.sh("readlink /proc/self/ns/user")?,
        "the user namespace is the host's"
    );
    Ok(())
}

fn ids_are_mapped(case: &Case<'_>) -> Verdict {
    let container =
        case.container(mapped().sh("cat /proc/self/uid_map; id -u; stat -c %u /bin"))?;
    case.sh(&format!(
        "chmod 755 {0} {0}/..; chmod a+x {0}/../..; chown -R 100000:100000 {0}/rootfs",
        container.dir()
    ))?;
    let output = container.output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(
        words,
        ["0", "100000", "65536", "0", "0"],
        "uid_map, own uid, owner of /bin"
    );
    Ok(())
}

/// A container that joins a namespace of a running one and prints which it is in.
fn joins(case: &Case<'_>, kind: &str, file: &str) -> Verdict {
    let first = case.container(Config::new().args(&["sleep", "60"]))?;
    first.up()?;
    let path = format!("/proc/{}/ns/{file}", first.pid()?);
    let namespace = json!({ "type": kind, "path": path });
    let config = Config::new()
        .share(kind)
        .push("/linux/namespaces", namespace);
    let config = if kind == "uts" {
        config.set("/hostname", "")
    } else {
        config
    };
    let link = format!("readlink /proc/self/ns/{file}");
    let inside = case.container(config.sh(&link))?.output()?;
    ensure_eq!(
        inside,
        case.sh(&format!("readlink {path}"))?,
        "the {kind} namespace joined"
    );
    Ok(())
}

fn a_network_namespace_is_joined_by_its_path(case: &Case<'_>) -> Verdict {
    joins(case, "network", "net")
}

fn a_uts_namespace_is_joined_by_its_path(case: &Case<'_>) -> Verdict {
    joins(case, "uts", "uts")
}

fn an_ipc_namespace_is_joined_by_its_path(case: &Case<'_>) -> Verdict {
    joins(case, "ipc", "ipc")
}

fn a_pid_namespace_is_joined_by_its_path(case: &Case<'_>) -> Verdict {
    joins(case, "pid", "pid")
}

fn refused_to_join(case: &Case<'_>, kind: &str, path: &str) -> Verdict {
    let namespace = json!({ "type": kind, "path": path });
    let config = Config::new()
        .share(kind)
        .push("/linux/namespaces", namespace);
    case.container(config)?.run()?.refuses()?;
    Ok(())
}

fn a_namespace_of_another_type_is_refused(case: &Case<'_>) -> Verdict {
    refused_to_join(case, "network", "/proc/1/ns/ipc")?;
    refused_to_join(case, "ipc", "/proc/1/ns/net")
}

fn a_path_that_is_no_namespace_is_refused(case: &Case<'_>) -> Verdict {
    refused_to_join(case, "network", "/no/such/file")?;
    refused_to_join(case, "network", "/etc/hostname")
}

fn a_namespace_given_twice_is_refused(case: &Case<'_>) -> Verdict {
    let config = Config::new().push("/linux/namespaces", json!({ "type": "ipc" }));
    case.container(config)?.create()?.refuses()?;
    Ok(())
}

fn the_hostname_is_set(case: &Case<'_>) -> Verdict {
    let before = case.sh("hostname")?;
    let config = Config::new()
        .set("/hostname", "conformance-box")
        .args(&["hostname"]);
    ensure_eq!(
        case.container(config)?.output()?,
        "conformance-box",
        "host name"
    );
    ensure_eq!(case.sh("hostname")?, before, "host name of the host");
    Ok(())
}

fn the_domainname_is_set(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/domainname", "example.test");
    let container = case.container(config.args(&["cat", "/proc/sys/kernel/domainname"]))?;
    ensure_eq!(container.output()?, "example.test", "domain name");
    Ok(())
}

fn a_hostname_without_a_uts_namespace_is_refused(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().share("uts"))?;
    container.create()?.refuses()?;
    Ok(())
}

fn lo_is_up_in_a_new_network_namespace(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["ip", "link", "show", "lo"]))?;
    ensure!(container.output()?.contains("LOOPBACK,UP"), "lo is down");
    Ok(())
}

fn a_user_whose_name_is_a_number_is_no_other_user(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let container = case.container(config.args(&["id", "-u"]))?;
    let passwd = "1000:x:0:0:trap:/root:/bin/sh\nroot:x:0:0::/root:/bin/sh\n";
    std::fs::write(container.bundle.in_rootfs("/etc/passwd"), passwd)?;
    ensure_eq!(container.output()?, "1000", "uid");
    Ok(())
}
