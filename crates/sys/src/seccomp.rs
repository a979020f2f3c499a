//! seccomp(2): loading a finished filter, and asking which actions the kernel knows.
//!
//! What a filter says is the caller's business (the runtime's `seccomp` module compiles it).

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Result, SyscallError, SyscallResult};

/// One instruction of classic BPF, laid out as `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation, size and mode.
    pub code: u16,
    /// How many instructions to skip if the test holds.
    pub jt: u8,
    /// How many instructions to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// Whether calls that end in `SECCOMP_RET_USER_NOTIF` are put before a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// No call of the filter does.
    None,
    /// The filter's listener is wanted (`SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0).
    New,
}

/// Puts a filter on the calling thread, for good.
///
/// Needs `no_new_privs` or `CAP_SYS_ADMIN` (`EACCES`). `EINVAL` for a program that the kernel's
/// checker refuses or a flag it does not know. The descriptor is the listener, close-on-exec.
pub fn load(program: &[Instruction], flags: u32, listener: Listener) -> Result<Option<OwnedFd>> {
    let flags = match listener {
        Listener::None => libc::c_ulong::from(flags),
        Listener::New => libc::c_ulong::from(flags) | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
    };
    let call = || {
        format!(
            "seccomp(SECCOMP_SET_MODE_FILTER, {flags:#x}, [{} instructions])",
            program.len()
        )
    };
    let Ok(len) = u16::try_from(program.len()) else {
        return Err(SyscallError::new(call(), Errno::EINVAL));
    };
    // The kernel only reads what `filter` points to, whatever the type says.
    let fprog = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `fprog` and the `len` instructions it points to, which are laid out as the kernel's,
    // outlive the call, which copies them.
    let status = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const fprog,
        )
    };
    let status = Errno::result(status).call(call)?;
    Ok(match listener {
        Listener::None => None,
        // SAFETY: with NEW_LISTENER the call returns a new descriptor that nobody else owns; a
        // descriptor fits an int.
        Listener::New => Some(unsafe { OwnedFd::from_raw_fd(status as libc::c_int) }),
    })
}

/// Whether the kernel knows a filter's return action (`SECCOMP_RET_*`, without data).
pub fn action_is_available(action: u32) -> Result<bool> {
    // SAFETY: the kernel reads the four bytes of `action`, which outlive the call.
    let status = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    match Errno::result(status) {
        Ok(_) => Ok(true),
        Err(Errno::EOPNOTSUPP) => Ok(false),
        Err(errno) => {
            let call = format!("seccomp(SECCOMP_GET_ACTION_AVAIL, {action:#x})");
            Err(SyscallError::new(call, errno))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_that_we_run_on_can_allow() {
        assert!(action_is_available(libc::SECCOMP_RET_ALLOW).unwrap());
        assert!(!action_is_available(0x1234_0000).unwrap());
    }

    #[test]
    fn a_program_that_the_checker_refuses_is_an_error() {
        let error = load(&[], 0, Listener::None).unwrap_err();
        assert_eq!(error.errno(), Errno::EINVAL);
        let too_long = vec![
            Instruction {
                code: 6,
                jt: 0,
                jf: 0,
                k: 0
            };
            70_000
        ];
        assert_eq!(
            load(&too_long, 0, Listener::None).unwrap_err().errno(),
            Errno::EINVAL
        );
    }
}
