//! Converts between [`DynamicImage`] and [`Planes`]: interleaved samples of any type to planes of
//! `f32` and back.

use crate::error::{Error, Result};
use crate::pixels::planes::Planes;
use crate::simd::vectorised;
use image::{ColorType, DynamicImage, ImageBuffer, Pixel, Primitive};
use rayon::prelude::*;
use std::ops::Range;

/// Luma weights of encoded R, G and B (ITU-R BT.601). They add up to one.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// Rows that a thread writes at a time. The colour correction needs a few more rows above and below
/// each band.
const BAND: usize = 256;

/// Returns the colour planes (one for grey, three for RGB) and the alpha plane of a picture that
/// has alpha. Alpha is clamped to `0.0..=1.0`.
///
/// # Errors
///
/// - [`Error::EmptyPicture`] if the width or height is zero.
/// - [`Error::NonFinitePicture`] if a value is NaN or infinite.
pub(crate) fn to_planes(image: &DynamicImage) -> Result<(Planes, Option<Planes>)> {
    use DynamicImage::*;
    let mut planes = match image {
        ImageLuma8(buffer) => deinterleave(buffer),
        ImageLumaA8(buffer) => deinterleave(buffer),
        ImageRgb8(buffer) => deinterleave(buffer),
        ImageRgba8(buffer) => deinterleave(buffer),
        ImageLuma16(buffer) => deinterleave(buffer),
        ImageLumaA16(buffer) => deinterleave(buffer),
        ImageRgb16(buffer) => deinterleave(buffer),
        ImageRgba16(buffer) => deinterleave(buffer),
        ImageRgb32F(buffer) => deinterleave(buffer),
        ImageRgba32F(buffer) => deinterleave(buffer),
        // A later version of `image` may add color types. Float keeps their full depth.
        other => return to_planes(&ImageRgba32F(other.to_rgba32f())),
    }?;
    let (width, height) = (planes.width, planes.height);
    if !planes.channels.is_multiple_of(2) {
        return Ok((planes, None));
    }
    planes.channels -= 1;
    let mut alpha = planes.data.split_off(planes.channels * width * height);
    for value in &mut alpha {
        *value = value.clamp(0.0, 1.0);
    }
    Ok((planes, Some(Planes::new(1, width, height, alpha))))
}

/// Builds a picture of color type `color` from planes: the inverse of [`to_planes`]. A grey color
/// type receives the luma of three planes. Integer samples are clamped.
///
/// # Panics
///
/// Panics if `alpha` is given for a color type without alpha, is absent for a color type with
/// alpha, or if the sizes differ.
pub(crate) fn from_planes(rgb: &Planes, alpha: Option<&Planes>, color: ColorType) -> DynamicImage {
    let side = |n: usize| u32::try_from(n).expect("a picture's sides fit in 32 bits");
    let mut image = DynamicImage::new(side(rgb.width), side(rgb.height), color);
    write_rows(&mut image, 0..rgb.height, |rows| {
        (rgb.rows(rows.clone()), alpha.map(|alpha| alpha.rows(rows)))
    });
    image
}

/// Writes `rows` of `image`. `compute` returns the colour planes and the alpha plane of a range of
/// rows.
///
/// # Panics
///
/// Panics if `compute` returns alpha for a color type without alpha, no alpha for a color type with
/// alpha, or planes of another size.
pub(super) fn write_rows(
    image: &mut DynamicImage,
    rows: Range<usize>,
    compute: impl Fn(Range<usize>) -> (Planes, Option<Planes>) + Sync,
) {
    use DynamicImage::*;
    let grey = |rows| {
        let (rgb, alpha) = compute(rows);
        (luma(rgb), alpha)
    };
    match image {
        ImageLuma8(buffer) => interleave(buffer, rows, grey),
        ImageLumaA8(buffer) => interleave(buffer, rows, grey),
        ImageRgb8(buffer) => interleave(buffer, rows, compute),
        ImageRgba8(buffer) => interleave(buffer, rows, compute),
        ImageLuma16(buffer) => interleave(buffer, rows, grey),
        ImageLumaA16(buffer) => interleave(buffer, rows, grey),
        ImageRgb16(buffer) => interleave(buffer, rows, compute),
        ImageRgba16(buffer) => interleave(buffer, rows, compute),
        ImageRgb32F(buffer) => interleave(buffer, rows, compute),
        ImageRgba32F(buffer) => interleave(buffer, rows, compute),
        other => unreachable!("`to_planes` returns no planes for {:?}", other.color()),
    }
}

