//! The OCI runtime specification 1.3.0 for Linux as types: config.json, the state, the features.
//!
//! Pure: bytes in, value out. Reading goes on after a problem, so that all of a document's
//! problems are known at once, each with its JSON pointer (RFC 6901). What is read, and how:
//!
//! - A property that is not known is ignored, as config.md ("Extensibility") demands.
//! - `null` is the same as absent, and so is an empty string where a word of a list is expected:
//!   clients are written in Go, whose zero values look like that, and runc sees no difference.
//! - Names of properties are case-sensitive. Go's reader is not, but the specification is
//!   (config.md, "Notation"), and what two readers read differently is a way around the stricter.
//! - For the same reason a known property, or a key of a map, that is there twice is refused.
//! - A number is the integer it is written as, over the whole range of its Go type; `1.0` and
//!   `1e3` are no integers, as for Go.
//! - More than 128 levels or a million values, and text that is not UTF-8, are refused.
//!
//! Getters have the names of the specification's properties in Rust's spelling.

#[macro_use]
mod macros;

mod config;
mod decode;
mod encode;
pub mod features;
pub mod json;
mod linux;
mod locate;
mod process;
mod resources;
mod seccomp;
mod state;

pub use config::{Hook, Hooks, Mount, OnlyHooks, Root, Spec};
pub use decode::{Decode, Decoder, Problem, Problems, Unknown};
pub use encode::{Encode, Writer};
pub use linux::*;
pub use locate::locate;
pub use process::*;
pub use resources::*;
pub use seccomp::*;
pub use state::{ContainerProcessState, State};

/// Reads a document, or says all that is wrong with it.
pub fn from_slice<T: Decode>(text: &[u8]) -> Result<T, Problems> {
    let document = json::parse(text)?;
    let mut decoder = Decoder::new();
    let value = T::decode(&document, &mut decoder);
    decoder.finish().map(|()| value)
}

/// Reads a document, or says all that is wrong with it.
pub fn from_str<T: Decode>(text: &str) -> Result<T, Problems> {
    from_slice(text.as_bytes())
}

/// Everything there is to say about a document.
#[derive(Clone, Debug)]
pub struct Inspection<T> {
    /// What it says; a property with a problem has the value of an absent one.
    pub value: T,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// Properties that the specification does not have.
    pub unknown: Vec<Unknown>,
}

/// Reads a document to the end whatever is wrong with it; an error if it is not JSON.
pub fn inspect<T: Decode>(text: &[u8]) -> Result<Inspection<T>, Problems> {
    let document = json::parse(text)?;
    let mut decoder = Decoder::noting_unknown();
    let value = T::decode(&document, &mut decoder);
    let (problems, unknown) = decoder.into_findings();
    Ok(Inspection {
        value,
        problems,
        unknown,
    })
}

/// The compact JSON of a value.
pub fn to_string(value: &dyn Encode) -> String {
    let mut writer = Writer::default();
    value.encode(&mut writer);
    writer.into_text()
}
