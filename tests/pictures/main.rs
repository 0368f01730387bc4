//! Files as people have them, through `gendr_pix::picture`: all kinds of colour, orientations, profiles, EXIF and XMP, alpha,
//! odd sizes, damaged ones and bombs. Most are made here; `fixtures/` has those of other programs.

use gendr_pix::picture::{Picture, Warning};
use gendr_pix::{Error, Result};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
use image::{ColorType, DynamicImage, GenericImageView, ImageEncoder, ImageFormat, Limits};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use std::io::Cursor;
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

/// The file that an encoder of the `image` crate writes.
macro_rules! encoded {
    ($new:expr, $image:expr, profile = $profile:expr, exif = $exif:expr) => {{
        let mut bytes = Vec::new();
        #[allow(clippy::redundant_closure_call)]
        let mut encoder = ($new)(&mut bytes);
        let profile: Option<Vec<u8>> = $profile;
        let exif: Option<Vec<u8>> = $exif;
        if let Some(profile) = profile {
            encoder.set_icc_profile(profile).unwrap();
        }
        if let Some(exif) = exif {
            encoder.set_exif_metadata(exif).unwrap();
        }
        DynamicImage::from($image)
            .write_with_encoder(encoder)
            .unwrap();
        bytes
    }};
}

mod damaged;
mod kinds;
mod metadata;
mod profiles;
mod programs;
mod saving;

/// All that can be written.
const FORMATS: [ImageFormat; 5] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Tiff,
    ImageFormat::Bmp,
];

/// 6 x 4 pixels, all different, so that each turn and flip shows.
fn colours() -> RgbaImage {
    RgbaImage::from_fn(6, 4, |x, y| {
        Rgba([40 * x, 60 * y, 255 - 40 * x, 130 + 5 * (x + y)].map(|v| v as u8))
    })
}

/// [`colours`] as all ten kinds that the `image` crate has.
fn kinds() -> Vec<DynamicImage> {
    let image = DynamicImage::from(colours());
    vec![
        image.to_luma8().into(),
        image.to_luma_alpha8().into(),
        image.to_rgb8().into(),
        image.to_rgba8().into(),
        image.to_luma16().into(),
        image.to_luma_alpha16().into(),
        image.to_rgb16().into(),
        image.to_rgba16().into(),
        image.to_rgb32f().into(),
        image.to_rgba32f().into(),
    ]
}

fn read(bytes: &[u8]) -> Result<Picture> {
    Picture::from_bytes(bytes, Limits::default())
}

#[track_caller]
fn good(bytes: &[u8]) -> Picture {
    let picture = read(bytes).unwrap();
    assert_eq!(picture.warnings(), []);
    picture
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

fn plain(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// EXIF with the orientation and a maker's name, which must survive.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x02".to_vec();
    exif.extend(b"\x01\x0f\0\x02\0\0\0\x04Ann\0");
    exif.extend([1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    exif.extend([0; 4]);
    exif
}

/// What [`colours`] stored with an orientation looks like to people.
fn upright(orientation: u8) -> RgbaImage {
    let orientation = image::metadata::Orientation::from_exif(orientation).unwrap();
    let mut image = DynamicImage::from(colours());
    image.apply_orientation(orientation);
    image.into_rgba8()
}

#[track_caller]
fn assert_near(found: &DynamicImage, expected: &DynamicImage, tolerance: f32) {
    assert_eq!(found.dimensions(), expected.dimensions());
    let [found, expected] = [found, expected].map(|image| image.to_rgba32f());
    for (x, y, pixel) in found.enumerate_pixels() {
        let other = expected.get_pixel(x, y);
        for (a, b) in pixel.0.iter().zip(other.0) {
            let distance = (a - b).abs() * 255.0;
            assert!(distance <= tolerance, "({x}, {y}): {pixel:?}, {other:?}");
        }
    }
}
