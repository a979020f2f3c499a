//! Running hooks: the state on stdin, a deadline, and what the hook said when it fails.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use sys::Errno;
use sys::child::{Excess, Finished, StandardError, Terms};
use sys::clock::FOREVER;

use crate::fault::{Code, Fault};
use crate::networks;
use crate::plan::{Hook, Moment};
use crate::timeline;

/// How much of each output of a hook is kept for the error message, in bytes.
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
        let _step = timeline::step_of(|| format!("{} {}", moment.key(), hook.path.display()));
        run(hook, surroundings)
            .with_context(|| format!("error running {} hook #{index}", moment.key()))?;
    }
    Ok(())
}

/// Runs one hook. It dies with this process: a hook that outlived a killed runtime would do its
/// work after the clean-up had undone it.
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
    sys::child::die_with_parent(&mut command);
    let terms = Terms {
        stderr: StandardError::Collected,
        // Without a timeout the specification lets it run as long as it likes.
        time: hook.timeout.unwrap_or(FOREVER),
        output: MAX_OUTPUT,
        excess: Excess::Dropped,
    };
    match sys::child::run(&mut command, surroundings.state, terms) {
        Ok(finished) => judge(hook, &finished),
        Err(error) if error.errno() == Errno::ETIMEDOUT => {
            let limit = hook.timeout.unwrap_or_default().as_secs_f64();
            let text = format!("hook ran past specified timeout of {limit:.1}s");
            bail!(Fault::new(Code::Hook, text))
        }
        Err(error) => Err(error).with_context(|| format!("fork/exec {}", hook.path.display())),
    }
}

/// The wording is runc's, up to the blank at the end: callers look for it.
fn judge(hook: &Hook, finished: &Finished) -> Result<()> {
    let status = finished.status;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => status.to_string(),
    };
    let (stdout, stderr) = (said(&finished.stdout), said(&finished.stderr));
    let text = format!("{how}, stdout: {stdout}, stderr: {stderr}");
    let fault = Fault::new(Code::Hook, text);
    bail!(
        match hook.path.file_name() == Some(networks::PROGRAM.as_ref()) {
            true => fault.hint(networks::HINT),
            false => fault,
        }
    )
}

fn said(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

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
    fn a_hook_that_is_davit_cni_has_a_remedy_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("davit-cni");
        std::os::unix::fs::symlink("/bin/sh", &path).unwrap();
        for (path, part) in [
            (path, "`davit-cni status NETWORK`"),
            ("/bin/sh".into(), "run the hook by hand"),
        ] {
            let hook = Hook {
                path,
                ..hook("exit 7", None)
            };
            let fault = Fault::of(&run_it(&hook, b"{}").unwrap_err());
            assert!(fault.remedy().contains(part), "{}", fault.remedy());
        }
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
