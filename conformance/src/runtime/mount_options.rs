//! What the rarer mount options mean, and what is said of those that mean nothing.

use serde_json::json;
use testbed::Config;

use super::idmap::{mapped, opened};
use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F131,
        recursive_access_times_reach_submounts,
        "config.md: rnoatime, rrelatime, rstrictatime, rnodiratime: mount_setattr(2) with AT_RECURSIVE"
    ),
    row!(
        Runtime,
        F132,
        locked_flags_are_kept_in_a_user_namespace,
        "mount_namespaces(7): flags of a more privileged mount are locked: they stay, and clearing one by name is an error"
    ),
    row!(
        Runtime,
        F137,
        copy_symlink_makes_the_same_link,
        "crun(1): copy-symlink: a source that is a symbolic link is recreated at the destination"
    ),
    row!(
        Runtime,
        F137,
        dest_nofollow_covers_the_link_itself,
        "crun(1): dest-nofollow: a destination that is a symbolic link is mounted on, not followed"
    ),
    row!(
        Runtime,
        F137,
        src_nofollow_binds_the_link_itself,
        "crun(1): src-nofollow: a source that is a symbolic link is bound itself, not followed"
    ),
    row!(
        Runtime,
        F143,
        masked_directories_share_one_file_system,
        "runc: one read-only tmpfs serves every masked directory: engines mask one for each processor"
    ),
    row!(
        Runtime,
        F150,
        no_pivot_enters_the_rootfs_and_leaves_no_procfs_behind,
        "runc(8): --no-pivot: do not use pivot_root; projectatomic/runc#19: no full procfs of the host stays in reach"
    ),
    row!(
        Runtime,
        F156,
        the_file_system_s_own_words_are_in_the_error,
        "fsopen(2): messages of the file system can be read from the context's descriptor"
    ),
    row!(
        Runtime,
        F160,
        devices_are_bound_where_they_cannot_be_made,
        "config-linux.md, devices: in a user namespace mknod(2) is not permitted; runtimes bind the host's node"
    ),
    row!(
        Runtime,
        F161,
        a_file_in_the_place_of_a_device_is_an_error,
        "config-linux.md: if a file already exists at path that does not match the requested device, the runtime MUST generate an error"
    ),
    row!(
        Runtime,
        F229,
        a_mount_below_proc_sys_does_not_redirect_a_sysctl,
        "CVE-2025-52881: a write to procfs must not end in what a mount of the container put there"
    ),
];

/// A tmpfs with another below it, both made on the host of the row.
fn nested_source(case: &Case<'_>, options: &str) -> Verdict<String> {
    let directory = case.path("source");
    case.sh(&format!(
        "mkdir {directory}; mount -t tmpfs -o {options} top {directory}; \
         mkdir {directory}/sub; mount -t tmpfs -o {options} below {directory}/sub; \
         touch {directory}/sub/deep"
    ))?;
    Ok(directory)
}

/// The flags of what is mounted at `/data` and at `/data/sub`.
const FLAGS: &str = "awk '$5 ~ \"^/data\" {print $6}' /proc/self/mountinfo";

fn recursive_access_times_reach_submounts(case: &Case<'_>) -> Verdict {
    let directory = nested_source(case, "noatime")?;
    for (option, flags) in [
        ("rnoatime", "rw,noatime"),
        ("rrelatime", "rw,relatime"),
        ("rstrictatime", "rw"),
        ("ratime", "rw,relatime"),
        ("rnodiratime", "rw,noatime,nodiratime"),
    ] {
        let config = Config::new().mount("/data", "none", &directory, &["rbind", option]);
        let output = case.container(config.sh(FLAGS))?.output()?;
        let seen: Vec<_> = output.split_whitespace().collect();
        ensure_eq!(seen, [flags, flags], "flags of both mounts with {option}");
    }
    Ok(())
}

