//! `dhcp daemon`: gets leases for plugins that ask, extends them and gives them back.
//!
//! One thread, one poll over the plugins' connections and the sockets of conversations; between
//! events it sleeps until the next moment at which something is due. A namespace is entered by a
//! thread that opens one socket there and ends.
//!
//! ```text
//! plugin --ADD--> Attachment (adding) --leases--> written down, reply
//!   hangs up, no lease in time --> abandoned
//! start: records of before --> resumed; marked by a DEL, or without a place --> released
//! end (SIGINT, SIGTERM): leases stay, socket and pidfile go
//! ```

mod attachment; // one interface: conversations, sockets, what it is set up for
mod flags; // the command line
mod listener; // the socket, systemd's or ours; the pidfile
mod peer; // a plugin that is connected

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Duration;

use cni::{Attempt, Code, Error};
use sys::clock::since_boot;
use sys::signal::Termination;

use self::attachment::{Adding, Attachment, Trouble};
use self::flags::{Command, Flags};
use self::listener::{Listening, Pidfile};
use self::peer::{Heard, Peer, State};
use crate::lease::Moment;
use crate::leases::{Record, Store, boot_id};
use crate::place::Place;
use crate::protocol::{Key, Operation, Reply, Wish};
use crate::{LINK, NO_LEASE, REFUSED};

/// More plugins at once than any host starts; the rest wait in the socket's queue.
const MOST_PEERS: usize = 4096;
/// After the host ran out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The whole daemon, until a signal ends it. What goes wrong is told to `log`.
pub fn run(words: impl Iterator<Item = String>, log: &mut dyn Write) -> ExitCode {
    let ended = match Flags::parse(words) {
        Ok(Command::Serve(flags)) => serve(flags, log).map_err(|error| error.to_string()),
        Ok(Command::Help) => {
            let _ = log.write_all(flags::USAGE.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(problem) => Err(format!("{problem}\n{}", flags::USAGE)),
    };
    let Err(problem) = ended else {
        return ExitCode::SUCCESS;
    };
    // Nobody is left to tell if the log is closed.
    let _ = writeln!(log, "dhcp daemon: {problem}");
    ExitCode::FAILURE
}

fn serve(flags: Flags, log: &mut dyn Write) -> Result<(), Error> {
    // Before the first thread, which would inherit the signals unblocked.
    let termination = Termination::catch().attempt(Code::INTERNAL, || "catch signals".into())?;
    // A lease that is being asked for needs two descriptors, and the usual limit is 1024.
    let _ = sys::process::raise_open_files();
    flags.refuse_missing_prefix()?;
    let environment = |name: &str| std::env::var(name).ok();
    let listening = Listening::start(&flags, environment)?;
    let pidfile = Pidfile::write(flags.pidfile.as_deref())?;
    let around = Surroundings {
        store: Store::create(&Store::beside(&listening.path))?,
        random: File::open("/dev/urandom").attempt(Code::IO, || "open /dev/urandom".into())?,
        flags,
        log,
    };
    let mut daemon = Daemon {
        around,
        listening,
        termination,
        peers: BTreeMap::new(),
        next_peer: 0,
        attachments: BTreeMap::new(),
        deaf_until: Moment::ZERO,
    };
    daemon.load()?;
    let ended = daemon.turn_until_the_end();
    daemon.end();
    pidfile.end();
    ended
}

/// What every part of the daemon may use.
struct Surroundings<'a> {
    flags: Flags,
    store: Store,
    random: File,
    log: &'a mut dyn Write,
}

impl Surroundings<'_> {
    fn log(&mut self, line: &str) {
        // Whoever closed it did not want to know.
        let _ = writeln!(self.log, "dhcp daemon: {line}");
    }

    /// A number that nobody can guess.
    fn chance(&mut self) -> u32 {
        let mut bytes = [0; 4];
        // The kernel's generator always answers.
        let _ = self.random.read_exact(&mut bytes);
        u32::from_ne_bytes(bytes)
    }
}

struct Daemon<'a> {
    around: Surroundings<'a>,
    listening: Listening,
    termination: Termination,
    peers: BTreeMap<u64, Peer>,
    next_peer: u64,
    attachments: BTreeMap<Key, Attachment>,
    /// No connection is accepted before.
    deaf_until: Moment,
}

