//! Tests over the source tree itself: the rules of the house that no compiler keeps.
//!
//! [`Tree`] reads the files, [`Source`] tells Rust code from comments, strings and tests without
//! parsing it, and each rule is a function from files to [`Finding`]s. `tests/tidy.rs` runs them
//! all over this repository; every rule has a small bad sample beside it that it must refuse.

mod arrows;
mod functions;
mod rules;
mod source;
mod tree;

use std::fmt;

pub use source::Source;
pub use tree::{File, Tree};

/// A place that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Below the root of the repository.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// Which rule, and what to do.
    pub text: String,
}

impl Finding {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// Everything that breaks a rule, sorted by place.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tree.files.iter().flat_map(rules::check_file).collect();
    findings.extend(tree.files.iter().flat_map(arrows::check));
    findings.extend(functions::check(tree));
    findings.sort();
    findings
}
