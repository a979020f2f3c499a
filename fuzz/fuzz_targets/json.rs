//! Our JSON reader beside serde_json: the same documents, and the same tree of each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci::json::Value;
use serde_json::Value as Theirs;

fuzz_target!(|text: &[u8]| fuzz::bounded(|| check(text)));

fn check(text: &[u8]) {
    let ours = oci::json::parse(text);
    let theirs = serde_json::from_slice::<Theirs>(text);
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => assert!(is_same(ours, theirs), "{ours:?} is not {theirs:?}"),
        (Err(_), Err(_)) => {}
        (Ok(ours), Err(error)) => {
            // Numbers are kept as they are written; serde_json has none beyond an f64, and takes one level less.
            let kept = error.to_string();
            let known = kept.contains("number out of range") || kept.contains("recursion limit");
            assert!(known, "serde_json: {error}, ours: {ours:?}");
        }
        (Err(problems), Ok(theirs)) => {
            let reason = problems.to_string();
            let known = ["more than 128 levels", "more than a million values"];
            let known = known.iter().any(|known| reason.contains(known));
            assert!(known, "ours: {reason}, serde_json: {theirs:?}");
        }
    }
    if let Ok(ours) = &ours {
        located(text, ours);
    }
}

fn is_same(ours: &Value<'_>, theirs: &Theirs) -> bool {
    match (ours, theirs) {
        (Value::Null, Theirs::Null) => true,
        (Value::Bool(ours), Theirs::Bool(theirs)) => ours == theirs,
        (Value::Number(ours), Theirs::Number(theirs)) => is_same_number(ours, theirs),
        (Value::String(ours), Theirs::String(theirs)) => ours == theirs,
        (Value::Array(ours), Theirs::Array(theirs)) => {
            let mut pairs = ours.iter().zip(theirs);
            ours.len() == theirs.len() && pairs.all(|(ours, theirs)| is_same(ours, theirs))
        }
        (Value::Object(ours), Theirs::Object(theirs)) => {
            // Of a name that is there twice serde_json keeps the last.
            let last = |name: &str| ours.iter().rev().find(|(other, _)| other == name);
            theirs
                .iter()
                .all(|(name, value)| last(name).is_some_and(|(_, ours)| is_same(ours, value)))
                && ours.iter().all(|(name, _)| theirs.contains_key(&**name))
        }
        _ => false,
    }
}

fn is_same_number(ours: &str, theirs: &serde_json::Number) -> bool {
    match (theirs.as_i64(), theirs.as_u64()) {
        (Some(number), _) => ours.parse() == Ok(number),
        (_, Some(number)) => ours.parse() == Ok(number),
        // Without its feature `float_roundtrip` serde_json may miss by the last bit.
        _ => match (ours.parse::<f64>(), theirs.as_f64()) {
            (Ok(ours), Some(theirs)) => (ours - theirs).abs() <= ours.abs() * 1e-14,
            _ => false,
        },
    }
}

/// What is found without reading the document is what reading finds.
fn located(text: &[u8], ours: &Value<'_>) {
    let Some(place) = oci::locate(text, "linux", "seccomp") else {
        return;
    };
    let read = ours.get("linux").and_then(|linux| linux.get("seccomp"));
    let found = oci::json::parse(&text[place]);
    // A name that is written with escapes may come before: then the caller's comparison refuses it.
    if let (Some(read), Ok(found)) = (read, &found)
        && !text.contains(&b'\\')
    {
        assert_eq!(read, found);
    }
}
