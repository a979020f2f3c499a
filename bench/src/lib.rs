//! The benchmark harness: ratios against peers, never a timed test.
//!
//! Every subject runs once in each round, in a fresh random order, with a small gap before each,
//! so that whatever else the machine does meets all of them alike. What counts is the ratio of
//! two subjects of the same round; milliseconds are only shown.
#![allow(
    clippy::disallowed_methods,
    reason = "writes only into directories that it just made"
)]

pub mod alone; // what is run: each plugin without the others
pub mod at_once; // the same for many at the same moment
pub mod bundles; // what containers are: a small and a large configuration
pub mod cases; // what is measured, by name
pub mod chart; // series as a drawing
pub mod hook_chain; // what is run: reference plugins by a hook, as nerdctl does it
pub mod hooks; // what is run: davit-cni as a hook, one container and a crowd
#[cfg(target_arch = "x86_64")]
pub mod hot_text; // the functions that usual commands execute, for the linker
pub mod index; // all kept reports as one page
pub mod instructions; // how many a command executes
pub mod machine; // facts that a figure is worth nothing without
pub mod measure; // rounds, shuffled
pub mod mount_namespace; // a host with as many mounts as wanted
pub mod plugins; // what is run: chains of plugins, pools of addresses, crowds
pub mod report; // what is printed and kept
pub mod runtimes; // what is run: runtimes and the floor
pub mod series; // values by subject, as a table and as JSON
pub mod setting; // where, how much, and how subjects are started
pub mod statistics; // medians, percentiles, ratios with their interval
pub mod target; // a ratio that is to be reached, and whether it was
