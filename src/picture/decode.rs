//! The bytes of a file to a [`Picture`].

use super::exif::Tags;
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

/// What some programs write before the EXIF itself where a format asks for that alone; JPEG has it always.
pub(super) const EXIF_MARK: &[u8] = b"Exif\0\0";

/// # Errors
///
/// [`Error::Format`] and [`Error::InputTooLarge`], naming `path`.
pub(super) fn decode(bytes: &[u8], path: &Path, limits: Limits) -> Result<Picture> {
    let failed = |error| match error {
        ImageError::Limits(_) => Error::InputTooLarge {
            path: path.to_owned(),
            reason: "its pixels exceed the limits of memory or size".to_owned(),
        },
        other => invalid(path, other.to_string()),
    };
    let format = image::guess_format(bytes)
        .ok()
        .filter(ImageFormat::reading_enabled);
    let format = format.ok_or_else(|| invalid(path, "is not a picture that can be read".into()))?;
    if is_cut_short(bytes, format) {
        return Err(invalid(path, "the file is cut short".into()));
    }
    let parts = parts(bytes, format, limits).map_err(failed)?;
    picture(parts)
}

/// What a decoder tells.
struct Parts {
    image: DynamicImage,
    beside: Beside,
    orientation: Orientation,
}

/// What is in a file beside the pixels.
#[derive(Default)]
struct Beside {
    profile: Option<Vec<u8>>,
    exif: Option<Vec<u8>>,
    xmp: Option<Vec<u8>>,
    /// Whether colour is multiplied by alpha.
    premultiplied: bool,
}

fn parts(bytes: &[u8], format: ImageFormat, mut limits: Limits) -> ImageResult<Parts> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    // The pixels count against the limits, as in `ImageReader::decode`.
    limits.reserve(decoder.total_bytes())?;
    decoder.set_limits(limits)?;
    let mut beside = match format {
        ImageFormat::Tiff => Beside::of_tiff(bytes),
        _ => Beside {
            profile: decoder.icc_profile()?,
            exif: decoder.exif_metadata()?,
            xmp: decoder.xmp_metadata()?,
            premultiplied: false,
        },
    };
    let exif = &mut beside.exif;
    if let Some(exif) = exif
        && exif.starts_with(EXIF_MARK)
    {
        exif.drain(..EXIF_MARK.len());
    }
    let in_exif = exif
        .as_deref_mut()
        .and_then(Orientation::remove_from_exif_chunk);
    let orientation = match in_exif {
        Some(orientation) => orientation,
        None => decoder.orientation()?,
    };
    let image = DynamicImage::from_decoder(decoder)?;
    Ok(Parts {
        image,
        beside,
        orientation,
    })
}

impl Beside {
    /// What `image` does not tell of TIFF: the EXIF, whether colour is multiplied by alpha, and profiles that are larger than
    /// the pixels (image-tiff issue 413).
    fn of_tiff(bytes: &[u8]) -> Self {
        let Ok(mut tiff) = tiff::decoder::Decoder::new(Cursor::new(bytes)) else {
            return Self::default();
        };
        let extra = tiff.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
        let associated = ExtraSamples::AssociatedAlpha.to_u16();
        Self {
            profile: tiff.get_tag_u8_vec(Tag::IccProfile).ok(),
            exif: Tags::read(bytes).and_then(|tags| tags.to_exif().ok()),
            xmp: tiff.get_tag_u8_vec(Tag::Unknown(xmp::TIFF_TAG)).ok(),
            premultiplied: matches!(extra, Ok(Some(extra)) if extra.first() == Some(&associated)),
        }
    }
}

fn picture(parts: Parts) -> Result<Picture> {
    let Parts {
        mut image,
        beside,
        orientation,
    } = parts;
    image.apply_orientation(orientation);
    if beside.premultiplied {
        image = straight(&image)?;
    }
    let mut warnings = Vec::new();
    let profile = beside.profile.and_then(|bytes| {
        Profile::new(bytes, image.color().has_color())
            .map_err(|reason| warnings.push(Warning::ProfileIgnored(reason)))
            .ok()
    });
    let mut xmp = xmp::text(beside.xmp.unwrap_or_default()).unwrap_or_else(|reason| {
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
        exif: beside.exif,
        xmp,
        warnings,
    })
}

/// Divides colour by alpha. Where nothing is visible, nothing is known of the colour.
fn straight(image: &DynamicImage) -> Result<DynamicImage> {
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

/// Whether the end is missing, of formats whose decoders fill up with grey instead of saying so.
fn is_cut_short(bytes: &[u8], format: ImageFormat) -> bool {
    match format {
        ImageFormat::Jpeg => !has_end_of_jpeg(bytes),
        _ => false,
    }
}

/// Walks over the segments and the scans between them up to the marker of the end. A thumbnail's is not taken for it: it
/// is within a segment.
fn has_end_of_jpeg(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    let mut at = 2; // past the start of the image
    loop {
        // To the next marker: 0xFF, with any number more to fill up, and a code. In scans 0xFF 0x00 is data.
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
            // Data, and markers without a segment.
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

fn invalid(path: &Path, reason: String) -> Error {
    let path = path.to_owned();
    Error::Format { path, reason }
}
