//! davit: an OCI low-level container runtime.
//!
//! The way of a `create`, in modules: [`args`] -> [`bundle`] -> [`plan`] -> [`state_dir`] (the
//! claim, the first side effect) -> [`launch`] (this process) and [`init`] (the clone), which
//! talk through [`sync`]. ARCHITECTURE.md draws it.

pub mod args; // the command line, one struct an operation
pub mod bundle; // config.json, read once
pub mod cgroup; // control groups of version 1 and 2
pub mod cgroup_view; // what /sys/fs/cgroup shows inside
pub mod check; // what is wrong with a bundle
pub mod console_socket; // where terminals and pidfds are sent
pub mod container; // a container that exists
pub mod container_id; // its name
pub mod criu; // checkpoint and restore by CRIU
pub mod exe_seal; // this program as a sealed copy
pub mod exec; // one more process
pub mod exit_status; // how a container ended
pub mod fault; // kinds of failures, and remedies
pub mod foreground; // waiting for a program
pub mod hooks; // running hooks
pub mod host; // facts about this host
pub mod inherited; // descriptors of the caller
pub mod init; // the child's side
pub mod launch; // the parent's side
pub mod log; // errors and warnings
pub mod networks; // --network: davit-cni, and what it makes of config.json
pub mod notify_listener; // the listener of a filter, to its agent
pub mod notify_socket; // sd_notify of the container, to the service manager
pub mod operations; // one file an operation
pub mod plan; // config.json, decided: pure
pub mod procfs; // the host's /proc
pub mod resctrl; // Intel RDT groups
pub mod seccomp; // linux.seccomp -> classic BPF, pure
pub mod seccomp_cache; // compiled filters, kept by content
pub mod state; // the specification's state
pub mod state_dir; // ROOT/ID
pub mod sync; // the protocol between launch and init
pub mod time; // RFC 3339
pub mod timeline; // --timeline: where the time went
