//! Files of libcni's result cache, which every caller on the host may have written, and their names.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::bounded(|| libcni::fuzzing::understand_file(bytes)));
