//! Sentences of config-linux.md and features.md that no feature of the tables is about.
//!
//! The IDs with S stand beside the feature of that number, as in `operations`.

use serde_json::{Value, json};
use testbed::Config;

use super::idmap::{mapped, opened};
use crate::case::Case;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        S098,
        a_relative_path_of_a_namespace_is_refused,
        "config-linux.md, namespaces: path: this value MUST be an absolute path"
    ),
    row!(
        Runtime,
        S100,
        mappings_leave_the_owners_of_files_alone,
        "config-linux.md, user namespace mappings: SHOULD NOT modify the ownership of referenced filesystems"
    ),
    row!(
        Runtime,
        S167,
        a_moved_device_stays_in_its_namespace,
        "config-linux.md, network devices: MUST NOT attempt to move the interface out of the namespace before deletion"
    ),
    row!(
        Runtime,
        S173,
        the_same_cgroups_path_is_the_same_place,
        "config-linux.md, cgroups path: MUST consistently attach to the same place given the same value"
    ),
    row!(
        Runtime,
        S188,
        a_v1_cgroup_keeps_its_owner,
        "config-linux.md, cgroup ownership: SHOULD NOT change the ownership of container cgroups when cgroups v1 is in use"
    ),
    row!(
        Runtime,
        S188,
        without_a_cgroup_namespace_the_owner_stays,
        "config-linux.md, cgroup ownership: SHOULD NOT change the ownership unless it will also create a new cgroup namespace"
    ),
    row!(
        Runtime,
        S188,
        without_a_writable_mount_the_owner_stays,
        "config-linux.md, cgroup ownership: SHOULD NOT change the cgroup ownership without a mount that is read/write"
    ),
    row!(
        Runtime,
        S179,
        a_limit_of_no_task_is_a_limit,
        "config-linux.md, pids: 0 is a valid limit value and SHOULD be treated as such"
    ),
    row!(
        Runtime,
        S205,
        a_rule_of_seccomp_without_a_name_is_refused,
        "config-linux.md, seccomp: names MUST contain at least one entry"
    ),
    row!(
        Runtime,
        S209,
        a_default_errno_for_another_action_is_refused,
        "config-linux.md, seccomp: defaultErrnoRet: when the action doesn't support an errno, the runtime MUST fail"
    ),
    row!(
        Runtime,
        S142,
        a_relative_masked_path_is_refused,
        "config-linux.md, masked paths: the values MUST be absolute paths"
    ),
    row!(
        Runtime,
        S144,
        a_relative_read_only_path_is_refused,
        "config-linux.md, readonly paths: the values MUST be absolute paths"
    ),
    row!(
        Runtime,
        S012,
        both_versions_of_features_are_accepted,
        "features.md: the runtime MUST accept ociVersionMin and ociVersionMax as the ociVersion of config.json"
    ),
    row!(
        Runtime,
        S012,
        every_listed_namespace_is_recognized,
        "features-linux.md: namespaces: MUST recognize the elements as the type of linux.namespaces"
    ),
    row!(
        Runtime,
        S012,
        every_listed_capability_is_recognized,
        "features-linux.md: capabilities: MUST recognize the elements in process.capabilities"
    ),
    row!(
        Runtime,
        S012,
        every_listed_option_is_recognized,
        "features.md: mountOptions: MUST recognize the elements as the options of mounts"
    ),
    row!(
        Runtime,
        S012,
        no_option_of_a_file_system_is_listed,
        "features.md: mountOptions SHOULD NOT contain filesystem-specific mount options"
    ),
    row!(
        Runtime,
        S012,
        every_listed_word_of_seccomp_is_recognized,
        "features-linux.md: seccomp: MUST recognize actions, operators, archs and flags"
    ),
];

fn a_relative_path_of_a_namespace_is_refused(case: &Case<'_>) -> Verdict {
    let relative = json!({ "type": "network", "path": "proc/self/ns/net" });
    let config = Config::new()
        .share("network")
        .push("/linux/namespaces", relative);
    let container = case.container(config)?;
    let run = container.command(&["run", "--bundle", &container.dir()])?;
    // Where the words would lead to a namespace of that type.
    let run = run.within(&["sh", "-c", "cd / && exec \"$@\"", "sh"]);
    case.call(&run)?.refuses()?;
    Ok(())
}

