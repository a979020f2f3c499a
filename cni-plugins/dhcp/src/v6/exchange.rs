//! The DHCPv6 client (RFC 8415 section 18.2) as a state machine without clock and socket.
//!
//! ```text
//! Idle --discover--> Soliciting --ADVERTISE--> Requesting --REPLY--> Bound --T1--> Extending
//! ```
//! `Extending` sends RENEW to the lender until T2 and REBIND to everybody until the end.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::exchange::{Arrival, Chance, Datagram, Exchange, Loss, Patience, Step};
use crate::lease::{Lease, Moment};
use crate::v6::message::{Kind, Message, identity_association, lease, option};

pub(crate) const SERVER_PORT: u16 = 547;
pub(crate) const CLIENT_PORT: u16 = 546;
/// `All_DHCP_Relay_Agents_and_Servers`.
pub(crate) const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// SOL_TIMEOUT and REQ_TIMEOUT (RFC 8415 section 7.6).
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// REN_TIMEOUT and REB_TIMEOUT.
const FIRST_EXTENSION_PAUSE: Duration = Duration::from_secs(10);
/// REN_MAX_RT and REB_MAX_RT.
const LONGEST_EXTENSION_PAUSE: Duration = Duration::from_secs(600);
/// One association per client.
const IAID: u32 = 1;

#[derive(Debug)]
pub(crate) struct Client {
    /// Who the client is.
    duid: Vec<u8>,
    patience: Patience,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    Soliciting(Try),
    Requesting { offer: Offer, attempt: Try },
    Bound(Lease),
    Extending { lease: Lease, attempt: Try },
}

/// A message that is sent until somebody answers.
#[derive(Clone, Copy, Debug)]
struct Try {
    xid: u32,
    began: Moment,
    sent: Moment,
    next: Moment,
    pause: Duration,
}

#[derive(Clone, Debug)]
struct Offer {
    server: Vec<u8>,
    address: Ipv6Addr,
}

impl Try {
    fn new(now: Moment, pause: Duration, chance: Chance<'_>) -> Self {
        Self {
            xid: chance() & 0xff_ffff,
            began: now,
            sent: now,
            next: now,
            pause,
        }
    }

    /// RT = 2 RT + RAND RT, with RAND between -0.1 and 0.1 (RFC 8415 section 15).
    fn was_sent(&mut self, now: Moment, longest: Duration, chance: Chance<'_>) {
        let random = |pause: Duration, chance: Chance<'_>| {
            pause * 9 / 10 + pause / 5 * (chance() % 1000) / 1000
        };
        self.sent = now;
        self.next = now + random(self.pause.min(longest), chance);
        self.pause = (self.pause * 2).min(longest);
    }
}

impl Client {
    pub(crate) fn new(duid: Vec<u8>, patience: Patience) -> Self {
        Self {
            duid,
            patience,
            state: State::Idle,
        }
    }

    fn message(&self, kind: Kind, attempt: &Try, now: Moment) -> Message {
        let mut message = Message::new(kind, attempt.xid);
        message.put(option::CLIENT_ID, self.duid.clone());
        let hundredths = (now - attempt.began).as_millis() / 10;
        let elapsed = u16::try_from(hundredths).unwrap_or(u16::MAX);
        message.put(option::ELAPSED, elapsed.to_be_bytes());
        if kind != Kind::Release {
            let codes = [
                option::DNS,
                option::DOMAIN_SEARCH,
                option::TIME_SERVERS,
                option::SOL_MAX_RT,
            ];
            message.put(option::REQUEST_LIST, codes.map(u16::to_be_bytes).concat());
        }
        message
    }

    fn solicit(&self, attempt: &mut Try, now: Moment, chance: Chance<'_>) -> Step {
        let mut message = self.message(Kind::Solicit, attempt, now);
        message.put(option::IA_NA, identity_association(IAID, None));
        attempt.was_sent(now, self.patience.longest_pause, chance);
        send(&message)
    }

    fn ask(&self, offer: &Offer, attempt: &mut Try, now: Moment, chance: Chance<'_>) -> Step {
        let mut message = self.message(Kind::Request, attempt, now);
        message.put(option::SERVER_ID, offer.server.clone());
        message.put(
            option::IA_NA,
            identity_association(IAID, Some(offer.address)),
        );
        attempt.was_sent(now, self.patience.longest_pause, chance);
        send(&message)
    }

    fn extend(
        &self,
        lease: &Lease,
        attempt: &mut Try,
        now: Moment,
        chance: Chance<'_>,
    ) -> Option<Step> {
        let term = lease.term?;
        let (kind, end) = match now < term.rebind {
            true => (Kind::Renew, term.rebind),
            false => (Kind::Rebind, term.expire),
        };
        let mut message = self.message(kind, attempt, now);
        if kind == Kind::Renew {
            message.put(option::SERVER_ID, lease.server.id.clone());
        }
        message.put(option::IA_NA, identity_association(IAID, address_of(lease)));
        attempt.was_sent(now, LONGEST_EXTENSION_PAUSE, chance);
        attempt.next = attempt.next.min(end);
        Some(send(&message))
    }

