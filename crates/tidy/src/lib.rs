//! Dev-only: tests over the source tree itself.
