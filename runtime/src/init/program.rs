//! The container's program: finding it when the container is created, executing it at start.

use std::ffi::{CStr, CString, OsStr};
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statvfs::FsFlags;
use nix::unistd::{AccessFlags, access, execve};

use crate::fault::{Code, Fault};
use crate::init::executable::{self, words};
use crate::plan::Process;

/// A program that was there and executable when it was looked for.
#[derive(Debug)]
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    /// The first bytes of the file: when execve has failed, a filter may forbid to read them.
    head: Option<Vec<u8>>,
}

/// Looks for the program of `process` as execvp(3) does, in the container and as its user.
pub fn find(process: &Process) -> Result<Program> {
    let name = &process.args[0];
    let path = if name.as_bytes().contains(&b'/') {
        check_executable(path_of(name), name).map(|()| name.clone())?
    } else {
        search(name, process.variable("PATH").unwrap_or_default())?
    };
    let mut env = process.env.clone();
    if process.variable("HOME").is_none_or(<[u8]>::is_empty) {
        env.retain(|entry| !entry.as_bytes().starts_with(b"HOME="));
        env.push(home(process.uid)?);
    }
    let head = read_bounded(path_of(&path), executable::HEAD)
        .ok()
        .flatten();
    Ok(Program {
        head,
        path,
        args: process.args.clone(),
        env,
    })
}

fn path_of(name: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(name.to_bytes()))
}

/// The wording is runc's: Docker and podman turn it into exit codes 126 and 127.
fn check_executable(path: &Path, name: &CStr) -> Result<()> {
    let name = name.to_string_lossy();
    match nix::sys::stat::stat(path) {
        Err(errno) => {
            let code = match errno {
                Errno::EACCES => Code::ProgramDenied,
                _ => Code::ProgramNotFound,
            };
            let shown = path.to_string_lossy();
            let text = format!(
                "exec: {name:?}: stat {}: {}",
                shown.escape_debug(),
                words(errno)
            );
            bail!(Fault::new(code, text))
        }
        Ok(stat) if stat.st_mode & 0o170_000 == 0o040_000 => {
            let text = format!("exec: {name:?}: is a directory");
            bail!(Fault::new(Code::ProgramDenied, text))
        }
        Ok(stat) if stat.st_mode & 0o111 == 0 => {
            let fault = denied(&name);
            bail!(fault.hint("the file has no execute bit: chmod +x in the image"))
        }
        Ok(_) => {}
    }
    match access(path, AccessFlags::X_OK) {
        Err(Errno::EACCES) if is_noexec(path) => {
            let text = format!("exec: {name:?}: permission denied");
            bail!(Fault::new(Code::ProgramNoexec, text).hint(format!(
                "{} is on a file system that is mounted noexec",
                path.display()
            )))
        }
        Err(Errno::EACCES) => bail!(denied(&name)),
        Err(errno) => bail!("exec: {name:?}: {}", words(errno)),
        Ok(()) => Ok(()),
    }
}

fn denied(name: &str) -> Fault {
    Fault::new(
        Code::ProgramDenied,
        format!("exec: {name:?}: permission denied"),
    )
}

fn is_noexec(path: &Path) -> bool {
    nix::sys::statvfs::statvfs(path)
        .is_ok_and(|file_system| file_system.flags().contains(FsFlags::ST_NOEXEC))
}

fn search(name: &CString, path: &[u8]) -> Result<CString> {
    let mut refused = None;
    for directory in path
        .split(|&byte| byte == b':')
        .filter(|directory| directory.starts_with(b"/"))
    {
        let candidate: PathBuf = Path::new(OsStr::from_bytes(directory)).join(path_of(name));
        match check_executable(&candidate, name) {
            Ok(()) => return Ok(CString::new(candidate.into_os_string().as_bytes())?),
            Err(error) => {
                let code = Fault::of(&error).code();
                if matches!(code, Code::ProgramDenied | Code::ProgramNoexec) && !candidate.is_dir()
                {
                    refused.get_or_insert(error);
                }
            }
        }
    }
    let name = name.to_string_lossy();
    if let Some(error) = refused {
        return Err(error);
    }
    let text = format!("exec: {name:?}: executable file not found in $PATH");
    let path = String::from_utf8_lossy(path);
    bail!(Fault::new(Code::ProgramNotFound, text).hint(format!("PATH is {path:?}")))
}

