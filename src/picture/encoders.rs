//! Encoders for each format that embed ICC profile, EXIF and XMP.
//!
//! The encoders of `image` cannot embed XMP, and its TIFF encoder cannot embed anything. PNG, WebP
//! and TIFF are therefore written with the encoders that `image` uses internally.

use super::exif::ExifTags;
use super::xmp;
use image::codecs::jpeg::JpegEncoder;
use image::error::EncodingError;
use image::{ColorType, DynamicImage, ImageBuffer, ImageEncoder, ImageError, ImageFormat};
use image::{ImageResult, Pixel};
use png::text_metadata::ITXtChunk;
use std::borrow::Cow;
use std::io::{Seek, Write};
use tiff::encoder::colortype::{self, ColorType as TiffColor};
use tiff::encoder::{TiffEncoder, TiffValue};
use tiff::tags::{ExtraSamples, Tag};
use tiff::{TiffError, TiffResult};

/// High, because the size of the file matters less than the quality of the result.
const JPEG_QUALITY: u8 = 95;

/// Data that a file embeds along with the pixels.
pub(super) struct Embedded<'a> {
    pub profile: Option<&'a [u8]>,
    pub exif: Option<&'a [u8]>,
    pub xmp: Option<&'a str>,
}

impl Embedded<'_> {
    /// Writes a PNG file. Float samples become 16 bit.
    pub(super) fn write_png(&self, image: &DynamicImage, out: &mut impl Write) -> ImageResult<()> {
        let image = match image {
            DynamicImage::ImageRgb32F(_) => Cow::Owned(image.to_rgb16().into()),
            DynamicImage::ImageRgba32F(_) => Cow::Owned(image.to_rgba16().into()),
            _ => Cow::Borrowed(image),
        };
        let color = image.color();
        let mut info = png::Info::with_size(image.width(), image.height());
        info.color_type = match (color.has_color(), color.has_alpha()) {
            (false, false) => png::ColorType::Grayscale,
            (false, true) => png::ColorType::GrayscaleAlpha,
            (true, false) => png::ColorType::Rgb,
            (true, true) => png::ColorType::Rgba,
        };
        let (depth, bytes) = match color.bytes_per_pixel() / color.channel_count() {
            1 => (png::BitDepth::Eight, Cow::Borrowed(samples(&image))),
            _ => (
                png::BitDepth::Sixteen,
                Cow::Owned(big_endian(samples(&image))),
            ),
        };
        info.bit_depth = depth;
        info.icc_profile = self.profile.map(Cow::Borrowed);
        info.exif_metadata = self.exif.map(Cow::Borrowed);
        let xmp = self.xmp.map(|xmp| ITXtChunk::new(xmp::PNG_KEYWORD, xmp));
        info.utf8_text.extend(xmp);
        let written = png::Encoder::with_info(out, info).and_then(|mut encoder| {
            encoder.set_compression(png::Compression::Fast);
            encoder.set_filter(png::Filter::Adaptive);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&bytes)?;
            writer.finish()
        });
        written.map_err(|error| match error {
            png::EncodingError::IoError(error) => ImageError::IoError(error),
            other => encoding_error(ImageFormat::Png, other),
        })
    }

    /// Writes a JPEG file. `image` must not have alpha. Samples become 8 bit.
    pub(super) fn write_jpeg(&self, image: &DynamicImage, out: &mut impl Write) -> ImageResult<()> {
        let Some(xmp) = self.xmp else {
            return self.write_jpeg_without_xmp(image, out);
        };
        let mut bytes = Vec::new();
        self.write_jpeg_without_xmp(image, &mut bytes)?;
        // The file begins with the start-of-image marker (2 bytes) and the JFIF segment (18 bytes),
        // which must come first.
        let (start, rest) = bytes.split_at(20);
        let length = 2 + xmp::JPEG_PREFIX.len() + xmp.len();
        let length = u16::try_from(length).expect("XMP that is too long was left out");
        let segment = [
            start,
            &[0xFF, 0xE1],
            &length.to_be_bytes(),
            xmp::JPEG_PREFIX,
        ];
        out.write_all(&segment.concat())?;
        out.write_all(xmp.as_bytes())?;
        Ok(out.write_all(rest)?)
    }

    fn write_jpeg_without_xmp(
        &self,
        image: &DynamicImage,
        out: &mut impl Write,
    ) -> ImageResult<()> {
        let mut encoder = JpegEncoder::new_with_quality(out, JPEG_QUALITY);
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

    /// Writes a lossless WebP file. Samples become 8 bit.
    pub(super) fn write_webp(&self, image: &DynamicImage, out: &mut impl Write) -> ImageResult<()> {
        use ColorType::*;
        let color = match image.color() {
            L8 => image_webp::ColorType::L8,
            La8 => image_webp::ColorType::La8,
            Rgb8 => image_webp::ColorType::Rgb8,
            Rgba8 => image_webp::ColorType::Rgba8,
            L16 => return self.write_webp(&image.to_luma8().into(), out),
            La16 => return self.write_webp(&image.to_luma_alpha8().into(), out),
            Rgba16 | Rgba32F => return self.write_webp(&image.to_rgba8().into(), out),
            _ => return self.write_webp(&image.to_rgb8().into(), out),
        };
        let mut encoder = image_webp::WebPEncoder::new(out);
        encoder.set_icc_profile(self.profile.unwrap_or_default().to_vec());
        encoder.set_exif_metadata(self.exif.unwrap_or_default().to_vec());
        encoder.set_xmp_metadata(self.xmp.unwrap_or_default().into());
        let written = encoder.encode(samples(image), image.width(), image.height(), color);
        written.map_err(|error| match error {
            image_webp::EncodingError::IoError(error) => ImageError::IoError(error),
            other => encoding_error(ImageFormat::WebP, other),
        })
    }

    /// Writes an uncompressed TIFF file. Grey with alpha becomes RGBA.
    pub(super) fn write_tiff(
        &self,
        image: &DynamicImage,
        out: &mut (impl Write + Seek),
    ) -> ImageResult<()> {
        use DynamicImage::*;
        let written = match image {
            ImageLuma8(image) => self.write_strips::<colortype::Gray8, _>(image, out),
            ImageLuma16(image) => self.write_strips::<colortype::Gray16, _>(image, out),
            ImageRgb8(image) => self.write_strips::<colortype::RGB8, _>(image, out),
            ImageRgb16(image) => self.write_strips::<colortype::RGB16, _>(image, out),
            ImageRgb32F(image) => self.write_strips::<colortype::RGB32Float, _>(image, out),
            ImageRgba8(image) => self.write_strips::<colortype::RGBA8, _>(image, out),
            ImageRgba16(image) => self.write_strips::<colortype::RGBA16, _>(image, out),
            ImageRgba32F(image) => self.write_strips::<colortype::RGBA32Float, _>(image, out),
            ImageLumaA16(_) => return self.write_tiff(&image.to_rgba16().into(), out),
            other => return self.write_tiff(&other.to_rgba8().into(), out),
        };
        written.map_err(|error| match error {
            TiffError::IoError(error) => ImageError::IoError(error),
            other => encoding_error(ImageFormat::Tiff, other),
        })
    }

    /// Writes the strips of a TIFF file and its tags. Declares the fourth sample as alpha, which
    /// the encoder of `image` omits: other programs would take it for a colour.
    fn write_strips<C, P>(
        &self,
        image: &ImageBuffer<P, Vec<C::Inner>>,
        out: &mut (impl Write + Seek),
    ) -> TiffResult<()>
    where
        C: TiffColor,
        P: Pixel<Subpixel = C::Inner>,
        [C::Inner]: TiffValue,
    {
        let mut encoder = TiffEncoder::new(out)?;
        let exif = self.exif.and_then(ExifTags::read);
        let sub_ifds = match &exif {
            Some(exif) => exif.write_sub_ifds(&mut encoder)?,
            None => Vec::new(),
        };
        let mut file = encoder.new_image::<C>(image.width(), image.height())?;
        let tags = file.encoder();
        if P::HAS_ALPHA {
            tags.write_tag(Tag::ExtraSamples, &[ExtraSamples::UnassociatedAlpha][..])?;
        }
        if let Some(profile) = self.profile {
            tags.write_tag(Tag::IccProfile, profile)?;
        }
        if let Some(xmp) = self.xmp {
            tags.write_tag(Tag::Unknown(xmp::TIFF_TAG), xmp.as_bytes())?;
        }
        if let Some(exif) = &exif {
            exif.write_ifd0(&sub_ifds, tags)?;
        }
        // The buffer may be longer than the picture, as in `samples`.
        let pixels = image.width() as usize * image.height() as usize;
        file.write_data(&image.as_raw()[..pixels * usize::from(P::CHANNEL_COUNT)])
    }
}

/// Returns the bytes of the samples. The buffer may be longer than the picture.
fn samples(image: &DynamicImage) -> &[u8] {
    let pixels = image.width() as usize * image.height() as usize;
    &image.as_bytes()[..pixels * usize::from(image.color().bytes_per_pixel())]
}

/// Converts 16-bit samples from native to big-endian byte order.
fn big_endian(samples: &[u8]) -> Vec<u8> {
    let samples = samples.as_chunks().0.iter();
    samples
        .flat_map(|&sample| u16::from_ne_bytes(sample).to_be_bytes())
        .collect()
}

fn encoding_error(
    format: ImageFormat,
    reason: impl std::error::Error + Send + Sync + 'static,
) -> ImageError {
    ImageError::Encoding(EncodingError::new(format.into(), reason))
}
