//! davit: an OCI low-level container runtime.

pub mod cgroup; // control groups: plan (pure), make, join, freeze, remove
pub mod operations; // one file per operation of the command line
pub mod seccomp; // linux.seccomp -> classic BPF, pure
