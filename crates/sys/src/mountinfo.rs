//! `/proc/PID/mountinfo` (proc_pid_mountinfo(5)), whose paths are bytes and not always text.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Result, SyscallResult};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its number.
    pub id: u64,
    /// The mount that it is on.
    pub parent: u64,
    /// `MAJOR:MINOR` of the file system.
    pub device: String,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// The kind of file system.
    pub fs_type: String,
}

/// The mounts that this process sees, the last mounted last.
pub fn own() -> Result<Vec<Mount>> {
    read(Path::new("/proc/self/mountinfo"))
}

/// The same, from the mountinfo of any process.
pub fn read(path: &Path) -> Result<Vec<Mount>> {
    let text = crate::kernel_file::read(path).call(|| format!("read({path:?})"))?;
    Ok(parse(&text))
}

/// The mounts of the text of a mountinfo.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mut words = || Some(std::str::from_utf8(fields.next()?).ok()?.to_owned());
    let (id, parent, device) = (words()?.parse().ok()?, words()?.parse().ok()?, words()?);
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    fields.find(|field| *field == b"-")?;
    Some(Mount {
        id,
        parent,
        device,
        root,
        point,
        fs_type: String::from_utf8_lossy(fields.next()?).into_owned(),
    })
}

/// Undoes the kernel's `\040`: blank, tab, newline and backslash are written in octal.
pub fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, others @ ..] = rest {
        rest = others;
        match (*first, others) {
            (
                b'\\',
                [
                    a @ b'0'..=b'3',
                    b @ b'0'..=b'7',
                    c @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            (byte, _) => bytes.push(byte),
        }
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_are_no_text_and_blanks_are_read_back() {
        let text = b"1 1 0:2 / / rw - rootfs rootfs rw\n\
            36 1 8:1 /a\\040b\\134 /mnt/\xff\\011c rw shared:1 master:2 - ext4 /dev/sda1 rw\nodd\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2, "{mounts:?}");
        let mount = &mounts[1];
        assert_eq!((mount.id, mount.parent), (36, 1));
        assert_eq!(
            (mount.device.as_str(), mount.fs_type.as_str()),
            ("8:1", "ext4")
        );
        assert_eq!(mount.root, Path::new("/a b\\"));
        assert_eq!(mount.point, Path::new(OsStr::from_bytes(b"/mnt/\xff\tc")));
        assert_eq!(unescape(b"/a\\04"), Path::new("/a\\04"));
    }
}
