//! Clauses of bundle.md: the file system bundle.

use super::{Clause, clause};

pub(super) const CLAUSES: &[Clause] = &[
    clause!(
        "bundle.container-format.1",
        "bundle.md#container-format",
        Must,
        "This REQUIRED file MUST reside in the root of the bundle directory",
        "F051.a_create_without_config_json_leaves_nothing",
        "F051.create_wants_a_bundle",
    ),
    clause!(
        "bundle.container-format.2",
        "bundle.md#container-format",
        Must,
        "and MUST be named `config.json`",
        "F051.a_create_without_config_json_leaves_nothing",
    ),
    clause!(
        "bundle.container-format.3",
        "bundle.md#container-format",
        Must,
        "these artifacts MUST all be present in a single directory on the local filesystem",
        nobody: "whoever makes a bundle; a runtime has to take an absolute root.path as well"
    ),
];