/// What a descriptor of the poll belongs to.
enum Source {
    Termination,
    Listener,
    Peer(u64),
    Socket(Key, usize),
}

impl Daemon<'_> {
    /// Goes on with the leases of before. The socket is there already, so that a DEL that comes
    /// now waits for its turn, and one that came before has left its mark.
    fn load(&mut self) -> Result<(), Error> {
        let (records, broken) = self.around.store.records()?;
        for problem in broken {
            self.around
                .log(&format!("a lease that cannot be read: {problem}"));
        }
        let boot = boot_id();
        for record in records {
            let key = record.wish.key.clone();
            let is_over = record.boot != boot || self.around.store.is_marked(&key);
            let attachment = Attachment::resumed(record, since_boot(), &mut self.around);
            if is_over || attachment.is_gone(&mut self.around) {
                self.give_back(attachment);
            } else {
                self.attachments.insert(key, attachment);
            }
        }
        let count = self.attachments.len();
        let path = self.listening.path.display().to_string();
        self.around.log(&format!(
            "listening at {path}, {count} attachments of before"
        ));
        Ok(())
    }

    fn turn_until_the_end(&mut self) -> Result<(), Error> {
        loop {
            self.do_what_is_due();
            let (sources, ready) = self
                .wait()
                .attempt(Code::INTERNAL, || "wait for events".into())?;
            for source in sources
                .into_iter()
                .zip(ready)
                .filter_map(|(source, ready)| ready.then_some(source))
            {
                match source {
                    Source::Termination => {
                        let received = self.termination.received();
                        let received =
                            received.attempt(Code::INTERNAL, || "read a signal".into())?;
                        if let Some(name) = received {
                            self.around.log(&format!("{name}: leases are kept"));
                            return Ok(());
                        }
                    }
                    Source::Listener => self.accept(),
                    Source::Peer(number) => self.hear(number),
                    Source::Socket(key, at) => self.receive(key, at),
                }
            }
        }
    }

    /// Sleeps until something comes or is due.
    fn wait(&self) -> sys::Result<(Vec<Source>, Vec<bool>)> {
        let now = since_boot();
        let mut sources = vec![Source::Termination];
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.termination.as_fd()];
        if now >= self.deaf_until && self.peers.len() < MOST_PEERS {
            sources.push(Source::Listener);
            fds.push(self.listening.listener.as_fd());
        }
        for (number, peer) in &self.peers {
            sources.push(Source::Peer(*number));
            fds.push(peer.as_fd());
        }
        for (key, attachment) in &self.attachments {
            for (at, fd) in attachment.sockets() {
                sources.push(Source::Socket(key.clone(), at));
                fds.push(fd);
            }
        }
        let attachments = self.attachments.values().filter_map(Attachment::deadline);
        let peers = self.peers.values().filter_map(Peer::deadline);
        let deaf = (now < self.deaf_until).then_some(self.deaf_until);
        let next = attachments.chain(peers).chain(deaf).min();
        let patience = next.map(|next| next.saturating_sub(now));
        let ready = sys::poll::any_readable(&fds, patience)?;
        Ok((sources, ready))
    }

    fn do_what_is_due(&mut self) {
        let now = since_boot();
        let is_due = |deadline: Option<Moment>| deadline.is_some_and(|deadline| deadline <= now);
        self.peers.retain(|_, peer| !is_due(peer.deadline()));
        let due = self
            .attachments
            .iter()
            .filter(|(_, attachment)| is_due(attachment.deadline()));
        let due: Vec<Key> = due.map(|(key, _)| key.clone()).collect();
        for key in due {
            let Some(attachment) = self.attachments.get_mut(&key) else {
                continue;
            };
            if let Some(adding) = attachment.adding.filter(|adding| adding.until <= now) {
                self.give_up(&key, no_server(&key, adding));
                continue;
            }
            let advanced = attachment.advance(now, &mut self.around);
            self.settle(&key, advanced);
        }
    }

    fn receive(&mut self, key: Key, at: usize) {
        if let Some(attachment) = self.attachments.get_mut(&key) {
            let received = attachment.receive(at, since_boot(), &mut self.around);
            self.settle(&key, received);
        }
    }

    /// What has to be done after a step of an attachment.
    fn settle(&mut self, key: &Key, outcome: Result<(), Trouble>) {
        let Some(attachment) = self.attachments.get_mut(key) else {
            return;
        };
        let is_adding = attachment.adding.is_some();
        match outcome {
            Ok(()) if is_adding => self.answer_if_complete(key),
            Ok(()) => {}
            Err(Trouble::Gone) if is_adding => {
                let msg = format!("interface of {} vanished during ADD", key.text());
                self.give_up(key, Error::new(LINK, msg));
            }
            Err(Trouble::Useless(problem)) => self.give_up(key, Error::new(REFUSED, problem)),
            Err(Trouble::Gone) => {
                self.around
                    .log(&format!("{}: its interface is gone", key.text()));
                if let Some(attachment) = self.attachments.remove(key) {
                    self.give_back(attachment);
                }
            }
        }
    }

    /// An ADD that has everything is answered when it is written down, and undone if nobody
    /// takes the answer.
    fn answer_if_complete(&mut self, key: &Key) {
        let Some(attachment) = self.attachments.get_mut(key) else {
            return;
        };
        let (Some(adding), Some(leases)) = (attachment.adding, attachment.leases()) else {
            return;
        };
        let addresses: Vec<_> = leases
            .iter()
            .map(|lease| lease.address.to_string())
            .collect();
        attachment.record.leases = leases.clone();
        if let Err(error) = self.around.store.save(&attachment.record) {
            return self.give_up(key, error);
        }
        attachment.keep(leases.clone());
        self.around
            .log(&format!("{}: leased {}", key.text(), addresses.join(" ")));
        let reply = Reply::Leased {
            leases,
            repeated: false,
        };
        let taken = self
            .peers
            .remove(&adding.peer)
            .is_some_and(|peer| peer.reply(reply));
        if let Some(attachment) = (!taken).then(|| self.attachments.remove(key)).flatten() {
            self.give_back(attachment);
        }
    }

    /// An ADD failed.
    fn give_up(&mut self, key: &Key, error: Error) {
        let Some(attachment) = self.attachments.remove(key) else {
            return;
        };
        self.around.log(&format!("{}: {error}", key.text()));
        let peer = attachment
            .adding
            .and_then(|adding| self.peers.remove(&adding.peer));
        attachment.abandon(&mut self.around);
        // One that hung up does not want to know.
        let _ = peer.map(|peer| peer.reply(error.into()));
    }

    /// The end of an attachment: its leases go back, and its record goes.
    fn give_back(&mut self, mut attachment: Attachment) {
        attachment.release(&mut self.around);
        self.around.store.forget(&attachment.record.wish.key);
    }

    fn accept(&mut self) {
        let stream = match self.listening.accept() {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(error) => {
                self.around.log(&format!("accept: {error}"));
                self.deaf_until = since_boot() + ACCEPT_PAUSE;
                return;
            }
        };
        match Peer::new(stream, since_boot()) {
            Ok(peer) => {
                self.peers.insert(self.next_peer, peer);
                self.next_peer += 1;
            }
            Err(problem) => self.around.log(&problem),
        }
    }

    fn hear(&mut self, number: u64) {
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        match peer.hear() {
            Heard::Nothing => {}
            Heard::Request(operation) => self.obey(number, operation),
            Heard::Refused(error) => self.reply(number, error.into()),
            Heard::Gone => {
                let peer = self.peers.remove(&number);
                if let Some(State::Waiting(key)) = peer.map(|peer| peer.state) {
                    let msg = "the plugin hung up before its leases were there";
                    self.give_up(&key, Error::new(Code::TRY_AGAIN, msg));
                }
            }
        }
    }

    fn obey(&mut self, number: u64, operation: Operation) {
        match operation {
            Operation::Status => self.reply(number, Reply::Done),
            Operation::Check { key } => {
                let reply = self.check(&key).unwrap_or_else(Reply::from);
                self.reply(number, reply);
            }
            Operation::Del { key, ticket } => {
                self.del(&key, ticket.as_deref());
                self.reply(number, Reply::Done);
            }
            Operation::Add {
                wish,
                ticket,
                patience,
            } => {
                let patience =
                    Duration::from_millis(patience).min(self.around.flags.resend_timeout);
                match self.add(number, wish, ticket, patience) {
                    Ok(None) => {}
                    Ok(Some(reply)) => self.reply(number, reply),
                    Err(error) => self.reply(number, error.into()),
                }
            }
        }
    }

    fn reply(&mut self, number: u64, reply: Reply) {
        let _ = self.peers.remove(&number).map(|peer| peer.reply(reply));
    }

    /// Begins an ADD, or answers with what an earlier one got.
    fn add(
        &mut self,
        number: u64,
        wish: Wish,
        ticket: String,
        patience: Duration,
    ) -> Result<Option<Reply>, Error> {
        let key = wish.key.clone();
        if let Some(known) = self.attachments.get(&key) {
            if known.adding.is_some() {
                let msg = format!("another ADD of {} is under way", key.text());
                return Err(Error::new(Code::TRY_AGAIN, msg));
            }
            let leases = known.leases().filter(|_| known.record.wish == wish);
            let is_there = known.find(&self.around).map(|found| found.is_some());
            let is_there = is_there.attempt(Code::TRY_AGAIN, || cannot_look(&key))?;
            if let Some(leases) = leases.filter(|_| is_there) {
                return Ok(Some(Reply::Leased {
                    leases,
                    repeated: true,
                }));
            }
        }
        let place = Place::enter(&self.around.flags.on_host(&wish.netns), &key.ifname)?;
        // Of a container that was there before, or wanted otherwise.
        if let Some(old) = self.attachments.remove(&key) {
            self.give_back(old);
        }
        let record = Record {
            boot: boot_id(),
            wish,
            place,
            ticket,
            leases: Vec::new(),
        };
        let began = since_boot();
        let adding = Adding {
            peer: number,
            began,
            until: began + patience,
        };
        let attachment = Attachment::added(record, adding, &mut self.around);
        if let Some(peer) = self.peers.get_mut(&number) {
            peer.state = State::Waiting(key.clone());
        }
        self.attachments.insert(key, attachment);
        Ok(None)
    }

    /// Looks, and changes nothing.
    fn check(&self, key: &Key) -> Result<Reply, Error> {
        let without = |msg: &str| Error::new(NO_LEASE, format!("{}: {msg}", key.text()));
        let known = self
            .attachments
            .get(key)
            .filter(|known| known.adding.is_none());
        let known = known.ok_or_else(|| without("no lease is known"))?;
        let leases = known
            .leases()
            .ok_or_else(|| without("its lease has expired"))?;
        let found = known.find(&self.around);
        if found
            .attempt(Code::TRY_AGAIN, || cannot_look(key))?
            .is_none()
        {
            return Err(without("the interface that the lease is for is gone"));
        }
        Ok(Reply::Leased {
            leases,
            repeated: true,
        })
    }

    fn del(&mut self, key: &Key, ticket: Option<&str>) {
        let Some(known) = self.attachments.get(key) else {
            if ticket.is_none() {
                // Of a record that could not be read.
                self.around.store.forget(key);
            }
            return;
        };
        if ticket.is_some_and(|ticket| known.record.ticket != ticket) {
            return;
        }
        if known.adding.is_some() {
            let msg = format!("DEL of {} came before the end of its ADD", key.text());
            return self.give_up(key, Error::new(Code::TRY_AGAIN, msg));
        }
        if let Some(known) = self.attachments.remove(key) {
            self.give_back(known);
        }
    }

    /// ADDs under way end; leases stay.
    fn end(mut self) {
        let keys = self
            .attachments
            .iter()
            .filter(|(_, attachment)| attachment.adding.is_some());
        let keys: Vec<Key> = keys.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.give_up(&key, Error::new(Code::TRY_AGAIN, "the daemon ends"));
        }
        self.listening.end();
    }
}

fn cannot_look(key: &Key) -> String {
    format!("look at the interface of {}", key.text())
}

/// The reference says `no more tries`.
fn no_server(key: &Key, adding: Adding) -> Error {
    let seconds = (adding.until - adding.began).as_secs_f64().round();
    let msg = format!(
        "no more tries: no DHCP server gave a lease to {} within {seconds} s",
        key.text()
    );
    Error::new(Code::TRY_AGAIN, msg)
        .details("ipam.timeout and the daemon's -resendtimeout say how long it may take")
}
