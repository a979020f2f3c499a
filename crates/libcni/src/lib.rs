//! The caller's side of CNI: network lists, plugin execution, result cache.
