//! `davit-cni-plugins`: every plugin of the suite, chosen by the name that it is called by.
//!
//! `make build` links it under each plugin's name: the suite is one file of a few megabytes, and
//! its pages are in memory once. By hand `davit-cni-plugins bridge` is `bridge`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the executable"
)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let own = words.next().unwrap_or_default();
    let own = Path::new(&own).file_name().unwrap_or_default();
    if let Some(entry) = own.to_str().and_then(plugins::named) {
        return (entry.main)();
    }
    let chosen = words.next().unwrap_or_default();
    match chosen.to_str() {
        Some("--list") => {
            let names = plugins::PLUGINS.iter().map(|entry| entry.name);
            names.for_each(|name| println!("{name}"));
            ExitCode::SUCCESS
        }
        Some(name) => match plugins::named(name) {
            Some(entry) => (entry.main)(),
            None => usage(),
        },
        None => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: davit-cni-plugins PLUGIN [--help], or by a link that is named as a plugin");
    for entry in plugins::PLUGINS {
        eprintln!("  {:<12} {}", entry.name, entry.manual.summary);
    }
    ExitCode::FAILURE
}
