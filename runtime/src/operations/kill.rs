//! `kill`: a signal for a container.

use anyhow::{Context, Result, bail};

use crate::container::{Container, Recipients, Status};
use crate::container_id::ContainerId;
use crate::state_dir::StateRoot;

/// Sends `signal` (name or number) to the container `id`.
pub fn run(root: &StateRoot, id: &str, signal: &str, recipients: Recipients) -> Result<()> {
    let id = ContainerId::parse(id)?;
    let signal = parse(signal)?;
    let container = Container::open(root, &id)?;
    let all_stopped = recipients == Recipients::All && container.status()? == Status::Stopped;
    if all_stopped
        && container
            .cgroup()
            .and_then(|cgroup| Ok(cgroup.processes()?))
            .is_ok_and(|p| p.is_empty())
    {
        return Ok(());
    }
    container
        .kill(signal, recipients)
        .with_context(|| format!("kill container {:?}", id.as_str()))
}

/// Signal names that are no `SIGRTMIN` (signal(7)), with their numbers on x86 and ARM.
const NAMES: [(&str, i32); 36] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// A signal by number, `TERM`, `SIGTERM`, `RTMIN+3`, in any case. 0 only asks whether somebody is
/// there (kill(2)).
pub fn parse(text: &str) -> Result<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) {
            Ok(number)
        } else {
            bail!("unknown signal {text:?}")
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let (base, offset) = match name.find(['+', '-']).map(|at| name.split_at(at)) {
        Some((base @ ("RTMIN" | "RTMAX"), offset)) => (base, offset.parse::<i32>().ok()),
        Some(_) => (name, None),
        None => (name, Some(0)),
    };
    let number = NAMES.iter().find(|(known, _)| *known == base).zip(offset);
    match number.map(|((_, number), offset)| number + offset) {
        Some(number @ 1..=64) => Ok(number),
        _ => bail!("unknown signal {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_in_any_case() {
        for (text, number) in [
            ("0", 0),
            ("15", 15),
            ("TERM", 15),
            ("sigterm", 15),
            ("SigKill", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in [
            "", "65", "-1", "FOO", "SIG", "TERM+1", "RTMIN+99", "RTMIN+x",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
