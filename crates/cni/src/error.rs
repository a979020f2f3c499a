//! The error a plugin answers with: `{code, msg, details}`, codes named as in the specification.
//!
//! Which code belongs to which failure is decided where the failure happens; nothing here prints.

use std::error::Error as StdError;
use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::version::Version;

/// An error code of the specification ("Error") or of one plugin (100 and above).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// The answer named no code.
    pub const UNKNOWN: Self = Self(0);
    /// The plugin does not speak the configuration's version.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// A field the plugin knows and cannot serve; the message carries key and value.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// The container is not known or not there; the runtime need not DEL.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// A `CNI_*` variable is missing or wrong.
    pub const ENVIRONMENT: Self = Self(4);
    /// Reading the configuration or writing the answer.
    pub const IO: Self = Self(5);
    /// JSON that cannot be decoded.
    pub const DECODE: Self = Self(6);
    /// A configuration that can be decoded and not served.
    pub const CONFIG: Self = Self(7);
    /// The network namespace is missing or is the plugin's own.
    pub const NETNS: Self = Self(8);
    /// Transient: a lock is held, an address is in use just now.
    pub const TRY_AGAIN: Self = Self(11);
    /// STATUS: ADD could not be served.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// STATUS: ADD could not be served, and attached containers may suffer.
    pub const LIMITED_CONNECTIVITY: Self = Self(51);
    /// The first code a plugin may give its own meaning.
    pub const PLUGIN: Self = Self(100);
    /// A defect of the plugin or a host in a state nobody foresaw.
    pub const INTERNAL: Self = Self(999);
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a plugin answers when it cannot do what it was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Error {
    /// What kind of failure, for the runtime to branch on.
    #[serde(deserialize_with = "code")]
    pub code: Code,
    /// One line: what was attempted, on what.
    pub msg: String,
    /// The rest: causes, offending values. May be empty.
    pub details: String,
}

fn code<'de, D: serde::Deserializer<'de>>(json: D) -> std::result::Result<Code, D::Error> {
    u32::deserialize(json).map(Code)
}

impl Error {
    /// An error without details.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// Code 7: the configuration cannot be served.
    pub fn config(msg: impl Into<String>) -> Self {
        Self::new(Code::CONFIG, msg)
    }

    /// Code 4: a `CNI_*` variable is wrong.
    pub fn environment(msg: impl Into<String>) -> Self {
        Self::new(Code::ENVIRONMENT, msg)
    }

    /// The same error with these details.
    #[must_use]
    pub fn details(mut self, details: impl fmt::Display) -> Self {
        self.details = details.to_string();
        self
    }

    /// The same error, its message behind `context: `.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.msg = format!("{context}: {}", self.msg);
        self
    }

    /// The error object that goes to stdout; `details` only when there are some.
    pub fn to_json(&self, version: Version) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".into(), version.to_string().into());
        object.insert("code".into(), self.code.0.into());
        object.insert("msg".into(), self.msg.as_str().into());
        if !self.details.is_empty() {
            object.insert("details".into(), self.details.as_str().into());
        }
        object.into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.msg.as_str(), self.details.as_str()) {
            (msg, "") => f.write_str(msg),
            ("", details) => f.write_str(details),
            (msg, details) => write!(f, "{msg}: {details}"),
        }
    }
}

impl StdError for Error {}

/// Turns the error of a lower layer into the plugin's answer.
pub trait Attempt<T> {
    /// `what` (which runs only on an error) becomes the message, the causes become the details.
    fn attempt(self, code: Code, what: impl FnOnce() -> String) -> std::result::Result<T, Error>;
}

impl<T, E: StdError> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, code: Code, what: impl FnOnce() -> String) -> std::result::Result<T, Error> {
        self.map_err(|error| Error::new(code, what()).details(chain(&error)))
    }
}

/// An error and its sources as one line.
fn chain(error: &dyn StdError) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        line = format!("{line}: {source}");
        next = source.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_left_out_when_empty() {
        let error = Error::config("missing network name");
        assert_eq!(
            error.to_json(Version::V0_4_0).to_string(),
            r#"{"cniVersion":"0.4.0","code":7,"msg":"missing network name"}"#
        );
        let json = error.details("x").to_json(Version::V1_1_0);
        assert_eq!(json["details"], "x");
        assert_eq!(
            serde_json::from_value::<Error>(json).unwrap().code,
            Code::CONFIG
        );
    }

    #[test]
    fn the_chain_becomes_the_details() {
        let cause = "x".parse::<u8>();
        let error = cause
            .attempt(Code::TRY_AGAIN, || "count".into())
            .unwrap_err();
        assert_eq!(error.to_string(), "count: invalid digit found in string");
        assert_eq!(error.code, Code::TRY_AGAIN);
    }
}
