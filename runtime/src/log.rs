//! `--log`, `--log-format`, `--log-level`: where errors and warnings go, and in which shape.
//!
//! go-runc reads the log file as a stream of JSON objects and takes the last one of level
//! `error`; podman parses the whole file as one object. So an error is exactly one record, and
//! at the default level nothing else is written to the log; warnings go to stderr only.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::fault::{Code, Fault};

/// Shape of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="..." level=error msg="..."`.
    #[default]
    Text,
    /// `{"level":"error","msg":"...","time":"..."}`.
    Json,
}

/// The least important records that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What ended the operation.
    #[default]
    Error,
    /// What did not.
    Warning,
    /// The steps.
    Debug,
}

impl Level {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Debug => "debug",
        }
    }

    /// The priority of syslog(3).
    fn priority(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Debug => 7,
        }
    }
}

/// Where records go, beside stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file, appended to.
    File(PathBuf),
    /// systemd's journal, with this identifier.
    Journal(String),
    /// syslog(3), with this identifier.
    Syslog(String),
}

impl Target {
    /// A path, or `file:PATH`, `journald:IDENTIFIER`, `syslog:IDENTIFIER`.
    pub fn parse(text: &Path) -> Self {
        let named = |name: &str| match name {
            "" => "davit".to_owned(),
            name => name.to_owned(),
        };
        match text.to_str().and_then(|text| text.split_once(':')) {
            Some(("file", path)) => Self::File(path.into()),
            Some(("journald", name)) => Self::Journal(named(name)),
            Some(("syslog", name)) => Self::Syslog(named(name)),
            _ => Self::File(text.to_owned()),
        }
    }
}

enum Sink {
    File(File),
    Journal(UnixDatagram, String),
    Syslog(UnixDatagram, String),
}

struct Log {
    sink: Option<Sink>,
    format: Format,
    level: Level,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Opens the log. Called once, before anything can fail.
pub fn init(target: Option<&Target>, format: Format, level: Level) -> Result<()> {
    let sink = target.map(open).transpose()?;
    // A second call would be a mistake of main; the first log stays.
    let _ = LOG.set(Log {
        sink,
        format,
        level,
    });
    Ok(())
}

fn open(target: &Target) -> Result<Sink> {
    match target {
        Target::File(path) => open_file(path).map(Sink::File),
        Target::Journal(name) => Ok(Sink::Journal(
            connect("/run/systemd/journal/socket")?,
            name.clone(),
        )),
        Target::Syslog(name) => Ok(Sink::Syslog(connect("/dev/log")?, name.clone())),
    }
}

fn open_file(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o644)
        // A FIFO that nobody reads must hold no container up, neither now nor when it is full.
        .custom_flags(libc::O_CLOEXEC | libc::O_SYNC | libc::O_NONBLOCK);
    options.open(path).with_context(|| match is_fifo(path) {
        true => format!("open log file {path:?}, a FIFO that nobody reads"),
        false => format!("open log file {path:?}"),
    })
}

fn is_fifo(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|about| about.file_type().is_fifo())
}

fn connect(path: &str) -> Result<UnixDatagram> {
    let socket = UnixDatagram::unbound().context("socket(AF_UNIX)")?;
    socket
        .connect(path)
        .with_context(|| format!("--log: connect({path:?})"))?;
    // A daemon that does not read must not hold a container up.
    socket
        .set_nonblocking(true)
        .context("fcntl(O_NONBLOCK) of the log socket")?;
    Ok(socket)
}

