//! A memory plan: what an enlargement will hold at its worst moment, from the config and the options alone.
//!
//! The tensors of the whole way are taken and freed as the code takes and frees them, that of the UNet in
//! `unet/memory.rs`. What the planner does not see is counted by two constants.

use crate::backend::operation::Operation;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::options::padding::Edge;
use crate::options::padding::padded_side;
use crate::options::tiling::Tiling;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::restore::wrap::with_margin;
use crate::unet::{Ledger, PassMemory};
use crate::upscale::correct::REACH;

/// How an enlargement will run, and what it will hold. Made by [`GenDrPix::plan`](crate::GenDrPix::plan).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Width of the output in pixels.
    pub width: usize,
    /// Height of the output in pixels.
    pub height: usize,
    /// Passes through the UNet, over each tile: by guidance and self-ensemble; none for a fidelity of 0.
    pub passes: usize,
    /// The tiles' size and overlap, or none for the whole picture at once.
    pub tiling: Option<Tiling>,
    /// Number of tiles, 1 for the whole picture.
    pub tiles: usize,
    /// The model's weights, in bytes.
    pub weight_bytes: u64,
    /// All that is held at the worst moment, in bytes, with the weights and the result, without the program itself and the
    /// picture that is given. A GPU's pools may take more, as burn has them grow by whole pages: half as much for 512x512 pixels
    /// by the bundled model on software Vulkan, a third for 768x768.
    pub peak_bytes: u64,
}

/// What kernels keep for themselves: on `flex` the packed operands of a product, of 16 MB, and a convolution's packed pixels,
/// of 8 MB, both at most.
const SCRATCH: u64 = 24 << 20;
/// What an allocator holds beyond what is alive, per cent: glibc returns memory to the system at once only above 32 MB,
/// and what is smaller leaves holes. Found with `--example measure` and the bundled model's numbers: 14 to 36 at outputs of
/// 512x512 to 4096x4096.
const ALLOCATOR: u64 = 22;
/// Smallest tiles that a budget leads to, in cells a side: 256 pixels. Smaller ones see too little to be restored well.
const SMALLEST_TILE: usize = 32;
/// Steps in the tiles' size: they are all multiples of this, in cells.
const TILE_STEP: usize = 8;

/// What plans are made from, beside the sizes.
pub(crate) struct Planner<'a> {
    pub(crate) config: &'a GenDrPixConfig,
    /// Passes by guidance and self-ensemble.
    pub(crate) passes: usize,
    /// Tokens of the prompt.
    pub(crate) prompt: usize,
    pub(crate) attention: Attention,
    pub(crate) edge: Edge,
    /// [`Upscale::takes_all`](crate::Upscale::takes_all).
    pub(crate) takes_all: bool,
    /// Whether pictures restored as a whole are corrected [on the device](crate::upscale::on_device).
    pub(crate) on_device: bool,
    /// Bytes of the weights.
    pub(crate) weights: u64,
    /// Bytes of a value of a picture.
    pub(crate) element: u64,
    /// Bytes of a value in the model's precision.
    pub(crate) narrow: u64,
    /// [`Backend::workspace`](crate::Backend::workspace).
    pub(crate) workspace: fn(Operation, usize) -> u64,
}

