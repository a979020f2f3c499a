//! The three files of one container: hosts, resolv.conf, hostname.
//!
//! They are bind-mounted into the container, so they are changed where they are: written first and
//! cut to their length afterwards, so that nobody ever reads an empty one. The directory may be
//! the bundle's, and the container writes into the files: links, fifos and second names of
//! other files are refused, and what is read back is limited.

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use sys::{Dir, Errno, SyscallError, SyscallResult};

/// The name of the hosts file.
pub const HOSTS: &str = "hosts";
/// The name of the resolver's configuration.
pub const RESOLV_CONF: &str = "resolv.conf";
/// The name of the file with the container's own name.
pub const HOSTNAME: &str = "hostname";

/// The directory of one container's files.
#[derive(Debug)]
pub struct KeptFiles {
    dir: Dir,
}

/// Lists against advertisements have a few megabytes.
const LONGEST: u64 = 8 << 20;

impl KeptFiles {
    /// Opens the directory; a link in its place is refused.
    pub fn open(path: &Path) -> sys::Result<Self> {
        let (parent, name) = split(path)?;
        let dir = Dir::open(parent)?.open_dir(name)?;
        Ok(Self { dir })
    }

    /// The same, made if it is not there.
    pub fn open_or_create(path: &Path) -> sys::Result<Self> {
        let (parent, name) = split(path)?;
        let parent = Dir::open_or_create(parent, 0o755)?;
        match parent.create_dir(name, 0o755) {
            Err(error) if error.errno() != Errno::EEXIST => Err(error),
            _ => Ok(Self {
                dir: parent.open_dir(name)?,
            }),
        }
    }

    /// Makes the file `name` if it is not there.
    pub fn ensure(&self, name: &str) -> sys::Result<()> {
        match self.dir.create_new(name, 0o644) {
            Err(error) if error.errno() == Errno::EEXIST => Ok(()),
            made => {
                // Whoever calls hooks may have a umask that keeps the container's users out.
                let readable = made?.set_permissions(Permissions::from_mode(0o644));
                readable.call(|| format!("fchmod({name}, 0644)"))
            }
        }
    }

    /// Gives the file `name` other contents; one that is not there is left so.
    pub fn change(&self, name: &str, change: impl FnOnce(&[u8]) -> Vec<u8>) -> sys::Result<()> {
        let Some(file) = self.dir.open_in_place(name)? else {
            return Ok(());
        };
        let call = |call: &str| format!("{call}({}/{name})", self.dir.path().display());
        let mut old = Vec::new();
        let mut beginning = (&file).take(LONGEST + 1);
        beginning.read_to_end(&mut old).call(|| call("read"))?;
        if old.len() as u64 > LONGEST {
            return Err(SyscallError::new(call("read"), Errno::EFBIG));
        }
        let new = change(&old);
        if new == old {
            return Ok(());
        }
        file.write_all_at(&new, 0).call(|| call("pwrite"))?;
        file.set_len(new.len() as u64).call(|| call("ftruncate"))
    }
}

fn split(path: &Path) -> sys::Result<(&Path, &std::ffi::OsStr)> {
    let wrong = || SyscallError::new(format!("open({path:?})"), Errno::EINVAL);
    let parent = path.parent().ok_or_else(wrong)?;
    Ok((parent, path.file_name().ok_or_else(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn files() -> (tempfile::TempDir, KeptFiles) {
        let root = tempfile::tempdir().unwrap();
        let files = KeptFiles::open_or_create(&root.path().join("c1")).unwrap();
        (root, files)
    }

    #[test]
    fn a_file_keeps_its_inode_when_it_changes() {
        let (root, files) = files();
        let path = root.path().join("c1/hosts");
        files.ensure(HOSTS).unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        for text in ["long long long", "short", ""] {
            files.change(HOSTS, |_| text.into()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        files.ensure(HOSTS).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.ino(), metadata.mode() & 0o777), (inode, 0o644));
    }

    #[test]
    fn what_was_removed_stays_away() {
        let (root, files) = files();
        files.change(HOSTS, |_| b"x".to_vec()).unwrap();
        assert!(fs::metadata(root.path().join("c1/hosts")).is_err());
        fs::remove_dir(root.path().join("c1")).unwrap();
        let gone = KeptFiles::open(&root.path().join("c1")).unwrap_err();
        assert_eq!(gone.errno(), Errno::ENOENT);
    }

    #[test]
    fn nothing_but_a_plain_file_is_written() {
        let (root, files) = files();
        let precious = root.path().join("precious");
        let restore = || {
            let dir = Dir::open(root.path()).unwrap();
            dir.replace("precious", b"as it was", 0o600).unwrap();
        };
        let hosts = root.path().join("c1/hosts");
        let traps: [&dyn Fn(); 3] = [
            &|| symlink(&precious, &hosts).unwrap(),
            &|| fs::hard_link(&precious, &hosts).unwrap(),
            &|| {
                let made = std::process::Command::new("mkfifo").arg(&hosts).status();
                assert!(made.unwrap().success());
            },
        ];
        for trap in traps {
            restore();
            trap();
            files.ensure(HOSTS).unwrap();
            files.change(HOSTS, |_| b"changed".to_vec()).unwrap_err();
            assert_eq!(fs::read(&precious).unwrap(), b"as it was");
            fs::remove_file(&hosts).unwrap();
        }
    }

    #[test]
    fn a_directory_that_is_a_link_is_refused() {
        let (root, _files) = files();
        symlink("c1", root.path().join("link")).unwrap();
        assert!(KeptFiles::open(&root.path().join("link")).is_err());
        assert!(KeptFiles::open_or_create(&root.path().join("link")).is_err());
    }

    #[test]
    fn a_file_that_somebody_made_too_long_is_left_alone() {
        let (root, files) = files();
        files.ensure(HOSTS).unwrap();
        let file = fs::OpenOptions::new()
            .write(true)
            .open(root.path().join("c1/hosts"));
        file.unwrap().set_len(LONGEST + 1).unwrap();
        let error = files.change(HOSTS, |_| Vec::new()).unwrap_err();
        assert_eq!(error.errno(), Errno::EFBIG);
    }
}
