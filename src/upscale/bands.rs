//! The division of a picture into bands of rows that are restored one after the other.

use crate::restore::tiles::{CellTiling, fade};
use std::ops::Range;

/// Rows of the output that are restored together: a row of tiles, or all rows.
pub(crate) struct Band {
    pub(crate) rows: Range<usize>,
    /// The blending weight of each row. The weights of all bands that share a row add up to one.
    pub(crate) weights: Vec<f32>,
}

impl Band {
    /// Returns a single band with all rows of a picture of `height` pixels.
    pub(crate) fn whole(height: usize) -> Self {
        Self {
            rows: 0..height,
            weights: vec![1.0; height],
        }
    }

    /// Returns a band for each row of tiles of a picture of `height` pixels.
    pub(crate) fn rows_of_tiles(tiling: CellTiling, height: usize) -> Vec<Self> {
        let factor = tiling.factor;
        let tiles = tiling.divide(height.div_ceil(factor));
        let weights = fade(&tiles, factor);
        let bands = tiles.into_iter().zip(weights);
        bands
            .map(|(tile, mut weights)| {
                let rows = tile.start * factor..height.min(tile.end * factor);
                weights.truncate(rows.len());
                Self { rows, weights }
            })
            .collect()
    }
}
