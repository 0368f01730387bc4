//! Memory that a thread keeps between products. Fresh pages would cost more than writing to them.

use super::layout::{Block, Line};
use std::cell::Cell;
use std::thread::LocalKey;

/// Scratch memory of a thread.
type Scratch<T> = LocalKey<Cell<T>>;

thread_local! {
    /// The panels of the operand that all threads share.
    pub(crate) static SHARED_LINES: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    /// The packed pixels of a convolution.
    pub(crate) static PIXEL_LINES: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    /// The panels of a group, and its blocks of the output.
    pub(crate) static GROUP: Cell<(Vec<Line>, Vec<Block>)> =
        const { Cell::new((Vec::new(), Vec::new())) };
}

/// Calls `work` with scratch memory, which contains the data of the previous call. The memory is
/// moved out of the cell during the call, because a thread that waits for others may begin another
/// product.
pub(crate) fn with_scratch<T: Default, R>(
    scratch: &'static Scratch<T>,
    work: impl FnOnce(&mut T) -> R,
) -> R {
    let mut value = scratch.take();
    let result = work(&mut value);
    scratch.set(value);
    result
}

/// Returns the first `count` values, after appending `fill` if there are fewer.
pub(crate) fn grown_to<T: Clone>(values: &mut Vec<T>, count: usize, fill: T) -> &mut [T] {
    if values.len() < count {
        values.resize(count, fill);
    }
    &mut values[..count]
}
