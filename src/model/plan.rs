//! The memory plan: predicts the peak memory of an enlargement from the config and the options
//! alone.
//!
//! The ledger records every allocation and deallocation of an enlargement, in the order of the
//! code. `unet/memory.rs` adds those of the UNet. Two constants account for memory that the ledger
//! does not cover.

use crate::backend::operation::Operation;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::options::attention::Attention;
use crate::options::padding::{Edge, padded_side};
use crate::options::tiling::Tiling;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::restore::tiles::CellTiling;
use crate::restore::wrap::with_margin;
use crate::unet::{Ledger, PassMemory};
use crate::upscale::correct::REACH;

/// How an enlargement will run, and how much memory it will need. Returned by
/// [`GenDrPix::plan`](crate::GenDrPix::plan).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Width of the output in pixels.
    pub width: usize,
    /// Height of the output in pixels.
    pub height: usize,
    /// Number of passes through the UNet for each tile, from guidance and self-ensemble. 0 for a
    /// fidelity of 0.
    pub passes: usize,
    /// The tiles, or `None` for the whole picture at once.
    pub tiling: Option<Tiling>,
    /// Number of tiles. 1 for the whole picture.
    pub tiles: usize,
    /// Size of the model's weights in bytes.
    pub weight_bytes: u64,
    /// Peak memory in bytes, including the weights and the result, without the program itself and
    /// the input picture. The memory pools of a GPU may take more, since burn enlarges them by
    /// whole pages. With the bundled model on software Vulkan, they took half as much again for
    /// 512x512 pixels, and a third more for 768x768.
    pub peak_bytes: u64,
}

/// Scratch memory that kernels keep. On `flex`, these are the packed operands of a product, at most
/// 16 MB, and the packed pixels of a convolution, at most 8 MB.
const SCRATCH_BYTES: u64 = 24 << 20;
/// Memory that the allocator takes in addition to the memory in use, in per cent. glibc returns
/// only blocks above 32 MB to the system at once, and smaller blocks leave holes. Measured with
/// `--example measure` for the bundled model: 14 to 36 per cent for outputs of 512x512 to
/// 4096x4096.
const ALLOCATOR_PERCENT: u64 = 22;
/// Side of the smallest tile that a budget can lead to, in cells: 256 pixels. A smaller tile would
/// show the model too little of the picture.
const SMALLEST_TILE: usize = 32;
/// The sides of tiles that a budget leads to are multiples of this, in cells.
const TILE_STEP: usize = 8;

/// The properties of a model and of the options that determine a plan.
pub(super) struct Planner<'a> {
    pub(super) config: &'a GenDrPixConfig,
    /// Number of passes, from guidance and self-ensemble.
    pub(super) passes: usize,
    /// Number of tokens of the prompt.
    pub(super) prompt_tokens: usize,
    pub(super) attention: Attention,
    pub(super) edge: Edge,
    /// Size of the weights in bytes.
    pub(super) weight_bytes: u64,
    /// Size of one value of a picture tensor in bytes.
    pub(super) picture_element: u64,
    /// Size of one value in the model's precision in bytes.
    pub(super) layer_element: u64,
    /// [`Backend::workspace`](crate::Backend::workspace).
    pub(super) workspace: fn(Operation, usize) -> u64,
}

/// The picture that is enlarged. A restoration of tensors has none.
#[derive(Clone, Copy)]
pub(super) struct InputPicture {
    /// Number of pixels.
    pub(super) pixels: u64,
    /// [`Upscale::needs_whole_picture`](crate::Upscale::needs_whole_picture).
    pub(super) needs_whole_picture: bool,
    /// Whether the picture is corrected [on the device](crate::upscale::on_device) if it is
    /// restored as a whole.
    pub(super) corrected_on_device: bool,
}

