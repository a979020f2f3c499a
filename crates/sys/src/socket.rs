//! Unix sockets that carry messages and descriptors (unix(7), cmsg(3)), and whether a port is free.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType,
    getsockopt, recv, recvmsg, sendmsg, setsockopt, socketpair,
    sockopt::{self, PeerCredentials, SendTimeout},
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::dir::retry;
use crate::error::{Result, SyscallError, SyscallResult};

/// The longest message of [`receive`]; a longer one is cut and refused.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The most descriptors that one message of [`receive`] carries.
pub const MAX_FDS: usize = 32;

/// The most that the kernel lets anybody send (`SCM_MAX_FD`, unix(7)): with room for all of them, those
/// that nobody asked for are closed again.
const SENT_FDS: usize = 253;

/// Two connected sockets that keep the borders of messages and see the other end close.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .call(|| "socketpair(AF_UNIX, SOCK_SEQPACKET)".into())
}

/// Sends one message with descriptors; `EPIPE` if the other end is closed, never `SIGPIPE`.
pub fn send(socket: impl AsFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    send_with(MsgFlags::empty(), socket, message, fds)
}

/// The same, without waiting for room: `EAGAIN`.
pub fn send_at_once(socket: impl AsFd, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    send_with(MsgFlags::MSG_DONTWAIT, socket, message, fds)
}

fn send_with(
    flags: MsgFlags,
    socket: impl AsFd,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<()> {
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() {
        &control[..0]
    } else {
        &control[..]
    };
    loop {
        let number = socket.as_fd().as_raw_fd();
        let flags = flags | MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(number, &[IoSlice::new(message)], control, flags, None) {
            Err(Errno::EINTR) => {}
            other => {
                let call = || format!("sendmsg({number}, {} bytes)", message.len());
                // Cut short: a stream whose other end did not read in time.
                return match other.call(call)? {
                    sent if sent == message.len() => Ok(()),
                    _ => Err(SyscallError::new(call(), Errno::EAGAIN)),
                };
            }
        }
    }
}

/// Bounds how long a connect or a send of this socket may wait for the other end; then they
/// fail with `EAGAIN` (`SO_SNDTIMEO`, socket(7)).
pub fn limit_waiting(socket: impl AsFd, patience: Duration) -> Result<()> {
    let time = TimeVal::microseconds(i64::try_from(patience.as_micros()).unwrap_or(i64::MAX));
    setsockopt(&socket, SendTimeout, &time)
        .call(|| format!("setsockopt(SO_SNDTIMEO, {patience:?})"))
}

/// Receives one message with its descriptors; an empty one means that the other end is closed. One that
/// is too long, or has too many descriptors, is `EMSGSIZE`, and gone.
///
/// Whoever closes its end with a message unread leaves `ECONNRESET`, once, in front of all that it has said
/// itself (`unix_release_sock` of the kernel): that is heard all the same.
pub fn receive(socket: impl AsFd) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    match receive_next(&socket) {
        Err(error) if error.errno() == Errno::ECONNRESET => receive_next(&socket),
        received => received,
    }
}

fn receive_next(socket: impl AsFd) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let number = socket.as_fd().as_raw_fd();
    let mut buffer = vec![0; room_for_next(&socket)?];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; SENT_FDS]);
    let describe = || format!("recvmsg({number})");
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = match recvmsg::<()>(number, &mut parts, Some(&mut control), flags) {
            Err(Errno::EINTR) => continue,
            other => other.call(describe)?,
        };
        let cut = message
            .flags
            .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        let mut fds = Vec::new();
        // Of a control message that was cut nothing can be taken.
        for part in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(raw) = part {
                // SAFETY: the kernel has just installed these descriptors for us.
                fds.extend(
                    raw.into_iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                );
            }
        }
        let length = message.bytes;
        if cut || fds.len() > MAX_FDS {
            return Err(SyscallError::new(describe(), Errno::EMSGSIZE));
        }
        buffer.truncate(length);
        return Ok((buffer, fds));
    }
}

