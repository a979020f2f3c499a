//! [`Clause`]: one normative sentence of a specification, and the rows that judge it.
//!
//! The tables below [`ALL`] hold every MUST, MUST NOT, SHOULD and SHOULD NOT (and their synonyms
//! of RFC 2119) of the runtime specification 1.3.0 as far as it is about Linux, and of the CNI
//! specification 1.1.0 with its conventions, as they stand in the release 1.3.0 of its repository,
//! in the order of the documents. A sentence that no program can be asked about says whom it binds
//! instead.

use crate::row::{Row, Side};

mod bundle;
mod cni_conventions;
mod cni_spec;
mod config;
mod config_linux;
mod features;
mod runtime;
mod runtime_linux;

/// How much a sentence demands (RFC 2119).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// MUST, REQUIRED, SHALL.
    Must,
    /// MUST NOT, SHALL NOT.
    MustNot,
    /// SHOULD, RECOMMENDED.
    Should,
    /// SHOULD NOT, NOT RECOMMENDED.
    ShouldNot,
}

/// Who tells whether a sentence is kept.
#[derive(Clone, Copy, Debug)]
pub enum Judge {
    /// These rows by name, or all rows of a feature by its ID; all of one side.
    Rows(&'static [&'static str]),
    /// Nobody from outside: whom the sentence binds instead, or why it has no visible effect.
    Nobody(&'static str),
}

/// One normative sentence.
#[derive(Debug)]
pub struct Clause {
    /// `config.root.2`: document, section, number within the section.
    pub id: &'static str,
    /// What it demands.
    pub level: Level,
    /// Its words, as many as it takes to find it in the section.
    pub quotation: &'static str,
    /// Document and section: `config.md#root`.
    pub section: &'static str,
    /// Who judges it.
    pub judge: Judge,
}

/// The tables, in the order of the documents.
const ALL: &[&[Clause]] = &[
    bundle::CLAUSES,
    runtime::CLAUSES,
    runtime_linux::CLAUSES,
    config::CLAUSES,
    config_linux::CLAUSES,
    features::CLAUSES,
    cni_spec::CLAUSES,
    cni_conventions::CLAUSES,
];

/// Every clause.
pub fn clauses() -> impl Iterator<Item = &'static Clause> {
    ALL.iter().copied().flatten()
}

impl Clause {
    /// The rows that judge it.
    pub fn rows(&self) -> Vec<&'static Row> {
        let Judge::Rows(names) = self.judge else {
            return Vec::new();
        };
        let mut rows = crate::rows();
        rows.retain(|row| names.iter().any(|name| row.answers_to(name)));
        rows
    }

    /// The file it stands in: `config.md`.
    pub fn document(&self) -> &'static str {
        self.section.split('#').next().unwrap_or_default()
    }

    /// Where it stands on the web, in the release that this table was made from.
    pub fn link(&self) -> String {
        let base = match self.document() {
            "SPEC.md" | "CONVENTIONS.md" => {
                "https://github.com/containernetworking/cni/blob/v1.3.0"
            }
            _ => "https://github.com/opencontainers/runtime-spec/blob/v1.3.0",
        };
        format!("{base}/{}", self.section)
    }

    /// Which subject it is about; none for a sentence that nobody judges.
    pub fn side(&self) -> Option<Side> {
        self.rows().first().map(|row| row.side)
    }
}

impl Level {
    /// Whether a program that does otherwise is not compliant; SHOULD leaves a choice.
    pub fn binds(self) -> bool {
        matches!(self, Self::Must | Self::MustNot)
    }

    /// As the specification writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
        }
    }
}

/// One line of a table: ID, section, level, quotation, judge.
macro_rules! clause {
    ($id:literal, $section:literal, $level:ident, $quotation:literal, nobody: $why:literal) => {
        $crate::clause::Clause {
            id: $id,
            level: $crate::clause::Level::$level,
            quotation: $quotation,
            section: $section,
            judge: $crate::clause::Judge::Nobody($why),
        }
    };
    ($id:literal, $section:literal, $level:ident, $quotation:literal, $($row:literal),+ $(,)?) => {
        $crate::clause::Clause {
            id: $id,
            level: $crate::clause::Level::$level,
            quotation: $quotation,
            section: $section,
            judge: $crate::clause::Judge::Rows(&[$($row),+]),
        }
    };
}

use clause;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_clause_has_an_id_of_its_own_that_begins_with_its_document() {
        let mut seen = HashSet::new();
        for clause in clauses() {
            assert!(seen.insert(clause.id), "{} is there twice", clause.id);
            let document = clause.section.split_once(".md#").map(|(name, _)| name);
            let document = document.expect("a section is a document and an anchor");
            assert!(
                clause.id.starts_with(&document.to_lowercase()),
                "{} is not of {document}",
                clause.id
            );
        }
    }

    #[test]
    fn every_quotation_is_short_and_stands_alone() {
        for clause in clauses() {
            let words = clause.quotation.split_whitespace().count();
            assert!((3..=30).contains(&words), "{}: {words} words", clause.id);
        }
    }

    #[test]
    fn no_sentence_stands_twice_in_a_section() {
        let mut seen = HashSet::new();
        for clause in clauses() {
            let sentence = (clause.section, clause.quotation);
            assert!(seen.insert(sentence), "{} repeats a sentence", clause.id);
        }
    }

    #[test]
    fn the_rows_of_a_clause_are_there_and_of_one_side() {
        for clause in clauses() {
            match clause.judge {
                Judge::Nobody(why) => assert!(why.len() > 10, "{}: no reason", clause.id),
                Judge::Rows(names) => {
                    let rows = clause.rows();
                    for name in names {
                        let known = rows
                            .iter()
                            .any(|row| row.id == *name || row.name() == *name);
                        assert!(known, "{}: {name} is no row", clause.id);
                    }
                    let one_side = rows.iter().all(|row| Some(row.side) == clause.side());
                    assert!(one_side, "{}: rows of two sides", clause.id);
                }
            }
        }
    }

    #[test]
    fn a_row_beside_the_features_has_a_sentence() {
        let of_sentences: Vec<_> = clauses().flat_map(|clause| clause.rows()).collect();
        let beside = |row: &&Row| row.side == Side::Runtime && row.id.starts_with('S');
        for row in crate::rows().into_iter().filter(beside) {
            let named = of_sentences.iter().any(|one| std::ptr::eq(*one, row));
            assert!(named, "no sentence names {}", row.name());
        }
    }
}
