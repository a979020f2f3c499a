//! `mounts add` and `mounts remove`: mounts of a container that lives.

use serde_json::{Value, json};
use testbed::{Config, Outcome};

use super::idmap::{mapped, opened};
use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F040,
        mounts_are_added_and_removed_live,
        "crun(1): mounts add|remove CONTAINER FILE: a JSON list of mounts"
    ),
    row!(
        Runtime,
        F040,
        mounts_are_added_in_a_user_namespace,
        "crun(1): mounts add CONTAINER FILE: a JSON list of mounts"
    ),
    row!(
        Runtime,
        F040,
        a_list_with_one_bad_mount_adds_none,
        "runtime.md, errors: the environment MUST be as if the operation had not been attempted"
    ),
    row!(
        Runtime,
        F040,
        a_link_of_the_container_leads_no_live_mount_to_the_host,
        "CVE-2021-30465: a destination is resolved as the container means it, whatever it does meanwhile"
    ),
    row!(
        Runtime,
        F040,
        a_link_of_the_container_unmounts_nothing_of_proc,
        "config-linux.md: maskedPaths MUST NOT be readable, readonlyPaths stay read-only, whatever the container puts where a mount was"
    ),
    row!(
        Runtime,
        F040,
        nested_mounts_are_removed_by_the_list_that_made_them,
        "crun(1): mounts remove CONTAINER FILE: a JSON list of mounts"
    ),
    row!(
        Runtime,
        F040,
        a_live_mount_does_not_cover_the_root,
        "crun(1): mounts add: the container goes on with what it sees"
    ),
    row!(
        Runtime,
        F040,
        a_live_copy_is_charged_to_the_container,
        "config-linux.md: resources.memory: limit in bytes"
    ),
];

/// Calls `mounts add` or `mounts remove` with this list.
fn mounts(container: &Container<'_>, change: &str, list: &Value) -> Verdict<Outcome> {
    let case = container.case;
    let file = case.dir().join("mounts.json");
    std::fs::write(&file, list.to_string())?;
    let file = file.to_string_lossy().into_owned();
    case.call(&case.runtime(&["mounts", change, &container.id, &file])?)
}

fn source(case: &Case<'_>) -> Verdict<String> {
    let source = case.path("source");
    case.sh(&format!(
        "mkdir -p -m 700 {source}/shared; echo from-host > {source}/shared/file; \
         chmod 755 {source}/shared"
    ))?;
    Ok(format!("{source}/shared"))
}

fn list(source: &str) -> Value {
    json!([
        { "destination": "/data", "type": "bind", "source": source, "options": ["rbind", "ro"] },
        { "destination": "/made/scratch", "type": "tmpfs", "source": "scratch",
          "options": ["size=1m", "nosuid"] },
    ])
}

/// What is there, and how it is mounted; a bind mount has the host's own way with access times.
const LOOK: &str = "cat /data/file 2>/dev/null; [ ! -e /data/file ] || { touch /data/new 2>/dev/null && echo written; }; \
                    awk '$5 ~ \"^/(data|made)\" {print $5, $6}' /proc/self/mountinfo | sed 's/noatime/relatime/'";

