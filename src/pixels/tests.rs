//! Tests of the conversion of pictures to planes and back, through [`Pixels`] and [`Canvas`].

use super::*;
use crate::error::Error;
use image::{ImageBuffer, Luma, LumaA, Pixel, Rgb, Rgba};

fn written(
    picture: &Pixels,
    rgb: &Planes,
    alpha: Option<&Planes>,
    residual: Option<&Planes>,
) -> DynamicImage {
    let mut canvas = picture.canvas(rgb.width, rgb.height);
    canvas.write(0..rgb.height, |rows| {
        let rows = |planes: &Planes| planes.rows(rows.clone());
        OutputRows {
            rgb: rows(rgb),
            alpha: alpha.map(rows),
            residual: residual.map(rows),
        }
    });
    canvas.finish()
}

/// Writes the planes of `picture` unchanged.
fn unchanged(picture: &Pixels) -> DynamicImage {
    let [alpha, residual] = [&picture.alpha, &picture.residual].map(Option::as_ref);
    written(picture, &picture.rgb, alpha, residual)
}

/// Writes the planes of `picture`, enlarged.
fn enlarged(picture: &Pixels, width: usize, height: usize) -> DynamicImage {
    let enlarge = |planes| resize::enlarge(planes, width, height);
    let alpha = picture.alpha.as_ref().map(enlarge);
    written(picture, &enlarge(&picture.rgb), alpha.as_ref(), None)
}

/// Returns a picture of 7 x 5 pixels whose samples all differ and whose alpha is never zero.
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
fn every_color_type_survives_bit_exactly() {
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
    let grey16 = ImageBuffer::<Luma<u16>, _>::from_raw(256, 256, (0..=65_535).collect()).unwrap();
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
fn values_out_of_range_become_the_residual() {
    let pixel = Rgb([-0.5_f32, 0.25, 7.0]);
    let image = DynamicImage::from(ImageBuffer::from_pixel(1, 1, pixel));
    let picture = Pixels::read(&image).unwrap();
    assert_eq!(picture.rgb.data, [0.0, 0.25, 1.0]);
    assert_eq!(picture.residual.as_ref().unwrap().data, [-0.5, 0.0, 6.0]);
    assert_eq!(unchanged(&picture), image);
    let within = ImageBuffer::from_pixel(1, 1, Rgb([0.0_f32, 0.5, 1.0]));
    assert!(Pixels::read(&within.into()).unwrap().residual.is_none());
}

#[test]
fn non_finite_values_are_rejected() {
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
fn empty_pictures_are_rejected() {
    for (width, height) in [(0, 0), (0, 4), (4, 0)] {
        assert!(matches!(
            Pixels::read(&DynamicImage::new_rgba16(width, height)),
            Err(Error::EmptyPicture { width: w, height: h }) if (w, h) == (width, height)
        ));
    }
}

#[test]
fn samples_after_the_picture_are_ignored() {
    let buffer = ImageBuffer::<Luma<u8>, _>::from_raw(2, 1, vec![1, 2, 3]).unwrap();
    let picture = Pixels::read(&buffer.into()).unwrap();
    assert_eq!(unchanged(&picture).as_bytes(), [1, 2]);
}

#[test]
fn a_white_disc_gets_no_fringe() {
    let disc = ImageBuffer::from_fn(33, 29, |x, y| {
        let (dx, dy) = (f64::from(x) - 15.3, f64::from(y) - 13.6);
        // The edge is one pixel wide, so some pixels are semi-transparent. Transparent pixels are
        // black.
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
    // Red at the left end, blue at the right end, transparent black between.
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
fn an_opaque_picture_stays_opaque() {
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
fn a_fully_transparent_picture_stays_transparent() {
    let image = DynamicImage::from(ImageBuffer::from_pixel(3, 4, Rgba([9_u8, 8, 7, 0])));
    let picture = Pixels::read(&image).unwrap();
    assert_eq!(unchanged(&picture), image);
    let large = enlarged(&picture, 12, 16);
    assert!(large.to_rgba8().pixels().all(|pixel| pixel.0[3] == 0));
}

#[test]
fn one_pixel_keeps_its_value() {
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