fn locked_flags_are_kept_in_a_user_namespace(case: &Case<'_>) -> Verdict {
    let directory = case.path("source");
    case.sh(&format!(
        "mkdir {directory}; mount -t tmpfs -o nosuid,nodev,noexec,noatime top {directory}; \
         mount -o remount,bind,ro,nosuid,nodev,noexec,noatime {directory}"
    ))?;
    let all = "ro,nosuid,nodev,noexec,noatime";
    for kept in [
        &[][..],
        &["ro"],
        &["nosuid", "nodev"],
        &["noexec"],
        &["noatime"],
    ] {
        let options: Vec<&str> = std::iter::once("bind")
            .chain(kept.iter().copied())
            .collect();
        let config = mapped().mount("/data", "bind", &directory, &options);
        let output = opened(case, config.sh(FLAGS))?.output()?;
        ensure_eq!(output, all, "flags with {options:?}");
    }
    for cleared in ["rw", "suid", "dev", "exec", "strictatime"] {
        let config = mapped().mount("/data", "bind", &directory, &["bind", cleared]);
        opened(case, config)?.run()?.refuses()?;
        // Where nothing is locked the same option is granted.
        let config = Config::new().mount("/data", "bind", &directory, &["bind", cleared]);
        case.container(config)?.run()?.succeeds()?;
    }
    Ok(())
}

fn copy_symlink_makes_the_same_link(case: &Case<'_>) -> Verdict {
    let link = case.path("link");
    case.sh(&format!(
        "ln -s /some/where {link}; echo plain > {link}.file"
    ))?;
    let config = Config::new()
        .mount("/made/link", "bind", &link, &["bind", "copy-symlink"])
        .mount(
            "/made/file",
            "bind",
            &format!("{link}.file"),
            &["bind", "copy-symlink"],
        );
    let container = case.container(config.sh("readlink /made/link; cat /made/file"))?;
    let output = container.output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(
        words,
        ["/some/where", "plain"],
        "the copied link, and a plain file"
    );
    // The same once more finds its link; another link in its place is an error.
    container.run()?.succeeds()?;
    let made = container.bundle.in_rootfs("made/link");
    std::fs::remove_file(&made)?;
    std::os::unix::fs::symlink("/else/where", &made)?;
    container.run()?.refuses()?;
    Ok(())
}

fn dest_nofollow_covers_the_link_itself(case: &Case<'_>) -> Verdict {
    let file = case.path("file");
    case.sh(&format!("echo bound > {file}"))?;
    let options = ["bind", "dest-nofollow"];
    let config = Config::new().mount("/link", "bind", &file, &options);
    let container = case.container(config.sh("cat /link; cat /tmp/target"))?;
    std::os::unix::fs::symlink("/tmp/target", container.bundle.in_rootfs("link"))?;
    case.sh(&format!("echo own > {}/rootfs/tmp/target", container.dir()))?;
    let output = container.output()?;
    let words: Vec<_> = output.split_whitespace().collect();
    ensure_eq!(words, ["bound", "own"], "the link, and what it leads to");
    Ok(())
}

fn src_nofollow_binds_the_link_itself(case: &Case<'_>) -> Verdict {
    let link = case.path("link");
    case.sh(&format!("ln -s /some/where {link}"))?;
    let options = ["bind", "src-nofollow", "dest-nofollow"];
    let config = Config::new().mount("/link", "bind", &link, &options);
    let container = case.container(config.args(&["readlink", "/link"]))?;
    std::os::unix::fs::symlink("/tmp/target", container.bundle.in_rootfs("link"))?;
    ensure_eq!(container.output()?, "/some/where", "text of the bound link");
    Ok(())
}

fn masked_directories_share_one_file_system(case: &Case<'_>) -> Verdict {
    let masked = ["/etc", "/var", "/root", "/sys/kernel"];
    let config = Config::new()
        .set("/linux/maskedPaths", json!(masked))
        .sh("awk '{print $5, $3}' /proc/self/mountinfo; ls /etc /var /root /sys/kernel | wc -l");
    let output = case.container(config)?.output()?;
    let device = |path: &str| {
        let line = |line: &str| Some(line.strip_prefix(path)?.strip_prefix(' ')?.to_owned());
        output.lines().find_map(line)
    };
    let devices: Vec<_> = masked.iter().map(|path| device(path)).collect();
    ensure!(
        devices[0].is_some() && devices.iter().all(|device| *device == devices[0]),
        "file systems over {masked:?}: {devices:?}"
    );
    // Four headings and the blanks between them.
    ensure_eq!(output.lines().last(), Some("7"), "lines that ls printed");
    Ok(())
}

