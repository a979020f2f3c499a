//! A D-Bus client of our own (D-Bus specification 0.38), as small as our few requests: one
//! connection, one call at a time, every wait with a deadline that says what it waited for.
//!
//! Not here: what a service understands (`systemd`, the `firewall` plugin). Why no library:
//! docs/decisions/0007-systemd-without-a-d-bus-library.md.

mod bus; // one connection: authentication, calls, signals
mod error;

pub mod message; // header and body of a message
pub mod value; // values and their place in a message

pub use bus::{Address, Bus, addresses, named, system_addresses};
pub use error::{Error, Result};
pub use message::Message;
pub use value::Value;

/// A message from whoever is on the bus: for fuzz targets.
#[cfg(fuzzing)]
pub fn understand(bytes: &[u8]) -> std::io::Result<message::Message> {
    if let Some(fixed) = bytes.first_chunk() {
        message::size(fixed)?;
    }
    message::parse(bytes)
}
