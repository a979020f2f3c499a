//! Writing the id maps of a new user namespace (user_namespaces(7)).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getegid};
use sys::Errno;
use sys::mount::{MountAttr, attr};
use sys::process::{CloneArgs, Cloned, clone3, setns_raw};

use super::write_existing;
use crate::plan::id_map::IdMapping;
use crate::plan::namespaces::IdRange;
use crate::plan::{IdMaps, Kind};
use crate::sync::{Channel, FromInit};

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

/// Refuses `listed` mappings that the user namespace to be joined does not have; none listed is
/// none wrong. The maps are read of a child that has joined it: a namespace alone shows none.
pub(super) fn check(namespace: &OwnedFd, listed: &IdMaps) -> Result<()> {
    if listed.uids.is_empty() && listed.gids.is_empty() {
        return Ok(());
    }
    let (ours, theirs) = Channel::pair()?;
    let Cloned::Parent { pid, .. } = clone3(CloneArgs::default())? else {
        drop(ours);
        if setns_raw(namespace, Kind::User.clone_flag()).is_ok() {
            let _ = theirs.tell(&FromInit::Created);
            // Until the runtime is done, or gone.
            let _ = theirs.listen();
        }
        sys::process::exit_now(0)
    };
    drop(theirs);
    let joined = ours.hear();
    let map = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
    let maps = map("uid_map").and_then(|uids| Ok((uids, map("gid_map")?)));
    drop(ours);
    waitpid(pid, None).context("wait for the reader of the joined user namespace")?;
    let (Ok(Some(_)), Ok((uids, gids))) = (joined, maps) else {
        bail!("config.json /linux/namespaces: this user may not join the user namespace");
    };
    if IdMaps::is_same(&uids, &listed.uids) && IdMaps::is_same(&gids, &listed.gids) {
        return Ok(());
    }
    Err(IdMaps::mismatch().into())
}

/// User namespaces that exist for the sake of their maps.
#[derive(Debug, Default)]
pub struct IdNamespaces {
    made: Vec<(IdMaps, OwnedFd)>,
}

impl IdNamespaces {
    /// Lets the detached mount `tree` show its files' ids as `mapping` says, for a container
    /// whose init is `init`.
    pub fn map(&mut self, tree: &OwnedFd, mapping: &IdMapping, init: Pid) -> Result<()> {
        let own;
        let namespace = match &mapping.maps {
            None => {
                let path = format!("/proc/{init}/ns/user");
                own = File::open(&path)
                    .with_context(|| format!("open({path:?})"))?
                    .into();
                &own
            }
            Some(maps) => self.with(maps)?,
        };
        let attr = MountAttr {
            set: attr::IDMAP,
            userns_fd: namespace.as_raw_fd() as u64,
            ..MountAttr::default()
        };
        sys::mount::mount_setattr(tree, attr, mapping.reach).map_err(|error| {
            let hint = match error.errno() {
                Errno::EPERM => {
                    "id-mapped mounts need root over the file system (they are not supported for \
                     rootless containers), and one that is not mapped yet"
                }
                Errno::EINVAL => "id-mapped mounts are not known to this file system",
                _ => "id-mapped mounts need mount_setattr(2), Linux 5.12",
            };
            anyhow::Error::from(error).context(hint)
        })
    }

    fn with(&mut self, maps: &IdMaps) -> Result<&OwnedFd> {
        let known = self.made.iter().position(|(made, _)| made == maps);
        let place = match known {
            Some(place) => place,
            None => {
                self.made.push((maps.clone(), namespace(maps)?));
                self.made.len() - 1
            }
        };
        Ok(&self.made[place].1)
    }
}

/// Makes a user namespace with `maps`: a process is born into it and ends again.
fn namespace(maps: &IdMaps) -> Result<OwnedFd> {
    let (ours, theirs) = Channel::pair()?;
    let args = CloneArgs {
        flags: Kind::User.clone_flag(),
        cgroup: None,
    };
    let Cloned::Parent { pid, .. } = clone3(args).context("make a user namespace")? else {
        drop(ours);
        // Until the runtime is done, or gone.
        let _ = theirs.listen();
        sys::process::exit_now(0)
    };
    let path = format!("/proc/{pid}/ns/user");
    let open = || File::open(&path).with_context(|| format!("open({path:?})"));
    let opened = write(pid, maps).and_then(|()| open());
    drop((ours, theirs));
    waitpid(pid, None).context("wait for the maker of a user namespace")?;
    Ok(opened?.into())
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
