//! The name of a container, which becomes the name of directories and cgroups.

use std::fmt;

use anyhow::{Result, bail};

use crate::fault::{Code, Fault};

/// A container id that is safe as one component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerId(String);

/// A name in a file system has at most 255 bytes (`NAME_MAX`), and the state directory adds a few.
const MAX_LENGTH: usize = 240;

impl ContainerId {
    /// Parses an id: letters, digits, `_`, `+`, `-` and `.`, as runc has it.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            bail!(Fault::new(Code::Usage, "container id cannot be empty"));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if text == "." || text == ".." || !text.chars().all(legal) {
            let text = format!(
                "invalid container ID format: {text:?} (letters, digits, '_', '+', '-', '.')"
            );
            bail!(Fault::new(Code::Usage, text));
        }
        if text.len() > MAX_LENGTH {
            bail!("invalid container ID format: longer than {MAX_LENGTH} bytes");
        }
        Ok(Self(text.to_owned()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_a_path_in_them_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "/a",
            "a b",
            "é",
            "a\n",
            &"a".repeat(241),
        ] {
            assert!(ContainerId::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a.b", "A_0+-.", "...", &"a".repeat(240)] {
            assert!(ContainerId::parse(good).is_ok(), "{good:?}");
        }
    }
}
