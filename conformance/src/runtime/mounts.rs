//! `root`, `mounts`, masked and read-only paths, propagation.

use serde_json::json;
use testbed::Config;

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Failure, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F127,
        the_default_mounts_are_there,
        "config-linux.md, default filesystems: /proc proc, /sys sysfs, /dev/pts devpts, /dev/shm tmpfs"
    ),
    row!(
        Runtime,
        S127,
        the_default_file_systems_are_there_unasked,
        "config-linux.md, default filesystems: SHOULD be made available in each container's filesystem"
    ),
    row!(
        Runtime,
        F127,
        mounts_are_made_in_the_order_of_the_list,
        "config.md: the runtime MUST mount entries in the listed order"
    ),
    row!(
        Runtime,
        F128,
        a_bind_mount_shows_the_source,
        "config.md: bind mounts: source is the file or directory to bind"
    ),
    row!(
        Runtime,
        F128,
        a_read_only_bind_mount_cannot_be_written,
        "config.md: options: ro: MS_RDONLY, on a bind mount of a writable source too"
    ),
    row!(
        Runtime,
        F128,
        an_rbind_carries_submounts_and_a_bind_does_not,
        "config.md: options: rbind: MS_BIND | MS_REC"
    ),
    row!(
        Runtime,
        F129,
        the_target_of_a_bound_file_is_made,
        "runc: a missing destination is made: a file for a file"
    ),
    row!(
        Runtime,
        F130,
        rro_reaches_submounts,
        "config.md: options: rro: equivalent to mount_setattr(2) with AT_RECURSIVE and MOUNT_ATTR_RDONLY"
    ),
    row!(
        Runtime,
        F136,
        tmpcopyup_copies_what_was_there,
        "config.md: options: tmpcopyup: copy up the contents to a tmpfs"
    ),
    row!(
        Runtime,
        F138,
        a_tmpfs_has_the_mode_and_size_of_its_options,
        "config.md: options: filesystem-specific data"
    ),
    row!(
        Runtime,
        F139,
        mount_flags_are_set,
        "config.md: options: nosuid, nodev, noexec, relatime"
    ),
    row!(
        Runtime,
        F140,
        the_rootfs_has_the_propagation_asked_for,
        "config-linux.md: rootfsPropagation: shared, slave, private or unbindable"
    ),
    row!(
        Runtime,
        F140,
        a_rootfs_that_is_a_mount_can_be_shared,
        "config-linux.md: rootfsPropagation: shared; containerd and Docker mount the rootfs themselves"
    ),
    row!(
        Runtime,
        F140,
        mounts_inside_do_not_reach_the_host,
        "config-linux.md: rootfsPropagation: the host must not see the container's mounts by default"
    ),
    row!(
        Runtime,
        F141,
        a_read_only_root_cannot_be_written,
        "config.md: readonly: if true the root filesystem MUST be read-only inside the container"
    ),
    row!(
        Runtime,
        F142,
        a_masked_path_cannot_be_read,
        "config-linux.md: maskedPaths: the runtime will mask over the provided paths inside the container so that they cannot be read"
    ),
    row!(
        Runtime,
        F142,
        a_masked_path_that_is_missing_is_no_error,
        "runc: masking what is not there is not an error"
    ),
    row!(
        Runtime,
        F144,
        a_read_only_path_cannot_be_written,
        "config-linux.md: readonlyPaths: the runtime will set the provided paths as readonly inside the container"
    ),
    row!(
        Runtime,
        F146,
        a_relative_source_starts_at_the_bundle,
        "config.md: source: a path for bind mounts is absolute or relative to the bundle"
    ),
    row!(
        Runtime,
        F147,
        an_absolute_link_in_a_destination_stays_in_the_rootfs,
        "CVE-2019-18837: a symbolic link in the image must not lead a mount to the host"
    ),
    row!(
        Runtime,
        F148,
        proc_as_a_symbolic_link_is_refused,
        "CVE-2019-19921, CVE-2023-27561: /proc must be mounted on an ordinary directory"
    ),
    row!(
        Runtime,
        F149,
        a_dangling_link_in_a_destination_stays_in_the_rootfs,
        "CVE-2024-45310: making a mount point must not make anything on the host"
    ),
    row!(
        Runtime,
        F128,
        a_destination_with_dot_dot_stays_in_the_rootfs,
        "config.md: destination: path inside the container"
    ),
    row!(
        Runtime,
        F155,
        a_failed_mount_names_its_paths,
        "runc: the error names source and destination"
    ),
    row!(
        Runtime,
        F154,
        the_host_sees_no_mounts_of_a_container,
        "runtime.md: create makes the container's environment, not the host's"
    ),
    row!(
        Runtime,
        F228,
        a_device_null_that_is_a_link_does_not_unmask,
        "CVE-2025-31133: masking must not bind what a symbolic link at /dev/null names"
    ),
];

