//! Network lists, and configurations that stand alone.

#![no_main]

use libcni::network_list::NetworkList;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| fuzz::bounded(|| check(bytes)));

fn check(bytes: &[u8]) {
    if let Ok(list) = NetworkList::parse(bytes, None) {
        // A list is kept in the cache by these bytes, and deleted by what they say then.
        let again = NetworkList::parse(&list.bytes, None);
        assert_eq!(again.as_ref(), Ok(&list));
        assert!(!list.plugins.is_empty());
    }
    if let Ok(list) = libcni::fuzzing::understand_plugin(bytes) {
        assert_eq!(NetworkList::parse(&list.bytes, None), Ok(list));
    }
}
