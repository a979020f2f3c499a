//! Clauses of runtime-linux.md: file descriptors and devices of a container.

use super::{Clause, clause};

pub(super) const CLAUSES: &[Clause] = &[clause!(
    "runtime-linux.dev-symbolic-links.1",
    "runtime-linux.md#dev-symbolic-links",
    Must,
    "runtimes MUST create the following symlinks if the source file exists after processing `mounts`",
    "F157.the_default_links_are_there",
)];
