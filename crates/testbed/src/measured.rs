//! A command whose time on the processor and largest memory are written down.
//!
//! The kernel counts the memory of whoever spawned a process into that process's largest, so the
//! one that measures has to be small: a program of its own, not the test.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::{Error, IoContext, Result};

/// What a command used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Time on processors, in user programs and in the kernel.
    pub cpu: Duration,
    /// The largest resident set, in bytes.
    pub peak: u64,
}

/// Runs `command` with this process's streams and writes what it used to the file `place`.
pub fn run(place: &Path, command: &[String]) -> Result<ExitStatus> {
    let (program, args) = command
        .split_first()
        .ok_or_else(|| Error::Host("no command to measure".into()))?;
    let child = Command::new(program).args(args).spawn();
    let child = child.because(|| format!("spawn {program}"))?;
    let ended = sys::process::reap_with_usage(child.id());
    let (status, usage) = ended.map_err(|error| Error::Host(error.to_string()))?;
    let text = format!("{} {}", usage.cpu.as_micros(), usage.peak);
    std::fs::write(place, text).because(|| format!("write {place:?}"))?;
    Ok(status)
}

/// The status as a shell tells it: 128 and the signal, if one ended the command.
pub fn as_a_shell_says(status: ExitStatus) -> u8 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(255) as u8
}

/// What [`run`] wrote to the file `place`.
pub fn usage(place: &Path) -> Result<Usage> {
    let text = std::fs::read_to_string(place).because(|| format!("read {place:?}"))?;
    let mut numbers = text.split(' ').map_while(|number| number.parse().ok());
    let (Some(cpu), Some(peak)) = (numbers.next(), numbers.next()) else {
        return Err(Error::Host(format!(
            "{place:?} has no measurement: {text:?}"
        )));
    };
    let cpu = Duration::from_micros(cpu);
    Ok(Usage { cpu, peak })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_memory_and_status_are_those_of_the_command() {
        let place = tempfile::NamedTempFile::new().unwrap();
        let line = "x=$(head -c 33554432 /dev/zero | tr '\\0' x); [ ${#x} = 33554432 ]; kill -9 $$";
        let command = ["sh", "-c", line].map(String::from);
        let status = run(place.path(), &command).unwrap();
        assert_eq!(as_a_shell_says(status), 137);
        let usage = usage(place.path()).unwrap();
        assert!(usage.peak > 32 << 20 && !usage.cpu.is_zero(), "{usage:?}");
    }
}
