//! One netlink socket: a request and its answer, a dump, a batch.
//!
//! A socket belongs for ever to the network namespace that the thread was in when it was opened,
//! whatever namespace the threads that use it later are in. So one socket is opened per
//! namespace, with [`Socket::route_in`], and handed around.
//!
//! Promise: a call returns the kernel's answer to exactly this request or an error, within a
//! deadline. A signal, an interrupted dump (`NLM_F_DUMP_INTR`) and a full receive buffer
//! (`ENOBUFS`) are retried here and nowhere else. Not here: what any message means.

use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NLMSG_OVERRUN,
};
use netlink_sys::SocketAddr;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_SOCK_DIAG};
use sys::close_later::CloseLater;
use sys::{Errno, NetNs, SyscallError, SyscallResult};

use crate::attribute;
use crate::error::{Error, Result};

/// The kernel answers at once or is stuck (a driver under the rtnl lock); both have an end.
const PATIENCE: Duration = Duration::from_secs(20);
/// A dump that others keep changing under our hands is given up after this many tries.
const DUMP_TRIES: u32 = 50;
/// The largest datagram the kernel builds for a dump is 32 KiB; one answer may be larger.
const BUFFER: usize = 128 * 1024;
const HEADER: usize = 16;

/// An open netlink socket of one family in one network namespace.
pub struct Socket {
    socket: netlink_sys::Socket,
    family: isize,
    sequence: u32,
    buffer: Vec<u8>,
    /// Behind the socket, because fields are dropped in their order.
    closing: Option<CloseLater>,
}

/// One message of a [`Socket::batch`]: its type, its flags and what follows the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`; `NLM_F_REQUEST` is added.
    pub flags: u16,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// A received message, borrowed from the socket's buffer.
struct Received<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    body: &'a [u8],
}

/// A socket that only listens to a multicast group (`RTNLGRP_*`).
///
/// Not one that also asks: on a busy host events overflow its buffer, and an answer with them.
pub struct Events(Socket);

impl Events {
    /// Listens to the calling thread's namespace, from now on.
    pub fn route(group: u32) -> Result<Self> {
        let socket = Socket::route()?;
        let call = || format!("setsockopt(NETLINK_ADD_MEMBERSHIP, {group})");
        socket.socket.add_membership(group).call(call)?;
        Ok(Self(socket))
    }

    /// Listens to `netns`, from now on.
    pub fn route_in(netns: &NetNs, group: u32) -> Result<Self> {
        netns.run(|| Self::route(group))
    }

