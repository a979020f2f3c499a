//! davit-cni: gives an OCI container its CNI networks, as a hook or by hand.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let invocation = hooks::args::parse(std::env::args_os());
    match invocation.map(|invocation| hooks::run(invocation, std::io::stdin())) {
        Ok(Ok(text)) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => report(&anyhow::anyhow!("error writing to stdout: {error}")),
        },
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
#[allow(clippy::print_stderr, reason = "this is main")]
fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("davit-cni: {error:#}");
    ExitCode::FAILURE
}