    fn xid(&self) -> Option<u32> {
        match &self.state {
            State::Idle | State::Bound(_) => None,
            State::Soliciting(attempt)
            | State::Requesting { attempt, .. }
            | State::Extending { attempt, .. } => Some(attempt.xid),
        }
    }

    fn advertised(&mut self, now: Moment, message: &Message, chance: Chance<'_>) -> Vec<Step> {
        let association = message.association(IAID).filter(|_| message.is_success());
        let (Some(server), Some(association)) = (message.get(option::SERVER_ID), association)
        else {
            return Vec::new();
        };
        let offer = Offer {
            server: server.to_vec(),
            address: association.address,
        };
        let mut attempt = Try::new(now, FIRST_PAUSE, chance);
        let step = self.ask(&offer, &mut attempt, now, chance);
        self.state = State::Requesting { offer, attempt };
        vec![step]
    }

    /// A reply without a usable address refuses the request, or takes the address away.
    fn replied(
        &mut self,
        now: Moment,
        message: &Message,
        sent: Moment,
        chance: Chance<'_>,
    ) -> Vec<Step> {
        let association = message.association(IAID).filter(|_| message.is_success());
        if let Some(lease) = association.and_then(|found| lease(message, found, sent)) {
            self.state = State::Bound(lease);
            return vec![Step::Leased];
        }
        match self.state {
            State::Requesting { .. } => {
                let mut attempt = Try::new(now, FIRST_PAUSE, chance);
                // Not at once: a server that is wrong stays so for a while.
                attempt.next = now + FIRST_PAUSE;
                self.state = State::Soliciting(attempt);
                Vec::new()
            }
            State::Extending { .. } => {
                self.state = State::Idle;
                vec![Step::Lost(Loss::Refused)]
            }
            _ => Vec::new(),
        }
    }
}

impl Exchange for Client {
    fn discover(&mut self, now: Moment, chance: Chance<'_>) {
        self.state = State::Soliciting(Try::new(now, FIRST_PAUSE, chance));
    }

    fn resume(&mut self, lease: Lease) {
        self.state = State::Bound(lease);
    }

    fn deadline(&self) -> Option<Moment> {
        match &self.state {
            State::Idle => None,
            State::Soliciting(attempt) => Some(attempt.next),
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
            State::Soliciting(mut attempt) => {
                let step = self.solicit(&mut attempt, now, chance);
                self.state = State::Soliciting(attempt);
                vec![step]
            }
            State::Requesting { attempt, .. } if now >= attempt.began + self.patience.answer => {
                self.discover(now, chance);
                self.advance(now, chance)
            }
            State::Requesting { offer, mut attempt } => {
                let step = self.ask(&offer, &mut attempt, now, chance);
                self.state = State::Requesting { offer, attempt };
                vec![step]
            }
            State::Bound(lease) | State::Extending { lease, .. } if lease.has_expired(now) => {
                vec![Step::Lost(Loss::Expired)]
            }
            State::Bound(lease) => {
                let mut attempt = Try::new(now, FIRST_EXTENSION_PAUSE, chance);
                let step = self.extend(&lease, &mut attempt, now, chance);
                self.state = State::Extending { lease, attempt };
                Vec::from_iter(step)
            }
            State::Extending { lease, mut attempt } => {
                let step = self.extend(&lease, &mut attempt, now, chance);
                self.state = State::Extending { lease, attempt };
                Vec::from_iter(step)
            }
        }
    }

    fn receive(&mut self, now: Moment, arrival: Arrival<'_>, chance: Chance<'_>) -> Vec<Step> {
        let Some(message) = Message::decode(arrival.bytes) else {
            return Vec::new();
        };
        let is_ours = message.get(option::CLIENT_ID) == Some(&self.duid)
            && self.xid() == Some(message.xid)
            && message.get(option::SERVER_ID).is_some();
        if !is_ours {
            return Vec::new();
        }
        match (&self.state, message.kind) {
            (State::Soliciting(_), Kind::Advertise) => self.advertised(now, &message, chance),
            (State::Requesting { attempt, .. } | State::Extending { attempt, .. }, Kind::Reply) => {
                let sent = attempt.sent;
                self.replied(now, &message, sent, chance)
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
        let attempt = Try::new(Duration::ZERO, FIRST_PAUSE, chance);
        let mut message = self.message(Kind::Release, &attempt, Duration::ZERO);
        message.put(option::SERVER_ID, lease.server.id.clone());
        message.put(
            option::IA_NA,
            identity_association(IAID, address_of(&lease)),
        );
        Some(datagram(&message))
    }

    fn stop(&mut self) {
        self.state = State::Idle;
    }
}

fn send(message: &Message) -> Step {
    Step::Send(datagram(message))
}

fn datagram(message: &Message) -> Datagram {
    Datagram {
        bytes: message.encode(),
        mac: [0; 6],
    }
}

fn address_of(lease: &Lease) -> Option<Ipv6Addr> {
    match lease.address.addr() {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

#[cfg(test)]
mod tests;