/// A sample of a pixel: an integer whose range represents `0.0..=1.0`, or a float.
trait Sample: Primitive + Send {
    fn to_unit(self) -> f32;
    /// Rounds to the nearest integer and clamps to the range of the type. Floats are unchanged.
    fn from_unit(value: f32) -> Self;
}

impl Sample for u8 {
    fn to_unit(self) -> f32 {
        f32::from(self) / 255.0
    }

    #[inline(always)]
    fn from_unit(value: f32) -> Self {
        // Rounds to nearest. `round` would be a function call on CPUs without SSE4.1.
        (value.clamp(0.0, 1.0) * 255.0 + 0.5) as Self
    }
}

impl Sample for u16 {
    fn to_unit(self) -> f32 {
        f32::from(self) / 65535.0
    }

    #[inline(always)]
    fn from_unit(value: f32) -> Self {
        (value.clamp(0.0, 1.0) * 65535.0 + 0.5) as Self
    }
}

impl Sample for f32 {
    fn to_unit(self) -> f32 {
        self
    }

    fn from_unit(value: f32) -> Self {
        value
    }
}

/// Converts interleaved pixels to planes, one per channel.
fn deinterleave<P>(buffer: &ImageBuffer<P, Vec<P::Subpixel>>) -> Result<Planes>
where
    P: Pixel<Subpixel: Sample>,
{
    let (width, height) = buffer.dimensions();
    if width == 0 || height == 0 {
        return Err(Error::EmptyPicture { width, height });
    }
    let channels = usize::from(P::CHANNEL_COUNT);
    // The `Vec` may be longer than the picture.
    let samples = &buffer.as_raw()[..channels * width as usize * height as usize];
    let data = (0..channels)
        .flat_map(|channel| samples[channel..].iter().step_by(channels))
        .map(|&sample| {
            let value = sample.to_unit();
            if value.is_finite() {
                Ok(value)
            } else {
                Err(Error::NonFinitePicture)
            }
        })
        .collect::<Result<_>>()?;
    Ok(Planes::new(channels, width as usize, height as usize, data))
}

/// Converts planes to interleaved pixels: the inverse of [`deinterleave`]. Writes `rows` of
/// `buffer` in bands, in parallel.
fn interleave<P>(
    buffer: &mut ImageBuffer<P, Vec<P::Subpixel>>,
    rows: Range<usize>,
    compute: impl Fn(Range<usize>) -> (Planes, Option<Planes>) + Sync,
) where
    P: Pixel<Subpixel: Sample>,
{
    let width = buffer.width() as usize;
    let channels = usize::from(P::CHANNEL_COUNT);
    let stride = channels * width;
    let samples = &mut buffer.as_mut()[rows.start * stride..rows.end * stride];
    let bands = samples.par_chunks_mut(BAND * stride).enumerate();
    bands.for_each(|(i, samples)| {
        let start = rows.start + i * BAND;
        let (color, alpha) = compute(start..start + samples.len() / stride);
        let planes = (0..color.channels).map(|channel| color.plane(channel));
        let planes: Vec<&[f32]> = planes.chain(alpha.iter().map(|a| a.plane(0))).collect();
        assert_eq!(
            planes.len(),
            channels,
            "number of planes for {channels} channels"
        );
        for (channel, plane) in planes.into_iter().enumerate() {
            assert_eq!(
                plane.len(),
                samples.len() / channels,
                "number of values in a plane"
            );
            vectorised(
                #[inline(always)]
                || {
                    let targets = samples[channel..].iter_mut().step_by(channels);
                    for (target, value) in targets.zip(plane) {
                        *target = P::Subpixel::from_unit(*value);
                    }
                },
            );
        }
    });
}

/// Reduces three planes to their luma. A single plane is returned unchanged.
fn luma(rgb: Planes) -> Planes {
    if rgb.channels == 1 {
        return rgb;
    }
    let data = (0..rgb.width * rgb.height)
        .map(|pixel| {
            (0..3)
                .map(|channel| LUMA[channel] * rgb.plane(channel)[pixel])
                .sum()
        })
        .collect();
    Planes::new(1, rgb.width, rgb.height, data)
}
