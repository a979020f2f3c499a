//! CRIU's log: the lines that say why it failed. Its response only says that it did.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the log's end is looked at, in bytes.
const TAIL: u64 = 256 * 1024;

/// How many errors are told.
const LINES: usize = 4;

/// The last errors of the log at `path`, for one line of ours that names it.
pub fn excerpt(path: &Path) -> String {
    match tail(path) {
        Ok(text) => format!("{path:?} says: {}", errors(&text)),
        Err(error) => format!("its log {path:?} cannot be read: {error}"),
    }
}

fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last lines that are errors, or the very last one if none is.
fn errors(text: &str) -> String {
    let mut lines = text.lines().map(without_time);
    let mut errors: Vec<&str> = lines
        .clone()
        .filter(|line| line.contains("Error ("))
        .collect();
    if errors.is_empty() {
        errors.extend(lines.rfind(|line| !line.is_empty()));
    }
    if errors.is_empty() {
        return "nothing".into();
    }
    let first = errors.len().saturating_sub(LINES);
    errors[first..].join("; ")
}

/// A line without its `(00.012345)`, the time since the start.
fn without_time(line: &str) -> &str {
    let after = line
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'))
        .filter(|(time, _)| {
            time.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'.')
        });
    after.map_or(line, |(_, rest)| rest).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_errors_are_told_without_their_times() {
        let mut text = String::from("(00.000001) Version: 4.2\n");
        for number in 1..=6 {
            text += &format!("(00.00{number}) Error (criu/x.c:{number}): no {number}\n");
        }
        text += "(00.1) Unfreezing tasks\n";
        assert_eq!(
            errors(&text),
            "Error (criu/x.c:3): no 3; Error (criu/x.c:4): no 4; Error (criu/x.c:5): no 5; \
             Error (criu/x.c:6): no 6"
        );
        assert_eq!(errors("(00.1) a\n(00.2) b\n"), "b");
        assert_eq!(
            errors("(00.1)  7: Error (criu/y.c:1): x\n"),
            "7: Error (criu/y.c:1): x"
        );
    }

    #[test]
    fn a_missing_log_is_named() {
        let text = excerpt(Path::new("/nowhere/dump.log"));
        assert!(text.contains("/nowhere/dump.log"), "{text}");
    }
}
