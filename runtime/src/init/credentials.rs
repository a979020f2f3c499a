//! Becoming the container's user: limits, groups, ids, capabilities, system call filter.
//!
//! Shared by init and by `exec`.

use std::ffi::{CStr, CString};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::{Pid, chdir};
use sys::credentials::{CapSet, ProcessCaps};
use sys::seccomp::Listener;

use super::{Stdio, console};
use crate::fault::{Code, Fault};
use crate::notify_listener;
use crate::plan::IdMaps;
use crate::plan::process::{Capabilities, Process, Rlimit};
use crate::seccomp::Program;
use crate::sync::Channel;

/// Number of `CAP_SYS_ADMIN`, which loading a filter needs.
const CAP_SYS_ADMIN: u32 = 21;

/// Takes the ids of the container's root in a user namespace whose maps were just written.
pub fn become_root_of(maps: &IdMaps, keep_groups: bool) -> Result<()> {
    if !keep_groups {
        match sys::credentials::set_groups(&[]) {
            // A single-id map is only allowed with setgroups(2) switched off (user_namespaces(7)).
            Err(error) if error.errno() == Errno::EPERM => {}
            other => other?,
        }
    }
    if IdMaps::outside(&maps.gids, 0).is_some() {
        sys::credentials::set_gid(0)?;
    }
    if IdMaps::outside(&maps.uids, 0).is_some() {
        sys::credentials::set_uid(0)?;
    }
    Ok(())
}

/// Joins the container's session keyring, so that the container neither sees the caller's keys
/// nor shares them with another container; the container's own user may search it.
pub fn join_keyring(name: &CStr, in_user_namespace: bool) -> Result<()> {
    let search = if in_user_namespace { 0x8 } else { 0x8_0000 };
    sys::credentials::join_session_keyring(name, search)
        .context("join the session keyring (--no-new-keyring goes without)")
}

/// The name of the session keyring of the container `id`.
pub fn keyring_name(id: &str) -> Result<CString> {
    CString::new(format!("_ses.{id}")).context("keyring name")
}

/// Limits that count what this process has before the program is executed.
const OF_MEMORY: [&str; 2] = ["RLIMIT_AS", "RLIMIT_DATA"];
/// What the heap keeps for later when such a limit is set: below the size from which on an
/// allocator gives a block back to the kernel.
const RESERVE: usize = 192 * 1024;

/// Sets the resource limits; those that only the runtime may raise are set by `ask`.
pub fn set_limits(
    limits: &[Rlimit],
    in_user_namespace: bool,
    ask: impl FnOnce() -> Result<()>,
) -> Result<()> {
    if limits
        .iter()
        .any(|limit| OF_MEMORY.contains(&limit.name.as_str()))
    {
        // The way from here to execve, or to the words for what went wrong, needs some.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(RESERVE)));
    }
    for limit in limits {
        match set_limit(Pid::from_raw(0), limit) {
            Err(error) if in_user_namespace && error.errno() == Errno::EPERM => return ask(),
            other => other.with_context(|| format!("error setting rlimits: {}", limit.name))?,
        }
    }
    Ok(())
}

/// Sets one limit of `pid` (0 is the caller).
pub fn set_limit(pid: Pid, limit: &Rlimit) -> sys::Result<()> {
    sys::process::prlimit(pid, limit.resource, limit.soft, limit.hard)
}

/// The container's user, but for what only the last moment before execve allows.
#[derive(Debug)]
#[must_use = "capabilities and filter are not final until assume()"]
pub struct Prepared<'a> {
    capabilities: Capabilities,
    no_new_privileges: bool,
    filter: Option<&'a Program>,
}

/// Changes to the user and into the working directory of `process`.
pub fn prepare<'a>(
    process: &Process,
    stdio: Stdio,
    filter: Option<&'a Program>,
) -> Result<Prepared<'a>> {
    let capabilities = process.capabilities.unwrap_or_default();
    let arrived = change_directory(process);
    sys::credentials::limit_bounding_set(capabilities.bounding)?;
    sys::credentials::keep_capabilities(true)?;
    if stdio == Stdio::Given {
        console::give_stdio(process.uid)?;
    }
    change_ids(process)?;
    sys::credentials::keep_capabilities(false)?;
    // A directory that only the user may enter, as a home on a rootless engine's disk.
    arrived.or_else(|_| change_directory(process))?;
    check_inside(process)?;
    if process.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS)")?;
    }
    let no_new_privileges = process.no_new_privileges;
    let mut prepared = Prepared {
        capabilities,
        no_new_privileges,
        filter,
    };
    prepared.restrict()?;
    Ok(prepared)
}

