//! Vulnerabilities that runtimes once had, and that were races: an attacker changes what a
//! container is made of while it is made.
//!
//! What the attacker wins is always a decoy of the row's own: a directory beside the bundle stands
//! for the host. Which row answers for which published vulnerability is in [`crate::vulnerability`].

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use testbed::{Config, Console};

use super::attack::{Try, race};
use crate::case::Case;
use crate::container::Container;
use crate::row::{Row, Verdict, ensure, ensure_eq, row};

pub(crate) const ROWS: &[Row] = &[
    row!(
        Runtime,
        F147,
        a_swapped_destination_leads_no_mount_to_the_host,
        "CVE-2021-30465: a destination is looked up once, and mounted on what was found"
    ),
    row!(
        Runtime,
        F149,
        a_swapped_destination_makes_nothing_on_the_host,
        "CVE-2024-45310: a mount point is made below what was found, whatever has its name now"
    ),
    row!(
        Runtime,
        F148,
        a_swapped_proc_is_mounted_nowhere_else,
        "CVE-2019-19921, CVE-2023-27561: /proc must be mounted on an ordinary directory, also if it was a link a moment ago"
    ),
    row!(
        Runtime,
        F228,
        a_swapped_device_null_unmasks_nothing,
        "CVE-2025-31133: what is put over a masked path is the null device, checked, and no file of the container"
    ),
    row!(
        Runtime,
        F166,
        a_swapped_terminal_unmasks_nothing,
        "CVE-2025-52565: /dev/console is the terminal that was opened, not what is found at its path"
    ),
    row!(
        Runtime,
        F229,
        a_swapped_destination_redirects_no_sysctl,
        "CVE-2025-52881: a kernel parameter is written to a procfs that no mount of the container can cover"
    ),
    row!(
        Runtime,
        F144,
        a_swapped_read_only_path_stays_read_only,
        "GHSA-3q8j-pf29-vwv8: what becomes read-only is what was found, not what has its name afterwards"
    ),
];

/// A directory that several containers share, as the host names it.
fn volume(case: &Case<'_>) -> Verdict<PathBuf> {
    let volume = case.dir().join("volume");
    std::fs::create_dir(&volume)?;
    Ok(volume)
}

/// One foreground run whose bundle is there already, not recorded: there are thousands.
fn run(container: &Container<'_>) -> Verdict<testbed::Outcome> {
    Ok(container
        .command(&["run", "--bundle", &container.dir()])?
        // The attacker takes a processor, and the directory's lock, as often as he can.
        .deadline(Duration::from_secs(60))
        .run()?)
}

/// Removes what a try has made below a directory that is still open, whatever it is called now.
fn clear(directory: &File) -> Verdict {
    let inside = format!("/proc/self/fd/{}", directory.as_raw_fd());
    for entry in std::fs::read_dir(inside)? {
        let path = entry?.path();
        match path.is_dir() {
            true => std::fs::remove_dir_all(path)?,
            false => std::fs::remove_file(path)?,
        }
    }
    Ok(())
}

fn is_empty(directory: &Path) -> Verdict<bool> {
    Ok(std::fs::read_dir(directory)?.next().is_none())
}

fn text(path: &Path) -> Verdict<&str> {
    let text = path.to_str();
    text.ok_or_else(|| crate::row::Failure(format!("{path:?} is no text")))
}

/// A volume in which `place` is a directory and `link` a symbolic link to a directory of the host,
/// which is returned, too.
fn volume_with_a_link_out(case: &Case<'_>) -> Verdict<(PathBuf, PathBuf)> {
    let (volume, outside) = (volume(case)?, case.dir().join("outside"));
    std::fs::create_dir(volume.join("place"))?;
    std::fs::create_dir(&outside)?;
    symlink(&outside, volume.join("link"))?;
    Ok((volume, outside))
}

fn a_swapped_destination_leads_no_mount_to_the_host(case: &Case<'_>) -> Verdict {
    let (volume, _) = volume_with_a_link_out(case)?;
    let config = Config::new()
        .mount("/volume", "bind", text(&volume)?, &["bind"])
        .mount("/volume/place", "tmpfs", "sentinel", &[])
        .args(&["cat", "/proc/self/mountinfo"]);
    let container = case.container(config)?;
    race(&volume, ["place", "link"], |_| {
        let outcome = run(&container)?;
        // What was mounted on the host's side of pivot_root is not in the container's list.
        ensure!(
            !outcome.success() || outcome.text().contains(" - tmpfs sentinel "),
            "the mount is not in the container:\n{outcome}"
        );
        Try::of(&outcome)
    })
}

