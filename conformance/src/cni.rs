//! Rows for CNI plugins, in the order of the feature tables.

use crate::row::Row;

mod bridge;
mod host_local;
mod loopback;
mod portmap;
mod protocol;

pub(crate) const ROWS: &[&[Row]] = &[
    protocol::ROWS,
    bridge::ROWS,
    host_local::ROWS,
    portmap::ROWS,
    loopback::ROWS,
];
