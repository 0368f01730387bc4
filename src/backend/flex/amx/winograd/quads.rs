//! The convolution, and the division of its rows of pixels into quads.

use super::super::convolution_operands::ConvolutionOperands;
use super::super::layout::Line;
use super::super::tile_element::TileElement;
use super::transforms::{KERNEL, POSITIONS, QUAD};

/// A 3x3 convolution by minimal filtering.
pub(crate) struct Winograd<'a, E> {
    pub(crate) operands: ConvolutionOperands<'a, E>,
}

impl<E: TileElement> Winograd<'_, E> {
    /// Quads in a row of pixels. The last one may end in zeros.
    pub(super) fn quads(&self) -> usize {
        self.operands.shape[3].div_ceil(QUAD)
    }

    /// Lines in a row of quads, over all parts.
    pub(super) fn row(&self) -> usize {
        self.quads() * self.operands.tiles.parts()
    }

    /// Returns the number of rows of pixels whose lines take up to `bytes` at this number of
    /// channel blocks. At least one.
    pub(super) fn rows_in(&self, bytes: usize, blocks: usize) -> usize {
        let rows = bytes / size_of::<Line>() / (POSITIONS * blocks * self.row());
        rows.saturating_sub(KERNEL - 1).max(1)
    }
}
