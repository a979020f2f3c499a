//! Messages of D-Bus: the service manager's, and those of whoever else is on the bus.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::bounded(|| drop(dbus::understand(bytes))));
