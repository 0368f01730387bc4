//! How large tiles are, and where they lie.

use crate::error::{Error, Result};
use std::ops::Range;

/// Size and least overlap of tiles, in cells: 8 pixels of the picture a side, a pixel of the latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    side: usize,
    overlap: usize,
}

impl Default for Tiling {
    /// 64 and 16 cells, as in diffusers: 512 and 128 pixels of the picture.
    fn default() -> Self {
        Self {
            side: 64,
            overlap: 16,
        }
    }
}

impl Tiling {
    /// Tiles of `side` x `side` cells, of which neighbours share `overlap` or more.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] when `side` is zero or `overlap` is not smaller than it.
    pub fn new(side: usize, overlap: usize) -> Result<Self> {
        if overlap >= side {
            return Err(Error::Option {
                option: "tiling",
                reason: format!("an overlap of {overlap} is not smaller than the side {side}"),
            });
        }
        Ok(Self { side, overlap })
    }

    /// Whether one tile holds a picture of `size`, in cells of `factor` pixels.
    pub(crate) fn holds(self, size: [usize; 2], factor: usize) -> bool {
        size.iter().all(|n| n.div_ceil(factor) <= self.side)
    }

    /// Number of tiles of a picture of `size`, and the size of the largest, in pixels.
    pub(crate) fn tiles(self, size: [usize; 2], factor: usize) -> (usize, [usize; 2]) {
        let axes = size.map(|n| self.cut(n.div_ceil(factor)));
        let longest = |tiles: &[Range<usize>]| tiles.iter().map(Range::len).max();
        (
            axes.iter().map(Vec::len).product(),
            axes.each_ref()
                .map(|tiles| longest(tiles).unwrap_or(0) * factor),
        )
    }

    /// The tiles of an axis of `n` pixels: evenly spread, all of one length.
    pub(crate) fn cut(self, n: usize) -> Vec<Range<usize>> {
        let Self { side, overlap } = self;
        let room = n.saturating_sub(side);
        let last = room.div_ceil(side - overlap);
        (0..=last)
            .map(|i| i * room / last.max(1))
            .map(|start| start..(start + side).min(n))
            .collect()
    }
}
