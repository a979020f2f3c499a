//! The rows of the suite as `cargo test` runs them, on the subjects of the environment.
//!
//! `RUNTIME=/usr/sbin/runc CNI_PATH=/usr/lib/cni cargo test -p conformance --test rows`
#![allow(
    clippy::print_stdout,
    reason = "a test without harness reports by itself"
)]

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let asked = ["RUNTIME", "CNI_PATH"]
        .iter()
        .any(|name| std::env::var_os(name).is_some());
    if !asked {
        println!("SKIP: neither RUNTIME nor CNI_PATH is set");
        return ExitCode::SUCCESS;
    }
    match Command::new(env!("CARGO_BIN_EXE_oci-conformance")).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
