//! [`patient`]: how long a test waits on this machine, and [`at_once`]: for how many. An emulated one is many times slower, and what it
//! does late is no less right; the spans that a test *judges* are never stretched.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

static TIMES: AtomicU32 = AtomicU32::new(1);

/// From now on every wait may take so many times as long.
pub fn have(times: NonZeroU32) {
    TIMES.store(times.get(), Ordering::Relaxed);
}

/// How many at once here, of what is so many elsewhere: as many as end in the same time, and some.
pub fn at_once(number: usize) -> usize {
    (number / TIMES.load(Ordering::Relaxed).max(1) as usize).max(8)
}

/// How long to wait here for what takes at most `duration` elsewhere.
pub fn patient(duration: Duration) -> Duration {
    duration.saturating_mul(TIMES.load(Ordering::Relaxed))
}
