//! /etc/passwd of an image, and /etc/subuid of the host.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::init::program::home_in;

fuzz_target!(|text: &[u8]| fuzz::bounded(|| check(text)));

fn check(text: &[u8]) {
    for uid in [0, 1000, u32::MAX] {
        let Some(home) = home_in(text, uid) else {
            continue;
        };
        let home = home.as_bytes();
        assert!(home.starts_with(b"HOME=/") && !home.contains(&b'\n') && !home.contains(&b':'));
        assert!(text.windows(home.len() - 5).any(|part| part == &home[5..]));
        let line = format!("x:x:{uid}:");
        let alone = [line.as_bytes(), b"0::", &home[5..], b":\n", text].concat();
        assert_eq!(
            home_in(&alone, uid).as_ref().map(|home| home.as_bytes()),
            Some(home)
        );
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let ranges = runtime::host::understand_subordinate(text, "davit", 1000);
        // The first is the user itself; none is empty, and none begins within another.
        assert!(ranges.iter().all(|range| range.size > 0), "{ranges:?}");
        let disjoint = |pair: &[runtime::plan::namespaces::IdRange]| {
            pair[0].inside.saturating_add(pair[0].size) <= pair[1].inside
        };
        assert!(ranges.windows(2).all(disjoint), "{ranges:?}");
    }
}
