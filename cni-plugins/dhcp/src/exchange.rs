//! What the conversations of both families have in common. Pure: time and chance come as
//! arguments, messages go out as values.

use std::time::Duration;

use crate::lease::{Lease, Moment};

/// How patient the daemon is; its command line says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// An offer whose server does not acknowledge is dropped after this long.
    pub(crate) answer: Duration,
    /// The longest pause between two messages of one acquisition.
    pub(crate) longest_pause: Duration,
}

/// What a conversation wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A datagram is to be sent.
    Send(Datagram),
    /// There is a lease: the first one, an extended one, or another one.
    Leased,
    /// The lease is over and its address may not be used any more.
    Lost(Loss),
    /// A server gave what cannot be used.
    Useless(String),
}

/// Why a lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// No server extended it in time.
    Expired,
    /// A server forbade the address.
    Refused,
}

/// A datagram to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    /// DHCPv4: an IPv4 packet. DHCPv6: a message.
    pub(crate) bytes: Vec<u8>,
    /// Where the packet goes on the link; DHCPv6 multicasts by itself.
    pub(crate) mac: [u8; 6],
}

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) mac: [u8; 6],
    pub(crate) has_checksum: bool,
}

/// Where numbers come from that nobody shall guess.
pub(crate) type Chance<'a> = &'a mut dyn FnMut() -> u32;

/// One client's conversation with the servers of its link.
pub(crate) trait Exchange {
    /// Begins anew: looks for a server.
    fn discover(&mut self, now: Moment, chance: Chance<'_>);

    /// Goes on with a lease that is known from before.
    fn resume(&mut self, lease: Lease);

    /// When [`Exchange::advance`] has something to do.
    fn deadline(&self) -> Option<Moment>;

    /// Does what is due.
    fn advance(&mut self, now: Moment, chance: Chance<'_>) -> Vec<Step>;

    /// Takes a datagram, whoever sent it.
    fn receive(&mut self, now: Moment, arrival: Arrival<'_>, chance: Chance<'_>) -> Vec<Step>;

    /// The lease, as long as it may be used.
    fn lease(&self) -> Option<&Lease>;

    /// Whether a datagram may come, or has to go.
    fn needs_socket(&self) -> bool;

    /// The datagram that gives the lease back; the conversation is over.
    fn release(&mut self, chance: Chance<'_>) -> Option<Datagram>;

    /// Stops without a word.
    fn stop(&mut self);
}

/// `pause` give or take a second, or half of it, so that a hundred clients of one power failure do
/// not stay in step (RFC 2131 section 4.1).
pub(crate) fn jittered(pause: Duration, chance: Chance<'_>) -> Duration {
    let spread = Duration::from_secs(1).min(pause / 2);
    let thousandth = 2 * spread / 1000;
    pause - spread + thousandth * (chance() % 1000)
}
