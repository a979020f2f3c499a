//! The benchmark harness: ratios against peers, never a timed test.
//!
//! Every subject runs once in each round, in a fresh random order, with a small gap before each,
//! so that whatever else the machine does meets all of them alike. What counts is the ratio of
//! two subjects of the same round; milliseconds are only shown.
#![allow(
    clippy::disallowed_methods,
    reason = "writes only into directories that it just made"
)]

pub mod hooks; // what is run: davit-cni as a hook, one container and a crowd
pub mod measure; // rounds, shuffled
pub mod plugins; // what is run: chains of plugins, pools of addresses, crowds
pub mod statistics; // medians, percentiles, ratios with their interval
pub mod subjects; // what is run: runtimes and the floor
pub mod target; // a ratio that is to be reached, and whether it was
