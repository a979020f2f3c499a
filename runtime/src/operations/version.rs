//! `--version`, in lines that go-runc and dockerd parse.

use std::path::Path;

use crate::state::OCI_VERSION;

/// The lines. A program called `runc` says so: go-runc looks for `runc version` only.
pub fn text(argv0: &str) -> String {
    let called = Path::new(argv0).file_name().and_then(|name| name.to_str());
    let name = if called == Some("runc") {
        "runc"
    } else {
        "davit"
    };
    let commit = option_env!("DAVIT_COMMIT").unwrap_or("unknown");
    format!(
        "{name} version {}\ncommit: {commit}\nspec: {OCI_VERSION}\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_follows_the_name_it_was_called_by() {
        assert!(text("/usr/sbin/runc").starts_with("runc version "));
        assert!(text("davit").starts_with("davit version "));
    }
}
