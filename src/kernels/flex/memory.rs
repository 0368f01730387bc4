//! Memory for results: a pass allocates and frees some hundred megabytes, and what the system gives page by page is slow
//! to get.

use std::mem::MaybeUninit;

/// Zeros to write a result to, on large pages where the system has them.
pub(super) fn zeros(count: usize) -> Vec<f32> {
    let values = vec![0.0; count];
    on_large_pages(&values);
    values
}

/// `count` values as `write` leaves them, on large pages where the system has them.
///
/// # Safety
///
/// `write` writes all values, or does not return.
pub(super) unsafe fn written(
    count: usize,
    write: impl FnOnce(&mut [MaybeUninit<f32>]),
) -> Vec<f32> {
    let mut values = Vec::new();
    // SAFETY: by the caller's promise.
    unsafe { rewritten(&mut values, count, write) };
    values
}

/// [`written`], to memory that may be there already.
///
/// # Safety
///
/// `write` writes all values, or does not return.
pub(super) unsafe fn rewritten(
    values: &mut Vec<f32>,
    count: usize,
    write: impl FnOnce(&mut [MaybeUninit<f32>]),
) {
    values.clear();
    if values.capacity() < count {
        values.reserve_exact(count);
        on_large_pages(values.spare_capacity_mut());
    }
    write(&mut values.spare_capacity_mut()[..count]);
    // SAFETY: by the caller's promise the first `count` values are written.
    unsafe { values.set_len(count) };
}

/// `memory` with zeros written to it.
pub(super) fn zeroed(memory: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    memory.fill(MaybeUninit::new(0.0));
    // SAFETY: each value is written, and `MaybeUninit` has the layout of what it holds.
    unsafe { &mut *(memory as *mut [MaybeUninit<f32>] as *mut [f32]) }
}

/// Asks Linux to back memory that has not been written yet by large pages: a fault for each 2 MB instead of each 4 KB.
#[cfg(target_os = "linux")]
fn on_large_pages<T>(values: &[T]) {
    /// Below this, an allocator has the memory at hand more often than not.
    const LARGE: usize = 4 << 20;
    const PAGE: usize = 4096;
    let bytes = values.as_ptr_range();
    let start = bytes.start.addr().next_multiple_of(PAGE);
    let length = bytes.end.addr().saturating_sub(start) / PAGE * PAGE;
    if length < LARGE {
        return;
    }
    let start = values.as_ptr().with_addr(start).cast_mut().cast();
    // SAFETY: a hint on how to back whole pages of our own; it leaves their contents alone. Where it fails, pages are
    // small as ever.
    unsafe { libc::madvise(start, length, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn on_large_pages<T>(_: &[T]) {}
