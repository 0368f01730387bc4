//! A [`Picture`] to the bytes of a file.

use super::decode::EXIF_MARK;
use super::write::Beside;
use super::{Picture, Warning, xmp};
use crate::error::{Error, Result};
use image::{ColorType, DynamicImage, ImageError, ImageFormat, Rgba, RgbaImage, imageops};
use std::borrow::Cow;
use std::io::{Seek, Write};
use std::path::Path;

/// A JPEG segment's 65,535 bytes without its length; the mark of what it holds comes off, too.
const JPEG_SEGMENT: usize = 65_535 - 2;

/// # Errors
///
/// [`Error::Io`] and [`Error::Format`], naming `path`.
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
        && !holds_profile(format, picture.image.color())
    {
        match own.flatten(&picture.image) {
            Some(flat) if own.is_srgb() => source = Cow::Owned(flat),
            Some(flat) => {
                source = Cow::Owned(flat);
                warnings.push(Warning::ProfileConverted);
            }
            None => {
                let reason = "the file cannot hold it, and it cannot be converted".to_owned();
                warnings.push(Warning::ProfileIgnored(reason));
            }
        }
        profile = None;
    }
    let exif = picture.exif().filter(|exif| {
        let refusal = refuses(format, exif.len() + EXIF_MARK.len());
        warnings.extend(refusal.map(|reason| Warning::ExifLeftOut(reason.to_owned())));
        refusal.is_none()
    });
    let xmp = picture.xmp().filter(|xmp| {
        let refusal = refuses(format, xmp.len() + xmp::JPEG_MARK.len());
        warnings.extend(refusal.map(|reason| Warning::XmpLeftOut(reason.to_owned())));
        refusal.is_none()
    });
    let image = fit(&source, format, &mut warnings);
    let profile = profile.map(|profile| profile.bytes());
    let beside = Beside { profile, exif, xmp };
    let written = match format {
        ImageFormat::Png => beside.png(&image, out),
        ImageFormat::Jpeg => beside.jpeg(&image, out),
        ImageFormat::WebP => beside.webp(&image, out),
        ImageFormat::Tiff => beside.tiff(&image, out),
        other => image.write_to(out, other),
    };
    match written {
        Ok(()) => Ok(warnings),
        Err(ImageError::IoError(source)) => Err(Error::Io {
            path: path.to_owned(),
            source,
        }),
        Err(other) => Err(Error::Format {
            path: path.to_owned(),
            reason: other.to_string(),
        }),
    }
}

/// Whether the file will have the kind of colour that the profile of a picture of the kind `color` is for.
fn holds_profile(format: ImageFormat, color: ColorType) -> bool {
    match format {
        ImageFormat::Png | ImageFormat::Jpeg => true,
        ImageFormat::WebP => color.has_color(),
        ImageFormat::Tiff => color.has_color() || !color.has_alpha(),
        _ => false,
    }
}

/// Why a file of `format` will not have EXIF or XMP of `size` bytes with its mark, if it will not.
fn refuses(format: ImageFormat, size: usize) -> Option<&'static str> {
    match format {
        ImageFormat::Png | ImageFormat::WebP | ImageFormat::Tiff => None,
        ImageFormat::Jpeg if size > JPEG_SEGMENT => Some("JPEG holds 64 kB"),
        ImageFormat::Jpeg => None,
        _ => Some("it is not written to files of this format"),
    }
}

/// The picture without alpha where the encoder would drop it, and with where it would refuse it.
fn fit<'a>(
    image: &'a DynamicImage,
    format: ImageFormat,
    warnings: &mut Vec<Warning>,
) -> Cow<'a, DynamicImage> {
    use ColorType::{La8, La16};
    Cow::Owned(match (format, image.color()) {
        (ImageFormat::Jpeg, color) if color.has_alpha() => {
            let pixels = image.to_rgba8();
            if pixels.pixels().any(|pixel| pixel.0[3] < 255) {
                warnings.push(Warning::OnWhite);
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

fn on_white(pixels: &RgbaImage) -> DynamicImage {
    let mut white = RgbaImage::from_pixel(pixels.width(), pixels.height(), Rgba([255; 4]));
    imageops::overlay(&mut white, pixels, 0, 0);
    white.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Cursor, SeekFrom};

    /// A disk with room for some bytes only.
    struct Disk {
        room: u64,
        file: Cursor<Vec<u8>>,
    }

    impl Write for Disk {
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

    impl Seek for Disk {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.file.seek(to)
        }
    }

    #[test]
    fn a_full_disk_is_told_by_every_encoder() {
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
                let error = encode(&picture, format, &mut Disk { room, file }, Path::new("a"));
                assert!(
                    matches!(&error, Err(Error::Io { path, .. }) if path == Path::new("a")),
                    "{format:?}, {room} of {whole} bytes: {error:?}"
                );
            }
            let file = Cursor::default();
            encode(
                &picture,
                format,
                &mut Disk { room: whole, file },
                Path::new("a"),
            )
            .unwrap();
        }
    }
}
