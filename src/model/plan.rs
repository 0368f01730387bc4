//! A memory plan: how much an enlargement holds at its worst moment, from the config and the options alone.
//!
//! The ledger books the tensors of the whole way as the code allocates and frees them; those of the UNet come from
//! `unet/memory.rs`. Two constants account for what the ledger does not see.

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

/// How an enlargement will run, and how much memory it will hold. Made by [`GenDrPix::plan`](crate::GenDrPix::plan).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Width of the output in pixels.
    pub width: usize,
    /// Height of the output in pixels.
    pub height: usize,
    /// Passes through the UNet over each tile, by guidance and self-ensemble; 0 for a fidelity of 0.
    pub passes: usize,
    /// The tiles, or `None` for the whole picture at once.
    pub tiling: Option<Tiling>,
    /// Number of tiles, 1 for the whole picture.
    pub tiles: usize,
    /// Size of the model's weights in bytes.
    pub weight_bytes: u64,
    /// The most bytes that are held at a time, including the weights and the result, without the program itself and the input
    /// picture. A GPU's memory pools may take more, since burn grows them by whole pages: half as much again for 512x512 pixels
    /// with the bundled model on software Vulkan, a third for 768x768.
    pub peak_bytes: u64,
}

/// Memory that kernels keep for themselves. On `flex` these are the packed operands of a product, at most 16 MB, and the packed
/// pixels of a convolution, at most 8 MB.
const SCRATCH_BYTES: u64 = 24 << 20;
/// Memory that an allocator holds beyond what is in use, in per cent. glibc returns only blocks above 32 MB to the system at
/// once, and smaller blocks leave holes. Found with `--example measure` for the bundled model: 14 to 36 per cent for outputs
/// of 512x512 to 4096x4096.
const ALLOCATOR_PERCENT: u64 = 22;
/// The smallest tile that a budget leads to, in cells a side: 256 pixels. A smaller tile shows the model too little of the
/// picture.
const SMALLEST_TILE: usize = 32;
/// Sides of tiles that a budget leads to are multiples of this, in cells.
const TILE_STEP: usize = 8;

/// The facts of a model and its options that plans are made from.
pub(super) struct Planner<'a> {
    pub(super) config: &'a GenDrPixConfig,
    /// Number of passes by guidance and self-ensemble.
    pub(super) passes: usize,
    /// Number of tokens of the prompt.
    pub(super) prompt_tokens: usize,
    pub(super) attention: Attention,
    pub(super) edge: Edge,
    /// Size of the weights in bytes.
    pub(super) weight_bytes: u64,
    /// Bytes of one value of a picture.
    pub(super) picture_element: u64,
    /// Bytes of one value in the model's precision.
    pub(super) layer_element: u64,
    /// [`Backend::workspace`](crate::Backend::workspace).
    pub(super) workspace: fn(Operation, usize) -> u64,
}

/// The picture that is enlarged; there is none where tensors are restored.
#[derive(Clone, Copy)]
pub(super) struct Input {
    /// Number of pixels.
    pub(super) pixels: u64,
    /// [`Upscale::needs_whole_picture`](crate::Upscale::needs_whole_picture).
    pub(super) needs_whole_picture: bool,
    /// Whether a picture that is restored as a whole is corrected [on the device](crate::upscale::on_device).
    pub(super) corrected_on_device: bool,
}

