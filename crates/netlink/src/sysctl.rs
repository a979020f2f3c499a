//! Settings under `/proc/sys/net`.
//!
//! The kernel shows there the namespace of the thread that opens the file, so calls for a
//! container run inside [`sys::NetNs::run`].

use std::fs::OpenOptions;
use std::io::Write;

use sys::{Result, SyscallResult};

/// Reads a setting: `read("ipv4/ip_forward")`. Interface names with dots need no quoting.
pub fn read(name: &str) -> Result<String> {
    let path = format!("/proc/sys/net/{name}");
    let text = std::fs::read_to_string(&path).call(|| format!("read({path:?})"))?;
    Ok(text.trim_end().to_owned())
}

/// Gives a setting a value, unless it has it already: many hosts mount /proc/sys read-only.
pub fn ensure(name: &str, value: &str) -> Result<()> {
    if read(name).is_ok_and(|present| present == value) {
        return Ok(());
    }
    let path = format!("/proc/sys/net/{name}");
    let call = || format!("write({path:?}, {value:?})");
    let mut file = OpenOptions::new().write(true).open(&path).call(call)?;
    file.write_all(value.as_bytes()).call(call)
}
