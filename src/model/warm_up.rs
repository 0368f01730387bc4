//! Prepares a device for a model before the first picture, and releases its memory afterwards.

use super::GenDrPix;
use crate::backend::Backend;
use crate::backend::precision::float_type;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::options::Upscale;
use crate::options::padding::Edge;
use crate::options::progress::Phase;
use crate::options::restore::Restore;
use crate::options::target::Target;
use crate::restore::shuffle::PICTURE_CHANNELS;
use crate::restore::tiles::CellTiling;
use crate::restore::wrap::with_margin;
use crate::upscale::on_device;
use burn::tensor::{Tensor, read_sync};
use image::RgbImage;

impl<B: Backend> GenDrPix<B> {
    /// Prepares the device for outputs of these sizes, `(width, height)` in pixels. Without it, the
    /// first picture on a GPU waits until kernels are compiled and (feature `autotune`) timed. This
    /// method restores a grey picture of each size, or a single tile if `options` lead to tiles,
    /// with one padding of the self-ensemble, and drops the result. It uses the progress callback
    /// and the cancel token of `options`. A CPU needs no preparation.
    ///
    /// Similar sizes share compiled and timed kernels: see
    /// [`backend`](crate::backend#the-first-picture-on-a-gpu).
    ///
    /// # Errors
    ///
    /// [`Error::Option`] for an option or a size out of range, [`Error::OutputTooLarge`],
    /// [`Error::OverBudget`], [`Error::Cancelled`].
    pub fn warm_up(&self, sizes: &[(u32, u32)], options: &Upscale) -> Result<()> {
        let factor = self.config().factor;
        let watch = options.watch(Phase::Restore).as_whole();
        let mut parts = watch.parts(sizes.len());
        for &(width, height) in sizes {
            // An input of 1x1 pixels is not larger than any target.
            let target = Target::Size(width, height);
            let plan = self.plan(1, 1, &options.clone().fidelity(1.0).target(target))?;
            let (size, edge) = warm_up_picture([plan.height, plan.width], &plan, options, factor);
            let ensemble = options.restore.ensemble.as_ref();
            let padding = ensemble.unwrap_or(&self.config().ensemble)[0];
            let one_pass = Restore {
                tiling: None,
                memory_budget: None,
                ..options.restore.clone().ensemble(vec![padding]).edge(edge)
            };
            let x = Tensor::zeros(
                [1, PICTURE_CHANNELS, size[0], size[1]],
                (self.device(), float_type::<B>()),
            );
            // Reading the result waits for the device.
            self.restore_watched(x, &one_pass, parts.part())?
                .into_data();
        }
        if on_device::is_supported::<B>(options) {
            // The kernels around the model are the same for all sizes.
            let mut options = options.clone().scale(1.0);
            options.restore.observer = None;
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

    /// Releases the memory that the device keeps for the next picture: on a GPU, freed memory stays
    /// in burn's pools. Call this when no picture is expected for a while, on the thread that has
    /// enlarged pictures, since each thread has its own pools. The next picture allocates the
    /// memory again. The weights stay loaded. CPUs keep no memory.
    pub fn trim(&self) {
        B::memory_cleanup(self.device());
    }
}

/// Returns the size and the edge of the picture that represents an output of `size`: those of a
/// tile if there are tiles. The edges of a tile do not wrap.
fn warm_up_picture(
    size: [usize; 2],
    plan: &super::Plan,
    options: &Upscale,
    factor: usize,
) -> ([usize; 2], Edge) {
    let edge = options.restore.edge;
    match plan.tiling.filter(|_| plan.tiles > 1) {
        Some(tiling) => {
            let (_, tile) = CellTiling::new(tiling, factor).tiles(with_margin(size, edge, factor));
            (tile, Edge::default())
        }
        None => (size, edge),
    }
}