fn the_default_mounts_are_there(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["cat", "/proc/self/mountinfo"]))?;
    let text = container.output()?;
    for (point, kind) in [
        ("/proc", "proc"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
        ("/sys", "sysfs"),
    ] {
        let is = |line: &str| {
            line.split(' ').nth(4) == Some(point) && line.contains(&format!(" - {kind} "))
        };
        ensure!(text.lines().any(is), "no {kind} on {point} in\n{text}");
    }
    ensure!(text.contains(" /sys/fs/cgroup"), "no cgroups in\n{text}");
    Ok(())
}

fn the_default_file_systems_are_there_unasked(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/mounts", serde_json::json!([]));
    let container = case.container(config.args(&["sleep", "60"]))?;
    container.up()?;
    // From outside: inside there may be no /proc to look at.
    let text = case.sh(&format!("cat /proc/{}/mountinfo", container.pid()?))?;
    for (point, kind) in [
        ("/proc", "proc"),
        ("/sys", "sysfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
    ] {
        let is = |line: &str| {
            line.split(' ').nth(4) == Some(point) && line.contains(&format!(" - {kind} "))
        };
        ensure!(text.lines().any(is), "no {kind} on {point} in\n{text}");
    }
    Ok(())
}

fn mounts_are_made_in_the_order_of_the_list(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .mount("/data", "tmpfs", "first", &[])
        .mount("/data/below", "tmpfs", "second", &[])
        .mount("/data", "tmpfs", "third", &[]);
    let script = "awk '$5 ~ \"^/data\" {print $(NF-1)}' /proc/self/mountinfo; ls /data";
    let output = case.container(config.sh(script))?.output()?;
    ensure_eq!(
        output.replace('\n', " "),
        "first second third",
        "sources, and what /data shows"
    );
    Ok(())
}

/// A directory on the host with one file in it.
fn source(case: &Case<'_>) -> Verdict<String> {
    let directory = case.path("source");
    case.sh(&format!(
        "mkdir {directory} && echo from-host > {directory}/file"
    ))?;
    Ok(directory)
}

fn a_bind_mount_shows_the_source(case: &Case<'_>) -> Verdict {
    let config = Config::new().mount("/data", "bind", &source(case)?, &["bind"]);
    let container = case.container(config.sh("cat /data/file; echo from-inside > /data/new"))?;
    ensure_eq!(
        container.output()?,
        "from-host",
        "what the bind mount shows"
    );
    ensure_eq!(
        case.read("source/new")?,
        "from-inside",
        "what the container wrote"
    );
    Ok(())
}

fn a_read_only_bind_mount_cannot_be_written(case: &Case<'_>) -> Verdict {
    let config = Config::new().mount("/data", "bind", &source(case)?, &["bind", "ro"]);
    let container = case.container(config.sh("cat /data/file; echo x > /data/file"))?;
    let outcome = container.run()?.refuses()?;
    ensure_eq!(outcome.text(), "from-host", "what the bind mount shows");
    outcome.says(&["read-only"])?;
    ensure_eq!(case.read("source/file")?, "from-host", "file of the host");
    Ok(())
}

fn an_rbind_carries_submounts_and_a_bind_does_not(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    case.sh(&format!("mkdir {directory}/sub && mount -t tmpfs below {directory}/sub && touch {directory}/sub/deep"))?;
    for (option, seen) in [("rbind", "deep"), ("bind", "")] {
        let config = Config::new().mount("/data", "none", &directory, &[option]);
        let output = case
            .container(config.args(&["ls", "/data/sub"]))?
            .output()?;
        ensure_eq!(output, seen, "below a submount with {option}");
    }
    Ok(())
}

fn the_target_of_a_bound_file_is_made(case: &Case<'_>) -> Verdict {
    let file = format!("{}/file", source(case)?);
    let config = Config::new().mount("/made/for/it", "bind", &file, &["bind", "ro"]);
    let output = case
        .container(config.sh("[ -f /made/for/it ] && cat /made/for/it"))?
        .output()?;
    ensure_eq!(output, "from-host", "the bound file");
    Ok(())
}

fn rro_reaches_submounts(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    case.sh(&format!(
        "mkdir {directory}/sub && mount -t tmpfs below {directory}/sub"
    ))?;
    let config = Config::new().mount("/data", "none", &directory, &["rbind", "rro"]);
    let script = "touch /data/x 2>/dev/null && echo top; touch /data/sub/x 2>/dev/null && echo sub; ls -d /data/sub";
    ensure_eq!(
        case.container(config.sh(script))?.output()?,
        "/data/sub",
        "writable places"
    );
    Ok(())
}

fn tmpcopyup_copies_what_was_there(case: &Case<'_>) -> Verdict {
    let config = Config::new().mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let script = "cut -d: -f1 /etc/passwd | head -1; echo x > /etc/new; stat -f -c %T /etc";
    let container = case.container(config.sh(script))?;
    ensure_eq!(
        container.output()?.replace('\n', " "),
        "root tmpfs",
        "copied file and file system"
    );
    ensure!(
        container.left("/etc/new").is_err(),
        "a write reached the rootfs"
    );
    Ok(())
}

fn a_tmpfs_has_the_mode_and_size_of_its_options(case: &Case<'_>) -> Verdict {
    let options = ["mode=700", "size=1m", "noexec"];
    let config = Config::new().mount("/data", "tmpfs", "tmpfs", &options);
    let script = "stat -c %a /data; dd if=/dev/zero of=/data/f bs=64k count=32 2>/dev/null; stat -c %s /data/f";
    let container = case.container(config.sh(script))?;
    ensure_eq!(
        container.output()?.replace('\n', " "),
        "700 1048576",
        "mode, and what fits"
    );
    Ok(())
}

fn mount_flags_are_set(case: &Case<'_>) -> Verdict {
    let options = ["nosuid", "nodev", "noexec", "ro"];
    let config = Config::new().mount("/data", "tmpfs", "flagged", &options);
    let output = case
        .container(config.args(&["grep", " flagged ", "/proc/self/mountinfo"]))?
        .output()?;
    let flags = output.split(' ').nth(5).unwrap_or_default();
    for flag in options {
        ensure!(
            flags.split(',').any(|set| set == flag),
            "{flag} is missing in {flags}"
        );
    }
    Ok(())
}

/// What the container's own list of mounts says of its root: `shared:N`, `master:N`, `unbindable`.
fn propagation_of_the_root(container: &Container<'_>) -> Verdict<String> {
    let line = container.output()?;
    let tags = line.split(" - ").next().unwrap_or_default();
    Ok(tags.split(' ').skip(6).collect::<Vec<_>>().join(" "))
}

fn asking_for(propagation: &str) -> Config {
    Config::new()
        .set("/linux/rootfsPropagation", propagation)
        .sh("awk '$5 == \"/\"' /proc/self/mountinfo")
}

fn the_rootfs_has_the_propagation_asked_for(case: &Case<'_>) -> Verdict {
    for (asked, tag) in [("shared", "shared:"), ("unbindable", "unbindable")] {
        let tags = propagation_of_the_root(&case.container(asking_for(asked))?)?;
        ensure!(tags.contains(tag), "{asked}: {tags}");
    }
    let tags = propagation_of_the_root(&case.container(asking_for("private"))?)?;
    ensure!(!tags.contains(':'), "private: {tags}");
    Ok(())
}

fn a_rootfs_that_is_a_mount_can_be_shared(case: &Case<'_>) -> Verdict {
    for (asked, tag) in [
        ("shared", "shared:"),
        ("rshared", "shared:"),
        ("rslave", "master:"),
    ] {
        let container = case.container(asking_for(asked))?;
        let rootfs = container.bundle.in_rootfs("/").display().to_string();
        case.sh(&format!(
            "mount --bind {rootfs} {rootfs} && mount --make-shared {rootfs}"
        ))?;
        let tags = propagation_of_the_root(&container)?;
        ensure!(tags.contains(tag), "{asked}: {tags}");
        case.sh(&format!("umount {rootfs}"))?;
    }
    Ok(())
}

fn mounts_inside_do_not_reach_the_host(case: &Case<'_>) -> Verdict {
    let directory = source(case)?;
    case.sh(&format!(
        "mount --bind {directory} {directory} && mount --make-shared {directory}"
    ))?;
    let capabilities = testbed::config::capabilities(&["CAP_SYS_ADMIN"]);
    let config = Config::new()
        .set("/process/capabilities", capabilities)
        .mount("/data", "bind", &directory, &["bind", "rprivate"])
        .sh("mkdir /data/m && mount -t tmpfs tmpfs /data/m && touch /data/m/inside && ls /data/m");
    ensure_eq!(
        case.container(config)?.output()?,
        "inside",
        "the container's own view"
    );
    ensure_eq!(
        case.sh(&format!("ls {directory}/m"))?,
        "",
        "the host's view"
    );
    Ok(())
}

fn a_read_only_root_cannot_be_written(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/root/readonly", true);
    let container = case.container(config.sh("touch /x; touch /dev/shm/ok && echo shm"))?;
    let outcome = container.run()?.succeeds()?;
    ensure_eq!(outcome.text(), "shm", "what can still be written");
    ensure!(container.left("/x").is_err(), "the root was written");
    outcome.says(&["read-only"])?;
    Ok(())
}

fn a_masked_path_cannot_be_read(case: &Case<'_>) -> Verdict {
    let config = Config::new().set(
        "/linux/maskedPaths",
        json!(["/secret", "/secrets", "/proc/uptime"]),
    );
    let script = "cat /secret; ls /secrets; wc -c < /proc/uptime";
    let container = case.container(config.sh(script))?;
    std::fs::write(container.bundle.in_rootfs("/secret"), "file-secret")?;
    std::fs::create_dir(container.bundle.in_rootfs("/secrets"))?;
    std::fs::write(container.bundle.in_rootfs("/secrets/one"), "dir-secret")?;
    ensure_eq!(
        container.output()?,
        "0",
        "file, directory and size of uptime"
    );
    Ok(())
}

fn a_masked_path_that_is_missing_is_no_error(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/linux/maskedPaths", json!(["/no/such/path", "/proc/keys"]));
    ensure_eq!(
        case.container(config.sh("wc -c < /proc/keys"))?.output()?,
        "0",
        "size of keys"
    );
    Ok(())
}

fn a_read_only_path_cannot_be_written(case: &Case<'_>) -> Verdict {
    let config = Config::new().set("/linux/readonlyPaths", json!(["/kept", "/proc/sys"]));
    let script =
        "echo x > /kept/new; echo x > /free/new; echo 1 > /proc/sys/kernel/ostype; cat /kept/old";
    let container = case.container(config.sh(script))?;
    for name in ["/kept", "/free"] {
        std::fs::create_dir(container.bundle.in_rootfs(name))?;
    }
    std::fs::write(container.bundle.in_rootfs("/kept/old"), "readable")?;
    let outcome = container.run()?.succeeds()?;
    ensure_eq!(outcome.text(), "readable", "old file");
    ensure!(container.left("/kept/new").is_err(), "/kept was written");
    ensure_eq!(
        container.left("/free/new")?,
        "x",
        "a path that is not listed"
    );
    ensure!(
        outcome
            .complaint()
            .to_lowercase()
            .matches("read-only")
            .count()
            >= 2,
        "{outcome}"
    );
    Ok(())
}

fn a_relative_source_starts_at_the_bundle(case: &Case<'_>) -> Verdict {
    let config = Config::new().mount("/data", "bind", "beside", &["bind"]);
    let container = case.container(config.args(&["cat", "/data/file"]))?;
    std::fs::create_dir(container.bundle.dir().join("beside"))?;
    std::fs::write(container.bundle.dir().join("beside/file"), "in-bundle")?;
    ensure_eq!(container.output()?, "in-bundle", "file");
    Ok(())
}

/// A container whose rootfs has `/link` to `target`, and a tmpfs on `destination`.
fn mounted_through_link(case: &Case<'_>, target: &str, destination: &str) -> Verdict {
    let config = Config::new().mount(destination, "tmpfs", "through-link", &[]);
    let container =
        case.container(config.args(&["grep", "through-link", "/proc/self/mountinfo"]))?;
    std::os::unix::fs::symlink(target, container.bundle.in_rootfs("/link"))?;
    let mounts = "awk '{print $5}' /proc/self/mountinfo | sort";
    let before = case.sh(mounts)?;
    let outcome = container.run()?;
    ensure!(
        outcome.refused() || outcome.text().contains("through-link"),
        "no mount by\n{outcome}"
    );
    ensure_eq!(case.sh(mounts)?, before, "mounts of the host");
    Ok(())
}

fn an_absolute_link_in_a_destination_stays_in_the_rootfs(case: &Case<'_>) -> Verdict {
    let outside = case.path("outside");
    std::fs::create_dir(&outside)?;
    mounted_through_link(case, &outside, "/link/below")?;
    ensure_eq!(
        case.sh(&format!("ls {outside}"))?,
        "",
        "what was made outside"
    );
    Ok(())
}

fn a_dangling_link_in_a_destination_stays_in_the_rootfs(case: &Case<'_>) -> Verdict {
    let outside = case.path("dangling");
    mounted_through_link(case, &outside, "/link/below")?;
    ensure!(
        !case.holds(&format!("ls -d {outside}"))?,
        "{outside} was made on the host"
    );
    Ok(())
}

fn a_destination_with_dot_dot_stays_in_the_rootfs(case: &Case<'_>) -> Verdict {
    let up = "/../../../../../../../..".to_owned() + &case.path("dots");
    mounted_through_link(case, "/tmp", &up)?;
    ensure!(
        !case.holds(&format!("ls -d {}", case.path("dots")))?,
        "a mount point on the host"
    );
    Ok(())
}

fn proc_as_a_symbolic_link_is_refused(case: &Case<'_>) -> Verdict {
    for name in ["proc", "sys"] {
        let container = case.container(Config::new())?;
        let place = container.bundle.in_rootfs(name);
        std::fs::remove_dir(&place)?;
        std::fs::create_dir(container.bundle.in_rootfs("elsewhere"))?;
        std::os::unix::fs::symlink("/elsewhere", &place)?;
        container.run()?.refuses()?;
    }
    Ok(())
}

fn a_failed_mount_names_its_paths(case: &Case<'_>) -> Verdict {
    let config = Config::new().mount("/data/target", "bind", "/no/such/source", &["bind"]);
    let outcome = case.container(config)?.run()?.refuses()?;
    outcome.says(&["/no/such/source"])?.says(&["data/target"])?;
    Ok(())
}

fn the_host_sees_no_mounts_of_a_container(case: &Case<'_>) -> Verdict {
    let mounts = "awk '{print $5}' /proc/self/mountinfo | sort";
    let config = Config::new().args(&["sleep", "60"]);
    let hook = format!(
        "awk '{{print $5}}' /proc/self/mountinfo | sort > {}",
        case.path("during")
    );
    let container = case.container(config.hook("createRuntime", &hook))?;
    let before = case.sh(mounts)?;
    container.up()?;
    ensure_eq!(
        case.read("during")?,
        before,
        "mounts of the host during create"
    );
    ensure_eq!(
        case.sh(mounts)?,
        before,
        "mounts of the host beside the container"
    );
    Ok(())
}

fn a_device_null_that_is_a_link_does_not_unmask(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .retain("/mounts", |mount| mount["destination"] != "/dev")
        .set("/linux/maskedPaths", json!(["/masked"]))
        .sh("echo overwritten > /masked; cat /masked; :");
    let container = case.container(config)?;
    std::fs::write(container.bundle.in_rootfs("/masked"), "masked")?;
    std::fs::write(container.bundle.in_rootfs("/target"), "untouched")?;
    for name in ["dev/pts", "dev/shm", "dev/mqueue"] {
        std::fs::create_dir(container.bundle.in_rootfs(name))?;
    }
    std::os::unix::fs::symlink("/target", container.bundle.in_rootfs("/dev/null"))?;
    let outcome = container.run()?;
    let target = container
        .left("/target")
        .map_err(|_| Failure("/target vanished".into()))?;
    ensure_eq!(
        target,
        "untouched",
        "the file behind the link after\n{outcome}"
    );
    Ok(())
}
