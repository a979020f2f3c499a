//! [`Container`]: one container of the runtime under test, driven as engines drive it.

use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::{Bundle, Invocation, Outcome};

use crate::case::Case;
use crate::row::{Demand, Failure, Verdict, ensure};

/// How long a container may take to reach a status.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bundle and the id under which the runtime knows it.
pub(crate) struct Container<'a> {
    pub(crate) case: &'a Case<'a>,
    pub(crate) id: String,
    pub(crate) bundle: Bundle,
    /// Its cgroup below each hierarchy, with a leading slash.
    pub(crate) cgroup: String,
}

impl Container<'_> {
    /// The bundle directory as a word for a command line.
    pub(crate) fn dir(&self) -> String {
        self.bundle.dir().to_string_lossy().into_owned()
    }

    /// One command of the runtime about this container: options first, then the id.
    pub(crate) fn command(&self, options: &[&str]) -> Verdict<Invocation> {
        let args = options.iter().copied().chain([self.id.as_str()]);
        self.case.runtime(&args.collect::<Vec<_>>())
    }

    fn call(&self, options: &[&str]) -> Verdict<Outcome> {
        self.case.call(&self.command(options)?)
    }

    pub(crate) fn create(&self) -> Verdict<Outcome> {
        self.call(&["create", "--bundle", &self.dir()])
    }

    pub(crate) fn start(&self) -> Verdict<Outcome> {
        self.call(&["start"])
    }

    /// Runs in the foreground until the program ends.
    pub(crate) fn run(&self) -> Verdict<Outcome> {
        self.call(&["run", "--bundle", &self.dir()])
    }

    /// Runs in the foreground and answers what the program printed; its status must be 0.
    pub(crate) fn output(&self) -> Verdict<String> {
        Ok(self.run()?.succeeds()?.text())
    }

    pub(crate) fn kill(&self, signal: &str) -> Verdict<Outcome> {
        self.case
            .call(&self.case.runtime(&["kill", &self.id, signal])?)
    }

    pub(crate) fn delete(&self) -> Verdict<Outcome> {
        self.call(&["delete"])
    }

    pub(crate) fn delete_force(&self) -> Verdict<Outcome> {
        self.call(&["delete", "--force"])
    }

    /// Runs a program beside the container's own.
    pub(crate) fn exec(&self, args: &[&str]) -> Verdict<Outcome> {
        let args = ["exec", self.id.as_str()]
            .into_iter()
            .chain(args.iter().copied());
        self.case
            .call(&self.case.runtime(&args.collect::<Vec<_>>())?)
    }

    /// Creates and starts; both must succeed.
    pub(crate) fn up(&self) -> Verdict {
        self.create()?.succeeds()?;
        self.start()?.succeeds()?;
        Ok(())
    }

    /// What `state` prints, which must be JSON.
    pub(crate) fn state(&self) -> Verdict<Value> {
        Ok(serde_json::from_slice(
            &self.call(&["state"])?.succeeds()?.stdout,
        )?)
    }

    /// The process id in the state.
    pub(crate) fn pid(&self) -> Verdict<u64> {
        let state = self.state()?;
        state["pid"]
            .as_u64()
            .filter(|pid| *pid > 1)
            .ok_or_else(|| Failure(format!("pid in {state}")))
    }

    /// Waits until the state says `status`.
    pub(crate) fn reaches(&self, status: &str) -> Verdict {
        let deadline = Instant::now() + testbed::patience::patient(PATIENCE);
        loop {
            let state = self.state()?;
            if state["status"] == status {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "never {status}: {state}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the program and waits until the runtime has noticed.
    pub(crate) fn stop(&self) -> Verdict {
        self.kill("KILL")?.succeeds()?;
        self.reaches("stopped")
    }

    /// What a program left in a file below the rootfs.
    pub(crate) fn left(&self, path: &str) -> Verdict<String> {
        let text = std::fs::read_to_string(self.bundle.in_rootfs(path));
        text.map(|text| text.trim().to_owned())
            .map_err(|error| Failure(format!("{path} in the rootfs: {error}")))
    }

    /// The same of a program that may not have come so far: what it says first, in one write.
    pub(crate) fn left_in_time(&self, path: &str) -> Verdict<String> {
        self.in_time(|| self.left(path).is_ok_and(|text| !text.is_empty()));
        self.left(path)
    }

    /// Waits until a program has made a file below the rootfs.
    pub(crate) fn makes(&self, path: &str) -> Verdict {
        let file = self.bundle.in_rootfs(path);
        ensure!(self.in_time(|| file.exists()), "never made {path}");
        Ok(())
    }

    fn in_time(&self, done: impl Fn() -> bool) -> bool {
        let deadline = Instant::now() + testbed::patience::patient(PATIENCE);
        while !done() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// A v1 cgroup file of this container.
    pub(crate) fn cgroup_file(&self, controller: &str, file: &str) -> Verdict<String> {
        self.case.sh(&format!(
            "cat /sys/fs/cgroup/{controller}{}/{file}",
            self.cgroup
        ))
    }
}
