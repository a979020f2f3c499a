//! Clauses of CONVENTIONS.md of CNI: capabilities, args, chained plugins.

use super::Clause;

pub(super) const CLAUSES: &[Clause] = &[];
