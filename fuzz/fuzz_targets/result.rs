//! prevResult and results, from every version of CNI to every other.

#![no_main]

use cni::Version;
use cni::version::Family;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| fuzz::bounded(|| check(text)));

fn check(text: &[u8]) {
    let Ok(json) = cni::go_json::parse(text) else {
        return;
    };
    let _ = cni::result::version_of(&json);
    let _ = cni::execution::told(text);
    for from in Version::ALL {
        let Ok(result) = cni::Result::from_json(&json, *from) else {
            continue;
        };
        for to in Version::ALL {
            converted(&result, *to);
        }
        let twice = result.clone().after(result.clone());
        assert_eq!(twice.ips.len(), result.ips.len() * 2);
        assert_eq!(twice.interfaces.len(), result.interfaces.len() * 2);
    }
}

/// What can be said in a version is understood in it, and said again in the same words. The newest has words
/// for all of it.
fn converted(result: &cni::Result, version: Version) {
    let Ok(said) = result.to_json(version) else {
        assert!(result.expressible_in(version).is_err(), "{version}");
        return;
    };
    assert!(result.expressible_in(version).is_ok(), "{version}");
    assert_eq!(cni::result::version_of(&said).ok().flatten(), Some(version));
    let heard = cni::Result::from_json(&said, version);
    let Ok(heard) = heard else {
        panic!("{version}: {said} is not understood: {heard:?}");
    };
    if version == Version::NEWEST {
        assert_eq!(&heard, result, "{said}");
    }
    if version.family() != Family::Ip4Ip6 {
        assert_eq!(heard.ips, result.ips, "{said}");
    }
    assert_eq!(heard.to_json(version).ok(), Some(said));
}
