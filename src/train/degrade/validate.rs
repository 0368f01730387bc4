//! Checks the settings of degradations.

use super::intra::MAX_QUANTISER;
use super::second_order::{DegradationRound, Interval, SecondOrderDegradation, SincConfig};
use crate::error::{Error, Result};
use std::fmt::Debug;

impl SecondOrderDegradation {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the first invalid setting: a probability or share outside 0 to 1, an
    /// interval that is out of order, not finite or out of bounds, or weights that are all zero,
    /// negative or not finite.
    pub fn validate(&self) -> Result<()> {
        for (name, round) in [("first round", &self.first), ("second round", &self.second)] {
            round.validate(name)?;
        }
        self.last_sinc.validate("end")?;
        check_share("compression_last", "end", self.compression_last)
    }
}

impl DegradationRound {
    fn validate(&self, place: &str) -> Result<()> {
        let Self {
            blur,
            resize,
            noise,
            compression,
        } = self;
        check_share("blur.probability", place, blur.probability)?;
        check_interval("blur.radius", place, blur.radius, 0, 64)?;
        blur.sinc.validate(place)?;
        check_weights("blur.forms", place, &blur.forms.weights())?;
        check_interval("blur.sigma", place, blur.sigma, 1e-3, 64.0)?;
        check_interval("blur.generalised", place, blur.generalised, 0.1, 10.0)?;
        check_interval("blur.plateau", place, blur.plateau, 0.1, 10.0)?;
        check_weights("resize", place, &[resize.up, resize.down, resize.keep])?;
        check_interval("resize.range", place, resize.range, 0.01, 8.0)?;
        if !(resize.range[0] <= 1.0 && resize.range[1] >= 1.0) {
            let reason = format!("{place}: 1 is not within {:?}", resize.range);
            return Err(fail("resize.range", reason));
        }
        check_share("noise.probability", place, noise.probability)?;
        check_share("noise.gaussian", place, noise.gaussian)?;
        check_interval("noise.sigma", place, noise.sigma, 0.0, 255.0)?;
        check_interval("noise.poisson", place, noise.poisson, 0.0, 100.0)?;
        check_share("noise.grey", place, noise.grey)?;
        check_share("compression.probability", place, compression.probability)?;
        check_share("compression.predicted", place, compression.predicted)?;
        let quantiser = compression.quantiser;
        check_interval("compression.quantiser", place, quantiser, 0, MAX_QUANTISER)?;
        let quality = compression.jpeg_quality;
        check_interval("compression.jpeg_quality", place, quality, 1, 100)?;
        let subsampling = compression.chroma_subsampling;
        check_share("compression.chroma_subsampling", place, subsampling)
    }
}

impl SincConfig {
    fn validate(&self, place: &str) -> Result<()> {
        check_share("sinc.share", place, self.share)?;
        check_interval("sinc.radius", place, self.radius, 1, 16)?;
        check_interval("sinc.cutoff", place, self.cutoff, 0.01, 1.0)?;
        let small = [self.small_cutoff, self.cutoff[1]];
        check_interval("sinc.small_cutoff", place, small, 0.01, 1.0)
    }
}

fn fail(field: &'static str, reason: String) -> Error {
    Error::Config { field, reason }
}

/// Fails unless `value`, a probability or a share, is from 0 to 1.
pub(super) fn check_share(field: &'static str, place: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(fail(
        field,
        format!("{place}: {value} is not between 0 and 1"),
    ))
}

/// Fails unless the interval is in order and within `min` to `max`.
fn check_interval<T: PartialOrd + Debug>(
    field: &'static str,
    place: &str,
    [low, high]: Interval<T>,
    min: T,
    max: T,
) -> Result<()> {
    // NaN fails this comparison.
    if low >= min && low <= high && high <= max {
        return Ok(());
    }
    Err(fail(
        field,
        format!("{place}: [{low:?}, {high:?}] is not an interval within {min:?} to {max:?}"),
    ))
}

/// Fails unless the weights are finite, not negative, and not all zero.
fn check_weights(field: &'static str, place: &str, weights: &[f64]) -> Result<()> {
    let valid = weights.iter().all(|w| (0.0..f64::INFINITY).contains(w));
    let sum: f64 = weights.iter().sum();
    if valid && sum > 0.0 && sum.is_finite() {
        return Ok(());
    }
    Err(fail(
        field,
        format!("{place}: {weights:?} must be finite weights of at least 0, with one above zero"),
    ))
}
