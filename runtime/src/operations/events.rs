//! `events`: what a container uses, at intervals, and when it runs out of memory, until it ends.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::cgroup::{Cgroup, OomWatch};
use crate::container::{Container, Status};
use crate::container_id::ContainerId;
use crate::log;
use crate::resctrl::{self, Membership};
use crate::state_dir::StateRoot;

/// How often, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics once, now.
    Once,
    /// Statistics each time this has passed, and every lack of memory when it happens.
    Every(Duration),
}

/// Gives `print` a line for each event of the container `id`.
pub fn run(
    root: &StateRoot,
    id: &str,
    mode: Mode,
    print: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<()> {
    if mode == Mode::Every(Duration::ZERO) {
        bail!("duration interval must be greater than 0");
    }
    let id = ContainerId::parse(id)?;
    let container = Container::open(root, &id)?;
    if matches!(container.status()?, Status::Stopped | Status::Creating) {
        bail!("container with id {id} is not running");
    }
    let source = Source {
        cgroup: container.cgroup()?,
        rdt: container.record()?.intel_rdt.as_ref(),
    };
    let mut told = |kind: &str, data: Option<Value>| print(&line(kind, &id, data));
    let ended = match mode {
        Mode::Once => told("stats", Some(source.statistics()?)),
        Mode::Every(interval) => follow(&source, &container.init()?, interval, &mut told),
    };
    match ended {
        // Whoever read has heard enough.
        Err(error) if is_closed_pipe(&error) => Ok(()),
        other => other,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Scripts look for the keys in this order.
fn line(kind: &str, id: &ContainerId, data: Option<Value>) -> String {
    let mut event = json!({"type": kind, "id": id.as_str()});
    if let Some(data) = data {
        event["data"] = data;
    }
    format!("{event}\n")
}

/// Where the numbers come from.
struct Source<'a> {
    cgroup: Cgroup,
    rdt: Option<&'a Membership>,
}

impl Source<'_> {
    fn statistics(&self) -> Result<Value> {
        let mut data = self.cgroup.statistics().context("read the statistics")?;
        let rdt = self.rdt.zip(resctrl::mount_point());
        data["intel_rdt"] = rdt.map_or(json!({}), |(rdt, root)| rdt.statistics(&root));
        // runc's key; it never has any.
        data["network_interfaces"] = Value::Null;
        Ok(data)
    }
}

fn follow(
    source: &Source<'_>,
    init: &OwnedFd,
    interval: Duration,
    told: &mut dyn FnMut(&str, Option<Value>) -> Result<()>,
) -> Result<()> {
    let mut watch = source.cgroup.watch_oom().unwrap_or_else(|error| {
        log::warn(&format!("a lack of memory will not be told: {error}"));
        None
    });
    let mut next = Instant::now() + interval;
    loop {
        let ready = wait(init, watch.as_ref(), next)?;
        // Also at the end: a container that dies for lack of memory dies after that was told.
        if let Some(watch) = watch.as_mut().filter(|_| ready.memory || ready.ended)
            && watch.take()?
        {
            told("oom", None)?;
        }
        if ready.ended || ready.unread {
            return Ok(());
        }
        if Instant::now() >= next {
            told("stats", Some(source.statistics()?))?;
            next = Instant::now() + interval;
        }
    }
}

/// What a wait was ended by; nothing of it, if the time was over.
struct Ready {
    /// Init has ended.
    ended: bool,
    /// Something happened to the container's memory.
    memory: bool,
    /// Nobody reads our output any more.
    unread: bool,
}

fn wait(init: &OwnedFd, watch: Option<&OomWatch>, until: Instant) -> Result<Ready> {
    let stdout = io::stdout();
    let mut fds = vec![
        PollFd::new(init.as_fd(), PollFlags::POLLIN),
        // No flag of ours: errors are always told.
        PollFd::new(stdout.as_fd(), PollFlags::empty()),
    ];
    if let Some(watch) = watch {
        fds.push(PollFd::new(watch.as_fd(), PollFlags::POLLIN));
    }
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up: a wait of 0 ms for the last part of a millisecond would spin.
    let millis = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
    let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("poll(init, stdout, memory)"),
    }
    let any = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
    Ok(Ready {
        ended: any(0),
        unread: any(1),
        memory: any(2),
    })
}

/// A duration as Go writes it: `5s`, `1m30s`, `1.5h`, `100ms`. Nothing below zero is zero.
pub fn parse_interval(text: &str) -> Result<Duration> {
    let invalid = || format!("invalid value {text:?} for flag -interval: parse error");
    match text.strip_prefix('-') {
        Some(rest) => parse_units(rest)
            .with_context(invalid)
            .map(|_| Duration::ZERO),
        None => parse_units(text.strip_prefix('+').unwrap_or(text)).with_context(invalid),
    }
}

fn parse_units(text: &str) -> Option<Duration> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("\u{b5}s", 1e-6),
        ("\u{3bc}s", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    // Go counts nanoseconds in 63 bits: 292 years.
    let valid = !text.is_empty() && seconds < i64::MAX as f64 / 1e9;
    valid.then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_written_as_in_go() {
        for (text, millis) in [
            ("5s", 5000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("100ms", 100),
            ("+2s", 2000),
            ("0", 0),
            ("0s", 0),
            ("-5s", 0),
        ] {
            let parsed = parse_interval(text).unwrap();
            assert_eq!(parsed, Duration::from_millis(millis), "{text}");
        }
        for bad in [
            "",
            "5",
            "s",
            "5x",
            "1.2.3s",
            "5s5",
            "1d",
            "-",
            "1e3s",
            "999999999h",
        ] {
            assert!(parse_interval(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_keys_are_in_the_order_that_scripts_look_for() {
        let id = ContainerId::parse("box").unwrap();
        let stats = line("stats", &id, Some(json!({"pids": {}})));
        assert_eq!(
            stats,
            "{\"type\":\"stats\",\"id\":\"box\",\"data\":{\"pids\":{}}}\n"
        );
        assert_eq!(
            line("oom", &id, None),
            "{\"type\":\"oom\",\"id\":\"box\"}\n"
        );
    }
}
