//! Memory for the outputs of operations. A pass allocates and frees several hundred megabytes, and
//! the page faults of fresh memory are slow.

use half::bf16;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::thread::LocalKey;

/// Size from which memory is recycled, in bytes. For smaller sizes, the allocator usually has
/// memory available.
const LARGE: usize = 4 << 20;

/// An element type whose memory is recycled.
pub(super) trait Recycle: Sized + 'static {
    /// This thread's free list for the type.
    fn free_list() -> &'static LocalKey<RefCell<FreeList<Self>>>;
}

impl Recycle for f32 {
    fn free_list() -> &'static LocalKey<RefCell<FreeList<Self>>> {
        thread_local! {
            static FREE_LIST: RefCell<FreeList<f32>> = const { RefCell::new(FreeList::new()) };
        }
        &FREE_LIST
    }
}

impl Recycle for bf16 {
    fn free_list() -> &'static LocalKey<RefCell<FreeList<Self>>> {
        thread_local! {
            static FREE_LIST: RefCell<FreeList<bf16>> = const { RefCell::new(FreeList::new()) };
        }
        &FREE_LIST
    }
}

/// The memory that was freed within [`reusing`], oldest first. `None` outside of it.
pub(super) struct FreeList<E>(Option<Vec<Vec<E>>>);

impl<E> FreeList<E> {
    const fn new() -> Self {
        Self(None)
    }

    /// Takes memory for `count` values from the list, if an entry is large enough and at most an
    /// eighth too large. Otherwise releases entries of at least this total size, because the caller
    /// is about to allocate as much. The memory in use and in the list together therefore never
    /// exceeds the maximum that was in use.
    fn take(&mut self, count: usize) -> Option<Vec<E>> {
        let list = self.0.as_mut()?;
        let fitting = |values: &Vec<E>| (count..=count + count / 8).contains(&values.capacity());
        if let Some(i) = list.iter().rposition(fitting) {
            return Some(list.remove(i));
        }
        let mut missing = count;
        list.retain(|values| {
            let keep = missing == 0;
            missing = missing.saturating_sub(values.capacity());
            keep
        });
        None
    }
}

/// Calls `run`. During the call, the memory of large outputs is reused for later outputs of about
/// the same size, on this thread. Without this, the operating system spends a fifth of the time on
/// clearing fresh memory.
pub(super) fn reusing<T>(run: impl FnOnce() -> T) -> T {
    /// Discards the free list at the end of the outermost call, also on a panic.
    struct Scope<E: Recycle> {
        list: &'static LocalKey<RefCell<FreeList<E>>>,
        outermost: bool,
    }
    impl<E: Recycle> Scope<E> {
        fn new() -> Self {
            let list = E::free_list();
            let outermost = list.with_borrow_mut(|list| {
                let outermost = list.0.is_none();
                list.0.get_or_insert_default();
                outermost
            });
            Self { list, outermost }
        }
    }
    impl<E: Recycle> Drop for Scope<E> {
        fn drop(&mut self) {
            if self.outermost {
                self.list.replace(FreeList::new());
            }
        }
    }
    let _scopes = (Scope::<f32>::new(), Scope::<bf16>::new());
    run()
}

/// Frees `values`, or keeps their memory for a later output.
pub(super) fn free<E: Recycle>(values: Vec<E>) {
    if values.capacity() * size_of::<E>() >= LARGE {
        E::free_list().with_borrow_mut(|list| {
            if let Some(list) = &mut list.0 {
                list.push(values);
            }
        });
    }
}

/// Memory for `count` values from the free list.
fn recycled<E: Recycle>(count: usize) -> Option<Vec<E>> {
    if count * size_of::<E>() < LARGE {
        return None;
    }
    E::free_list().with_borrow_mut(|list| list.take(count))
}

/// `count` zeros, on large pages if the operating system supports them.
pub(super) fn zeros(count: usize) -> Vec<f32> {
    let values = vec![0.0; count];
    on_large_pages(&values);
    values
}

/// Returns a vector of `count` values that `write` initialises, on large pages if the operating
/// system supports them.
///
/// # Safety
///
/// `write` initialises the whole slice, or does not return.
pub(super) unsafe fn written<E: Recycle>(
    count: usize,
    write: impl FnOnce(&mut [MaybeUninit<E>]),
) -> Vec<E> {
    let mut values = recycled(count).unwrap_or_default();
    // SAFETY: by the contract of this function.
    unsafe { rewritten(&mut values, count, write) };
    values
}

/// Replaces `values` by `count` values that `write` initialises, in the same memory if it is large
/// enough.
///
/// # Safety
///
/// `write` initialises the whole slice, or does not return.
pub(super) unsafe fn rewritten<E>(
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
    // SAFETY: `write` has initialised the first `count` values, by the contract of this function.
    unsafe { values.set_len(count) };
}

/// Initialises `memory` with zeros.
pub(super) fn zeroed(memory: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    memory.fill(MaybeUninit::new(0.0));
    // SAFETY: each value is initialised, and `MaybeUninit<f32>` has the layout of `f32`.
    unsafe { &mut *(memory as *mut [MaybeUninit<f32>] as *mut [f32]) }
}

/// Asks Linux to use large pages for memory that has not been written yet. This causes one page
/// fault per 2 MB instead of per 4 KB.
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
    // SAFETY: the call is a hint for whole pages inside `values` and does not change their
    // contents. If it fails, the pages stay small.
    unsafe { libc::madvise(start, length, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn on_large_pages<T>(_: &[T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = LARGE / size_of::<f32>();

    fn filled(count: usize) -> Vec<f32> {
        // SAFETY: the closure initialises all values.
        unsafe { written(count, |values| values.fill(MaybeUninit::new(1.0))) }
    }

    #[test]
    fn memory_is_reused_within_a_scope_only() {
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
        assert!(f32::free_list().with_borrow(|list| list.0.is_none()));
        free(filled(MANY));
        assert!(f32::free_list().with_borrow(|list| list.0.is_none()));
    }

    /// The memory in use and in the free list together never exceeds the maximum that was in use.
    #[test]
    fn the_free_list_is_bounded_by_the_memory_in_use() {
        let held = || {
            f32::free_list().with_borrow(|list| {
                list.0
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
