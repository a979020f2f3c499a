//! Rows for network hooks, in the order of the feature tables.

use crate::row::Row;

pub(crate) const ROWS: &[&[Row]] = &[];
