//! mimalloc as the program's allocator.

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};
use std::alloc::{GlobalAlloc, Layout};

/// The `mimalloc` crate's adapter asks mimalloc to mind the alignment of every allocation, which costs
/// nearly twice as much as one that it need not mind; of a request's twenty, none needs it.
pub(super) struct Allocator;

/// What mimalloc aligns every allocation to that is as large, as C's `malloc` does.
const ALIGNED_ANYWAY: usize = 16;

fn is_aligned_anyway(size: usize, layout: Layout) -> bool {
    layout.align() <= ALIGNED_ANYWAY && layout.align() <= size
}

// SAFETY: mimalloc keeps the contract of `malloc`, `calloc`, `realloc` and `free`, whichever of its
// functions memory came from, and none of them unwinds.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout is valid, so its alignment is a power of two.
        unsafe {
            match is_aligned_anyway(layout.size(), layout) {
                true => mi_malloc(layout.size()).cast(),
                false => mi_malloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match is_aligned_anyway(layout.size(), layout) {
                true => mi_zalloc(layout.size()).cast(),
                false => mi_zalloc_aligned(layout.size(), layout.align()).cast(),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, _: Layout) {
        // SAFETY: the caller had it from here.
        unsafe { mi_free(memory.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller had it from here, and the alignment is a power of two.
        unsafe {
            match is_aligned_anyway(size, layout) {
                true => mi_realloc(memory.cast(), size).cast(),
                false => mi_realloc_aligned(memory.cast(), size, layout.align()).cast(),
            }
        }
    }
}
