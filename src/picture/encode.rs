//! Encodes a [`Picture`] as a file: adapts it to what the format can store, and collects the
//! warnings.

use super::decode::EXIF_PREFIX;
use super::encoders::Embedded;
use super::{Picture, Warning, xmp};
use crate::error::{Error, Result};
use image::{ColorType, DynamicImage, ImageError, ImageFormat, Rgba, RgbaImage, imageops};
use std::borrow::Cow;
use std::io::{Seek, Write};
use std::path::Path;

/// Capacity of a JPEG segment: 65,535 bytes minus its length field. The prefix that identifies the
/// content counts as content.
const JPEG_SEGMENT: usize = 65_535 - 2;

/// Writes `picture` to `out` in `format`. Returns a warning for everything that the file cannot
/// store. `path` names the file in errors.
///
/// # Errors
///
/// - [`Error::Io`] if writing fails.
/// - [`Error::Format`] if the format cannot store the picture.
pub(super) fn encode(
    picture: &Picture,
    format: ImageFormat,
    out: &mut (impl Write + Seek),
    path: &Path,
) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    let mut source = Cow::Borrowed(&picture.image);
    let mut profile = picture.profile.as_ref();
    if let Some(own) = profile
        && !can_embed_profile(format, picture.image.color())
    {
        match own.convert_to_srgb(&picture.image) {
            Some(converted) if own.is_srgb() => source = Cow::Owned(converted),
            Some(converted) => {
                source = Cow::Owned(converted);
                warnings.push(Warning::ProfileConverted);
            }
            None => {
                let reason =
                    "the format cannot store it, and it cannot be converted to sRGB".to_owned();
                warnings.push(Warning::ProfileIgnored(reason));
            }
        }
        profile = None;
    }
    let exif = picture.exif().filter(|exif| {
        let reason = metadata_obstacle(format, exif.len() + EXIF_PREFIX.len());
        warnings.extend(reason.map(|reason| Warning::ExifLeftOut(reason.to_owned())));
        reason.is_none()
    });
    let xmp = picture.xmp().filter(|xmp| {
        let reason = metadata_obstacle(format, xmp.len() + xmp::JPEG_PREFIX.len());
        warnings.extend(reason.map(|reason| Warning::XmpLeftOut(reason.to_owned())));
        reason.is_none()
    });
    let image = adapt_alpha(&source, format, &mut warnings);
    let profile = profile.map(|profile| profile.bytes());
    let embedded = Embedded { profile, exif, xmp };
    let written = match format {
        ImageFormat::Png => embedded.write_png(&image, out),
        ImageFormat::Jpeg => embedded.write_jpeg(&image, out),
        ImageFormat::WebP => embedded.write_webp(&image, out),
        ImageFormat::Tiff => embedded.write_tiff(&image, out),
        other => image.write_to(out, other),
    };
    match written {
        Ok(()) => Ok(warnings),
        Err(ImageError::IoError(source)) => Err(Error::io(path)(source)),
        Err(other) => Err(Error::format(path, other.to_string())),
    }
}

/// Returns whether a file of `format` can embed the profile of a picture with color type `color`. A
/// picture that the format stores with another colour model (grey as RGB) cannot keep its profile.
fn can_embed_profile(format: ImageFormat, color: ColorType) -> bool {
    match format {
        ImageFormat::Png | ImageFormat::Jpeg => true,
        ImageFormat::WebP => color.has_color(),
        ImageFormat::Tiff => color.has_color() || !color.has_alpha(),
        _ => false,
    }
}

/// Returns the reason why a file of `format` cannot contain EXIF or XMP of `size` bytes including
/// its prefix; `None` if it can.
fn metadata_obstacle(format: ImageFormat, size: usize) -> Option<&'static str> {
    match format {
        ImageFormat::Png | ImageFormat::WebP | ImageFormat::Tiff => None,
        ImageFormat::Jpeg if size > JPEG_SEGMENT => {
            Some("it is larger than the 64 kB that JPEG can store")
        }
        ImageFormat::Jpeg => None,
        _ => Some("this format does not store it"),
    }
}

/// Composites alpha on white for JPEG, which has no alpha, and converts grey with alpha to RGBA for
/// BMP, whose encoder rejects it.
fn adapt_alpha<'a>(
    image: &'a DynamicImage,
    format: ImageFormat,
    warnings: &mut Vec<Warning>,
) -> Cow<'a, DynamicImage> {
    use ColorType::{La8, La16};
    Cow::Owned(match (format, image.color()) {
        (ImageFormat::Jpeg, color) if color.has_alpha() => {
            let pixels = image.to_rgba8();
            if pixels.pixels().any(|pixel| pixel.0[3] < 255) {
                warnings.push(Warning::FlattenedOnWhite);
            }
            let white = on_white(&pixels);
            match color.has_color() {
                true => white,
                false => white.into_luma8().into(),
            }
        }
        (ImageFormat::Bmp, La8 | La16) => image.to_rgba8().into(),
        _ => return Cow::Borrowed(image),
    })
}

/// Composites `pixels` on a white background.
fn on_white(pixels: &RgbaImage) -> DynamicImage {
    let mut white = RgbaImage::from_pixel(pixels.width(), pixels.height(), Rgba([255; 4]));
    imageops::overlay(&mut white, pixels, 0, 0);
    white.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Cursor, SeekFrom};

    /// A disk that is full after `room` bytes.
    struct SmallDisk {
        room: u64,
        file: Cursor<Vec<u8>>,
    }

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.file.position() + bytes.len() as u64 > self.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.file.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for SmallDisk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    #[test]
    fn every_encoder_reports_a_full_disk() {
        let noise = RgbaImage::from_fn(64, 48, |x, y| {
            Rgba([x * 31, y * 17, x * y, 255].map(|v| v as u8))
        });
        let picture = Picture::from(DynamicImage::from(noise));
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Tiff,
            ImageFormat::Bmp,
        ] {
            let whole = picture.to_bytes(format).unwrap().0.len() as u64;
            for room in [0, 20, whole / 2, whole - 1] {
                let file = Cursor::default();
                let error = encode(
                    &picture,
                    format,
                    &mut SmallDisk { room, file },
                    Path::new("a"),
                );
                assert!(
                    matches!(&error, Err(Error::Io { path, .. }) if path == Path::new("a")),
                    "{format:?}, {room} of {whole} bytes: {error:?}"
                );
            }
            let file = Cursor::default();
            encode(
                &picture,
                format,
                &mut SmallDisk { room: whole, file },
                Path::new("a"),
            )
            .unwrap();
        }
    }
}