fn change_directory(process: &Process) -> Result<()> {
    chdir(&process.cwd)
        .with_context(|| format!("chdir to cwd ({:?}) set in config.json failed", process.cwd))
}

/// A working directory such as `/proc/self/fd/7` leads out of the container (CVE-2024-21626):
/// then getcwd(2) has no path for it below the root.
fn check_inside(process: &Process) -> Result<()> {
    match nix::unistd::getcwd() {
        Ok(path) if path.is_absolute() => Ok(()),
        Ok(_) | Err(Errno::ENOENT) => bail!(
            "current working directory {:?} is outside of container mount namespace root -- possible \
             container breakout detected",
            process.cwd
        ),
        Err(errno) => Err(errno).context("getcwd()"),
    }
}

fn change_ids(process: &Process) -> Result<()> {
    if !process.keep_groups {
        change_groups(&process.additional_gids)?;
    }
    let unmapped = |what: &str, id: u32, call: &str| {
        let text = format!("cannot {call} to unmapped {what} {id} in user namespace");
        Fault::new(Code::UserUnmapped, text)
    };
    explain_einval(sys::credentials::set_gid(process.gid), || {
        unmapped("gid", process.gid, "setgid")
    })?;
    explain_einval(sys::credentials::set_uid(process.uid), || {
        unmapped("uid", process.uid, "setuid")
    })
}

fn change_groups(gids: &[u32]) -> Result<()> {
    match sys::credentials::set_groups(gids) {
        // setgroups(2) is switched off in a namespace that an ordinary user made; as runc does,
        // nobody gets more groups there.
        Err(error) if error.errno() == Errno::EPERM && (gids.is_empty() || are_denied()) => Ok(()),
        other => other.context("set the additional groups"),
    }
}

fn are_denied() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"))
}

fn explain_einval(result: sys::Result<()>, fault: impl FnOnce() -> Fault) -> Result<()> {
    match result {
        Err(error) if error.errno() == Errno::EINVAL => Err(error).context(fault()),
        other => Ok(other?),
    }
}

impl Prepared<'_> {
    /// The sets to wait with: the final ones, and what loading a filter will need. Loading is
    /// the very last act, so that a profile has to allow nothing but capset and execve.
    fn loading_caps(&self) -> ProcessCaps {
        let sets = self.capabilities.sets;
        if self.no_new_privileges || self.filter.is_none() {
            return sets;
        }
        let with_admin = |set: CapSet| CapSet(set.0 | 1 << CAP_SYS_ADMIN);
        ProcessCaps {
            effective: with_admin(sets.effective),
            permitted: with_admin(sets.permitted),
            ..sets
        }
    }

    fn restrict(&mut self) -> Result<()> {
        match sys::credentials::capset(self.loading_caps()) {
            // A runtime in a container may lack what is asked for here. Nobody can grant more
            // than they have; the runtime has said so.
            Err(error) if error.errno() == Errno::EPERM => {
                let held = sys::credentials::capget()?.permitted;
                self.capabilities = self.capabilities.within(held);
                let mut loading = self.loading_caps();
                loading.effective.0 &= held.0;
                loading.permitted.0 &= held.0;
                sys::credentials::capset(loading)
            }
            other => other,
        }
        .context("apply caps")?;
        sys::credentials::clear_ambient()?;
        for number in self.capabilities.ambient.numbers() {
            sys::credentials::raise_ambient(number)
                .with_context(|| format!("raise ambient capability {}", name(number)))?;
        }
        Ok(())
    }

    /// Loads the filter and takes the final capabilities. Only execve follows.
    pub fn assume(self, channel: &Channel) -> Result<()> {
        let Some(filter) = self.filter else {
            return Ok(());
        };
        let property = "config.json /linux/seccomp";
        if filter.notify {
            notify_listener::load(filter, channel).context(property)?;
        } else {
            sys::seccomp::load(&filter.filters, filter.flags, Listener::None).context(property)?;
        }
        if !self.no_new_privileges {
            sys::credentials::capset(self.capabilities.sets).context("apply caps")?;
        }
        Ok(())
    }
}

fn name(number: u32) -> &'static str {
    crate::plan::process::CAPABILITIES
        .get(number as usize)
        .copied()
        .unwrap_or("?")
}
