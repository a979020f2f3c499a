//! The caller's side of CNI: network lists, plugin execution, result cache.
//!
//! A [`NetworkList`] is loaded by name, a [`Caller`] runs its plugins for a [`RuntimeConf`] and
//! remembers the result in the [`cache`], in Go libcni's files. Which networks a container gets,
//! and when, is the caller's caller's business.

pub mod attachment; // add, check, delete, gc, status, validate over a list
mod base64; // the one binary field of the cache
pub mod cache; // what is attached, on disk
pub mod error; // Error
pub mod invoke; // find and run one plugin
pub mod network_list; // discovery and parsing of configurations
pub mod sandbox; // whether a namespace is still the one it was
mod versions; // which versions a plugin speaks

pub use attachment::{Caller, Keep, RuntimeConf};
pub use cache::{Cache, CachedAttachment};
pub use error::Error;
pub use invoke::Plugins;
pub use network_list::{NetworkList, PluginConfig};

/// What is read from files, for fuzz targets.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use crate::cache::understand_file;
    pub use crate::network_list::understand_plugin;
}
