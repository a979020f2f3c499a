//! What is mounted at a place, told by the kernel for that mount alone (statmount(2), Linux 6.8): the
//! list in `/proc/self/mountinfo` is written anew, with all that a host has mounted, for each who reads
//! it.

use std::ffi::CStr;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use nix::NixPath;
use nix::errno::Errno;

/// The mount whose root is at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// The kind of file system.
    pub fs_type: String,
    /// What of the file system is mounted.
    pub root: PathBuf,
    /// The options of the file system; none, too, where the kernel does not tell them (before Linux
    /// 6.11).
    pub options: Vec<String>,
}

/// What the kernel says of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This is mounted there.
    Mount(Mounted),
    /// There is no such directory, or one that is no mount, or a symbolic link.
    Plain,
    /// It does not tell: before Linux 6.8, in a sandbox that refuses the call, without memory.
    Unknown,
}

/// The mount on top of the directory `place`.
pub fn at(place: &Path) -> Place {
    match unique_id(place) {
        Ok(Some(mount)) => answer(mount)
            .and_then(|answer| parse(&answer))
            .map_or(Place::Unknown, Place::Mount),
        Ok(None) | Err(Errno::ENOENT | Errno::ENOTDIR) => Place::Plain,
        Err(_) => Place::Unknown,
    }
}

const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;
/// The same number on every architecture that davit is built for.
const SYS_STATMOUNT: libc::c_long = 457;
const STATMOUNT_MNT_ROOT: u64 = 0x8;
const STATMOUNT_FS_TYPE: u64 = 0x20;
const STATMOUNT_MNT_OPTS: u64 = 0x80;
const NEEDED: u64 = STATMOUNT_MNT_ROOT | STATMOUNT_FS_TYPE;
const WANTED: u64 = NEEDED | STATMOUNT_MNT_OPTS;

/// The kernel's `struct mnt_id_req` in its first version.
#[repr(C)]
struct Request {
    size: u32,
    spare: u32,
    mount: u64,
    wanted: u64,
}

/// The kernel's `struct statmount`, as far as it is read; texts follow at [`TEXTS`].
#[repr(C)]
struct Answer {
    size: u32,
    options: u32,
    mask: u64,
    device: [u32; 2],
    magic: u64,
    flags: u32,
    fs_type: u32,
    ids: [u64; 2],
    old_ids: [u32; 2],
    numbers: [u64; 5],
    root: u32,
}

const TEXTS: usize = 512;
/// Longer options than those of any cgroup hierarchy are not asked for.
const LENGTH: usize = TEXTS + 1024;

/// `None` for what is no mount; `ENOSYS` where the kernel does not say what is one.
fn unique_id(place: &Path) -> nix::Result<Option<u64>> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let found = place.with_nix_path(|place| {
        // SAFETY: all-zero bytes are a valid statx, which the call writes; the path is NUL-terminated.
        unsafe {
            let mut found: libc::statx = std::mem::zeroed();
            let result = libc::syscall(
                libc::SYS_statx,
                libc::AT_FDCWD,
                place.as_ptr(),
                flags,
                STATX_MNT_ID_UNIQUE,
                &raw mut found,
            );
            Errno::result(result).map(|_| found)
        }
    })??;
    let tells = found.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT != 0;
    if !tells || found.stx_mask & STATX_MNT_ID_UNIQUE == 0 {
        return Err(Errno::ENOSYS);
    }
    let is_mount = found.stx_attributes & STATX_ATTR_MOUNT_ROOT != 0;
    Ok(is_mount.then_some(found.stx_mnt_id))
}

fn answer(mount: u64) -> Option<[u8; LENGTH]> {
    let request = Request {
        size: size_of::<Request>() as u32,
        spare: 0,
        mount,
        wanted: WANTED,
    };
    let mut answer = [0; LENGTH];
    // SAFETY: the kernel reads a request of the size that it names and writes at most the length given.
    let result = unsafe {
        libc::syscall(
            SYS_STATMOUNT,
            &raw const request,
            answer.as_mut_ptr(),
            LENGTH,
            0,
        )
    };
    (result == 0).then_some(answer)
}

fn parse(answer: &[u8; LENGTH]) -> Option<Mounted> {
    let number = |at: usize| {
        let bytes = answer.get(at..at + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let mask = u64::from(number(offset_of!(Answer, mask))?);
    // The low half holds all that was asked for, on the one byte order that davit knows.
    if cfg!(target_endian = "big") || mask & NEEDED != NEEDED {
        return None;
    }
    let text = |at: usize| {
        let start = TEXTS + number(at)? as usize;
        CStr::from_bytes_until_nul(answer.get(start..)?).ok()
    };
    let options = match mask & STATMOUNT_MNT_OPTS {
        0 => "",
        _ => text(offset_of!(Answer, options))?.to_str().ok()?,
    };
    Some(Mounted {
        fs_type: text(offset_of!(Answer, fs_type))?.to_str().ok()?.to_owned(),
        // As in mountinfo, blanks and the like are written in octal.
        root: crate::mountinfo::unescape(text(offset_of!(Answer, root))?.to_bytes()),
        options: (options.split(',').filter(|option| !option.is_empty()))
            .map(str::to_owned)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_the_list_of_mounts_says() {
        let listed = crate::mountinfo::own().unwrap();
        let mut told = 0;
        for mount in &listed {
            let same_place = |other: &&crate::mountinfo::Mount| other.point == mount.point;
            if listed.iter().filter(same_place).count() > 1 {
                continue; // only the last can be seen
            }
            if let Place::Mount(found) = at(&mount.point) {
                told += 1;
                assert_eq!((&found.fs_type, &found.root), (&mount.fs_type, &mount.root));
            }
        }
        if told == 0 {
            eprintln!("SKIP: this kernel has no statmount(2) that tells options");
        }
    }

    #[test]
    fn what_is_no_mount_is_told_from_what_cannot_be_looked_at() {
        let directory = tempfile::tempdir().unwrap();
        if at(Path::new("/")) == Place::Unknown {
            eprintln!("SKIP: this kernel has no statmount(2) that tells options");
            return;
        }
        assert_eq!(at(directory.path()), Place::Plain);
        let link = directory.path().join("root");
        std::os::unix::fs::symlink("/", &link).unwrap();
        assert_eq!(at(&link), Place::Plain);
        assert_eq!(at(Path::new("/nowhere")), Place::Plain);
        let too_long = format!("/{}", "x".repeat(300));
        assert_eq!(at(Path::new(&too_long)), Place::Unknown);
    }

    #[test]
    fn the_answer_has_the_kernels_layout() {
        assert_eq!(offset_of!(Answer, mask), 8);
        assert_eq!(offset_of!(Answer, fs_type), 36);
        assert_eq!(offset_of!(Answer, root), 104);
    }
}
