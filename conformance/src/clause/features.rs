//! Clauses of features.md and features-linux.md: what a runtime says of itself.

use super::Clause;

pub(super) const CLAUSES: &[Clause] = &[];
