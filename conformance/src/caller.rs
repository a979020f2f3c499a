//! Rows for callers of plugins, in the order of the feature tables.

use crate::row::Row;

mod chain;
mod command_line;
mod desk;

pub(crate) const ROWS: &[&[Row]] = &[chain::ROWS, command_line::ROWS];
