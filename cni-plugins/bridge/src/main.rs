//! CNI `bridge`: connects a container to a Linux bridge on the host.
fn main() {}
