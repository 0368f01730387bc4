//! Transposition of matrices in blocks, on all cores. It converts pixels to tokens and back.

use super::element::Element;
use super::memory::written;
use super::vector_math::vectorised;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Rows and columns of a block. A row is a cache line of f32 values.
const SIDE: usize = 16;

/// Transposes the `rows` x `columns` matrix of each picture, and adds `added`.
pub(super) fn transposed<S: Element, O: Element>(
    source: &[S],
    [rows, columns]: [usize; 2],
    added: Option<&[O]>,
) -> Vec<O> {
    let picture = rows * columns;
    assert_eq!(source.len() % picture, 0, "shapes disagree");
    assert!(
        added.is_none_or(|added| added.len() == source.len()),
        "shapes disagree"
    );
    let write = |output: &mut [MaybeUninit<O>]| {
        let pictures = output.par_chunks_mut(picture).enumerate();
        pictures.for_each(|(i, output)| {
            let start = i * picture;
            let source = &source[start..start + picture];
            let added = added.map(|added| &added[start..start + picture]);
            let strips = output.par_chunks_mut(SIDE * rows).enumerate();
            strips.for_each(|(strip, output)| {
                let added = added.map(|added| &added[strip * SIDE * rows..][..output.len()]);
                vectorised(
                    #[inline(always)]
                    || write_strip(source, columns, strip * SIDE, added, output),
                );
            });
        });
    };
    // SAFETY: the pictures are complete by the assertion, and all rows of each strip are written.
    unsafe { written(source.len(), write) }
}

/// Writes the columns of `source` from `first` on as the rows of `output`.
#[inline(always)]
fn write_strip<S: Element, O: Element>(
    source: &[S],
    columns: usize,
    first: usize,
    added: Option<&[O]>,
    output: &mut [MaybeUninit<O>],
) {
    let rows = source.len() / columns;
    let width = output.len() / rows;
    for top in (0..rows).step_by(SIDE) {
        let height = SIDE.min(rows - top);
        let mut block = [[S::default(); SIDE]; SIDE];
        for (i, values) in block.iter_mut().enumerate().take(height) {
            let start = (top + i) * columns + first;
            values[..width].copy_from_slice(&source[start..start + width]);
        }
        for j in 0..width {
            let range = j * rows + top..j * rows + top + height;
            let output = output[range.clone()].iter_mut();
            let values = output.zip(block.iter().map(|row| row[j]));
            match added {
                None => values.for_each(|(output, value)| {
                    _ = output.write(O::round_from_f32(value.into_f32()))
                }),
                Some(added) => values
                    .zip(&added[range])
                    .for_each(|((output, value), added)| {
                        output.write(O::round_from_f32(added.into_f32() + value.into_f32()));
                    }),
            }
        }
    }
}
