//! What the runtime and the container's init say to each other while the container is made.
//!
//! One SOCK_SEQPACKET pair; every message is one tag byte and its text. Init asks, the runtime
//! answers; either end sees the other's death as the end of the stream, so neither can hang on
//! a dead partner.
//!
//! ```text
//!   runtime                                   init
//!      |  clone3                                |
//!      |------------- Placed + fds ----------->|   its cgroups are ready, limits and all; the files
//!      |                                        |     by which it joins them, unless it has them
//!      |------------- IdsMapped -------------->|   only with a new user namespace
//!      |<------------ OpenMount(i) ------------|   per bind source it may not reach
//!      |------------- Opened + fd ------------>|
//!      |<------------ MapMount(i) + fd -------|   per id-mapped mount
//!      |------------- Mapped ----------------->|
//!      |<------------ ProcAround --------------|   only if it may mount no procfs: may it
//!      |------------- Granted ---------------->|     bind the one around?
//!      |<------------ RunHooks ----------------|   only with hooks of create: prestart, createRuntime;
//!      |------------- HooksDone -------------->|     init then runs createContainer itself
//!      |<------------ Limits ------------------|   only if it may not raise a limit itself
//!      |------------- LimitsSet -------------->|
//!      |<------------ Created -----------------|   everything is ready but the program
//!      |  state.json, pid file                  |
//!      |------------- Commit ----------------->|   create: wait on the start socket for Start
//!      |------------- Start ------------------>|   run: go on at once
//!      |                                        |   startContainer hooks, execve
//!      |<------------ Listener ----------------|   only with SCMP_ACT_NOTIFY, just before the
//!      |------------- Watching + memory ------>|     filter is loaded; see `notify_listener`
//!      |<------------ (end of stream) ---------|   execve closed the socket: it runs
//!      |<------------ Failed(text) ------------|   instead of any of its messages
//!      |<------------ HookFailed(text) --------|   the same, of a startContainer hook
//! ```
//!
//! `start` speaks the end of the same protocol over a connection to the start socket. With a
//! user namespace that is joined by path there is a process between the two (see `launch`),
//! whose one message is `Spawned(pid)`; so there is with `exec`, where it may also be `Full`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use sys::Errno;

use crate::fault::Fault;

/// From init to the runtime.
#[derive(Debug, PartialEq, Eq)]
pub enum FromInit {
    /// The process in between has cloned init, whose pid in the runtime's namespace this is.
    Spawned(i32),
    /// The process in between found a cgroup without room for one more.
    Full,
    /// Open and clone the source of bind mount number n.
    OpenMount(usize),
    /// Map the ids of the mount attached, which is for mount number n.
    MapMount(usize),
    /// No procfs can be mounted; may the one around be bound, read-only?
    ProcAround,
    /// Run the hooks of the runtime's namespaces; those of the container's come next.
    RunHooks,
    /// Set the resource limits from outside.
    Limits,
    /// Only the program is missing.
    Created,
    /// Its filter, which has a listener, is about to be loaded.
    Listener,
    /// It cannot go on, and why.
    Failed(Fault),
    /// A startContainer hook failed, which ends the container.
    HookFailed(Fault),
}

/// From the runtime to init.
#[derive(Debug, PartialEq, Eq)]
pub enum ToInit {
    /// Your cgroups are there and their limits hold: those of the files attached, or that you are in.
    Placed,
    /// The id maps are written.
    IdsMapped,
    /// The mount asked for is attached to this message.
    Opened,
    /// Its ids are mapped.
    Mapped,
    /// It may.
    Granted,
    /// All hooks of the runtime's namespaces succeeded.
    HooksDone,
    /// The limits are set.
    LimitsSet,
    /// The container is recorded; wait for a start.
    Commit,
    /// Run the program.
    Start,
    /// The memory attached is watched for the number of the listener.
    Watching,
    /// It cannot be done, and why.
    Refused(String),
}

