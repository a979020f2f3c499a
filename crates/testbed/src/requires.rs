//! What a test needs of the machine. Each function answers `None` after saying `SKIP: ...`.
//!
//! A skip is loud, so that CI can count them: a machine on which nothing runs is not green.
use std::io::Write;
use std::path::Path;

/// Root, for namespaces, mounts and cgroups.
pub fn root() -> Option<()> {
    said(is_root(), "root")
}

/// An executable in PATH or the system's directories.
pub fn program(name: &str) -> Option<()> {
    said(is_installed(name), &format!("the program {name}"))
}

/// A cgroup v1 controller on its own mount.
pub fn cgroup_v1(controller: &str) -> Option<()> {
    said(
        has_cgroup_v1(controller),
        &format!("cgroup v1 controller {controller}"),
    )
}

/// Whether this process is root in its user namespace; for those who say so in their own way.
pub fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status")
        .is_ok_and(|status| status.lines().any(|line| line.starts_with("Uid:\t0\t0")))
}

/// Whether `name` is an executable of the system; for those who skip in their own way.
pub fn is_installed(name: &str) -> bool {
    let path = crate::invocation::PATH
        .split(':')
        .map(|dir| Path::new(dir).join(name));
    path.into_iter()
        .any(|file| file.metadata().is_ok_and(|metadata| metadata.is_file()))
}

/// Whether the v1 hierarchy of `controller` is mounted at its usual place.
pub fn has_cgroup_v1(controller: &str) -> bool {
    Path::new("/sys/fs/cgroup")
        .join(controller)
        .join("tasks")
        .metadata()
        .is_ok()
}

fn said(holds: bool, what: &str) -> Option<()> {
    if !holds {
        skipped(what);
    }
    holds.then_some(())
}

/// Says `SKIP: what` on the stderr of the process: libtest would capture `eprintln!` and show it
/// only when the test fails, which a skipped test never does.
pub fn skipped(what: &str) {
    // Whoever closed stderr reads nothing.
    let _ = writeln!(std::io::stderr(), "SKIP: {what}");
}
