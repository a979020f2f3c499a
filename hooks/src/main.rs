//! davit-cni: gives an OCI container its CNI networks, as a hook or by hand.
fn main() {}
