//! Detects a single-coloured output for a picture with several colours, which indicates wrong
//! weights or too low a precision.

#[cfg(doc)]
use crate::backend::PictureOperations;
use crate::error::{Error, Result};
use crate::pixels::planes::Planes;
use crate::simd::vectorised;
use rayon::prelude::*;

/// The smallest and the largest value of each channel, clamped to 0..1.
#[derive(Default)]
pub(crate) struct Extremes(Vec<[f32; 2]>);

impl Extremes {
    /// Combines the result of [`PictureOperations::extremes`] for a tensor in -1..1.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteOutput`] if a value is NaN or infinite.
    pub(crate) fn from_parts(parts: &[f32], channels: usize) -> Result<Self> {
        let (parts, _) = parts.as_chunks::<3>();
        if parts.iter().any(|&[_, _, broken]| broken != 0.0) {
            return Err(Error::NonFiniteOutput);
        }
        let unit = |value: f32| ((value + 1.0) * 0.5).clamp(0.0, 1.0);
        let channel_range = |parts: &[[f32; 3]]| {
            let parts = parts.iter();
            parts.fold([1.0_f32, 0.0_f32], |[min, max], &[low, high, _]| {
                [min.min(unit(low)), max.max(unit(high))]
            })
        };
        let channels = parts.chunks_exact(parts.len() / channels);
        Ok(Self(channels.map(channel_range).collect()))
    }

    /// Maps planes from -1..1 to 0..1 in place, and includes their values in the extremes.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteOutput`] if a value is NaN or infinite.
    pub(crate) fn include(&mut self, planes: &mut Planes) -> Result<()> {
        self.0.resize(planes.channels, [1.0, 0.0]);
        for (channel, [min, max]) in self.0.iter_mut().enumerate() {
            let shares = planes.plane_mut(channel).par_chunks_mut(1 << 16);
            let wider = |a: ValueRange, b: ValueRange| ValueRange {
                min: a.min.min(b.min),
                max: a.max.max(b.max),
                finite: a.finite & b.finite,
            };
            let range = shares.map(to_unit).reduce(ValueRange::default, wider);
            if !range.finite {
                return Err(Error::NonFiniteOutput);
            }
            *min = min.min(range.min.max(0.0));
            *max = max.max(range.max.min(1.0));
        }
        Ok(())
    }

    /// Returns whether no channel varies by more than one 8-bit level.
    pub(crate) fn have_single_colour(&self) -> bool {
        self.0.iter().all(|[min, max]| max - min <= 1.0 / 255.0)
    }
}

/// The range of some values, and whether all of them are finite.
struct ValueRange {
    min: f32,
    max: f32,
    finite: bool,
}

impl Default for ValueRange {
    fn default() -> Self {
        Self {
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            finite: true,
        }
    }
}

/// Maps values from -1..1 to 0..1 in place and returns their range.
fn to_unit(values: &mut [f32]) -> ValueRange {
    const LANES: usize = 16;
    vectorised(
        #[inline(always)]
        || {
            let mut lanes = [[f32::INFINITY, f32::NEG_INFINITY, 0.0]; LANES];
            let (chunks, rest) = values.as_chunks_mut::<LANES>();
            for chunk in chunks.iter_mut().map(|chunk| &mut chunk[..]).chain([rest]) {
                for (value, [min, max, broken]) in chunk.iter_mut().zip(&mut lanes) {
                    *value = (*value + 1.0) * 0.5;
                    // `f32::min` handles NaN at the cost of two more instructions.
                    *min = if *value < *min { *value } else { *min };
                    *max = if *value > *max { *value } else { *max };
                    // A finite value adds zero, any other value adds NaN.
                    *broken += *value * 0.0;
                }
            }
            let mut range = ValueRange::default();
            for [min, max, broken] in lanes {
                range.min = range.min.min(min);
                range.max = range.max.max(max);
                range.finite &= broken == 0.0;
            }
            range
        },
    )
}

/// Returns whether the standard deviation of a channel exceeds four 8-bit levels. Noise and specks
/// on a flat picture, which a model may remove, stay below.
pub(crate) fn varies(planes: &Planes) -> bool {
    (0..planes.channels).any(|channel| {
        let plane = planes.plane(channel);
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / plane.len() as f64;
        let centre = mean(&mut plane.iter().map(|&value| f64::from(value)));
        let squares = &mut plane.iter().map(|&v| (f64::from(v) - centre).powi(2));
        mean(squares).sqrt() > 4.0 / 255.0
    })
}