impl Planner<'_> {
    /// Returns the plan for `pictures` outputs of `[H, W] = size`.
    ///
    /// # Errors
    ///
    /// [`Error::OverBudget`] if neither the whole picture nor any tiles fit `budget`, or `tiling` does not.
    pub(super) fn plan(
        &self,
        pictures: usize,
        size: [usize; 2],
        input: Option<Input>,
        tiling: Option<Tiling>,
        budget: Option<u64>,
    ) -> Result<Plan> {
        let plan_of = |tiling| self.plan_of(pictures as u64, size, input, tiling);
        let mut plan = plan_of(tiling);
        let Some(budget) = budget else {
            return Ok(plan);
        };
        if plan.peak_bytes > budget && tiling.is_none() {
            let factor = self.config.factor;
            let longest = size[0].max(size[1]).div_ceil(factor);
            let largest = longest.div_ceil(TILE_STEP) * TILE_STEP;
            for side in (SMALLEST_TILE..largest).step_by(TILE_STEP).rev() {
                plan = plan_of(Some(Tiling::new(side * factor, side / 4 * factor)?));
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

    fn plan_of(
        &self,
        pictures: u64,
        [h, w]: [usize; 2],
        input: Option<Input>,
        tiling: Option<Tiling>,
    ) -> Plan {
        let factor = self.config.factor;
        let mut ledger = Ledger::default();
        let picture = |[h, w]: [usize; 2]| {
            pictures * PICTURE_CHANNELS as u64 * h as u64 * w as u64 * self.picture_element
        };
        // Planes on the host are in f32 whatever the backend's precision.
        let planes = |[h, w]: [usize; 2]| {
            pictures * (PICTURE_CHANNELS * size_of::<f32>()) as u64 * h as u64 * w as u64
        };
        // The input's planes, and those with a margin around them.
        let input_pixels = input.map_or(0, |input| input.pixels);
        ledger.take(2 * pictures * input_pixels * (PICTURE_CHANNELS * size_of::<f32>()) as u64);

        let size = with_margin([h, w], self.edge, factor);
        let runs = self.passes > 0;
        let in_cells = |tiling| CellTiling::new(tiling, factor);
        let tiling = tiling.filter(|&tiling| runs && !in_cells(tiling).holds(size));
        let (tiles, tile) = tiling.map_or((1, size), |tiling| in_cells(tiling).tiles(size));
        // Tiles of a picture are restored one row of them at a time, unless the correction needs the whole picture.
        let in_bands = tiling.is_some() && input.is_some_and(|input| !input.needs_whole_picture);
        let band = match in_bands {
            true => [tile[0].min(size[0]), size[1]],
            false => size,
        };
        // The rows before the band that the correction and the overlap with the next band need.
        let strip = planes([if in_bands { band[0] + 2 * REACH } else { 0 }, w]);
        ledger.take(strip);
        // The result, 8 bits a channel. The system provides its pages when rows are written.
        let result = match input {
            Some(_) => planes([h, w]) / size_of::<f32>() as u64,
            None => 0,
        };
        ledger.take(if in_bands { result } else { 0 });
        // The resized picture, and with tiles the restored one.
        let x = picture(band);
        ledger.take(x);
        let on_device = runs && !in_bands && input.is_some_and(|input| input.corrected_on_device);
        // The plain resize in f32, beside the one that the model reads in a shorter type.
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
        // The second pass and all later ones are alike.
        for i in 0..self.passes.min(2) {
            self.pass(&pass, tile, picture, &mut ledger);
            ledger.free(if i > 0 { picture(tile) } else { 0 });
        }
        ledger.free(if runs { picture(tile) } else { 0 });
        ledger.free(restored + plain + x);

        // On the device: the plain resize, the restored picture, a smoothing, and the sums before and after it. On the host:
        // the restored rows beside the strip; they are corrected a few rows at a time.
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

    /// Books a pass over pictures of `size`, whose output stays.
    fn pass(
        &self,
        pass: &PassMemory,
        size: [usize; 2],
        picture: impl Fn([usize; 2]) -> u64,
        ledger: &mut Ledger,
    ) {
        let factor = self.config.factor;
        let padded = size.map(|n| padded_side(n, factor));
        // The padded picture, folded into cells.
        let z = picture(padded);
        ledger.take(z);
        pass.forward(padded.map(|n| n / factor), ledger);
        // The one step reuses its input. The result is unfolded without its padding.
        ledger.free(z);
        ledger.take(picture(size));
        ledger.free(z);
    }
}
