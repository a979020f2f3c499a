//! Packet sockets (packet(7)) of one link that carry DHCPv4: IPv4 packets to UDP port 68 arrive,
//! any IPv4 packet leaves, whether or not the link has an address.

use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Result, SyscallError, SyscallResult};

/// The Ethernet address of everybody.
pub const BROADCAST: [u8; 6] = [0xff; 6];

/// A packet that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// From the IPv4 header on.
    pub bytes: Vec<u8>,
    /// Who put it on the link: the server, or a relay on the way to it.
    pub from: [u8; 6],
    /// Whether the checksums of its transport are there. A veth leaves them to hardware that it
    /// does not have (`TP_STATUS_CSUMNOTREADY`).
    pub has_checksum: bool,
}

/// Drops everything but unfragmented UDP to port 68, so that a busy container wakes nobody.
const FILTER: [(u16, u8, u8, u32); 9] = [
    (0x30, 0, 0, 9),      // ldb [9]: protocol
    (0x15, 0, 6, 17),     // jeq #17 (UDP), else drop
    (0x28, 0, 0, 6),      // ldh [6]: flags and fragment offset
    (0x45, 4, 0, 0x3fff), // jset: a fragment, drop
    (0xb1, 0, 0, 0),      // ldxb 4*([0]&0xf): length of the header
    (0x48, 0, 0, 2),      // ldh [x + 2]: destination port
    (0x15, 0, 1, 68),     // jeq #68, else drop
    (0x06, 0, 0, 0xffff), // ret: all of it
    (0x06, 0, 0, 0),      // ret: nothing
];

/// Opens a socket on the link `index` of the calling thread's network namespace.
pub fn open(index: u32) -> Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Without a protocol nothing arrives before the filter is in its place.
    // SAFETY: socket takes integers.
    let number = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })
        .call(|| "socket(AF_PACKET, SOCK_DGRAM)".into())?;
    // SAFETY: the kernel has just made this descriptor for us.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    attach_filter(&socket)?;
    tell_checksums(&socket)?;
    let address = link_address(index, [0; 6]);
    // SAFETY: the kernel reads one sockaddr_ll of the size given.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    Errno::result(result).call(|| format!("bind(AF_PACKET, link {index})"))?;
    Ok(socket)
}

/// Sends an IPv4 packet out of the link `index` to the Ethernet address `to`.
pub fn send(socket: impl AsFd, index: u32, to: [u8; 6], packet: &[u8]) -> Result<()> {
    let address = link_address(index, to);
    // SAFETY: the buffer and the address live past the call and have the lengths given.
    let result = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    Errno::result(result)
        .map(drop)
        .call(|| format!("sendto(AF_PACKET, link {index}, {} bytes)", packet.len()))
}

/// The next packet; `None` when there is no more. `ENETDOWN` tells that the link went down.
pub fn receive(socket: impl AsFd) -> Result<Option<Packet>> {
    let mut bytes = vec![0_u8; 0xffff];
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut control = [0_u64; 16];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all-zero bytes are a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    let number = socket.as_fd().as_raw_fd();
    // SAFETY: every pointer of the header leads to a local that outlives the call, with its length.
    let result = unsafe { libc::recvmsg(number, &raw mut message, libc::MSG_DONTWAIT) };
    let length = match Errno::result(result) {
        Ok(length) => length as usize,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(errno) => {
            return Err(SyscallError::new(
                format!("recvmsg({number}, AF_PACKET)"),
                errno,
            ));
        }
    };
    bytes.truncate(length);
    let [a, b, c, d, e, f, ..] = from.sll_addr;
    Ok(Some(Packet {
        bytes,
        from: [a, b, c, d, e, f],
        has_checksum: has_checksum(&message),
    }))
}

fn link_address(index: u32, to: [u8; 6]) -> libc::sockaddr_ll {
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = index.cast_signed();
    address.sll_halen = 6;
    address.sll_addr[..6].copy_from_slice(&to);
    address
}

fn attach_filter(socket: &OwnedFd) -> Result<()> {
    let mut code = FILTER.map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    // SAFETY: the kernel reads one sock_fprog and the instructions it leads to, both alive here.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(result)
        .map(drop)
        .call(|| "setsockopt(SO_ATTACH_FILTER)".into())
}

fn tell_checksums(socket: &OwnedFd) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads one int, which lives past the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result)
        .map(drop)
        .call(|| "setsockopt(PACKET_AUXDATA)".into())
}

fn has_checksum(message: &libc::msghdr) -> bool {
    // SAFETY: recvmsg has filled the header, whose control buffer is still alive in the caller.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR answer null or a header inside the control buffer.
    while let Some(header) = unsafe { next.as_ref() } {
        if header.cmsg_level == libc::SOL_PACKET && header.cmsg_type == libc::PACKET_AUXDATA {
            // SAFETY: the kernel put a tpacket_auxdata there, at no particular alignment.
            let told: libc::tpacket_auxdata =
                unsafe { std::ptr::read_unaligned(libc::CMSG_DATA(header).cast()) };
            return told.tp_status & libc::TP_STATUS_CSUMNOTREADY == 0;
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    true
}
