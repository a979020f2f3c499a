//! Clauses of config.md: the configuration of every container.

use super::Clause;

pub(super) const CLAUSES: &[Clause] = &[];
