//! Clauses of bundle.md: the file system bundle.

use super::{Clause, clause};

pub(super) const CLAUSES: &[Clause] = &[clause!(
    "bundle.container-format.1",
    "bundle.md#container-format",
    Must,
    "This REQUIRED file MUST reside in the root of the bundle directory",
    "F051.a_create_without_config_json_leaves_nothing",
)];
