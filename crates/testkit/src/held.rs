//! What a thread holds of the heap, counted by the allocator and not by what the code believes.
//!
//! A test that asks makes `Counting` its allocator; `most` panics in one that has not, for it would count nothing:
//!
//! ```text
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//! ```

#![allow(unsafe_code, reason = "an allocator has no safe form")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, and a count for each thread.
pub struct Counting;

thread_local! {
    /// What this thread holds now, and the most that it held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(octets: isize) {
    HELD.with(|held| {
        let (now, most) = held.get();
        held.set((now + octets, most.max(now + octets)));
    });
}

// SAFETY: everything is the system's allocator; a counter of the same thread that needs no allocation is all that is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Octets that this thread holds.
pub fn now() -> isize {
    HELD.get().0
}

/// The most octets that this thread held during `action` beyond what it held before.
pub fn most(action: impl FnOnce()) -> usize {
    let before = now();
    let probe = std::hint::black_box(Box::new([0_u8; 64]));
    assert!(now() >= before + 64, "nothing is counted: the test has to make Counting its allocator");
    drop(probe);
    HELD.set((before, before));
    action();
    usize::try_from(HELD.get().1 - before).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn what_is_held_for_a_moment_is_counted() {
        assert!(most(|| drop(vec![1_u8; 1_000_000])) >= 1_000_000);
        assert!(most(|| {}) < 1_000);
    }
}