fn a_swapped_destination_makes_nothing_on_the_host(case: &Case<'_>) -> Verdict {
    let (volume, outside) = volume_with_a_link_out(case)?;
    let place = File::open(volume.join("place"))?;
    let source = case.path("file");
    std::fs::write(&source, "x")?;
    let config = Config::new()
        .mount("/volume", "bind", text(&volume)?, &["bind"])
        .mount("/volume/place/made/for/it", "bind", &source, &["bind"])
        .args(&["true"]);
    let container = case.container(config)?;
    race(&volume, ["place", "link"], |_| {
        let outcome = run(&container)?;
        ensure!(is_empty(&outside)?, "made on the host by\n{outcome}");
        clear(&place)?;
        Try::of(&outcome)
    })
}

fn a_swapped_proc_is_mounted_nowhere_else(case: &Case<'_>) -> Verdict {
    let config = Config::new()
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]))
        .sh("[ ! -e /decoy/version ] || echo procfs is on /decoy");
    let container = case.container(config)?;
    let root = container.bundle.in_rootfs("/");
    std::fs::create_dir(root.join("decoy"))?;
    symlink("/decoy", root.join("link"))?;
    race(&root, ["proc", "link"], |_| {
        let outcome = run(&container)?;
        ensure_eq!(outcome.text(), "", "what the container found");
        Try::of(&outcome)
    })
}

/// Without the mounts on `prefix` and below.
pub(super) fn without(prefix: &str) -> Config {
    Config::new().retain("/mounts", |mount| {
        let path = mount["destination"].as_str().unwrap_or_default();
        !path.starts_with(prefix)
    })
}

/// Without the mounts on `/dev` and below but those named: the volume takes their place.
pub(super) fn with_dev(volume: &Path, kept: &[&str]) -> Verdict<Config> {
    let config = without("/dev").mount("/dev", "bind", text(volume)?, &["bind"]);
    let usual = Config::new();
    let mounts = usual.value()["mounts"].as_array().into_iter().flatten();
    let below = mounts.filter(|mount| kept.iter().any(|kept| mount["destination"] == *kept));
    Ok(below.fold(config, |config, mount| {
        config.push("/mounts", mount.clone())
    }))
}

fn a_swapped_device_null_unmasks_nothing(case: &Case<'_>) -> Verdict {
    let volume = volume(case)?;
    case.sh(&format!("mknod -m 666 {}/null c 1 3", volume.display()))?;
    symlink("/exposed", volume.join("link"))?;
    let config = with_dev(&volume, &[])?
        .set("/linux/maskedPaths", json!(["/secret"]))
        .sh("cat /secret; echo through the mask >/secret; :");
    let container = case.container(config)?;
    std::fs::write(container.bundle.in_rootfs("/secret"), "secret")?;
    std::fs::write(container.bundle.in_rootfs("/exposed"), "exposed")?;
    race(&volume, ["null", "link"], |_| {
        let outcome = run(&container)?;
        ensure_eq!(outcome.text(), "", "what the container read of /secret");
        ensure_eq!(
            container.left("/exposed")?,
            "exposed",
            "what the link names"
        );
        ensure_eq!(container.left("/secret")?, "secret", "what is masked");
        Try::of(&outcome)
    })
}