fn mappings_leave_the_owners_of_files_alone(case: &Case<'_>) -> Verdict {
    let container = opened(case, mapped().sh("true"))?;
    let source = format!("{}/rootfs", container.dir());
    case.sh(&format!(
        "touch {source}/a {source}/b; chown 5:6 {source}/a; chown 100005:100006 {source}/b"
    ))?;
    let look =
        format!("cd {source} && stat -c '%n %u:%g' . a b bin bin/busybox etc etc/passwd tmp");
    let before = case.sh(&look)?;
    container.output()?;
    ensure_eq!(case.sh(&look)?, before, "owners in the rootfs");
    Ok(())
}

fn a_moved_device_stays_in_its_namespace(case: &Case<'_>) -> Verdict {
    let netns = case.host.netns("lent")?;
    case.sh("ip link add dvtM type veth peer name dvtN")?;
    let config = Config::new()
        .share("network")
        .push(
            "/linux/namespaces",
            json!({ "type": "network", "path": netns }),
        )
        .set("/linux/netDevices", json!({ "dvtM": {} }))
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    container.up()?;
    let there = format!("nsenter --net={netns} ip link show dvtM");
    ensure!(case.holds(&there)?, "it was never moved");
    container.stop()?;
    container.delete()?.succeeds()?;
    ensure!(case.holds(&there)?, "delete took it out of the namespace");
    Ok(())
}

fn the_same_cgroups_path_is_the_same_place(case: &Case<'_>) -> Verdict {
    for path in [
        format!("/{}-same", case.cgroup_prefix()),
        format!("{}-relative", case.cgroup_prefix()),
    ] {
        let config = Config::new()
            .set("/linux/cgroupsPath", path.as_str())
            .args(&["cat", "/proc/self/cgroup"]);
        let first = case.container(config.clone())?.output()?;
        let second = case.container(config)?.output()?;
        ensure!(
            first.contains(path.trim_start_matches('/')),
            "{path} is not in\n{first}"
        );
        ensure_eq!(second, first, "cgroups of another container with {path}");
    }
    Ok(())
}

fn a_v1_cgroup_keeps_its_owner(case: &Case<'_>) -> Verdict {
    needs!(
        testbed::requires::has_cgroup_v1("pids"),
        "cgroup v1 controller pids"
    );
    let options = ["nosuid", "noexec", "nodev", "rw"];
    let config = mapped()
        .push("/linux/namespaces", json!({ "type": "cgroup" }))
        .retain("/mounts", |mount| mount["destination"] != "/sys/fs/cgroup")
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &options)
        .args(&["sleep", "60"]);
    let container = opened(case, config)?;
    container.up()?;
    let place = format!("/sys/fs/cgroup/pids{}", container.cgroup);
    let owners = case.sh(&format!(
        "stat -c %u {place} {place}/cgroup.procs {place}/tasks"
    ))?;
    ensure_eq!(owners, "0\n0\n0", "owners of the cgroup and its files");
    Ok(())
}

/// A mapped container with a mount of its cgroups, on version 2: root of the host owns them.
fn owner_stays(case: &Case<'_>, config: Config, option: &str) -> Verdict {
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    needs!(v2, "cgroup v2");
    let options = ["nosuid", "noexec", "nodev", option];
    let config = config
        .retain("/mounts", |mount| mount["destination"] != "/sys/fs/cgroup")
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &options)
        .args(&["sleep", "60"]);
    let container = opened(case, config)?;
    container.up()?;
    let place = format!("/sys/fs/cgroup{}", container.cgroup);
    let owners = case.sh(&format!("stat -c %u {place} {place}/cgroup.procs"))?;
    ensure_eq!(owners, "0\n0", "owners of the cgroup and its files");
    Ok(())
}

