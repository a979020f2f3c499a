//! The suite as a whole: size, processes, swaps, parallel use.

use crate::row::Row;

pub(crate) const ROWS: &[Row] = &[];
