//! Writing the id maps of a new user namespace (user_namespaces(7)).

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::{Pid, getegid};

use super::write_existing;
use crate::plan::IdMaps;
use crate::plan::namespaces::IdRange;

/// Writes the maps of process `pid`: directly, or through newuidmap(1) and newgidmap(1), which
/// may use the ranges that an administrator gave to this user.
pub(super) fn write(pid: Pid, maps: &IdMaps) -> Result<()> {
    let file = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    match write_existing(&file("uid_map"), &IdMaps::text(&maps.uids)) {
        Err(error) if is_denied(&error) => by_helper("newuidmap", pid, &maps.uids)?,
        other => other.context("config.json /linux/uidMappings: write(uid_map)")?,
    }
    match write_existing(&file("gid_map"), &IdMaps::text(&maps.gids)) {
        Err(error) if is_denied(&error) => {
            write_gids_unprivileged(pid, &maps.gids, &file("gid_map"))
        }
        other => other.context("config.json /linux/gidMappings: write(gid_map)"),
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// A map of nothing but one's own group is open to everybody, once setgroups(2) is given up.
fn write_gids_unprivileged(pid: Pid, gids: &[IdRange], file: &Path) -> Result<()> {
    let own_only = matches!(gids, [only] if only.size == 1 && only.outside == getegid().as_raw());
    if !own_only {
        return by_helper("newgidmap", pid, gids);
    }
    let setgroups = format!("/proc/{pid}/setgroups");
    write_existing(Path::new(&setgroups), "deny")
        .with_context(|| format!("write({setgroups:?}, \"deny\")"))?;
    write_existing(file, &IdMaps::text(gids))
        .context("config.json /linux/gidMappings: write(gid_map)")
}

fn by_helper(program: &str, pid: Pid, ranges: &[IdRange]) -> Result<()> {
    let numbers = ranges
        .iter()
        .flat_map(|r| [r.inside, r.outside, r.size])
        .map(|n| n.to_string());
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers)
        .output()
        .with_context(|| format!("{program} (package uidmap), which an unprivileged user needs"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "{program}: {} ({})",
        String::from_utf8_lossy(&output.stderr).trim(),
        output.status
    )
}
