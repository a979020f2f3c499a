//! The allocator of executables that are linked with musl.
//!
//! musl's own gives memory back to the kernel and asks for it again: forty mappings in the start of a
//! small program. dlmalloc keeps it. Its lock is a spin lock, for nearly everything here has one
//! thread: two of musl's calls for each allocation were a tenth of all instructions of a start.
//!
//! Small blocks that the first thread gives back wait in lists by size, to be given out again without
//! lock or search: half of what allocation costs. Every block is dlmalloc's, so that it does not
//! matter who gives it back.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, Ordering};

use dlmalloc::Dlmalloc;

#[global_allocator]
static ALLOCATOR: Locked = Locked {
    taken: AtomicBool::new(false),
    heap: UnsafeCell::new(Dlmalloc::new()),
};

/// A clone of a process with one thread finds the lock free; what forks with more does so in
/// [`between_allocations`].
struct Locked {
    taken: AtomicBool,
    heap: UnsafeCell<Dlmalloc>,
}

// SAFETY: the heap is reached by `with` alone, which lets one thread in at a time.
unsafe impl Sync for Locked {}

impl Locked {
    fn take(&self) {
        while self
            .taken
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            // Who has it may need this processor to give it back.
            std::thread::yield_now();
        }
    }

    fn give_back(&self) {
        self.taken.store(false, Ordering::Release);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Dlmalloc) -> T) -> T {
        self.take();
        // SAFETY: `taken` was ours to set, so no other reference lives; dlmalloc neither panics
        // nor allocates through us while it works.
        let result = act(unsafe { &mut *self.heap.get() });
        self.give_back();
        result
    }
}

/// Calls `fork` while no other thread allocates, so that the child can: what fork(3) does for the
/// allocator of its own library, and cannot know of ours. `fork` itself must not allocate.
pub(crate) fn between_allocations<T>(fork: impl FnOnce() -> T) -> T {
    ALLOCATOR.take();
    let forked = fork();
    // In the child it is the copy that is given back.
    ALLOCATOR.give_back();
    forked
}

/// Sizes are rounded up to this, which is also the alignment that every block of dlmalloc has.
const GRAIN: usize = 2 * size_of::<usize>();
/// Sizes up to 512 bytes have lists, on 64 bits.
const LISTS: usize = 32;
/// More blocks than this a list does not keep: half a megabyte in all of them at the very most.
const LENGTH: u16 = 64;

/// Blocks that were given back.
struct Kept {
    thread: Cell<Thread>,
    /// The first block of each list; it begins with the address of the next.
    first: [Cell<*mut u8>; LISTS],
    length: [Cell<u16>; LISTS],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// It has not allocated yet.
    Unknown,
    /// It keeps blocks.
    First,
    /// It does not: at its end they would be lost.
    Other,
}

thread_local! {
    static KEPT: Kept = const {
        Kept {
            thread: Cell::new(Thread::Unknown),
            first: [const { Cell::new(std::ptr::null_mut()) }; LISTS],
            length: [const { Cell::new(0) }; LISTS],
        }
    };
}

/// Whether some thread keeps blocks already.
static IS_KEPT: AtomicBool = AtomicBool::new(false);

impl Kept {
    #[inline]
    fn keeps(&self) -> bool {
        match self.thread.get() {
            Thread::First => true,
            Thread::Other => false,
            Thread::Unknown => self.begin(),
        }
    }

    #[cold]
    fn begin(&self) -> bool {
        let first = !IS_KEPT.swap(true, Ordering::Relaxed);
        self.thread.set(match first {
            true => Thread::First,
            false => Thread::Other,
        });
        first
    }

    #[inline]
    fn take(&self, list: usize) -> *mut u8 {
        if !self.keeps() {
            return std::ptr::null_mut();
        }
        let block = self.first[list].get();
        if !block.is_null() {
            // SAFETY: `put` has written the address of the next block there, and nobody has had the
            // block since.
            self.first[list].set(unsafe { block.cast::<*mut u8>().read() });
            self.length[list].set(self.length[list].get() - 1);
        }
        block
    }

    /// Whether the block was kept.
    ///
    /// # Safety
    /// The block is nobody's any more, of the list's size and aligned to [`GRAIN`].
    #[inline]
    unsafe fn put(&self, list: usize, block: *mut u8) -> bool {
        let length = self.length[list].get();
        if !self.keeps() || length == LENGTH {
            return false;
        }
        // SAFETY: the caller's word; the smallest block has room for two addresses.
        unsafe { block.cast::<*mut u8>().write(self.first[list].get()) };
        self.first[list].set(block);
        self.length[list].set(length + 1);
        true
    }
}

/// The list of a block's size, if there is one.
#[inline]
fn list_of(size: usize, align: usize) -> Option<usize> {
    (align <= GRAIN && size > 0 && size <= LISTS * GRAIN).then(|| (size - 1) / GRAIN)
}

/// What is asked of dlmalloc: the same for all sizes of a list.
#[inline]
fn rounded(size: usize, align: usize) -> usize {
    list_of(size, align).map_or(size, |list| (list + 1) * GRAIN)
}

// SAFETY: each call is dlmalloc's of the same meaning with at least the size that is asked for, or takes a
// block that dlmalloc made for that size and that was given back since.
unsafe impl GlobalAlloc for Locked {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if let Some(list) = list_of(size, align) {
            let block = KEPT.with(|kept| kept.take(list));
            if !block.is_null() {
                return block;
            }
        }
        // SAFETY: a layout has a valid alignment.
        self.with(|heap| unsafe { heap.malloc(rounded(size, align), align) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let size = rounded(layout.size(), layout.align());
        // SAFETY: as above.
        self.with(|heap| unsafe { heap.calloc(size, layout.align()) })
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (size, align) = (layout.size(), layout.align());
        if let Some(list) = list_of(size, align)
            // SAFETY: the caller gives the block up; dlmalloc aligns every block to two words.
            && KEPT.with(|kept| unsafe { kept.put(list, block) })
        {
            return;
        }
        // SAFETY: the caller has the block from here, with this layout.
        self.with(|heap| unsafe { heap.free(block, rounded(size, align), align) });
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (old, align) = (rounded(layout.size(), layout.align()), layout.align());
        let new = rounded(size, align);
        if old == new {
            return block;
        }
        // SAFETY: the caller has the block from here, with this layout.
        self.with(|heap| unsafe { heap.realloc(block, old, align, new) })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn blocks_are_whole_whoever_gives_them_back() {
        let filled = |size: usize, byte: u8| vec![byte; size].into_boxed_slice();
        let make = move || -> Vec<_> { (1..=600).map(|size| filled(size, size as u8)).collect() };
        for _ in 0..3 {
            let theirs = std::thread::spawn(make).join().unwrap();
            let ours = make();
            let mut grown: Vec<u8> = Vec::new();
            (0..=255).for_each(|byte| grown.push(byte));
            for block in ours.iter().chain(&theirs) {
                assert!(block.iter().all(|&byte| byte == block.len() as u8));
            }
            assert!(
                grown
                    .iter()
                    .enumerate()
                    .all(|(at, &byte)| at == byte as usize)
            );
            std::thread::spawn(move || drop(ours)).join().unwrap();
            drop(theirs);
        }
        assert!(vec![0_u64; 40].iter().all(|&word| word == 0));
    }
}
