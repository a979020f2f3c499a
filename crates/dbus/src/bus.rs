//! One connection to a D-Bus socket: authentication, calls and their answers, signals.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::error::{Error, Result};
use crate::message::{self, FIXED, Kind, Message};
use crate::value::Value;

/// How long any answer may take: a busy service manager takes seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a bus listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Address {
    Path(String),
    Abstract(String),
}

impl Address {
    fn text(&self) -> String {
        match self {
            Self::Path(path) => path.clone(),
            Self::Abstract(name) => format!("@{name}"),
        }
    }
}

/// The unix sockets in a list of addresses (D-Bus specification, "Server Addresses").
pub fn addresses(list: &str) -> Vec<Address> {
    let one = |address: &str| {
        let options = address.strip_prefix("unix:")?;
        options.split(',').find_map(|option| {
            let (key, value) = option.split_once('=')?;
            let value = unescape(value)?;
            match key {
                "path" => Some(Address::Path(value)),
                "abstract" => Some(Address::Abstract(value)),
                _ => None,
            }
        })
    };
    list.split(';').filter_map(one).collect()
}

/// Where the system's bus is, by the environment or by custom.
pub fn system_addresses() -> Vec<Address> {
    let set = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
    match addresses(&set) {
        list if list.is_empty() => vec![Address::Path("/run/dbus/system_bus_socket".into())],
        list => list,
    }
}

/// `%2d` is a byte in hexadecimal.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first == b'%' {
            let digits = std::str::from_utf8(others.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &others[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// A connection on which calls can be made.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    address: String,
    serial: u32,
    signals: Vec<Message>,
}

/// A wait with an end, and a name for its error.
struct Wait<'a> {
    call: &'a str,
    end: Instant,
}

impl Bus {
    /// Connects and proves who we are.
    pub fn connect(address: &Address) -> Result<Self> {
        let text = address.text();
        let stream = open(address).map_err(|source| Error::Connect {
            address: text.clone(),
            source,
        })?;
        let mut bus = Self {
            stream,
            address: text,
            serial: 0,
            signals: Vec::new(),
        };
        bus.authenticate()?;
        Ok(bus)
    }

    /// Makes itself known to a bus, which answers nobody before. A service's own socket needs none.
    pub fn hello(&mut self) -> Result<()> {
        self.daemon("Hello", &[]).map(drop)
    }

    /// Calls the bus itself (D-Bus specification, "Message Bus Messages").
    pub fn daemon(&mut self, method: &str, arguments: &[Value]) -> Result<Vec<Value>> {
        const DAEMON: (&str, &str, &str) = (
            "org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus",
        );
        self.call(DAEMON, method, arguments)
    }

    /// By the credentials of the socket alone: a user id in the message would be the one inside
    /// of our user namespace. All in one piece: a manager that finds a message behind the last
    /// line of this in what it has read may leave it lying.
    fn authenticate(&mut self) -> Result<()> {
        let wait = &Wait::new("AUTH EXTERNAL");
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n", wait)?;
        loop {
            let line = self.line(wait)?;
            match line.split(' ').next() {
                Some("DATA") => {}
                Some("OK") => return Ok(()),
                _ => {
                    let source =
                        io::Error::new(io::ErrorKind::PermissionDenied, format!("{line:?}"));
                    return Err(self.broken(wait, source));
                }
            }
        }
    }

