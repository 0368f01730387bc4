//! Whether an output is of one colour although the picture is not: weights or a precision that do not fit.

#[cfg(doc)]
use crate::backend::PictureOperations;
use crate::error::{Error, Result};
use crate::pixels::planes::Planes;
use crate::simd::vectorised;
use rayon::prelude::*;

/// The least and the largest value of each channel, cut to 0..1.
#[derive(Default)]
pub(crate) struct Extremes(Vec<[f32; 2]>);

impl Extremes {
    /// Of `channels` in -1..1, from what [`PictureOperations::extremes`] tells of their parts.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteOutput`] when a value is NaN or infinite.
    pub(crate) fn of_parts(parts: &[f32], channels: usize) -> Result<Self> {
        let (parts, _) = parts.as_chunks::<3>();
        if parts.iter().any(|&[_, _, broken]| broken != 0.0) {
            return Err(Error::NonFiniteOutput);
        }
        let unit = |value: f32| ((value + 1.0) * 0.5).clamp(0.0, 1.0);
        let of_channel = |parts: &[[f32; 3]]| {
            let parts = parts.iter();
            parts.fold([1.0_f32, 0.0_f32], |[least, most], &[low, high, _]| {
                [least.min(unit(low)), most.max(unit(high))]
            })
        };
        let channels = parts.chunks_exact(parts.len() / channels);
        Ok(Self(channels.map(of_channel).collect()))
    }

    /// Takes in planes in -1..1, which become planes in 0..1.
    ///
    /// # Errors
    ///
    /// [`Error::NonFiniteOutput`] when a value is NaN or infinite.
    pub(crate) fn see(&mut self, planes: &mut Planes) -> Result<()> {
        self.0.resize(planes.channels, [1.0, 0.0]);
        for (channel, [least, most]) in self.0.iter_mut().enumerate() {
            let shares = planes.plane_mut(channel).par_chunks_mut(1 << 16);
            let wider = |a: Seen, b: Seen| Seen {
                least: a.least.min(b.least),
                most: a.most.max(b.most),
                finite: a.finite & b.finite,
            };
            let seen = shares.map(to_unit).reduce(Seen::default, wider);
            if !seen.finite {
                return Err(Error::NonFiniteOutput);
            }
            *least = least.min(seen.least.max(0.0));
            *most = most.max(seen.most.min(1.0));
        }
        Ok(())
    }

    /// Whether all is of one colour, to half a level of 8 bits up and down.
    pub(crate) fn are_one(&self) -> bool {
        self.0
            .iter()
            .all(|[least, most]| most - least <= 1.0 / 255.0)
    }
}

/// What some values are between, and whether all of them are finite.
struct Seen {
    least: f32,
    most: f32,
    finite: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            least: f32::INFINITY,
            most: f32::NEG_INFINITY,
            finite: true,
        }
    }
}

/// Brings values from -1..1 to 0..1 and looks at them on the way.
fn to_unit(values: &mut [f32]) -> Seen {
    const LANES: usize = 16;
    vectorised(
        #[inline(always)]
        || {
            let mut lanes = [[f32::INFINITY, f32::NEG_INFINITY, 0.0]; LANES];
            let (chunks, rest) = values.as_chunks_mut::<LANES>();
            for chunk in chunks.iter_mut().map(|chunk| &mut chunk[..]).chain([rest]) {
                for (value, [least, most, broken]) in chunk.iter_mut().zip(&mut lanes) {
                    *value = (*value + 1.0) * 0.5;
                    // Not `f32::min`, whose care for NaN costs two more instructions.
                    *least = if *value < *least { *value } else { *least };
                    *most = if *value > *most { *value } else { *most };
                    // Zero of what is finite, NaN of the rest.
                    *broken += *value * 0.0;
                }
            }
            let mut seen = Seen::default();
            for [least, most, broken] in lanes {
                seen.least = seen.least.min(least);
                seen.most = seen.most.max(most);
                seen.finite &= broken == 0.0;
            }
            seen
        },
    )
}

/// Whether a channel's standard deviation is over four levels of 8 bits: more than noise on a flat picture, which a model
/// may well remove, or some specks.
pub(crate) fn varies(planes: &Planes) -> bool {
    (0..planes.channels).any(|channel| {
        let plane = planes.plane(channel);
        let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / plane.len() as f64;
        let centre = mean(&mut plane.iter().map(|&value| f64::from(value)));
        let squares = &mut plane.iter().map(|&v| (f64::from(v) - centre).powi(2));
        mean(squares).sqrt() > 4.0 / 255.0
    })
}
