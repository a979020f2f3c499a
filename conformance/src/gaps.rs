//! [`Gaps`]: known-gaps.toml, subject -> row -> why it fails there.
//!
//! A known gap that passes is a failure of the suite: then the list is out of date, or the row
//! has become true by itself. The file uses no more of TOML than sections, strings and comments,
//! which is why it is read here and not by a crate.

use std::collections::BTreeMap;

/// Reasons by subject and row.
#[derive(Clone, Debug, Default)]
pub struct Gaps(BTreeMap<String, BTreeMap<String, String>>);

impl Gaps {
    /// The list in this directory.
    pub fn shipped() -> Self {
        Self::parse(include_str!("../known-gaps.toml"))
    }

    /// Reads `[subject]` and `row = "reason"` lines; a line of another shape is left out, and
    /// the row it meant then fails loudly.
    pub fn parse(text: &str) -> Self {
        let mut gaps = Self::default();
        let mut subject = String::new();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
        {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                subject = name.into();
            } else if let Some((row, reason)) = line.split_once(" = ") {
                let section = gaps.0.entry(subject.clone()).or_default();
                section.insert(row.into(), reason.trim_matches('"').into());
            }
        }
        gaps
    }

    /// Why `row` is expected to fail on `subject`, if it is.
    pub fn reason(&self, subject: &str, row: &str) -> Option<&str> {
        self.0.get(subject)?.get(row).map(String::as_str)
    }

    /// Every (subject, row) of the list.
    pub fn names(&self) -> Vec<(String, String)> {
        let pairs = |(subject, rows): (&String, &BTreeMap<String, String>)| -> Vec<_> {
            rows.keys()
                .map(|row| (subject.clone(), row.clone()))
                .collect()
        };
        self.0.iter().flat_map(pairs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_found_under_its_subject_only() {
        let gaps = Gaps::parse("# why\n[runc]\nF082.x = \"stops at the first\"\n[crun]\n");
        assert_eq!(gaps.reason("runc", "F082.x"), Some("stops at the first"));
        assert_eq!(gaps.reason("crun", "F082.x"), None);
    }
}
