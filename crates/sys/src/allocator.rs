//! The allocator of executables that are linked with musl.
//!
//! musl's own gives memory back to the kernel and asks for it again: forty mappings in the start of a
//! small program. dlmalloc keeps it. Its lock is a spin lock, for nearly everything here has one
//! thread: two of musl's calls for each allocation were a tenth of all instructions of a start.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};

use dlmalloc::Dlmalloc;

#[global_allocator]
static ALLOCATOR: Locked = Locked {
    taken: AtomicBool::new(false),
    heap: UnsafeCell::new(Dlmalloc::new()),
};

/// A clone of a process with one thread finds the lock free. Between fork(2) and execve(2) of a process with
/// more, nothing may allocate.
struct Locked {
    taken: AtomicBool,
    heap: UnsafeCell<Dlmalloc>,
}

// SAFETY: the heap is reached by `with` alone, which lets one thread in at a time.
unsafe impl Sync for Locked {}

impl Locked {
    fn with<T>(&self, act: impl FnOnce(&mut Dlmalloc) -> T) -> T {
        while self
            .taken
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            // Who has it may need this processor to give it back.
            std::thread::yield_now();
        }
        // SAFETY: `taken` was ours to set, so no other reference lives; dlmalloc neither panics
        // nor allocates through us while it works.
        let result = act(unsafe { &mut *self.heap.get() });
        self.taken.store(false, Ordering::Release);
        result
    }
}

// SAFETY: each call is dlmalloc's of the same meaning, with the same layout.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: a layout has a valid alignment.
        self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        self.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller has the block from here, with this layout.
        self.with(|heap| unsafe { heap.free(block, layout.size(), layout.align()) });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has the block from here, with this layout.
        self.with(|heap| unsafe { heap.realloc(block, layout.size(), layout.align(), size) })
    }
}
