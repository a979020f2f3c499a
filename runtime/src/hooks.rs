//! Running hooks: the state on stdin, a deadline, and what the hook said when it fails.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::plan::{Hook, Moment};

/// How much of a hook's output is kept for the error message, in bytes.
const MAX_OUTPUT: usize = 16 * 1024;

/// Where and with what the hooks of one moment run.
pub struct Surroundings<'a> {
    /// State of the container (runtime.md, "State") as JSON.
    pub state: &'a [u8],
    /// Environment of a hook whose configuration has none; `None` is the runtime's own.
    pub env: Option<Vec<String>>,
    /// Working directory.
    pub cwd: &'a Path,
}

/// Runs `hooks` in order; the first failure ends it.
pub fn run_all(moment: Moment, hooks: &[Hook], surroundings: &Surroundings<'_>) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, surroundings)
            .with_context(|| format!("error running {} hook #{index}", moment.key()))?;
    }
    Ok(())
}

/// Runs one hook.
pub fn run(hook: &Hook, surroundings: &Surroundings<'_>) -> Result<()> {
    let mut command = Command::new(&hook.path);
    command
        .arg0(&hook.args[0])
        .args(&hook.args[1..])
        .current_dir(surroundings.cwd);
    if let Some(env) = hook.env.as_ref().or(surroundings.env.as_ref()) {
        command.env_clear();
        command.envs(env.iter().filter_map(|entry| entry.split_once('=')));
    }
    // A group of its own, so that a timeout ends the hook's children too.
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command
        .spawn()
        .with_context(|| format!("fork/exec {}", hook.path.display()))?;
    let running = Running::new(child, hook.timeout)?;
    running.finish(surroundings.state)
}

/// A hook at work, and what it has said so far.
struct Running {
    child: Child,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
    stdout: Output<ChildStdout>,
    stderr: Output<ChildStderr>,
}

struct Output<R> {
    pipe: Option<R>,
    text: Vec<u8>,
}

impl<R: Read + AsFd> Output<R> {
    fn new(pipe: Option<R>) -> Result<Self> {
        pipe.iter().try_for_each(nonblocking)?;
        Ok(Self {
            pipe,
            text: Vec::new(),
        })
    }

    /// Takes what is there; the pipe is drained past the limit, so that the hook never blocks.
    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    let room = MAX_OUTPUT.saturating_sub(self.text.len());
                    self.text.extend_from_slice(&buffer[..length.min(room)]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.text).trim_end().to_owned()
    }
}

fn nonblocking(fd: impl AsFd) -> Result<()> {
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("fcntl(F_SETFL, O_NONBLOCK)")?;
    Ok(())
}

impl Running {
    fn new(mut child: Child, timeout: Option<Duration>) -> Result<Self> {
        Ok(Self {
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            timeout,
            stdout: Output::new(child.stdout.take())?,
            stderr: Output::new(child.stderr.take())?,
            child,
        })
    }

    /// Feeds the state, collects the output, waits for the end.
    fn finish(mut self, state: &[u8]) -> Result<()> {
        let ended = self.converse(state);
        if ended.is_err() {
            self.end_group();
        }
        let status = self.child.wait().context("wait for the hook");
        ended?;
        self.judge(status?)
    }

    fn converse(&mut self, mut state: &[u8]) -> Result<()> {
        let pidfd = sys::process::pidfd_open(Pid::from_raw(self.child.id() as i32))?;
        let mut stdin = self.child.stdin.take();
        stdin.iter().try_for_each(nonblocking)?;
        loop {
            if let Some(pipe) = &mut stdin {
                match pipe.write(state) {
                    Ok(length) => state = &state[length..],
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    // A hook need not read its state.
                    Err(_) => state = &[],
                }
                if state.is_empty() {
                    stdin = None;
                }
            }
            let ready = self.wait_for_something(stdin.as_ref(), &pidfd)?;
            self.stdout.drain();
            self.stderr.drain();
            if ready.ended {
                // Output that grandchildren still hold open is not waited for.
                return Ok(());
            }
        }
    }

    fn wait_for_something(&self, stdin: Option<&impl AsFd>, pidfd: impl AsFd) -> Result<Ready> {
        let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        fds.extend(stdin.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        fds.extend(
            self.stdout
                .pipe
                .as_ref()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        fds.extend(
            self.stderr
                .pipe
                .as_ref()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
        );
        let timeout = match self.deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let limit = self.timeout.unwrap_or_default().as_secs_f64();
                    bail!("hook ran past specified timeout of {limit:.1}s");
                }
                // Rounded up: a poll of 0 ms would spin through the last millisecond.
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => bail!("poll: {errno}"),
        }
        Ok(Ready {
            ended: fds[0].any().unwrap_or(false),
        })
    }

    fn end_group(&mut self) {
        // The group is the hook's own; it may be gone already.
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.kill();
    }

    fn judge(&self, status: ExitStatus) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        let how = match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("signal: {signal}"),
            (None, None) => status.to_string(),
        };
        bail!(
            "{how}, stdout: {}, stderr: {}",
            self.stdout.said(),
            self.stderr.said()
        )
    }
}

struct Ready {
    ended: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u64>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: Some(vec!["PATH=/usr/bin:/bin".into()]),
            timeout: timeout.map(Duration::from_secs),
        }
    }

    fn run_it(hook: &Hook, state: &[u8]) -> Result<()> {
        run(
            hook,
            &Surroundings {
                state,
                env: None,
                cwd: Path::new("/"),
            },
        )
    }

    #[test]
    fn the_state_is_all_of_stdin() {
        let state = vec![b'x'; 300_000];
        run_it(&hook("test $(wc -c) = 300000", None), &state).unwrap();
    }

    #[test]
    fn a_hook_need_not_read_its_state() {
        run_it(&hook("exec true", None), &vec![b'x'; 300_000]).unwrap();
    }

    #[test]
    fn a_failure_tells_status_and_output() {
        let error = run_it(&hook("echo out; echo err >&2; exit 7", None), b"{}").unwrap_err();
        assert_eq!(error.to_string(), "exit status 7, stdout: out, stderr: err");
    }

    #[test]
    fn the_index_counts_from_zero_as_runc_does() {
        let hooks = [hook("true", None), hook("exit 1", None)];
        let surroundings = Surroundings {
            state: b"{}",
            env: None,
            cwd: Path::new("/"),
        };
        let error = run_all(Moment::CreateRuntime, &hooks, &surroundings).unwrap_err();
        let text = format!("{error:#}");
        assert_eq!(
            text,
            "error running createRuntime hook #1: exit status 1, stdout: , stderr: "
        );
    }

    #[test]
    fn a_timeout_ends_the_hook_and_its_children() {
        let before = Instant::now();
        let error = run_it(&hook("sleep 60 & sleep 60", Some(1)), b"{}").unwrap_err();
        assert!(error.to_string().contains("timeout of 1.0s"), "{error}");
        assert!(before.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_grandchild_that_keeps_stdout_is_not_waited_for() {
        let before = Instant::now();
        run_it(&hook("(exec sleep 3) & exit 0", None), b"{}").unwrap();
        assert!(before.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn endless_output_does_not_block() {
        run_it(
            &hook(
                "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2",
                None,
            ),
            b"{}",
        )
        .unwrap();
    }
}
