//! The DHCPv4 client (RFC 2131 section 4.4) as a state machine without clock and socket.
//!
//! ```text
//! Idle --discover--> Selecting --OFFER--> Requesting --ACK--> Bound --T1--> Extending --ACK--> Bound
//!                        ^  <---NAK, no answer---'                            | NAK, expired: Lost
//!                        '-------------------- discover -------------------- Idle
//! ```
//! `Extending` asks the lender (renewing) until T2 and everybody (rebinding) until the end.

use std::net::Ipv4Addr;
use std::time::Duration;

use sys::packet::BROADCAST;

use crate::exchange::{Arrival, Chance, Datagram, Exchange, Loss, Patience, Step, jittered};
use crate::lease::{Lease, Moment};
use crate::v4::message::{Kind, Message, option};
use crate::v4::{frame, terms};

/// The pauses between the first messages; then they double. A runtime waits for them.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const FIRST_TRIES: u32 = 4;
/// RFC 2131 section 4.4.5, between two requests to extend a lease.
const SHORTEST_EXTENSION_PAUSE: Duration = Duration::from_secs(60);
/// What a client of ours can take in one piece; a server may send no more.
const LARGEST_MESSAGE: u16 = 1500;

/// Who the client is, and what it wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) mac: [u8; 6],
    /// Option 61.
    pub(crate) client_id: Vec<u8>,
    /// Options to send.
    pub(crate) provide: Vec<(u8, Vec<u8>)>,
    /// Option 55.
    pub(crate) request: Vec<u8>,
    /// Whether servers shall answer by broadcast as long as there is no address.
    pub(crate) broadcast: bool,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) identity: Identity,
    patience: Patience,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Selecting(Try),
    Requesting { offer: Offer, attempt: Try },
    Bound(Lease),
    Extending { lease: Lease, attempt: Try },
}

/// A message that is sent until somebody answers.
#[derive(Clone, Copy, Debug)]
struct Try {
    xid: u32,
    began: Moment,
    /// When it was sent last.
    sent: Moment,
    next: Moment,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
}

impl Try {
    fn new(now: Moment, chance: Chance<'_>) -> Self {
        Self {
            xid: chance(),
            began: now,
            sent: now,
            next: now,
            count: 0,
        }
    }

    fn was_sent(&mut self, now: Moment, pause: Duration) {
        self.sent = now;
        self.next = now + pause;
        self.count += 1;
    }

    fn secs(&self, now: Moment) -> u16 {
        u16::try_from((now - self.began).as_secs()).unwrap_or(u16::MAX)
    }
}

impl Client {
    pub(crate) fn new(identity: Identity, patience: Patience) -> Self {
        Self {
            identity,
            patience,
            state: State::Idle,
        }
    }

    /// The pause after the message number `count` of an acquisition.
    fn pause(&self, count: u32, chance: Chance<'_>) -> Duration {
        let doublings = count.saturating_sub(FIRST_TRIES - 1).min(10);
        let pause = FIRST_PAUSE * 2_u32.pow(doublings);
        jittered(pause.min(self.patience.longest_pause), chance)
    }

    fn message(&self, kind: Kind, xid: u32) -> Message {
        let mut message = Message::new(kind, xid, self.identity.mac);
        let options = &mut message.options;
        options.set(option::CLIENT_ID, self.identity.client_id.clone());
        if kind != Kind::Release {
            options.set(option::MAX_SIZE, LARGEST_MESSAGE.to_be_bytes());
            if !self.identity.request.is_empty() {
                options.set(option::REQUEST_LIST, self.identity.request.clone());
            }
        }
        for (code, value) in &self.identity.provide {
            if kind != Kind::Release || *code == option::CLIENT_ID {
                options.set(*code, value.clone());
            }
        }
        message
    }

    /// To everybody, from a client without an address.
    fn broadcast(&self, attempt: &Try, now: Moment, mut message: Message) -> Step {
        message.secs = attempt.secs(now);
        message.broadcast = self.identity.broadcast;
        let (from, to) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
        Step::Send(Datagram {
            bytes: frame::wrap(from, to, &message.encode()),
            mac: BROADCAST,
        })
    }

