//! Pixel-unshuffle and pixel-shuffle, rows at a time on all cores.

use super::memory::written;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// A fold of a picture's `side` x `side` cells into channels.
pub(super) struct Cells {
    side: usize,
    /// Height of the picture in cells.
    rows: usize,
    /// Width of the picture in cells.
    columns: usize,
}

impl Cells {
    /// Of pictures that are `height` and `width` pixels large.
    pub(super) fn new([height, width]: [usize; 2], side: usize) -> Self {
        Self {
            side,
            rows: height / side,
            columns: width / side,
        }
    }

    /// `[N, C, H, W]` -> `[N, C * side * side, H / side, W / side]`.
    pub(super) fn fold(&self, pixels: &[f32]) -> Vec<f32> {
        let &Self {
            side,
            rows,
            columns,
        } = self;
        let plane = rows * columns;
        assert_eq!(pixels.len() % (side * side * plane), 0, "shapes disagree");
        let write = |cells: &mut [MaybeUninit<f32>]| {
            // The channels that one line of the cells goes to lie side by side.
            let lines = cells.par_chunks_mut(side * plane).enumerate();
            lines.for_each(|(index, channels)| {
                let (picture, line) = (index / side, index % side);
                for row in 0..rows {
                    let start = ((picture * rows + row) * side + line) * side * columns;
                    let source = &pixels[start..start + side * columns];
                    for (pixel, channel) in channels.chunks_exact_mut(plane).enumerate() {
                        let target = &mut channel[row * columns..][..columns];
                        for (value, cell) in target.iter_mut().zip(source.chunks_exact(side)) {
                            value.write(cell[pixel]);
                        }
                    }
                }
            });
        };
        // SAFETY: whole pictures by the assertion; all columns of all rows of each channel are written.
        unsafe { written(pixels.len(), write) }
    }

    /// The inverse of [`fold`](Self::fold).
    pub(super) fn unfold(&self, cells: &[f32]) -> Vec<f32> {
        let &Self {
            side,
            rows,
            columns,
        } = self;
        let plane = rows * columns;
        assert_eq!(cells.len() % (side * side * plane), 0, "shapes disagree");
        let write = |pixels: &mut [MaybeUninit<f32>]| {
            let lines = pixels.par_chunks_mut(side * columns).enumerate();
            lines.for_each(|(index, target)| {
                let (line, row) = (index % side, index / side % rows);
                let picture = index / (side * rows);
                for pixel in 0..side {
                    let channel = (picture * side + line) * side + pixel;
                    let source = &cells[channel * plane + row * columns..][..columns];
                    for (cell, value) in target.chunks_exact_mut(side).zip(source) {
                        cell[pixel].write(*value);
                    }
                }
            });
        };
        // SAFETY: whole pictures by the assertion; all pixels of all cells of each line are written.
        unsafe { written(cells.len(), write) }
    }
}
