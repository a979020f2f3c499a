//! The table of mount options of config.md, line by line as far as the kernel shows it.
//!
//! IDs with S: the score sheet counts F128, F130 and F139 without them.

use serde_json::json;
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

macro_rules! table {
    ($($name:ident: $clause:literal, $judge:ident($($argument:expr),*);)+) => {
        pub(crate) const ROWS: &[Row] = &[$(row!(Runtime, S139, $name, $clause)),+];
        $(fn $name(case: &Case<'_>) -> Verdict {
            $judge(case, $($argument),*)
        })+
    };
}

table! {
    async_undoes_sync: "config.md, Linux mount options: async MUST", flags(&["sync", "async"], &[], &["sync"]);
    sync_is_set: "config.md, Linux mount options: sync MUST", flags(&["sync"], &["sync"], &[]);
    dirsync_is_set: "config.md, Linux mount options: dirsync MUST", flags(&["dirsync"], &["dirsync"], &[]);
    noatime_is_set: "config.md, Linux mount options: noatime MUST", flags(&["noatime"], &["noatime"], &["relatime"]);
    atime_undoes_noatime: "config.md, Linux mount options: atime MUST", flags(&["noatime", "atime"], &[], &["noatime"]);
    nodiratime_is_set: "config.md, Linux mount options: nodiratime MUST", flags(&["nodiratime"], &["nodiratime"], &[]);
    diratime_undoes_nodiratime: "config.md, Linux mount options: diratime MUST", flags(&["nodiratime", "diratime"], &[], &["nodiratime"]);
    relatime_is_set: "config.md, Linux mount options: relatime MUST", flags(&["relatime"], &["relatime"], &["noatime"]);
    norelatime_is_taken: "config.md, Linux mount options: norelatime MUST", flags(&["norelatime"], &[], &["noatime"]);
    strictatime_is_set: "config.md, Linux mount options: strictatime MUST", flags(&["strictatime"], &[], &["relatime", "noatime"]);
    nostrictatime_undoes_strictatime: "config.md, Linux mount options: nostrictatime MUST", flags(&["strictatime", "nostrictatime"], &["relatime"], &[]);
    lazytime_is_set: "config.md, Linux mount options: lazytime MUST", flags(&["lazytime"], &["lazytime"], &[]);
    nolazytime_undoes_lazytime: "config.md, Linux mount options: nolazytime MUST", flags(&["lazytime", "nolazytime"], &[], &["lazytime"]);
    iversion_is_taken: "config.md, Linux mount options: iversion MUST", flags(&["iversion"], &[], &[]);
    noiversion_is_taken: "config.md, Linux mount options: noiversion MUST", flags(&["iversion", "noiversion"], &[], &[]);
    loud_and_silent_are_taken: "config.md, Linux mount options: loud, silent MUST", flags(&["silent", "loud"], &[], &[]);
    defaults_change_nothing: "config.md, Linux mount options: defaults MUST", flags(&["defaults"], &["rw"], &["noexec", "nosuid", "nodev"]);
    noexec_is_set: "config.md, Linux mount options: noexec MUST", flags(&["noexec"], &["noexec"], &[]);
    exec_undoes_noexec: "config.md, Linux mount options: exec MUST", flags(&["noexec", "exec"], &[], &["noexec"]);
    nosuid_is_set: "config.md, Linux mount options: nosuid MUST", flags(&["nosuid"], &["nosuid"], &[]);
    suid_undoes_nosuid: "config.md, Linux mount options: suid MUST", flags(&["nosuid", "suid"], &[], &["nosuid"]);
    nodev_is_set: "config.md, Linux mount options: nodev MUST", flags(&["nodev"], &["nodev"], &[]);
    dev_undoes_nodev: "config.md, Linux mount options: dev MUST", flags(&["nodev", "dev"], &[], &["nodev"]);
    ro_is_set: "config.md, Linux mount options: ro MUST", flags(&["ro"], &["ro"], &[]);
    rw_undoes_ro: "config.md, Linux mount options: rw MUST", flags(&["ro", "rw"], &["rw"], &["ro"]);
    nosymfollow_is_set: "config.md, Linux mount options: nosymfollow SHOULD", flags(&["nosymfollow"], &["nosymfollow"], &[]);
    symfollow_undoes_nosymfollow: "config.md, Linux mount options: symfollow SHOULD", flags(&["nosymfollow", "symfollow"], &[], &["nosymfollow"]);
    remount_changes_a_mount: "config.md, Linux mount options: remount MUST", remounted();
    private_is_set: "config.md, Linux mount options: private MUST", propagation("bind", "private", "", "shared:");
    rprivate_reaches_submounts: "config.md, Linux mount options: rprivate MUST", propagation("rbind", "rprivate", "", "");
    slave_is_set: "config.md, Linux mount options: slave MUST", propagation("bind", "slave", "master:", "shared:");
    rslave_reaches_submounts: "config.md, Linux mount options: rslave MUST", propagation("rbind", "rslave", "master:", "master:");
    shared_is_set: "config.md, Linux mount options: shared MUST", propagation("bind", "shared", "shared:", "");
    rshared_reaches_submounts: "config.md, Linux mount options: rshared MUST", propagation("rbind", "rshared", "shared:", "shared:");
    unbindable_is_set: "config.md, Linux mount options: unbindable MUST", propagation("bind", "unbindable", "unbindable", "");
    runbindable_reaches_submounts: "config.md, Linux mount options: runbindable MUST", propagation("rbind", "runbindable", "unbindable", "unbindable");
    rro_reaches_submounts: "config.md, Linux mount options: rro SHOULD", recursive("rw", "rro", "ro", "rw");
    rrw_reaches_submounts: "config.md, Linux mount options: rrw SHOULD", recursive("ro", "rrw", "rw", "ro");
    rnoexec_reaches_submounts: "config.md, Linux mount options: rnoexec SHOULD", recursive("rw", "rnoexec", "noexec", "none");
    rexec_reaches_submounts: "config.md, Linux mount options: rexec SHOULD", recursive("noexec", "rexec", "rw", "noexec");
    rnosuid_reaches_submounts: "config.md, Linux mount options: rnosuid SHOULD", recursive("rw", "rnosuid", "nosuid", "none");
    rsuid_reaches_submounts: "config.md, Linux mount options: rsuid SHOULD", recursive("nosuid", "rsuid", "rw", "nosuid");
    rdev_reaches_submounts: "config.md, Linux mount options: rdev SHOULD", recursive("nodev", "rdev", "rw", "nodev");
    rnosymfollow_reaches_submounts: "config.md, Linux mount options: rnosymfollow SHOULD", recursive("rw", "rnosymfollow", "nosymfollow", "none");
    rsymfollow_reaches_submounts: "config.md, Linux mount options: rsymfollow SHOULD", recursive("nosymfollow", "rsymfollow", "rw", "nosymfollow");
    rnoatime_reaches_submounts: "config.md, Linux mount options: rnoatime SHOULD", recursive("relatime", "rnoatime", "noatime", "relatime");
    ratime_reaches_submounts: "config.md, Linux mount options: ratime SHOULD", recursive("noatime", "ratime", "rw", "noatime");
    rrelatime_reaches_submounts: "config.md, Linux mount options: rrelatime SHOULD", recursive("noatime", "rrelatime", "relatime", "noatime");
    rnorelatime_is_taken: "config.md, Linux mount options: rnorelatime SHOULD", recursive("rw", "rnorelatime", "rw", "noatime");
    rstrictatime_reaches_submounts: "config.md, Linux mount options: rstrictatime SHOULD", recursive("noatime", "rstrictatime", "rw", "noatime");
    rnostrictatime_reaches_submounts: "config.md, Linux mount options: rnostrictatime SHOULD", recursive("strictatime", "rnostrictatime", "relatime", "noatime");
    rnodiratime_reaches_submounts: "config.md, Linux mount options: rnodiratime SHOULD", recursive("rw", "rnodiratime", "nodiratime", "none");
    rdiratime_reaches_submounts: "config.md, Linux mount options: rdiratime SHOULD", recursive("nodiratime", "rdiratime", "rw", "nodiratime");
    an_unknown_option_goes_to_the_file_system: "config.md, Linux mount options: unknown options SHOULD be treated as filesystem-specific ones", unknown();
}