/// A container whose `/dev/pts` turns into a directory of files of the image and back.
fn a_swapped_terminal_unmasks_nothing(case: &Case<'_>) -> Verdict {
    let volume = volume(case)?;
    std::fs::create_dir(volume.join("pts"))?;
    symlink("/pretended", volume.join("link"))?;
    symlink("pts/ptmx", volume.join("ptmx"))?;
    std::fs::write(volume.join("console"), "")?;
    case.sh(&format!("mknod -m 666 {}/null c 1 3", volume.display()))?;
    let config = with_dev(&volume, &["/dev/pts"])?
        .set("/process/terminal", true)
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    let pretended = container.bundle.in_rootfs("/pretended");
    std::fs::create_dir(&pretended)?;
    for number in 0..9 {
        std::fs::write(pretended.join(number.to_string()), "secret")?;
    }
    let console = Console::listen(&case.dir().join("console.sock"))?;
    race(&volume, ["pts", "link"], |_| {
        let outcome = with_a_terminal(&container, &console)?;
        let ended = Try::of(&outcome)?;
        if ended == Try::Made {
            let pid = container.case.read("pid")?;
            // A terminal that nobody reads would be waited for.
            let look = format!("cd /proc/{pid}/root/dev; [ ! -f console ] || cat console");
            let seen = case.host.command(["sh", "-c", &look]).run()?.text();
            ensure_eq!(seen, "", "what /dev/console shows");
        }
        container.command(&["delete", "--force"])?.run()?;
        Ok(ended)
    })
}

/// Creates it with its terminal, which is received and closed.
fn with_a_terminal(container: &Container<'_>, console: &Console) -> Verdict<testbed::Outcome> {
    let (directory, socket) = (container.dir(), container.case.path("console.sock"));
    let pid_file = container.case.path("pid");
    let options = [
        "create",
        "--bundle",
        &directory,
        "--console-socket",
        &socket,
        "--pid-file",
        &pid_file,
    ];
    let create = container.command(&options)?.spawn()?;
    std::thread::scope(|scope| {
        // It does not come where the runtime refuses.
        let received = scope.spawn(|| console.receive(Duration::from_millis(300)));
        let outcome = create.wait();
        drop(received.join());
        Ok(outcome?)
    })
}

fn a_swapped_destination_redirects_no_sysctl(case: &Case<'_>) -> Verdict {
    let (volume, fake) = (volume(case)?, case.dir().join("fake"));
    std::fs::create_dir(volume.join("place"))?;
    symlink("/proc/sys/net/ipv4", volume.join("link"))?;
    std::fs::create_dir(&fake)?;
    std::fs::write(fake.join("ip_forward"), "0")?;
    let config = Config::new()
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }))
        .mount("/volume", "bind", text(&volume)?, &["bind"])
        .mount("/volume/place", "bind", text(&fake)?, &["bind"])
        .args(&["true"]);
    let container = case.container(config)?;
    race(&volume, ["place", "link"], |_| {
        let outcome = run(&container)?;
        let file = std::fs::read_to_string(fake.join("ip_forward"))?;
        ensure_eq!(file, "0", "the file of the mount, written by\n{outcome}");
        Try::of(&outcome)
    })
}

/// Two directories called `kept` in turn, of which one is found: that one must be read-only, and
/// show its own file.
fn a_swapped_read_only_path_stays_read_only(case: &Case<'_>) -> Verdict {
    let volume = volume(case)?;
    for (name, file) in [("kept/below", "one"), ("other/below", "two")] {
        std::fs::create_dir_all(volume.join(name))?;
        std::fs::write(volume.join(name).join(file), "x")?;
    }
    let config = Config::new()
        .mount("/volume", "bind", text(&volume)?, &["bind"])
        .set("/linux/readonlyPaths", json!(["/volume/kept/below"]))
        .args(&["sleep", "60"]);
    let container = case.container(config)?;
    let options = [
        "create",
        "--bundle",
        &container.dir(),
        "--pid-file",
        &case.path("pid"),
    ];
    let create = container.command(&options)?;
    race(&volume, ["kept", "other"], |swapper| {
        let outcome = create.run()?;
        let ended = Try::of(&outcome)?;
        if ended == Try::Made {
            // As the container sees it, when both have their own names again.
            let look = format!(
                "cd /proc/{}/root/volume; ls kept/below other/below; \
                 for name in kept other; do \
                 touch $name/below/new 2>/dev/null || echo read-only; done; \
                 rm -f kept/below/new other/below/new 2>/dev/null; :",
                case.read("pid")?
            );
            let look = case.host.command(["sh", "-c", &look]);
            let seen = swapper.at_rest(|| look.run())?.text();
            let words: Vec<_> = seen.split_whitespace().collect();
            let wanted = ["kept/below:", "one", "other/below:", "two", "read-only"];
            ensure_eq!(words, wanted, "the two directories after\n{outcome}");
        }
        container.command(&["delete", "--force"])?.run()?;
        Ok(ended)
    })
}
