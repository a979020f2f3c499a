//! Every syscall and every `unsafe` block of davit.
//!
//! The wrappers force the safe flags (`CLOEXEC` always, `NOFOLLOW` where a path may be hostile),
//! retry `EINTR`, keep file descriptors owned, and fail with a [`SyscallError`] that reads like a
//! line of strace. No policy lives here: what to mount, where to join and when to give up is the
//! caller's business.

#[cfg(target_env = "musl")]
mod abort; // abort(3) of the process that calls it
#[cfg(target_env = "musl")]
mod allocator; // memory that is not given back at once
pub mod apart; // a call that waits long, made by a process of its own
pub mod board; // numbers that a process shares with its clones
pub mod bpf; // bpf(2): device programs of cgroup v2
pub mod child; // run an executable to its end, with a deadline
pub mod clock; // time since boot
pub mod close_later; // the last close of a file that would wait for the kernel
pub mod credentials; // users, groups, capabilities, keyring
pub mod dir; // an open directory: read, create, replace, lock, always by one name
pub mod error; // SyscallError
pub mod interface; // lo up
pub mod kernel_file; // files of cgroupfs and procfs: one write, one command
pub mod memfd; // sealed copies
pub mod mount; // mounts by descriptor, pivot_root
pub mod mountinfo; // what is mounted where
pub mod namespace; // network namespaces, and running code inside one
pub mod own_program; // the file that this program is mapped from
pub mod packet; // packet sockets that carry DHCPv4
pub mod poll; // waiting for a descriptor, with a deadline
pub mod process; // clone3, pidfds, waiting, scheduling
pub mod regex; // regcomp(3), regexec(3)
pub mod root; // a container's root directory: openat2 with RESOLVE_IN_ROOT
pub mod seccomp; // seccomp(2): load a filter, probe actions
pub mod shared_words; // memory that two processes share
pub mod signal; // SIGINT and SIGTERM as a descriptor
pub mod socket; // messages with descriptors
mod staging; // what the mount calls fall back to on older kernels
pub mod statmount; // what is mounted at one place
pub mod terminal; // ptys, raw mode
pub mod trace; // ptrace(2), for a harness
pub mod tun; // tap devices

pub use dir::Dir;
pub use error::{Result, SyscallError, SyscallResult};
pub use namespace::NetNs;
pub use nix::errno::Errno;