/// A tmpfs with these options has all of `wanted` and none of `unwanted` in mountinfo.
fn flags(case: &Case<'_>, options: &[&str], wanted: &[&str], unwanted: &[&str]) -> Verdict {
    let config = Config::new().mount("/data", "tmpfs", "told", options);
    let line = case
        .container(config.args(&["grep", " - tmpfs told ", "/proc/self/mountinfo"]))?
        .output()?;
    // Flags of the mount, and those of the file system, which are the last word.
    let words: Vec<_> = line.split(' ').collect();
    let mount = words.get(5).copied().unwrap_or_default();
    let whole = words.last().copied().unwrap_or_default();
    let has = |flag: &str| {
        mount
            .split(',')
            .chain(whole.split(','))
            .any(|set| set == flag)
    };
    for flag in wanted {
        ensure!(has(flag), "{options:?}: {flag} is missing in {line}");
    }
    for flag in unwanted {
        // What the kernel says of the whole file system is rw or ro of its own.
        let there = mount.split(',').any(|set| set == *flag) || (*flag != "ro" && has(flag));
        ensure!(!there, "{options:?}: {flag} is set in {line}");
    }
    Ok(())
}

/// A directory of the host with a mount below, both with `options`.
fn nested(case: &Case<'_>, options: &str) -> Verdict<String> {
    let directory = case.path("source");
    case.sh(&format!(
        "mkdir {directory}; mount -t tmpfs -o {options} top {directory}; \
         mount -o remount,rw {directory}; mkdir {directory}/sub; \
         mount -t tmpfs -o {options} below {directory}/sub; \
         mount -o remount,bind,{options} {directory}; mount -o remount,bind,{options} {directory}/sub"
    ))?;
    Ok(directory)
}

