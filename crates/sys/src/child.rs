//! Running an executable to its end: input, both outputs, a deadline, its process group.
//!
//! The promise is that [`run`] returns: a child that neither reads nor writes, writes for ever, or
//! leaves a grandchild behind that holds its pipes cannot keep us past the deadline. What the
//! output means is the caller's business.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getppid};

use crate::clock::FOREVER;
use crate::error::{Result, SyscallError, SyscallResult};
use crate::process::{is_pollable, pidfd_open, wait_for_exit};

/// On what terms [`run`] runs.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Where the child's standard error goes.
    pub stderr: StandardError,
    /// After this long the child's process group is killed: `ETIMEDOUT`.
    pub time: Duration,
    /// How many bytes of each output are kept.
    pub output: usize,
    /// What happens to a child that writes more.
    pub excess: Excess,
}

/// What happens to a child that writes more than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It is killed: `EFBIG`.
    Kills,
    /// The rest is read and dropped.
    Dropped,
}

/// Where a child's standard error goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardError {
    /// Into [`Finished::stderr`].
    Collected,
    /// To our own.
    Inherited,
}

/// A child that ended by itself.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote to standard output before it ended.
    pub stdout: Vec<u8>,
    /// Everything it wrote to standard error before it ended, if that was collected.
    pub stderr: Vec<u8>,
}

/// How long `ETXTBSY` is waited out: somebody is still writing the executable, or has forked
/// while writing it and not yet called execve.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);
const BUSY_POLL: Duration = Duration::from_millis(20);

/// How much of an output is read before the clock is looked at again: others may write as fast.
const READ_AT_ONCE: usize = 1 << 20;

/// How often the end of a child is looked for where it cannot be polled for.
const END_POLL: Duration = Duration::from_millis(5);

/// Runs `command` with `stdin` in a process group of its own, until it ends or a limit is met.
///
/// It may end without reading its input. Grandchildren that outlive it are left alone, and are
/// killed with it when a limit is met.
pub fn run(command: &mut Command, stdin: &[u8], terms: Terms) -> Result<Finished> {
    let now = Instant::now();
    // What no clock can count is as long as any program runs.
    let deadline = now.checked_add(terms.time).unwrap_or(now + FOREVER);
    let stderr = match terms.stderr {
        StandardError::Collected => Stdio::piped(),
        StandardError::Inherited => Stdio::inherit(),
    };
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .process_group(0);
    let mut child = spawn_when_free(command, deadline)
        .call(|| format!("execve({:?})", command.get_program()))?;
    let group = Pid::from_raw(child.id().cast_signed());
    let outputs = converse(&mut child, stdin, deadline, terms);
    if outputs.is_err() {
        // ESRCH: everybody is gone already. The first error is the one to report.
        let _ = killpg(group, Signal::SIGKILL);
    }
    let status = child.wait().call(|| format!("wait4({group})"))?;
    let [stdout, stderr] = outputs?;
    Ok(Finished {
        status,
        stdout,
        stderr,
    })
}

/// Makes the child of `command` die (SIGKILL) when the thread that starts it does.
pub fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    let prepare = move || {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        // prctl(2): a parent that died before the call sends nothing.
        if getppid() == parent {
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    };
    // SAFETY: between fork and execve only prctl(2) and getppid(2) are called, which are
    // async-signal-safe and take no lock.
    unsafe { command.pre_exec(prepare) };
}

