//! The flags of `checkpoint` and `restore`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Command};

use super::{flag, given_path, given_text, id, path, text};
use crate::criu::Common;
use crate::criu::rpc::{CgroupMode, Flag, NetworkLock};
use crate::launch::restore::Checkpoint;
use crate::operations::checkpoint::{Extent, Request};

/// Flags that both have, and what they switch on.
const SHARED: [(&str, Flag, &str); 6] = [
    (
        "tcp-established",
        Flag::TcpEstablished,
        "established TCP connections too",
    ),
    (
        "ext-unix-sk",
        Flag::ExternalUnixSockets,
        "unix sockets with an end outside too",
    ),
    (
        "shell-job",
        Flag::ShellJob,
        "with the caller's session and terminal",
    ),
    ("file-locks", Flag::FileLocks, "file locks too"),
    (
        "auto-dedup",
        Flag::AutoDedup,
        "drop pages that a newer image holds",
    ),
    (
        "lazy-pages",
        Flag::LazyPages,
        "memory on demand (userfaultfd)",
    ),
];

const OF_CHECKPOINT: [(&str, Flag, &str); 2] = [
    ("link-remap", Flag::LinkRemap, "give unlinked files a name"),
    (
        "tcp-skip-in-flight",
        Flag::TcpSkipInFlight,
        "leave out connections that are being made",
    ),
];

const OF_RESTORE: [(&str, Flag, &str); 1] =
    [("tcp-close", Flag::TcpClose, "close TCP connections")];

/// `checkpoint`.
pub(super) fn checkpoint() -> Command {
    let command = Command::new("checkpoint").about("write a running container to images (CRIU)");
    shared(command, &OF_CHECKPOINT)
        .arg(path(
            "parent-path",
            "images of a pre-dump, seen from --image-path",
        ))
        .arg(flag("leave-running", "do not end it"))
        .arg(flag("pre-dump", "write its memory only, and do not end it"))
        .arg(text(
            "page-server",
            "ADDRESS:PORT of `criu page-server`, which takes the memory",
        ))
        .arg(
            text(
                "status-fd",
                "descriptor that gets a zero byte when pages can be asked for",
            )
            .value_name("FD"),
        )
}

/// `restore`, but for what it has in common with `run`.
pub(super) fn restore() -> Command {
    let command = Command::new("restore").about("run a container from images (CRIU)");
    shared(command, &OF_RESTORE)
        .arg(path("bundle", "directory of the bundle (default: here)").short('b'))
        .arg(path(
            "console-socket",
            "unix socket that takes the terminal's master",
        ))
        .arg(path("pid-file", "file for init's pid"))
        .arg(flag("detach", "do not wait for its program").short('d'))
        .arg(flag("no-subreaper", "do not adopt its orphans"))
        .arg(flag("no-pivot", "accepted; CRIU makes the root as it was"))
        .arg(text(
            "lsm-profile",
            "apparmor:PROFILE or selinux:LABEL instead of the images'",
        ))
        .arg(text(
            "lsm-mount-context",
            "SELinux context of the mounts instead of the images'",
        ))
}

fn shared(command: Command, own: &[(&'static str, Flag, &'static str)]) -> Command {
    let modes = PossibleValuesParser::new(["soft", "full", "strict", "ignore"]);
    let locks = PossibleValuesParser::new(["iptables", "nftables", "skip"]);
    let command = command
        .arg(id())
        .arg(path(
            "image-path",
            "directory of the images (default: ./checkpoint)",
        ))
        .arg(path(
            "work-path",
            "directory of the log (default: that of the images)",
        ))
        .arg(text("manage-cgroups-mode", "soft, full, strict or ignore").value_parser(modes))
        .arg(
            text("empty-ns", "leave out what is in a namespace: network")
                .value_parser(PossibleValuesParser::new(["network"])),
        )
        .arg(text("network-lock", "iptables, nftables or skip").value_parser(locks));
    SHARED
        .iter()
        .chain(own)
        .fold(command, |command, &(name, _, help)| {
            command.arg(flag(name, help))
        })
}

