//! What the settings can be.

use super::intra::MAX_QUANTISER;
use super::two_order::{Bounds, Round, Sinc, TwoOrder};
use crate::error::{Error, Result};
use std::fmt::Debug;

impl TwoOrder {
    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the first setting at fault: a probability or share outside of 0 to 1, bounds that are not in
    /// order, not finite or outside of what the setting can be, or weights of which none is above zero.
    pub fn validate(&self) -> Result<()> {
        for (name, round) in [("first round", &self.first), ("second round", &self.second)] {
            round.validate(name)?;
        }
        self.last_sinc.validate("end")?;
        share("compression_last", "end", self.compression_last)
    }
}

impl Round {
    fn validate(&self, place: &str) -> Result<()> {
        let Self {
            blur,
            resize,
            noise,
            compression,
        } = self;
        share("blur.probability", place, blur.probability)?;
        bounds("blur.radius", place, blur.radius, 0, 64)?;
        blur.sinc.validate(place)?;
        weights("blur.forms", place, &blur.forms.weights())?;
        bounds("blur.sigma", place, blur.sigma, 1e-3, 64.0)?;
        bounds("blur.generalised", place, blur.generalised, 0.1, 10.0)?;
        bounds("blur.plateau", place, blur.plateau, 0.1, 10.0)?;
        weights("resize", place, &[resize.up, resize.down, resize.keep])?;
        bounds("resize.range", place, resize.range, 0.01, 8.0)?;
        if !(resize.range[0] <= 1.0 && resize.range[1] >= 1.0) {
            let reason = format!("{place}: 1 is not within {:?}", resize.range);
            return Err(fail("resize.range", reason));
        }
        share("noise.probability", place, noise.probability)?;
        share("noise.gaussian", place, noise.gaussian)?;
        bounds("noise.sigma", place, noise.sigma, 0.0, 255.0)?;
        bounds("noise.poisson", place, noise.poisson, 0.0, 100.0)?;
        share("noise.grey", place, noise.grey)?;
        share("compression.probability", place, compression.probability)?;
        share("compression.predicted", place, compression.predicted)?;
        let quantiser = compression.quantiser;
        bounds("compression.quantiser", place, quantiser, 0, MAX_QUANTISER)?;
        let quality = compression.jpeg_quality;
        bounds("compression.jpeg_quality", place, quality, 1, 100)?;
        let subsampling = compression.chroma_subsampling;
        share("compression.chroma_subsampling", place, subsampling)
    }
}

impl Sinc {
    fn validate(&self, place: &str) -> Result<()> {
        share("sinc.share", place, self.share)?;
        bounds("sinc.radius", place, self.radius, 1, 16)?;
        bounds("sinc.cutoff", place, self.cutoff, 0.01, 1.0)?;
        let small = [self.small_cutoff, self.cutoff[1]];
        bounds("sinc.small_cutoff", place, small, 0.01, 1.0)
    }
}

fn fail(field: &'static str, reason: String) -> Error {
    Error::Config { field, reason }
}

/// Fails unless `value`, a probability or a share, is from 0 to 1.
pub(super) fn share(field: &'static str, place: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(fail(field, format!("{place}: {value} is not from 0 to 1")))
}

/// Fails unless the bounds are in order and within `least` and `most`.
fn bounds<T: PartialOrd + Debug>(
    field: &'static str,
    place: &str,
    [low, high]: Bounds<T>,
    least: T,
    most: T,
) -> Result<()> {
    // Written so that NaN fails.
    if low >= least && low <= high && high <= most {
        return Ok(());
    }
    Err(fail(
        field,
        format!("{place}: [{low:?}, {high:?}] is not in order from {least:?} to {most:?}"),
    ))
}

/// Fails unless `weights` can be drawn in proportion to.
fn weights(field: &'static str, place: &str, weights: &[f64]) -> Result<()> {
    let valid = weights.iter().all(|w| (0.0..f64::INFINITY).contains(w));
    let sum: f64 = weights.iter().sum();
    if valid && sum > 0.0 && sum.is_finite() {
        return Ok(());
    }
    Err(fail(
        field,
        format!("{place}: {weights:?} are not weights with one above zero"),
    ))
}