    /// Waits until something has happened; false when `deadline` came first. What happened is
    /// not told, because some of it may have been lost: look at the state.
    pub fn wait(&mut self, deadline: Instant) -> Result<bool> {
        match self.0.receive("wait for events", deadline) {
            Ok(()) => Ok(true),
            Err(Error::Timeout { .. }) => Ok(false),
            Err(error) if error.errno() == Some(Errno::ENOBUFS) => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Socket {
    /// The last close of a netfilter socket waits until the kernel has freed all rules that
    /// anybody removed of late (`nft_rcv_nl_event`, Linux 6.10): 8 to 70 ms. That is nothing that
    /// we have to see; decision 0034.
    fn drop(&mut self) {
        if self.family == NETLINK_NETFILTER {
            self.closing = CloseLater::new(&self.socket).ok();
        }
    }
}

enum DumpEnd {
    Complete,
    Interrupted,
}

impl Socket {
    /// A route socket (links, addresses, routes) in the calling thread's namespace.
    pub fn route() -> Result<Self> {
        Self::open(NETLINK_ROUTE)
    }

    /// A route socket in `netns`, usable from anywhere.
    pub fn route_in(netns: &NetNs) -> Result<Self> {
        netns.run(Self::route)
    }

    /// A netfilter socket (nftables, conntrack) in the calling thread's namespace.
    pub fn netfilter() -> Result<Self> {
        Self::open(NETLINK_NETFILTER)
    }

    /// A socket that tells of other sockets (sock_diag(7)), in the calling thread's namespace.
    pub fn diagnosis() -> Result<Self> {
        Self::open(NETLINK_SOCK_DIAG)
    }

    fn open(family: isize) -> Result<Self> {
        let call = || format!("socket(AF_NETLINK, SOCK_RAW, {family})");
        let mut socket = netlink_sys::Socket::new(family).call(call)?;
        socket.bind_auto().call(|| "bind(netlink)".into())?;
        // Better error texts and no echo of our own request; both since Linux 4.12.
        socket
            .set_ext_ack(true)
            .call(|| "setsockopt(NETLINK_EXT_ACK)".into())?;
        socket
            .set_cap_ack(true)
            .call(|| "setsockopt(NETLINK_CAP_ACK)".into())?;
        if family == NETLINK_ROUTE {
            // Lets dumps be filtered by the kernel (Linux 4.20); older ones send everything.
            let _ = socket.set_netlink_get_strict_chk(true);
        }
        Ok(Self {
            socket,
            family,
            sequence: 0,
            buffer: Vec::with_capacity(BUFFER),
            closing: None,
        })
    }

    /// The number of the descriptor, for a child that closes all others.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sends one request and waits for its acknowledgement. `what` is a verb and its object.
    pub fn request(&mut self, message: Message, what: &str) -> Result<()> {
        let sequence = self.send(&[Message {
            flags: message.flags | NLM_F_ACK,
            ..message
        }])?;
        self.acknowledgement(sequence..=sequence, what)
    }

    /// Sends one request and returns the body of its one answer, `None` for `ENOENT`/`ENODEV`.
    pub fn lookup(&mut self, message: Message, what: &str) -> Result<Option<Vec<u8>>> {
        let sequence = self.send(&[message])?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.receive(what, deadline)?;
            let Some(answer) = messages(&self.buffer).find(|m| m.sequence == sequence) else {
                continue;
            };
            if answer.kind != NLMSG_ERROR {
                return Ok(Some(answer.body.to_vec()));
            }
            return match verdict(answer.body, what) {
                Err(error) if matches!(error.errno(), Some(Errno::ENODEV | Errno::ENOENT)) => {
                    Ok(None)
                }
                Err(error) => Err(error),
                Ok(()) => Err(Error::malformed(
                    what,
                    "an acknowledgement instead of an object",
                )),
            };
        }
    }

    /// Sends several messages in one datagram and waits for the last one's acknowledgement.
    ///
    /// For families that take them as one transaction (nfnetlink between its batch markers): the
    /// first refusal is the answer to the whole. The last message must be one that the kernel
    /// acknowledges; `footer` is sent behind it and is not.
    pub fn batch(&mut self, mut batch: Vec<Message>, footer: Message, what: &str) -> Result<()> {
        if let Some(last) = batch.last_mut() {
            last.flags |= NLM_F_ACK;
        }
        let count = batch.len() as u32;
        batch.push(footer);
        let last = self.send(&batch)? - 1;
        self.acknowledgement(last + 1 - count..=last, what)
    }

    /// Asks for a list and shows each entry's body to `each`, which then sees it whole.
    ///
    /// `each` is called only after a dump that nobody interrupted, so never twice for one entry.
    pub fn dump(&mut self, message: Message, what: &str) -> Result<Vec<Vec<u8>>> {
        for _ in 0..DUMP_TRIES {
            let flags = message.flags | NLM_F_DUMP;
            let sequence = self.send(&[Message {
                flags,
                ..message.clone()
            }])?;
            let mut entries = Vec::new();
            match self.dump_answer(sequence, what, &mut entries) {
                Ok(DumpEnd::Complete) => return Ok(entries),
                Ok(DumpEnd::Interrupted) => {}
                Err(error) if matches!(error.errno(), Some(Errno::ENOBUFS | Errno::EINTR)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Timeout {
            request: what.into(),
        })
    }

    fn dump_answer(
        &mut self,
        sequence: u32,
        what: &str,
        entries: &mut Vec<Vec<u8>>,
    ) -> Result<DumpEnd> {
        let deadline = Instant::now() + PATIENCE;
        let mut end = DumpEnd::Complete;
        loop {
            self.receive(what, deadline)?;
            for message in messages(&self.buffer).filter(|m| m.sequence == sequence) {
                if message.flags & NLM_F_DUMP_INTR != 0 {
                    end = DumpEnd::Interrupted;
                }
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => return verdict(message.body, what).map(|()| end),
                    NLMSG_OVERRUN => end = DumpEnd::Interrupted,
                    _ => entries.push(message.body.to_vec()),
                }
            }
        }
    }

    /// Reads until the last of `range` is answered; the first refusal is the answer.
    fn acknowledgement(&mut self, range: std::ops::RangeInclusive<u32>, what: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.receive(what, deadline)?;
            for message in messages(&self.buffer).filter(|m| range.contains(&m.sequence)) {
                if message.kind == NLMSG_ERROR {
                    verdict(message.body, what)?;
                    if message.sequence == *range.end() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Sends the messages with fresh sequence numbers and returns the last one's.
    fn send(&mut self, batch: &[Message]) -> Result<u32> {
        let mut bytes = Vec::with_capacity(batch.iter().map(|m| HEADER + m.body.len() + 4).sum());
        for message in batch {
            self.sequence += 1;
            bytes.extend(((HEADER + message.body.len()) as u32).to_ne_bytes());
            bytes.extend(message.kind.to_ne_bytes());
            bytes.extend((message.flags | NLM_F_REQUEST).to_ne_bytes());
            bytes.extend(self.sequence.to_ne_bytes());
            bytes.extend([0; 4]); // nlmsg_pid: the kernel fills it in
            bytes.extend(&message.body);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let kernel = SocketAddr::new(0, 0);
        let send = || retrying(|| self.socket.send_to(&bytes, &kernel, 0));
        let sent = match send() {
            // Longer than the send buffer (`netlink_sendmsg`), by default 208 KiB: some hundred rules.
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                sys::socket::make_room(&self.socket, bytes.len())?;
                send()
            }
            sent => sent,
        };
        sent.call(|| format!("sendto(netlink, {} bytes)", bytes.len()))?;
        Ok(self.sequence)
    }

    /// Fills the buffer with the next datagram from the kernel.
    fn receive(&mut self, what: &str, deadline: Instant) -> Result<()> {
        loop {
            if !sys::poll::readable_until(&self.socket, deadline)? {
                return Err(Error::Timeout {
                    request: what.into(),
                });
            }
            self.buffer.clear();
            let (length, sender) = retrying(|| self.socket.recv_from(&mut self.buffer, MSG_TRUNC))
                .call(|| "recvfrom(netlink)".into())?;
            if length > self.buffer.len() {
                let cut = SyscallError::new("recvfrom(netlink)", Errno::EMSGSIZE);
                return Err(cut.into());
            }
            // Any local process may send to our port; only port 0 is the kernel.
            if sender.port_number() == 0 {
                return Ok(());
            }
        }
    }
}

const MSG_TRUNC: i32 = 0x20; // recv(2): report the real length

fn retrying<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

/// The messages of one datagram, until the first that is cut short.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let word = |at: usize| Some(u32::from_ne_bytes(rest.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_ne_bytes(rest.get(at..at + 2)?.try_into().ok()?));
        let length = word(0)? as usize;
        let (kind, flags, sequence) = (half(4)?, half(6)?, word(8)?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received {
            kind,
            flags,
            sequence,
            body,
        })
    })
}

/// The body of an `NLMSG_ERROR` or `NLMSG_DONE`: a negative errno, then what was refused, then
/// the extended acknowledgement.
fn verdict(body: &[u8], what: &str) -> Result<()> {
    let Some(code) = body
        .get(..4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes)
    else {
        return Ok(()); // a DONE without a code, as older kernels send it
    };
    if code >= 0 {
        return Ok(());
    }
    const MESSAGE: u16 = 1; // NLMSGERR_ATTR_MSG
    let extended = body.get(4 + HEADER..).unwrap_or_default(); // capped: only the header is echoed
    let reason = attribute::find(extended, MESSAGE).map(attribute::text);
    Err(Error::Refused {
        request: what.into(),
        errno: Errno::from_raw(code.saturating_neg()),
        reason,
    })
}

/// The bodies of a datagram's messages, with the verdict of each that is one.
#[cfg(fuzzing)]
pub(crate) fn bodies(datagram: &[u8]) -> Vec<&[u8]> {
    let each = |message: Received<'_>| {
        if let NLMSG_DONE | NLMSG_ERROR = message.kind {
            let _ = verdict(message.body, "fuzz");
        }
    };
    messages(datagram).for_each(each);
    messages(datagram).map(|message| message.body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_may_be_longer_than_the_send_buffer() {
        const NOOP: u16 = 1; // NLMSG_NOOP: acknowledged if asked for, and nothing else
        let noop = Message {
            kind: NOOP,
            flags: 0,
            body: Vec::new(),
        };
        let mut socket = Socket::route().unwrap();
        let batch = vec![noop.clone(); 20_000]; // 16 bytes each; the buffer has 208 KiB
        socket.batch(batch, noop, "send a long batch").unwrap();
    }

    #[test]
    fn a_verdict_is_an_error_whatever_its_number() {
        let refused = |code: i32| verdict(&code.to_ne_bytes(), "ask").unwrap_err().errno();
        assert_eq!(refused(-1), Some(Errno::EPERM));
        assert_eq!(refused(i32::MIN), Some(Errno::UnknownErrno));
        assert!(verdict(&[0; 4], "ask").is_ok());
    }
}