/// How long the next message is, which is waited for: a buffer for the longest would be sixteen pages that
/// nobody needs. Where there are no messages, but a stream, it is the longest that is read at once.
fn room_for_next(socket: impl AsFd) -> Result<usize> {
    let number = socket.as_fd().as_raw_fd();
    let kind =
        getsockopt(&socket, sockopt::SockType).call(|| format!("getsockopt({number}, SO_TYPE)"))?;
    if kind == SockType::Stream {
        return Ok(MAX_MESSAGE);
    }
    // `MSG_TRUNC` answers its length, whatever the buffer's is (recv(2)).
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    let length =
        retry(|| recv(number, &mut [], flags)).call(|| format!("recv({number}, MSG_PEEK)"))?;
    Ok(length.min(MAX_MESSAGE))
}

/// Accepts one connection; `EINTR` is tried again.
pub fn accept(listener: impl AsFd) -> Result<OwnedFd> {
    let number = listener.as_fd().as_raw_fd();
    loop {
        match nix::sys::socket::accept4(number, SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EINTR) => {}
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(errno) => return Err(SyscallError::new(format!("accept4({number})"), errno)),
        }
    }
}

/// The user at the other end of a Unix socket, as it was when it connected or listened.
pub fn peer_uid(socket: impl AsFd) -> Result<u32> {
    let number = socket.as_fd().as_raw_fd();
    let peer = getsockopt(&socket, PeerCredentials)
        .call(|| format!("getsockopt({number}, SO_PEERCRED)"))?;
    Ok(peer.uid())
}

/// A UDP socket over IPv6 that sends from `port` and only through the link `name` of the calling
/// thread's network namespace; it never waits.
pub fn udp6_of_link(name: &str, port: u16) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = nix::sys::socket::socket(AddressFamily::Inet6, SockType::Datagram, flags, None)
        .call(|| "socket(AF_INET6, SOCK_DGRAM)".into())?;
    setsockopt(&socket, sockopt::BindToDevice, &name.into())
        .call(|| format!("setsockopt(SO_BINDTODEVICE, {name:?})"))?;
    setsockopt(&socket, sockopt::ReuseAddr, &true).call(|| "setsockopt(SO_REUSEADDR)".into())?;
    // SAFETY: all-zero bytes are a valid sockaddr_in6: any address, any scope.
    let mut any: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
    any.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    any.sin6_port = port.to_be();
    // SAFETY: the kernel reads one sockaddr_in6 of the size given.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const any).cast(),
            size_of::<libc::sockaddr_in6>() as libc::socklen_t,
        )
    };
    Errno::result(result).call(|| format!("bind([::]:{port}, {name:?})"))?;
    Ok(socket)
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// tcp(7)
    Tcp,
    /// udp(7)
    Udp,
    /// sctp(7)
    Sctp,
}

/// What a port of an address is to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortUse {
    /// Nobody has it; nor has anybody a transport that the host does not know.
    Free,
    /// Somebody has it.
    Taken,
    /// The host has no such address.
    NoAddress,
}

/// What this port of an address is in the calling thread's network namespace. It is bound and let
/// go of, never listened at.
pub fn port_use(transport: Transport, address: SocketAddr) -> Result<PortUse> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let (kind, protocol) = match transport {
        Transport::Tcp => (SockType::Stream, None),
        Transport::Udp => (SockType::Datagram, None),
        Transport::Sctp => (SockType::Stream, Some(SockProtocol::Sctp)),
    };
    let call = |call: &str| format!("{call}({transport:?}, {address})");
    let made = nix::sys::socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol);
    let socket = match made {
        Err(Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT) => {
            return Ok(PortUse::Free);
        }
        made => made.call(|| call("socket"))?,
    };
    if address.is_ipv6() {
        only_v6(&socket).call(|| call("setsockopt"))?;
    }
    if transport == Transport::Tcp {
        // Connections that have ended and wait are nobody who listens.
        setsockopt(&socket, sockopt::ReuseAddr, &true).call(|| call("setsockopt"))?;
    }
    match bind(&socket, address) {
        Ok(()) => Ok(PortUse::Free),
        Err(Errno::EADDRNOTAVAIL) => Ok(PortUse::NoAddress),
        Err(Errno::EADDRINUSE) => Ok(PortUse::Taken),
        Err(errno) => Err(SyscallError::new(call("bind"), errno)),
    }
}

