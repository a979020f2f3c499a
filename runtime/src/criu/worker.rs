//! [`Worker`]: one `criu swrk` process at the other end of a socket pair.
//!
//! ```text
//!   runtime                                    criu swrk N
//!      |------------- Version ------------------>|
//!      |<------------ Version -------------------|
//!      |------------- FeatureCheck ------------->|   only for what not every kernel has
//!      |<------------ FeatureCheck --------------|
//!      |------------- Dump | PreDump | Restore ->|
//!      |<------------ Notify(stage) -------------|   per stage; orphan-pts-master with the
//!      |------------- Notify(success) ---------->|     descriptor of a terminal
//!      |<------------ Dump | PreDump | Restore --|
//!      |  (end of stream)                         |   it exits
//! ```

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::rpc::{self, Features, Kind, Notification, Response};

/// The oldest CRIU whose service answers all that is asked here.
const OLDEST: (i32, i32, i32) = (3, 11, 0);

/// How long it may take to exit once its work is done.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told of each stage; an error makes CRIU give up.
pub type Listener<'a> = dyn FnMut(&Notification, Vec<OwnedFd>) -> Result<()> + 'a;

/// How CRIU is run.
#[derive(Debug, Default)]
pub struct Service {
    /// Descriptors that it inherits under the same numbers.
    pub descriptors: Vec<OwnedFd>,
    /// Cgroups that it joins.
    pub cgroup_files: Vec<OwnedFd>,
}

/// A running CRIU.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    pidfd: OwnedFd,
    socket: OwnedFd,
    version: (i32, i32, i32),
}

impl Worker {
    /// Runs `program`, which dies with this process.
    pub fn start(program: &Path, service: Service) -> Result<Self> {
        let (socket, theirs) = sys::socket::seqpacket_pair()?;
        let mut command = Command::new(program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        sys::child::die_with_parent(&mut command);
        sys::child::join_cgroups(&mut command, service.cgroup_files);
        sys::child::keep_open(&mut command, theirs);
        for descriptor in service.descriptors {
            sys::child::keep_open(&mut command, descriptor);
        }
        let child = command
            .spawn()
            .with_context(|| format!("execve({program:?}, \"swrk\")"))?;
        // Its end was the command's: with ours alone left, its death is the end of the stream.
        drop(command);
        let pidfd = sys::process::pidfd_open(Pid::from_raw(child.id().cast_signed()))?;
        let version = (0, 0, 0);
        let mut worker = Self {
            child,
            pidfd,
            socket,
            version,
        };
        worker.check_version()?;
        Ok(worker)
    }

    fn check_version(&mut self) -> Result<()> {
        let question = rpc::question(Kind::Version, Features::default());
        let response = self.ask(&question, &mut |_, _| Ok(()))?;
        self.version = response.version;
        if self.version < OLDEST {
            let (major, minor, sub) = self.version;
            bail!("CRIU {major}.{minor}.{sub} is too old: 3.11 is needed");
        }
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Which CRIU it is: `4.2.1`.
    pub fn version(&self) -> String {
        let (major, minor, sub) = self.version;
        format!("{major}.{minor}.{sub}")
    }

    /// Refuses if CRIU or the kernel lacks one of `needed`.
    pub fn require(&mut self, needed: Features) -> Result<()> {
        if needed == Features::default() {
            return Ok(());
        }
        let question = rpc::question(Kind::FeatureCheck, needed);
        let has = self.ask(&question, &mut |_, _| Ok(()))?.features;
        if needed.track_memory && !has.track_memory {
            bail!("--pre-dump: this kernel does not track which memory changes (soft-dirty)");
        }
        if needed.lazy_pages && !has.lazy_pages {
            bail!("--lazy-pages: CRIU or this kernel lacks it (userfaultfd)");
        }
        Ok(())
    }

    /// Sends `request` and answers notifications until the response is there. An error of
    /// `listener` is the error of the request.
    pub fn ask(&mut self, request: &[u8], listener: &mut Listener<'_>) -> Result<Response> {
        sys::socket::send(&self.socket, request, &[]).map_err(|error| self.explain(error))?;
        let mut refusal = None;
        loop {
            let (response, descriptors) = self.hear()?;
            let Some(notification) = &response.notification else {
                return refusal.map_or(Ok(response), Err);
            };
            crate::log::debug(&format!("criu: {}", notification.stage));
            let heard = listener(notification, descriptors);
            let answer = rpc::acknowledgement(heard.is_ok());
            refusal = refusal.or(heard.err());
            sys::socket::send(&self.socket, &answer, &[]).map_err(|error| self.explain(error))?;
        }
    }

    /// The next message. There is no deadline: how long a dump takes is a matter of how much
    /// memory there is. But CRIU's death ends the wait, whoever holds its socket.
    fn hear(&mut self) -> Result<(Response, Vec<OwnedFd>)> {
        let ready = loop {
            let mut fds = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => break fds[0].any().unwrap_or(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("poll(criu)"),
            }
        };
        let (bytes, descriptors) = match ready {
            true => sys::socket::receive(&self.socket).map_err(|error| self.explain(error))?,
            false => (Vec::new(), Vec::new()),
        };
        if bytes.is_empty() {
            return Err(self.explain(anyhow!("it closed the connection")));
        }
        let response = Response::parse(&bytes).context("a message of criu")?;
        Ok((response, descriptors))
    }

    /// Adds how it died to an error of the conversation, if it did.
    fn explain(&mut self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let ended = sys::process::wait_for_exit(&self.pidfd, Duration::from_secs(1));
        let status = match ended {
            Ok(true) => self.child.wait().ok(),
            _ => None,
        };
        let how = status.map(|status| match (status.code(), status.signal()) {
            (Some(code), _) => format!("criu exited with status {code}"),
            (None, signal) => format!("criu was killed by signal {}", signal.unwrap_or(0)),
        });
        error
            .into()
            .context(how.unwrap_or_else(|| "the conversation with criu".into()))
    }
}

impl Drop for Worker {
    /// It has nothing left to do: it exits when its socket closes, or is ended.
    fn drop(&mut self) {
        let _ =
            nix::sys::socket::shutdown(self.socket.as_raw_fd(), nix::sys::socket::Shutdown::Both);
        if !sys::process::wait_for_exit(&self.pidfd, PATIENCE).unwrap_or(false) {
            // ESRCH: it has just exited.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