fn look(container: &Container<'_>) -> Verdict<String> {
    let text = container.exec(&["sh", "-c", LOOK])?.succeeds()?.text();
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

const THERE: &str = "from-host /data ro,relatime /made/scratch rw,nosuid,relatime";

fn mounts_are_added_and_removed_live(case: &Case<'_>) -> Verdict {
    let list = list(&source(case)?);
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let before = case.sh("cat /proc/self/mountinfo")?;
    mounts(&container, "add", &list)?.succeeds()?;
    ensure_eq!(look(&container)?, THERE, "what was added");
    ensure_eq!(
        case.sh("cat /proc/self/mountinfo")?,
        before,
        "mounts of the host"
    );
    mounts(&container, "remove", &list)?.succeeds()?;
    ensure_eq!(look(&container)?, "", "what was removed");
    // Nothing is mounted there any more.
    mounts(&container, "remove", &list)?.refuses()?;
    container.stop()?;
    mounts(&container, "add", &list)?.refuses()?;
    Ok(())
}

fn mounts_are_added_in_a_user_namespace(case: &Case<'_>) -> Verdict {
    let list = list(&source(case)?);
    let container = opened(case, mapped().args(&["sleep", "60"]))?;
    container.up()?;
    mounts(&container, "add", &list)?.succeeds()?;
    let found = look(&container)?;
    let tmpfs = found.replace("rw,nosuid,relatime", "rw,nosuid");
    ensure!(
        tmpfs.starts_with("from-host /data ro,relatime /made/scratch rw,nosuid"),
        "what was added: {found}"
    );
    let write = container.exec(&[
        "sh",
        "-c",
        "echo x > /made/scratch/x; stat -c %u /made/scratch",
    ])?;
    ensure_eq!(write.succeeds()?.text(), "0", "owner of the new tmpfs");
    mounts(&container, "remove", &list)?.succeeds()?;
    ensure_eq!(look(&container)?, "", "what was removed");
    Ok(())
}

fn a_list_with_one_bad_mount_adds_none(case: &Case<'_>) -> Verdict {
    let mut list = list(&source(case)?);
    let bad = json!({ "destination": "/made/bad", "type": "tmpfs", "source": "bad",
                      "options": ["nosuchoption"] });
    list.as_array_mut()
        .into_iter()
        .for_each(|list| list.push(bad.clone()));
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    mounts(&container, "add", &list)?.refuses()?;
    ensure_eq!(look(&container)?, "", "what stayed of the list");
    // It was the bad one that was missed.
    list.as_array_mut()
        .into_iter()
        .for_each(|list| drop(list.pop()));
    mounts(&container, "add", &list)?.succeeds()?;
    ensure_eq!(look(&container)?, THERE, "what was added without it");
    Ok(())
}

fn a_link_of_the_container_leads_no_live_mount_to_the_host(case: &Case<'_>) -> Verdict {
    let (source, outside) = (source(case)?, case.path("outside"));
    case.sh(&format!("mkdir {outside}"))?;
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    container
        .exec(&["ln", "-s", &outside, "/link"])?
        .succeeds()?;
    container
        .exec(&["ln", "-s", "/proc/self", "/proc-link"])?
        .succeeds()?;
    let entry = |destination: &str| json!([{ "destination": destination, "type": "bind", "source": source, "options": ["bind"] }]);
    mounts(&container, "add", &entry("/link/below"))?.succeeds()?;
    let inside = format!("{outside}/below/file");
    let seen = container.exec(&["cat", &inside])?.succeeds()?;
    ensure_eq!(
        seen.text(),
        "from-host",
        "the mount, where the container's link leads"
    );
    ensure_eq!(case.sh(&format!("ls {outside}"))?, "", "made on the host");
    for destination in ["/proc-link/attr", "/proc/self/attr", "/"] {
        mounts(&container, "add", &entry(destination))?.refuses()?;
    }
    mounts(&container, "remove", &entry(&format!("{outside}/below")))?.succeeds()?;
    container.exec(&["cat", &inside])?.refuses()?;
    Ok(())
}

fn a_link_of_the_container_unmounts_nothing_of_proc(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .args(&["sleep", "60"])
        .set("/linux/readonlyPaths", json!(["/proc/sys"]))
        .set("/linux/maskedPaths", json!(["/proc/keys"]));
    let container = case.container(config)?;
    container.up()?;
    let covers = || -> Verdict<String> {
        let script = "awk '$5 ~ \"^/proc/\" {print $5, $6}' /proc/self/mountinfo";
        Ok(container.exec(&["sh", "-c", script])?.succeeds()?.text())
    };
    let before = covers()?;
    ensure!(before.contains("/proc/sys ro"), "the masks: {before}");
    let entry = |options: &[&str]| {
        json!([
        { "destination": "/data/x", "type": "tmpfs", "source": "x", "options": options }])
    };
    mounts(&container, "add", &entry(&[]))?.succeeds()?;
    for target in ["/proc/sys", "/proc/keys"] {
        let script = format!(
            "[ -d /data2 ] || mv /data /data2; rm -rf /data; mkdir /data; ln -s {target} /data/x"
        );
        container.exec(&["sh", "-c", &script])?.succeeds()?;
        mounts(&container, "remove", &entry(&[]))?.refuses()?;
        ensure_eq!(
            covers()?,
            before,
            "after a remove through a link to {target}"
        );
        mounts(&container, "add", &entry(&["remount", "rw"]))?.refuses()?;
        ensure_eq!(
            covers()?,
            before,
            "after a remount through a link to {target}"
        );
    }
    let script = "rm -rf /data; ln -s /proc /data";
    container.exec(&["sh", "-c", script])?.succeeds()?;
    for destination in ["/data/sys", "/proc/sys", "/proc/keys"] {
        let list = json!([{ "destination": destination, "type": "bind", "source": "/x" }]);
        mounts(&container, "remove", &list)?.refuses()?;
        ensure_eq!(covers()?, before, "after a remove of {destination}");
    }
    Ok(())
}

fn nested_mounts_are_removed_by_the_list_that_made_them(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    let tmpfs =
        |destination: &str| json!({ "destination": destination, "type": "tmpfs", "source": "t" });
    let list = json!([tmpfs("/made/a"), tmpfs("/made/a/b"), tmpfs("/made/c")]);
    mounts(&container, "add", &list)?.succeeds()?;
    // One that is not there: the others stay.
    let more = json!([tmpfs("/made/a"), tmpfs("/made/nothing")]);
    mounts(&container, "remove", &more)?.refuses()?;
    ensure!(
        look(&container)?.contains("/made/a/b"),
        "a refused remove took a mount away"
    );
    mounts(&container, "remove", &list)?.succeeds()?;
    ensure_eq!(look(&container)?, "", "what was removed");
    Ok(())
}

fn a_live_mount_does_not_cover_the_root(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    std::os::unix::fs::symlink("/", container.bundle.in_rootfs("/slash"))?;
    container.up()?;
    let list = json!([{ "destination": "/slash", "type": "tmpfs", "source": "t" }]);
    mounts(&container, "add", &list)?.refuses()?;
    container.exec(&["ls", "/proc/self"])?.succeeds()?;
    // Only the destination says what goes.
    mounts(
        &container,
        "add",
        &json!([{ "destination": "/made/a", "type": "tmpfs" }]),
    )?
    .succeeds()?;
    mounts(&container, "remove", &json!([{ "destination": "/made/a" }]))?.succeeds()?;
    ensure_eq!(look(&container)?, "", "what was removed");
    Ok(())
}

fn a_live_copy_is_charged_to_the_container(case: &Case<'_>) -> Verdict {
    needs!(
        testbed::requires::has_cgroup_v1("memory"),
        "cgroup v1 controller memory"
    );
    let memory = json!({ "limit": 16_777_216, "swap": 16_777_216 });
    let config = Config::new()
        .args(&["sleep", "60"])
        .set("/linux/resources/memory", memory);
    let container = case.container(config)?;
    let big = container.bundle.in_rootfs("/big");
    std::fs::create_dir(&big)?;
    std::fs::write(big.join("zeros"), vec![0; 64 << 20])?;
    container.up()?;
    let small = json!([{ "destination": "/made/a", "type": "tmpfs", "source": "t" }]);
    mounts(&container, "add", &small)?.succeeds()?;
    let list = json!([{ "destination": "/big", "type": "tmpfs", "source": "t",
                        "options": ["tmpcopyup", "size=128m"] }]);
    mounts(&container, "add", &list)?.refuses()?;
    Ok(())
}
