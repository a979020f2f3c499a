//! DHCP, from whoever is on the container's network: conversations of both families.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzz::bounded(|| dhcp::fuzzing::converse(input)));
