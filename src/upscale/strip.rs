//! The restored rows that the correction still needs, blended from bands.

use crate::pixels::planes::Planes;
use crate::upscale::bands::Band;
use std::ops::Range;

/// Consecutive rows of a restored picture, over its whole width.
#[derive(Default)]
pub(crate) struct Strip {
    pub(crate) planes: Planes,
    /// The index in the picture of the first row of `planes`.
    pub(crate) top: usize,
}

impl Strip {
    /// Adds the restored rows of a band, multiplied by its weights. Drops the rows before `from`.
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

    /// Returns a copy of `rows`, counted in the picture.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Planes {
        self.planes.rows(rows.start - self.top..rows.end - self.top)
    }

    /// Returns row `y` of the picture in one channel.
    pub(crate) fn row(&self, channel: usize, y: usize) -> &[f32] {
        let width = self.planes.width;
        &self.planes.plane(channel)[(y - self.top) * width..][..width]
    }
}
