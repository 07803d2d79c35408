//! What it does, in functions that a backtrace can name.

use std::hint::black_box;

#[inline(never)]
pub(crate) fn deep_inside(depth: u32) -> u32 {
    if black_box(depth) == 0 {
        panic!("a mishap three calls deep");
    }
    black_box(deep_inside(depth - 1)) + 1
}

#[inline(never)]
pub(crate) fn turn_for_ever() -> u32 {
    let mut turns = 0u32;
    while black_box(true) {
        turns = turns.wrapping_add(1);
    }
    turns
}

#[inline(never)]
pub(crate) fn eat_memory() -> usize {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    while black_box(true) {
        eaten.push(black_box(vec![1; 1 << 20]));
    }
    eaten.len()
}

/// Frames so small that the VM's own stack ends before the one in linear memory.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the deed")]
pub(crate) fn fall_down_the_stack(depth: u64) -> u64 {
    black_box(fall_down_the_stack(depth + 1)) + depth
}

/// Frames so large that the stack in linear memory ends before the VM's own.
#[inline(never)]
#[allow(unconditional_recursion, reason = "that is the deed")]
pub(crate) fn fill_the_stack(depth: u64) -> u64 {
    let frame = black_box([depth; 512]);
    black_box(fill_the_stack(depth + 1)) + frame[511]
}

/// How often something stands in the guest's memory. It is given byte for byte combined with `MASK`, so that the search
/// does not find itself.
#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "it looks at memory that nobody gave it")]
pub(crate) fn search(masked: &[u8]) -> usize {
    let bytes = core::arch::wasm32::memory_size(0) << 16;
    let is_there = |at: usize| {
        masked.iter().enumerate().all(|(offset, wanted)| {
            // SAFETY: the address is within the linear memory, all of which may be read.
            let byte = unsafe { std::ptr::with_exposed_provenance::<u8>(at + offset).read_volatile() };
            byte ^ MASK == *wanted
        })
    };
    (1..bytes.saturating_sub(masked.len())).filter(|at| is_there(*at)).count()
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn search(_: &[u8]) -> usize {
    0
}

#[cfg(target_arch = "wasm32")]
const MASK: u8 = 0x5a;
