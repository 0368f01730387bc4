//! The steps around the UNet, on tensors: tiles, the passes of guidance and self-ensemble, pixel
//! unshuffle and shuffle, the one diffusion step, and blending.

pub(crate) mod guidance;
pub(crate) mod onestep;
pub mod shuffle;
pub(crate) mod tiles;
pub(crate) mod wrap;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::options::padding::Edge;
use crate::options::progress::{Cancellable, Watch};
use burn::tensor::Tensor;
use guidance::blend;
use shuffle::PICTURE_CHANNELS;
use tiles::{CellTiling, in_tiles};
use wrap::wrapped;

/// The geometry of a restoration: its tiles, and how the picture continues beyond its edges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) edge: Edge,
    /// The side of a cell in pixels.
    pub(crate) factor: usize,
    pub(crate) tiling: Option<CellTiling>,
}

impl Geometry {
    /// Restores pictures: extends them if they are seamless, divides them into tiles, runs all
    /// passes over each tile, and blends the results. `run` restores a tile in one pass. The
    /// weights of `passes` add up to one.
    ///
    /// # Shapes
    ///
    /// - x and output, those of `run` as well: `[N, 3, H, W]`
    pub(crate) fn restore<B: Backend, P>(
        self,
        x: Tensor<B, 4>,
        passes: impl Iterator<Item = (P, f64)> + Clone,
        watch: Watch,
        run: impl Fn(Tensor<B, 4>, P, Edge, Watch) -> Cancellable<Tensor<B, 4>>,
    ) -> Cancellable<Tensor<B, 4>> {
        wrapped(x, self.edge, self.factor, |x, edge| {
            in_tiles(x, self.tiling, edge, watch, |x, watch| {
                blend(passes.clone(), watch, |pass, watch| {
                    run(x.clone(), pass, edge, watch)
                })
            })
        })
    }
}

/// Checks the shape of a tensor of pictures.
///
/// # Errors
///
/// [`Error::Shape`] if it is not `[N, 3, H, W]` or a side is zero.
pub(crate) fn check_shape<B: Backend>(x: &Tensor<B, 4>) -> Result<()> {
    let dims = x.dims();
    if dims[1] != PICTURE_CHANNELS || dims.contains(&0) {
        return Err(Error::Shape {
            what: "picture",
            expected: "[N, 3, H, W] with sides of at least 1".into(),
            found: dims.to_vec(),
        });
    }
    Ok(())
}
