//! state.json, which whoever can write into the state root wrote, and what hooks are told.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runtime::state_dir::parse_record;

fuzz_target!(|text: &[u8]| fuzz::bounded(|| check(text)));

fn check(text: &[u8]) {
    round_trip::<oci::State>(text);
    round_trip::<oci::ContainerProcessState>(text);
    let Ok(record) = parse_record(text) else {
        return;
    };
    let written = serde_json::to_string(&record).unwrap_or_default();
    let again = parse_record(written.as_bytes()).map(|again| serde_json::to_string(&again).ok());
    assert_eq!(again.ok().flatten().as_ref(), Some(&written));
    let _ = (record.cgroup(), record.unit());
    let state = record.hook_state();
    let told = state.json("running", record.init_process_pid).ok();
    let heard = told.map(|told| oci::from_slice::<oci::State>(&told));
    let Some(Ok(heard)) = heard else {
        panic!("no state for {record:?}: {heard:?}");
    };
    assert_eq!((heard.id(), heard.bundle()), (&state.id, &state.bundle));
    assert_eq!(
        heard.annotations().clone().unwrap_or_default(),
        state.annotations
    );
}

fn round_trip<T: oci::Decode + oci::Encode + PartialEq + std::fmt::Debug>(text: &[u8]) {
    if let Ok(value) = oci::from_slice::<T>(text) {
        let written = oci::to_string(&value);
        assert_eq!(
            oci::from_str::<T>(&written).as_ref(),
            Ok(&value),
            "{written}"
        );
    }
}