/// Lets the child of `command` keep `fd` open, under the same number, and whoever it starts too.
///
/// With a duplicate of a lock's descriptor the lock lasts until all of them are gone, even when
/// we are killed: flock(2) locks belong to the open file, not to the process.
pub fn keep_open(command: &mut Command, fd: OwnedFd) {
    let prepare = move || {
        fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: between fork and execve only fcntl(2) is called, which is async-signal-safe and
    // takes no lock; the descriptor is owned by the closure and so still open.
    unsafe { command.pre_exec(prepare) };
}

/// Lets the child of `command` join the cgroups whose `tasks` or `cgroup.procs` are open here.
pub fn join_cgroups(command: &mut Command, files: Vec<OwnedFd>) {
    let prepare = move || {
        for file in &files {
            nix::unistd::write(file, b"0")?;
        }
        Ok(())
    };
    // SAFETY: between fork and execve only write(2) is called, which is async-signal-safe.
    unsafe { command.pre_exec(prepare) };
}

/// Whether `file` is a regular file with an execute bit, after symbolic links.
pub fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether what [`run`] could not do may well be possible later: the executable was being
/// written, processes were scarce, or time was too short.
pub fn is_transient(error: &SyscallError) -> bool {
    matches!(
        error.errno(),
        Errno::ETIMEDOUT | Errno::ETXTBSY | Errno::EAGAIN
    )
}

/// Starts `command`, and waits out `ETXTBSY` for some seconds, not past `deadline`.
pub fn spawn_when_free(command: &mut Command, deadline: Instant) -> std::io::Result<Child> {
    let deadline = deadline.min(Instant::now() + BUSY_PATIENCE);
    loop {
        match command.spawn() {
            Err(error)
                if error.raw_os_error() == Some(libc::ETXTBSY) && Instant::now() < deadline =>
            {
                std::thread::sleep(BUSY_POLL);
            }
            other => return other,
        }
    }
}

/// Feeds the child and collects its outputs until it has ended.
fn converse(
    child: &mut Child,
    input: &[u8],
    deadline: Instant,
    terms: Terms,
) -> Result<[Vec<u8>; 2]> {
    let pidfd = pidfd_open(Pid::from_raw(child.id().cast_signed()))?;
    let pollable = is_pollable(&pidfd);
    let mut stdin = Feed {
        pipe: child.stdin.take().map(OwnedFd::from),
        rest: input,
    };
    let mut stdout = Collect::new(child.stdout.take().map(OwnedFd::from), terms)?;
    let mut stderr = Collect::new(child.stderr.take().map(OwnedFd::from), terms)?;
    stdin.unblock()?;
    loop {
        let pipes = [&stdin.pipe, &stdout.pipe, &stderr.pipe];
        let ended = if pollable {
            wait_for_any(Some(&pidfd), pipes, deadline)?
        } else {
            // Without pidfd_open(2) its end has to be asked for, now and again.
            let soon = deadline.min(Instant::now() + END_POLL);
            let over = wait_for_any(None, pipes, soon).err();
            let late = over.filter(|error| error.errno() != Errno::ETIMEDOUT || soon == deadline);
            match (wait_for_exit(&pidfd, Duration::ZERO)?, late) {
                (true, _) => true,
                (false, Some(error)) => return Err(error),
                (false, None) => false,
            }
        };
        stdin.feed()?;
        stdout.collect()?;
        stderr.collect()?;
        if ended {
            return Ok([stdout.bytes, stderr.bytes]);
        }
    }
}

/// Blocks until something can be done; true when the child has ended.
fn wait_for_any(
    pidfd: Option<&OwnedFd>,
    pipes: [&Option<OwnedFd>; 3],
    deadline: Instant,
) -> Result<bool> {
    let [stdin, stdout, stderr] = pipes;
    let end = pidfd.map(|pidfd| PollFd::new(pidfd.as_fd(), PollFlags::POLLIN));
    let mut fds: Vec<PollFd<'_>> = end.into_iter().collect();
    let wanted = [
        (stdin, PollFlags::POLLOUT),
        (stdout, PollFlags::POLLIN),
        (stderr, PollFlags::POLLIN),
    ];
    fds.extend(
        wanted.iter().filter_map(|(pipe, flags)| {
            pipe.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), *flags))
        }),
    );
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(0) if Instant::now() >= deadline => {
                return Err(SyscallError::new("poll(child)", Errno::ETIMEDOUT));
            }
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => {
                let end = fds.first().filter(|_| pidfd.is_some());
                return Ok(end.is_some_and(|fd| fd.any() == Some(true)));
            }
            Err(errno) => return Err(SyscallError::new("poll(child)", errno)),
        }
    }
}

