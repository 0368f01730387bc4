//! Packing of the transformed quads and weights.

use super::super::super::vector_math::vectorised;
use super::super::lanes;
use super::super::layout::{LINE, Line, SIDE, STEP_DEPTH};
use super::super::panel::{store_by_row, store_by_tile};
use super::super::tile_element::TileElement;
use super::quads::Winograd;
use super::transforms::{KERNEL, POSITIONS, Pixel, QUAD, input_transform, weight_transform};
use rayon::prelude::*;
use std::array::from_fn;
use std::ops::Range;

/// Rows of pixels that a thread packs at a time.
const ROWS: usize = 4;

impl<E: TileElement> Winograd<'_, E> {
    /// Packs the transformed weights of 32 output channels over a range of channel blocks. A
    /// position and block has a step for each row of the kernel.
    pub(super) fn pack_weights(&self, panel: usize, range: Range<usize>, lines: &mut [Line]) {
        let tiles = self.operands.tiles;
        let taps = self.operands.taps();
        let step = tiles.step();
        let mut values = vec![[0.0; LINE]; STEP_DEPTH * taps];
        let positions = lines.chunks_exact_mut(range.len() * KERNEL * step);
        let mut positions: Vec<&mut [Line]> = positions.collect();
        vectorised(
            #[inline(always)]
            || {
                for (i, block) in range.enumerate() {
                    for half in 0..2 {
                        let channel = panel * SIDE + half * LINE;
                        self.operands.transpose_weights(channel, block, &mut values);
                        for (ky, pair) in (0..KERNEL).flat_map(|ky| (0..LINE).map(move |i| (ky, i)))
                        {
                            let row = 2 * pair * taps + ky * KERNEL;
                            let first = weight_transform(tiles, &values[row..]);
                            let second = weight_transform(tiles, &values[row + taps..]);
                            let line = (i * KERNEL + ky) * step + half * LINE + pair;
                            for (position, lines) in positions.iter_mut().enumerate() {
                                let parts = lanes::split(tiles, first[position], second[position]);
                                store_by_tile(tiles, parts, lines, line);
                            }
                        }
                    }
                }
            },
        );
    }

    /// Packs the transformed quads of `rows`, and of the rows above and below that contribute to
    /// them. The planes of a position and a block are `plane` lines apart.
    pub(super) fn pack_rows(
        &self,
        picture: usize,
        range: Range<usize>,
        rows: Range<usize>,
        plane: usize,
        lines: &mut [Line],
    ) {
        let row = self.row();
        // Row 0 is the row of zeros above the picture.
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
                match (y + i)
                    .checked_sub(1)
                    .filter(|y| *y < self.operands.shape[2])
                {
                    Some(y) => self.pack_row(picture, block, y, pixels, lines),
                    None => lines.into_iter().for_each(|lines| lines.fill(Line::ZERO)),
                }
            }
        });
    }

    /// Packs the transformed quads of row `y`.
    fn pack_row(
        &self,
        picture: usize,
        block: usize,
        y: usize,
        pixels: &mut Vec<Pixel>,
        mut lines: [&mut [Line]; POSITIONS],
    ) {
        let [_, channels, h, w] = self.operands.shape;
        let tiles = self.operands.tiles;
        let row = |i: usize| {
            let channel = block * STEP_DEPTH + i;
            let start = ((picture * channels + channel) * h + y) * w;
            match channel < channels {
                true => &self.operands.x[start..start + w],
                false => &[],
            }
        };
        vectorised(
            #[inline(always)]
            || {
                // The pixels before and after the row stay zero.
                pixels.resize(w.next_multiple_of(LINE) + 2, Pixel::default());
                for x in (0..w).step_by(LINE) {
                    for k in 0..2 {
                        let mut square = [[0; LINE]; LINE];
                        for (pair, values) in square.iter_mut().enumerate() {
                            let row = row(2 * pair + k).get(x..).unwrap_or_default();
                            *values = E::load_bits(tiles, row);
                        }
                        lanes::transpose(tiles, &mut square);
                        for (pixel, values) in pixels[1 + x..].iter_mut().zip(square) {
                            pixel[k] = values;
                        }
                    }
                }
                for quad in 0..w.div_ceil(QUAD) {
                    let inputs = &pixels[QUAD * quad..][..POSITIONS];
                    let even = input_transform(tiles, inputs, 0);
                    let odd = input_transform(tiles, inputs, 1);
                    for (position, lines) in lines.iter_mut().enumerate() {
                        let parts = lanes::split(tiles, even[position], odd[position]);
                        store_by_row(tiles, parts, lines, quad);
                    }
                }
            },
        );
    }
}
