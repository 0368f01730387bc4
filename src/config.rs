//! The numbers of a whole model: what a bundle's header holds beside the weights.

use crate::error::{Error, Result};
use crate::options::padding::Padding;
use crate::restore::onestep::{OneStep, Prediction};
use crate::restore::shuffle::cell_channels;
use crate::unet::UNetConfig;
use serde::{Deserialize, Serialize};

/// Config of a [`GenDrPix`](crate::GenDrPix) model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenDrPixConfig {
    /// The UNet.
    pub unet: UNetConfig,
    /// Side of the pixel cells that are folded into channels; the UNet has `3 * factor^2` channels at both ends.
    pub factor: usize,
    /// The fixed timestep, `0.0..=1000.0` in Stable Diffusion's training.
    pub timestep: f64,
    /// From the UNet's prediction to the picture.
    pub onestep: OneStep,
    /// Recommended guidance scale, used where the caller sets none; 1 is no guidance.
    pub guidance: f64,
    /// Recommended paddings of the self-ensemble, used where the caller sets none; one is no ensemble.
    pub ensemble: Vec<Padding>,
}

impl GenDrPixConfig {
    /// The paper's model on Stable Diffusion 2.1's UNet.
    ///
    /// The paper leaves the timestep's number and the prediction open; here they are 500, the middle of the training
    /// range, and noise, what SD 2.1-base predicts.
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

    /// The bundled model, made for a CPU: see [`UNetConfig::nano`].
    pub fn nano() -> Self {
        Self {
            unet: UNetConfig::nano(),
            // What is wrong with a picture is some tenth of its range: predictions are then about one.
            onestep: OneStep::residual(0.1),
            // The four ways to cut at whole pixels of an input four times smaller: their mean is a little nearer to the
            // original, with less of the 8x8 pattern, than one.
            ensemble: [(4, 4), (0, 0), (4, 0), (0, 4)]
                .map(|(top, left)| Padding::new(top, left))
                .to_vec(),
            ..Self::sd21()
        }
    }

    /// Checks that the numbers agree with each other.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for those of [`UNetConfig::validate`] and [`OneStep::validate`], UNet channels other than
    /// `3 * factor^2`, a timestep or guidance that is negative or not finite, an empty ensemble, or a padding beyond
    /// the cell.
    pub fn validate(&self) -> Result<()> {
        let fail = |field, reason| Err(Error::Config { field, reason });
        self.unet.validate()?;
        self.onestep.validate()?;
        if self.factor == 0 {
            return fail("factor", "is zero".into());
        }
        let channels = cell_channels(self.factor);
        let why = format!("cells of {0}x{0} pixels become its channels", self.factor);
        validate_channels(&self.unet, [channels; 2], &why)?;
        validate_run(self.timestep, self.guidance, &self.ensemble, self.factor)
    }
}

/// Checks what every model's config says of its passes.
///
/// # Errors
///
/// [`Error::Config`] for a timestep or guidance that is negative or not finite, an empty ensemble, or a padding beyond
/// the cell.
pub(crate) fn validate_run(
    timestep: f64,
    guidance: f64,
    ensemble: &[Padding],
    factor: usize,
) -> Result<()> {
    let fail = |field, reason| Err(Error::Config { field, reason });
    for (field, value) in [("timestep", timestep), ("guidance", guidance)] {
        if !(value.is_finite() && value >= 0.0) {
            return fail(field, format!("{value} is not a finite number from 0 up"));
        }
    }
    if ensemble.is_empty() {
        return fail("ensemble", "holds no padding".into());
    }
    if let Some(padding) = ensemble.iter().find(|p| !p.fits(factor)) {
        return fail(
            "ensemble",
            format!("{padding:?} is wider than a cell of {factor} pixels"),
        );
    }
    Ok(())
}

/// Checks that a UNet has the channels that a model's two ends have.
///
/// # Errors
///
/// [`Error::Config`] when it has others; `why` says where these come from.
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
