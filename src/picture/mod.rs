//! Reads picture files upright with their colour profile, EXIF and XMP, and writes files completely
//! or not at all.
//!
//! ```no_run
//! # #[cfg(all(feature = "flex", feature = "pretrained"))]
//! # fn main() -> gendr_pix::Result<()> {
//! use gendr_pix::{GenDrPix, backend, picture::Picture};
//!
//! let model = GenDrPix::<backend::Cpu>::pretrained(&Default::default())?;
//! let large = Picture::open("photo.jpg")?.map(|image| model.upscale(image))?;
//! for warning in large.save("large.png")? {
//!     eprintln!("large.png: {warning}");
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "flex", feature = "pretrained")))]
//! # fn main() {}
//! ```
//!
//! # What each format keeps
//!
//! | | read | written | profile | EXIF, XMP | alpha | color types written |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | PNG | yes | yes | yes | yes | yes | 8 and 16 bit, grey and colour; float becomes 16 bit |
//! | JPEG | yes | quality 95 | yes | yes, up to 64 kB each | flattened on white | 8 bit, grey and colour |
//! | WebP | yes | lossless | yes | yes | yes | 8 bit, colour |
//! | TIFF | yes | uncompressed | yes | yes, as tags | yes | all; grey with alpha becomes colour |
//! | BMP | yes | yes | colours converted to sRGB | no | yes | 8 bit, colour |
//!
//! Palettes and grey with fewer than 8 bits become 8 bit (palettes in TIFF cannot be read). Only
//! the first picture of an animation or of a multi-page TIFF is read. Formats that the application
//! enables in the `image` crate are also read, and written without profile, EXIF and XMP.
//!
//! AVIF is one of those formats. It is not a feature of this crate, because it would add build time
//! for every user, although AVIF could only be written, and only without metadata.
//! `image = { version = "0.25", features = ["avif"] }` enables writing. It builds a video encoder
//! that cannot embed a profile, so colours are converted to sRGB. The feature `avif-native` of
//! `image` reads AVIF with dav1d, a decoder in C that must be installed.
//!
//! The following data is lost: IPTC, text chunks, XMP beyond the first segment in JPEG, and XMP
//! after the pixels in PNG. The `gAMA` and `cHRM` chunks of PNG are ignored. In EXIF and XMP, the
//! picture size, the colour space and references to other parts of the file stay unchanged. So does
//! a thumbnail in the EXIF, except in TIFF, where it is removed.
//!
//! # Colour
//!
//! The models are trained on sRGB. [`Picture::map`] converts a picture with another profile to sRGB
//! in float, without clipping colours outside of the sRGB gamut, and converts the result back to
//! the picture's own profile, which is embedded again. Wide-gamut colours survive, and no
//! intermediate step rounds. Profiles that consist of a matrix and curves (cameras, phones, Adobe
//! RGB, ProPhoto) and grey profiles are converted. Profiles with lookup tables (printers, some
//! scanners), which cannot be inverted exactly, and HDR profiles are kept but not converted: the
//! model sees the stored values. A profile that cannot be read, or is for another colour model
//! (CMYK, which the decoder converts to RGB), is ignored with a [`Warning`].

mod conversion;
mod decode;
mod encode;
mod encoders;
mod exif;
mod profile;
mod read_ahead;
mod xmp;

pub use read_ahead::ReadAhead;

use crate::error::{Error, Result};
use crate::file::write_whole;
use conversion::Conversion;
use image::{DynamicImage, ImageFormat, Limits};
use profile::Profile;
use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// The path that errors state for a picture in memory.
const MEMORY: &str = "<memory>";

/// A picture with the metadata of its file: see the [module](self).
#[derive(Clone, Debug)]
pub struct Picture {
    image: DynamicImage,
    profile: Option<Profile>,
    exif: Option<Vec<u8>>,
    xmp: Option<String>,
    warnings: Vec<Warning>,
}

/// A part of a picture that could not be kept. The picture itself is usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The colour profile of the file is neither used nor kept.
    #[error("the colour profile is ignored: {0}")]
    ProfileIgnored(String),
    /// The format, or the color type that is written, cannot embed the profile, so the colours were
    /// converted to sRGB.
    #[error("the colours were converted to sRGB, because the file cannot embed their profile")]
    ProfileConverted,
    /// The format cannot store the EXIF.
    #[error("the EXIF was left out: {0}")]
    ExifLeftOut(String),
    /// The XMP is not valid text, or the format cannot store it.
    #[error("the XMP was left out: {0}")]
    XmpLeftOut(String),
    /// JPEG has no alpha, so the picture was flattened on white.
    #[error("JPEG has no alpha, so the picture was flattened on white")]
    FlattenedOnWhite,
}

