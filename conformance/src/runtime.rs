//! Rows for OCI runtimes, in the order of the feature tables.

use crate::row::Row;

mod attributes; // what of a process outlives execve
mod cgroups;
mod cli;
mod clients; // under the programs that call it, and inside itself
mod devices;
mod exec; // what a second process takes from the container
mod executable; // what a container reaches of the runtime itself
mod hooks;
mod lifecycle;
mod mounts;
mod namespaces;
mod paused; // containers that are paused, killed in part or at work elsewhere
mod process;
mod security;

pub(crate) const ROWS: &[&[Row]] = &[
    cli::ROWS,
    lifecycle::ROWS,
    hooks::ROWS,
    namespaces::ROWS,
    process::ROWS,
    attributes::ROWS,
    mounts::ROWS,
    devices::ROWS,
    cgroups::ROWS,
    security::ROWS,
    executable::ROWS,
    exec::ROWS,
    paused::ROWS,
    clients::ROWS,
];
