//! Pixel unshuffle and pixel shuffle, row by row on all cores.

use super::copy::copy;
use super::memory::written;
use crate::options::padding::{Edge, Padding};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// The division of padded pictures into cells of `side` x `side` pixels.
pub(super) struct Cells {
    pub(super) side: usize,
    /// Height and width of a picture.
    pub(super) size: [usize; 2],
    pub(super) padding: Padding,
    /// Height and width with the padding, multiples of `side`.
    pub(super) padded: [usize; 2],
}

impl Cells {
    /// Divides pictures without padding, whose sides are multiples of `side`.
    pub(super) fn without_padding(size: [usize; 2], side: usize) -> Self {
        Self {
            side,
            size,
            padding: Padding::NONE,
            padded: size,
        }
    }

    /// `[N, C, H, W]` -> `[N, C * side * side, H' / side, W' / side]`, with `[H', W'] = padded`.
    pub(super) fn unshuffle(&self, pixels: &[f32], edge: Edge) -> Vec<f32> {
        let &Self {
            side,
            size: [height, width],
            padding: Padding { top, left, .. },
            padded,
        } = self;
        let [rows, columns] = padded.map(|n| n / side);
        let plane = rows * columns;
        assert_eq!(pixels.len() % (height * width), 0, "shapes disagree");
        let pictures = pixels.len() / (height * width);
        let source_of = |i: usize, before: usize, n| edge.source(i as isize - before as isize, n);
        let before: Vec<usize> = (0..left).map(|x| source_of(x, left, width)).collect();
        let after: Vec<usize> = (left + width..padded[1])
            .map(|x| source_of(x, left, width))
            .collect();
        let write = |cells: &mut [MaybeUninit<f32>]| {
            // The channels for the same line of the cells are adjacent.
            let lines = cells.par_chunks_mut(side * plane).enumerate();
            lines.for_each_init(
                Vec::new,
                |line_of_pixels: &mut Vec<f32>, (index, channels)| {
                    let (picture, line) = (index / side, index % side);
                    for row in 0..rows {
                        let y = source_of(row * side + line, top, height);
                        let source = &pixels[(picture * height + y) * width..][..width];
                        line_of_pixels.clear();
                        line_of_pixels.extend(before.iter().map(|&x| source[x]));
                        line_of_pixels.extend_from_slice(source);
                        line_of_pixels.extend(after.iter().map(|&x| source[x]));
                        for (pixel, channel) in channels.chunks_exact_mut(plane).enumerate() {
                            let target = &mut channel[row * columns..][..columns];
                            let cells = line_of_pixels.chunks_exact(side);
                            for (value, cell) in target.iter_mut().zip(cells) {
                                value.write(cell[pixel]);
                            }
                        }
                    }
                },
            );
        };
        assert!(top + height <= padded[0] && left + width <= padded[1]);
        // SAFETY: by the assertion, a line consists of `columns` whole cells. All columns of all
        // rows of each channel are written.
        unsafe { written(pictures * side * side * plane, write) }
    }

    /// The inverse of [`unshuffle`](Self::unshuffle), without the padding.
    pub(super) fn shuffle(&self, cells: &[f32]) -> Vec<f32> {
        let &Self {
            side,
            size: [height, width],
            padding: Padding { top, left, .. },
            padded,
        } = self;
        let [rows, columns] = padded.map(|n| n / side);
        let plane = rows * columns;
        assert_eq!(cells.len() % (side * side * plane), 0, "shapes disagree");
        let pictures = cells.len() / (side * side * plane);
        assert!(top + height <= padded[0] && left + width <= padded[1]);
        let write = |pixels: &mut [MaybeUninit<f32>]| {
            let lines = pixels.par_chunks_mut(width).enumerate();
            let line = || vec![0.0; padded[1]];
            lines.for_each_init(line, |line_of_pixels, (index, target)| {
                let (picture, y) = (index / height, index % height + top);
                let (row, line) = (y / side, y % side);
                for pixel in 0..side {
                    let channel = (picture * side + line) * side + pixel;
                    let source = &cells[channel * plane + row * columns..][..columns];
                    for (cell, value) in line_of_pixels.chunks_exact_mut(side).zip(source) {
                        cell[pixel] = *value;
                    }
                }
                copy(&line_of_pixels[left..left + width], target);
            });
        };
        // SAFETY: all pixels of each line are written.
        unsafe { written(pictures * height * width, write) }
    }
}
