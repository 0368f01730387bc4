//! A convolution's weights, packed for one range of input channels after another.

use super::super::element::Element;
use super::lanes::{self, LINE};
use super::panel::{Line, STEP_DEPTH};
use super::tiles::{SIDE, Tiles};
use super::{SHARED, SHARED_LINES, at_least, with_kept};
use rayon::prelude::*;
use std::ops::Range;

/// The weights of a convolution, `[C', C, K, K]`.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a, E> {
    pub(super) values: &'a [E],
    pub(super) channels_out: usize,
    pub(super) channels: usize,
    /// K K
    pub(super) places: usize,
}

impl<E: Element> Weights<'_, E> {
    /// Panels of 32 output channels.
    pub(super) fn panels(&self) -> usize {
        self.channels_out.div_ceil(SIDE)
    }

    /// Does `work` for one range of blocks of 32 input channels after another, with a panel after another that `pack` has
    /// made for it, of `lines` lines a block.
    pub(super) fn for_ranges(
        &self,
        tiles: Tiles,
        lines: usize,
        pack: impl Fn(usize, Range<usize>, &mut [Line]) + Sync,
        mut work: impl FnMut(Range<usize>, &[Line]),
    ) {
        let blocks = self.channels.div_ceil(STEP_DEPTH);
        let most = match tiles.parts() {
            // What is rounded is to be summed up before.
            1 => blocks,
            _ => (SHARED / size_of::<Line>() / (self.panels() * lines)).clamp(1, blocks),
        };
        with_kept(&SHARED_LINES, |packed| {
            let packed = at_least(packed, self.panels() * most * lines, Line::ZERO);
            for start in (0..blocks).step_by(most) {
                let range = start..blocks.min(start + most);
                let packed = &mut packed[..self.panels() * range.len() * lines];
                let panels = packed.par_chunks_mut(range.len() * lines).enumerate();
                panels.for_each(|(panel, lines)| pack(panel, range.clone(), lines));
                work(range, packed);
            }
        });
    }

    /// The weights of 16 output channels from `first` on, side by side, of a block of input channels: a row for each place,
    /// input channel after input channel.
    #[inline(always)]
    pub(super) fn sort(&self, tiles: Tiles, first: usize, block: usize, rows: &mut [[f32; LINE]]) {
        let length = self.channels * self.places;
        let start = block * STEP_DEPTH * self.places;
        for (i, rows) in rows.as_chunks_mut::<LINE>().0.iter_mut().enumerate() {
            let mut square = [[0; LINE]; LINE];
            for (channel, square) in (first..self.channels_out).zip(&mut square) {
                let values = &self.values[channel * length..][..length];
                let values = values.get(start + i * LINE..).unwrap_or_default();
                *square = E::bits(tiles, values);
            }
            lanes::transpose(tiles, &mut square);
            *rows = square.map(|row| row.map(f32::from_bits));
        }
    }
}