/// What was given for a checkpoint.
pub(super) fn request(given: &ArgMatches) -> Result<Request> {
    let extent = match (given.get_flag("pre-dump"), given.get_flag("leave-running")) {
        (true, _) => Extent::Memory,
        (false, true) => Extent::AllAndRun,
        (false, false) => Extent::All,
    };
    let server = given_text(given, "page-server").map(|server| address(&server));
    let status = given_text(given, "status-fd").map(|number| descriptor(&number));
    Ok(Request {
        common: common(given, &OF_CHECKPOINT),
        parent: given_path(given, "parent-path").filter(|path| !path.as_os_str().is_empty()),
        page_server: server.transpose()?,
        status: status.transpose()?.flatten(),
        extent,
    })
}

/// What was given for a restore.
pub(super) fn images(given: &ArgMatches) -> Checkpoint {
    let some = |name| given_text(given, name).filter(|text| !text.is_empty());
    Checkpoint {
        common: common(given, &OF_RESTORE),
        lsm_profile: some("lsm-profile"),
        lsm_mount_context: some("lsm-mount-context"),
    }
}

fn common(given: &ArgMatches, own: &[(&str, Flag, &str)]) -> Common {
    let mode = match given_text(given, "manage-cgroups-mode").as_deref() {
        Some("soft") => Some(CgroupMode::Soft),
        Some("full") => Some(CgroupMode::Full),
        Some("strict") => Some(CgroupMode::Strict),
        Some("ignore") => Some(CgroupMode::Ignore),
        _ => None,
    };
    let lock = match given_text(given, "network-lock").as_deref() {
        Some("iptables") => Some(NetworkLock::Iptables),
        Some("nftables") => Some(NetworkLock::Nftables),
        Some("skip") => Some(NetworkLock::Skip),
        _ => None,
    };
    let flags = SHARED.iter().chain(own);
    let some = |name| given_path(given, name).filter(|path: &PathBuf| !path.as_os_str().is_empty());
    Common {
        images: some("image-path").unwrap_or_else(|| "./checkpoint".into()),
        work: some("work-path"),
        cgroups: mode,
        empty_network: given_text(given, "empty-ns").is_some(),
        network_lock: lock,
        flags: flags
            .filter(|(name, ..)| given.get_flag(name))
            .map(|&(_, flag, _)| flag)
            .collect(),
    }
}

/// `ADDRESS:PORT`; an IPv6 address may stand in brackets.
fn address(text: &str) -> Result<(String, u16)> {
    let context = || format!("--page-server {text:?}: use --page-server ADDRESS:PORT");
    let (host, port) = text.rsplit_once(':').with_context(context)?;
    let port = port.parse().with_context(context)?;
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = inner.unwrap_or(host);
    if host.is_empty() || port == 0 {
        bail!(context());
    }
    Ok((host.to_owned(), port))
}

/// A descriptor of the caller; -1, as go-runc may write, is none.
fn descriptor(text: &str) -> Result<Option<i32>> {
    match text.parse() {
        Ok(-1) => Ok(None),
        Ok(number @ 3..) => Ok(Some(number)),
        _ => bail!("--status-fd {text:?} is no descriptor from 3 on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_page_server() {
        assert_eq!(address("10.0.0.1:27").unwrap(), ("10.0.0.1".into(), 27));
        assert_eq!(address("[::1]:27").unwrap(), ("::1".into(), 27));
        for wrong in ["10.0.0.1", ":27", "h:0", "h:x"] {
            let error = format!("{:#}", address(wrong).unwrap_err());
            assert!(error.contains("ADDRESS:PORT"), "{error}");
        }
    }

    #[test]
    fn a_status_descriptor_is_the_caller_s() {
        assert_eq!(descriptor("-1").unwrap(), None);
        assert_eq!(descriptor("5").unwrap(), Some(5));
        assert!(descriptor("1").is_err());
    }
}
