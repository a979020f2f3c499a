//! The units that ship: systemd understands them, and their command line is one that we take.

use std::fs;
use std::path::Path;

use sys::Dir;
use testbed::{Invocation, requires};

const UNITS: [&str; 2] = ["davit-cni-gc.service", "davit-cni-gc.timer"];
const INSTALLED: &str = "/usr/local/bin/davit-cni";

fn unit(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("systemd")
        .join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn systemd_understands_the_units() {
    if requires::program("systemd-analyze").is_none() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let dir = Dir::open(temporary.path()).unwrap();
    for name in UNITS {
        // What is not installed here would be an error.
        let text = unit(name).replace(INSTALLED, env!("CARGO_BIN_EXE_davit-cni"));
        dir.replace(name, text.as_bytes(), 0o644).unwrap();
    }
    let path = |name: &str| temporary.path().join(name).display().to_string();
    let verify = ["systemd-analyze", "verify", "--man=no"].map(str::to_owned);
    let outcome = Invocation::new(verify.into_iter().chain(UNITS.map(path)))
        .env("SYSTEMD_LOG_LEVEL", "warning")
        .run()
        .unwrap();
    // It tells of the machine's own units too, and of directives it does not know by the file.
    let complaints: Vec<String> = format!("{outcome}")
        .lines()
        .filter(|line| line.contains("davit-cni-gc.") && !line.contains("verify"))
        .map(str::to_owned)
        .collect();
    assert!(outcome.success() && complaints.is_empty(), "{outcome}");
}

#[test]
fn the_service_s_command_line_is_one_that_we_take() {
    let text = unit("davit-cni-gc.service");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart="));
    let line = line
        .unwrap()
        .replace("$DAVIT_CNI_GC_OPTIONS", "--runtime-root /run/davit");
    let parsed = hooks::args::parse(line.split(' ').map(Into::into)).unwrap();
    let hooks::args::Operation::Gc(options) = parsed.operation else {
        panic!("{parsed:?}")
    };
    assert_eq!(options.roots, [Path::new("/run/davit")]);
    // The example in its comment too.
    assert!(
        text.contains("DAVIT_CNI_GC_OPTIONS=--runtime-root /run/davit --runtime-root /run/runc")
    );
}
