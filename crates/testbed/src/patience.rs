//! [`patient`]: how long a test waits on this machine. An emulated one is many times slower, and what it
//! does late is no less right; the spans that a test *judges* are never stretched.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static TIMES: AtomicU32 = AtomicU32::new(1);

/// From now on every wait may take so many times as long.
pub fn have(times: NonZeroU32) {
    TIMES.store(times.get(), Ordering::Relaxed);
}

/// How long to wait here for what takes at most `duration` elsewhere.
pub fn patient(duration: Duration) -> Duration {
    duration.saturating_mul(TIMES.load(Ordering::Relaxed))
}