/// One end of the conversation.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends.
    pub fn pair() -> Result<(Self, Self)> {
        let (one, two) = sys::socket::seqpacket_pair()?;
        Ok((Self(one), Self(two)))
    }

    /// Takes a connected socket for one.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Says something to the runtime.
    pub fn tell(&self, message: &FromInit) -> Result<()> {
        self.say(message, &[])
    }

    /// Says something to the runtime, with a descriptor.
    pub fn hand_over(&self, message: &FromInit, fd: &OwnedFd) -> Result<()> {
        self.say(message, &[fd.as_fd()])
    }

    fn say(&self, message: &FromInit, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let bytes = match message {
            FromInit::Spawned(pid) => tagged(b'P', &pid.to_string()),
            FromInit::Full => tagged(b'E', ""),
            FromInit::OpenMount(index) => tagged(b'O', &index.to_string()),
            FromInit::MapMount(index) => tagged(b'M', &index.to_string()),
            FromInit::ProcAround => tagged(b'A', ""),
            FromInit::RunHooks => tagged(b'H', ""),
            FromInit::Limits => tagged(b'L', ""),
            FromInit::Created => tagged(b'C', ""),
            FromInit::Listener => tagged(b'N', ""),
            FromInit::Failed(fault) => tagged(b'F', &fault.encode()),
            FromInit::HookFailed(fault) => tagged(b'K', &fault.encode()),
        };
        sys::socket::send(&self.0, &bytes, fds).context("tell the runtime")
    }

    /// Hears the next message of init; `None` when init's end is closed.
    pub fn hear(&self) -> Result<Option<FromInit>> {
        Ok(self.hear_all()?.map(|(message, _)| message))
    }

    /// The same, with the descriptors that came along.
    pub fn hear_all(&self) -> Result<Option<(FromInit, Vec<OwnedFd>)>> {
        let (bytes, fds) = sys::socket::receive(&self.0).context("hear init")?;
        let Some((&tag, text)) = bytes.split_first() else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(text);
        let message = match tag {
            b'P' => FromInit::Spawned(text.parse().context("pid of init")?),
            b'E' => FromInit::Full,
            b'O' => FromInit::OpenMount(text.parse().context("number of a mount")?),
            b'M' => FromInit::MapMount(text.parse().context("number of a mount")?),
            b'A' => FromInit::ProcAround,
            b'H' => FromInit::RunHooks,
            b'L' => FromInit::Limits,
            b'C' => FromInit::Created,
            b'N' => FromInit::Listener,
            b'F' => FromInit::Failed(Fault::decode(&text)),
            b'K' => FromInit::HookFailed(Fault::decode(&text)),
            _ => bail!("init said {tag:#x}, which is not in the protocol"),
        };
        Ok(Some((message, fds)))
    }

    /// Says something to init, with descriptors.
    pub fn answer(&self, message: &ToInit, fds: &[&OwnedFd]) -> Result<()> {
        let bytes = match message {
            ToInit::Placed => tagged(b'p', ""),
            ToInit::IdsMapped => tagged(b'i', ""),
            ToInit::Opened => tagged(b'o', ""),
            ToInit::Mapped => tagged(b'm', ""),
            ToInit::Granted => tagged(b'g', ""),
            ToInit::HooksDone => tagged(b'h', ""),
            ToInit::LimitsSet => tagged(b'l', ""),
            ToInit::Commit => tagged(b'c', ""),
            ToInit::Start => tagged(b's', ""),
            ToInit::Watching => tagged(b'w', ""),
            ToInit::Refused(text) => tagged(b'r', text),
        };
        let fds: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
        sys::socket::send(&self.0, &bytes, &fds).map_err(|error| match error.errno() {
            // ECONNRESET, once: it went without having heard the message before this one.
            Errno::EPIPE | Errno::ECONNRESET => anyhow::Error::from(error).context(Unheard),
            _ => anyhow::Error::from(error).context("answer init"),
        })
    }

    /// Hears the runtime; `None` when its end is closed.
    pub fn listen(&self) -> Result<Option<(ToInit, Vec<OwnedFd>)>> {
        let (bytes, fds) = sys::socket::receive(&self.0).context("hear the runtime")?;
        let Some((&tag, text)) = bytes.split_first() else {
            return Ok(None);
        };
        let message = match tag {
            b'p' => ToInit::Placed,
            b'i' => ToInit::IdsMapped,
            b'o' => ToInit::Opened,
            b'm' => ToInit::Mapped,
            b'g' => ToInit::Granted,
            b'h' => ToInit::HooksDone,
            b'l' => ToInit::LimitsSet,
            b'c' => ToInit::Commit,
            b's' => ToInit::Start,
            b'w' => ToInit::Watching,
            b'r' => ToInit::Refused(String::from_utf8_lossy(text).into_owned()),
            _ => bail!("the runtime said {tag:#x}, which is not in the protocol"),
        };
        Ok(Some((message, fds)))
    }

    /// Asks the runtime and waits for exactly the answer `expected`.
    pub fn ask(&self, question: &FromInit, expected: &ToInit) -> Result<Vec<OwnedFd>> {
        self.tell(question)?;
        self.expect(expected)
    }

    /// Waits for exactly the message `expected`.
    pub fn expect(&self, expected: &ToInit) -> Result<Vec<OwnedFd>> {
        match self.listen()? {
            Some((message, fds)) if message == *expected => Ok(fds),
            Some((ToInit::Refused(reason), _)) => bail!(reason),
            Some((other, _)) => bail!("expected {expected:?} of the runtime, got {other:?}"),
            None => bail!("the runtime is gone"),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &OwnedFd {
        &self.0
    }
}

/// Marks the error of an answer that nobody was left to hear.
#[derive(Debug, thiserror::Error)]
#[error("answer init")]
pub struct Unheard;

/// A tag and its text, cut to what one message can carry.
fn tagged(tag: u8, text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + text.len());
    bytes.push(tag);
    bytes.extend_from_slice(text.as_bytes());
    bytes.truncate(sys::socket::MAX_MESSAGE);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Code;

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let (runtime, init) = Channel::pair().unwrap();
        let messages = [
            FromInit::Spawned(7),
            FromInit::OpenMount(3),
            FromInit::MapMount(4),
            FromInit::ProcAround,
            FromInit::RunHooks,
            FromInit::Limits,
            FromInit::Created,
            FromInit::Listener,
            FromInit::Failed(Fault::new(Code::Busy, "mount: no").hint("wait")),
            FromInit::HookFailed(Fault::new(Code::Hook, "exit status 1")),
        ];
        for message in messages {
            init.tell(&message).unwrap();
            assert_eq!(runtime.hear().unwrap(), Some(message));
        }
    }

    #[test]
    fn a_refusal_becomes_the_error_of_the_question() {
        let (runtime, init) = Channel::pair().unwrap();
        runtime
            .answer(&ToInit::Refused("no such mount".into()), &[])
            .unwrap();
        let error = init
            .ask(&FromInit::OpenMount(1), &ToInit::Opened)
            .unwrap_err();
        assert_eq!(error.to_string(), "no such mount");
    }

    #[test]
    fn an_answer_that_nobody_hears_is_told_from_others() {
        let (runtime, init) = Channel::pair().unwrap();
        drop(init);
        let error = runtime.answer(&ToInit::Opened, &[]).unwrap_err();
        assert!(error.is::<Unheard>(), "{error:#}");
        let (runtime, init) = Channel::pair().unwrap();
        runtime.answer(&ToInit::Opened, &[]).unwrap();
        drop(init);
        let error = runtime.answer(&ToInit::Opened, &[]).unwrap_err();
        assert!(error.is::<Unheard>(), "{error:#}");
        let refused = anyhow::anyhow!("no").context("answer init");
        assert!(!refused.is::<Unheard>());
    }

    #[test]
    fn a_dead_partner_is_seen() {
        let (runtime, init) = Channel::pair().unwrap();
        drop(init);
        assert_eq!(runtime.hear().unwrap(), None);
        let (runtime, init) = Channel::pair().unwrap();
        drop(runtime);
        assert!(init.expect(&ToInit::Commit).is_err());
    }
}
