//! `tmpcopyup`: a tmpfs that begins with what the directory below it holds.
//!
//! Everything is reached by descriptor and nothing is followed, so that a link in the image
//! leads nowhere: it is copied as a link.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, futimens, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

/// How deep directories are followed: a tmpfs is for a little.
const MAX_DEPTH: usize = 64;

/// Copies the contents of directory `source` into the detached mount `target`.
pub fn copy(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let from = directory(source, ".")?;
    let into = directory(target, ".")?;
    contents(&from, &into, 0).context("tmpcopyup")
}

fn directory(at: impl AsFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty()).with_context(|| format!("openat({name:?}, O_DIRECTORY)"))
}

fn contents(from: &OwnedFd, into: &OwnedFd, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        anyhow::bail!("more than {MAX_DEPTH} directories deep");
    }
    let mut listed = nix::dir::Dir::from_fd(directory(from, ".")?)?;
    for entry in listed.iter() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            one(from, into, &name, depth).with_context(|| format!("copy {name:?}"))?;
        }
    }
    Ok(())
}

fn one(from: &OwnedFd, into: &OwnedFd, name: &str, depth: usize) -> Result<()> {
    let stat = fstatat(from, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => {
            mkdirat(into, name, mode)?;
            let below = directory(into, name)?;
            contents(&directory(from, name)?, &below, depth + 1)?;
            keep_times(&below, &stat)?;
        }
        SFlag::S_IFREG => keep_times(&file(from, into, name, mode)?, &stat)?,
        SFlag::S_IFLNK => symlinkat(readlinkat(from, name)?.as_os_str(), into, name)?,
        kind => mknodat(into, name, kind, mode, stat.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    Ok(fchownat(
        into,
        name,
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )?)
}

fn file(from: &OwnedFd, into: &OwnedFd, name: &str, mode: Mode) -> Result<OwnedFd> {
    let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mut source = File::from(openat(from, name, read, Mode::empty())?);
    let mut target = File::from(openat(into, name, write, mode)?);
    std::io::copy(&mut source, &mut target)?;
    Ok(target.into())
}

fn keep_times(fd: &OwnedFd, stat: &FileStat) -> Result<()> {
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    Ok(futimens(fd, &accessed, &modified)?)
}
