//! How long each step of a hook took, in a log file that was asked for; silent otherwise.
//!
//! One line per step, appended when the step ends, so that hooks of many containers share a file:
//! `2026-11-22T21:30:00.123Z create-runtime c1: attach front: 41.2 ms`. A log that cannot be
//! written hinders nobody.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sys::Dir;

/// Where steps are written, and in whose name.
#[derive(Clone, Debug)]
pub struct Timings {
    file: Option<PathBuf>,
    /// `create-runtime c1`.
    subject: String,
}

impl Timings {
    /// Writes to `file`, if there is one.
    pub fn new(file: Option<&Path>, subject: impl Into<String>) -> Self {
        Self {
            file: file.map(Path::to_owned),
            subject: subject.into(),
        }
    }

    /// Runs one step and writes down how long it took, and why it failed.
    pub fn step<T, E: Display>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let start = Instant::now();
        let done = step();
        let took = start.elapsed().as_secs_f64() * 1000.0;
        self.say(&match &done {
            Ok(_) => format!("{name}: {took:.1} ms"),
            Err(error) => format!("{name}: {took:.1} ms: {error:#}"),
        });
        done
    }

    /// Writes down what nobody has to act on.
    pub fn say(&self, text: &str) {
        let Some(file) = &self.file else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let text = text.replace('\n', " ");
        let (time, subject) = (utc(now.unwrap_or_default()), &self.subject);
        // Nobody could be told.
        let _ = append(file, &format!("{time} {subject}: {text}\n"));
    }
}

fn append(file: &Path, line: &str) -> sys::Result<()> {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let dir = Dir::open(parent.unwrap_or(Path::new(".")))?;
    dir.append(file.file_name().unwrap_or_default(), line.as_bytes(), 0o600)
}

/// RFC 3339, with milliseconds.
pub(crate) fn utc(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = date(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since_epoch.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The Gregorian date of a day since 1970-01-01.
fn date(mut days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    let lengths = [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    for length in lengths {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_rfc_3339() {
        // date -u -d @SECONDS
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn steps_are_lines_of_a_file_and_nothing_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let mut timings = Timings::new(Some(&file), "poststop c1");
        timings.step("good", || Ok::<_, String>(())).unwrap();
        let failed = timings.step("bad", || Err::<(), _>("two\nlines"));
        assert_eq!(failed.unwrap_err(), "two\nlines");
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("Z poststop c1: good: ") && lines[0].ends_with(" ms"));
        assert!(lines[1].ends_with(" ms: two lines"), "{text}");
        Timings::new(None, "x").say("unheard");
    }
}