/// Reports the failure that ends this program: to the log and to stderr.
pub fn report(fault: &Fault) {
    let message = printable(&fault.to_string());
    let log = LOG.get();
    let format = log.map_or(Format::Text, |log| log.format);
    let record = Record {
        level: Level::Error,
        message: &message,
        fault: Some(fault),
    };
    let logged = log.and_then(|log| log.sink.as_ref());
    if let Some(sink) = logged {
        sink.write(&record, format);
    }
    if logged.is_none() && format == Format::Json {
        stderr(&record.json());
    } else {
        let hint = match fault.code() {
            Code::Failed => String::new(),
            _ => format!("davit: hint: {}\n", printable(fault.remedy())),
        };
        // A usage error begins with the program's name, as runc's does.
        let message = message.strip_prefix("davit: ").unwrap_or(&message);
        stderr(&format!("davit: {message}\n{hint}"));
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

/// Says something that does not end the program, on stderr; in the log at its own level only.
pub fn warn(message: &str) {
    let message = printable(message);
    stderr(&format!("davit: warning: {message}\n"));
    write(Level::Warning, &message);
}

/// Writes a record to the log if the level is `debug`.
pub fn debug(message: &str) {
    let Some(log) = LOG.get().filter(|log| log.level == Level::Debug) else {
        return;
    };
    let message = printable(message);
    if log.sink.is_some() {
        return write(Level::Debug, &message);
    }
    let record = Record {
        level: Level::Debug,
        message: &message,
        fault: None,
    };
    stderr(&record.shaped(log.format));
}

fn write(level: Level, message: &str) {
    let Some(log) = LOG.get().filter(|log| log.level >= level) else {
        return;
    };
    if let Some(sink) = &log.sink {
        let record = Record {
            level,
            message,
            fault: None,
        };
        sink.write(&record, log.format);
    }
}

fn stderr(text: &str) {
    // stderr may be closed or full; there is nowhere else to say so.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

struct Record<'a> {
    level: Level,
    message: &'a str,
    fault: Option<&'a Fault>,
}

impl Sink {
    /// Writes a record. Nowhere is left to report a failing log to but stderr, where what
    /// matters is said anyway.
    fn write(&self, record: &Record<'_>, format: Format) {
        match self {
            Self::File(file) => {
                let mut file = file;
                drop(file.write_all(record.shaped(format).as_bytes()));
            }
            Self::Journal(socket, name) => drop(socket.send(record.journal(name).as_bytes())),
            Self::Syslog(socket, name) => drop(socket.send(record.syslog(name).as_bytes())),
        }
    }
}

impl Record<'_> {
    fn shaped(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json(),
        }
    }

    fn text(&self) -> String {
        let time = crate::time::rfc3339(SystemTime::now());
        let (level, message) = (self.level.as_str(), self.message);
        let more = self.fault.map(|fault| {
            let (code, remedy) = (fault.code().as_str(), fault.remedy());
            format!(" code={code} hint={remedy:?}")
        });
        let more = more.unwrap_or_default();
        format!("time={time:?} level={level} msg={message:?}{more}\n")
    }

    fn json(&self) -> String {
        let time = crate::time::rfc3339(SystemTime::now());
        let mut record = json!({"level": self.level.as_str(), "msg": self.message, "time": time});
        if let Some(fault) = self.fault {
            record["code"] = Value::from(fault.code().as_str());
            record["hint"] = Value::from(fault.remedy());
        }
        format!("{record}\n")
    }

    /// The fields that journald takes one a line; a value must not have another line.
    fn journal(&self, name: &str) -> String {
        let line = |text: &str| text.replace('\n', " ");
        let mut fields = format!(
            "MESSAGE={}\nPRIORITY={}\nSYSLOG_IDENTIFIER={}\n",
            line(self.message),
            self.level.priority(),
            line(name)
        );
        if let Some(fault) = self.fault {
            let (code, hint) = (fault.code().as_str(), line(fault.remedy()));
            fields.push_str(&format!("CODE={code}\nHINT={hint}\n"));
        }
        fields
    }

    fn syslog(&self, name: &str) -> String {
        const DAEMON: u8 = 3 << 3;
        let (priority, pid) = (DAEMON | self.level.priority(), std::process::id());
        format!("<{priority}>{name}[{pid}]: {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(message: &'a str, fault: Option<&'a Fault>) -> Record<'a> {
        Record {
            level: Level::Error,
            message,
            fault,
        }
    }

    #[test]
    fn a_json_record_is_one_line_that_parses() {
        let fault = Fault::new(Code::NoSpace, "full").hint("make \"room\"");
        let line = record("path \"a\nb\"", Some(&fault)).json();
        assert_eq!(line.lines().count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["msg"], "path \"a\nb\"");
        assert_eq!(value["level"], "error");
        assert_eq!(value["code"], "no-space");
        assert_eq!(value["hint"], "make \"room\"");
    }

    #[test]
    fn a_fifo_without_a_reader_is_an_error_and_with_one_a_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = open_file(&path).unwrap_err();
        assert!(error.to_string().contains("nobody reads"), "{error}");
        let mut options = OpenOptions::new();
        let reader = options.read(true).custom_flags(libc::O_NONBLOCK);
        let _reader = reader.open(&path).unwrap();
        let mut log = open_file(&path).unwrap();
        // Full at last, and an error then.
        while log.write_all(&[b'x'; 4096]).is_ok() {}
    }

    #[test]
    fn an_image_cannot_write_to_the_terminal() {
        assert_eq!(printable("a\x1b[31mb"), "a\\u{1b}[31mb");
    }

    #[test]
    fn a_text_record_keeps_to_one_line() {
        assert_eq!(record("a\nb", None).text().lines().count(), 1);
    }

    #[test]
    fn a_message_cannot_add_fields_to_the_journal() {
        let fields = record("a\nPRIORITY=0", None).journal("x\nUID=0");
        assert_eq!(fields.lines().count(), 3, "{fields}");
    }

    #[test]
    fn targets_are_named_as_crun_names_them() {
        let parse = |text: &str| Target::parse(Path::new(text));
        assert_eq!(parse("/x/log:1"), Target::File("/x/log:1".into()));
        assert_eq!(parse("file:rel"), Target::File("rel".into()));
        assert_eq!(parse("journald:web"), Target::Journal("web".into()));
        assert_eq!(parse("syslog:"), Target::Syslog("davit".into()));
    }
}
