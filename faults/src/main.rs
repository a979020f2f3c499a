//! `faults`: see the library beside it, and docs/faults.md.

fn main() -> std::process::ExitCode {
    faults::run(std::env::args().skip(1))
}