fn without_a_cgroup_namespace_the_owner_stays(case: &Case<'_>) -> Verdict {
    owner_stays(case, mapped(), "rw")
}

fn without_a_writable_mount_the_owner_stays(case: &Case<'_>) -> Verdict {
    let own = json!({ "type": "cgroup" });
    owner_stays(case, mapped().push("/linux/namespaces", own), "ro")
}

fn a_limit_of_no_task_is_a_limit(case: &Case<'_>) -> Verdict {
    needs!(
        testbed::requires::has_cgroup_v1("pids"),
        "cgroup v1 controller pids"
    );
    // The one task that there is may be all: a second one is what the limit is about.
    let config = Config::new()
        .set("/linux/resources/pids", json!({ "limit": 0 }))
        .sh("(true; echo second > /second); :");
    let container = case.container(config)?;
    container.run()?;
    ensure!(container.left("/second").is_err(), "a second task ran");
    let unlimited = case.container(Config::new().sh("(true; echo second > /second); :"))?;
    unlimited.run()?.succeeds()?;
    ensure_eq!(unlimited.left("/second")?, "second", "without a limit");
    Ok(())
}

fn refused(case: &Case<'_>, pointer: &str, value: Value) -> Verdict {
    let outcome = case
        .container(Config::new().set(pointer, value.clone()))?
        .run()?;
    ensure!(outcome.refused(), "ran with {pointer} {value}:\n{outcome}");
    Ok(())
}

fn a_rule_of_seccomp_without_a_name_is_refused(case: &Case<'_>) -> Verdict {
    let rule = json!([{ "names": [], "action": "SCMP_ACT_ERRNO" }]);
    refused(
        case,
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule }),
    )
}

fn a_default_errno_for_another_action_is_refused(case: &Case<'_>) -> Verdict {
    refused(
        case,
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 28 }),
    )
}

fn a_relative_masked_path_is_refused(case: &Case<'_>) -> Verdict {
    refused(case, "/linux/maskedPaths", json!(["proc/kcore"]))
}

fn a_relative_read_only_path_is_refused(case: &Case<'_>) -> Verdict {
    refused(case, "/linux/readonlyPaths", json!(["proc/sys"]))
}

fn features(case: &Case<'_>) -> Verdict<Value> {
    let outcome = case.call(&case.bare_runtime(&["features"])?)?.succeeds()?;
    Ok(serde_json::from_slice(&outcome.stdout)?)
}

fn list(features: &Value, pointer: &str) -> Vec<String> {
    let words = features.pointer(pointer).and_then(Value::as_array);
    let words = words.into_iter().flatten();
    words
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

fn both_versions_of_features_are_accepted(case: &Case<'_>) -> Verdict {
    let told = features(case)?;
    let mut numbers = Vec::new();
    for name in ["ociVersionMin", "ociVersionMax"] {
        let version = told[name]
            .as_str()
            .ok_or_else(|| Failure(format!("no {name}")))?;
        case.container(Config::new().set("/ociVersion", version))?
            .run()?
            .succeeds()?;
        let core = version.split(['-', '+']).next().unwrap_or_default();
        let core = core
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or_default());
        numbers.push(core.collect::<Vec<_>>());
    }
    ensure!(
        numbers[0] <= numbers[1],
        "the least version is above the last: {numbers:?}"
    );
    Ok(())
}

fn every_listed_namespace_is_recognized(case: &Case<'_>) -> Verdict {
    for kind in list(&features(case)?, "/linux/namespaces") {
        let config = match kind.as_str() {
            "user" => mapped(),
            kind => Config::new()
                .share(kind)
                .push("/linux/namespaces", json!({ "type": kind })),
        };
        opened_or_plain(case, config, kind == "user")?;
    }
    Ok(())
}

fn opened_or_plain(case: &Case<'_>, config: Config, user: bool) -> Verdict {
    let container = match user {
        true => opened(case, config)?,
        false => case.container(config)?,
    };
    container.run()?.succeeds()?;
    Ok(())
}

