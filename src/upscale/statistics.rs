//! Matches the mean and the standard deviation of each channel to those of the plain resize.

use crate::pixels::planes::Planes;
use crate::pixels::resize::Enlarger;
use rayon::prelude::*;

/// Changes each channel of `picture` to the mean and the standard deviation of the same channel of
/// `reference`.
pub(crate) fn match_statistics(reference: &Enlarger, picture: &mut Planes) {
    let (width, height) = reference.size();
    let statistics = |sums: (f64, f64)| {
        let n = (width * height) as f64;
        let mean = sums.0 / n;
        (mean, (sums.1 / n - mean * mean).max(0.0).sqrt())
    };
    let sums = |values: &mut dyn Iterator<Item = f32>| {
        values.fold((0.0, 0.0), |(sum, squares), value| {
            let value = f64::from(value);
            (sum + value, squares + value * value)
        })
    };
    let plus = |a: (f64, f64), b: (f64, f64)| (a.0 + b.0, a.1 + b.1);
    for channel in 0..picture.channels {
        let bands = reference.bands().map(|rows| {
            let area = reference.area(channel, rows, 0..width);
            sums(&mut area.pixels().iter().map(|pixel| pixel.0))
        });
        let (mean, deviation) = statistics(bands.reduce(Default::default, plus));
        let values = picture.plane_mut(channel);
        let shares = values.par_chunks(1 << 16);
        let own = shares.map(|values| sums(&mut values.iter().copied()));
        let (own_mean, own_deviation) = statistics(own.reduce(Default::default, plus));
        // A flat channel has no contrast to scale.
        let scale = match own_deviation > 0.0 {
            true => deviation / own_deviation,
            false => 1.0,
        };
        values.par_iter_mut().for_each(|value| {
            *value = ((f64::from(*value) - own_mean) * scale + mean) as f32;
        });
    }
}
