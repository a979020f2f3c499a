//! What every fuzz target demands beside its own: an answer in bounded time. Memory is bounded by libFuzzer
//! (`-rss_limit_mb`, see `fuzz/run.sh`), and a hang that never comes back by its `-timeout`.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The longest that one input may take, in a build without much optimisation and with coverage.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs a check of one input. The time is the thread's own: on a busy machine the clock on the wall finds
/// hangs that nobody has.
pub fn bounded(check: impl FnOnce()) {
    let before = spent();
    check();
    let took = spent().saturating_sub(before);
    assert!(took < PATIENCE, "an input took {took:?}");
}

fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
