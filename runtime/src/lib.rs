//! davit: an OCI low-level container runtime.

pub mod seccomp; // linux.seccomp -> classic BPF, pure