    fn line(&mut self, wait: &Wait<'_>) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            self.fill(&mut byte, wait)?;
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls a method and answers what it returns. Signals that come meanwhile are kept.
    pub fn call(
        &mut self,
        (to, path, interface): (&str, &str, &str),
        method: &str,
        arguments: &[Value],
    ) -> Result<Vec<Value>> {
        self.serial += 1;
        let name = named(method, arguments);
        let wait = &Wait::new(&name);
        let message = message::call(self.serial, to, path, interface, method, arguments);
        self.send(&message, wait)?;
        loop {
            let message = self.receive(wait)?;
            match message.kind {
                Kind::Signal => self.signals.push(message),
                Kind::Return if message.reply_to == self.serial => return Ok(message.body),
                Kind::Error if message.reply_to == self.serial => {
                    return Err(refused(to, name, message));
                }
                _ => {}
            }
        }
    }

    /// Waits until `wanted` finds what it looks for in a signal; `what` is for the error.
    pub fn signal<T>(&mut self, what: &str, wanted: impl Fn(&Message) -> Option<T>) -> Result<T> {
        let wait = &Wait::new(what);
        loop {
            let found = self.signals.iter().find_map(&wanted);
            self.signals.clear();
            if let Some(found) = found {
                return Ok(found);
            }
            let message = self.receive(wait)?;
            if message.kind == Kind::Signal {
                self.signals.push(message);
            }
        }
    }

    fn send(&mut self, bytes: &[u8], wait: &Wait<'_>) -> Result<()> {
        let sent = self
            .stream
            .set_write_timeout(Some(wait.left()))
            .and_then(|()| self.stream.write_all(bytes));
        sent.map_err(|source| self.broken(wait, source))
    }

    fn receive(&mut self, wait: &Wait<'_>) -> Result<Message> {
        let mut fixed = [0; FIXED];
        self.fill(&mut fixed, wait)?;
        let size = message::size(&fixed).map_err(|source| self.broken(wait, source))?;
        let mut bytes = fixed.to_vec();
        bytes.resize(size, 0);
        self.fill(&mut bytes[FIXED..], wait)?;
        message::parse(&bytes).map_err(|source| self.broken(wait, source))
    }

    fn fill(&mut self, mut buffer: &mut [u8], wait: &Wait<'_>) -> Result<()> {
        while !buffer.is_empty() {
            let read = self
                .stream
                .set_read_timeout(Some(wait.left()))
                .and_then(|()| self.stream.read(buffer));
            match read {
                Ok(0) => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(self.broken(wait, source));
                }
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.broken(wait, source)),
            }
        }
        Ok(())
    }

    fn broken(&self, wait: &Wait<'_>, source: io::Error) -> Error {
        let (address, call) = (self.address.clone(), wait.call.to_owned());
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Late {
                address,
                call,
                patience: PATIENCE,
            },
            _ => Error::Broken {
                address,
                call,
                source,
            },
        }
    }
}

impl<'a> Wait<'a> {
    fn new(call: &'a str) -> Self {
        let end = Instant::now() + PATIENCE;
        Self { call, end }
    }

    /// Never zero, which would mean for ever.
    fn left(&self) -> Duration {
        let left = self.end.saturating_duration_since(Instant::now());
        left.max(Duration::from_millis(1))
    }
}

/// A listener whose queue is full would hold a plain connect for ever.
fn open(address: &Address) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let patience = TimeVal::seconds(PATIENCE.as_secs().cast_signed());
    setsockopt(&fd, sockopt::SendTimeout, &patience)?;
    let place = match address {
        Address::Path(path) => UnixAddr::new(path.as_str())?,
        Address::Abstract(name) => UnixAddr::new_abstract(name.as_bytes())?,
    };
    connect(fd.as_raw_fd(), &place)?;
    Ok(fd.into())
}

/// `StartTransientUnit("a.scope")`: the method and its first argument.
pub fn named(method: &str, arguments: &[Value]) -> String {
    match arguments.first() {
        Some(Value::Str(text)) => format!("{method}({text:?})"),
        _ => method.to_owned(),
    }
}

fn refused(to: &str, call: String, message: Message) -> Error {
    let text = match message.body.into_iter().next() {
        Some(Value::Str(text)) => text,
        _ => String::new(),
    };
    Error::Refused {
        to: to.to_owned(),
        call,
        name: message.member,
        text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unescaped_and_others_than_unix_left_out() {
        let list = "tcp:host=x;unix:path=/run/user/0/bus,guid=ab;unix:abstract=%2ftmp%2Fx";
        let wanted = [
            Address::Path("/run/user/0/bus".into()),
            Address::Abstract("/tmp/x".into()),
        ];
        assert_eq!(addresses(list), wanted);
        assert!(addresses("unix:path=%2").is_empty());
        assert!(addresses("").is_empty());
    }
}
