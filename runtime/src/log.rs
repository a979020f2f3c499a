//! `--log` and `--log-format`: where errors and warnings go, and in which shape.
//!
//! go-runc reads the log file as a stream of JSON objects and takes the last one of level
//! `error`; podman parses the whole file as one object. So an error is exactly one record, and
//! warnings go to stderr only.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result};

/// Shape of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="..." level=error msg="..."`.
    #[default]
    Text,
    /// `{"level":"error","msg":"...","time":"..."}`.
    Json,
}

struct Log {
    file: Option<File>,
    format: Format,
    debug: bool,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log. Called once, before anything can fail.
pub fn init(path: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    let file = path.map(open).transpose()?;
    // A second call would be a mistake of main; the first log stays.
    let _ = LOG.set(Log {
        file,
        format,
        debug,
    });
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_CLOEXEC | libc::O_SYNC);
    options
        .open(path)
        .with_context(|| format!("open log file {path:?}"))
}

/// Reports the error that ends this program: to the log file and to stderr.
pub fn report(error: &anyhow::Error) {
    let message = printable(&format!("{error:#}"));
    let log = LOG.get();
    let format = log.map_or(Format::Text, |log| log.format);
    if let Some(file) = log.and_then(|log| log.file.as_ref()) {
        let mut file = file;
        // Nowhere is left to report a failing log to but stderr, which follows anyway.
        let _ = file.write_all(record("error", &message, format).as_bytes());
        stderr(&format!("davit: {message}\n"));
    } else if format == Format::Json {
        stderr(&record("error", &message, Format::Json));
    } else {
        stderr(&format!("davit: {message}\n"));
    }
}

/// The message on one line, without what a terminal would obey: parts of it may come from an
/// image. A usage text keeps its lines.
fn printable(message: &str) -> String {
    let escape = |c: char| match c {
        '\n' | '\t' => String::from(c),
        c if c.is_control() => c.escape_default().to_string(),
        c => String::from(c),
    };
    message.chars().map(escape).collect()
}

/// Says something that does not end the program, on stderr.
pub fn warn(message: &str) {
    stderr(&format!("davit: warning: {}\n", printable(message)));
}

/// Writes a record to the log file if `--debug` is given.
pub fn debug(message: &str) {
    let Some(log) = LOG.get().filter(|log| log.debug) else {
        return;
    };
    let record = record("debug", message, log.format);
    match log.file.as_ref() {
        // A lost debug record must not fail a container.
        Some(mut file) => drop(file.write_all(record.as_bytes())),
        None => stderr(&record),
    }
}

fn stderr(text: &str) {
    // stderr may be closed or full; there is nowhere else to say so.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn record(level: &str, message: &str, format: Format) -> String {
    let time = crate::time::rfc3339(SystemTime::now());
    match format {
        Format::Text => format!("time={time:?} level={level} msg={message:?}\n"),
        Format::Json => {
            let record = serde_json::json!({"level": level, "msg": message, "time": time});
            format!("{record}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_record_is_one_line_that_parses() {
        let line = record("error", "path \"a\nb\"", Format::Json);
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["msg"], "path \"a\nb\"");
        assert_eq!(value["level"], "error");
    }

    #[test]
    fn an_image_cannot_write_to_the_terminal() {
        assert_eq!(printable("a\x1b[31mb"), "a\\u{1b}[31mb");
    }

    #[test]
    fn a_text_record_keeps_to_one_line() {
        assert_eq!(record("error", "a\nb", Format::Text).lines().count(), 1);
    }
}
