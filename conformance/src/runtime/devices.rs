//! Device nodes and access to devices.

use serde_json::json;
use testbed::Config;

use crate::case::Case;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F157,
        the_default_devices_are_there,
        "config-linux.md, default devices: null zero full random urandom tty console ptmx MUST be supplied"
    ),
    row!(
        Runtime,
        F157,
        the_default_links_are_there,
        "runtime-linux.md, dev symbolic links: /dev/fd, /dev/stdin, /dev/stdout, /dev/stderr"
    ),
    row!(
        Runtime,
        F157,
        the_default_devices_work,
        "config-linux.md, default devices: the runtime MUST also supply them"
    ),
    row!(
        Runtime,
        F158,
        listed_devices_are_made,
        "config-linux.md: devices: the runtime MUST supply them in the container: type, path, major, minor, fileMode, uid, gid"
    ),
    row!(
        Runtime,
        F158,
        a_device_number_that_is_too_large_is_no_other_device,
        "mknod(2) takes 12 bits of the major number: what is above them must not be dropped without a word"
    ),
    row!(
        Runtime,
        F159,
        a_listed_default_device_takes_the_listed_mode,
        "config-linux.md: devices: fileMode of a path that is also a default device"
    ),
    row!(
        Runtime,
        F162,
        a_device_that_is_not_allowed_cannot_be_opened,
        "config-linux.md: resources.devices: the runtime MUST apply entries in the listed order"
    ),
    row!(
        Runtime,
        F162,
        a_device_that_is_allowed_can_be_opened,
        "config-linux.md: resources.devices: allow whether the entry is allowed or denied"
    ),
    row!(
        Runtime,
        F163,
        tun_is_not_allowed_by_default,
        "runc 1.3 took tun/tap out of the default devices; the specification never listed it"
    ),
    row!(
        Runtime,
        F227,
        dev_as_a_link_makes_nothing_on_the_host,
        "CVE-2026-41579, CVE-2026-47766: /dev of an image may be a symbolic link"
    ),
];

fn the_default_devices_are_there(case: &Case<'_>) -> Verdict {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t,%T %a' /dev/$d; done; ls -d /dev/ptmx";
    let output = case.container(Config::new().sh(script))?.output()?;
    for (name, numbers) in [
        ("null", "1,3"),
        ("zero", "1,5"),
        ("full", "1,7"),
        ("random", "1,8"),
        ("urandom", "1,9"),
        ("tty", "5,0"),
    ] {
        let line = format!("/dev/{name} character special file {numbers} 666");
        ensure!(
            output.lines().any(|found| found == line),
            "{line:?} is missing in\n{output}"
        );
    }
    ensure!(output.ends_with("/dev/ptmx"), "no /dev/ptmx in\n{output}");
    Ok(())
}

fn the_default_links_are_there(case: &Case<'_>) -> Verdict {
    let script = "for l in fd stdin stdout stderr; do readlink /dev/$l; done";
    let output = case.container(Config::new().sh(script))?.output()?;
    let wanted = "/proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2";
    ensure_eq!(output.replace('\n', " "), wanted, "links");
    Ok(())
}

fn the_default_devices_work(case: &Case<'_>) -> Verdict {
    let script = "echo x > /dev/null; head -c 3 /dev/zero | od -An -tx1 | tr -d ' '; head -c 8 /dev/urandom | wc -c; echo x 2>/dev/null > /dev/full || echo full";
    let output = case.container(Config::new().sh(script))?.output()?;
    ensure_eq!(
        output.replace('\n', " "),
        "000000 8 full",
        "zero, urandom, full"
    );
    Ok(())
}

fn listed_devices_are_made(case: &Case<'_>) -> Verdict {
    let devices = json!([
        { "type": "c", "path": "/dev/made", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 5, "gid": 6 },
        { "type": "b", "path": "/dev/block", "major": 7, "minor": 99, "fileMode": 0o600 },
        { "type": "p", "path": "/dev/pipe", "fileMode": 0o622 },
    ]);
    let config = Config::new().set("/linux/devices", devices);
    let script = "stat -c '%F %t,%T %a %u:%g' /dev/made /dev/block; stat -c '%F %a' /dev/pipe";
    let output = case.container(config.sh(script))?.output()?;
    let lines: Vec<_> = output.lines().collect();
    let wanted = [
        "character special file 1,5 640 5:6",
        "block special file 7,63 600 0:0",
        "fifo 622",
    ];
    ensure_eq!(lines, wanted, "nodes");
    Ok(())
}

