//! Bicubic resizing of [`Planes`] in `f32`, not clamped, with the kernels and positions of
//! PyTorch's `F.interpolate(mode = "bicubic", align_corners = False)`.
//!
//! `fast_image_resize` computes the convolution (weights in `f64`, no rounding between the passes).
//! PyTorch differs from the presets of that crate in three points, which are expressed here as
//! kernel, padding and crop box:
//!
//! - Enlarging uses the cubic kernel with a = -0.75 and replicates the border; the crate drops taps
//!   outside of the picture.
//! - Reducing with antialias uses a = -0.5, as PIL does.
//! - The source step can be `1 / scale` instead of `in / out`.

mod enlarger;
#[cfg(any(test, feature = "train"))]
mod reduce;
#[cfg(test)]
mod tests;

pub(crate) use enlarger::{Enlarger, border_and_step, cubic};
#[cfg(any(test, feature = "train"))]
pub(crate) use enlarger::{enlarge, resample};
#[cfg(test)]
use reduce::antialias;
#[cfg(any(test, feature = "train"))]
pub(crate) use reduce::reduce;
#[cfg(feature = "train")]
pub(crate) use reduce::reduce_with;

use crate::pixels::planes::Planes;

/// Returns the horizontal and vertical size of an output pixel in source pixels.
#[cfg(any(test, feature = "train"))]
fn steps(picture: &Planes, width: usize, height: usize) -> (f64, f64) {
    (
        picture.width as f64 / width as f64,
        picture.height as f64 / height as f64,
    )
}

/// # Panics
///
/// Panics if a side of `picture` or of the output is zero.
fn assert_not_empty(picture: &Planes, width: usize, height: usize) {
    assert!(
        picture.width > 0 && picture.height > 0 && width > 0 && height > 0,
        "cannot resize {}x{} to {width}x{height}",
        picture.width,
        picture.height
    );
}
