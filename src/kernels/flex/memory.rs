//! Memory for results: a pass allocates and frees some hundred megabytes, and what the system gives page by page is slow
//! to get.

/// Zeros to write a result to, on large pages where the system has them.
pub(super) fn zeros(count: usize) -> Vec<f32> {
    let values = vec![0.0; count];
    on_large_pages(&values);
    values
}

/// Asks Linux to back memory that has not been written yet by large pages: a fault for each 2 MB instead of each 4 KB.
#[cfg(target_os = "linux")]
fn on_large_pages(values: &[f32]) {
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
fn on_large_pages(_: &[f32]) {}
