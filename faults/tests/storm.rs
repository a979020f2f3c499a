//! The storm ends well with programs that are right, and each thing that has to hold is seen not to hold.
#![allow(clippy::print_stdout, reason = "a SKIP is to be seen")]
#![allow(
    clippy::disallowed_methods,
    reason = "a liar in a directory of the test's own"
)]

mod built;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// What a few seconds of it say, which end with `status`; `lie` is what a program does beside its work, in shell, where `"$@"` are its
/// arguments. Nothing where this machine cannot run it.
fn ends_with(status: i32, liar: Option<(&str, &str)>) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    if let Some(missing) = built::missing(dir.path()) {
        println!("SKIP: storm: {missing}");
        return None;
    }
    if let Some((program, lie)) = liar {
        put_before(&dir.path().join("bin"), program, lie);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_storm"));
    command.arg("--programs").arg(dir.path());
    command.args(["--seconds", "6", "--seed", "1"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}{complaint}");
    Some(said)
}

fn put_before(programs: &Path, name: &str, lie: &str) {
    let (program, honest) = (programs.join(name), format!("honest-{name}"));
    fs::rename(&program, programs.join(&honest)).unwrap();
    let script =
        format!("#!/bin/sh\nhonest() {{ /mnt/{honest} \"$@\"; }}\nfor id; do :; done\n{lie}\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
}

fn is_caught(liar: (&str, &str), words: &str) {
    let Some(said) = ends_with(1, Some(liar)) else {
        return;
    };
    let violation = |line: &str| line.starts_with("violation: ") && line.contains(words);
    assert!(said.lines().any(violation), "no {words:?} in {said}");
}

#[test]
fn an_honest_one_ends_well() {
    let Some(said) = ends_with(0, None) else {
        return;
    };
    assert!(said.contains(", 0 violations"), "{said}");
}

#[test]
fn a_file_that_is_left_is_seen() {
    let lie = "honest \"$@\"; status=$?; case \"$*\" in *pause*) >/run/left;; esac; exit $status";
    is_caught(("davit", lie), "left: + file /run/left");
}

#[test]
fn a_state_that_is_not_whole_is_seen() {
    let lie = "honest \"$@\"; status=$?; case \"$*\" in *update*)
        [ $status != 0 ] || printf '{' >/run/davit/$id/state.json;; esac; exit $status";
    is_caught(("davit", lie), "state.json: EOF");
}

#[test]
fn a_signal_to_whoever_has_the_number_now_is_seen() {
    let lie = "case \"$*\" in *delete*)
        pid=$(sed -n 's/.*\"init_process_pid\":\\([0-9]*\\).*/\\1/p' /run/davit/$id/state.json 2>/dev/null)
        [ \"${pid:-0}\" -lt 2 ] || kill -9 $pid 2>/dev/null;; esac; honest \"$@\"";
    is_caught(("davit", lie), "a stranger with number");
}

#[test]
fn an_address_that_is_given_twice_is_seen() {
    let lie = "honest \"$@\"; status=$?; case \"$*\" in add*)
        nsenter --net=$3 ip addr add 10.97.0.250/32 dev eth0 2>/dev/null;; esac; exit $status";
    is_caught(("davit-cni", lie), "10.97.0.250 is that of two containers");
}