fn every_listed_capability_is_recognized(case: &Case<'_>) -> Verdict {
    let names = list(&features(case)?, "/linux/capabilities");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // The bounding set alone: the others cannot have what this machine has not.
    let config = Config::new().set("/process/capabilities", json!({ "bounding": names }));
    let outcome = case.container(config)?.run()?.succeeds()?;
    // One that is not recognized is warned of.
    ensure_eq!(outcome.complaint(), "", "warnings about {names:?}");
    Ok(())
}

fn every_listed_option_is_recognized(case: &Case<'_>) -> Verdict {
    // These want a source or mappings, and rows of their own judge them.
    let others = [
        "bind",
        "rbind",
        "remount",
        "idmap",
        "ridmap",
        "copy-symlink",
        "tmpcopyup",
        "src-nofollow",
        "dest-nofollow",
    ];
    // File systems that have no such flag refuse it, and mandatory locks are gone since 5.15.
    let gone = ["mand", "acl", "noacl"];
    for option in list(&features(case)?, "/mountOptions") {
        if others.contains(&option.as_str()) || gone.contains(&option.as_str()) {
            continue;
        }
        let config = Config::new().mount("/data", "tmpfs", "tmpfs", &[&option]);
        let outcome = case.container(config)?.run()?;
        // What is not recognized goes to tmpfs, which does not know it.
        ensure!(outcome.success(), "{option} is listed, but\n{outcome}");
    }
    Ok(())
}

fn no_option_of_a_file_system_is_listed(case: &Case<'_>) -> Verdict {
    let listed = list(&features(case)?, "/mountOptions");
    ensure!(!listed.is_empty(), "no options are listed");
    let specific = [
        "size",
        "mode",
        "uid",
        "gid",
        "nr_inodes",
        "huge",
        "hidepid",
        "newinstance",
        "ptmxmode",
        "lowerdir",
        "upperdir",
        "workdir",
        "errors",
        "data",
        "subvol",
    ];
    for option in listed {
        let plain = !option.contains('=') && !specific.contains(&option.as_str());
        ensure!(plain, "{option} is an option of some file system");
    }
    Ok(())
}

fn every_listed_word_of_seccomp_is_recognized(case: &Case<'_>) -> Verdict {
    let told = features(case)?;
    let rule = |action: &str, op: &str| {
        json!([{ "names": ["swapon"], "action": action,
            "args": [{ "index": 1, "value": 3, "valueTwo": 3, "op": op }] }])
    };
    let profile =
        |syscalls: Value| json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls });
    let mut profiles = Vec::new();
    for action in list(&told, "/linux/seccomp/actions") {
        // It wants somebody who listens, and rows of its own judge it.
        if action != "SCMP_ACT_NOTIFY" && action != "SCMP_ACT_ALLOW" {
            profiles.push(profile(rule(&action, "SCMP_CMP_EQ")));
        }
    }
    for op in list(&told, "/linux/seccomp/operators") {
        profiles.push(profile(rule("SCMP_ACT_ERRNO", &op)));
    }
    // libseccomp makes no filter for two byte orders at once.
    let big_endian = [
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "PPC",
        "PPC64",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "M68K",
        "SHEB",
    ];
    for arch in list(&told, "/linux/seccomp/archs") {
        if big_endian.contains(&arch.trim_start_matches("SCMP_ARCH_")) {
            continue;
        }
        let mut profile = profile(json!([]));
        profile["architectures"] = json!(["SCMP_ARCH_X86_64", arch]);
        profiles.push(profile);
    }
    for flag in list(&told, "/linux/seccomp/supportedFlags") {
        // It is about the listener of SCMP_ACT_NOTIFY.
        if flag != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" {
            let mut profile = profile(json!([]));
            profile["flags"] = json!([flag]);
            profiles.push(profile);
        }
    }
    for profile in profiles {
        let outcome = case
            .container(Config::new().set("/linux/seccomp", profile.clone()))?
            .run()?;
        ensure!(
            outcome.success(),
            "listed, but not recognized in {profile}\n{outcome}"
        );
    }
    Ok(())
}
