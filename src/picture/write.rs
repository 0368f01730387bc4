//! Pixels and what goes beside them, by format.
//!
//! `image`'s encoders take no XMP, and that of TIFF nothing at all: but for JPEG these are the encoders that it uses itself.

use super::exif::Tags;
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

/// The picture is the result of much work: spend the bytes.
const JPEG_QUALITY: u8 = 95;

/// What goes beside the pixels.
pub(super) struct Beside<'a> {
    pub profile: Option<&'a [u8]>,
    pub exif: Option<&'a [u8]>,
    pub xmp: Option<&'a str>,
}

impl Beside<'_> {
    /// Float becomes 16 bit.
    pub(super) fn png(&self, image: &DynamicImage, out: &mut impl Write) -> ImageResult<()> {
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
            other => refused(ImageFormat::Png, other),
        })
    }

    /// Colour without alpha, or grey. All becomes 8 bit.
    pub(super) fn jpeg(&self, image: &DynamicImage, out: &mut impl Write) -> ImageResult<()> {
        let Some(xmp) = self.xmp else {
            return self.jpeg_without_xmp(image, out);
        };
        let mut bytes = Vec::new();
        self.jpeg_without_xmp(image, &mut bytes)?;
        // The mark of the start, and the segment of JFIF, which has to be the first.
        let (start, rest) = bytes.split_at(20);
        let length = 2 + xmp::JPEG_MARK.len() + xmp.len();
        let length = u16::try_from(length).expect("what is longer was left out");
        let segment = [start, &[0xFF, 0xE1], &length.to_be_bytes(), xmp::JPEG_MARK];
        out.write_all(&segment.concat())?;
        out.write_all(xmp.as_bytes())?;
        Ok(out.write_all(rest)?)
    }

    fn jpeg_without_xmp(&self, image: &DynamicImage, out: &mut impl Write) -> ImageResult<()> {
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

    /// All becomes 8 bit.
    pub(super) fn webp(&self, image: &DynamicImage, out: &mut impl Write) -> ImageResult<()> {
        use ColorType::*;
        let color = match image.color() {
            L8 => image_webp::ColorType::L8,
            La8 => image_webp::ColorType::La8,
            Rgb8 => image_webp::ColorType::Rgb8,
            Rgba8 => image_webp::ColorType::Rgba8,
            L16 => return self.webp(&image.to_luma8().into(), out),
            La16 => return self.webp(&image.to_luma_alpha8().into(), out),
            Rgba16 | Rgba32F => return self.webp(&image.to_rgba8().into(), out),
            _ => return self.webp(&image.to_rgb8().into(), out),
        };
        let mut encoder = image_webp::WebPEncoder::new(out);
        encoder.set_icc_profile(self.profile.unwrap_or_default().to_vec());
        encoder.set_exif_metadata(self.exif.unwrap_or_default().to_vec());
        encoder.set_xmp_metadata(self.xmp.unwrap_or_default().into());
        let written = encoder.encode(samples(image), image.width(), image.height(), color);
        written.map_err(|error| match error {
            image_webp::EncodingError::IoError(error) => ImageError::IoError(error),
            other => refused(ImageFormat::WebP, other),
        })
    }

    /// Grey with alpha becomes colour.
    pub(super) fn tiff(
        &self,
        image: &DynamicImage,
        out: &mut (impl Write + Seek),
    ) -> ImageResult<()> {
        use DynamicImage::*;
        let written = match image {
            ImageLuma8(image) => self.strips::<colortype::Gray8, _>(image, out),
            ImageLuma16(image) => self.strips::<colortype::Gray16, _>(image, out),
            ImageRgb8(image) => self.strips::<colortype::RGB8, _>(image, out),
            ImageRgb16(image) => self.strips::<colortype::RGB16, _>(image, out),
            ImageRgb32F(image) => self.strips::<colortype::RGB32Float, _>(image, out),
            ImageRgba8(image) => self.strips::<colortype::RGBA8, _>(image, out),
            ImageRgba16(image) => self.strips::<colortype::RGBA16, _>(image, out),
            ImageRgba32F(image) => self.strips::<colortype::RGBA32Float, _>(image, out),
            ImageLumaA16(_) => return self.tiff(&image.to_rgba16().into(), out),
            other => return self.tiff(&other.to_rgba8().into(), out),
        };
        written.map_err(|error| match error {
            TiffError::IoError(error) => ImageError::IoError(error),
            other => refused(ImageFormat::Tiff, other),
        })
    }

    /// Says what the fourth sample is, which `image`'s encoder leaves out: other programs take it for colour.
    fn strips<C, P>(
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
        let exif = self.exif.and_then(Tags::read);
        let below = match &exif {
            Some(exif) => exif.write_below(&mut encoder)?,
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
            exif.write_first(&below, tags)?;
        }
        // As in `samples`.
        let pixels = image.width() as usize * image.height() as usize;
        file.write_data(&image.as_raw()[..pixels * usize::from(P::CHANNEL_COUNT)])
    }
}

/// The bytes of the samples. Not the whole buffer: it may be longer than the picture.
fn samples(image: &DynamicImage) -> &[u8] {
    let pixels = image.width() as usize * image.height() as usize;
    &image.as_bytes()[..pixels * usize::from(image.color().bytes_per_pixel())]
}

fn big_endian(samples: &[u8]) -> Vec<u8> {
    let samples = samples.as_chunks().0.iter();
    samples
        .flat_map(|&sample| u16::from_ne_bytes(sample).to_be_bytes())
        .collect()
}

fn refused(
    format: ImageFormat,
    reason: impl std::error::Error + Send + Sync + 'static,
) -> ImageError {
    ImageError::Encoding(EncodingError::new(format.into(), reason))
}
