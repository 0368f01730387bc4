//! Converts pictures to the planes that the model processes, and the planes of the result back to
//! pictures.
//!
//! The model processes three planes of colour. The other properties of a picture are stored
//! separately and restored afterwards, so that the result has the color type of the input:
//!
//! - **Grey** becomes three equal planes. The result is the luma of the output.
//! - **Alpha** is resized separately. Colour is straight (not premultiplied) in the input and in
//!   the output. Under fully transparent pixels, where the stored colour is arbitrary and often
//!   black, it is replaced by colour that bleeds from the visible pixels nearby. The edges of the
//!   enlarged picture blend with that colour, and get no fringe.
//! - **Depth**: all computation is in `f32`, which represents 8-bit and 16-bit integers exactly.
//! - **Float** values outside `0.0..=1.0` (highlights, or colours outside the sRGB gamut) are
//!   clamped for the model. The difference, the out-of-range residual, is resized separately and
//!   added to the result.

mod bleed;
mod canvas;
mod convert;
pub(crate) mod planes;
pub(crate) mod resize;
#[cfg(test)]
mod tests;

pub(crate) use canvas::{Canvas, OutputRows};
pub(crate) use convert::{from_planes, to_planes};

use crate::error::Result;
use crate::pixels::planes::Planes;
use bleed::bleed;
use image::metadata::Cicp;
use image::{ColorType, DynamicImage};

/// The planes of a picture, and the data that is needed to build a picture of the same color type.
pub(crate) struct Pixels {
    /// Three planes in `0.0..=1.0`. Under transparent pixels, colour bleeds from the visible ones.
    pub rgb: Planes,
    /// The plane of straight alpha in `0.0..=1.0`; `None` for a color type without alpha.
    pub alpha: Option<Planes>,
    /// The out-of-range residual, three planes: the part of `rgb` that clamping has removed. `None`
    /// if all values are in `0.0..=1.0`.
    pub residual: Option<Planes>,
    color: ColorType,
    space: Cicp,
}

impl Pixels {
    /// Reads the pixels of `image`.
    ///
    /// # Errors
    ///
    /// - [`Error::EmptyPicture`](crate::Error::EmptyPicture) if the width or height is zero.
    /// - [`Error::NonFinitePicture`](crate::Error::NonFinitePicture) if a value is NaN or infinite.
    pub fn read(image: &DynamicImage) -> Result<Self> {
        let (rgb, alpha) = to_planes(image)?;
        let mut rgb = rgb.into_rgb();
        // If no pixel is visible, there is no colour to bleed from, and the stored colour stays.
        if let Some(alpha) = &alpha
            && alpha.data.iter().any(|&a| a > 0.0)
        {
            bleed(&mut rgb, &alpha.data);
        }
        let residual = clamp(&mut rgb);
        Ok(Self {
            rgb,
            alpha,
            residual,
            color: image.color(),
            space: image.color_space(),
        })
    }

    /// Returns an empty output of `width` x `height` with the color type and colour space of the
    /// input.
    pub fn canvas(&self, width: usize, height: usize) -> Canvas {
        let side = |n: usize| u32::try_from(n).expect("a picture's sides fit in 32 bits");
        let mut image = DynamicImage::new(side(width), side(height), self.color);
        image
            .set_color_space(self.space)
            .expect("the colour space of a picture fits a picture of the same color type");
        let alpha = self.alpha.as_ref();
        Canvas {
            image,
            opaque: alpha.is_some_and(|alpha| alpha.data.iter().all(|&a| a == 1.0)),
        }
    }
}

/// Clamps `rgb` to `0.0..=1.0` and returns the residual, or `None` if all values are in range.
fn clamp(rgb: &mut Planes) -> Option<Planes> {
    if rgb.data.iter().all(|value| (0.0..=1.0).contains(value)) {
        return None;
    }
    let clamp = |value: &mut f32| {
        let original = *value;
        *value = original.clamp(0.0, 1.0);
        original - *value
    };
    let residual = rgb.data.iter_mut().map(clamp).collect();
    Some(Planes::new(3, rgb.width, rgb.height, residual))
}
