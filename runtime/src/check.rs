//! `davit check`: everything that is to be said about a bundle, at once and without a side effect.
//!
//! Errors are the refusals of `create` itself (`refusals`), found one after the other: what is
//! refused is taken out of a copy of the configuration, and the rest is judged again. So there is
//! one source of truth, and a refusal that is added to the plan is in the report as well. What
//! nobody refuses and somebody will regret is a warning (`lint`, `bundle_files`).

mod bundle_files;
mod document;
mod host;
mod lint;
mod refusals;
mod remedy;
mod typo;

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;

use crate::bundle;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// `create` refuses, or cannot succeed.
    Error,
    /// It works, and may not be what was meant.
    Warning,
}

/// What a finding depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The configuration alone: the same everywhere.
    Configuration,
    /// This host, or the files of the bundle as they are now.
    Host,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Where it is different.
    pub depends_on: Cause,
    /// JSON pointer (RFC 6901) of the property; empty for the whole file.
    pub pointer: String,
    /// What is wrong.
    pub cause: String,
    /// What can be done about it.
    pub remedy: String,
}

impl Finding {
    fn warning(pointer: impl Into<String>, cause: impl Into<String>, remedy: &str) -> Self {
        Self {
            severity: Severity::Warning,
            depends_on: Cause::Configuration,
            pointer: pointer.into(),
            cause: cause.into(),
            remedy: remedy.to_owned(),
        }
    }

    fn of_host(self) -> Self {
        Self {
            depends_on: Cause::Host,
            ..self
        }
    }
}

/// Everything there is to say about the bundle in `dir`: errors first, each kind by its pointer.
pub fn check(dir: &Path) -> Result<Vec<Finding>> {
    let (dir, text) = bundle::read_config(dir, None)?;
    let inspection = match oci::inspect::<oci::Spec>(&text) {
        Ok(inspection) => inspection,
        Err(problems) => return Ok(problems.iter().map(not_json).collect()),
    };
    let mut findings = refusals::all(&dir, &text);
    findings.extend(lint::unknown(&inspection.unknown));
    findings.extend(lint::warnings(&inspection.value));
    findings.extend(host::missing(&inspection.value));
    findings.extend(bundle_files::missing(&inspection.value, &dir));
    findings.sort_by(|one, other| {
        let key = |finding: &Finding| (finding.severity, finding.pointer.clone());
        key(one).cmp(&key(other))
    });
    Ok(findings)
}

/// Whether nothing is there. What cannot be looked at may be there.
fn is_missing(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_err_and(|error| matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

fn not_json(problem: &oci::Problem) -> Finding {
    Finding {
        severity: Severity::Error,
        depends_on: Cause::Configuration,
        pointer: problem.pointer.clone(),
        cause: problem.reason.clone(),
        remedy: "correct the text at that place (RFC 8259)".to_owned(),
    }
}

#[cfg(test)]
mod tests;
