//! The tracer kills and fails the call that it is asked to, and no other. Without a harness of threads:
//! the tracer takes the events of every child of its process, and forks.
#![allow(clippy::disallowed_methods, reason = "writes into its own directory")]
#![allow(clippy::print_stdout, reason = "it has no harness that would tell")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use faults::errnos;
use faults::tracer::{Command, End, Fault, Plan, Point, Tracer};
use nix::errno::Errno;

const BUSYBOX: &str = "/bin/busybox";

fn main() {
    if fs::metadata(BUSYBOX).is_err() {
        println!("SKIP: no {BUSYBOX} (busybox-static)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // A copy: programs of the system are left alone, busybox by its name as well.
    let program = dir.path().join("small");
    fs::copy(BUSYBOX, &program).unwrap();
    let mut tracer = Tracer::new(dir.path(), Duration::from_secs(10)).unwrap();
    a_call_fails_as_asked(&mut tracer, dir.path(), &program);
    a_killed_process_has_not_made_its_call(&mut tracer, dir.path(), &program);
    a_close_that_is_interrupted_has_happened(&mut tracer, dir.path(), &program);
    children_are_points_of_their_own(&mut tracer, dir.path(), &program);
    what_does_not_end_is_hung(&mut tracer, &program);
    println!("5 tests passed");
}

fn small(program: &Path, arguments: &[&str]) -> Command {
    let mut argv = vec![program.display().to_string()];
    argv.extend(arguments.iter().map(|text| (*text).to_owned()));
    Command {
        argv,
        ..Command::default()
    }
}

/// `mkdir DIRECTORY`, and where in it the call is.
fn mkdir(tracer: &mut Tracer, dir: &Path, program: &Path) -> (Command, PathBuf, Point) {
    let made = dir.join("made");
    let _ = fs::remove_dir(&made);
    let mkdir = dir.join("mkdir");
    let _ = fs::hard_link(program, &mkdir);
    let command = small(&mkdir, &[&made.display().to_string()]);
    let run = tracer.run(&command, Plan::Record, &[]).unwrap();
    assert!(run.success(), "{run:?}");
    fs::remove_dir(&made).unwrap();
    let calls = &run.calls["0"];
    let index = calls
        .iter()
        .position(|call| errnos::name(call.0).starts_with("mkdir"))
        .unwrap();
    let point = Point {
        process: "0".into(),
        ordinal: index + 1,
    };
    (command, made, point)
}

fn a_call_fails_as_asked(tracer: &mut Tracer, dir: &Path, program: &Path) {
    let (command, made, point) = mkdir(tracer, dir, program);
    let plan = Plan::Inject(point.clone(), Fault::Fail(Errno::ENOSPC));
    let run = tracer.run(&command, plan, &[]).unwrap();
    assert_eq!(run.end, End::Exited(1), "{run:?}");
    assert!(run.stderr.contains("No space left"), "{run:?}");
    assert!(run.place.starts_with("mkdir"), "{run:?}");
    assert!(
        fs::metadata(&made).is_err(),
        "the call was made all the same"
    );
    // One that its man page does not know is not given.
    let plan = Plan::Inject(point, Fault::Fail(Errno::EMFILE));
    let run = tracer.run(&command, plan, &[]).unwrap();
    assert!(run.success() && run.met.is_none(), "{run:?}");
    fs::remove_dir(&made).unwrap();
}

fn a_killed_process_has_not_made_its_call(tracer: &mut Tracer, dir: &Path, program: &Path) {
    let (command, made, point) = mkdir(tracer, dir, program);
    let run = tracer
        .run(&command, Plan::Inject(point.clone(), Fault::Kill), &[])
        .unwrap();
    assert_eq!(run.end, End::Killed(libc::SIGKILL), "{run:?}");
    assert!(fs::metadata(&made).is_err(), "it was killed too late");
    let after = Point {
        ordinal: point.ordinal + 1,
        ..point
    };
    let run = tracer
        .run(&command, Plan::Inject(after, Fault::Kill), &[])
        .unwrap();
    assert_eq!(run.end, End::Killed(libc::SIGKILL), "{run:?}");
    assert!(fs::metadata(&made).is_ok(), "it was killed too early");
    fs::remove_dir(&made).unwrap();
}

fn a_close_that_is_interrupted_has_happened(tracer: &mut Tracer, dir: &Path, program: &Path) {
    let cat = dir.join("cat");
    let _ = fs::hard_link(program, &cat);
    fs::write(dir.join("text"), "text").unwrap();
    let command = small(&cat, &[&dir.join("text").display().to_string()]);
    let run = tracer.run(&command, Plan::Record, &[]).unwrap();
    let calls = &run.calls["0"];
    let close = calls
        .iter()
        .rposition(|call| errnos::name(call.0) == "close")
        .unwrap();
    let point = Point {
        process: "0".into(),
        ordinal: close + 1,
    };
    let run = tracer
        .run(
            &command,
            Plan::Inject(point, Fault::Fail(Errno::EINTR)),
            &[],
        )
        .unwrap();
    assert_eq!((run.end, run.stdout.as_str()), (End::Exited(0), "text"));
}

fn children_are_points_of_their_own(tracer: &mut Tracer, dir: &Path, program: &Path) {
    let shell = dir.join("sh");
    let _ = fs::hard_link(program, &shell);
    let command = small(&shell, &["-c", "(echo inner; true) & wait; echo outer"]);
    let run = tracer.run(&command, Plan::Record, &[]).unwrap();
    assert!(run.calls.contains_key("0.0"), "{:?}", run.calls.keys());
    let point = Point {
        process: "0.0".into(),
        ordinal: 1,
    };
    let run = tracer
        .run(&command, Plan::Inject(point.clone(), Fault::Kill), &[])
        .unwrap();
    assert_eq!(
        (run.end, run.stdout.as_str()),
        (End::Exited(0), "outer\n"),
        "{run:?}"
    );
    let run = tracer
        .run(&command, Plan::Inject(point, Fault::KillAll), &[])
        .unwrap();
    assert_eq!(
        (run.end, run.stdout.as_str()),
        (End::Killed(libc::SIGKILL), ""),
        "{run:?}"
    );
}

fn what_does_not_end_is_hung(tracer: &mut Tracer, program: &Path) {
    let sleep = program.with_file_name("sleep");
    let _ = fs::hard_link(program, &sleep);
    tracer.deadline = Duration::from_millis(300);
    let run = tracer
        .run(&small(&sleep, &["100"]), Plan::Untraced, &[])
        .unwrap();
    assert_eq!(run.end, End::Hung);
}
