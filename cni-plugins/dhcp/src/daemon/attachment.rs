//! [`Attachment`]: one interface with its conversations, one per family.
//!
//! Here meet the conversations, which know no clock and no socket, and the place, which knows no
//! protocol. A socket is open only while an answer is awaited.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use netlink::link::Setting;
use sys::Errno;

use super::Surroundings;
use crate::exchange::{Arrival, Datagram, Exchange, Loss, Step, jittered};
use crate::lease::{Lease, Moment};
use crate::leases::{self, Record};
use crate::place::{Family, Found, Socket};
use crate::{v4, v6};

/// How long a lost lease is looked for with the link up, again and again.
const SEARCH: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Before something that the host refused is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// RFC 6355: a DUID that is a UUID; ours is a hash of the attachment's name.
const DUID_UUID: [u8; 2] = [0, 4];
/// An option's length is one byte; option 61 begins with its type.
const LONGEST_ID: usize = 254;

pub(super) struct Attachment {
    pub(super) record: Record,
    clients: Vec<Client>,
    /// The ADD that waits for the leases.
    pub(super) adding: Option<Adding>,
}

/// An ADD under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adding {
    pub(super) peer: u64,
    pub(super) began: Moment,
    pub(super) until: Moment,
}

/// Why an attachment cannot go on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Its namespace or its link is gone.
    Gone,
    /// What a server gave to the ADD is of no use.
    Useless(String),
}

struct Client {
    family: Family,
    exchange: Box<dyn Exchange>,
    socket: Option<Socket>,
    /// What the interface was set up for.
    configured: Option<Lease>,
    search: Search,
}

/// Datagrams that are taken from a socket in one turn: a flood on one wire must not keep the loop
/// from the others.
const MOST_AT_ONCE: usize = 32;

/// Looking for a lease after one expired: with the link up for a while, then down for a while.
#[derive(Clone, Copy, Debug)]
enum Search {
    None,
    Trying {
        until: Moment,
        pause: Duration,
    },
    Pausing {
        until: Moment,
        pause: Duration,
    },
    /// The link could not be looked at; what it has to be told waits.
    Owing {
        until: Moment,
        owed: Owed,
    },
}

/// What a link has to be told: the lease that it has now, or that it has none.
#[derive(Clone, Copy, Debug)]
enum Owed {
    Lease,
    Loss(Loss),
}

impl Attachment {
    /// An interface that gets its first leases.
    pub(super) fn added(record: Record, adding: Adding, around: &mut Surroundings<'_>) -> Self {
        let mut new = Self::silent(record, around);
        new.adding = Some(adding);
        for client in &mut new.clients {
            client
                .exchange
                .discover(adding.began, &mut || around.chance());
        }
        new
    }

    /// An interface of before the daemon's start.
    pub(super) fn resumed(record: Record, now: Moment, around: &mut Surroundings<'_>) -> Self {
        let mut new = Self::silent(record, around);
        for client in &mut new.clients {
            let is_v4 = client.family == Family::V4;
            let mut known = new.record.leases.iter();
            match known.find(|lease| lease.address.addr().is_ipv4() == is_v4) {
                Some(lease) => {
                    client.configured = Some(lease.clone());
                    client.exchange.resume(lease.clone());
                }
                None => {
                    let (until, pause) = (now, FIRST_PAUSE);
                    client.search = Search::Pausing { until, pause };
                }
            }
        }
        new
    }

    fn silent(record: Record, around: &Surroundings<'_>) -> Self {
        let families = [
            (record.wish.ipv4, Family::V4),
            (record.wish.ipv6, Family::V6),
        ];
        let client = |(_, family): (bool, Family)| Client {
            family,
            exchange: exchange(&record, family, around),
            socket: None,
            configured: None,
            search: Search::None,
        };
        let wanted = families.into_iter().filter(|(wanted, _)| *wanted);
        Self {
            clients: wanted.map(client).collect(),
            record,
            adding: None,
        }
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let clients = self.clients.iter().flat_map(|client| {
            let search = match client.search {
                Search::None => None,
                Search::Trying { until, .. }
                | Search::Pausing { until, .. }
                | Search::Owing { until, .. } => Some(until),
            };
            search.into_iter().chain(client.exchange.deadline())
        });
        clients.chain(self.adding.map(|adding| adding.until)).min()
    }

