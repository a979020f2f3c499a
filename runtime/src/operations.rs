//! The operations of the command line, one file each.

pub mod features; // what this program supports
pub mod spec; // a config.json to begin with