fn remounted(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .mount("/data", "tmpfs", "told", &["rw"])
        .mount("/data", "tmpfs", "told", &["remount", "ro", "nosuid"])
        .sh("touch /data/x 2>/dev/null && echo written; grep -c ' - tmpfs told ' /proc/self/mountinfo");
    ensure_eq!(case.container(config)?.output()?, "1", "writes, and mounts");
    Ok(())
}

/// What mountinfo says of `/data` and `/data/sub`, bound with `how` and `option` from mounts of
/// the host, has these tags; an empty one stands for none at all.
fn propagation(case: &Case<'_>, how: &str, option: &str, top: &str, below: &str) -> Verdict {
    let directory = case.path("source");
    // Of the other kind, so that it is the option that changes it.
    let before = if option.ends_with("shared") {
        "private"
    } else {
        "shared"
    };
    case.sh(&format!(
        "mkdir {directory}; mount -t tmpfs top {directory}; mkdir {directory}/sub; \
         mount -t tmpfs below {directory}/sub; mount --make-r{before} {directory}"
    ))?;
    let config = Config::new()
        .mount("/data", "none", &directory, &[how, option])
        .sh("awk '$5 ~ \"^/data\"' /proc/self/mountinfo");
    let text = case.container(config)?.output()?;
    let tags = |point: &str| {
        let line = text
            .lines()
            .find(|line| line.split(' ').nth(4) == Some(point));
        line.map(|line| {
            let words = line.split(' ').skip(6).take_while(|word| *word != "-");
            words.collect::<Vec<_>>().join(" ")
        })
    };
    let fits = |tags: &str, wanted: &str| match wanted {
        "" => tags.is_empty(),
        wanted => tags.contains(wanted),
    };
    let told = tags("/data").unwrap_or_default();
    ensure!(fits(&told, top), "{option}: {top:?} for /data in\n{text}");
    if how == "rbind" {
        let told = tags("/data/sub");
        let right = told.is_some_and(|told| fits(&told, below));
        ensure!(right, "{option}: {below:?} for /data/sub in\n{text}");
    }
    Ok(())
}

/// A tree of mounts of the host with `before`, bound with a recursive option: both have `wanted`
/// and neither has `unwanted`.
fn recursive(case: &Case<'_>, before: &str, option: &str, wanted: &str, unwanted: &str) -> Verdict {
    let directory = nested(case, before)?;
    let config = Config::new()
        .mount("/data", "none", &directory, &["rbind", option])
        .sh("awk '$5 ~ \"^/data\" {print $6}' /proc/self/mountinfo");
    let output = case.container(config)?.output()?;
    let mounts: Vec<_> = output.lines().collect();
    ensure_eq!(mounts.len(), 2, "mounts in {output:?}");
    for flags in mounts {
        let has = |flag: &str| flags.split(',').any(|set| set == flag);
        ensure!(has(wanted), "{option}: {wanted} is missing in {output:?}");
        ensure!(!has(unwanted), "{option}: {unwanted} is left in {output:?}");
    }
    Ok(())
}

fn unknown(case: &Case<'_>) -> Verdict {
    let options = ["nr_inodes=77", "size=1m"];
    let config = Config::new()
        .set("/annotations", json!({}))
        .mount("/data", "tmpfs", "told", &options)
        .args(&["grep", " - tmpfs told ", "/proc/self/mountinfo"]);
    let line = case.container(config)?.output()?;
    ensure!(
        line.contains("nr_inodes=77") && line.contains("size=1024k"),
        "not passed on: {line}"
    );
    let config = Config::new().mount("/data", "tmpfs", "told", &["no-such-option"]);
    case.container(config)?.run()?.refuses()?;
    Ok(())
}
