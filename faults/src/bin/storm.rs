//! `storm`: see the library's module of that name, and docs/storm.md.

fn main() -> std::process::ExitCode {
    faults::storm::run(std::env::args().skip(1))
}
