//! CNI `loopback`: brings a container's `lo` up.
