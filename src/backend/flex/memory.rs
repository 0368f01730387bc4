//! Memory for results: a pass allocates and frees some hundred megabytes, and what the system gives page by page is slow
//! to get.

use super::element::Element;
use half::bf16;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::thread::LocalKey;

/// Below this an allocator has memory at hand more often than not, in bytes.
const LARGE: usize = 4 << 20;

/// What was freed within [`reusing`], oldest first; none outside of it.
pub(super) struct Freed<E>(Option<Vec<Vec<E>>>);

impl<E> Freed<E> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Memory for `count` values, if there is some that was freed and not much too large. If not, as much is given back to
    /// the system as will be asked of it: what is held is never more than the most that was in use.
    fn take(&mut self, count: usize) -> Option<Vec<E>> {
        let freed = self.0.as_mut()?;
        let fitting = |values: &Vec<E>| (count..=count + count / 8).contains(&values.capacity());
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
    }
}

/// Runs `run`, within which the memory of large results is used again for later ones of about their size, on this thread. The
/// system clears what it gives: for a fifth of the time, without this.
pub(super) fn reusing<T>(run: impl FnOnce() -> T) -> T {
    /// Ends what it began, even by a panic.
    struct Scope<E: Element> {
        freed: &'static LocalKey<RefCell<Freed<E>>>,
        outermost: bool,
    }
    impl<E: Element> Scope<E> {
        fn new() -> Self {
            let freed = E::freed();
            let outermost = freed.with_borrow_mut(|freed| {
                let outermost = freed.0.is_none();
                freed.0.get_or_insert_default();
                outermost
            });
            Self { freed, outermost }
        }
    }
    impl<E: Element> Drop for Scope<E> {
        fn drop(&mut self) {
            if self.outermost {
                self.freed.replace(Freed::new());
            }
        }
    }
    let _scopes = (Scope::<f32>::new(), Scope::<bf16>::new());
    run()
}

/// Frees `values`, or keeps their memory for a later result.
pub(super) fn free<E: Element>(values: Vec<E>) {
    if values.capacity() * size_of::<E>() >= LARGE {
        E::freed().with_borrow_mut(|freed| {
            if let Some(freed) = &mut freed.0 {
                freed.push(values);
            }
        });
    }
}

fn freed<E: Element>(count: usize) -> Option<Vec<E>> {
    if count * size_of::<E>() < LARGE {
        return None;
    }
    E::freed().with_borrow_mut(|freed| freed.take(count))
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
pub(super) unsafe fn written<E: Element>(
    count: usize,
    write: impl FnOnce(&mut [MaybeUninit<E>]),
) -> Vec<E> {
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
pub(super) unsafe fn rewritten<E: Element>(
    values: &mut Vec<E>,
    count: usize,
    write: impl FnOnce(&mut [MaybeUninit<E>]),
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
        assert!(f32::freed().with_borrow(|freed| freed.0.is_none()));
        free(filled(MANY));
        assert!(f32::freed().with_borrow(|freed| freed.0.is_none()));
    }

    /// What is freed and in use together is never more than was in use at a time.
    #[test]
    fn no_more_is_held_than_was_in_use() {
        let held = || {
            f32::freed().with_borrow(|freed| {
                freed
                    .0
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
