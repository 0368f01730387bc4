//! The operands of a convolution of stride one, and the packing of its weights for one range of
//! input channels after another.

use super::lanes;
use super::layout::{LINE, Line, SIDE, STEP_DEPTH};
use super::output::{Bias, Output};
use super::panel::SHARED_BYTES;
use super::scratch::{SHARED_LINES, grown_to, with_scratch};
use super::tile_element::TileElement;
use super::tiles::Tiles;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Upper bound on the pixels that are packed at a time, in bytes.
pub(crate) const STRIP_BYTES: usize = 8 << 20;

/// A convolution of stride one, padded by half its odd kernel.
#[derive(Clone, Copy)]
pub(crate) struct ConvolutionOperands<'a, E> {
    pub(crate) tiles: Tiles,
    /// `[N, C, H, W]`
    pub(crate) x: &'a [E],
    pub(crate) shape: [usize; 4],
    /// `[C', C, K, K]`
    pub(crate) weight: &'a [E],
    pub(crate) kernel: usize,
    /// `[C']`
    pub(crate) bias: &'a [E],
}

impl<'a, E: TileElement> ConvolutionOperands<'a, E> {
    /// Taps of the kernel, `K * K`.
    pub(crate) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Output channels.
    pub(crate) fn channels_out(&self) -> usize {
        self.bias.len()
    }

    /// Wraps `output`, `[N, C', H, W]`, for writing by all threads.
    pub(crate) fn output<'o>(&self, output: &'o mut [MaybeUninit<E>]) -> Output<'o, E>
    where
        'a: 'o,
    {
        let [n, _, h, w] = self.shape;
        Output::new(
            output,
            [n, self.channels_out(), h * w],
            Bias::Rows(self.bias),
        )
    }

    /// Panels of 32 output channels.
    fn panels(&self) -> usize {
        self.channels_out().div_ceil(SIDE)
    }

    /// Calls `work` for one range of blocks of 32 input channels after another, with the weights of
    /// the range in panels. `pack` packs a panel, which has `lines` lines per block.
    pub(crate) fn for_channel_ranges(
        &self,
        lines: usize,
        pack: impl Fn(usize, Range<usize>, &mut [Line]) + Sync,
        mut work: impl FnMut(Range<usize>, &[Line]),
    ) {
        let blocks = self.shape[1].div_ceil(STEP_DEPTH);
        let max_blocks = match self.tiles.parts() {
            // The output in bf16 is rounded, so the sum has to be complete before it is written.
            1 => blocks,
            _ => (SHARED_BYTES / size_of::<Line>() / (self.panels() * lines)).clamp(1, blocks),
        };
        with_scratch(&SHARED_LINES, |packed| {
            let packed = grown_to(packed, self.panels() * max_blocks * lines, Line::ZERO);
            for start in (0..blocks).step_by(max_blocks) {
                let range = start..blocks.min(start + max_blocks);
                let packed = &mut packed[..self.panels() * range.len() * lines];
                let panels = packed.par_chunks_mut(range.len() * lines).enumerate();
                panels.for_each(|(panel, lines)| pack(panel, range.clone(), lines));
                work(range, packed);
            }
        });
    }

    /// Transposes the weights of 16 output channels from `first` on for a block of input channels.
    /// `rows` has a row of 16 output channels for each tap of each input channel,
    /// `[32, K * K, 16]`.
    #[inline(always)]
    pub(crate) fn transpose_weights(&self, first: usize, block: usize, rows: &mut [[f32; LINE]]) {
        let tiles = self.tiles;
        let length = self.shape[1] * self.taps();
        let start = block * STEP_DEPTH * self.taps();
        for (i, rows) in rows.as_chunks_mut::<LINE>().0.iter_mut().enumerate() {
            let mut square = [[0; LINE]; LINE];
            for (channel, square) in (first..self.channels_out()).zip(&mut square) {
                let values = &self.weight[channel * length..][..length];
                let values = values.get(start + i * LINE..).unwrap_or_default();
                *square = E::load_bits(tiles, values);
            }
            lanes::transpose(tiles, &mut square);
            *rows = square.map(|row| row.map(f32::from_bits));
        }
    }
}
