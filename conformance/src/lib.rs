//! Black-box suite for any OCI runtime and any CNI plugin directory.
