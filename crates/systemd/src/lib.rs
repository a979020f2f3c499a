//! systemd's manager as a container runtime needs it (org.freedesktop.systemd1(5)): a transient
//! unit around a process, its properties, its end.
//!
//! Over our own D-Bus client; why: docs/decisions/0007-systemd-without-a-d-bus-library.md.

mod error;
pub mod text; // values as annotations write them
mod units; // the methods of org.freedesktop.systemd1.Manager

pub use dbus::Value;
pub use error::{Error, Result};
pub use units::{Instance, Manager, Properties};
