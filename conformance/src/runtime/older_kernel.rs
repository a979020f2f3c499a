//! Kernels and sandboxes that lack newer system calls: each is made unknown by a filter, alone
//! and all together, and an ordinary container must work all the same.

use testbed::{Config, Invocation};

use crate::case::Case;
use crate::container::Container;
use crate::row::{Demand, Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F235,
        each_newer_call_may_be_missing,
        "feature table: runs on kernels 4.18, 5.10 and 6.x: no call that is newer than 4.18 is needed"
    ),
    row!(
        Runtime,
        F235,
        all_newer_calls_may_be_missing,
        "feature table: runs on kernels 4.18, 5.10 and 6.x: no call that is newer than 4.18 is needed"
    ),
    row!(
        Runtime,
        F235,
        exec_needs_no_newer_call,
        "feature table: runs on kernels 4.18, 5.10 and 6.x: no call that is newer than 4.18 is needed"
    ),
    row!(
        Runtime,
        F235,
        without_openat2_no_link_leads_out_of_the_rootfs,
        "CVE-2019-18837, on a kernel without openat2(2): a link in the image must not lead to the host"
    ),
];

/// The calls, those that only come together as one.
const GROUPS: [&str; 9] = [
    "openat2",
    "mount_setattr",
    "open_tree,move_mount,fsopen,fsconfig,fsmount",
    "clone3",
    "close_range",
    "close_range:cloexec",
    "pidfd_open",
    "pidfd_send_signal",
    "faccessat2",
];

fn all() -> String {
    let calls: Vec<_> = testbed::older_kernel::known_calls().collect();
    calls.join(",")
}

/// The command, to which `calls` are unknown.
fn without(calls: &str, command: Invocation) -> Verdict<Invocation> {
    let suite = std::env::current_exe()?;
    let suite = suite.to_string_lossy().into_owned();
    Ok(command.within(&[&suite, crate::WITHOUT_CALLS, calls]))
}

fn ordinary<'a>(case: &'a Case<'_>) -> Verdict<Container<'a>> {
    let source = case.path("source");
    case.sh(&format!(
        "mkdir {source} && echo from-host > {source}/file && mkdir {source}/sub && \
         mount -t tmpfs -o nodev below {source}/sub && touch {source}/sub/deep"
    ))?;
    let config = Config::new()
        .set("/root/readonly", true)
        .push("/linux/maskedPaths", "/proc/version")
        .push("/linux/maskedPaths", "/etc")
        .mount("/data", "bind", &source, &["rbind", "ro", "noexec"])
        .mount("/data/sub/x", "tmpfs", "inner", &["size=1m", "nosuid"])
        .mount("/tmp", "tmpfs", "tmpfs", &["ro"])
        .sh(
            "cat /data/file; touch /data/x /x /tmp/x /proc/sys/kernel/domainname 2>/dev/null; \
             cat /proc/version /etc/* 2>/dev/null | wc -c; ls /data/sub; \
             awk '$5 == \"/data\" || $5 == \"/data/sub/x\" {print $5, $6}' /proc/self/mountinfo | sed s/noatime/relatime/; \
             hostname; echo $$; ls -d /x /tmp/x /data/x 2>/dev/null; true",
        );
    case.container(config)
}

const ANSWER: &str = "from-host 0 deep x /data ro,noexec,relatime \
                      /data/sub/x rw,nosuid,relatime box 1";

fn answer_without(container: &Container<'_>, calls: &str) -> Verdict {
    let command = container.command(&["run", "--bundle", &container.dir()])?;
    let outcome = container.case.call(&without(calls, command)?)?;
    let text = outcome.succeeds()?.text();
    let words: Vec<_> = text.split_whitespace().collect();
    ensure_eq!(words.join(" "), ANSWER, "the container without {calls}");
    Ok(())
}

fn each_newer_call_may_be_missing(case: &Case<'_>) -> Verdict {
    let container = ordinary(case)?;
    GROUPS
        .iter()
        .try_for_each(|calls| answer_without(&container, calls))
}

fn all_newer_calls_may_be_missing(case: &Case<'_>) -> Verdict {
    let container = ordinary(case)?;
    // The filter itself must work, or the row would mean nothing.
    let probe = case.host.command(["unshare", "--mount", "true"]);
    case.call(&without(&all(), probe)?)?.succeeds()?;
    let refused = case.host.command(["true"]);
    case.call(&without("no-such-call", refused)?)?.refuses()?;
    answer_without(&container, &all())?;
    let before = case.snapshot()?;
    for command in [["create", "--bundle"], ["start", ""], ["delete", "--force"]] {
        let dir = container.dir();
        let mut words: Vec<&str> = command
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        if words[0] == "create" {
            words.push(&dir);
        }
        case.call(&without(&all(), container.command(&words)?)?)?
            .succeeds()?;
    }
    case.has_nothing_since(&before)
}

fn exec_needs_no_newer_call(case: &Case<'_>) -> Verdict {
    let container = case.container(Config::new().args(&["sleep", "100"]))?;
    container.up()?;
    let pid = container.pid()?;
    let inside = case.sh(&format!(
        "readlink /proc/{pid}/ns/mnt; readlink /proc/{pid}/ns/net"
    ))?;
    for calls in GROUPS.into_iter().chain(["setns:pidfd", &all()]) {
        let script = "readlink /proc/self/ns/mnt; readlink /proc/self/ns/net";
        let words = ["sh", "-c", script];
        let args = ["exec", container.id.as_str()].into_iter().chain(words);
        let command = case.runtime(&args.collect::<Vec<_>>())?;
        let outcome = case.call(&without(calls, command)?)?.succeeds()?;
        ensure_eq!(outcome.text(), inside, "namespaces of exec without {calls}");
    }
    Ok(())
}

fn without_openat2_no_link_leads_out_of_the_rootfs(case: &Case<'_>) -> Verdict {
    let outside = case.path("outside");
    case.sh(&format!("mkdir {outside}"))?;
    let config = Config::new()
        .mount("/absolute/made", "tmpfs", "first", &[])
        .mount("/up/made", "tmpfs", "second", &[])
        .mount("/chain/made", "tmpfs", "third", &[])
        .args(&["grep", "-c", "made", "/proc/self/mountinfo"]);
    let container = case.container(config)?;
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, container.bundle.in_rootfs(name))
    };
    link(&outside, "absolute")?;
    link("../../../../../../../../../../tmp", "up")?;
    link("absolute/../absolute", "chain")?;
    let command = container.command(&["run", "--bundle", &container.dir()])?;
    // A refusal of such an image is as good.
    let outcome = case.call(&without("openat2", command)?)?;
    let inside = !outcome.success() || outcome.text() == "3";
    ensure!(inside, "mounts that ended in the rootfs:\n{outcome}");
    ensure_eq!(case.sh(&format!("ls {outside}"))?, "", "made on the host");
    ensure!(case.holds("[ ! -e /tmp/made ]")?, "/tmp/made on the host");
    Ok(())
}
