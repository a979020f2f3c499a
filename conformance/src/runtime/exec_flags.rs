//! The flags of exec, one by one; what a process takes without them is in `exec`.

use serde_json::json;
use testbed::{Config, Outcome};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, needs, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F032,
        exec_adds_a_capability,
        "runc-exec(8): --cap: add a capability to the bounding set for the process"
    ),
    row!(
        Runtime,
        F032,
        exec_takes_a_user_by_number,
        "runc-exec(8): --user UID[:GID]; a group that is not there must not become root's"
    ),
    row!(
        Runtime,
        F032,
        exec_takes_a_process_from_a_file,
        "runc-exec(8): --process: path to the process.json; containerd and conmon call no other way"
    ),
    row!(
        Runtime,
        F032,
        exec_writes_the_pid_file_and_passes_descriptors_on,
        "runc-exec(8): --pid-file: specify the file to write the process id to; --preserve-fds N"
    ),
    row!(
        Runtime,
        F032,
        exec_takes_an_apparmor_profile,
        "runc-exec(8): --apparmor: set the apparmor profile for the process"
    ),
    row!(
        Runtime,
        F032,
        exec_refuses_a_label_that_the_host_cannot_give,
        "config.md: selinuxLabel, apparmorProfile: a process must not run with less confinement than asked for"
    ),
    row!(
        Runtime,
        F036,
        every_error_of_exec_s_set_up_is_255,
        "runc-exec(8): the exit status of the process is exec's, so its own errors have one apart"
    ),
];

fn up<'a>(case: &'a Case<'a>) -> Verdict<Container<'a>> {
    let container = case.container(Config::new().args(&["sleep", "60"]))?;
    container.up()?;
    Ok(container)
}

fn exec(container: &Container<'_>, options: &[&str], args: &[&str]) -> Verdict<Outcome> {
    let args = [&["exec"], options, &[&container.id], args].concat();
    container.case.call(&container.case.runtime(&args)?)
}

/// CAP_SYS_CHROOT is number 18.
fn exec_adds_a_capability(case: &Case<'_>) -> Verdict {
    let container = up(case)?;
    let sets = |options: &[&str]| -> Verdict<Vec<bool>> {
        let script = [
            "sed",
            "-n",
            "s/^Cap\\(Prm\\|Eff\\|Bnd\\):\\t//p",
            "/proc/self/status",
        ];
        let text = exec(&container, options, &script)?.succeeds()?.text();
        let bits = text
            .lines()
            .map(|line| u64::from_str_radix(line, 16).unwrap_or(0));
        Ok(bits.map(|bits| bits & 1 << 18 != 0).collect())
    };
    ensure_eq!(sets(&[])?, [false; 3], "permitted, effective, bounding");
    let with = sets(&["--cap", "CAP_SYS_CHROOT"])?;
    ensure_eq!(
        with,
        [true; 3],
        "permitted, effective, bounding with the flag"
    );
    let inheritable = ["sed", "-n", "s/^CapInh:\\t//p", "/proc/self/status"];
    let text = exec(&container, &["--cap", "CAP_SYS_CHROOT"], &inheritable)?
        .succeeds()?
        .text();
    ensure!(
        text.chars().all(|c| c == '0'),
        "inheritable are {text} (CVE-2022-29162)"
    );
    Ok(())
}

fn exec_takes_a_user_by_number(case: &Case<'_>) -> Verdict {
    let container = up(case)?;
    let ids = |user: &str| -> Verdict<String> {
        let look = ["sh", "-c", "echo $(id -u) $(id -g)"];
        Ok(exec(&container, &["--user", user], &look)?
            .succeeds()?
            .text())
    };
    ensure_eq!(ids("1000:1000")?, "1000 1000", "ids of 1000:1000");
    ensure_eq!(ids("1:2")?, "1 2", "ids of 1:2");
    for wrong in [":5", "5:", "-1"] {
        exec(&container, &["--user", wrong], &["true"])?.refuses()?;
    }
    Ok(())
}

fn exec_takes_a_process_from_a_file(case: &Case<'_>) -> Verdict {
    let container = up(case)?;
    let process = json!({
        "terminal": false, "user": { "uid": 1000, "gid": 1000, "additionalGids": [7, 8] },
        "args": ["sh", "-c", "echo $(id -u) $(id -G) $WHERE $(pwd); exit 5"], "cwd": "/tmp",
        "env": ["PATH=/bin:/usr/bin", "WHERE=there"]
    });
    let file = case.path("process.json");
    std::fs::write(&file, process.to_string())?;
    let outcome = case.call(&container.command(&["exec", "--process", &file])?)?;
    ensure_eq!(outcome.code(), Some(5), "status");
    ensure_eq!(
        outcome.text(),
        "1000 1000 7 8 there /tmp",
        "what the process sees"
    );
    Ok(())
}

