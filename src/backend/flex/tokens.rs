//! Pixels as tokens and back: matrices turned in blocks, on all cores.

use super::element::Element;
use super::memory::written;
use super::simd::vectorised;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Side of a block: a cache line of values.
const SIDE: usize = 16;

/// Each picture's matrix of `rows` x `columns` as one of `columns` x `rows`, plus `added`.
pub(super) fn turned<S: Element, O: Element>(
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
    // SAFETY: whole pictures by the assertion; of each strip all rows are written.
    unsafe { written(source.len(), write) }
}

/// The columns of `source` from `first` on as the rows of `output`.
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
            let place = j * rows + top..j * rows + top + height;
            let output = output[place.clone()].iter_mut();
            let values = output.zip(block.iter().map(|row| row[j]));
            match added {
                None => {
                    values.for_each(|(output, value)| _ = output.write(O::rounded(value.wide())))
                }
                Some(added) => values
                    .zip(&added[place])
                    .for_each(|((output, value), added)| {
                        output.write(O::rounded(added.wide() + value.wide()));
                    }),
            }
        }
    }
}
