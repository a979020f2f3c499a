//! Black-box suite for any OCI runtime, CNI plugin directory, caller of plugins and network hook.
//!
//! A [`Row`] is one promise of a specification with an executable body; it carries the ID of its
//! row in the feature tables and the clause it checks. The suite knows executables and the
//! specifications, never the code under test, and it judges its own judgement: what the tables
//! call broken in a peer must fail there (`known-gaps.toml`), and every row must fail on at
//! least one runtime or plugin that lies ([`mutants`]).
#![allow(
    clippy::disallowed_methods,
    reason = "writes only into directories that it just made"
)]

mod attachment; // one container's interface on a CNI network, and calls of plugins for it
mod caller; // rows for callers of plugins
mod caller_features; // what callers and hooks are scored by
mod case; // what a row gets: a fresh private host, a directory, the subject
pub mod clause; // the sentences of the specifications
mod client; // programs that call runtimes and plugins
pub mod client_table; // what real clients can do, as a page
mod cni; // rows for plugins
mod container; // one container of the runtime under test
pub mod error; // why a run could not be made
mod features; // what runtimes are scored by
pub mod gaps; // known-gaps.toml
mod hook; // rows for network hooks
mod machine; // on what a run was made
pub mod matrix; // the published pages
pub mod mutants; // subjects that lie in one way each
pub mod options; // the command line
mod plugin_features; // what directories of plugins are scored by
mod recorder; // plugins that write down what they are asked
pub mod report; // human, TAP, JUnit, JSON
mod row; // Row, Verdict
pub mod run; // runs rows and collects what became of them
mod runtime; // rows for runtimes
pub mod score; // features and sentences, subjects side by side
pub mod subject; // what is under test
pub mod trial; // what became of a subject
pub mod vulnerability; // what others were attacked by, and the rows that try it

pub use row::{Row, Side};

/// First argument of the executable to play an older kernel: the calls to hide, separated by
/// commas, and the command that is to live without them follow.
pub const WITHOUT_CALLS: &str = "without-calls";

/// First argument of the executable to write down what a command uses: the file for that and the
/// command follow.
pub const MEASURED: &str = "measured";

/// Every row of the suite, in the order of the tables.
pub fn rows() -> Vec<&'static Row> {
    let all = [runtime::ROWS, cni::ROWS, caller::ROWS, hook::ROWS];
    all.into_iter().flatten().copied().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_name_of_its_own_and_a_clause() {
        let mut seen = std::collections::HashSet::new();
        for row in rows() {
            assert!(seen.insert(row.name()), "{} is there twice", row.name());
            assert!(row.clause.len() > 20, "{} quotes nothing", row.name());
        }
    }

    #[test]
    fn every_known_gap_names_a_row() {
        let rows: Vec<String> = rows().iter().map(|row| row.name()).collect();
        for (subject, row) in gaps::Gaps::shipped().names() {
            assert!(
                rows.contains(&row),
                "known-gaps.toml: [{subject}] {row} is no row"
            );
        }
    }
}
