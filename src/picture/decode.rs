//! Decodes the bytes of a file to a [`Picture`].

use super::exif::ExifTags;
use super::profile::Profile;
use super::{Picture, Warning, xmp};
use crate::error::{Error, Result};
use crate::pixels::{from_planes, to_planes};
use image::metadata::Orientation;
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits,
};
use std::io::Cursor;
use std::path::Path;
use tiff::tags::{ExtraSamples, Tag};

/// The prefix of EXIF in a JPEG segment. Some programs also write it in formats that specify EXIF
/// without a prefix.
pub(super) const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// Decodes a picture within `limits`. `path` names the file in errors.
///
/// # Errors
///
/// - [`Error::Format`] if the bytes are not a complete picture in a supported format.
/// - [`Error::InputTooLarge`] if the picture exceeds the limits.
pub(super) fn decode(bytes: &[u8], path: &Path, limits: Limits) -> Result<Picture> {
    let failed = |error| match error {
        ImageError::Limits(_) => Error::InputTooLarge {
            path: path.to_owned(),
            reason: "the pixels exceed the limits for memory or size".to_owned(),
        },
        other => Error::format(path, other.to_string()),
    };
    let format = image::guess_format(bytes)
        .ok()
        .filter(ImageFormat::reading_enabled);
    let format =
        format.ok_or_else(|| Error::format(path, "is not a picture in a supported format"))?;
    if is_truncated(bytes, format) {
        return Err(Error::format(path, "the file is truncated"));
    }
    let decoded = run_decoder(bytes, format, limits).map_err(failed)?;
    to_picture(decoded)
}

/// The output of a decoder: the picture as it is stored.
struct Decoded {
    image: DynamicImage,
    metadata: StoredMetadata,
    orientation: Orientation,
}

/// Data that a file stores along with the pixels.
#[derive(Default)]
struct StoredMetadata {
    profile: Option<Vec<u8>>,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    /// Whether colour is premultiplied by alpha.
    premultiplied: bool,
}

fn run_decoder(bytes: &[u8], format: ImageFormat, mut limits: Limits) -> ImageResult<Decoded> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    // Count the pixels against the limits, as `ImageReader::decode` does.
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    let mut metadata = match format {
        ImageFormat::Tiff => StoredMetadata::from_tiff(bytes),
        _ => StoredMetadata {
            profile: decoder.icc_profile()?,
            exif: decoder.exif_metadata()?,
            xmp: decoder.xmp_metadata()?,
            premultiplied: false,
        },
    };
    let exif = &mut metadata.exif;
    if let Some(exif) = exif
        && exif.starts_with(EXIF_PREFIX)
    {
        exif.drain(..EXIF_PREFIX.len());
    }
    let in_exif = exif
        .as_deref_mut()
        .and_then(Orientation::remove_from_exif_chunk);
    let orientation = match in_exif {
        Some(orientation) => orientation,
        None => decoder.orientation()?,
    };
    let image = DynamicImage::from_decoder(decoder)?;
    Ok(Decoded {
        image,
        metadata,
        orientation,
    })
}

impl StoredMetadata {
    /// Reads what `image` does not report for TIFF: the EXIF, whether colour is premultiplied by
    /// alpha, and profiles that are larger than the pixels (image-tiff issue 413).
    fn from_tiff(bytes: &[u8]) -> Self {
        let Ok(mut tiff) = tiff::decoder::Decoder::new(Cursor::new(bytes)) else {
            return Self::default();
        };
        let extra = tiff.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
        let associated = ExtraSamples::AssociatedAlpha.to_u16();
        Self {
            profile: tiff.get_tag_u8_vec(Tag::IccProfile).ok(),
            exif: ExifTags::read(bytes).and_then(|tags| tags.to_exif().ok()),
            xmp: tiff.get_tag_u8_vec(Tag::Unknown(xmp::TIFF_TAG)).ok(),
            premultiplied: matches!(extra, Ok(Some(extra)) if extra.first() == Some(&associated)),
        }
    }
}

/// Applies the orientation and checks the metadata.
fn to_picture(decoded: Decoded) -> Result<Picture> {
    let Decoded {
        mut image,
        metadata,
        orientation,
    } = decoded;
    image.apply_orientation(orientation);
    if metadata.premultiplied {
        image = unpremultiply(&image)?;
    }
    let mut warnings = Vec::new();
    let profile = metadata.profile.and_then(|bytes| {
        Profile::new(bytes, image.color().has_color())
            .map_err(|reason| warnings.push(Warning::ProfileIgnored(reason)))
            .ok()
    });
    let mut xmp = xmp::text(metadata.xmp.unwrap_or_default()).unwrap_or_else(|reason| {
        warnings.push(Warning::XmpLeftOut(reason));
        None
    });
    if let Some(xmp) = &mut xmp
        && orientation != Orientation::NoTransforms
    {
        xmp::set_upright(xmp);
    }
    Ok(Picture {
        image,
        profile,
        exif: metadata.exif,
        xmp,
        warnings,
    })
}

/// Divides colour by alpha. The colour of fully transparent pixels is unknown and stays as it is.
fn unpremultiply(image: &DynamicImage) -> Result<DynamicImage> {
    let (mut rgb, alpha) = to_planes(image)?;
    let Some(alpha) = alpha else {
        return Ok(image.clone());
    };
    for plane in rgb.data.chunks_exact_mut(alpha.data.len()) {
        for (value, &alpha) in plane.iter_mut().zip(&alpha.data) {
            if alpha > 0.0 {
                *value /= alpha;
            }
        }
    }
    Ok(from_planes(&rgb, Some(&alpha), image.color()))
}

/// Returns whether the end of the file is missing, for formats whose decoders fill the missing part
/// with grey instead of failing.
fn is_truncated(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Jpeg => !has_end_of_jpeg(bytes),
        _ => false,
    }
}

/// Walks over segments and scans to the end-of-image marker. The marker of an embedded thumbnail
/// does not count, because it lies within a segment.
fn has_end_of_jpeg(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    let mut at = 2; // after the start-of-image marker
    loop {
        // A marker is one or more 0xFF bytes and a code. In a scan, 0xFF 0x00 is data.
        let Some(skipped) = bytes[at..].iter().position(|&byte| byte == 0xFF) else {
            return false;
        };
        at += skipped;
        let Some(fill) = bytes[at..].iter().position(|&byte| byte != 0xFF) else {
            return false;
        };
        let code = bytes[at + fill];
        at += fill + 1;
        match code {
            END => return true,
            // Data, or a marker without a segment.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            _ => {
                let Some(&[high, low]) = bytes.get(at..at + 2) else {
                    return false;
                };
                at += usize::from(u16::from_be_bytes([high, low])).max(2);
                if at > bytes.len() {
                    return false;
                }
            }
        }
    }
}
