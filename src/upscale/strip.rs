//! A picture in bands of rows: which rows are restored together, and how they are put together.

use crate::options::tiling::Tiling;
use crate::pixels::planes::Planes;
use crate::restore::tiles::weights;
use std::iter;
use std::ops::Range;

/// Rows of a picture that are restored together: a row of tiles, or all.
pub(crate) struct Band {
    pub(crate) rows: Range<usize>,
    /// Weight of each row; those of the bands that share it add up to one.
    pub(crate) weights: Vec<f32>,
}

/// How a picture is cut into bands: by the rows of its tiles, which begin and end with cells of `factor` pixels.
#[derive(Clone, Copy)]
pub(crate) struct Bands {
    pub(crate) tiling: Option<Tiling>,
    pub(crate) factor: usize,
}

impl Bands {
    /// All rows at once.
    #[cfg(feature = "latent")]
    pub(crate) const ONE: Self = Self {
        tiling: None,
        factor: 1,
    };

    /// Those of a picture of `height` pixels.
    pub(crate) fn of(self, height: usize) -> Vec<Band> {
        let Self { tiling, factor } = self;
        let cells = height.div_ceil(factor);
        let tiles = match tiling {
            Some(tiling) => tiling.cut(cells),
            None => iter::once(0..cells).collect(),
        };
        let weights = weights(&tiles, factor);
        let bands = tiles.into_iter().zip(weights);
        bands
            .map(|(tile, mut weights)| {
                let rows = tile.start * factor..height.min(tile.end * factor);
                weights.truncate(rows.len());
                Band { rows, weights }
            })
            .collect()
    }
}

/// Whole rows of a restored picture, from one of them on.
#[derive(Default)]
pub(crate) struct Strip {
    pub(crate) planes: Planes,
    /// The picture's row that is the first of these.
    pub(crate) top: usize,
}

impl Strip {
    /// Adds the restored rows of a band. Of the rows before, those from `from` on are kept.
    pub(crate) fn add(&mut self, mut planes: Planes, band: &Band, from: usize) {
        let (width, top) = (planes.width, band.rows.start);
        for channel in 0..planes.channels {
            let rows = planes.plane_mut(channel).chunks_exact_mut(width);
            for (row, &weight) in rows.zip(&band.weights) {
                if weight != 1.0 {
                    row.iter_mut().for_each(|value| *value *= weight);
                }
            }
        }
        if self.planes.height == 0 {
            *self = Self { planes, top };
            return;
        }
        let from = from.max(self.top);
        let mut both = Planes::filled(planes.channels, width, band.rows.end - from, 0.0);
        for channel in 0..planes.channels {
            let kept = &self.planes.plane(channel)[(from - self.top) * width..];
            let plane = both.plane_mut(channel);
            plane[..kept.len()].copy_from_slice(kept);
            let rows = plane[(top - from) * width..].iter_mut();
            let pairs = rows.zip(planes.plane(channel));
            pairs.for_each(|(sum, value)| *sum += value);
        }
        *self = Self {
            planes: both,
            top: from,
        };
    }

    /// Some rows as they are.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Planes {
        self.planes.rows(rows.start - self.top..rows.end - self.top)
    }

    pub(crate) fn row(&self, channel: usize, y: usize) -> &[f32] {
        let width = self.planes.width;
        &self.planes.plane(channel)[(y - self.top) * width..][..width]
    }
}
