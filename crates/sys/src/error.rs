//! The error of a system call: the call as strace would print it, and its errno.
//!
//! Callers branch on [`SyscallError::errno`], never on text.

use nix::errno::Errno;

/// A system call that failed, with the arguments it was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {} (os error {})", errno.desc(), *errno as i32)]
pub struct SyscallError {
    call: String,
    errno: Errno,
}

/// What every wrapper of this crate returns.
pub type Result<T> = std::result::Result<T, SyscallError>;

impl SyscallError {
    /// An error of `call`, which is the call as strace prints it: `openat(5, "run", O_RDONLY)`.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self {
            call: call.into(),
            errno,
        }
    }

    /// Why the kernel refused.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// The call and its arguments.
    pub fn call(&self) -> &str {
        &self.call
    }
}

impl From<SyscallError> for std::io::Error {
    fn from(error: SyscallError) -> Self {
        let kind = std::io::Error::from(error.errno).kind();
        Self::new(kind, error)
    }
}

/// Gives a bare errno the name of the call that returned it.
pub trait SyscallResult<T> {
    /// Names the call. `call` runs only when there is an error to describe.
    fn call(self, call: impl FnOnce() -> String) -> Result<T>;
}

impl<T> SyscallResult<T> for nix::Result<T> {
    fn call(self, call: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| SyscallError::new(call(), errno))
    }
}

impl<T> SyscallResult<T> for std::io::Result<T> {
    fn call(self, call: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            // An io::Error that std made itself (a short read, a NUL in a name) has no errno.
            let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
            SyscallError::new(call(), errno)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_a_line_of_strace() {
        let error = SyscallError::new("mount(\"proc\", \"/proc\")", Errno::EPERM);
        assert_eq!(
            error.to_string(),
            "mount(\"proc\", \"/proc\"): Operation not permitted (os error 1)"
        );
    }
}
