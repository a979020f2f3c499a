//! Keeping the container's hands off this program (CVE-2019-5736).
//!
//! A process that enters a container is visible there as `/proc/<pid>/exe`, and a script whose
//! interpreter is `/proc/self/exe` even runs it. If that link leads to the file on the host's
//! disk, a root user without a user namespace can overwrite it and owns the next start on this
//! host. So the operations that enter a container first run again from a copy in memory that is
//! sealed against every change. docs/decisions/0001 has the alternatives and their cost.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Context, Result};

/// The name of the copy, as `/proc/<pid>/maps` shows it.
const NAME: &CStr = c"davit";

/// Goes on from a sealed copy of this program. Returns if this process is one already.
pub fn run_from_sealed_copy() -> Result<()> {
    let mut own = File::open("/proc/self/exe").context("open(\"/proc/self/exe\")")?;
    if sys::memfd::is_sealed(&own) {
        return Ok(());
    }
    let copy = sys::memfd::sealed_copy(NAME, &mut own).context(
        "copy this program into sealed memory (is /dev/shm's or this cgroup's memory full?)",
    )?;
    let argv: Vec<CString> = std::env::args_os()
        .map(|arg| c_string(arg.into_vec()))
        .collect::<Result<_>>()?;
    let envp: Vec<CString> = std::env::vars_os()
        .map(|(name, value)| c_string([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<_>>()?;
    let argv: Vec<&CStr> = argv.iter().map(CString::as_c_str).collect();
    let envp: Vec<&CStr> = envp.iter().map(CString::as_c_str).collect();
    Err(sys::process::exec_fd(&copy, &argv, &envp))
        .context("execute the sealed copy of this program (vm.memfd_noexec=2 forbids it)")
}

fn c_string(bytes: Vec<u8>) -> Result<CString> {
    CString::new(bytes).context("a NUL byte in an argument")
}
