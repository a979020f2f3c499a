//! Counting by single steps. One test in a program of its own, for it waits for every child there is.
#![cfg(target_arch = "x86_64")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bench::instructions::count;
use testbed::elf::x86_64_call;

const CLOSE: u32 = 3;
const GETPID: u32 = 39;
const FORK: u32 = 57;
const LONG: Duration = Duration::from_secs(300);

fn of(path: &Path, number: u32, limit: Duration) -> Result<u64, String> {
    x86_64_call(path, number, [99, 0, 0], 31).unwrap();
    count(&Command::new(path), limit)
}

#[test]
fn instructions_of_a_command_and_its_children_are_counted() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("call");
    // Eleven; of the last, which ends the process, no step is seen.
    let one = of(&path, GETPID, LONG).unwrap();
    assert!((9..=12).contains(&one), "{one}");
    assert_eq!(of(&path, GETPID, LONG).unwrap(), one);
    // The child goes on behind the call: six more.
    let two = of(&path, FORK, LONG).unwrap();
    assert!((4..=7).contains(&(two - one)), "{one} {two}");
    let failed = of(&path, CLOSE, LONG).unwrap_err();
    assert!(failed.starts_with("ended with"), "{failed}");
    let mut dash = Command::new("/bin/sh");
    dash.args(["-c", ":"]);
    let error = count(&dash, Duration::ZERO).unwrap_err();
    assert!(error.contains("instructions in 0 s"), "{error}");
}
