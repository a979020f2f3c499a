//! Rows for callers of plugins, in the order of the feature tables.

use crate::row::Row;

mod cache;
mod chain;
mod command_line;
mod desk;
mod execution;
mod lists;

pub(crate) const ROWS: &[&[Row]] = &[
    lists::ROWS,
    chain::ROWS,
    cache::ROWS,
    execution::ROWS,
    command_line::ROWS,
];
