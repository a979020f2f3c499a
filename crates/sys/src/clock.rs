//! The clock that goes on while the machine sleeps, the same for every process of one boot.

use std::time::Duration;

/// As long as any program runs, and short enough to be added to any moment.
pub const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Time since this boot (`CLOCK_BOOTTIME`).
pub fn since_boot() -> Duration {
    // SAFETY: all-zero bytes are a valid timespec.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one timespec; with this clock (Linux 2.6.39) it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on() {
        let before = since_boot();
        std::thread::sleep(Duration::from_millis(2));
        assert!(since_boot() >= before + Duration::from_millis(2));
    }
}
