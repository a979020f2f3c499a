//! `davit`: parse, perform, report, exit. Nothing else is printed and no status chosen elsewhere.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use runtime::args::{Args, Global, Misuse, Operation};
use runtime::fault::Fault;
use runtime::operations::{
    checkpoint, create, delete, events, exec, features, freezer, host_report, kill, list, mounts,
    ps, restore, run, spec, start, state, update, wait,
};
use runtime::{exe_seal, inherited, log, plan, timeline};
use sys::{Errno, SyscallError};

fn main() -> ExitCode {
    let began = timeline::now();
    exe_seal::ahead(began);
    let protected = timeline::now();
    sys::signal::hear_of_children();
    match perform(std::env::args_os(), [began, protected]) {
        Ok(status) => status.into(),
        Err(error) => {
            let exec = error.is::<ExecFailed>();
            log::report(&Fault::of(&explain(error)));
            // What runc's callers know for a process that could not be put into a container.
            ExitCode::from(if exec { 255 } else { 1 })
        }
    }
}

/// Names the usual reason of a refusal.
fn explain(error: anyhow::Error) -> anyhow::Error {
    let denied = |errno: Errno| matches!(errno, Errno::EACCES | Errno::EPERM);
    let refused = error.chain().any(|cause| {
        let syscall = cause
            .downcast_ref::<SyscallError>()
            .map(SyscallError::errno);
        syscall
            .or(cause.downcast_ref::<Errno>().copied())
            .is_some_and(denied)
    });
    if refused && !nix::unistd::geteuid().is_root() {
        return error.context("davit runs without root here");
    }
    error
}

/// Marks an error of `exec`, whose exit status differs.
#[derive(Debug, thiserror::Error)]
#[error("exec failed")]
struct ExecFailed;

fn perform(
    argv: impl IntoIterator<Item = OsString>,
    [began, protected]: [Duration; 2],
) -> Result<u8> {
    match Args::parse(argv)? {
        Args::Print(text) => print(&text),
        Args::Refuse(misuse) => refuse(&misuse),
        Args::Perform(global, operation) => {
            // First of all: every number that is opened from here on is ours, not the caller's.
            let claimed = inherited::claim(operation.preserved_fds());
            // Before `exec` an error must not look like the status of the program.
            match operation {
                Operation::Exec(..) => claimed.context(ExecFailed)?,
                _ => claimed?,
            }
            log::init(global.log.as_ref(), global.log_format, global.log_level)?;
            log::debug(&format!("{operation:?}"));
            let Some((file, first)) = &global.timeline else {
                return dispatch(&global, operation);
            };
            timeline::enable(first.unwrap_or(began), protected)?;
            let ended = dispatch(&global, operation);
            let written = timeline::write(file);
            ended.and_then(|status| written.map(|()| status))
        }
    }
}

fn refuse(misuse: &Misuse) -> Result<u8> {
    let (target, format) = &misuse.log;
    log::init(target.as_ref(), *format, log::Level::Error)?;
    print(&misuse.usage)?;
    log::report(&misuse.fault);
    Ok(misuse.status)
}

fn dispatch(global: &Global, operation: Operation) -> Result<u8> {
    let root = &global.root;
    match operation {
        Operation::Checkpoint(id, request) => checkpoint::run(root, &id, &request).map(|()| 0),
        Operation::Create(id, request) => create::run(root, &id, &request).map(|()| 0),
        Operation::Delete(which, force) => which
            .for_each(root, |id| delete::run(root, id, force))
            .map(|()| 0),
        Operation::Events(id, mode) => {
            events::run(root, &id, mode, &mut |line| print(line).map(drop)).map(|()| 0)
        }
        Operation::Exec(id, flags, around) => {
            exec::run(root, &id, &flags, around).context(ExecFailed)
        }
        Operation::Features => print(&features::text(&features::features(
            &plan::mounts::known_options(),
        ))),
        Operation::Info(format) => print(&host_report::written(&host_report::gather(), format)),
        Operation::Kill(which, signal, recipients) => which
            .for_each(root, |id| kill::run(root, id, &signal, recipients))
            .map(|()| 0),
        Operation::List(format) => print(&list::run(root, format)?),
        Operation::Mounts(id, change, file) => mounts::run(root, &id, change, &file).map(|()| 0),
        Operation::Pause(id) => freezer::pause(root, &id).map(|()| 0),
        Operation::Ps(id, format) => print(&ps::run(root, &id, &format)?),
        Operation::Restore(id, both, subreaper) => {
            restore::run(root, &id, &both.0, &both.1, subreaper)
        }
        Operation::Resume(id) => freezer::resume(root, &id).map(|()| 0),
        Operation::Run(id, request, options) => run::run(root, &id, &request, options),
        Operation::Spec(bundle, caller) => spec::write(&bundle, caller).map(|()| 0),
        Operation::Check(bundle, format) => {
            let findings = runtime::check::check(&bundle)?;
            print(&runtime::operations::check::written(&findings, format))?;
            Ok(u8::from(runtime::operations::check::has_errors(&findings)))
        }
        Operation::Start(id) => start::run(root, &id).map(|()| 0),
        Operation::Wait(id, time) => print(&wait::run(root, &id, time)?),
        Operation::State(id) => print(&state::run(root, &id)?),
        Operation::Update(id, flags) => update::run(root, &id, &flags).map(|()| 0),
    }
}

fn print(text: &str) -> Result<u8> {
    let mut stdout = std::io::stdout();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .context("write to stdout")?;
    Ok(0)
}
