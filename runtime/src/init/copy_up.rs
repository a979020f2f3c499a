//! `tmpcopyup`: a tmpfs that begins with what the directory below it holds.
//!
//! Everything is reached by descriptor and nothing is followed, so that a link in the image
//! leads nowhere: it is copied as a link.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, futimens, mkdirat, mknodat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::procfs::HostProc;

/// How deep directories are followed: a tmpfs is for a little.
const MAX_DEPTH: usize = 64;

/// Copies the contents of directory `source` into the detached mount `target`.
pub fn copy(proc: &HostProc, source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let from = directory(source, c".")?;
    let into = directory(target, c".")?;
    contents(proc, &from, &into, 0).context("tmpcopyup")
}

fn directory(at: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(at, name, flags, Mode::empty()).with_context(|| format!("openat({name:?}, O_DIRECTORY)"))
}

fn contents(proc: &HostProc, from: &OwnedFd, into: &OwnedFd, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        anyhow::bail!("more than {MAX_DEPTH} directories deep");
    }
    let mut listed = nix::dir::Dir::from_fd(directory(from, c".")?)?;
    for entry in listed.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(proc, from, into, name, depth).with_context(|| format!("copy {name:?}"))?;
        }
    }
    Ok(())
}

fn one(proc: &HostProc, from: &OwnedFd, into: &OwnedFd, name: &CStr, depth: usize) -> Result<()> {
    // What is looked at here is what is copied, whatever takes the name meanwhile.
    let place = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let source = openat(from, name, place, Mode::empty())?;
    let stat = fstat(&source)?;
    let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let mut made = None;
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(into, name, mode)?;
            let below = directory(into, name)?;
            contents(proc, &directory(&source, c".")?, &below, depth + 1)?;
            made = Some(below);
        }
        SFlag::S_IFREG => made = Some(file(proc, &source, into, name)?),
        SFlag::S_IFLNK => symlinkat(readlinkat(&source, c"")?.as_os_str(), into, name)?,
        kind => mknodat(into, name, kind, mode, stat.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(into, name, Some(uid), Some(gid), nofollow)?;
    if let Some(made) = made {
        // After the owner, whose change takes set-id bits away.
        fchmod(&made, mode)?;
        keep_times(&made, &stat)?;
    }
    Ok(())
}

/// Copies the regular file that `source` is a place of.
fn file(proc: &HostProc, source: &OwnedFd, into: &OwnedFd, name: &CStr) -> Result<OwnedFd> {
    let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let mut source = File::from(proc.reopen(source, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?);
    let mut target = File::from(openat(into, name, write, Mode::S_IRUSR | Mode::S_IWUSR)?);
    std::io::copy(&mut source, &mut target)?;
    Ok(target.into())
}

fn keep_times(fd: &OwnedFd, stat: &FileStat) -> Result<()> {
    let accessed = TimeSpec::new(stat.st_atime, stat.st_atime_nsec);
    let modified = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
    Ok(futimens(fd, &accessed, &modified)?)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn names_that_are_no_text_and_set_id_bits_are_kept() {
        let (from, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = OsStr::from_bytes(b"\xff\xfe");
        File::create_new(from.path().join(name)).unwrap();
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(from.path().join(name), mode(0o6755)).unwrap();
        std::fs::create_dir(from.path().join("d")).unwrap();
        std::fs::set_permissions(from.path().join("d"), mode(0o1777)).unwrap();
        let open = |dir: &tempfile::TempDir| File::open(dir.path()).unwrap().into();
        copy(&HostProc::open().unwrap(), &open(&from), &open(&into)).unwrap();
        let copied = |name: &OsStr| std::fs::metadata(into.path().join(name)).unwrap();
        assert_eq!(copied(name).permissions().mode() & 0o7777, 0o6755);
        assert_eq!(copied("d".as_ref()).permissions().mode() & 0o7777, 0o1777);
    }
}
