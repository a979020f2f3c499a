//! Files of kernel file systems (cgroupfs, procfs) below an open directory: a write is one
//! write(2), because the kernel reads each as one command, and nothing is ever created.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use crate::dir::{Dir, retry};
use crate::error::{Result, SyscallError, SyscallResult};

/// Reads the file at `path`, which is the kernel's: its size is not known, and most are small.
pub fn read(path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let file = File::from(retry(|| {
        openat(AT_FDCWD, path.as_ref(), flags, Mode::empty())
    })?);
    let mut contents = Vec::with_capacity(FIRST);
    // Without a limit the library would ask for a size that the kernel does not know.
    file.take(u64::MAX).read_to_end(&mut contents)?;
    Ok(contents)
}

/// The same, of text; whatever is none is shown as such.
pub fn read_text(path: impl AsRef<Path>) -> std::io::Result<String> {
    read(path).map(|text| match String::from_utf8(text) {
        Ok(text) => text,
        Err(other) => String::from_utf8_lossy(other.as_bytes()).into_owned(),
    })
}

/// What a first read(2) asks for: a list of mounts in one piece.
const FIRST: usize = 8192;

/// Opens the existing file `name` for writing; `EINVAL` for a name that is not one component.
pub fn open_for_writing(dir: &Dir, name: impl AsRef<OsStr>) -> Result<OwnedFd> {
    let name = name.as_ref();
    let call = || format!("openat({:?}, O_WRONLY)", dir.path().join(name));
    if name.as_encoded_bytes().contains(&b'/') {
        return Err(SyscallError::new(call(), Errno::EINVAL));
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
    openat(dir, name, flags, Mode::empty()).call(call)
}

/// Opens the existing file at an absolute path of which no component is a symbolic link, for writing:
/// one lookup for what [`Dir::open_without_links`] and [`open_for_writing`] take two for.
pub fn open_for_writing_at(directory: &Path, name: &str) -> Result<OwnedFd> {
    let path = directory.join(name);
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.has_root() || !path.components().all(is_plain) {
        let call = format!("openat2({path:?}, O_WRONLY)");
        return Err(SyscallError::new(call, Errno::EINVAL));
    }
    let how = OpenHow::new()
        .flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, &path, how) {
        Ok(fd) => Ok(fd),
        // Also where the call is missing, or refused as a whole: an error names the step that failed.
        Err(_) => open_for_writing(&Dir::open_without_links(directory)?, name),
    }
}

/// Writes `value` to the existing file `name` in one call.
pub fn write(dir: &Dir, name: impl AsRef<OsStr>, value: &str) -> Result<()> {
    let name = name.as_ref();
    let mut file = File::from(open_for_writing(dir, name)?);
    write_again(&mut file, value, || {
        dir.path().join(name).display().to_string()
    })
}

/// Writes `values` to the existing file `name`, one call each, stopping at the first refusal.
pub fn write_each<'a>(
    dir: &Dir,
    name: impl AsRef<OsStr>,
    values: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let name = name.as_ref();
    let mut file = File::from(open_for_writing(dir, name)?);
    for value in values {
        write_again(&mut file, value, || {
            dir.path().join(name).display().to_string()
        })?;
    }
    Ok(())
}

fn write_again(file: &mut File, value: &str, path: impl FnOnce() -> String) -> Result<()> {
    loop {
        match file.write(value.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).call(|| format!("write({:?}, {value:?})", path())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_not_created() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(root.path()).unwrap();
        assert_eq!(
            write(&dir, "pids.max", "1").unwrap_err().errno(),
            Errno::ENOENT
        );
        assert!(dir.names().unwrap().is_empty());
        assert_eq!(write(&dir, "../x", "1").unwrap_err().errno(), Errno::EINVAL);
    }

    #[test]
    fn an_error_shows_the_file_and_the_value() {
        let dir = Dir::open("/dev").unwrap();
        let error = write(&dir, "full", "12").unwrap_err();
        assert_eq!(
            error.to_string(),
            "write(\"/dev/full\", \"12\"): No space left on device (os error 28)"
        );
    }
}
