//! The plugin's side of CNI: the protocol around ADD, DEL, CHECK, GC and STATUS.
//!
//! A plugin is a type that implements [`Plugin`] and a `main` of one line. What the verbs mean is
//! the plugin's business; when they run, what is printed, and that a failed ADD is undone is ours.

pub mod delegate; // finding and executing an IPAM plugin
mod log; // standard error: trouble, and structure on demand
pub mod manual; // what a plugin tells a person: --help and its man page
pub mod plugin; // trait Plugin, and the claim that decides about the undo
pub mod plugin_main; // the protocol: variables, streams, exit status

pub use manual::Manual;
pub use plugin::{Claim, Plugin};
pub use plugin_main::{SUITE_VERSION, plugin_main};