fn a_device_number_that_is_too_large_is_no_other_device(case: &Case<'_>) -> Verdict {
    let device = json!([{ "path": "/dev/odd", "type": "c", "major": 4097, "minor": 3 }]);
    let config = Config::new()
        .set("/linux/devices", device)
        .args(&["stat", "-c", "%t:%T", "/dev/odd"]);
    let outcome = case.container(config)?.run()?.ends()?;
    ensure!(
        !outcome.success() || outcome.text() != "1:3",
        "4097:3 became {}",
        outcome.text()
    );
    Ok(())
}

fn a_listed_default_device_takes_the_listed_mode(case: &Case<'_>) -> Verdict {
    let device =
        json!({ "type": "c", "path": "/dev/full", "major": 1, "minor": 7, "fileMode": 0o600 });
    let config = Config::new().push("/linux/devices", device);
    ensure_eq!(
        case.container(config.sh("stat -c %a /dev/full"))?
            .output()?,
        "600",
        "mode"
    );
    Ok(())
}

/// A container that may make nodes and tries to open fuse's (10,229), with these further rules.
fn opens_fuse(case: &Case<'_>, rules: &[serde_json::Value]) -> Verdict<bool> {
    let mut config = Config::new()
        .set(
            "/process/capabilities",
            testbed::config::capabilities(&["CAP_MKNOD"]),
        )
        .push(
            "/linux/resources/devices",
            json!({ "allow": true, "type": "c", "access": "m" }),
        );
    for rule in rules {
        config = config.push("/linux/resources/devices", rule.clone());
    }
    let script = "mknod /dev/probe c 10 229 || exit 9; (exec 3</dev/probe) 2>/dev/null && echo opened || echo denied";
    let output = case.container(config.sh(script))?.output()?;
    ensure!(
        output == "opened" || output == "denied",
        "the probe answered {output:?}"
    );
    Ok(output == "opened")
}

fn a_device_that_is_not_allowed_cannot_be_opened(case: &Case<'_>) -> Verdict {
    needs_devices(case)?;
    ensure!(
        !opens_fuse(case, &[])?,
        "a device that no rule allows was opened"
    );
    let allow = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" });
    let deny = json!({ "allow": false, "type": "c", "major": 10, "minor": 229, "access": "rw" });
    ensure!(
        !opens_fuse(case, &[allow, deny])?,
        "the later rule denies, and the device was opened"
    );
    Ok(())
}

fn a_device_that_is_allowed_can_be_opened(case: &Case<'_>) -> Verdict {
    needs_devices(case)?;
    let allow = json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" });
    ensure!(
        opens_fuse(case, &[allow])?,
        "a device that a rule allows was denied"
    );
    Ok(())
}

fn tun_is_not_allowed_by_default(case: &Case<'_>) -> Verdict {
    needs_devices(case)?;
    let config = Config::new()
        .set(
            "/process/capabilities",
            testbed::config::capabilities(&["CAP_MKNOD"]),
        )
        .push(
            "/linux/resources/devices",
            json!({ "allow": true, "type": "c", "access": "m" }),
        );
    let script = "mknod /dev/probe c 10 200 || exit 9; (exec 3<>/dev/probe) 2>/dev/null && echo opened || echo denied";
    ensure_eq!(
        case.container(config.sh(script))?.output()?,
        "denied",
        "opening 10:200"
    );
    Ok(())
}

fn needs_devices(case: &Case<'_>) -> Verdict {
    let has = testbed::requires::has_cgroup_v1("devices");
    needs!(has, "cgroup v1 controller devices");
    case.sh("true").map(|_| ())
}

fn dev_as_a_link_makes_nothing_on_the_host(case: &Case<'_>) -> Verdict {
    let outside = case.path("outside");
    std::fs::create_dir(&outside)?;
    let config = Config::new().retain("/mounts", |mount| {
        !mount["destination"]
            .as_str()
            .is_some_and(|path| path.starts_with("/dev"))
    });
    let container = case.container(config)?;
    let dev = container.bundle.in_rootfs("dev");
    std::fs::remove_dir(&dev)?;
    std::os::unix::fs::symlink(&outside, &dev)?;
    let outcome = container.run()?;
    ensure_eq!(
        case.sh(&format!("ls {outside}"))?,
        "",
        "what appeared on the host by\n{outcome}"
    );
    // The same image without the trick runs, so a refusal above was not for another reason.
    std::fs::remove_file(&dev)?;
    std::fs::create_dir(&dev)?;
    container.delete_force()?.succeeds()?;
    container.run()?.succeeds()?;
    Ok(())
}