fn only_v6(socket: &OwnedFd) -> nix::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int of the size given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_V6ONLY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

fn bind(socket: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    // SAFETY: all-zero bytes are valid sockaddr_in and sockaddr_in6.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { std::mem::zeroed() };
    let (start, length): (*const libc::sockaddr, usize) = match address {
        SocketAddr::V4(address) => {
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = address.port().to_be();
            v4.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            ((&raw const v4).cast(), size_of_val(&v4))
        }
        SocketAddr::V6(address) => {
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = address.port().to_be();
            v6.sin6_addr.s6_addr = address.ip().octets();
            ((&raw const v6).cast(), size_of_val(&v6))
        }
    };
    // SAFETY: `start` leads to one of the two above, which live past the call, of that length.
    let result = unsafe { libc::bind(socket.as_raw_fd(), start, length as libc::socklen_t) };
    Errno::result(result).map(drop)
}

/// Connects to the listening stream at `path`, waiting at most `patience` for its queue; then the
/// answer is `EAGAIN`.
pub fn connect_stream(path: &std::path::Path, patience: Duration) -> Result<OwnedFd> {
    let kind = SockType::Stream;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(AddressFamily::Unix, kind, flags, None)
        .call(|| "socket(AF_UNIX, SOCK_STREAM)".into())?;
    limit_waiting(&socket, patience)?;
    let call = || format!("connect({path:?})");
    let address = nix::sys::socket::UnixAddr::new(path).call(call)?;
    loop {
        match nix::sys::socket::connect(socket.as_raw_fd(), &address) {
            Err(Errno::EINTR) => {}
            connected => return connected.map(|()| socket).call(call),
        }
    }
}

/// Makes room for a datagram of `length` bytes in a socket's send buffer. Without CAP_NET_ADMIN
/// `net.core.wmem_max` is the limit, which is no error here.
pub fn make_room(socket: impl AsFd, length: usize) -> Result<()> {
    // The kernel doubles what is asked for.
    setsockopt(&socket, sockopt::SndBufForce, &length)
        .or_else(|_| setsockopt(&socket, sockopt::SndBuf, &length))
        .call(|| format!("setsockopt(SO_SNDBUF, {length})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_heard_of_who_has_not_heard_ours() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        send(&ours, b"unread", &[]).unwrap();
        send(&theirs, b"last words", &[]).unwrap();
        drop(theirs);
        assert_eq!(receive(&ours).unwrap().0, b"last words");
        assert_eq!(receive(&ours).unwrap().0, b"");
        let (ours, theirs) = seqpacket_pair().unwrap();
        send(&ours, b"unread", &[]).unwrap();
        drop(theirs);
        let error = send(&ours, b"more", &[]).unwrap_err();
        assert_eq!(
            error.errno(),
            Errno::ECONNRESET,
            "which send(2) does not list"
        );
    }

    #[test]
    fn a_message_with_too_many_descriptors_is_refused_and_keeps_none() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let leads_there = || {
            let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let target = |entry: std::fs::DirEntry| std::fs::read_link(entry.path()).ok();
            entries
                .filter_map(target)
                .filter(|target| *target == std::path::Path::new("/dev/null"))
                .count()
        };
        for count in [MAX_FDS + 1, SENT_FDS] {
            let before = leads_there();
            send(&theirs, b"many", &vec![null.as_fd(); count]).unwrap();
            assert_eq!(receive(&ours).unwrap_err().errno(), Errno::EMSGSIZE);
            assert_eq!(leads_there(), before);
        }
        send(&theirs, b"next", &[null.as_fd(); MAX_FDS]).unwrap();
        let (text, fds) = receive(&ours).unwrap();
        assert_eq!((text.as_slice(), fds.len()), (&b"next"[..], MAX_FDS));
    }
}
