//! davit's own operations, on one container that asks for as much protection as there is.

use std::fs;
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::{Operation, Steps};
use crate::protection::{difference, limits_of};
use crate::tracer::{Command, Run};
use crate::world::{HOME, ID, World, davit};

/// How far the container is before the operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Created,
    Running,
    Paused,
    Stopped,
}

/// What is true after a success.
#[derive(Clone, Copy)]
enum After {
    /// It can be started, and then its program runs.
    CanStart,
    /// Its program runs.
    Runs,
    /// Its first process ends.
    Ends,
    /// Its freezer says so.
    Frozen(bool),
    /// All limits are the new ones; after an error, the old ones.
    Limits,
    /// Nothing is left (see `removes`).
    Gone,
}

struct Container {
    arguments: Vec<String>,
    before: Before,
    after: After,
    init: Option<Pid>,
    limits: Vec<String>,
    new_limits: Option<Vec<String>>,
}

pub(super) fn all() -> Vec<Operation> {
    let bundle = format!("{HOME}/bundle");
    let process = format!("{HOME}/process.json");
    vec![
        operation(
            "run",
            &["run", "--detach", "--bundle", &bundle, ID],
            Before::Nothing,
            After::Runs,
        ),
        operation(
            "create",
            &["create", "--bundle", &bundle, ID],
            Before::Nothing,
            After::CanStart,
        ),
        operation("start", &["start", ID], Before::Created, After::Runs),
        operation(
            "exec",
            &["exec", "--detach", "--process", &process, ID],
            Before::Running,
            After::Runs,
        ),
        operation("kill", &["kill", ID, "KILL"], Before::Running, After::Ends),
        operation("delete", &["delete", ID], Before::Stopped, After::Gone),
        operation(
            "delete-force",
            &["delete", "--force", ID],
            Before::Running,
            After::Gone,
        ),
        operation(
            "update",
            &[
                "update",
                "--memory",
                "134217728",
                "--pids-limit",
                "40",
                "--cpu-share",
                "256",
                ID,
            ],
            Before::Running,
            After::Limits,
        ),
        operation(
            "pause",
            &["pause", ID],
            Before::Running,
            After::Frozen(true),
        ),
        operation(
            "resume",
            &["resume", ID],
            Before::Paused,
            After::Frozen(false),
        ),
    ]
}

fn operation(name: &str, arguments: &[&str], before: Before, after: After) -> Operation {
    let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
    let steps = Container {
        arguments,
        before,
        after,
        init: None,
        limits: Vec::new(),
        new_limits: None,
    };
    Operation {
        name: name.to_owned(),
        network: false,
        is_plugin: false,
        removes: matches!(after, After::Gone),
        changes_limits: matches!(after, After::Limits | After::Frozen(_)),
        steps: Box::new(steps),
    }
}

impl Steps for Container {
    fn prepare(&mut self, world: &mut World) -> Result<Vec<Pid>, String> {
        let bundle = format!("{HOME}/bundle");
        match self.before {
            Before::Nothing => return Ok(Vec::new()),
            Before::Created => drop(world.well(&davit(&["create", "--bundle", &bundle, ID]))?),
            Before::Running | Before::Paused | Before::Stopped => {
                world.well(&davit(&["run", "--detach", "--bundle", &bundle, ID]))?;
            }
        }
        self.init = world.init();
        let init = self.init.ok_or("davit has not written its pid down")?;
        match self.before {
            Before::Created => {
                asleep(world, init);
                return Ok(vec![init]);
            }
            Before::Paused => drop(world.well(&davit(&["pause", ID]))?),
            Before::Stopped => {
                world.well(&davit(&["kill", ID, "KILL"]))?;
                ended(world, init)?;
            }
            Before::Nothing | Before::Running => {}
        }
        self.limits = limits_of(&world.cgroup);
        Ok(Vec::new())
    }

    fn command(&self, _: &World) -> Command {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        davit(&arguments)
    }

    fn holds(&mut self, world: &mut World, run: &Run) -> Result<(), String> {
        let success = run.success();
        match self.after {
            After::Limits => return self.limits_hold(world, success),
            _ if !success => return Ok(()),
            After::CanStart => {
                let started = world.well(&davit(&["start", ID]));
                // An init that the fault ended while it waits is told by `start`.
                if started.is_err() {
                    let init = world.init();
                    if init.is_none_or(|init| ended(world, init).is_ok()) {
                        return Ok(());
                    }
                }
                started?;
                runs(world)?;
            }
            After::Runs => runs(world)?,
            After::Ends => ended(world, self.init.ok_or("no pid")?)?,
            After::Frozen(wanted) => {
                let limits = limits_of(&world.cgroup);
                let frozen = limits
                    .iter()
                    .any(|line| line.contains("FROZEN") || line.ends_with("cgroup.freeze: 1"));
                if frozen != wanted {
                    return Err(format!("frozen: {frozen}"));
                }
            }
            After::Gone => {}
        }
        Ok(())
    }

    fn clean(&mut self, world: &mut World) -> Result<(), String> {
        world.well(&davit(&["delete", "--force", ID])).map(drop)
    }
}

impl Container {
    fn limits_hold(&mut self, world: &World, success: bool) -> Result<(), String> {
        let now = limits_of(&world.cgroup);
        let wanted = match (success, &self.new_limits) {
            (true, Some(new)) => new,
            // The first time is without a fault.
            (true, None) => self.new_limits.insert(now.clone()),
            (false, _) => &self.limits,
        };
        let differences = difference(wanted, &now);
        match differences.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "limits after {}: {}",
                if success { "a success" } else { "an error" },
                differences.join("; ")
            )),
        }
    }
}

/// Until it waits for `start`: where it is interrupted is then the same every time.
fn asleep(world: &mut World, init: Pid) {
    for _ in 0..2000 {
        let call = fs::read_to_string(format!("/proc/{init}/syscall")).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
        let waits = call.starts_with(&format!("{} ", libc::SYS_accept4))
            || call.starts_with(&format!("{} ", libc::SYS_poll));
        if waits || stat.contains(") S ") && call.is_empty() {
            return;
        }
        world.tracer.reap(Duration::from_millis(1));
    }
}

fn runs(world: &World) -> Result<(), String> {
    let init = world.init().ok_or("davit has written no pid down")?;
    let program = fs::read_link(format!("/proc/{init}/exe")).unwrap_or_default();
    match program.ends_with("bin/busybox") {
        true => Ok(()),
        false => Err(format!("its first process runs {}", program.display())),
    }
}

fn ended(world: &mut World, init: Pid) -> Result<(), String> {
    for _ in 0..2000 {
        world.tracer.reap(Duration::ZERO);
        if kill(init, None).is_err() {
            return Ok(());
        }
        world.tracer.reap(Duration::from_millis(1));
    }
    Err("its first process has not ended".into())
}
