//! Every syscall and every `unsafe` block of davit.
//!
//! The wrappers force the safe flags (`CLOEXEC` always, `NOFOLLOW` where a path may be hostile),
//! retry `EINTR`, keep file descriptors owned, and fail with a [`SyscallError`] that reads like a
//! line of strace. No policy lives here: what to mount, where to join and when to give up is the
//! caller's business.

pub mod dir; // an open directory: read, create, replace, lock, always by one name
pub mod error; // SyscallError
pub mod namespace; // network namespaces, and running code inside one
pub mod poll; // waiting for a descriptor, with a deadline

pub use dir::Dir;
pub use error::{Result, SyscallError, SyscallResult};
pub use namespace::NetNs;
pub use nix::errno::Errno;
