//! Memory for results: a pass allocates and frees some hundred megabytes, and what the system gives page by page is slow
//! to get.

use std::cell::RefCell;
use std::mem::MaybeUninit;

/// Below this an allocator has memory at hand more often than not, in bytes.
const LARGE: usize = 4 << 20;

thread_local! {
    /// What was freed within [`reusing`], oldest first; none outside of it.
    static FREED: RefCell<Option<Vec<Vec<f32>>>> = const { RefCell::new(None) };
}

/// Runs `run`, within which the memory of large results is used again for later ones of about their size, on this thread. The
/// system clears what it gives: for a fifth of the time, without this.
pub(super) fn reusing<T>(run: impl FnOnce() -> T) -> T {
    /// Ends what it began, even by a panic.
    struct Scope {
        outermost: bool,
    }
    impl Drop for Scope {
        fn drop(&mut self) {
            if self.outermost {
                FREED.take();
            }
        }
    }
    let outermost = FREED.with_borrow_mut(|freed| {
        let outermost = freed.is_none();
        freed.get_or_insert_default();
        outermost
    });
    let _scope = Scope { outermost };
    run()
}

/// Frees `values`, or keeps their memory for a later result.
pub(super) fn free(values: Vec<f32>) {
    if values.capacity() * size_of::<f32>() >= LARGE {
        FREED.with_borrow_mut(|freed| {
            if let Some(freed) = freed {
                freed.push(values);
            }
        });
    }
}

/// Memory for `count` values, if there is some that was freed and not much too large. If not, as much is given back to the
/// system as will be asked of it: what is held is never more than the most that was in use.
fn freed(count: usize) -> Option<Vec<f32>> {
    if count * size_of::<f32>() < LARGE {
        return None;
    }
    FREED.with_borrow_mut(|freed| {
        let freed = freed.as_mut()?;
        let fitting = |values: &Vec<f32>| (count..=count + count / 8).contains(&values.capacity());
        if let Some(i) = freed.iter().rposition(fitting) {
            return Some(freed.remove(i));
        }
        let mut missing = count;
        freed.retain(|values| {
            let keep = missing == 0;
            missing = missing.saturating_sub(values.capacity());
            keep
        });
        None
    })
}

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
    let mut values = freed(count).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = LARGE / size_of::<f32>();

    fn filled(count: usize) -> Vec<f32> {
        // SAFETY: all values are written.
        unsafe { written(count, |values| values.fill(MaybeUninit::new(1.0))) }
    }

    #[test]
    fn memory_is_used_again_within_a_scope_only() {
        let address = |values: &Vec<f32>| values.as_ptr().addr();
        reusing(|| {
            let (first, second) = (filled(2 * MANY), filled(MANY));
            let (at_first, at_second) = (address(&first), address(&second));
            reusing(|| free(first));
            free(second);
            let again = filled(2 * MANY - MANY / 8);
            assert_eq!(
                (address(&again), again.len()),
                (at_first, 2 * MANY - MANY / 8)
            );
            assert_eq!(address(&filled(MANY)), at_second);
        });
        assert!(FREED.with_borrow(Option::is_none));
        free(filled(MANY));
        assert!(FREED.with_borrow(Option::is_none));
    }

    /// What is freed and in use together is never more than was in use at a time.
    #[test]
    fn no_more_is_held_than_was_in_use() {
        let held = || {
            FREED.with_borrow(|freed| {
                freed
                    .as_ref()
                    .unwrap()
                    .iter()
                    .map(Vec::capacity)
                    .sum::<usize>()
            })
        };
        reusing(|| {
            for size in [3, 5, 9, 2, 7, 20, 1] {
                let before = held();
                let values = filled(size * MANY);
                assert!(held() + values.capacity() <= before.max(values.capacity()));
                free(values);
            }
            assert!(held() <= 20 * MANY);
        });
    }
}
