//! `davit check BUNDLE`: the report of [`crate::check`], for people or for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::check::{Cause, Finding, Severity};

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A finding takes two lines.
    Text,
    /// One document.
    Json,
}

/// Whether `create` would refuse.
pub fn has_errors(findings: &[Finding]) -> bool {
    errors(findings) > 0
}

fn errors(findings: &[Finding]) -> usize {
    let error = |finding: &&Finding| finding.severity == Severity::Error;
    findings.iter().filter(error).count()
}

/// As printed.
pub fn written(findings: &[Finding], format: Format) -> String {
    match format {
        Format::Text => text(findings),
        Format::Json => super::spec::pretty(&document(findings), b"  "),
    }
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let here = match finding.depends_on {
            Cause::Configuration => "",
            Cause::Host => " (on this host)",
        };
        let place = match finding.pointer.as_str() {
            "" => "config.json",
            pointer => pointer,
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{}{here} {place}: {}\n    {}",
            word(finding.severity),
            finding.cause,
            finding.remedy
        );
    }
    let errors = errors(findings);
    let warnings = findings.len() - errors;
    let _ = writeln!(text, "errors: {errors}, warnings: {warnings}");
    text
}

fn document(findings: &[Finding]) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "severity": word(finding.severity),
            "pointer": finding.pointer,
            "cause": finding.cause,
            "remedy": finding.remedy,
            "host": finding.depends_on == Cause::Host,
        })
    };
    json!({
        "valid": !has_errors(findings),
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}
