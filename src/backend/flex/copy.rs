//! Copies on all cores: of views, concatenations, weighted sums, and conversions between
//! precisions.

use super::element::Element;
use super::memory::written;
use super::vector_math::vectorised;
use burn_flex::FlexTensor;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values that a thread processes at a time.
const SHARE: usize = 1 << 16;

/// Returns the values of a view whose last axis is contiguous. `None` for other views.
pub(super) fn rows<E: Element>(view: &FlexTensor) -> Option<Vec<E>> {
    let layout = view.layout();
    let (&[ref outer @ .., width], &[ref strides @ .., 1]) = (&**layout.shape(), layout.strides())
    else {
        return None;
    };
    let source = E::storage(view);
    let write = |output: &mut [MaybeUninit<E>]| {
        let rows = output.par_chunks_exact_mut(width).enumerate();
        rows.for_each(|(mut row, output)| {
            let mut start = layout.start_offset() as isize;
            for (n, stride) in outer.iter().zip(strides).rev() {
                start += (row % n) as isize * stride;
                row /= n;
            }
            copy(&source[start as usize..][..width], output);
        });
    };
    // SAFETY: the output consists of whole rows, each of which is written.
    (width > 0).then(|| unsafe { written(layout.num_elements(), write) })
}

/// Concatenates `[N, A]` and `[N, B]` to `[N, A + B]`.
pub(super) fn concatenated<E: Element>(parts: [&[E]; 2], [a, b]: [usize; 2]) -> Vec<E> {
    let pictures = [parts[0].len() / a, parts[1].len() / b];
    assert_eq!(pictures[0], pictures[1], "shapes disagree");
    assert_eq!(
        [parts[0].len(), parts[1].len()],
        [pictures[0] * a, pictures[1] * b],
        "shapes disagree"
    );
    let write = |output: &mut [MaybeUninit<E>]| {
        let pictures = output.par_chunks_exact_mut(a + b);
        let sources = parts[0]
            .par_chunks_exact(a)
            .zip(parts[1].par_chunks_exact(b));
        pictures.zip(sources).for_each(|(output, (first, second))| {
            let (to_first, to_second) = output.split_at_mut(a);
            for (from, to) in [(first, to_first), (second, to_second)] {
                let shares = from.par_chunks(SHARE).zip(to.par_chunks_mut(SHARE));
                shares.for_each(|(from, to)| copy(from, to));
            }
        });
    };
    // SAFETY: by the assertions, both parts consist of the same number of whole pictures, and both
    // are written completely.
    unsafe { written(parts[0].len() + parts[1].len(), write) }
}

/// Replaces `a` by `a * weights[0] + b * weights[1]`.
pub(super) fn mix_into<B: Element>(a: &mut [f32], b: &[B], weights: [f32; 2]) {
    let shares = a.par_chunks_mut(SHARE).zip(b.par_chunks(SHARE));
    shares.for_each(|(a, b)| {
        vectorised(
            #[inline(always)]
            || {
                for (a, b) in a.iter_mut().zip(b) {
                    *a = *a * weights[0] + b.into_f32() * weights[1];
                }
            },
        );
    });
}

/// Returns `a * weights[0] + b * weights[1]`.
pub(super) fn mixed<B: Element>(a: &[f32], b: &[B], weights: [f32; 2]) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "shapes disagree");
    let write = |sum: &mut [MaybeUninit<f32>]| {
        let parts = a.par_chunks(SHARE).zip(b.par_chunks(SHARE));
        let shares = sum.par_chunks_mut(SHARE).zip(parts);
        shares.for_each(|(sum, (a, b))| {
            vectorised(
                #[inline(always)]
                || {
                    for (sum, (a, b)) in sum.iter_mut().zip(a.iter().zip(b)) {
                        sum.write(a * weights[0] + b.into_f32() * weights[1]);
                    }
                },
            );
        });
    };
    // SAFETY: the inputs are as long as the output, so all shares are written.
    unsafe { written(a.len(), write) }
}

/// Converts values to another precision.
pub(super) fn cast<X: Element, Y: Element>(x: &[X]) -> Vec<Y> {
    let write = |output: &mut [MaybeUninit<Y>]| {
        let shares = output.par_chunks_mut(SHARE).zip(x.par_chunks(SHARE));
        shares.for_each(|(output, x)| {
            vectorised(
                #[inline(always)]
                || {
                    for (y, x) in output.iter_mut().zip(x) {
                        y.write(Y::round_from_f32(x.into_f32()));
                    }
                },
            );
        });
    };
    // SAFETY: the output has the length of the input, so each value is written.
    unsafe { written(x.len(), write) }
}

/// Adds planes of `[H', W'] = part_size` to planes of `[H, W] = size`, from the row `top` and the
/// column `left` on.
pub(super) fn add_at(
    whole: &mut [f32],
    size: [usize; 2],
    part: &[f32],
    part_size: [usize; 2],
    [top, left]: [usize; 2],
) {
    let [width, part_width] = [size[1], part_size[1]];
    let planes = whole.par_chunks_exact_mut(size[0] * width);
    let parts = part.par_chunks_exact(part_size[0] * part_width);
    planes.zip(parts).for_each(|(plane, part)| {
        let rows = plane.chunks_exact_mut(width).skip(top);
        for (row, part) in rows.zip(part.chunks_exact(part_width)) {
            let row = row[left..left + part_width].iter_mut();
            row.zip(part).for_each(|(value, part)| *value += part);
        }
    });
}

/// Copies `from` to `to`, which has the same length.
pub(super) fn copy<E: Copy>(from: &[E], to: &mut [MaybeUninit<E>]) {
    for (to, from) in to.iter_mut().zip(from) {
        to.write(*from);
    }
}
