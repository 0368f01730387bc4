//! Whether an output is of one colour although the picture is not: weights or a precision that do not fit.

#[cfg(doc)]
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::planes::Planes;
use rayon::prelude::*;

/// The least and the largest value of each channel, cut to 0..1.
#[derive(Default)]
pub(crate) struct Extremes(Vec<[f32; 2]>);

impl Extremes {
    /// Of `channels` in -1..1, from what [`Backend::extremes`] tells of their parts.
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

    pub(crate) fn see(&mut self, planes: &Planes) {
        self.0.resize(planes.channels, [1.0, 0.0]);
        for (channel, [least, most]) in self.0.iter_mut().enumerate() {
            let shares = planes.plane(channel).par_chunks(1 << 16);
            let of_shares = shares.map(|values| {
                let values = values.iter().map(|value| value.clamp(0.0, 1.0));
                values.fold([1.0_f32, 0.0_f32], |[least, most], value| {
                    [least.min(value), most.max(value)]
                })
            });
            let wider = |a: [f32; 2], b: [f32; 2]| [a[0].min(b[0]), a[1].max(b[1])];
            [*least, *most] = of_shares.reduce(|| [*least, *most], wider);
        }
    }

    /// Whether all is of one colour, to half a level of 8 bits up and down.
    pub(crate) fn are_one(&self) -> bool {
        self.0
            .iter()
            .all(|[least, most]| most - least <= 1.0 / 255.0)
    }
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