    fn select(&self, attempt: &mut Try, now: Moment, chance: Chance<'_>) -> Step {
        let step = self.broadcast(attempt, now, self.message(Kind::Discover, attempt.xid));
        attempt.was_sent(now, self.pause(attempt.count, chance));
        step
    }

    fn ask(&self, offer: Offer, attempt: &mut Try, now: Moment, chance: Chance<'_>) -> Step {
        let mut message = self.message(Kind::Request, attempt.xid);
        let address = offer.address.octets();
        message.options.set(option::REQUESTED_ADDRESS, address);
        message
            .options
            .set(option::SERVER_ID, offer.server.octets());
        let step = self.broadcast(attempt, now, message);
        attempt.was_sent(now, self.pause(attempt.count, chance));
        step
    }

    /// Until T2 to the lender alone; then to everybody, again and again until the end.
    fn extend(&self, lease: &Lease, attempt: &mut Try, now: Moment) -> Option<Step> {
        let term = lease.term?;
        let mut message = self.message(Kind::Request, attempt.xid);
        message.ciaddr = address_of(lease)?;
        message.secs = attempt.secs(now);
        let (end, lender) = match now < term.rebind {
            true => (term.rebind, server_of(lease)),
            false => (term.expire, None),
        };
        let to = lender.unwrap_or(Ipv4Addr::BROADCAST);
        let mac = lender.map_or(BROADCAST, |_| lease.server.mac);
        let pause = ((end.saturating_sub(now)) / 2).max(SHORTEST_EXTENSION_PAUSE);
        attempt.was_sent(now, pause);
        attempt.next = attempt.next.min(end);
        Some(Step::Send(Datagram {
            bytes: frame::wrap(message.ciaddr, to, &message.encode()),
            mac,
        }))
    }

    fn acknowledged(&mut self, ack: &Message, since: Moment, mac: [u8; 6]) -> Step {
        match terms::lease(ack, since, mac) {
            Ok(lease) => {
                self.state = State::Bound(lease);
                Step::Leased
            }
            Err(problem) => Step::Useless(problem),
        }
    }

    /// The message, if it is a server's answer to this client.
    fn answer(&self, arrival: Arrival<'_>, xid: u32) -> Option<(Kind, Message)> {
        let bytes = frame::unwrap(arrival.bytes, arrival.has_checksum)?;
        let message = Message::decode(bytes)?;
        let is_ours = message.is_reply && message.xid == xid && message.chaddr == self.identity.mac;
        Some((message.kind()?, message)).filter(|_| is_ours)
    }

    fn xid(&self) -> Option<u32> {
        match &self.state {
            State::Idle | State::Bound(_) => None,
            State::Selecting(attempt)
            | State::Requesting { attempt, .. }
            | State::Extending { attempt, .. } => Some(attempt.xid),
        }
    }

    fn receive_offer(
        &mut self,
        now: Moment,
        message: &Message,
        xid: u32,
        chance: Chance<'_>,
    ) -> Vec<Step> {
        // An offer without a server could not be accepted; others may be better.
        let Some(server) = message.options.address(option::SERVER_ID) else {
            return Vec::new();
        };
        let offer = Offer {
            address: message.yiaddr,
            server,
        };
        let mut attempt = Try {
            xid,
            ..Try::new(now, chance)
        };
        let step = self.ask(offer, &mut attempt, now, chance);
        self.state = State::Requesting { offer, attempt };
        vec![step]
    }
}

impl Exchange for Client {
    fn discover(&mut self, now: Moment, chance: Chance<'_>) {
        self.state = State::Selecting(Try::new(now, chance));
    }

    fn resume(&mut self, lease: Lease) {
        self.state = State::Bound(lease);
    }

    fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Idle => None,
            State::Selecting(attempt) => Some(attempt.next),
            State::Requesting { attempt, .. } => {
                Some(attempt.next.min(attempt.began + self.patience.answer))
            }
            State::Bound(lease) => lease.term.map(|term| term.renew),
            State::Extending { lease, attempt } => {
                lease.term.map(|term| attempt.next.min(term.expire))
            }
        }
    }

    fn advance(&mut self, now: Moment, chance: Chance<'_>) -> Vec<Step> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Vec::new(),
            State::Selecting(mut attempt) => {
                let step = self.select(&mut attempt, now, chance);
                self.state = State::Selecting(attempt);
                vec![step]
            }
            State::Requesting { attempt, .. } if now >= attempt.began + self.patience.answer => {
                self.discover(now, chance);
                self.advance(now, chance)
            }
            State::Requesting { offer, mut attempt } => {
                let step = self.ask(offer, &mut attempt, now, chance);
                self.state = State::Requesting { offer, attempt };
                vec![step]
            }
            State::Bound(lease) | State::Extending { lease, .. } if lease.has_expired(now) => {
                vec![Step::Lost(Loss::Expired)]
            }
            State::Bound(lease) => {
                let mut attempt = Try::new(now, chance);
                let step = self.extend(&lease, &mut attempt, now);
                self.state = State::Extending { lease, attempt };
                Vec::from_iter(step)
            }
            State::Extending { lease, mut attempt } => {
                let step = self.extend(&lease, &mut attempt, now);
                self.state = State::Extending { lease, attempt };
                Vec::from_iter(step)
            }
        }
    }

    fn receive(&mut self, now: Moment, arrival: Arrival<'_>, chance: Chance<'_>) -> Vec<Step> {
        let Some(xid) = self.xid() else {
            return Vec::new();
        };
        let Some((kind, message)) = self.answer(arrival, xid) else {
            return Vec::new();
        };
        let server = message.options.address(option::SERVER_ID);
        match (&self.state, kind) {
            (State::Selecting(_), Kind::Offer) => self.receive_offer(now, &message, xid, chance),
            (State::Requesting { offer, attempt }, Kind::Ack) if server == Some(offer.server) => {
                let since = attempt.sent;
                vec![self.acknowledged(&message, since, arrival.mac)]
            }
            (State::Requesting { offer, .. }, Kind::Nak) if server == Some(offer.server) => {
                self.discover(now, chance);
                // Not at once: a server that is wrong stays so for a while.
                if let State::Selecting(attempt) = &mut self.state {
                    attempt.next = now + jittered(FIRST_PAUSE, chance);
                }
                Vec::new()
            }
            (State::Extending { attempt, .. }, Kind::Ack) => {
                let since = attempt.sent;
                vec![self.acknowledged(&message, since, arrival.mac)]
            }
            (State::Extending { .. }, Kind::Nak) => {
                self.state = State::Idle;
                vec![Step::Lost(Loss::Refused)]
            }
            _ => Vec::new(),
        }
    }

    fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound(lease) | State::Extending { lease, .. } => Some(lease),
            _ => None,
        }
    }

    fn needs_socket(&self) -> bool {
        self.xid().is_some()
    }

    fn release(&mut self, chance: Chance<'_>) -> Option<Datagram> {
        let lease = match std::mem::replace(&mut self.state, State::Idle) {
            State::Bound(lease) | State::Extending { lease, .. } => lease,
            _ => return None,
        };
        let server = server_of(&lease)?;
        let mut message = self.message(Kind::Release, chance());
        message.ciaddr = address_of(&lease)?;
        message.options.set(option::SERVER_ID, server.octets());
        Some(Datagram {
            bytes: frame::wrap(message.ciaddr, server, &message.encode()),
            mac: lease.server.mac,
        })
    }

    fn stop(&mut self) {
        self.state = State::Idle;
    }
}

fn address_of(lease: &Lease) -> Option<Ipv4Addr> {
    match lease.address.addr() {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    }
}

fn server_of(lease: &Lease) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = lease.server.id.as_slice().try_into().ok()?;
    Some(octets.into())
}

#[cfg(test)]
mod tests;
