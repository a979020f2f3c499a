//! Clauses of SPEC.md of CNI: configuration, protocol, execution, delegation, results.

use super::Clause;

pub(super) const CLAUSES: &[Clause] = &[];