fn no_pivot_enters_the_rootfs_and_leaves_no_procfs_behind(case: &Case<'_>) -> Verdict {
    let script = "touch /made; ls /proc/1/root/made; \
                  unshare -U -r -m -p -f sh -c 'mount -t proc proc /tmp' 2>/dev/null && echo mounted; \
                  cd /..; pwd; cat /proc/kcore 2>/dev/null | wc -c";
    let capabilities = json!(["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]);
    let config = Config::new().sh(script);
    let config = ["bounding", "effective", "permitted"]
        .iter()
        .fold(config, |config, set| {
            config.set(
                &format!("/process/capabilities/{set}"),
                capabilities.clone(),
            )
        });
    let container = case.container(config)?;
    let dir = container.dir();
    let outcome = case.call(&container.command(&["run", "--no-pivot", "--bundle", &dir])?)?;
    let text = outcome.succeeds()?.text();
    let words: Vec<_> = text.split_whitespace().collect();
    ensure_eq!(
        words,
        ["/proc/1/root/made", "/", "0"],
        "what the container found"
    );
    container.left("/made")?;
    Ok(())
}

fn the_file_system_s_own_words_are_in_the_error(case: &Case<'_>) -> Verdict {
    let config = Config::new().mount("/data", "tmpfs", "tmpfs", &["nosuchoption"]);
    let outcome = case.container(config)?.run()?.refuses()?;
    outcome.says(&["unknown parameter"])?;
    Ok(())
}

fn devices_are_bound_where_they_cannot_be_made(case: &Case<'_>) -> Verdict {
    let device = json!({ "path": "/dev/full", "type": "c", "major": 1, "minor": 7 });
    let script = "stat -c '%F %t:%T' /dev/null /dev/full; echo x > /dev/null && echo null; \
                  (echo x > /dev/full) 2>/dev/null || echo full";
    let config = mapped().push("/linux/devices", device).sh(script);
    let allow = json!({ "allow": true, "type": "c", "major": 1, "access": "rwm" });
    let config = config.push("/linux/resources/devices", allow);
    let output = opened(case, config)?.output()?;
    let lines: Vec<_> = output.lines().collect();
    let expected = [
        "character special file 1:3",
        "character special file 1:7",
        "null",
        "full",
    ];
    ensure_eq!(lines, expected, "the nodes, and what writing to them does");
    Ok(())
}

fn a_file_in_the_place_of_a_device_is_an_error(case: &Case<'_>) -> Verdict {
    let device = json!({ "path": "/srv/thing", "type": "c", "major": 1, "minor": 3 });
    let config = Config::new().push("/linux/devices", device);
    let container = case.container(config.args(&["stat", "-c", "%t:%T", "/srv/thing"]))?;
    let place = format!("{}/rootfs/srv/thing", container.dir());
    case.sh(&format!(
        "mkdir -p {place}; rmdir {place}; mknod {place} c 1 3"
    ))?;
    ensure_eq!(container.output()?, "1:3", "a node that is the device");
    for other in ["echo a file >", "mkdir", "ln -s /dev/null", "mknod -m 666"] {
        let minor = if other.starts_with("mknod") {
            " c 1 5"
        } else {
            ""
        };
        case.sh(&format!("rm -f {place}; {other} {place}{minor}"))?;
        container.run()?.refuses()?;
        case.sh(&format!("rm -rf {place}"))?;
    }
    Ok(())
}

fn a_mount_below_proc_sys_does_not_redirect_a_sysctl(case: &Case<'_>) -> Verdict {
    let fake = case.path("fake");
    case.sh(&format!("echo 0 > {fake}; chmod 666 {fake}"))?;
    let name = "net/ipv4/ip_forward";
    for destination in [format!("/proc/sys/{name}"), "/link/ip_forward".into()] {
        let config = Config::new()
            .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }))
            .mount(&destination, "bind", &fake, &["bind"])
            .args(&["sleep", "60"]);
        let container = case.container(config)?;
        std::os::unix::fs::symlink("/proc/sys/net/ipv4", container.bundle.in_rootfs("link"))?;
        if container.create()?.success() {
            // It runs, so the parameter must be what was asked for, whatever covers it inside.
            let look = format!(
                "nsenter -t {} -n sysctl -n net.ipv4.ip_forward",
                container.pid()?
            );
            ensure_eq!(case.sh(&look)?, "1", "the parameter with {destination}");
        }
        ensure_eq!(case.read("fake")?, "0", "the file bound on {destination}");
    }
    // Without the mount the parameter is set.
    let config = Config::new()
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }))
        .args(&["cat", "/proc/sys/net/ipv4/ip_forward"]);
    ensure_eq!(
        case.container(config)?.output()?,
        "1",
        "the parameter alone"
    );
    Ok(())
}
