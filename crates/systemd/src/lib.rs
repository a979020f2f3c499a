//! systemd's manager as a container runtime needs it (org.freedesktop.systemd1(5)): a transient
//! unit around a process, its properties, its end.
//!
//! D-Bus without a library: one connection, one call at a time, every wait with a deadline that
//! says what it waited for. Why: docs/decisions/0007-systemd-without-a-d-bus-library.md.

mod bus; // one connection: authentication, calls, signals
mod error;

mod message; // header and body of a message
pub mod text; // values as annotations write them
mod units; // the methods of org.freedesktop.systemd1.Manager
mod value; // values and their place in a message

pub use error::{Error, Result};
pub use units::{Instance, Manager, Properties};
pub use value::Value;
