//! A seccomp profile (config-linux.md, "Seccomp") compiled to the classic BPF that the kernel runs.
//!
//! Pure: the same profile gives the same program, and nothing is asked of the kernel. Loading is
//! `sys::seccomp`, and sending the listener to `listenerPath` is the launcher's business.
//!
//! What a profile means is kept as runc with libseccomp has it, because profiles were written
//! against that:
//! - A system call that several rules name: one without `args` decides alone, the first such in
//!   the profile's order. Otherwise the rule with the most conditions that holds, the first in
//!   the profile's order among equals; otherwise `defaultAction`.
//! - `args` must all hold, except that a rule with two conditions on one argument is read as one
//!   rule per condition.
//! - Unknown names and rules that say what `defaultAction` says anyway are skipped.
//! - An architecture that is not listed is killed; the native one is always listed.
//! - If `defaultAction` is a refusal, calls newer than every call that the profile names get
//!   `ENOSYS`, so that a C library newer than the profile falls back.

mod arch;
mod assembler;
mod program;
#[cfg(any(test, fuzzing))]
pub mod reading;
mod rules;
mod syscall_numbers;
#[cfg(test)]
mod tests;

use oci::LinuxSeccomp;
use oci::LinuxSeccompOperator as Operator;

pub use arch::Arch;
pub use rules::{ACTIONS, FLAGS, OPERATORS};
pub use sys::seccomp::Instruction;

/// A compiled profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// At most 4096 instructions (`BPF_MAXINSNS`).
    pub filters: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2), without `NEW_LISTENER`.
    pub flags: u32,
    /// Whether some call ends in `SECCOMP_RET_USER_NOTIF`, so that a listener is needed.
    pub notify: bool,
}

/// Why a profile is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A property has a value that means nothing, or that contradicts another.
    #[error("{pointer}: {reason}")]
    Property {
        /// JSON pointer (RFC 6901) into config.json.
        pointer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The kernel would not take the program.
    #[error("/linux/seccomp: the filter has {0} instructions, the kernel takes at most 4096")]
    TooLong(usize),
}

/// Compiles `profile` for a machine whose kernel is `native`.
pub fn compile(profile: &LinuxSeccomp, native: Arch) -> Result<Program, Error> {
    let rules = rules::Rules::read(profile, native)?;
    let filters = program::assemble(&rules);
    if filters.len() > 4096 {
        return Err(Error::TooLong(filters.len()));
    }
    Ok(Program {
        filters,
        flags: rules.flags,
        notify: rules.notify,
    })
}
