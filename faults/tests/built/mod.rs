//! The programs that were built with these tests, as `--programs` wants them.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// Beside this test's own program, where `cargo build --workspace --bins` puts them.
fn programs(dir: &Path) -> io::Result<()> {
    let built = Path::new(env!("CARGO_BIN_EXE_faults"))
        .parent()
        .expect("a program is in a directory");
    for (from, to) in [
        ("davit", "bin/davit"),
        ("davit-cni", "bin/davit-cni"),
        ("davit-cni-plugins", "cni/davit-cni-plugins"),
    ] {
        let from = built.join(from);
        fs::metadata(&from).map_err(|e| io::Error::other(format!("{}: {e}", from.display())))?;
        fs::create_dir_all(dir.join(to).parent().expect("each is in a directory"))?;
        symlink(from, dir.join(to))?;
    }
    // All of them are that one executable.
    for name in ["bridge", "host-local", "portmap", "firewall", "tuning"] {
        symlink("davit-cni-plugins", dir.join("cni").join(name))?;
    }
    Ok(())
}

/// Why this machine cannot run them; if nothing is missing they are in `dir`.
pub(crate) fn missing(dir: &Path) -> Option<String> {
    if fs::metadata("/proc/self").map_or(true, |own| own.uid() != 0) {
        return Some("root".into());
    }
    if fs::metadata("/bin/busybox").is_err() {
        return Some("/bin/busybox (busybox-static)".into());
    }
    programs(dir).err().map(|error| error.to_string())
}
