//! Clauses of runtime.md: life cycle, operations and state.

use super::Clause;

pub(super) const CLAUSES: &[Clause] = &[];
