//! The options of a restoration.

use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::options::padding::{Edge, Padding};
use crate::options::progress::{Cancel, Observer, Phase, Progress, Watch};
use crate::options::tiling::Tiling;

/// Options of [`GenDrPix::restore`](crate::GenDrPix::restore). [`Upscale`](crate::Upscale) includes
/// them.
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
    /// Returns the default options: the guidance and the paddings that the model recommends, and
    /// the whole picture at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the guidance scale `w` of PadCFG, at least 0. A scale of 1 runs no negative pass. A
    /// larger scale pushes the result further away from bad quality and costs a second pass. A
    /// smaller scale keeps the result closer to the plain resize. Default: the model's
    /// recommendation.
    #[must_use]
    pub fn guidance(mut self, guidance: f64) -> Self {
        self.guidance = Some(guidance);
        self
    }

    /// Sets the paddings of the self-ensemble, at least one. The model runs once for each padding
    /// (twice with guidance), and the results are averaged. More paddings leave less of the 8x8
    /// pattern. Default: the model's recommendation.
    #[must_use]
    pub fn ensemble(mut self, paddings: Vec<Padding>) -> Self {
        self.ensemble = Some(paddings);
        self
    }

    /// Sets how the picture continues beyond its edges. This applies to the padding, and with
    /// [`Edge::Wrap`] also to the resize. Default: [`Edge::Reflect`].
    #[must_use]
    pub fn edge(mut self, edge: Edge) -> Self {
        self.edge = edge;
        self
    }

    /// Restores the picture tile by tile, which limits the memory in addition to the picture itself
    /// to that of one tile. A picture that fits in one tile is not divided. A tile does not see the
    /// rest of the picture, so the result differs slightly from that of the whole picture,
    /// everywhere. [`ColorFix::MeanStd`](crate::ColorFix::MeanStd) and [`Edge::Wrap`] keep the
    /// whole restored picture in memory. Default: the whole picture at once.
    #[must_use]
    pub fn tiling(mut self, tiling: Tiling) -> Self {
        self.tiling = Some(tiling);
        self
    }

    /// Sets the memory budget in bytes, including the weights, for the peak of the
    /// [`Plan`](crate::Plan). The whole picture is restored at once if that fits the budget,
    /// otherwise in the largest tiles that fit. If no tiles fit, the call returns
    /// [`Error::OverBudget`] before any work starts. If [`tiling`](Self::tiling) is set as well,
    /// the call uses those tiles or returns that error. Default: no budget.
    #[must_use]
    pub fn memory_budget(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// Sets the range of the UNet's self-attention. [`Attention::Window`], usually of 64 tokens,
    /// removes most of the work for large pictures. It changes the result, since distant parts of
    /// the picture no longer attend to each other. Default: [`Attention::Global`].
    #[must_use]
    pub fn attention(mut self, attention: Attention) -> Self {
        self.attention = attention;
        self
    }

    /// Sets a callback that receives the progress after each layer of each tile of each pass, and
    /// between the other steps. It is called on the thread that runs or polls the work, which waits
    /// until the callback returns.
    ///
    /// GPU backends queue work and return at once. On a GPU, the progress is that of the queue,
    /// which may be well ahead of the device. Only the last fractions wait for the device.
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

    /// Sets a token that can stop the work with [`Error::Cancelled`]. The work stops at the latest
    /// after the operation that is running, such as a convolution, an attention or a resize. With
    /// the bundled model and an output of 3840x2160, this took at most 0.19 s on two busy cores
    /// (`cargo test --release --test all progress -- --ignored --nocapture`). Larger pictures and
    /// models have longer operations. A GPU still computes the work that is queued.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Returns the watch of a phase of the work.
    pub(crate) fn watch(&self, phase: Phase) -> Watch<'_> {
        Watch::for_phase(phase, self.observer.as_ref(), self.cancel.as_ref())
    }

    /// Checks every option for a model whose cells have sides of `factor` pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for a value out of range.
    pub(crate) fn validate(&self, factor: usize) -> Result<()> {
        let fail = |option, reason| Err(Error::Option { option, reason });
        if self.attention == Attention::Window(0) {
            return fail(
                "attention",
                "the window has 0 tokens: it needs at least 1".into(),
            );
        }
        if let Some(guidance) = self.guidance
            && !(guidance.is_finite() && guidance >= 0.0)
        {
            return fail(
                "guidance",
                format!("{guidance} is not a finite number of at least 0"),
            );
        }
        if let Some(ensemble) = &self.ensemble {
            if ensemble.is_empty() {
                return fail("ensemble", "is empty: it needs at least one padding".into());
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
