//! What a caller can ask of a restoration.

use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::options::padding::{Edge, Padding};
use crate::options::progress::{Cancel, Observer, Phase, Progress, Watch};
use crate::options::tiling::Tiling;

/// Options of [`GenDrPix::restore`](crate::GenDrPix::restore), which [`Upscale`](crate::Upscale) has as well.
///
/// ```
/// use gendr_pix::{Padding, Restore};
///
/// let options = Restore::new()
///     .guidance(1.2)
///     .ensemble(vec![Padding::new(4, 4), Padding::new(0, 0)]);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Restore {
    pub(crate) guidance: Option<f64>,
    pub(crate) ensemble: Option<Vec<Padding>>,
    pub(crate) edge: Edge,
    pub(crate) tiling: Option<Tiling>,
    pub(crate) attention: Attention,
    pub(crate) memory_budget: Option<u64>,
    pub(crate) observer: Option<Observer>,
    pub(crate) cancel: Option<Cancel>,
}

impl Restore {
    /// Returns the defaults: the guidance and the paddings that the model recommends, the whole picture at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The guidance scale `w` of PadCFG. 1 runs no negative pass. A larger scale pushes the result further away from bad
    /// quality and costs a second pass. A smaller one stays nearer to the plain resize. Default: the model's
    /// recommendation.
    #[must_use]
    pub fn guidance(mut self, guidance: f64) -> Self {
        self.guidance = Some(guidance);
        self
    }

    /// The paddings of the self-ensemble. The model runs once for each padding (twice with guidance), and the results are
    /// averaged. More paddings leave less of the 8x8 pattern. Default: the model's recommendation.
    #[must_use]
    pub fn ensemble(mut self, paddings: Vec<Padding>) -> Self {
        self.ensemble = Some(paddings);
        self
    }

    /// How the picture continues beyond its edges where it is padded, and, with [`Edge::Wrap`], where it is resized.
    /// Default: [`Edge::Reflect`].
    #[must_use]
    pub fn edge(mut self, edge: Edge) -> Self {
        self.edge = edge;
        self
    }

    /// Restores tile by tile, so that the memory beyond the picture itself grows with the tile only. A picture that fits in
    /// one tile is not cut. A tile does not see the rest of the picture, so the result differs a little from that of
    /// the whole picture, everywhere. [`ColorFix::MeanStd`](crate::ColorFix::MeanStd) and [`Edge::Wrap`] need the whole
    /// restored picture, and hold it in memory. Default: the whole picture at once.
    #[must_use]
    pub fn tiling(mut self, tiling: Tiling) -> Self {
        self.tiling = Some(tiling);
        self
    }

    /// The most bytes that the work may hold by its [`Plan`](crate::Plan), weights included. The whole picture is restored
    /// at once if that fits, otherwise in the largest tiles that fit. If no tiles fit, the work fails before it starts.
    /// With [`tiling`](Self::tiling), those tiles are used or the work fails. Default: no budget.
    #[must_use]
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// How far the UNet's self-attention sees. [`Attention::Window`], usually of 64 tokens, removes most of the work for
    /// large pictures. It changes the result, since distant parts of the picture no longer attend to each other.
    /// Default: [`Attention::Global`].
    #[must_use]
    pub fn attention(mut self, attention: Attention) -> Self {
        self.attention = attention;
        self
    }

    /// Calls `observer` after each layer of each tile of each pass, and between the other steps. The call happens on the
    /// thread that asked for the work or polls it, which waits until the call returns.
    ///
    /// GPU backends queue work and return. There the progress is that of the queue, which may be well ahead of the
    /// device; the last fractions wait for the device.
    ///
    /// ```
    /// use gendr_pix::Restore;
    ///
    /// let options = Restore::new()
    ///     .on_progress(|progress| eprintln!("{:?}: {:.0} %", progress.phase, 100.0 * progress.fraction));
    /// ```
    #[must_use]
    pub fn on_progress(mut self, observer: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.observer = Some(Observer::new(observer));
        self
    }

    /// A token that stops the work with [`Error::Cancelled`], at the latest after the operation that is running: a
    /// convolution, an attention, a resize. With the bundled model and an output of 3840x2160 it took at most 0.19 s on two
    /// cores that had other work to do (`cargo test --release --test all progress -- --ignored --nocapture`). Larger
    /// pictures and models have longer operations. A GPU still computes what it has queued.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Watches a phase of the work.
    pub(crate) fn watch(&self, phase: Phase) -> Watch<'_> {
        Watch::of_phase(phase, self.observer.as_ref(), self.cancel.as_ref())
    }

    /// Checks every option for a model whose cells have sides of `factor` pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for a value out of range.
    pub(crate) fn validate(&self, factor: usize) -> Result<()> {
        let fail = |option, reason| Err(Error::Option { option, reason });
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
        self.tiling.map_or(Ok(()), |tiling| tiling.validate(factor))
    }
}
