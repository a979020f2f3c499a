//! `client-table`: joins the columns that `clients/operations.sh` wrote into a page.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the executable"
)]

use std::path::Path;
use std::process::ExitCode;

use conformance::client_table::{Column, Table};

/// `client-table MACHINE-RUNTIME...`: of directories with a file for each client, the page on stdout.
/// 1: something does not work that works with runc on the same machine, and stderr says what.
fn main() -> ExitCode {
    let columns: Result<Vec<Column>, String> =
        std::env::args().skip(1).map(|path| column(&path)).collect();
    let table = match columns {
        Ok(columns) if !columns.is_empty() => Table::new(columns),
        Ok(_) => return complaint("usage: client-table MACHINE-RUNTIME..."),
        Err(why) => return complaint(&why),
    };
    print!("{}", table.markdown());
    let faults = table.faults();
    for fault in &faults {
        eprintln!("FAIL {fault}");
    }
    ExitCode::from(u8::from(!faults.is_empty()))
}

fn column(path: &str) -> Result<Column, String> {
    let failed = |error| format!("read {path}: {error}");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.extension().is_some_and(|extension| extension == "tsv") {
            files.push(file);
        }
    }
    // The order of the page.
    files.sort();
    let mut text = String::new();
    for file in files {
        text += &std::fs::read_to_string(&file)
            .map_err(|error| format!("read {}: {error}", file.display()))?;
    }
    let name = Path::new(path).file_name().unwrap_or_default();
    Column::parse(&name.to_string_lossy(), &text)
}

fn complaint(why: &str) -> ExitCode {
    eprintln!("client-table: {why}");
    ExitCode::from(2)
}
