//! The CNI specification as types: pure, no file, no process, no clock.
//!
//! Same bytes in, same value out. Nothing here runs a plugin (`libcni`), prints (`cni-plugin`) or
//! touches the host. JSON is read as Go's `encoding/json` reads it, because runtimes depend on it.

pub mod args; // CNI_ARGS
pub mod config; // a plugin's network configuration: name, version, prevResult, valid attachments
pub mod error; // {code, msg, details}, with the specification's codes by name
pub mod execution; // which file a plugin is, and what it said when it failed
pub mod go_json; // decoding with Go's key matching, null and empty-string rules
pub mod names; // container ID, interface name, network name: parsed, so never wrong
pub mod request; // environment + configuration -> one typed request per verb
pub mod result; // what ADD answers, in every version
pub mod version; // the specification's versions

pub use args::Args;
pub use config::{NetworkConfig, ValidAttachments};
pub use error::{Attempt, Code, Error};
pub use names::{Attachment, ContainerId, IfName, NetworkName};
pub use request::{
    AddRequest, CheckRequest, Command, DelRequest, Environment, GcRequest, Invocation, Request,
    StatusRequest,
};
pub use result::{Dns, Interface, IpConfig, Result, Route};
pub use version::Version;
