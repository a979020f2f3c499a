//! davit: an OCI low-level container runtime.
