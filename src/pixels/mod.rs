//! [`image::DynamicImage`] to [`Planes`] and back: grey, alpha, 8 and 16 bit, float.
//!
//! The model knows three planes of colour and nothing else. What it does not know is set aside on
//! the way in and put back on the way out, so the result is of the same kind as the input:
//!
//! - **Grey** becomes three equal planes, and the luma of the result.
//! - **Alpha** is resized by itself. Colour is straight (not premultiplied) on both sides; under
//!   fully transparent pixels, where the stored colour is arbitrary and often black, it is replaced
//!   by colour bled from the visible pixels around: the enlarged edge mixes with that, and gets no fringe.
//! - **Depth**: computing is done in `f32`, which holds 8 and 16 bits exactly.
//! - **Float** values beyond `0.0..=1.0` (highlights, or colours that sRGB does not have) are cut off for the model, and
//!   what was cut off is resized by itself and added again.

mod bleed;
pub(crate) mod planes;
pub(crate) mod resize;

use bleed::bleed;
use image::metadata::Cicp;
use image::{ColorType, DynamicImage, ImageBuffer, Pixel, Primitive};
use rayon::prelude::*;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::pixels::planes::Planes;
use crate::simd::vectorised;

/// Luma of R, G and B as encoded values (ITU-R BT.601); the weights add up to one.
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// Rows that a thread writes at a time: a correction takes in some more above and below.
const BAND: usize = 256;

/// A picture as the model wants it, with what is needed to give back the same kind.
pub(crate) struct Pixels {
    /// Three planes, `0.0..=1.0`, with colour bled under transparent pixels.
    pub rgb: Planes,
    /// One plane, `0.0..=1.0`, straight alpha; `None` for a kind without.
    pub alpha: Option<Planes>,
    /// What `rgb` lacks of the picture's values, three planes; `None` where none is beyond `0.0..=1.0`.
    pub beyond: Option<Planes>,
    color: ColorType,
    space: Cicp,
}

impl Pixels {
    /// Takes `image` apart.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyPicture`] when a side is zero, [`Error::NonFinitePicture`] when a value is NaN or infinite.
    pub fn read(image: &DynamicImage) -> Result<Self> {
        let (mut rgb, alpha) = to_planes(image)?;
        if rgb.channels == 1 {
            rgb = Planes::new(3, rgb.width, rgb.height, rgb.data.repeat(3));
        }
        // Where nothing is visible there is nothing to bleed, and the stored colour stays.
        if let Some(alpha) = &alpha
            && alpha.data.iter().any(|&a| a > 0.0)
        {
            bleed(&mut rgb, &alpha.data);
        }
        let beyond = cut_off(&mut rgb);
        Ok(Self {
            rgb,
            alpha,
            beyond,
            color: image.color(),
            space: image.color_space(),
        })
    }

    /// A picture of the kind that was read, `width` x `height`, to be written.
    pub fn canvas(&self, width: usize, height: usize) -> Canvas {
        let side = |n: usize| u32::try_from(n).expect("a picture's sides fit in 32 bits");
        let mut image = DynamicImage::new(side(width), side(height), self.color);
        image
            .set_color_space(self.space)
            .expect("the colour space of a picture fits a picture of the same kind");
        let alpha = self.alpha.as_ref();
        Canvas {
            image,
            opaque: alpha.is_some_and(|alpha| alpha.data.iter().all(|&a| a == 1.0)),
        }
    }
}

/// Some rows of a picture.
pub(crate) struct Rows {
    /// One plane or three; may pass `0.0..=1.0`.
    pub rgb: Planes,
    /// One plane for a kind with alpha; may pass `0.0..=1.0`.
    pub alpha: Option<Planes>,
    /// What is added once the colour is clamped to `0.0..=1.0`.
    pub beyond: Option<Planes>,
}

/// A picture that is being written.
pub(crate) struct Canvas {
    image: DynamicImage,
    /// Whether the alpha is one everywhere. A resize kernel's weights add up to one only to within rounding: opaque must stay
    /// exactly opaque, in float too.
    opaque: bool,
}