/// `HOME=` of the user in the container's own `/etc/passwd`; `/` if it is not there, or the user may
/// not read it. Where it is this process that cannot (no memory, no descriptor), `/` would be a guess.
fn home(uid: u32) -> Result<CString> {
    let text = match read_bounded(Path::new("/etc/passwd"), MAX_PASSWD) {
        Err(error) if is_our_lack(&error) => Err(error).context("read /etc/passwd for HOME")?,
        other => other.ok().flatten(),
    };
    let entry = text.and_then(|text| home_in(&text, uid));
    Ok(entry.unwrap_or_else(|| c"HOME=/".to_owned()))
}

/// The same in the text of a passwd(5).
pub fn home_in(passwd: &[u8], uid: u32) -> Option<CString> {
    let home = passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let id = std::str::from_utf8(fields.nth(2)?).ok()?;
        let home = fields.nth(2)?;
        (id.parse() == Ok(uid) && home.starts_with(b"/")).then(|| home.to_owned())
    })?;
    CString::new([b"HOME=", home.as_slice()].concat()).ok()
}

fn is_our_lack(error: &std::io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::EINTR)
    )
}

/// The largest `/etc/passwd` that is looked at, in bytes: an image may bring any.
const MAX_PASSWD: usize = 1024 * 1024;

/// What a first read(2) asks for.
const PAGE: usize = 4096;

fn read_bounded(path: &Path, length: usize) -> std::io::Result<Option<Vec<u8>>> {
    // NONBLOCK: a fifo in its place must not hang the container.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::with_capacity(length.min(PAGE));
    file.take(length as u64).read_to_end(&mut text)?;
    Ok(Some(text))
}

impl Program {
    /// The environment it will have.
    pub fn environment(&self) -> Vec<String> {
        self.env
            .iter()
            .map(|entry| entry.to_string_lossy().into_owned())
            .collect()
    }

    /// Sets variables, each in the place of those of the same name.
    pub fn set_variables(&mut self, entries: Vec<CString>) {
        let name = |entry: &CString| {
            entry
                .as_bytes()
                .split(|&byte| byte == b'=')
                .next()
                .map(<[u8]>::to_vec)
        };
        for entry in entries {
            self.env.retain(|known| name(known) != name(&entry));
            self.env.push(entry);
        }
    }

    /// Becomes the program; returns only on failure.
    pub fn execute(self) -> anyhow::Error {
        let errno = match execve(&self.path, &self.args, &self.env) {
            Ok(never) => match never {},
            Err(errno) => errno,
        };
        let exists = |path: &Path| nix::sys::stat::stat(path).is_ok();
        executable::explain(path_of(&self.path), errno, self.head.as_deref(), exists).into()
    }
}

/// Lets the program inherit the standard streams and `preserved` descriptors from 3 on, no more.
pub fn keep_only(preserved: i32) -> Result<()> {
    let first = 3 + preserved;
    (3..first).try_for_each(sys::process::keep_on_exec)?;
    Ok(sys::process::close_on_exec_from(first)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_engines_look_for() {
        let find = |name: &CStr| search(&name.to_owned(), b"/bin:relative:/usr/bin");
        assert!(find(c"sh").is_ok());
        let error = find(c"no-such-program").unwrap_err().to_string();
        assert_eq!(
            error,
            "exec: \"no-such-program\": executable file not found in $PATH"
        );
        let error = check_executable(Path::new("/nonexistent"), c"/nonexistent").unwrap_err();
        assert_eq!(
            error.to_string(),
            "exec: \"/nonexistent\": stat /nonexistent: no such file or directory"
        );
        let error = check_executable(Path::new("/etc"), c"/etc").unwrap_err();
        assert_eq!(error.to_string(), "exec: \"/etc\": is a directory");
    }
}
