//! The options of an enlargement and of a restoration, and the checks of their values.

pub(crate) mod attention;
pub(crate) mod color_fix;
pub(crate) mod padding;
pub(crate) mod progress;
pub(crate) mod restore;
pub(crate) mod target;
pub(crate) mod tiling;

use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::options::color_fix::ColorFix;
use crate::options::padding::{Edge, Padding};
use crate::options::progress::{Cancel, Phase, Progress, Watch};
use crate::options::restore::Restore;
use crate::options::target::{Enlargement, Target};
use crate::options::tiling::Tiling;

/// Options of [`GenDrPix::upscale_with`](crate::GenDrPix::upscale_with).
///
/// ```
/// use gendr_pix::{Padding, Upscale};
///
/// let options = Upscale::new()
///     .scale(2.0)
///     .guidance(1.2)
///     .ensemble(vec![Padding::new(4, 4), Padding::new(0, 0)]);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Upscale {
    pub(crate) target: Target,
    pub(crate) fidelity: f64,
    pub(crate) color_fix: ColorFix,
    pub(crate) max_output_pixels: u64,
    pub(crate) restore: Restore,
}

impl Default for Upscale {
    fn default() -> Self {
        Self {
            target: Target::Scale(4.0),
            fidelity: 1.0,
            color_fix: ColorFix::default(),
            max_output_pixels: 1 << 27,
            restore: Restore::default(),
        }
    }
}

impl Upscale {
    /// Returns the default options: a scale of 4, with the guidance and the paddings that the model
    /// recommends.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the ratio of output sides to input sides, at least 1 (which restores without
    /// enlarging). The same as [`target`](Self::target) with [`Target::Scale`].
    #[must_use]
    pub fn scale(self, scale: f64) -> Self {
        self.target(Target::Scale(scale))
    }

    /// Sets the size of the output. Default: a scale of 4.
    #[must_use]
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Sets how much of the model's change is kept, from 0 (the plain resize; the model does not
    /// run) to 1 (the model's output). A value `f` in between keeps the share `f` of the change in
    /// fine detail, and less in coarser structure: the octaves of about 1, 2, 4, 8 and 16 output
    /// pixels, and everything coarser, keep the shares `f`, `f^2`, ... `f^6`. Default: 1.
    ///
    /// Luma PSNR of the bundled model at x4 on two photos that were reduced to a quarter: 27.18,
    /// 27.31, 27.58, 27.98 and 28.34 dB for 0, 0.25, 0.5, 0.75 and 1.
    #[must_use]
    pub fn fidelity(mut self, fidelity: f64) -> Self {
        self.fidelity = fidelity;
        self
    }

    /// Sets how the colours of the output are matched to those of the input. Default:
    /// [`ColorFix::Wavelet`].
    #[must_use]
    pub fn color_fix(mut self, fix: ColorFix) -> Self {
        self.color_fix = fix;
        self
    }

    /// Sets the maximum number of output pixels. A larger output is refused with
    /// [`Error::OutputTooLarge`] before any work starts. Default: 2^27 (134 megapixels).
    #[must_use]
    pub fn max_output_pixels(mut self, pixels: u64) -> Self {
        self.max_output_pixels = pixels;
        self
    }

    /// Replaces all options of the restoration at once.
    #[must_use]
    pub fn restore(mut self, options: Restore) -> Self {
        self.restore = options;
        self
    }

    /// See [`Restore::guidance`].
    #[must_use]
    pub fn guidance(self, guidance: f64) -> Self {
        self.with(|restore| restore.guidance(guidance))
    }

    /// See [`Restore::ensemble`].
    #[must_use]
    pub fn ensemble(self, paddings: Vec<Padding>) -> Self {
        self.with(|restore| restore.ensemble(paddings))
    }

    /// See [`Restore::edge`].
    #[must_use]
    pub fn edge(self, edge: Edge) -> Self {
        self.with(|restore| restore.edge(edge))
    }

    /// See [`Restore::tiling`].
    #[must_use]
    pub fn tiling(self, tiling: Tiling) -> Self {
        self.with(|restore| restore.tiling(tiling))
    }

    /// See [`Restore::memory_budget`].
    #[must_use]
    pub fn memory_budget(self, bytes: u64) -> Self {
        self.with(|restore| restore.memory_budget(bytes))
    }

    /// See [`Restore::attention`].
    #[must_use]
    pub fn attention(self, attention: Attention) -> Self {
        self.with(|restore| restore.attention(attention))
    }

    /// See [`Restore::on_progress`].
    #[must_use]
    pub fn on_progress(self, observer: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.with(|restore| restore.on_progress(observer))
    }

    /// See [`Restore::cancel`].
    #[must_use]
    pub fn cancel(self, cancel: Cancel) -> Self {
        self.with(|restore| restore.cancel(cancel))
    }

    fn with(self, set: impl FnOnce(Restore) -> Restore) -> Self {
        Self {
            restore: set(self.restore),
            ..self
        }
    }

    /// Returns whether the correction needs the whole restored picture, for its statistics or for
    /// its opposite edge.
    pub(crate) fn needs_whole_picture(&self) -> bool {
        self.color_fix == ColorFix::MeanStd || self.restore.edge == Edge::Wrap
    }

    /// Returns the watch of a phase of the enlargement.
    pub(crate) fn watch(&self, phase: Phase) -> Watch<'_> {
        self.restore.watch(phase)
    }

    /// Checks every option for a model whose cells have sides of `factor` pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for a value out of range.
    pub(crate) fn validate(&self, factor: usize) -> Result<()> {
        self.target.validate()?;
        if !(0.0..=1.0).contains(&self.fidelity) {
            return Err(Error::Option {
                option: "fidelity",
                reason: format!("{} is not between 0 and 1", self.fidelity),
            });
        }
        self.restore.validate(factor)
    }

    /// Returns the enlargement of a picture of `width` x `height`.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyPicture`] for a side of zero, [`Error::Option`] for a target smaller than the
    /// picture, and [`Error::OutputTooLarge`] for more pixels than allowed.
    pub(crate) fn enlargement(&self, width: u32, height: u32) -> Result<Enlargement> {
        if width == 0 || height == 0 {
            return Err(Error::EmptyPicture { width, height });
        }
        self.target.enlarge(width, height, self.max_output_pixels)
    }
}