impl Planner<'_> {
    /// For `pictures` of `[H, W] = size` made from `source` pixels each.
    ///
    /// # Errors
    ///
    /// [`Error::OverBudget`] when it does not fit `budget`, whatever the tiles if `tiling` leaves them open.
    pub(crate) fn plan(
        &self,
        pictures: usize,
        size: [usize; 2],
        source: usize,
        tiling: Option<Tiling>,
        budget: Option<u64>,
    ) -> Result<Plan> {
        let of = |tiling| self.with_tiling(pictures as u64, size, source as u64, tiling);
        let mut plan = of(tiling);
        let Some(budget) = budget else {
            return Ok(plan);
        };
        if plan.peak_bytes > budget && tiling.is_none() {
            let longest = size.map(|n| n.div_ceil(self.config.factor));
            let largest = longest[0].max(longest[1]).div_ceil(TILE_STEP) * TILE_STEP;
            let sides = (SMALLEST_TILE..largest).step_by(TILE_STEP).rev();
            let plans = sides.filter_map(|side| Tiling::new(side, side / 4).ok());
            for tiling in plans {
                plan = of(Some(tiling));
                if plan.peak_bytes <= budget {
                    break;
                }
            }
        }
        match plan.peak_bytes <= budget {
            true => Ok(plan),
            false => Err(Error::OverBudget {
                needed: plan.peak_bytes,
                budget,
            }),
        }
    }

    fn with_tiling(
        &self,
        pictures: u64,
        [h, w]: [usize; 2],
        source: u64,
        tiling: Option<Tiling>,
    ) -> Plan {
        let factor = self.config.factor;
        let mut ledger = Ledger::default();
        let picture = |[h, w]: [usize; 2]| {
            pictures * PICTURE_CHANNELS as u64 * h as u64 * w as u64 * self.element
        };
        // Planes on the host are in f32 whatever the backend's precision.
        let planes = |[h, w]: [usize; 2]| {
            pictures * (PICTURE_CHANNELS * size_of::<f32>()) as u64 * h as u64 * w as u64
        };
        // The picture's own planes, and those with what is beyond them.
        ledger.take(2 * pictures * source * (PICTURE_CHANNELS * size_of::<f32>()) as u64);

        let size = with_margin([h, w], self.edge, factor);
        let runs = self.passes > 0;
        let tiling = tiling.filter(|tiling| runs && !tiling.holds(size, factor));
        let (tiles, tile) = match tiling {
            Some(tiling) => tiling.tiles(size, factor),
            None => (1, size),
        };
        // Pictures that are made here are restored a row of tiles at a time, if each row may be.
        let in_bands = tiling.is_some() && source > 0 && !self.takes_all;
        let band = match in_bands {
            true => [tile[0].min(size[0]), size[1]],
            false => size,
        };
        // The rows before, as many as the correction and the overlap with the next take in.
        let strip = planes([if in_bands { band[0] + 2 * REACH } else { 0 }, w]);
        ledger.take(strip);
        // The result, 8 bits a channel. Until rows are written to it, the system has not given it.
        let result = if source > 0 {
            planes([h, w]) / size_of::<f32>() as u64
        } else {
            0
        };
        ledger.take(if in_bands { result } else { 0 });
        let x = picture(band);
        // The picture; in tiles its restored twin, too.
        ledger.take(x);
        // In f32 beside a narrower one that the model is given.
        let on_device = self.on_device && runs && source > 0 && !in_bands;
        let plain = match on_device && self.element < size_of::<f32>() as u64 {
            true => planes([h, w]),
            false => 0,
        };
        ledger.take(plain);
        let restored = if tiling.is_some() { x } else { 0 };
        ledger.take(restored);
        let pass = PassMemory {
            config: &self.config.unet,
            pictures,
            prompt: self.prompt,
            attention: self.attention,
            element: self.narrow,
            workspace: self.workspace,
        };
        // From the second on, all passes are alike.
        for i in 0..self.passes.min(2) {
            self.pass(&pass, tile, picture, &mut ledger);
            ledger.free(if i > 0 { picture(tile) } else { 0 });
        }
        ledger.free(if runs { picture(tile) } else { 0 });
        ledger.free(restored + plain + x);

        // On the device the plain resize and the restored, a smoothing, and sums before and after it. Else the restored rows, put
        // together with those before; what they become is computed a few rows at a time.
        ledger.take(match on_device {
            true => 5 * planes([h, w]),
            false if runs => planes(band),
            false => 0,
        });
        ledger.take(strip);
        ledger.take(if in_bands { 0 } else { result });
        Plan {
            width: w,
            height: h,
            passes: self.passes,
            tiling,
            tiles,
            weight_bytes: self.weights,
            peak_bytes: self.weights + SCRATCH + ledger.peak() * (100 + ALLOCATOR) / 100,
        }
    }

    /// A pass over pictures of `size`, whose output is alive after.
    fn pass(
        &self,
        pass: &PassMemory,
        size: [usize; 2],
        picture: impl Fn([usize; 2]) -> u64,
        ledger: &mut Ledger,
    ) {
        let factor = self.config.factor;
        let padded = size.map(|n| padded_side(n, factor));
        let z = picture(padded);
        // Folded with its padding.
        ledger.take(z);
        pass.forward(padded.map(|n| n / factor), ledger);
        // The step takes the place of its input. Unfolded without the padding.
        ledger.free(z);
        ledger.take(picture(size));
        ledger.free(z);
    }
}
