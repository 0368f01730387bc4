//! What a caller can ask of an enlargement.

pub(crate) mod attention;
pub(crate) mod color_fix;
pub(crate) mod padding;
pub(crate) mod progress;
pub(crate) mod target;
pub(crate) mod tiling;

use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::options::color_fix::ColorFix;
use crate::options::padding::Edge;
use crate::options::padding::Padding;
use crate::options::progress::{Cancel, Observer, Phase, Progress, Watch};
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
    pub(crate) guidance: Option<f64>,
    pub(crate) ensemble: Option<Vec<Padding>>,
    pub(crate) edge: Edge,
    pub(crate) fidelity: f64,
    pub(crate) color_fix: ColorFix,
    pub(crate) tiling: Option<Tiling>,
    pub(crate) attention: Attention,
    pub(crate) memory_budget: Option<u64>,
    pub(crate) max_output_pixels: u64,
    pub(crate) observer: Option<Observer>,
    pub(crate) cancel: Option<Cancel>,
}

impl Default for Upscale {
    fn default() -> Self {
        Self {
            target: Target::Scale(4.0),
            guidance: None,
            ensemble: None,
            edge: Edge::default(),
            fidelity: 1.0,
            color_fix: ColorFix::default(),
            tiling: None,
            attention: Attention::default(),
            memory_budget: None,
            max_output_pixels: 1 << 27,
            observer: None,
            cancel: None,
        }
    }
}

impl Upscale {
    /// The defaults: x4, the model's recommended guidance and paddings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Output sides over input sides, from 1 (restore without enlarging) up; any number, whole or not:
    /// [`target`](Self::target) with [`Target::Scale`].
    pub fn scale(self, scale: f64) -> Self {
        self.target(Target::Scale(scale))
    }

    /// Size of the output. Default: a scale of 4.
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Guidance scale `w` of PadCFG: 1 runs no negative pass, more pushes further away from bad quality at the cost of
    /// a second pass, less stays nearer to the plain resize. Default: the model's recommendation.
    pub fn guidance(mut self, guidance: f64) -> Self {
        self.guidance = Some(guidance);
        self
    }

    /// Paddings of the self-ensemble: one pass each (two with guidance), averaged. More paddings leave less of the 8x8
    /// pattern. Default: the model's recommendation.
    pub fn ensemble(mut self, paddings: Vec<Padding>) -> Self {
        self.ensemble = Some(paddings);
        self
    }

    /// What is beyond the picture's edges where it is padded, and with [`Edge::Wrap`] where it is resized, too. Default:
    /// [`Edge::Reflect`].
    pub fn edge(mut self, edge: Edge) -> Self {
        self.edge = edge;
        self
    }

    /// How far the picture may move from the input, from 0 (the plain resize, and the model does not run) to 1 (the model).
    /// Between, fine detail is the model's by this share, and coarser structure by less: of what the model changed,
    /// octaves of about 1, 2, 4, 8 and 16 pixels of the output and all that is coarser are kept by the first to the sixth
    /// power of it. Default: 1.
    ///
    /// Luma PSNR of the bundled model at x4 on two photos that were reduced to a quarter: 27.18, 27.31, 27.58, 27.98 and
    /// 28.34 dB for 0, 0.25, 0.5, 0.75 and 1.
    pub fn fidelity(mut self, fidelity: f64) -> Self {
        self.fidelity = fidelity;
        self
    }

    /// How the colours of the model's output are held to those of the input. Default: [`ColorFix::default`].
    pub fn color_fix(mut self, fix: ColorFix) -> Self {
        self.color_fix = fix;
        self
    }

    /// Restores tile by tile, so that memory beyond the picture itself grows with the tile only. Pictures no larger than
    /// a tile are not cut. A tile does not see the rest of the picture: the result is another one than the whole's, by
    /// little, but everywhere. With [`ColorFix::MeanStd`] and [`Edge::Wrap`], which take from all of the restored picture, that
    /// is in memory as a whole. Default: the whole picture at once.
    pub fn tiling(mut self, tiling: Tiling) -> Self {
        self.tiling = Some(tiling);
        self
    }

