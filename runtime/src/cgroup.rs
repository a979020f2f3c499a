//! Control groups: v1, v2 and both at once, made in the file system or by systemd.
//!
//! A [`Plan`] is pure: where the container's cgroups will be and what will be written into them,
//! with every refusal. [`Cgroup::create`] makes the directories and [`Cgroup::apply`] writes; a
//! [`Cgroup`] is what a saved state brings back. Everything is found once, in [`Hierarchies`].
//!
//! Nobody is moved by a PID written to `cgroup.procs`: that write waits for a lock that the whole
//! machine shares (2.6 to 14 ms). A child is born in its v2 cgroup ([`Cgroup::directory`]), and
//! joins v1 hierarchies itself while it has one thread, by writing `0` to each file of
//! [`Cgroup::join_files`]. See docs/decisions/0002-cgroups-without-libcgroups-on-the-hot-path.md.

pub mod devices;
mod error;
mod group;
mod hierarchies;
mod oom;
mod plan;
mod stats;
mod sub;
pub mod systemd;
#[cfg(test)]
mod tests;
mod unit;
pub mod update;
mod v1;
mod v2;

pub use error::Error;
pub use group::Cgroup;
pub use hierarchies::{Hierarchies, Hierarchy};
pub use oom::OomWatch;
pub use plan::Plan;
pub use unit::Unit;

/// Who makes a container's cgroups: `--cgroup-manager`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manager {
    /// This program, in the file system.
    #[default]
    Cgroupfs,
    /// The service manager, asked over D-Bus for a scope.
    Systemd,
    /// Nobody: the container stays in the cgroups of its caller.
    Disabled,
}

/// The text of a cgroup's file, in whichever it is: for fuzz targets.
#[cfg(fuzzing)]
pub fn understand(text: &str) {
    stats::understand(text);
    unit::understand(text);
    for file in [
        "memory.oom_control",
        "io.weight",
        "io.max",
        "rdma.max",
        "cpuset.cpus",
    ] {
        update::understand(file, "8:0 100", text);
        update::understand(file, text.lines().next().unwrap_or_default(), text);
    }
}
