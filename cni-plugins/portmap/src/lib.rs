//! CNI `portmap`: forwards ports of the host to a container.
