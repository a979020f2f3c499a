//! Clauses of config-linux.md: what the configuration says of Linux.

use super::Clause;

pub(super) const CLAUSES: &[Clause] = &[];