fn set_nonblocking(pipe: BorrowedFd<'_>) -> Result<()> {
    fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map(drop)
        .call(|| "fcntl(pipe, F_SETFL, O_NONBLOCK)".into())
}

/// What is still to be written; the pipe is closed after the last byte.
struct Feed<'a> {
    pipe: Option<OwnedFd>,
    rest: &'a [u8],
}

impl Feed<'_> {
    fn unblock(&self) -> Result<()> {
        self.pipe
            .as_ref()
            .map_or(Ok(()), |pipe| set_nonblocking(pipe.as_fd()))
    }

    fn feed(&mut self) -> Result<()> {
        let Some(pipe) = self.pipe.take() else {
            return Ok(());
        };
        let mut file = std::fs::File::from(pipe);
        while !self.rest.is_empty() {
            match file.write(self.rest) {
                Ok(count) => self.rest = self.rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.pipe = Some(file.into());
                    return Ok(());
                }
                // It does not want to read, which is its right.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
                // What it has read is not what was meant.
                Err(error) => return Err(error).call(|| "write(child's input)".into()),
            }
        }
        Ok(())
    }
}

/// What has been read; the pipe is closed at end of file.
struct Collect {
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
    terms: Terms,
}

impl Collect {
    fn new(pipe: Option<OwnedFd>, terms: Terms) -> Result<Self> {
        pipe.as_ref()
            .map_or(Ok(()), |pipe| set_nonblocking(pipe.as_fd()))?;
        Ok(Self {
            pipe,
            bytes: Vec::new(),
            terms,
        })
    }

