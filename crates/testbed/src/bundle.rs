//! [`Rootfs`]: a directory of busybox; [`Bundle`]: that and a config.json, as an engine makes it.
//!
//! Every bundle has a rootfs of its own (links, no copies), so a test may break it as it likes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::{Config, Invocation, IoContext, Result};

/// Where Debian's busybox-static puts the executable.
const BUSYBOX: &str = "/bin/busybox";

/// Copies a program that is to be executed at once, by a process of its own: whom another thread forks
/// while this one has the copy open for writing keeps it open, and execve(2) answers ETXTBSY.
pub fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let [source, copy] = [from, to].map(|path| path.to_string_lossy());
    let copied = Invocation::new(["cp", "--", &source, &copy]).run()?;
    let failed = || std::io::Error::other(copied.to_string());
    let done = copied.success().then_some(()).ok_or_else(failed);
    done.because(|| format!("copy {from:?} to {to:?}"))
}

/// A busybox that bundles link to, and the names it answers to.
#[derive(Debug)]
pub struct Rootfs {
    executable: PathBuf,
    applets: Vec<String>,
}

impl Rootfs {
    /// Copies busybox into `store`, which must be on the same file system as the bundles.
    pub fn prepare(store: &Path) -> Result<Self> {
        let executable = store.join("busybox");
        copy_program(Path::new(BUSYBOX), &executable)?;
        let list = Invocation::new([BUSYBOX, "--list"]).run()?.text();
        Ok(Self {
            executable,
            applets: list.lines().map(String::from).collect(),
        })
    }

    /// Fills `root` with the directories and names of a small image.
    pub fn unpack(&self, root: &Path) -> Result<()> {
        for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var"] {
            let directory = root.join(name);
            fs::create_dir_all(&directory).because(|| format!("mkdir {directory:?}"))?;
        }
        let busybox = root.join("bin/busybox");
        fs::hard_link(&self.executable, &busybox).because(|| format!("link {busybox:?}"))?;
        for applet in self.applets.iter().filter(|applet| *applet != "busybox") {
            symlink("busybox", root.join("bin").join(applet))
                .because(|| format!("link {applet}"))?;
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n";
        write(&root.join("etc/passwd"), passwd)?;
        write(&root.join("etc/group"), "root:x:0:\nuser:x:1000:\n")
    }
}

/// An OCI bundle on disk.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    /// Makes `dir` with its own rootfs and `config` as its config.json.
    pub fn create(dir: PathBuf, rootfs: &Rootfs, config: &Config) -> Result<Self> {
        let root = dir.join("rootfs");
        fs::create_dir_all(&root).because(|| format!("mkdir {root:?}"))?;
        rootfs.unpack(&root)?;
        let bundle = Self { dir };
        bundle.configure(config)?;
        Ok(bundle)
    }

    /// Writes config.json anew.
    pub fn configure(&self, config: &Config) -> Result<()> {
        write(&self.dir.join("config.json"), &config.to_string())
    }

    /// The bundle directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path below the rootfs, as the host names it.
    pub fn in_rootfs(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// Writes an executable shell script below the rootfs.
    pub fn script(&self, path: &str, body: &str) -> Result<()> {
        script(&self.in_rootfs(path), "/bin/sh", body)
    }
}

/// Writes an executable script for `shell`.
pub fn script(path: &Path, shell: &str, body: &str) -> Result<()> {
    write(path, &format!("#!{shell}\n{body}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .because(|| format!("chmod {path:?}"))
}

fn write(path: &Path, contents: &str) -> Result<()> {
    fs::write(path, contents).because(|| format!("write {path:?}"))
}
