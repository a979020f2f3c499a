//! The plugin's end of the daemon's socket: one request, one reply, bounded in time.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use cni::{Code, Error};

use crate::FOREIGN;
use crate::protocol::{self, Operation, Reply, Request, Response, VERSION};

/// For what the daemon answers at once.
pub(crate) const SHORT: Duration = Duration::from_secs(10);

/// Asks the daemon and waits for its reply.
///
/// Code 11 when there is no daemon (the reference's words for it stand in the message) or no
/// reply in time; [`FOREIGN`] when something else listens there.
pub(crate) fn ask(socket: &Path, operation: Operation, patience: Duration) -> Result<Reply, Error> {
    let mut stream =
        Bounded::connect(socket, patience).map_err(|error| unreachable(socket, &error))?;
    refuse_others(&stream.stream, socket)?;
    let request = Request {
        version: VERSION,
        operation,
    };
    let talked = protocol::send(&mut stream, &request)
        .and_then(|()| protocol::receive::<Response>(&mut stream));
    let response = talked.map_err(|error| broken(socket, &error, patience))?;
    if response.version != VERSION {
        let msg = format!(
            "DHCP daemon at {socket:?} speaks version {}, the plugin {VERSION}",
            response.version
        );
        return Err(Error::new(FOREIGN, msg).details("restart the daemon after an upgrade"));
    }
    response.reply.into_result()
}

/// Only root and who we are: anybody else could hand out addresses of his own.
fn refuse_others(stream: &UnixStream, socket: &Path) -> Result<(), Error> {
    let foreign = |details: String| {
        let msg = format!("DHCP daemon at {socket:?} is not ours");
        Err(Error::new(FOREIGN, msg).details(details))
    };
    match sys::socket::peer_uid(stream) {
        Ok(uid) if uid == 0 || uid == own_uid() => Ok(()),
        Ok(uid) => foreign(format!("it listens as user {uid}")),
        Err(error) => foreign(error.to_string()),
    }
}

/// The effective user.
pub(crate) fn own_uid() -> u32 {
    let status = std::fs::metadata("/proc/self");
    status.map_or(0, |metadata| std::os::unix::fs::MetadataExt::uid(&metadata))
}

fn unreachable(socket: &Path, error: &sys::SyscallError) -> Error {
    let reason = error.errno().desc().to_lowercase();
    let msg = format!(
        "error dialing DHCP daemon: dial unix {}: {reason}",
        socket.display()
    );
    Error::new(Code::TRY_AGAIN, msg).details("`dhcp daemon` has to run on the host")
}

fn broken(socket: &Path, error: &io::Error, patience: Duration) -> Error {
    let code = match error.kind() {
        io::ErrorKind::InvalidData => FOREIGN,
        _ => Code::TRY_AGAIN,
    };
    let what = match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            format!("no reply within {} s", patience.as_secs())
        }
        io::ErrorKind::UnexpectedEof => "it hung up without a reply".into(),
        _ => error.to_string(),
    };
    Error::new(
        code,
        format!("error calling DHCP daemon at {socket:?}: {what}"),
    )
}

/// A stream whose waits end together.
struct Bounded {
    stream: UnixStream,
    deadline: Instant,
}

impl Bounded {
    fn connect(socket: &Path, patience: Duration) -> sys::Result<Self> {
        let deadline = Instant::now() + patience;
        let stream = sys::socket::connect_stream(socket, patience)?;
        Ok(Self {
            stream: stream.into(),
            deadline,
        })
    }

    /// A timeout of zero would be none.
    fn left(&self) -> Option<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        Some(left.max(Duration::from_millis(1)))
    }
}

impl io::Read for Bounded {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left())?;
        self.stream.read(bytes)
    }
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left())?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
