//! The harness can fail: an operation that leaves something, one that hangs, and one that goes on
//! with less protection, are each found, and the exit status says so.
#![allow(clippy::print_stdout, reason = "a SKIP is to be seen")]

mod built;

use std::process::{Command, Output};

/// Nothing where this machine cannot run it.
fn faults(arguments: &[&str]) -> Option<Output> {
    let dir = tempfile::tempdir().unwrap();
    if let Some(missing) = built::missing(dir.path()) {
        println!("SKIP: faults: {missing}");
        return None;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_faults"));
    command.arg("--programs").arg(dir.path()).args(arguments);
    Some(command.output().unwrap())
}

fn finds(arguments: &[&str], wanted: &[&str]) {
    let Some(output) = faults(arguments) else {
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{all}");
    for wanted in wanted {
        assert!(said.contains(wanted), "no {wanted:?} in {all}");
    }
}

#[test]
fn what_is_left_is_found_and_told_how_to_repeat() {
    finds(
        &["--only", "leaky", "--errno", "EBUSY"],
        &[
            "leak: at rmdir",
            "+ directory /run/left",
            "faults --only leaky --point 0:",
        ],
    );
}

#[test]
fn what_does_not_end_is_found() {
    finds(
        &["--only", "hanging", "--errno", "EACCES", "--deadline", "2"],
        &["hang: at mkdir"],
    );
}

#[test]
fn a_start_with_less_protection_is_found() {
    finds(
        &["--only", "lax", "--errno", "ENOSPC", "--every", "5"],
        &[
            "weakened: at ",
            "- NoNewPrivs: 1",
            "+ NoNewPrivs: 0",
            "+ Seccomp: 0",
        ],
    );
}
