//! The operations of the command line, one file each.

pub mod check;
pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod freezer;
pub mod host_report;
pub mod kill;
pub mod list;
pub mod mounts;
pub mod ps;
pub mod restore;
pub mod run;
pub mod selection;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;
pub mod version;
pub mod wait;
