//! What is interrupted: each operation with what it needs before, what has to hold after it, and
//! how an operator cleans up behind it.

mod containers;
mod liars;
mod networks;

use nix::unistd::Pid;

use crate::tracer::{Command, Run};
use crate::world::World;

/// One operation.
pub(crate) struct Operation {
    pub(crate) name: String,
    /// Whether links and rules are looked at as well.
    pub(crate) network: bool,
    /// Who gives the error: a plugin on its standard output, everybody else on standard error.
    pub(crate) is_plugin: bool,
    /// Whether it leaves nothing when it says that it succeeded.
    pub(crate) removes: bool,
    /// Whether limits may be others while it is cleaned up behind.
    pub(crate) changes_limits: bool,
    pub(crate) steps: Box<dyn Steps>,
}

/// What differs between them.
pub(crate) trait Steps {
    /// Before it; answers who takes part beside its own processes.
    fn prepare(&mut self, world: &mut World) -> Result<Vec<Pid>, String>;
    /// What is interrupted.
    fn command(&self, world: &World) -> Command;
    /// Whether what it says is true, after a success (and after an error: `run` tells).
    fn holds(&mut self, world: &mut World, run: &Run) -> Result<(), String>;
    /// What an operator would do, whatever happened.
    fn clean(&mut self, world: &mut World) -> Result<(), String>;
}

/// Those that are meant: all in the order in which they run, or one that is wrong on purpose.
pub(crate) fn wanted(only: Option<&str>) -> Vec<Operation> {
    let mut liars = liars::all();
    liars.retain(|liar| only == Some(&liar.name));
    if !liars.is_empty() {
        return liars;
    }
    let mut all = containers::all();
    all.extend(networks::plugins());
    all.extend(networks::callers());
    all.retain(|operation| is_named(&operation.name, only));
    all
}

/// `only` is the operation's name, or how several begin.
fn is_named(name: &str, only: Option<&str>) -> bool {
    only.is_none_or(|only| {
        let start = only.strip_suffix('*');
        only == name || start.is_some_and(|start| name.starts_with(start))
    })
}
