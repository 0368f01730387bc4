//! Quads and weights at the six positions, as the tiles read them.

use super::super::super::element::Element;
use super::super::super::simd::vectorised;
use super::super::lanes::{self, LINE};
use super::super::panel::{Line, STEP_DEPTH};
use super::super::tiles::SIDE;
use super::super::weights::Weights;
use super::transforms::{Pixel, of_pixels, of_weights};
use super::{KERNEL, POSITIONS, QUAD, Winograd};
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// Rows of pixels that a thread packs at a time.
const ROWS: usize = 4;

impl<E: Element> Winograd<'_, E> {
    /// A panel of 32 output channels over a range of channel blocks: of each position and block, a step for each row of the
    /// kernel.
    pub(super) fn pack_weights(
        &self,
        weights: &Weights<E>,
        panel: usize,
        range: Range<usize>,
        lines: &mut [Line],
    ) {
        let tiles = self.tiles;
        let step = tiles.step();
        let mut values = vec![[0.0; LINE]; STEP_DEPTH * weights.places];
        let positions = lines.chunks_exact_mut(range.len() * KERNEL * step);
        let mut positions: Vec<&mut [Line]> = positions.collect();
        vectorised(
            #[inline(always)]
            || {
                for (i, block) in range.enumerate() {
                    for half in 0..2 {
                        weights.sort(tiles, panel * SIDE + half * LINE, block, &mut values);
                        for (ky, pair) in (0..KERNEL).flat_map(|ky| (0..LINE).map(move |i| (ky, i)))
                        {
                            let row = 2 * pair * weights.places + ky * KERNEL;
                            let first = of_weights(tiles, &values[row..]);
                            let second = of_weights(tiles, &values[row + weights.places..]);
                            let at = (i * KERNEL + ky) * step + half * LINE + pair;
                            for (position, lines) in positions.iter_mut().enumerate() {
                                let split = lanes::split(tiles, first[position], second[position]);
                                let parts = split.into_iter().enumerate();
                                for (part, line) in parts.take(tiles.parts()) {
                                    lines[at + part * SIDE] = Line(line);
                                }
                            }
                        }
                    }
                }
            },
        );
    }

    /// The lines of some rows of quads, and of the rows that these reach; planes of a position and a block are `plane` lines
    /// apart.
    pub(super) fn pack_rows(
        &self,
        picture: usize,
        range: Range<usize>,
        rows: Range<usize>,
        plane: usize,
        lines: &mut [Line],
    ) {
        let row = self.row();
        // Counted from the row of zeros above the picture.
        let rows = rows.start..rows.end + KERNEL - 1;
        let planes = lines
            .chunks_mut(plane)
            .map(|lines| &mut lines[..rows.len() * row]);
        let mut planes: Vec<_> = planes.map(|lines| lines.chunks_mut(ROWS * row)).collect();
        let mut parts = Vec::new();
        for (i, block) in range.clone().enumerate() {
            for y in rows.clone().step_by(ROWS) {
                let lines: [_; POSITIONS] = from_fn(|position| {
                    let plane = &mut planes[position * range.len() + i];
                    plane.next().expect("the rows of a plane")
                });
                parts.push((block, y, lines));
            }
        }
        let parts = parts.into_par_iter();
        parts.for_each_init(Vec::new, |pixels, (block, y, mut lines)| {
            for i in 0..lines[0].len() / row {
                let lines = lines.each_mut().map(|lines| &mut lines[i * row..][..row]);
                match (y + i).checked_sub(1).filter(|y| *y < self.shape[2]) {
                    Some(y) => self.pack_row(picture, block, y, pixels, lines),
                    None => lines.into_iter().for_each(|lines| lines.fill(Line::ZERO)),
                }
            }
        });
    }

    /// The lines of the quads of row `y`.
    fn pack_row(
        &self,
        picture: usize,
        block: usize,
        y: usize,
        pixels: &mut Vec<Pixel>,
        mut lines: [&mut [Line]; POSITIONS],
    ) {
        let [_, channels, h, w] = self.shape;
        let tiles = self.tiles;
        let parts = tiles.parts();
        let row = |i: usize| {
            let channel = block * STEP_DEPTH + i;
            let start = ((picture * channels + channel) * h + y) * w;
            match channel < channels {
                true => &self.x[start..start + w],
                false => &[],
            }
        };
        vectorised(
            #[inline(always)]
            || {
                // What is before the row, and after it, stays zero.
                pixels.resize(w.next_multiple_of(LINE) + 2, Pixel::default());
                for x in (0..w).step_by(LINE) {
                    for k in 0..2 {
                        let mut square = [[0; LINE]; LINE];
                        for (pair, values) in square.iter_mut().enumerate() {
                            let row = row(2 * pair + k).get(x..).unwrap_or_default();
                            *values = E::bits(tiles, row);
                        }
                        lanes::transpose(tiles, &mut square);
                        for (pixel, values) in pixels[1 + x..].iter_mut().zip(square) {
                            pixel[k] = values;
                        }
                    }
                }
                for quad in 0..w.div_ceil(QUAD) {
                    let reached = &pixels[QUAD * quad..][..POSITIONS];
                    let even = of_pixels(tiles, reached, 0);
                    let odd = of_pixels(tiles, reached, 1);
                    for (position, lines) in lines.iter_mut().enumerate() {
                        let split = lanes::split(tiles, even[position], odd[position]);
                        for (to, line) in lines[quad * parts..][..parts].iter_mut().zip(split) {
                            *to = Line(line);
                        }
                    }
                }
            },
        );
    }
}
