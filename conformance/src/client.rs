//! The programs that call runtimes and plugins, unchanged, on the private host of a row.

use std::time::Duration;

use testbed::requires;

use crate::case::Case;
use crate::row::{Demand, Verdict, lacking};

/// What the scripts in `clients/rows` read: the image, and containerd in a directory of its own.
const PARTS: [(&str, &str); 2] = [
    ("image.sh", include_str!("../clients/image.sh")),
    ("daemon.sh", include_str!("../clients/daemon.sh")),
];
/// A daemon has to start, and images to be imported, beside other rows.
const PATIENCE: Duration = Duration::from_secs(120);

/// A client's script, and what it is told.
pub(crate) struct Client<'a> {
    /// What it needs of the machine.
    pub(crate) programs: &'a [&'a str],
    /// The script's text.
    pub(crate) script: &'a str,
    /// The runtime that it is to use.
    pub(crate) runtime: &'a str,
    /// The cgroup of the row, in the client's words.
    pub(crate) parent: &'a str,
    /// What else it is told, after the image.
    pub(crate) more: &'a [&'a str],
}

impl Client<'_> {
    /// Runs it: `sh SCRIPT RUNTIME DIR PARENT IMAGE.sh MORE...`.
    pub(crate) fn run(&self, case: &Case<'_>) -> Verdict {
        for program in self.programs {
            if !requires::is_installed(program) {
                return Err(lacking(&format!("the program {program}")));
            }
        }
        let dir = case.path("client");
        std::fs::create_dir(&dir)?;
        for (name, text) in PARTS.into_iter().chain([("script", self.script)]) {
            std::fs::write(case.dir().join(name), text)?;
        }
        let (script, image) = (case.path("script"), case.path("image.sh"));
        let words = ["sh", &script, self.runtime, &dir, self.parent, &image];
        let words = words.iter().chain(self.more).copied();
        let call = case.with_subject_env(case.host.command(words));
        case.call(&call.deadline(PATIENCE))?.succeeds()?;
        Ok(())
    }
}
