//! Mounts that show other ids than their files have.

use serde_json::{Value, json};
use testbed::Config;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F013,
        features_lists_the_options_of_id_mapped_mounts,
        "config.md, mount options that runtimes MUST support: idmap, ridmap; features-linux.md: mountExtensions.idmap.enabled"
    ),
    row!(
        Runtime,
        F133,
        a_bind_mount_is_mapped_without_a_user_namespace,
        "config.md: uidMappings: the mapping to convert UIDs from the source file system to the destination mount point"
    ),
    row!(
        Runtime,
        F133,
        a_bind_mount_is_mapped_in_a_user_namespace,
        "config.md: uidMappings: the mapping to convert UIDs from the source file system to the destination mount point"
    ),
    row!(
        Runtime,
        F134,
        idmap_takes_the_mappings_of_the_container,
        "config.md: idmap: if no mappings are specified the runtime MAY use the container's user namespace mapping"
    ),
    row!(
        Runtime,
        F134,
        ridmap_reaches_submounts_and_idmap_does_not,
        "config.md: ridmap: idmapping applied recursively, as mount_setattr(2) with AT_RECURSIVE"
    ),
    row!(
        Runtime,
        F134,
        idmap_without_any_mapping_is_refused,
        "config.md: idmap: no mappings and no user namespace: an error MUST be returned"
    ),
    row!(
        Runtime,
        S134,
        an_idmap_without_mappings_takes_the_container_s_or_is_refused,
        "config.md: idmap: the runtime MAY use the container's user namespace mapping, otherwise an error MUST be returned"
    ),
    row!(
        Runtime,
        S134,
        a_ridmap_without_mappings_takes_the_container_s_or_is_refused,
        "config.md: ridmap: the runtime MAY use the container's user namespace mapping, otherwise an error MUST be returned"
    ),
    row!(
        Runtime,
        S134,
        ridmap_takes_the_mappings_of_the_mount,
        "config.md: ridmap: if uidMappings or gidMappings are specified, the runtime MUST use those values"
    ),
    row!(
        Runtime,
        F134,
        idmap_takes_mappings_in_the_option,
        "crun(1): idmap=uids=0-1-10#10-11-10;gids=0-100-10, and @ for ids of the container"
    ),
    row!(
        Runtime,
        F135,
        a_tmpfs_is_mapped,
        "config.md: uidMappings: a mount that is no bind mount may be mapped, too"
    ),
];

/// Mappings that give the container 65536 ids from 100000 on.
pub(super) fn mapped() -> Config {
    let mapping = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    Config::new()
        .push("/linux/namespaces", json!({ "type": "user" }))
        .set("/linux/uidMappings", mapping.clone())
        .set("/linux/gidMappings", mapping)
}

/// A container whose rootfs other users may enter and that belongs to its own root.
pub(super) fn opened<'a>(case: &'a Case<'_>, config: Config) -> Verdict<Container<'a>> {
    let container = case.container(config)?;
    case.sh(&format!(
        "chmod 755 {0} {0}/..; chmod a+x {0}/../..; chown -hR 100000:100000 {0}/rootfs",
        container.dir()
    ))?;
    Ok(container)
}

/// A directory with a file of user 1005 and a mount below with another of user 1006.
fn source(case: &Case<'_>) -> Verdict<String> {
    let directory = case.path("source");
    case.sh(&format!(
        "mkdir -p {directory}/sub {directory}.sub; \
         touch {directory}/file {directory}.sub/deep; \
         chown 1005:1005 {directory}/file; chown 1006:1006 {directory}.sub/deep; \
         chmod 777 {directory} {directory}.sub; chown 1000:1000 {directory} {directory}.sub; \
         mount --bind {directory}.sub {directory}/sub"
    ))?;
    Ok(directory)
}

fn mount(destination: &str, source: &str, options: &[&str], ids: &[(u32, u32, u32)]) -> Value {
    let list = ids.iter().map(
        |(inside, outside, size)| json!({ "containerID": inside, "hostID": outside, "size": size }),
    );
    let list: Vec<Value> = list.collect();
    json!({
        "destination": destination, "type": "bind", "source": source, "options": options,
        "uidMappings": list, "gidMappings": list,
    })
}

fn features_lists_the_options_of_id_mapped_mounts(case: &Case<'_>) -> Verdict {
    let outcome = case.call(&case.bare_runtime(&["features"])?)?.succeeds()?;
    let features: Value = serde_json::from_slice(&outcome.stdout)?;
    for option in ["idmap", "ridmap"] {
        let listed = features["mountOptions"].as_array();
        let listed = listed.is_some_and(|list| list.iter().any(|name| name == option));
        ensure!(
            listed,
            "{option} is missing in {}",
            features["mountOptions"]
        );
    }
    let enabled = &features["linux"]["mountExtensions"]["idmap"]["enabled"];
    ensure_eq!(*enabled, json!(true), "mountExtensions.idmap.enabled");
    Ok(())
}