fn exec_writes_the_pid_file_and_passes_descriptors_on(case: &Case<'_>) -> Verdict {
    let container = up(case)?;
    let file = case.path("pid");
    exec(
        &container,
        &["--detach", "--pid-file", &file],
        &["sleep", "61"],
    )?
    .succeeds()?;
    let text = std::fs::read_to_string(&file)?;
    let pid: u32 = text.parse().unwrap_or(0);
    ensure!(
        pid > 1,
        "the pid file holds {text:?}, which is no number alone"
    );
    ensure_eq!(
        case.sh(&format!("cat /proc/{pid}/comm"))?,
        "sleep",
        "program of that pid"
    );
    let words = [
        "exec",
        "--preserve-fds",
        "1",
        &container.id,
        "sh",
        "-c",
        "cat <&3",
    ];
    let passing = case.runtime(&words)?;
    let passing = passing.within(&[
        "sh",
        "-c",
        "echo handed > /run/fd; exec \"$@\" 3< /run/fd",
        "sh",
    ]);
    ensure_eq!(
        case.call(&passing)?.succeeds()?.text(),
        "handed",
        "through descriptor 3"
    );
    Ok(())
}

fn exec_takes_an_apparmor_profile(case: &Case<'_>) -> Verdict {
    let parser = testbed::requires::is_installed("apparmor_parser");
    let enabled = case.holds("grep -q Y /sys/module/apparmor/parameters/enabled")?;
    needs!(parser && enabled, "AppArmor and apparmor_parser");
    let name = case.cgroup_prefix();
    let profile = format!(
        "profile {name} flags=(attach_disconnected) {{\n  file,\n  deny /etc/group r,\n}}\n"
    );
    let file = case.path("profile");
    std::fs::write(&file, profile)?;
    let loaded = case.holds(&format!(
        "mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security; apparmor_parser -r -K {file}"
    ))?;
    needs!(loaded, "an AppArmor that takes profiles");
    let container = up(case)?;
    let script = "cat /proc/self/attr/current; cat /etc/group > /dev/null 2>&1 || echo denied";
    let flag = ["--apparmor", &name];
    let outcome = exec(&container, &flag, &["sh", "-c", script]);
    let plain = exec(&container, &[], &["sh", "-c", script]);
    case.sh(&format!("apparmor_parser -R -K {file}"))?;
    ensure_eq!(
        outcome?.succeeds()?.text(),
        format!("{name} (enforce)\ndenied"),
        "with the profile"
    );
    ensure!(
        !plain?.succeeds()?.text().contains("denied"),
        "denied without the profile"
    );
    Ok(())
}

fn exec_refuses_a_label_that_the_host_cannot_give(case: &Case<'_>) -> Verdict {
    let container = up(case)?;
    let selinux = case.holds("test -e /sys/fs/selinux/enforce")?;
    let apparmor = case.holds("grep -q Y /sys/module/apparmor/parameters/enabled")?;
    needs!(
        !selinux || !apparmor,
        "a host without SELinux or without AppArmor"
    );
    if !selinux {
        exec(&container, &["--process-label", "u:r:t:s0"], &["true"])?.refuses()?;
    }
    if !apparmor {
        exec(&container, &["--apparmor", "some-profile"], &["true"])?.refuses()?;
    }
    exec(&container, &[], &["true"])?.succeeds()?;
    Ok(())
}

fn every_error_of_exec_s_set_up_is_255(case: &Case<'_>) -> Verdict {
    let container = up(case)?;
    let missing = case.path("no.json");
    for (options, args) in [
        (&["--cwd", "relative"][..], &["true"][..]),
        (&["--user", "x"], &["true"]),
        (&["--cgroup", "missing"], &["true"]),
        (&["--process", &missing], &[]),
        (&[], &["/no/such/program"]),
    ] {
        let outcome = exec(&container, options, args)?;
        ensure_eq!(
            outcome.code(),
            Some(255),
            "status of exec {options:?} {args:?}"
        );
    }
    ensure_eq!(
        exec(&container, &[], &["sh", "-c", "exit 3"])?.code(),
        Some(3),
        "a program's own"
    );
    Ok(())
}
