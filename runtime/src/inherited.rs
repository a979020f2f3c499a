//! Descriptors that the caller left open in this program.

use anyhow::{Result, bail};

/// Checks that descriptors 3 to 3 + `preserved` - 1 are there, as `--preserve-fds` says, and keeps
/// all others from the programs that this one starts, hooks included.
///
/// To be called before anything is opened: later a number that the caller forgot may be ours, and
/// the container would get a descriptor of the host (the class of CVE-2024-21626).
pub fn claim(preserved: i32) -> Result<()> {
    for number in 0..preserved {
        if !sys::process::is_open(3 + number) {
            bail!("unable to stat preserved-fd {number} (of {preserved}): bad file descriptor");
        }
    }
    Ok(sys::process::close_on_exec_from(3 + preserved)?)
}
