//! A prepared restoration: it is validated and planned once, and runs once for each band of the
//! picture.

use super::GenDrPix;
use super::plan::{InputPicture, Plan, Planner};
use crate::backend::Backend;
use crate::error::Result;
use crate::options::Upscale;
use crate::options::attention::Attention;
use crate::options::padding::{Edge, padded_side};
use crate::options::progress::{Cancellable, Watch};
use crate::options::restore::Restore;
use crate::options::target::Enlargement;
use crate::restore::Geometry;
use crate::restore::guidance::{Pass, passes};
use crate::restore::tiles::CellTiling;
use crate::upscale::on_device;
use burn::tensor::Tensor;

/// A restoration whose options are valid and whose memory is planned.
pub(super) struct Job<'a, B: Backend> {
    model: &'a GenDrPix<B>,
    passes: Vec<Pass>,
    edge: Edge,
    attention: Attention,
    pub(super) plan: Plan,
}

impl<B: Backend> GenDrPix<B> {
    /// Prepares the enlargement of a picture of `width` x `height`.
    ///
    /// # Errors
    ///
    /// The errors of [`plan`](Self::plan).
    pub(super) fn prepare_upscale(
        &self,
        width: u32,
        height: u32,
        options: &Upscale,
    ) -> Result<(Job<'_, B>, Enlargement)> {
        options.validate(self.config.factor)?;
        let to = options.enlargement(width, height)?;
        let input = InputPicture {
            pixels: u64::from(width) * u64::from(height),
            needs_whole_picture: options.needs_whole_picture(),
            corrected_on_device: on_device::is_supported::<B>(options),
        };
        let passes = match options.fidelity {
            0.0 => Vec::new(), // The output is the plain resize, and the model does not run.
            _ => self.passes(&options.restore),
        };
        let size = [to.height, to.width];
        let job = self.prepare(passes, 1, size, Some(input), &options.restore)?;
        Ok((job, to))
    }

    /// Prepares the restoration of `count` pictures of `[H, W] = size`.
    ///
    /// # Errors
    ///
    /// [`Error::Option`](crate::Error::Option) for an option out of range,
    /// [`Error::OverBudget`](crate::Error::OverBudget) if the memory budget is too low.
    pub(super) fn prepare_restore(
        &self,
        count: usize,
        size: [usize; 2],
        options: &Restore,
    ) -> Result<Job<'_, B>> {
        options.validate(self.config.factor)?;
        self.prepare(self.passes(options), count, size, None, options)
    }

    fn prepare(
        &self,
        passes: Vec<Pass>,
        count: usize,
        size: [usize; 2],
        input: Option<InputPicture>,
        options: &Restore,
    ) -> Result<Job<'_, B>> {
        let layer_element = self.dtype().size() as u64;
        let planner = Planner {
            config: &self.config,
            passes: passes.len(),
            prompt_tokens: self.prompt_tokens(),
            attention: options.attention,
            edge: options.edge,
            weight_bytes: self.unet.weights.unet.parameters() as u64 * layer_element,
            picture_element: size_of::<B::FloatElem>() as u64,
            layer_element,
            workspace: B::workspace,
        };
        let plan = planner.plan(count, size, input, options.tiling, options.memory_budget)?;
        Ok(Job {
            model: self,
            passes,
            edge: options.edge,
            attention: options.attention,
            plan,
        })
    }

    /// Returns the passes that guidance and self-ensemble require.
    fn passes(&self, options: &Restore) -> Vec<Pass> {
        let guidance = options.guidance.unwrap_or(self.config.guidance);
        let ensemble = options.ensemble.as_ref().unwrap_or(&self.config.ensemble);
        passes(guidance, ensemble, self.config.factor)
    }
}

impl<B: Backend> Job<'_, B> {
    /// Returns the tiles of the plan, in the model's cells.
    pub(super) fn tiling(&self) -> Option<CellTiling> {
        let factor = self.model.config.factor;
        let tiling = self.plan.tiling;
        tiling.map(|tiling| CellTiling::new(tiling, factor))
    }

    /// Restores pictures, or a band of one picture. Runs all passes over each tile and blends the
    /// results.
    ///
    /// # Shapes
    ///
    /// - x and output: `[N, 3, H, W]` in -1..1
    pub(super) fn run(&self, x: Tensor<B, 4>, watch: Watch) -> Cancellable<Tensor<B, 4>> {
        let geometry = Geometry {
            edge: self.edge,
            factor: self.model.config.factor,
            tiling: self.tiling(),
        };
        let passes = self.passes.iter().map(|pass| (pass, pass.weight));
        B::reusing_memory(|| {
            geometry.restore(x, passes, watch, |x, pass, edge, watch| {
                self.pass(x, pass, edge, watch)
            })
        })
    }

    /// Runs one pass, the paper's `G(pad(x), c)`, and crops the result to the size of `x`.
    fn pass(
        &self,
        x: Tensor<B, 4>,
        pass: &Pass,
        edge: Edge,
        watch: Watch,
    ) -> Cancellable<Tensor<B, 4>> {
        watch.check()?;
        let GenDrPix { config, unet, .. } = self.model;
        let [_, _, h, w] = x.dims();
        let padded = [h, w].map(|n| padded_side(n, config.factor));
        let z = B::pad_and_unshuffle(x, config.factor, pass.padding, padded, edge);
        watch.check()?;
        let prediction = unet.predict(z.clone(), pass.prompt, self.attention, watch)?;
        let x0 = config.onestep.x0(z, prediction);
        Ok(B::shuffle_and_crop(x0, config.factor, pass.padding, [h, w]))
    }
}
