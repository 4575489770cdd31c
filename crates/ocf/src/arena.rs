//! The allocator of a short life: the first blocks come from a fixed piece of memory and are hardly ever given back.
//!
//! An agent lives for a millisecond, hundreds of times a minute, and most of what it asks of the system allocator is pages
//! from the kernel that it returns before it exits. A monitor finds all its memory here and never asks for any.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A monitor uses about 8 KiB. It is not in the binary, and only what is used of it takes memory.
const SIZE: usize = 64 * 1024;
/// Larger blocks are left to the system allocator, which gets them zeroed from the kernel and gives them back.
const LARGEST: usize = 4096;
/// The alignment of the memory; what wants more is left to the system allocator too.
const ALIGNMENT: usize = 16;

#[repr(C, align(16))]
struct Memory(UnsafeCell<[u8; SIZE]>);

/// An allocator for programs that end soon, to be made their `#[global_allocator]`. Once its memory is used up, and for
/// large blocks, it is the system allocator: what goes on in the background takes no more for that.
pub struct Arena {
    memory: Memory,
    /// Bytes in use, from the beginning.
    used: AtomicUsize,
}

// SAFETY: a byte of the memory belongs to the one block that was cut from it by an atomic exchange of `used`.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena with all of its memory to be had.
    #[allow(clippy::new_without_default, reason = "it is made for a static")]
    pub const fn new() -> Self {
        Arena { memory: Memory(UnsafeCell::new([0; SIZE])), used: AtomicUsize::new(0) }
    }

    /// Where in the memory a block begins; `None` for one of the system allocator's.
    fn offset(&self, block: *mut u8) -> Option<usize> {
        let offset = (block as usize).wrapping_sub(self.memory.0.get() as usize);
        (offset < SIZE).then_some(offset)
    }

    /// Moves the end of what is in use, if it is still `from`.
    fn moved(&self, from: usize, to: usize) -> bool {
        self.used.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

// SAFETY: blocks lie in the memory, begin at the alignment asked for, do not overlap (see `Sync`), and stay where they
// are until they are freed. Only the last block is taken back or changes its size in place.
unsafe impl GlobalAlloc for Arena {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = self.used.load(Ordering::Acquire);
        let begin = used.next_multiple_of(layout.align());
        let end = begin + layout.size();
        let fits = layout.size() <= LARGEST && layout.align() <= ALIGNMENT && end <= SIZE;
        if fits && self.moved(used, end) {
            // SAFETY: `begin` is within the memory.
            return unsafe { self.memory.0.get().cast::<u8>().add(begin) };
        }
        // SAFETY: as asked of us.
        unsafe { System.alloc(layout) }
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset(block) {
            Some(begin) => {
                self.moved(begin + layout.size(), begin);
            }
            // SAFETY: it is not from the memory, so it is from the system allocator.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline(never)]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST {
            // SAFETY: as asked of us.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as asked of us.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: it has that size.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(begin) = self.offset(block) else {
            // SAFETY: it is not from the memory, so it is from the system allocator.
            return unsafe { System.realloc(block, layout, size) };
        };
        let end = begin + size;
        if size <= LARGEST && end <= SIZE && self.moved(begin + layout.size(), end) {
            return block;
        }
        // SAFETY: the caller sees to a valid size; the alignment is one that was valid before.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both blocks are at least that long and do not overlap; the old one is not used any more.
            unsafe {
                new.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout(size: usize, alignment: usize) -> Layout {
        Layout::from_size_align(size, alignment).unwrap()
    }

    /// A block, and the byte with which all of it was filled.
    struct Block {
        at: *mut u8,
        layout: Layout,
        mark: u8,
    }

    impl Block {
        fn fill(&mut self, mark: u8) {
            self.mark = mark;
            // SAFETY: the block has that size.
            unsafe { self.at.write_bytes(mark, self.layout.size()) };
        }

        fn is_intact(&self, size: usize) -> bool {
            // SAFETY: the block has at least that size, and was filled.
            let bytes = unsafe { std::slice::from_raw_parts(self.at, size) };
            bytes.iter().all(|byte| *byte == self.mark) && self.at.addr().is_multiple_of(self.layout.align())
        }
    }

    #[test]
    fn the_last_block_is_taken_back_and_grows_in_place() {
        let arena = Box::new(Arena::new());
        // SAFETY: blocks are freed once, with the layout that they have.
        unsafe {
            let first = arena.alloc(layout(10, 1));
            let second = arena.alloc(layout(16, 8));
            assert_eq!(second.addr() - first.addr(), 16);
            assert_eq!(arena.realloc(second, layout(16, 8), 400), second);
            arena.dealloc(second, layout(400, 8));
            assert_eq!(arena.alloc_zeroed(layout(8, 8)), second);
        }
    }

    #[test]
    fn what_is_large_or_too_much_comes_from_the_system() {
        let arena = Box::new(Arena::new());
        // SAFETY: as above; the others are leaked.
        unsafe {
            let large = arena.alloc(layout(LARGEST + 1, 1));
            assert_eq!(arena.offset(large), None);
            arena.dealloc(large, layout(LARGEST + 1, 1));
            for _ in 0..SIZE / LARGEST {
                assert!(arena.offset(arena.alloc(layout(LARGEST, 1))).is_some());
            }
            assert_eq!(arena.offset(arena.alloc(layout(1, 1))), None);
        }
    }

    proptest! {
        #[test]
        fn blocks_keep_what_is_in_them(
            steps in proptest::collection::vec((0..4u8, 1..6000usize, 0..7u32, any::<prop::sample::Index>()), 1..200)
        ) {
            let arena = Box::new(Arena::new());
            let mut blocks: Vec<Block> = Vec::new();
            for (number, (what, size, alignment, which)) in steps.into_iter().enumerate() {
                let mark = number as u8;
                match what {
                    0 | 1 => {
                        let layout = layout(size, 1 << alignment);
                        // SAFETY: the size is not zero.
                        let at = unsafe { if what == 0 { arena.alloc(layout) } else { arena.alloc_zeroed(layout) } };
                        let mut block = Block { at, layout, mark: 0 };
                        prop_assert!(what == 0 || block.is_intact(size), "not zeroed");
                        block.fill(mark);
                        blocks.push(block);
                    }
                    2 if !blocks.is_empty() => {
                        let place = which.index(blocks.len());
                        let block = &mut blocks[place];
                        // SAFETY: the block has this layout, the new size is not zero.
                        block.at = unsafe { arena.realloc(block.at, block.layout, size) };
                        prop_assert!(block.is_intact(size.min(block.layout.size())));
                        block.layout = layout(size, block.layout.align());
                        block.fill(mark);
                    }
                    3 if !blocks.is_empty() => {
                        let block = blocks.swap_remove(which.index(blocks.len()));
                        // SAFETY: the block has this layout, and is forgotten.
                        unsafe { arena.dealloc(block.at, block.layout) };
                    }
                    _ => {}
                }
                for block in &blocks {
                    prop_assert!(block.is_intact(block.layout.size()));
                }
            }
        }
    }
}
