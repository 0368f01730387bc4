//! A model and its device: whether it can hold the model, making it ready, and giving memory back.

use crate::backend::Backend;
use crate::backend::precision::float_type;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::model::GenDrPix;
use crate::options::Upscale;
use crate::options::padding::Edge;
use crate::options::progress::Phase;
use crate::options::target::Target;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::restore::wrap::with_margin;
use crate::upscale::on_device;
use burn::tensor::{Tensor, read_sync};
use image::RgbImage;

impl<B: Backend> GenDrPix<B> {
    /// Makes the device ready for outputs of these sizes, `(width, height)` in pixels: on a GPU the first picture of a size
    /// waits for kernels to be compiled and (feature `autotune`) tried. The model runs over a grey picture of each size with
    /// one padding of the self-ensemble, or over one tile where `options` lead to tiles; the result is dropped. Progress
    /// and cancel are those of `options`. On a CPU there is nothing to make ready.
    ///
    /// What was tried for one size serves all those near: see [`backend`](crate::backend#the-first-picture-on-a-gpu).
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option or a size out of range, [`Error::OutputTooLarge`], [`Error::OverBudget`],
    /// [`Error::Cancelled`].
    pub fn warm_up(&self, sizes: &[(u32, u32)], options: &Upscale) -> Result<()> {
        let factor = self.config().factor;
        let watch = options.watch(Phase::Restore).alone();
        let mut parts = watch.parts(sizes.len());
        for &(width, height) in sizes {
            let options = options.clone().fidelity(1.0);
            // Of any picture, the smallest is the one that all targets are larger than.
            let plan = self.plan(1, 1, &options.clone().target(Target::Size(width, height)))?;
            let size = [plan.height, plan.width];
            let (size, edge) = match plan.tiling.filter(|_| plan.tiles > 1) {
                Some(tiling) => {
                    let (_, tile) = tiling.tiles(with_margin(size, options.edge, factor), factor);
                    (tile, Edge::default())
                }
                None => (size, options.edge),
            };
            let ensemble = options.ensemble.as_ref().unwrap_or(&self.config().ensemble);
            let padding = ensemble[0];
            let options = Upscale {
                tiling: None,
                memory_budget: None,
                ..options.ensemble(vec![padding]).edge(edge)
            };
            let kind = (self.device(), float_type::<B>());
            let x = Tensor::zeros([1, PICTURE_CHANNELS, size[0], size[1]], kind);
            // Read back: what is queued is not done.
            self.restore_watched(x, &options, parts.part())?.into_data();
        }
        if on_device::has_way::<B>(options) {
            // What is around the model, by kernels that are the same for all sizes.
            let options = Upscale {
                observer: None,
                ..options.clone().scale(1.0)
            };
            let (picture, to) = (RgbImage::new(1, 1), options.enlargement(1, 1)?);
            let device = self.device();
            read_sync(on_device::enlarge::<B>(
                &picture,
                to,
                &options,
                device,
                |x, _| Ok(x),
            ))?;
        }
        Ok(())
    }

    /// Gives memory back to the device that is kept for the next picture: on a GPU, freed memory stays in burn's pools. To be
    /// called when no picture is to come for a while, on the thread that enlarged: pools are kept by thread. The next
    /// picture takes the memory anew. The weights stay, and on a CPU nothing is kept.
    pub fn trim(&self) {
        B::memory_cleanup(self.device());
    }
}
