//! Real-world picture files through `gendr_pix::picture`: color types, orientations, profiles, EXIF
//! and XMP, alpha, odd sizes, damaged files and decompression bombs. The tests generate most files;
//! `fixtures/` contains files from other programs.

use gendr_pix::picture::{Picture, Warning};
use gendr_pix::{Error, Result};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
use image::{ColorType, DynamicImage, GenericImageView, ImageEncoder, ImageFormat, Limits};
use image::{Rgb, RgbImage, Rgba, RgbaImage};
use std::io::Cursor;
use tiff::encoder::{TiffEncoder, colortype};
use tiff::tags::Tag;

/// Encodes a file with an encoder of the `image` crate.
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

mod color_types;
mod damaged;
mod metadata;
mod profiles;
mod programs;
mod saving;

/// All formats that can be written.
const FORMATS: [ImageFormat; 5] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Tiff,
    ImageFormat::Bmp,
];

/// 6 x 4 pixels, all different, so that every rotation and flip is visible.
fn colours() -> RgbaImage {
    RgbaImage::from_fn(6, 4, |x, y| {
        Rgba([40 * x, 60 * y, 255 - 40 * x, 130 + 5 * (x + y)].map(|v| v as u8))
    })
}

/// [`colours`] in all ten color types of the `image` crate.
fn color_types() -> Vec<DynamicImage> {
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

/// Reads a picture that must not cause a warning.
#[track_caller]
fn read_without_warning(bytes: &[u8]) -> Picture {
    let picture = read(bytes).unwrap();
    assert_eq!(picture.warnings(), []);
    picture
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// Encodes a picture without metadata.
fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// An EXIF block with an orientation, and with a maker that must survive.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"MM\0\x2a\0\0\0\x08\0\x02".to_vec();
    exif.extend(b"\x01\x0f\0\x02\0\0\0\x04Ann\0");
    exif.extend([1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
    exif.extend([0; 4]);
    exif
}

/// [`colours`] as a viewer shows it if the file has this orientation.
fn upright(orientation: u8) -> RgbaImage {
    let orientation = image::metadata::Orientation::from_exif(orientation).unwrap();
    let mut image = DynamicImage::from(colours());
    image.apply_orientation(orientation);
    image.into_rgba8()
}

/// Panics unless all samples are equal to within `tolerance` 8-bit steps.
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