    /// The open sockets, each with the number of its conversation.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let clients = self.clients.iter().enumerate();
        clients.filter_map(|(at, client)| {
            Some((at, std::os::fd::AsFd::as_fd(client.socket.as_ref()?)))
        })
    }

    /// The leases, if there is one of each family.
    pub(super) fn leases(&self) -> Option<Vec<Lease>> {
        let leases = self.clients.iter().map(|client| client.exchange.lease());
        leases.map(|lease| lease.cloned()).collect()
    }

    /// The ADD is over: from now on its leases are kept.
    pub(super) fn keep(&mut self, leases: Vec<Lease>) {
        for (client, lease) in self.clients.iter_mut().zip(&leases) {
            client.configured = Some(lease.clone());
        }
        self.record.leases = leases;
        self.adding = None;
    }

    /// Does what is due.
    pub(super) fn advance(
        &mut self,
        now: Moment,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Trouble> {
        for at in 0..self.clients.len() {
            self.search(at, now, around)?;
            let steps = self.clients[at]
                .exchange
                .advance(now, &mut || around.chance());
            self.follow(at, steps, now, around)?;
        }
        Ok(())
    }

    /// Takes what came to a socket.
    pub(super) fn receive(
        &mut self,
        at: usize,
        now: Moment,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Trouble> {
        for _ in 0..MOST_AT_ONCE {
            let Some(socket) = &self.clients[at].socket else {
                break;
            };
            let packet = match socket.receive() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(error) => {
                    // The link went down or away; the next message opens another socket, or
                    // finds that there is nothing to open one on.
                    around.log(&format!("{}: {error}", self.name()));
                    self.clients[at].socket = None;
                    break;
                }
            };
            let arrival = Arrival {
                bytes: &packet.bytes,
                mac: packet.from,
                has_checksum: packet.has_checksum,
            };
            let steps = self.clients[at]
                .exchange
                .receive(now, arrival, &mut || around.chance());
            self.follow(at, steps, now, around)?;
        }
        Ok(())
    }

    /// Gives the leases back, from the container if its link is there, else from the host.
    pub(super) fn release(&mut self, around: &mut Surroundings<'_>) {
        // When it cannot be told, the host's side is tried.
        let found = self.find(around).ok().flatten();
        let name = self.name();
        for client in &mut self.clients {
            let Some(datagram) = client.exchange.release(&mut || around.chance()) else {
                continue;
            };
            let from_container = found.as_ref().is_some_and(|found| {
                let sent = found
                    .socket(client.family)
                    .and_then(|socket| socket.send(&datagram));
                sent.is_ok()
            });
            let place = &self.record.place;
            let told = match from_container {
                true => "released".into(),
                false => match place.send_from_host(client.family, &datagram) {
                    Ok(()) => "released from the host".into(),
                    Err(error) => {
                        format!("the lease ends by its time, no way to its server: {error}")
                    }
                },
            };
            around.log(&format!("{name}: {told}"));
        }
    }

    /// Gives up an ADD: what was got is given back, and the link is as it was.
    pub(super) fn abandon(mut self, around: &mut Surroundings<'_>) {
        self.release(around);
        if let (true, Ok(Some(found))) = (self.record.place.was_down, self.find(around)) {
            let _ = found.set(Setting::Down);
        }
    }

    /// Namespace and link, if they are the same as at ADD.
    pub(super) fn find(&self, around: &Surroundings<'_>) -> Result<Option<Found>, netlink::Error> {
        self.record.place.find(&self.netns(around))
    }

    /// Whether they are known to be gone.
    pub(super) fn is_gone(&self, around: &mut Surroundings<'_>) -> bool {
        matches!(self.found(around), Err(Trouble::Gone))
    }

    /// As [`Self::find`], for who cannot go on without; `None` when only later can it be told.
    fn found(&self, around: &mut Surroundings<'_>) -> Result<Option<Found>, Trouble> {
        match self.find(around) {
            Ok(found) => found.ok_or(Trouble::Gone).map(Some),
            Err(error) => {
                let name = self.name();
                around.log(&format!("{name}: its interface is out of reach: {error}"));
                Ok(None)
            }
        }
    }

    fn netns(&self, around: &Surroundings<'_>) -> PathBuf {
        around.flags.on_host(&self.record.wish.netns)
    }

    pub(super) fn name(&self) -> String {
        self.record.wish.key.text()
    }

    fn follow(
        &mut self,
        at: usize,
        steps: Vec<Step>,
        now: Moment,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Trouble> {
        for step in steps {
            match step {
                Step::Send(datagram) => self.send(at, &datagram, around)?,
                Step::Leased => self.leased(at, now, around)?,
                Step::Lost(loss) => self.lost(at, loss, now, around)?,
                Step::Useless(problem) if self.adding.is_some() => {
                    return Err(Trouble::Useless(problem));
                }
                Step::Useless(problem) => around.log(&format!("{}: {problem}", self.name())),
            }
        }
        let client = &mut self.clients[at];
        if !client.exchange.needs_socket() {
            client.socket = None;
        }
        Ok(())
    }

    /// What cannot be sent is as good as lost on the way: it is sent again.
    fn send(
        &mut self,
        at: usize,
        datagram: &Datagram,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Trouble> {
        let family = self.clients[at].family;
        if self.clients[at].socket.is_none() {
            let found = self.found(around)?;
            match found.map(|found| found.socket(family)).transpose() {
                Ok(socket) => self.clients[at].socket = socket,
                Err(error) => around.log(&format!("{}: {error}", self.name())),
            }
        }
        let sent = self.clients[at]
            .socket
            .as_ref()
            .map(|socket| socket.send(datagram));
        let Some(Err(error)) = sent else {
            return Ok(());
        };
        // A link-local address is not there for the first second (RFC 4862).
        if !(family == Family::V6 && error.errno() == Errno::EADDRNOTAVAIL) {
            around.log(&format!("{}: {error}", self.name()));
        }
        if matches!(error.errno(), Errno::ENXIO | Errno::ENODEV) {
            self.clients[at].socket = None;
            self.found(around)?;
        }
        Ok(())
    }

    fn leased(
        &mut self,
        at: usize,
        now: Moment,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Trouble> {
        self.clients[at].search = Search::None;
        if self.adding.is_some() {
            return Ok(());
        }
        let client = &self.clients[at];
        let Some(lease) = client.exchange.lease().cloned() else {
            return Ok(());
        };
        let same = client
            .configured
            .as_ref()
            .is_some_and(|old| lease.configures_as(old));
        let name = self.name();
        if same {
            around.log(&format!("{name}: {} extended", lease.address));
        } else {
            let Some(found) = self.found(around)? else {
                self.owe(at, Owed::Lease, now);
                return Ok(());
            };
            let old = self.clients[at].configured.as_ref();
            let before = old.map_or("nothing".into(), |old| old.address.to_string());
            around.log(&format!("{name}: {} instead of {before}", lease.address));
            if let Err(error) = found.configure(old, &lease, self.record.wish.priority) {
                around.log(&format!("{name}: {error}"));
            }
        }
        self.clients[at].configured = Some(lease);
        self.write_down(around);
        Ok(())
    }

    fn lost(
        &mut self,
        at: usize,
        loss: Loss,
        now: Moment,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Trouble> {
        let Some(found) = self.found(around)? else {
            self.owe(at, Owed::Loss(loss), now);
            return Ok(());
        };
        let name = self.name();
        if let Some(lease) = self.clients[at].configured.take() {
            let why = match loss {
                Loss::Expired => "no server extended it in time",
                Loss::Refused => "a server refuses it",
            };
            around.log(&format!(
                "{name}: {} is taken from the interface: {why}",
                lease.address
            ));
            if let Err(error) = found.unconfigure(&lease) {
                around.log(&format!("{name}: {error}"));
            }
        }
        match loss {
            Loss::Refused => self.discover(at, &found, now, around),
            Loss::Expired => {
                self.set_down(&found, around);
                let (until, pause) = (now + FIRST_PAUSE, FIRST_PAUSE);
                self.clients[at].search = Search::Pausing { until, pause };
            }
        }
        self.write_down(around);
        Ok(())
    }

    fn owe(&mut self, at: usize, owed: Owed, now: Moment) {
        let until = now + RETRY;
        self.clients[at].search = Search::Owing { until, owed };
    }

    /// The next part of looking for a lost lease, or what is owed to the link.
    fn search(
        &mut self,
        at: usize,
        now: Moment,
        around: &mut Surroundings<'_>,
    ) -> Result<(), Trouble> {
        match self.clients[at].search {
            Search::Pausing { until, pause } if until <= now => {
                let Some(found) = self.found(around)? else {
                    let until = now + RETRY;
                    self.clients[at].search = Search::Pausing { until, pause };
                    return Ok(());
                };
                if let Err(error) = found.set(Setting::Up) {
                    around.log(&format!("{}: {error}", self.name()));
                }
                self.discover(at, &found, now, around);
                let until = now + SEARCH;
                self.clients[at].search = Search::Trying { until, pause };
            }
            Search::Trying { until, pause } if until <= now => {
                let Some(found) = self.found(around)? else {
                    let until = now + RETRY;
                    self.clients[at].search = Search::Trying { until, pause };
                    return Ok(());
                };
                let client = &mut self.clients[at];
                client.exchange.stop();
                client.socket = None;
                let until = now + jittered(pause, &mut || around.chance());
                let pause = (pause * 2).min(LONGEST_PAUSE);
                client.search = Search::Pausing { until, pause };
                self.set_down(&found, around);
            }
            Search::Owing { until, owed } if until <= now => match owed {
                Owed::Lease => self.leased(at, now, around)?,
                Owed::Loss(loss) => self.lost(at, loss, now, around)?,
            },
            _ => {}
        }
        Ok(())
    }

    /// Begins anew, as the interface is now: its Ethernet address may have been changed since ADD.
    fn discover(&mut self, at: usize, found: &Found, now: Moment, around: &mut Surroundings<'_>) {
        if let Some(mac) = found.link.mac {
            self.record.place.mac = mac.0;
        }
        let client = &mut self.clients[at];
        client.socket = None;
        client.exchange = exchange(&self.record, client.family, around);
        client.exchange.discover(now, &mut || around.chance());
    }

    /// Unless the other family still needs the link.
    fn set_down(&self, found: &Found, around: &mut Surroundings<'_>) {
        if self
            .clients
            .iter()
            .any(|client| client.exchange.lease().is_some())
        {
            return;
        }
        if let Err(error) = found.set(Setting::Down) {
            around.log(&format!("{}: {error}", self.name()));
        }
    }

    /// What cannot be written is told: a daemon that is restarted then knows what was before.
    fn write_down(&mut self, around: &mut Surroundings<'_>) {
        let leases = self
            .clients
            .iter()
            .filter_map(|client| client.exchange.lease());
        self.record.leases = leases.cloned().collect();
        if let Err(error) = around.store.save(&self.record) {
            around.log(&error.to_string());
        }
    }
}

/// A conversation that has not begun.
fn exchange(record: &Record, family: Family, around: &Surroundings<'_>) -> Box<dyn Exchange> {
    let (wish, patience) = (&record.wish, around.flags.patience);
    match family {
        Family::V4 => {
            let identity = v4::exchange::Identity {
                mac: record.place.mac,
                client_id: client_id(record),
                provide: wish.provide.clone(),
                request: wish.request.clone(),
                broadcast: around.flags.broadcast,
            };
            Box::new(v4::exchange::Client::new(identity, patience))
        }
        Family::V6 => {
            let duid = [&DUID_UUID[..], &leases::hash(&wish.key)].concat();
            Box::new(v6::exchange::Client::new(duid, patience))
        }
    }
}

/// As the reference's: type 0 and the attachment's name. One that is too long ends in its hash, so
/// that two of them are never the same client.
fn client_id(record: &Record) -> Vec<u8> {
    let mut name = record.wish.key.text().into_bytes();
    if name.len() > LONGEST_ID {
        let hash = leases::hex(&leases::hash(&record.wish.key));
        name.truncate(LONGEST_ID - 1 - hash.len());
        name.push(b'-');
        name.extend(hash.into_bytes());
    }
    [&[0], &name[..]].concat()
}
