//! Steps as a trace of Chrome's "Trace Event Format", which Perfetto reads as well.

use serde_json::json;

use super::{Lane, Span};

/// One complete event for each step, in microseconds, and a name for each lane.
pub(super) fn written(spans: &[Span]) -> String {
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let names = Lane::ALL.into_iter().map(|lane| {
        json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": lane as u8,
               "args": {"name": lane.name()}})
    });
    let steps = spans.iter().map(|span| {
        json!({"ph": "X", "name": span.name, "pid": 1, "tid": span.lane as u8,
               "ts": micros(span.begin), "dur": micros(span.length())})
    });
    let events: Vec<_> = names.chain(steps).collect();
    format!(
        "{}\n",
        json!({"displayTimeUnit": "ns", "traceEvents": events})
    )
}
