//! Files of control groups, `/proc/self/cgroup` among them. What follows a NUL byte is a mountinfo.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::cgroup::devices::{List, Rule};
use runtime::cgroup::{self, Hierarchies};

fuzz_target!(|bytes: &[u8]| fuzz::bounded(|| check(bytes)));

fn check(bytes: &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (own, mountinfo) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let found = Hierarchies::parse(mountinfo, own);
    for hierarchy in found.v1.iter().chain(&found.v2) {
        assert!(!hierarchy.own.is_absolute(), "{hierarchy:?}");
    }
    let Ok(text) = std::str::from_utf8(own) else {
        return;
    };
    cgroup::understand(text);
    // From whatever list of devices, to none allowed: nothing is allowed on the way.
    if let Ok(list) = List::new(&[] as &[Rule]) {
        let writes = list.transition(text);
        assert!(
            writes.iter().all(|(file, _)| *file == "devices.deny"),
            "{writes:?}"
        );
    }
}
