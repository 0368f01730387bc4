//! A [`Picture`] to the bytes of a file.

use super::{Picture, Warning};
use crate::error::{Error, Result};
use image::codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder};
use image::error::EncodingError;
use image::{ColorType, DynamicImage, ImageBuffer, ImageEncoder, ImageError, ImageFormat};
use image::{ImageResult, Pixel, Rgba, RgbaImage, imageops};
use std::borrow::Cow;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use tiff::encoder::colortype::{self, ColorType as TiffColor};
use tiff::encoder::{TiffEncoder, TiffValue};
use tiff::tags::{ExtraSamples, Tag};
use tiff::{TiffError, TiffResult};

/// The picture is the result of much work: spend the bytes.
const JPEG_QUALITY: u8 = 95;
/// A JPEG segment's 65,535 bytes without its length and the mark of EXIF.
const JPEG_EXIF: usize = 65_535 - 2 - 6;

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
        let refusal = refuses_exif(format, exif);
        warnings.extend(refusal.map(|reason| Warning::ExifLeftOut(reason.to_owned())));
        refusal.is_none()
    });
    let image = fit(&source, format, &mut warnings);
    let profile = profile.map(|profile| profile.bytes());
    let metadata = Metadata { profile, exif };
    let mut out = Watched { out, failed: None };
    let written = match format {
        ImageFormat::Png => metadata.write(PngEncoder::new(&mut out), &image),
        ImageFormat::Jpeg => metadata.write(
            JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY),
            &image,
        ),
        ImageFormat::WebP => metadata.write(WebPEncoder::new_lossless(&mut out), &image),
        ImageFormat::Tiff => write_tiff(&image, profile, &mut out),
        other => image.write_to(&mut out, other),
    };
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(source) = out.failed {
        return Err(io(source));
    }
    match written {
        Ok(()) => Ok(warnings),
        Err(ImageError::IoError(source)) => Err(io(source)),
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

/// Why a file of `format` will not have `exif`, if it will not.
fn refuses_exif(format: ImageFormat, exif: &[u8]) -> Option<&'static str> {
    match format {
        ImageFormat::Png | ImageFormat::WebP => None,
        ImageFormat::Jpeg if exif.len() > JPEG_EXIF => Some("JPEG holds 64 kB"),
        ImageFormat::Jpeg => None,
        _ => Some("it is not written to files of this format"),
    }
}

/// Remembers what failed: PNG's encoder writes its last chunk when it is dropped, and keeps an error then to itself.
struct Watched<'a, W> {
    out: &'a mut W,
    failed: Option<io::Error>,
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        written.map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failed.get_or_insert(error);
            }
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Seek> Seek for Watched<'_, W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}

/// What goes beside the pixels, for the encoders that take it.
struct Metadata<'a> {
    profile: Option<&'a [u8]>,
    exif: Option<&'a [u8]>,
}

impl Metadata<'_> {
    fn write(&self, mut encoder: impl ImageEncoder, image: &DynamicImage) -> ImageResult<()> {
        if let Some(profile) = self.profile {
            let set = encoder.set_icc_profile(profile.to_vec());
            set.map_err(ImageError::Unsupported)?;
        }
        if let Some(exif) = self.exif {
            let set = encoder.set_exif_metadata(exif.to_vec());
            set.map_err(ImageError::Unsupported)?;
        }
        image.write_with_encoder(encoder)
    }
}

/// The nearest kind of picture that `format` holds, where the encoder would refuse or drop alpha. (Encoders for 8 bits
/// reduce the depth themselves.)
fn fit<'a>(
    image: &'a DynamicImage,
    format: ImageFormat,
    warnings: &mut Vec<Warning>,
) -> Cow<'a, DynamicImage> {
    use ColorType::{La8, La16, Rgb32F, Rgba32F};
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
        (ImageFormat::Png, Rgb32F) => image.to_rgb16().into(),
        (ImageFormat::Png, Rgba32F) => image.to_rgba16().into(),
        (ImageFormat::Tiff, La16) => image.to_rgba16().into(),
        (ImageFormat::Tiff, La8) | (ImageFormat::Bmp, La8 | La16) => image.to_rgba8().into(),
        _ => return Cow::Borrowed(image),
    })
}

fn on_white(pixels: &RgbaImage) -> DynamicImage {
    let mut white = RgbaImage::from_pixel(pixels.width(), pixels.height(), Rgba([255; 4]));
    imageops::overlay(&mut white, pixels, 0, 0);
    white.into()
}

/// A TIFF that says what its fourth sample is, which `image`'s encoder leaves out: other programs take it for colour.
fn write_tiff(
    image: &DynamicImage,
    profile: Option<&[u8]>,
    out: &mut (impl Write + Seek),
) -> ImageResult<()> {
    use DynamicImage::*;
    let written = match image {
        ImageLuma8(image) => strips::<colortype::Gray8, _>(image, profile, out),
        ImageLuma16(image) => strips::<colortype::Gray16, _>(image, profile, out),
        ImageRgb8(image) => strips::<colortype::RGB8, _>(image, profile, out),
        ImageRgb16(image) => strips::<colortype::RGB16, _>(image, profile, out),
        ImageRgb32F(image) => strips::<colortype::RGB32Float, _>(image, profile, out),
        ImageRgba8(image) => strips::<colortype::RGBA8, _>(image, profile, out),
        ImageRgba16(image) => strips::<colortype::RGBA16, _>(image, profile, out),
        ImageRgba32F(image) => strips::<colortype::RGBA32Float, _>(image, profile, out),
        other => return write_tiff(&other.to_rgba8().into(), profile, out),
    };
    written.map_err(|error| match error {
        TiffError::IoError(error) => ImageError::IoError(error),
        other => ImageError::Encoding(EncodingError::new(ImageFormat::Tiff.into(), other)),
    })
}

fn strips<C, P>(
    image: &ImageBuffer<P, Vec<C::Inner>>,
    profile: Option<&[u8]>,
    out: &mut (impl Write + Seek),
) -> TiffResult<()>
where
    C: TiffColor,
    P: Pixel<Subpixel = C::Inner>,
    [C::Inner]: TiffValue,
{
    let mut encoder = TiffEncoder::new(out)?;
    let mut file = encoder.new_image::<C>(image.width(), image.height())?;
    if P::HAS_ALPHA {
        let straight = [ExtraSamples::UnassociatedAlpha];
        file.encoder().write_tag(Tag::ExtraSamples, &straight[..])?;
    }
    if let Some(profile) = profile {
        file.encoder().write_tag(Tag::IccProfile, profile)?;
    }
    // Not the whole `Vec`: it may be longer than the picture.
    let pixels = image.width() as usize * image.height() as usize;
    file.write_data(&image.as_raw()[..pixels * usize::from(P::CHANNEL_COUNT)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

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