impl Planner<'_> {
    /// Returns the plan for `pictures` outputs of `[H, W] = size`.
    ///
    /// # Errors
    ///
    /// [`Error::OverBudget`] if neither the whole picture nor any tiles fit `budget`, or if
    /// `tiling` is given and does not fit.
    pub(super) fn plan(
        &self,
        pictures: usize,
        size: [usize; 2],
        input: Option<InputPicture>,
        tiling: Option<Tiling>,
        budget: Option<u64>,
    ) -> Result<Plan> {
        let plan_with = |tiling| self.plan_with(pictures as u64, size, input, tiling);
        let mut plan = plan_with(tiling);
        let Some(budget) = budget else {
            return Ok(plan);
        };
        if plan.peak_bytes > budget && tiling.is_none() {
            let factor = self.config.factor;
            let longest = size[0].max(size[1]).div_ceil(factor);
            let largest = longest.div_ceil(TILE_STEP) * TILE_STEP;
            for side in (SMALLEST_TILE..largest).step_by(TILE_STEP).rev() {
                plan = plan_with(Some(Tiling::new(side * factor, side / 4 * factor)?));
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

    /// Returns the plan for a given tiling, or without tiles.
    fn plan_with(
        &self,
        pictures: u64,
        [h, w]: [usize; 2],
        input: Option<InputPicture>,
        tiling: Option<Tiling>,
    ) -> Plan {
        let factor = self.config.factor;
        let mut ledger = Ledger::default();
        let picture = |[h, w]: [usize; 2]| {
            pictures * PICTURE_CHANNELS as u64 * h as u64 * w as u64 * self.picture_element
        };
        // Planes on the host are always in f32.
        let planes = |[h, w]: [usize; 2]| {
            pictures * (PICTURE_CHANNELS * size_of::<f32>()) as u64 * h as u64 * w as u64
        };
        // The planes of the input, without and with a margin.
        let input_pixels = input.map_or(0, |input| input.pixels);
        ledger.take(2 * pictures * input_pixels * (PICTURE_CHANNELS * size_of::<f32>()) as u64);

        let size = with_margin([h, w], self.edge, factor);
        let runs = self.passes > 0;
        let in_cells = |tiling| CellTiling::new(tiling, factor);
        let tiling = tiling.filter(|&tiling| runs && !in_cells(tiling).fits(size));
        let (tiles, tile) = tiling.map_or((1, size), |tiling| in_cells(tiling).tiles(size));
        // One row of tiles is restored at a time, unless the correction needs the whole picture.
        let in_bands = tiling.is_some() && input.is_some_and(|input| !input.needs_whole_picture);
        let band = match in_bands {
            true => [tile[0].min(size[0]), size[1]],
            false => size,
        };
        // The rows before the band that are needed for the correction and for the overlap with the
        // next band.
        let strip = planes([if in_bands { band[0] + 2 * REACH } else { 0 }, w]);
        ledger.take(strip);
        // The result has 8 bits per channel. The operating system provides its pages as rows are
        // written.
        let result = match input {
            Some(_) => planes([h, w]) / size_of::<f32>() as u64,
            None => 0,
        };
        ledger.take(if in_bands { result } else { 0 });
        // The resized picture and, with tiles, the restored picture.
        let x = picture(band);
        ledger.take(x);
        let on_device = runs && !in_bands && input.is_some_and(|input| input.corrected_on_device);
        // The plain resize in f32, in addition to the copy in a shorter type that the model reads.
        let plain = match on_device && self.picture_element < size_of::<f32>() as u64 {
            true => planes([h, w]),
            false => 0,
        };
        ledger.take(plain);
        let restored = if tiling.is_some() { x } else { 0 };
        ledger.take(restored);
        let pass = PassMemory {
            config: &self.config.unet,
            pictures,
            prompt: self.prompt_tokens,
            attention: self.attention,
            element: self.layer_element,
            workspace: self.workspace,
        };
        // Later passes need the same memory as the second one.
        for i in 0..self.passes.min(2) {
            self.pass(&pass, tile, picture, &mut ledger);
            ledger.free(if i > 0 { picture(tile) } else { 0 });
        }
        ledger.free(if runs { picture(tile) } else { 0 });
        ledger.free(restored + plain + x);

        // On the device: the plain resize, the restored picture, a smoothing, and the sums before
        // and after it. On the host: the restored rows, in addition to the strip. They are
        // corrected a few rows at a time.
        ledger.take(match on_device {
            true => 5 * planes([h, w]),
            false if runs => planes(band),
            false => 0,
        });
        ledger.take(strip);
        ledger.take(if in_bands { 0 } else { result });
        let peak = ledger.peak() * (100 + ALLOCATOR_PERCENT) / 100;
        Plan {
            width: w,
            height: h,
            passes: self.passes,
            tiling,
            tiles,
            weight_bytes: self.weight_bytes,
            peak_bytes: self.weight_bytes + SCRATCH_BYTES + peak,
        }
    }

    /// Records a pass over pictures of `size`. Its output stays allocated.
    fn pass(
        &self,
        pass: &PassMemory,
        size: [usize; 2],
        picture: impl Fn([usize; 2]) -> u64,
        ledger: &mut Ledger,
    ) {
        let factor = self.config.factor;
        let padded = size.map(|n| padded_side(n, factor));
        // The padded picture after pixel unshuffle.
        let z = picture(padded);
        ledger.take(z);
        pass.forward(padded.map(|n| n / factor), ledger);
        // The one step reuses the memory of its input. Pixel shuffle returns the result without its
        // padding.
        ledger.free(z);
        ledger.take(picture(size));
        ledger.free(z);
    }
}
