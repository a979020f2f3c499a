//! CNI `host-local`: hands out addresses from ranges kept on this host.
fn main() {}
