//! The CNI specification as types: pure, no file, no process, no clock.
