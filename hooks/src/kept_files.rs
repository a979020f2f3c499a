//! The three files of one container: hosts, resolv.conf, hostname.
//!
//! They are bind-mounted into the container, so they are changed where they are: written first and
//! cut to their length afterwards, so that nobody ever reads an empty one. A change that is killed
//! in between has left a note, by which the next one cuts what is left of the old. The directory
//! may be the bundle's, and the container writes into the files: links, fifos and second names of
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
        let left = self.dir.read(note_of(name), 2 * LONGEST).ok();
        let whole = left.as_deref().and_then(|note| without_rest(note, &old));
        let new = change(whole.as_deref().unwrap_or(&old));
        if new.len() > old.len() {
            // A full disk refuses here, as long as the file is whole.
            sys::dir::reserve(&file, new.len())?;
        }
        if new.len() < old.len() {
            self.dir
                .replace_volatile(note_of(name), &note(&new, &old), 0o600)?;
        }
        if new != old {
            file.write_all_at(&new, 0).call(|| call("pwrite"))?;
            let length = new.len() as u64;
            file.set_len(length).call(|| call("ftruncate"))?;
        }
        match left.is_some() || new.len() < old.len() {
            true => self.dir.remove(note_of(name)),
            false => Ok(()),
        }
    }
}

/// The contents without what a change has left behind them that was killed before it could cut the
/// file; `None` if there is nothing of the kind.
fn without_rest(note: &[u8], present: &[u8]) -> Option<Vec<u8>> {
    let end = note.iter().position(|byte| *byte == b'\n')?;
    let (length, uncut) = (note.get(..end)?, note.get(end + 1..)?);
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    // Somebody may have added lines since, or it was killed before it had begun.
    let added = present.strip_prefix(uncut)?;
    Some([present.get(..length)?, added].concat())
}

/// Where a change that makes a file shorter says so before it begins.
fn note_of(name: &str) -> String {
    format!(".{name}.uncut")
}

/// The length that a file is to have, and what is in it just before it is cut.
fn note(new: &[u8], old: &[u8]) -> Vec<u8> {
    let rest = old.get(new.len()..).unwrap_or_default();
    [format!("{}\n", new.len()).as_bytes(), new, rest].concat()
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
    fn what_a_killed_change_left_is_cut_by_the_next_one() {
        let (root, files) = files();
        files.ensure(HOSTS).unwrap();
        let path = root.path().join("c1/hosts");
        let (new, old) = ("1 a\n# end\n", "1 a\n2 stale\n# end\nmine\n");
        let killed = |present: &str| {
            let dir = Dir::open(root.path().join("c1")).unwrap();
            let note = note(new.as_bytes(), old.as_bytes());
            dir.replace(note_of(HOSTS), &note, 0o600).unwrap();
            dir.replace(HOSTS, present.as_bytes(), 0o644).unwrap();
            let change = |text: &[u8]| [text, b"+"].concat();
            files.change(HOSTS, change).unwrap();
            assert!(dir.stat(note_of(HOSTS)).is_err());
            fs::read_to_string(&path).unwrap()
        };
        let uncut = new.to_owned() + &old[new.len()..];
        assert_eq!(killed(&uncut), format!("{new}+"), "before the cut");
        assert_eq!(killed(&(uncut + "theirs\n")), format!("{new}theirs\n+"));
        assert_eq!(killed(old), format!("{old}+"), "before anything");
        assert_eq!(killed(new), format!("{new}+"), "behind the cut");
        files.change(HOSTS, |_| b"1".to_vec()).unwrap();
        assert_eq!(fs::read_dir(root.path().join("c1")).unwrap().count(), 1);
    }

    /// A disk of 8 KiB, in a mount namespace of a child that runs the test below.
    #[test]
    fn a_full_disk_leaves_a_file_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=8k none \"$PLACE\" || exit 77
            exec \"$0\" --ignored --exact kept_files::tests::on_a_small_disk";
        let status = std::process::Command::new("unshare")
            .args(["-m", "sh", "-c", script])
            .arg(std::env::current_exe().unwrap())
            .env("PLACE", place.path())
            .status();
        match status.ok().and_then(|status| status.code()) {
            Some(0) => {}
            Some(1 | 77) | None if !is_root() => println!("SKIP: only root mounts a disk"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    #[ignore = "the test above runs it, in a place of its own"]
    fn on_a_small_disk() {
        let place = std::env::var_os("PLACE").unwrap();
        let files = KeptFiles::open_or_create(&Path::new(&place).join("c1")).unwrap();
        files.ensure(HOSTS).unwrap();
        let old = format!(
            "# davit-cni: x\n# davit-cni end\n{}tail\n",
            "line\n".repeat(600)
        );
        files.change(HOSTS, |_| old.clone().into()).unwrap();
        let longer = "more\n".repeat(4000) + &old;
        let error = files.change(HOSTS, |_| longer.into()).unwrap_err();
        assert_eq!(error.errno(), Errno::ENOSPC);
        let path = Path::new(&place).join("c1/hosts");
        assert_eq!(fs::read_to_string(path).unwrap(), old);
    }

    fn is_root() -> bool {
        fs::metadata("/proc/self").unwrap().uid() == 0
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
