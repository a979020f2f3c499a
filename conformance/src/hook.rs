//! Rows for network hooks, in the order of the feature tables.

use crate::row::Row;

mod attaching;
mod ctr;
mod names;
mod stand;

pub(crate) const ROWS: &[&[Row]] = &[attaching::ROWS, names::ROWS, ctr::ROWS];
