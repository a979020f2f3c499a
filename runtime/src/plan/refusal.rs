//! [`Refusal`]: why a config.json cannot be run, and which property of it is to blame.

use std::fmt;

/// A configuration that is refused before anything is touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("config.json {pointer}: {reason}")]
pub struct Refusal {
    /// JSON pointer (RFC 6901) of the property.
    pub pointer: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Refusal {
    /// A refusal of the property at `pointer`.
    pub fn new(pointer: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            pointer: pointer.into(),
            reason: reason.to_string(),
        }
    }
}

/// What the parts of the plan return.
pub type Result<T> = std::result::Result<T, Refusal>;