    fn collect(&mut self) -> Result<()> {
        let Some(pipe) = self.pipe.take() else {
            return Ok(());
        };
        let mut file = std::fs::File::from(pipe);
        let limit = self.terms.output;
        let mut chunk = [0; 16 * 1024];
        let mut taken = 0;
        while taken < READ_AT_ONCE {
            let read = file.read(&mut chunk);
            taken += read.as_ref().copied().unwrap_or_default();
            match read {
                Ok(0) => return Ok(()),
                Ok(length) if self.terms.excess == Excess::Kills => {
                    self.bytes.extend_from_slice(&chunk[..length]);
                    if self.bytes.len() > limit {
                        return Err(SyscallError::new("read(child's output)", Errno::EFBIG));
                    }
                }
                Ok(length) => {
                    let room = limit - self.bytes.len();
                    self.bytes.extend_from_slice(&chunk[..length.min(room)]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.pipe = Some(file.into());
                    return Ok(());
                }
                Err(error) => return Err(error).call(|| "read(child's output)".into()),
            }
        }
        self.pipe = Some(file.into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    const TERMS: Terms = Terms {
        stderr: StandardError::Collected,
        time: Duration::from_secs(20),
        output: 1 << 25,
        excess: Excess::Kills,
    };

    fn shell(script: &str, stdin: &[u8], terms: Terms) -> Result<Finished> {
        run(Command::new("/bin/sh").args(["-c", script]), stdin, terms)
    }

    #[test]
    fn large_streams_in_all_directions_do_not_dead_lock() {
        let input = vec![b'x'; 10 << 20];
        let done = shell("tee /dev/stderr", &input, TERMS).unwrap();
        assert!(done.status.success());
        assert!(done.stdout == input && done.stderr == input);
    }

    #[test]
    fn a_time_that_no_clock_counts_is_no_limit() {
        let terms = Terms {
            time: Duration::from_secs(i64::MAX as u64),
            ..TERMS
        };
        let done = shell("echo hi", b"", terms).unwrap();
        assert_eq!(done.stdout, b"hi\n");
    }

    #[test]
    fn those_who_never_stop_writing_are_ended() {
        let terms = Terms {
            time: Duration::from_millis(300),
            excess: Excess::Dropped,
            ..TERMS
        };
        let ended = shell("yes & yes & yes", b"", terms).unwrap_err();
        assert_eq!(ended.errno(), Errno::ETIMEDOUT);
    }

    #[test]
    fn a_child_may_ignore_its_input() {
        let done = shell("echo hi; exit 3", &vec![b'x'; 1 << 20], TERMS).unwrap();
        assert_eq!((done.status.code(), &*done.stdout), (Some(3), &b"hi\n"[..]));
    }

    #[test]
    fn a_grandchild_that_holds_the_pipes_does_not_hold_us() {
        let start = Instant::now();
        // Its standard error leads elsewhere, so that it dies of SIGPIPE at the latest.
        let done = shell("sleep 6 & echo done", b"", TERMS).unwrap();
        assert_eq!(done.stdout, b"done\n");
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_deadline_kills_grandchildren_too() {
        let marker = tempfile::tempdir().unwrap();
        let script = format!(
            "(sleep 1; echo late > {}/late) & sleep 60",
            marker.path().display()
        );
        let terms = Terms {
            time: Duration::from_millis(200),
            ..TERMS
        };
        assert_eq!(
            shell(&script, b"", terms).unwrap_err().errno(),
            Errno::ETIMEDOUT
        );
        std::thread::sleep(Duration::from_millis(1500));
        assert!(std::fs::read_dir(marker.path()).unwrap().next().is_none());
    }

    #[test]
    fn endless_output_ends_at_the_limit() {
        let terms = Terms {
            output: 1 << 16,
            ..TERMS
        };
        assert_eq!(shell("yes", b"", terms).unwrap_err().errno(), Errno::EFBIG);
    }

    #[test]
    fn excess_may_be_dropped_instead() {
        let terms = Terms {
            output: 10,
            excess: Excess::Dropped,
            ..TERMS
        };
        let start = Instant::now();
        let done = shell("head -c 30000000 /dev/zero; echo e >&2", b"", terms).unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "drained byte by byte?"
        );
        assert_eq!((done.status.code(), done.stdout.len()), (Some(0), 10));
        assert_eq!(done.stderr, b"e\n");
    }

    #[test]
    fn a_missing_executable_is_enoent() {
        let error = run(&mut Command::new("/nonexistent"), b"", TERMS).unwrap_err();
        assert_eq!(error.errno(), Errno::ENOENT);
    }

    #[test]
    fn an_executable_that_is_still_written_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("true");
        std::fs::copy("/bin/true", &path).unwrap();
        let writer = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        let busy = Terms {
            time: Duration::from_millis(100),
            ..TERMS
        };
        let error = run(&mut Command::new(&path), b"", busy).unwrap_err();
        assert_eq!(
            error.errno(),
            Errno::ETXTBSY,
            "a failure that stays is an error"
        );
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(writer);
        });
        assert!(
            run(&mut Command::new(&path), b"", TERMS)
                .unwrap()
                .status
                .success()
        );
        later.join().unwrap();
    }

    #[test]
    fn a_descriptor_stays_open_in_the_child_alone() {
        let (ours, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut command = Command::new("/bin/sh");
        let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
        command.args(["-c", &format!("echo x > {}", path(&theirs))]);
        keep_open(&mut command, theirs);
        assert!(run(&mut command, b"", TERMS).unwrap().status.success());
        let missing = shell(&format!("test ! -e {}", path(&ours)), b"", TERMS);
        assert!(missing.unwrap().status.success());
        drop(command);
        let mut read = String::new();
        std::fs::File::from(ours).read_to_string(&mut read).unwrap();
        assert_eq!(read, "x\n");
    }

    #[test]
    fn a_child_can_be_made_to_die_with_us() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exit 0"]);
        die_with_parent(&mut command);
        assert!(run(&mut command, b"", TERMS).unwrap().status.success());
    }
}