    /// Most bytes that the enlargement may hold, weights included, by its [`Plan`](crate::Plan): the whole picture at once
    /// if that fits, else the largest tiles that do; an error before any work starts if none does. With
    /// [`tiling`](Self::tiling), those tiles or an error. Default: no budget.
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// How far the UNet's self-attention sees. [`Attention::Window`], of 64 tokens as a rule, takes most of the work out of
    /// large pictures, and changes the result by what far parts of a picture tell each other. Default:
    /// [`Attention::Global`].
    pub fn attention(mut self, attention: Attention) -> Self {
        self.attention = attention;
        self
    }

    /// Most pixels of the output; more is an error before any work starts. Default: 2^27, 134 megapixels.
    pub fn max_output_pixels(mut self, pixels: u64) -> Self {
        self.max_output_pixels = pixels;
        self
    }

    /// Has `observer` told how far the work is: after each layer of each tile of each pass, and between the other steps. It is
    /// called on the thread that asked for the enlargement or polls it, which waits for it.
    ///
    /// GPU backends queue work and return: there the progress is that of the queueing, which may be well ahead of the
    /// device, and the last fractions wait for it.
    ///
    /// ```
    /// use gendr_pix::Upscale;
    ///
    /// let options = Upscale::new()
    ///     .on_progress(|progress| eprintln!("{:?}: {:.0} %", progress.phase, 100.0 * progress.fraction));
    /// ```
    pub fn on_progress(mut self, observer: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observer));
        self
    }

    /// A token that stops the work: [`Error::Cancelled`], at the latest after the operation that is being computed: a
    /// convolution, an attention, a resize. With the bundled model and an output of 3840x2160 that was within 0.19 s, on two
    /// cores that had other work to do (`cargo test --release --test models progress -- --ignored --nocapture`); larger
    /// pictures and models have longer ones. What a GPU has queued it still computes.
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Whether all of the restored picture must be there before any of it is done: its statistics, or its other end, count.
    pub(crate) fn takes_all(&self) -> bool {
        self.color_fix == ColorFix::MeanStd || self.edge == Edge::Wrap
    }

    /// Watches a stage of an enlargement.
    pub(crate) fn watch(&self, phase: Phase) -> Watch<'_> {
        Watch::of_phase(phase, self.observer.as_ref(), self.cancel.as_ref())
    }

    /// Checks every option for a model whose cells have sides of `factor` pixels.
    pub(crate) fn validate(&self, factor: usize) -> Result<()> {
        let fail = |option, reason| Err(Error::Option { option, reason });
        self.target.validate()?;
        if !(0.0..=1.0).contains(&self.fidelity) {
            return fail("fidelity", format!("{} is not from 0 to 1", self.fidelity));
        }
        if self.attention == Attention::Window(0) {
            return fail("attention", "a window of no tokens".into());
        }
        if let Some(guidance) = self.guidance
            && !(guidance.is_finite() && guidance >= 0.0)
        {
            return fail("guidance", format!("{guidance} is not a number from 0 up"));
        }
        if let Some(ensemble) = &self.ensemble {
            if ensemble.is_empty() {
                return fail("ensemble", "holds no padding".into());
            }
            if let Some(padding) = ensemble.iter().find(|p| !p.fits(factor)) {
                return fail(
                    "ensemble",
                    format!("{padding:?} is wider than a cell of {factor} pixels"),
                );
            }
        }
        Ok(())
    }

    /// What the target means for a picture of `width` x `height`.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyPicture`] for a side of zero, [`Error::Option`] for a target smaller than the picture, and
    /// [`Error::OutputTooLarge`] for more pixels than allowed.
    pub(crate) fn enlargement(&self, width: u32, height: u32) -> Result<Enlargement> {
        if width == 0 || height == 0 {
            return Err(Error::EmptyPicture { width, height });
        }
        self.target.enlarge(width, height, self.max_output_pixels)
    }
}