impl Picture {
    /// Reads a file of at most 512 MiB of pixels. The content determines the format.
    ///
    /// # Errors
    ///
    /// The errors of [`open_within`](Self::open_within).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_within(path, Limits::default())
    }

    /// Like [`open`](Self::open), with other limits. A file is rejected before memory is allocated
    /// if the file, or the pixels that it declares, are larger than `max_alloc`.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] if the file cannot be read.
    /// - [`Error::Format`] if it is not a picture, is damaged or truncated, or has pixels that
    ///   cannot be decoded.
    /// - [`Error::InputTooLarge`] if it exceeds the limits.
    pub fn open_within(path: impl AsRef<Path>, limits: Limits) -> Result<Self> {
        let path = path.as_ref();
        let max = limits.max_alloc.unwrap_or(u64::MAX);
        let file = File::open(path).map_err(Error::io(path))?;
        let mut bytes = Vec::new();
        file.take(max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(Error::io(path))?;
        if bytes.len() as u64 > max {
            return Err(Error::InputTooLarge {
                path: path.to_owned(),
                reason: format!("the file is larger than the limit of {max} bytes"),
            });
        }
        decode::decode(&bytes, path, limits)
    }

    /// Reads a file in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] and [`Error::InputTooLarge`] as in [`open_within`](Self::open_within),
    /// with the path `<memory>`.
    pub fn from_bytes(bytes: &[u8], limits: Limits) -> Result<Self> {
        decode::decode(bytes, Path::new(MEMORY), limits)
    }

    /// Returns the pixels, upright, with the values of the picture's profile.
    pub fn image(&self) -> &DynamicImage {
        &self.image
    }

    /// Returns the ICC profile, byte for byte; `None` means sRGB.
    pub fn icc_profile(&self) -> Option<&[u8]> {
        self.profile.as_ref().map(Profile::bytes)
    }

    /// Returns the EXIF block, which begins with the byte order mark. It is unchanged except for
    /// the orientation, which has been applied and reset. For TIFF, where EXIF is not a separate
    /// block, the block is built from the tags.
    pub fn exif(&self) -> Option<&[u8]> {
        self.exif.as_deref()
    }

    /// Returns the XMP packet. It is unchanged except for the orientation, which has been applied
    /// and reset.
    pub fn xmp(&self) -> Option<&str> {
        self.xmp.as_deref()
    }

    /// Returns warnings about what could not be kept when the picture was read.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Applies `f` to the pixels in sRGB, and keeps profile, EXIF and XMP: see
    /// [Colour](self#colour).
    ///
    /// If the profile is sRGB, `f` receives the color type of the file, and the result has the
    /// color type that `f` returns. With another profile, `f` receives float, with values that may
    /// lie outside `0.0..=1.0`, and the result has the color type of the file.
    ///
    /// # Errors
    ///
    /// - The errors of `f`.
    /// - [`Error::NonFinitePicture`] if a float picture that must be converted contains NaN or
    ///   infinity.
    pub fn map<E: From<Error>>(
        self,
        f: impl FnOnce(&DynamicImage) -> Result<DynamicImage, E>,
    ) -> Result<Self, E> {
        let image = f(self.to_srgb()?.as_ref())?;
        Ok(self.with_srgb(image)?)
    }

    /// Like [`map`](Self::map), with an async `f`.
    ///
    /// # Errors
    ///
    /// The errors of [`map`](Self::map).
    pub async fn map_async<E: From<Error>>(
        self,
        f: impl AsyncFnOnce(&DynamicImage) -> Result<DynamicImage, E>,
    ) -> Result<Self, E> {
        let image = f(self.to_srgb()?.as_ref()).await?;
        Ok(self.with_srgb(image)?)
    }

    /// Returns the pixels in sRGB, in float if they must be converted.
    fn to_srgb(&self) -> Result<Cow<'_, DynamicImage>> {
        Ok(match self.conversion() {
            Some(conversion) => Cow::Owned(conversion.to_srgb(&self.image)?),
            None => Cow::Borrowed(&self.image),
        })
    }

    /// Replaces the pixels by `image`, which is in sRGB.
    fn with_srgb(self, image: DynamicImage) -> Result<Self> {
        let image = match self.conversion() {
            Some(conversion) => conversion.to_profile(&image, self.image.color())?,
            None => image,
        };
        Ok(Self { image, ..self })
    }

    /// Returns the conversion to sRGB if the pixels must be converted.
    fn conversion(&self) -> Option<&Conversion> {
        self.profile.as_ref().and_then(Profile::conversion)
    }

    /// Writes a file completely or not at all. The extension determines the format. Returns a
    /// warning for everything that the file does not store: see
    /// [the table](self#what-each-format-keeps).
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] if the file cannot be written.
    /// - [`Error::Format`] if the extension does not belong to a format that can be written, or the
    ///   format cannot store a picture of this size.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<Vec<Warning>> {
        let path = path.as_ref();
        let format = ImageFormat::from_path(path)
            .ok()
            .filter(ImageFormat::writing_enabled)
            .ok_or_else(|| {
                Error::format(
                    path,
                    "only .png, .jpg, .webp, .tiff and .bmp can be written",
                )
            })?;
        write_whole(path, |out| encode::encode(self, format, out, path))
    }

    /// Encodes a file in `format`. Returns its bytes, and a warning for everything that it does not
    /// store.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] as in [`save`](Self::save), with the path `<memory>`.
    pub fn to_bytes(&self, format: ImageFormat) -> Result<(Vec<u8>, Vec<Warning>)> {
        let mut bytes = Cursor::new(Vec::new());
        let warnings = encode::encode(self, format, &mut bytes, Path::new(MEMORY))?;
        Ok((bytes.into_inner(), warnings))
    }
}

impl From<DynamicImage> for Picture {
    /// Creates a picture in sRGB without EXIF and XMP.
    fn from(image: DynamicImage) -> Self {
        Self {
            image,
            profile: None,
            exif: None,
            xmp: None,
            warnings: Vec::new(),
        }
    }
}
