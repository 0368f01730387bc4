//! The configuration of a GenDR-Pix model. The header of a bundle contains it as JSON.

use crate::error::{Error, Result};
use crate::options::padding::Padding;
use crate::restore::onestep::{OneStep, Prediction};
use crate::restore::shuffle::cell_channels;
use crate::unet::UNetConfig;
use serde::{Deserialize, Serialize};

/// Configuration of a [`GenDrPix`](crate::GenDrPix) model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenDrPixConfig {
    /// Configuration of the UNet.
    pub unet: UNetConfig,
    /// Side of a cell in pixels: the factor of pixel unshuffle and pixel shuffle. The UNet has
    /// `3 * factor^2` input and output channels.
    pub factor: usize,
    /// The fixed timestep. Stable Diffusion was trained with `0.0..=1000.0`.
    pub timestep: f64,
    /// The diffusion step, which computes the picture from the UNet's prediction.
    pub onestep: OneStep,
    /// Recommended guidance scale, for callers that set none. 1 means no guidance.
    pub guidance: f64,
    /// Recommended paddings of the self-ensemble, for callers that set none. A single padding means
    /// no ensemble.
    pub ensemble: Vec<Padding>,
}

impl GenDrPixConfig {
    /// Returns the paper's model on Stable Diffusion 2.1's UNet.
    ///
    /// The paper states neither the timestep nor the kind of prediction. Here they are 500, the
    /// middle of the training range, and noise, which SD 2.1-base predicts.
    #[must_use]
    pub fn sd21() -> Self {
        Self {
            unet: UNetConfig::sd21(),
            factor: 8,
            timestep: 500.0,
            onestep: OneStep::paper(Prediction::Noise),
            guidance: 1.0,
            ensemble: vec![Padding::CENTRED],
        }
    }

    /// Returns the bundled model, which is small enough for a CPU: see [`UNetConfig::nano`].
    #[must_use]
    pub fn nano() -> Self {
        Self {
            unet: UNetConfig::nano(),
            // The difference between the plain resize and the original is about a tenth of the
            // range. Predictions are then about one.
            onestep: OneStep::residual(0.1),
            // The four paddings that are multiples of an input pixel at a scale of 4. The mean of
            // the results is slightly closer to the original than a single result, and has less of
            // the 8x8 pattern.
            ensemble: [(4, 4), (0, 0), (4, 0), (0, 4)]
                .map(|(top, left)| Padding::new(top, left))
                .to_vec(),
            ..Self::sd21()
        }
    }

    /// Checks that the fields agree with each other.
    ///
    /// # Errors
    ///
    /// The errors of [`UNetConfig::validate`] and [`OneStep::validate`], and [`Error::Config`] if
    /// the factor is zero, if the UNet's channels are not `3 * factor^2`, if the timestep or the
    /// guidance is negative or not finite, if the ensemble is empty, or if a padding is wider than
    /// a cell.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        self.unet.validate()?;
        self.onestep.validate()?;
        if self.factor == 0 {
            return fail("factor", "is zero: it must be at least 1".into());
        }
        let channels = cell_channels(self.factor);
        let why = format!("pixel unshuffle reads cells of {0}x{0} pixels", self.factor);
        validate_channels(&self.unet, [channels; 2], &why)?;
        validate_run(self.timestep, self.guidance, &self.ensemble, self.factor)
    }
}

/// Checks the fields for the passes, which the configs of all models contain.
///
/// # Errors
///
/// [`Error::Config`] if the timestep or the guidance is negative or not finite, if the ensemble is
/// empty, or if a padding is wider than a cell.
pub(crate) fn validate_run(
    timestep: f64,
    guidance: f64,
    ensemble: &[Padding],
    factor: usize,
) -> Result<()> {
    let fail = |field, reason| Err(Error::Config { field, reason });
    for (field, value) in [("timestep", timestep), ("guidance", guidance)] {
        if !(value.is_finite() && value >= 0.0) {
            return fail(
                field,
                format!("{value} is not a finite number of at least 0"),
            );
        }
    }
    if ensemble.is_empty() {
        return fail("ensemble", "is empty: it needs at least one padding".into());
    }
    if let Some(padding) = ensemble.iter().find(|p| !p.fits(factor)) {
        return fail(
            "ensemble",
            format!("{padding:?} is wider than a cell of {factor} pixels"),
        );
    }
    Ok(())
}

/// Checks the UNet's input and output channels.
///
/// # Errors
///
/// [`Error::Config`] if they are not `expected`. `why` explains these numbers in the text of the
/// error.
pub(crate) fn validate_channels(unet: &UNetConfig, expected: [usize; 2], why: &str) -> Result<()> {
    let ends = [
        ("in_channels", unet.in_channels),
        ("out_channels", unet.out_channels),
    ];
    for ((field, found), expected) in ends.into_iter().zip(expected) {
        if found != expected {
            let reason = format!("is {found}, but {why}: expected {expected}");
            return Err(Error::Config { field, reason });
        }
    }
    Ok(())
}