fn a_bind_mount_is_mapped_without_a_user_namespace(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    let entry = mount("/data", &directory, &["rbind"], &[(1000, 0, 10)]);
    let script = "stat -c %u:%g /data/file; touch /data/new; stat -c %u /data/new";
    let container = case.container(Config::new().push("/mounts", entry).sh(script))?;
    let words = container.output()?;
    let words: Vec<_> = words.split_whitespace().collect();
    ensure_eq!(words, ["5:5", "0"], "owners as the container sees them");
    let owner = case.sh(&format!("stat -c %u:%g {directory}/new {directory}/file"))?;
    let owner: Vec<_> = owner.split_whitespace().collect();
    ensure_eq!(owner, ["1000:1000", "1005:1005"], "owners on the host");
    Ok(())
}

fn a_bind_mount_is_mapped_in_a_user_namespace(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    let ids = [(1000, 100_000, 10)];
    let config = mapped().push("/mounts", mount("/data", &directory, &["bind", "ro"], &ids));
    let script = "stat -c %u:%g /data/file; touch /data/new 2>/dev/null; ls /data";
    let output = opened(case, config.sh(script))?.output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(
        words,
        ["5:5", "file", "sub"],
        "owner and files in the container"
    );
    Ok(())
}

fn idmap_takes_the_mappings_of_the_container(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    let config = mapped().mount("/data", "bind", &directory, &["rbind", "idmap"]);
    let script = "stat -c %u:%g /data/file; touch /data/new; stat -c %u /data/new";
    let output = opened(case, config.sh(script))?.output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(
        words,
        ["1005:1005", "0"],
        "owners as the container sees them"
    );
    let owner = case.sh(&format!("stat -c %u {directory}/new"))?;
    ensure_eq!(owner, "0", "owner on the host of what its root made");
    Ok(())
}

fn an_idmap_without_mappings_takes_the_container_s_or_is_refused(case: &Case<'_>) -> Verdict {
    mapped_or_refused(case, "idmap")
}

fn a_ridmap_without_mappings_takes_the_container_s_or_is_refused(case: &Case<'_>) -> Verdict {
    mapped_or_refused(case, "ridmap")
}

fn mapped_or_refused(case: &Case<'_>, option: &str) -> Verdict {
    let directory = source(case)?;
    let config = mapped().mount("/data", "bind", &directory, &["rbind", option]);
    let container = opened(case, config.args(&["stat", "-c", "%u:%g", "/data/file"]))?;
    let outcome = container.run()?;
    ensure!(
        outcome.refused() || outcome.text() == "1005:1005",
        "neither refused nor mapped with {option}:\n{outcome}"
    );
    Ok(())
}

fn ridmap_reaches_submounts_and_idmap_does_not(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    for (option, seen) in [("ridmap", "1006"), ("idmap", "65534")] {
        let config = mapped().mount("/data", "bind", &directory, &["rbind", option]);
        let container = opened(case, config.args(&["stat", "-c", "%u", "/data/sub/deep"]))?;
        ensure_eq!(
            container.output()?,
            seen,
            "owner below a submount with {option}"
        );
    }
    Ok(())
}

fn ridmap_takes_the_mappings_of_the_mount(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    let entry = mount("/data", &directory, &["rbind", "ridmap"], &[(1000, 0, 10)]);
    let script = "stat -c %u:%g /data/file /data/sub/deep";
    let output = case
        .container(Config::new().push("/mounts", entry).sh(script))?
        .output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(words, ["5:5", "6:6"], "owners in the mount and below");
    Ok(())
}

fn idmap_without_any_mapping_is_refused(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    for option in ["idmap", "ridmap"] {
        let config = Config::new().mount("/data", "bind", &directory, &["rbind", option]);
        case.container(config)?.run()?.refuses()?;
    }
    // The same container with mappings runs: it was the mappings that were missed.
    let entry = mount("/data", &directory, &["rbind", "idmap"], &[(1000, 0, 10)]);
    let config = Config::new().push("/mounts", entry);
    case.container(config)?.run()?.succeeds()?;
    Ok(())
}

fn idmap_takes_mappings_in_the_option(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    let option = "idmap=uids=1000-100-6#2000-200-1;gids=1000-300-10";
    let config = Config::new().mount("/data", "bind", &directory, &["bind", option]);
    let stat = ["stat", "-c", "%u:%g", "/data/file"];
    ensure_eq!(
        case.container(config.args(&stat))?.output()?,
        "105:305",
        "owner with {option}"
    );
    let option = "idmap=uids=@1000-20-10;gids=@1000-40-10";
    let config = mapped().mount("/data", "bind", &directory, &["bind", option]);
    ensure_eq!(
        opened(case, config.args(&stat))?.output()?,
        "25:45",
        "owner with {option}"
    );
    Ok(())
}

fn a_tmpfs_is_mapped(case: &Case<'_>) -> Verdict {
    let kernel = case.sh("uname -r")?;
    let mut numbers = kernel
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next(), numbers.next());
    needs!(
        version >= (Some(6), Some(3)),
        "a kernel whose tmpfs can be id-mapped (Linux 6.3)"
    );
    let mut entry = mount("/data", "tmpfs", &["mode=755"], &[(0, 7, 10)]);
    entry["type"] = json!("tmpfs");
    let config = Config::new().push("/mounts", entry);
    let script = "stat -c %u:%g /data; stat -f -c %T /data";
    let output = case.container(config.sh(script))?.output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(words, ["7:7", "tmpfs"], "owner of the tmpfs' root");
    Ok(())
}
