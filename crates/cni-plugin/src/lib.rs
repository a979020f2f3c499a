//! The plugin's side of CNI: the protocol around ADD, DEL, CHECK, GC and STATUS.
