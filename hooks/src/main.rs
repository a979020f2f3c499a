//! davit-cni: gives an OCI container its CNI networks, as a hook or by hand.

use std::io::Write;
use std::process::ExitCode;

use anyhow::anyhow;

fn main() -> ExitCode {
    sys::signal::hear_of_children();
    let invocation = hooks::args::parse(std::env::args_os());
    match invocation.map(|invocation| hooks::run(invocation, std::io::stdin())) {
        Ok(Ok(answer)) => {
            let written = std::io::stdout().write_all(answer.text.as_bytes());
            let written = written.map_err(|error| anyhow!("error writing to stdout: {error}"));
            match answer.failure.map_or(written, Err) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => report(&error),
            }
        }
        Ok(Err(error)) => report(&error),
        Err(usage) => {
            // Where it goes, and that it is help and no error, is clap's knowledge; a closed
            // terminal changes neither.
            let _ = usage.print();
            ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2))
        }
    }
}

/// The whole chain as one line.
fn report(error: &anyhow::Error) -> ExitCode {
    hooks::note(&format!("{error:#}"));
    ExitCode::FAILURE
}
