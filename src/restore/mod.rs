//! The steps around the UNet, on tensors: tiles, the passes of guidance and self-ensemble, pixel
//! unshuffle and shuffle, the one diffusion step, and blending.

pub(crate) mod guidance;
pub(crate) mod onestep;
pub mod shuffle;
pub(crate) mod tiles;
pub(crate) mod wrap;

use crate::backend::Backend;
use crate::error::{Error, Result};
use burn::tensor::Tensor;
use shuffle::PICTURE_CHANNELS;

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