impl Canvas {
    /// Writes `rows` as `compute` has them: a few at a time, on all cores.
    ///
    /// # Panics
    ///
    /// When there is an alpha for a kind without one, or none for a kind with, or sizes differ.
    pub fn write(&mut self, rows: Range<usize>, compute: impl Fn(Range<usize>) -> Rows + Sync) {
        let opaque = self.opaque;
        put(&mut self.image, rows, |rows| {
            let mut rows = compute(rows);
            let clamp = |value: &mut f32| *value = value.clamp(0.0, 1.0);
            vectorised(
                #[inline(always)]
                || rows.rgb.data.iter_mut().for_each(clamp),
            );
            match &mut rows.alpha {
                Some(alpha) if opaque => alpha.data.fill(1.0),
                Some(alpha) => alpha.data.iter_mut().for_each(clamp),
                None => (),
            }
            if let Some(beyond) = &rows.beyond {
                let pairs = rows.rgb.data.iter_mut().zip(&beyond.data);
                pairs.for_each(|(value, beyond)| *value += beyond);
            }
            (rows.rgb, rows.alpha)
        });
    }

    pub fn finish(self) -> DynamicImage {
        self.image
    }
}

/// Colour, one plane or three, and the plane of alpha, if the kind has one. Alpha is clamped to `0.0..=1.0`.
///
/// # Errors
///
/// [`Error::EmptyPicture`] when a side is zero, [`Error::NonFinitePicture`] when a value is NaN or infinite.
pub(crate) fn to_planes(image: &DynamicImage) -> Result<(Planes, Option<Planes>)> {
    use DynamicImage::*;
    let mut planes = match image {
        ImageLuma8(buffer) => split(buffer),
        ImageLumaA8(buffer) => split(buffer),
        ImageRgb8(buffer) => split(buffer),
        ImageRgba8(buffer) => split(buffer),
        ImageLuma16(buffer) => split(buffer),
        ImageLumaA16(buffer) => split(buffer),
        ImageRgb16(buffer) => split(buffer),
        ImageRgba16(buffer) => split(buffer),
        ImageRgb32F(buffer) => split(buffer),
        ImageRgba32F(buffer) => split(buffer),
        // Kinds that a later version of `image` may add: float keeps all of their depth.
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

/// A picture of the kind `color`, which [`to_planes`] has taken apart or could have; a kind of grey gets the luma of three
/// planes. Integers are clamped.
///
/// # Panics
///
/// When there is an `alpha` for a kind without one, or none for a kind with, or sizes differ.
pub(crate) fn from_planes(rgb: &Planes, alpha: Option<&Planes>, color: ColorType) -> DynamicImage {
    let side = |n: usize| u32::try_from(n).expect("a picture's sides fit in 32 bits");
    let mut image = DynamicImage::new(side(rgb.width), side(rgb.height), color);
    put(&mut image, 0..rgb.height, |rows| {
        (rgb.rows(rows.clone()), alpha.map(|alpha| alpha.rows(rows)))
    });
    image
}

/// Writes `rows` of `image` as `compute` has them, colour and alpha.
///
/// # Panics
///
/// When there is an alpha for a kind without one, or none for a kind with, or sizes differ.
fn put(
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
        ImageLuma8(buffer) => join(buffer, rows, grey),
        ImageLumaA8(buffer) => join(buffer, rows, grey),
        ImageRgb8(buffer) => join(buffer, rows, compute),
        ImageRgba8(buffer) => join(buffer, rows, compute),
        ImageLuma16(buffer) => join(buffer, rows, grey),
        ImageLumaA16(buffer) => join(buffer, rows, grey),
        ImageRgb16(buffer) => join(buffer, rows, compute),
        ImageRgba16(buffer) => join(buffer, rows, compute),
        ImageRgb32F(buffer) => join(buffer, rows, compute),
        ImageRgba32F(buffer) => join(buffer, rows, compute),
        other => unreachable!("`to_planes` lets no {:?} through", other.color()),
    }
}

/// Cuts off what is beyond `0.0..=1.0`, and returns it if there is any.
fn cut_off(rgb: &mut Planes) -> Option<Planes> {
    if rgb.data.iter().all(|value| (0.0..=1.0).contains(value)) {
        return None;
    }
    let cut = |value: &mut f32| {
        let whole = *value;
        *value = whole.clamp(0.0, 1.0);
        whole - *value
    };
    let beyond = rgb.data.iter_mut().map(cut).collect();
    Some(Planes::new(3, rgb.width, rgb.height, beyond))
}

/// A sample of a pixel: an integer that spans `0.0..=1.0`, or a float.
trait Sample: Primitive + Send {
    fn to_unit(self) -> f32;
    /// To nearest; integers are clamped.
    fn from_unit(value: f32) -> Self;
}

impl Sample for u8 {
    fn to_unit(self) -> f32 {
        f32::from(self) / 255.0
    }

    #[inline(always)]
    fn from_unit(value: f32) -> Self {
        // To nearest without `round`, a function call where the CPU is an old one.
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

/// Interleaved pixels to planes, one per channel.
fn split<P>(buffer: &ImageBuffer<P, Vec<P::Subpixel>>) -> Result<Planes>
where
    P: Pixel<Subpixel: Sample>,
{
    let (width, height) = buffer.dimensions();
    if width == 0 || height == 0 {
        return Err(Error::EmptyPicture { width, height });
    }
    let channels = usize::from(P::CHANNEL_COUNT);
    // Not the whole `Vec`: it may be longer than the picture.
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

/// Planes to interleaved pixels, the inverse of [`split`]: `rows` of `buffer`, a band of them at a time.
fn join<P>(
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
        assert_eq!(planes.len(), channels, "planes for a pixel of {channels}");
        for (channel, plane) in planes.into_iter().enumerate() {
            assert_eq!(plane.len(), samples.len() / channels, "values of a plane");
            vectorised(
                #[inline(always)]
                || {
                    let places = samples[channel..].iter_mut().step_by(channels);
                    for (place, value) in places.zip(plane) {
                        *place = P::Subpixel::from_unit(*value);
                    }
                },
            );
        }
    });
}

/// Three planes to one of luma; one plane is that already.
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

#[cfg(test)]
mod tests {
    use image::{Luma, LumaA, Rgb, Rgba};

    use super::*;
    use crate::pixels::resize;

    fn written(
        picture: &Pixels,
        rgb: &Planes,
        alpha: Option<&Planes>,
        beyond: Option<&Planes>,
    ) -> DynamicImage {
        let mut canvas = picture.canvas(rgb.width, rgb.height);
        canvas.write(0..rgb.height, |rows| {
            let rows = |planes: &Planes| planes.rows(rows.clone());
            Rows {
                rgb: rows(rgb),
                alpha: alpha.map(rows),
                beyond: beyond.map(rows),
            }
        });
        canvas.finish()
    }

    /// Writes what was read, without a change.
    fn unchanged(picture: &Pixels) -> DynamicImage {
        let [alpha, beyond] = [&picture.alpha, &picture.beyond].map(Option::as_ref);
        written(picture, &picture.rgb, alpha, beyond)
    }

    /// Writes what was read, enlarged.
    fn enlarged(picture: &Pixels, width: usize, height: usize) -> DynamicImage {
        let enlarge = |planes| resize::enlarge(planes, width, height);
        let alpha = picture.alpha.as_ref().map(enlarge);
        written(picture, &enlarge(&picture.rgb), alpha.as_ref(), None)
    }

    /// A picture of 7 x 5 pixels with a different value in each sample, and no alpha of zero.
    fn ramp<P>(sample: impl Fn(u32) -> P::Subpixel) -> ImageBuffer<P, Vec<P::Subpixel>>
    where
        P: Pixel,
    {
        let samples = (0..7 * 5 * u32::from(P::CHANNEL_COUNT))
            .map(sample)
            .collect();
        ImageBuffer::from_raw(7, 5, samples).unwrap()
    }

    #[test]
    fn every_kind_comes_back_bit_exact() {
        use DynamicImage::*;
        let u8 = |i: u32| 1 + (i * 53 % 255) as u8;
        let u16 = |i: u32| 1 + (i * 12_347 % 65_535) as u16;
        let f32 = |i: u32| (1 + i) as f32 / 141.0;
        for image in [
            ImageLuma8(ramp(u8)),
            ImageLumaA8(ramp(u8)),
            ImageRgb8(ramp(u8)),
            ImageRgba8(ramp(u8)),
            ImageLuma16(ramp(u16)),
            ImageLumaA16(ramp(u16)),
            ImageRgb16(ramp(u16)),
            ImageRgba16(ramp(u16)),
            ImageRgb32F(ramp(f32)),
            ImageRgba32F(ramp(f32)),
        ] {
            let picture = Pixels::read(&image).unwrap();
            assert_eq!(picture.alpha.is_some(), image.has_alpha());
            assert_eq!(unchanged(&picture), image, "{:?}", image.color());
        }
    }

    #[test]
    fn all_integers_survive() {
        let grey8 = ImageBuffer::<Luma<u8>, _>::from_raw(16, 16, (0..=255).collect()).unwrap();
        let grey16 =
            ImageBuffer::<Luma<u16>, _>::from_raw(256, 256, (0..=65_535).collect()).unwrap();
        for image in [DynamicImage::from(grey8), DynamicImage::from(grey16)] {
            let picture = Pixels::read(&image).unwrap();
            assert_eq!(picture.rgb.plane(0), picture.rgb.plane(2));
            assert_eq!(unchanged(&picture), image);
        }
    }

    #[test]
    fn integers_round_to_nearest_and_clamp() {
        let picture = Pixels::read(&DynamicImage::new_rgb8(1, 1)).unwrap();
        let rgb = Planes::new(3, 1, 1, vec![-0.2, 127.6 / 255.0, 1.7]);
        let image = written(&picture, &rgb, None, None);
        assert_eq!(image.to_rgb8().get_pixel(0, 0), &Rgb([0, 128, 255]));
    }

    #[test]
    fn grey_is_the_luma_of_the_colour() {
        let picture = Pixels::read(&DynamicImage::new_luma8(1, 1)).unwrap();
        let rgb = Planes::new(3, 1, 1, vec![1.0, 0.0, 0.0]);
        let image = written(&picture, &rgb, None, None);
        assert_eq!(image.as_luma8().unwrap().get_pixel(0, 0), &Luma([76]));
    }

    #[test]
    fn floats_beyond_the_range_are_set_aside() {
        let pixel = Rgb([-0.5_f32, 0.25, 7.0]);
        let image = DynamicImage::from(ImageBuffer::from_pixel(1, 1, pixel));
        let picture = Pixels::read(&image).unwrap();
        assert_eq!(picture.rgb.data, [0.0, 0.25, 1.0]);
        assert_eq!(picture.beyond.as_ref().unwrap().data, [-0.5, 0.0, 6.0]);
        assert_eq!(unchanged(&picture), image);
        let within = ImageBuffer::from_pixel(1, 1, Rgb([0.0_f32, 0.5, 1.0]));
        assert!(Pixels::read(&within.into()).unwrap().beyond.is_none());
    }

    #[test]
    fn non_finite_values_are_refused() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut buffer = ImageBuffer::from_pixel(3, 2, Rgba([0.5_f32; 4]));
            buffer.get_pixel_mut(2, 1).0[3] = bad;
            assert!(matches!(
                Pixels::read(&buffer.into()),
                Err(Error::NonFinitePicture)
            ));
        }
    }

    #[test]
    fn empty_pictures_are_refused() {
        for (width, height) in [(0, 0), (0, 4), (4, 0)] {
            assert!(matches!(
                Pixels::read(&DynamicImage::new_rgba16(width, height)),
                Err(Error::EmptyPicture { width: w, height: h }) if (w, h) == (width, height)
            ));
        }
    }

    #[test]
    fn samples_past_the_picture_are_ignored() {
        let buffer = ImageBuffer::<Luma<u8>, _>::from_raw(2, 1, vec![1, 2, 3]).unwrap();
        let picture = Pixels::read(&buffer.into()).unwrap();
        assert_eq!(unchanged(&picture).as_bytes(), [1, 2]);
    }

    #[test]
    fn a_white_disc_gets_no_fringe() {
        let disc = ImageBuffer::from_fn(33, 29, |x, y| {
            let (dx, dy) = (f64::from(x) - 15.3, f64::from(y) - 13.6);
            // One pixel wide, so that there are semi-transparent pixels; black where transparent.
            let alpha = (9.5 - dx.hypot(dy)).clamp(0.0, 1.0);
            let level = if alpha > 0.0 { 255 } else { 0 };
            Rgba([level, level, level, (alpha * 255.0) as u8])
        });
        let picture = Pixels::read(&disc.into()).unwrap();
        let large = enlarged(&picture, 132, 116);
        let large = large.as_rgba8().unwrap();
        assert!(large.pixels().any(|pixel| pixel.0[3] == 0));
        assert!(large.pixels().any(|pixel| pixel.0[3] == 255));
        for pixel in large.pixels().filter(|pixel| pixel.0[3] > 0) {
            assert!(pixel.0[..3].iter().all(|&v| v >= 253), "{pixel:?}");
        }
    }

    #[test]
    fn colour_bleeds_from_the_nearest_side() {
        // Red at the left end, blue at the right, black transparent between.
        let line = ImageBuffer::from_fn(40, 3, |x, _| match x {
            0..4 => Rgba([255_u8, 0, 0, 255]),
            36.. => Rgba([0, 0, 255, 255]),
            _ => Rgba([0, 0, 0, 0]),
        });
        let rgb = Pixels::read(&line.into()).unwrap().rgb;
        let at = |x: usize| [0, 1, 2].map(|channel| rgb.plane(channel)[40 + x]);
        assert_eq!(at(3), [1.0, 0.0, 0.0]);
        assert!(at(4)[0] > 0.8 && at(35)[2] > 0.8, "{:?}", (at(4), at(35)));
        for x in 0..40 {
            let [r, g, b] = at(x);
            assert!((r + b - 1.0).abs() < 1e-5 && g == 0.0, "{x}: {:?}", at(x));
        }
    }

    #[test]
    fn semi_transparent_pixels_keep_their_colour() {
        let pixel = LumaA([200_u8, 1]);
        let picture = Pixels::read(&ImageBuffer::from_pixel(2, 2, pixel).into()).unwrap();
        assert_eq!(picture.rgb, Planes::filled(3, 2, 2, 200.0 / 255.0));
    }

    #[test]
    fn opaque_stays_opaque() {
        let buffer = ImageBuffer::from_pixel(5, 3, Rgba([0.1_f32, 0.5, 0.9, 1.0]));
        let picture = Pixels::read(&buffer.into()).unwrap();
        let large = enlarged(&picture, 17, 11);
        assert!(
            large
                .as_rgba32f()
                .unwrap()
                .pixels()
                .all(|pixel| pixel.0[3] == 1.0)
        );
    }

    #[test]
    fn transparent_everywhere_stays_so() {
        let image = DynamicImage::from(ImageBuffer::from_pixel(3, 4, Rgba([9_u8, 8, 7, 0])));
        let picture = Pixels::read(&image).unwrap();
        assert_eq!(unchanged(&picture), image);
        let large = enlarged(&picture, 12, 16);
        assert!(large.to_rgba8().pixels().all(|pixel| pixel.0[3] == 0));
    }

    #[test]
    fn one_pixel() {
        for alpha in [0, 77, 255] {
            let image = DynamicImage::from(ImageBuffer::from_pixel(1, 1, Rgba([9, 8, 7, alpha])));
            let picture = Pixels::read(&image).unwrap();
            let large = enlarged(&picture, 4, 4).to_rgba8();
            assert!(large.pixels().all(|pixel| pixel.0 == [9, 8, 7, alpha]));
        }
    }

    #[test]
    fn the_colour_space_is_kept() {
        let mut image = DynamicImage::new_rgb8(2, 2);
        image.set_color_space(Cicp::DISPLAY_P3).unwrap();
        let picture = Pixels::read(&image).unwrap();
        assert_eq!(unchanged(&picture).color_space(), Cicp::DISPLAY_P3);
    }
}
