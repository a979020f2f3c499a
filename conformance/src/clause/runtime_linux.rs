//! Clauses of runtime-linux.md: file descriptors and devices of a container.

use super::Clause;

pub(super) const CLAUSES: &[Clause] = &[];
