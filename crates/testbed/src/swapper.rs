//! [`Swapper`]: an attacker that lets two names of a directory change places, without a pause.
//!
//! It is what a process in one container does to a volume that another container is just being
//! made with: whoever looks at a name twice finds a directory once and a symbolic link the other
//! time.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sys::Dir;

use crate::{Error, Result};

/// The attacker, at work until it is told to stop, or dropped.
#[derive(Debug)]
pub struct Swapper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// After every 64 swaps.
const REST: Duration = Duration::from_micros(100);

#[derive(Debug)]
struct Shared {
    directory: Dir,
    names: [String; 2],
    /// Held while the names may be out of order.
    at_work: Mutex<()>,
    /// Somebody waits for that lock, which the thread would otherwise take again at once.
    wanted: AtomicBool,
    ended: AtomicBool,
    swaps: AtomicU64,
}

impl Swapper {
    /// Begins to swap the entries `one` and `other` of `directory`.
    pub fn start(directory: &Path, one: &str, other: &str) -> Result<Self> {
        let directory = Dir::open(directory).map_err(failed)?;
        // What cannot be swapped is told here, and not by a race that nobody runs.
        for _ in 0..2 {
            directory.exchange(one, other).map_err(failed)?;
        }
        let shared = Arc::new(Shared {
            directory,
            names: [one.into(), other.into()],
            at_work: Mutex::new(()),
            wanted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            swaps: AtomicU64::new(0),
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::spawn(move || own.swap_on());
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Runs `body` while nothing is swapped and both names are what they were at first.
    pub fn at_rest<T>(&self, body: impl FnOnce() -> T) -> T {
        self.shared.wanted.store(true, Ordering::SeqCst);
        let held = self.shared.at_work.lock();
        let answer = body();
        drop(held);
        self.shared.wanted.store(false, Ordering::SeqCst);
        answer
    }

    /// How often the names have changed places.
    pub fn swaps(&self) -> u64 {
        self.shared.swaps.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn swap_on(&self) {
        while !self.ended.load(Ordering::SeqCst) {
            if self.wanted.load(Ordering::SeqCst) {
                std::thread::yield_now();
                continue;
            }
            let held = self.at_work.lock();
            self.swap();
            self.swap();
            drop(held);
            // Its victims need the directory's lock too, and would hardly get it from who never rests.
            if self.swaps.load(Ordering::Relaxed).is_multiple_of(64) {
                std::thread::sleep(REST);
            }
        }
    }

    /// One exchange; tried again, for a directory that is looked at may be busy for a moment.
    fn swap(&self) {
        let [one, other] = &self.names;
        while self.directory.exchange(one, other).is_err() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
        }
        self.swaps.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic: it only stores and calls the kernel.
            let _ = thread.join();
        }
    }
}

fn failed(error: sys::SyscallError) -> Error {
    Error::Host(format!("swap names: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_places_and_are_in_order_at_rest() {
        let place = tempfile::tempdir().unwrap();
        let (file, link) = (place.path().join("file"), place.path().join("link"));
        std::fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let swapper = Swapper::start(place.path(), "file", "link").unwrap();
        while swapper.swaps() < 1000 {}
        for _ in 0..20 {
            let before = swapper.swaps();
            let plain = swapper.at_rest(|| {
                let seen = || file.symlink_metadata().unwrap().is_file();
                (0..1000).all(|_| seen())
            });
            assert!(plain, "swapped at rest");
            while swapper.swaps() < before + 2 {}
        }
    }
}
