//! Picture files as people have them: read upright, with their colour profile, EXIF and XMP; written whole or not at all.
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
//! | | read | written | profile | EXIF, XMP | alpha | kinds written |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | PNG | yes | yes | yes | yes | yes | 8 and 16 bit, grey and colour; float becomes 16 bit |
//! | JPEG | yes | quality 95 | yes | yes, up to 64 kB each | put on white | 8 bit, grey and colour |
//! | WebP | yes | lossless | yes | yes | yes | 8 bit, colour |
//! | TIFF | yes | uncompressed | yes | yes, as tags | yes | all; grey with alpha becomes colour |
//! | BMP | yes | yes | colours converted to sRGB | no | yes | 8 bit, colour |
//!
//! Palettes and grey of fewer than 8 bits become 8 bit (palettes in TIFF cannot be read). The first picture of an animation
//! or of a TIFF is read, the others are not. Formats that the application switches on in the `image` crate are read as well,
//! and written without profile, EXIF and XMP.
//!
//! AVIF is one of those, and no feature of this crate: `image = { version = "0.25", features = ["avif"] }` writes it, which
//! brings a video encoder along that takes no profile, so that colours are converted to sRGB; `avif-native` reads it, by a
//! decoder in C (dav1d), which has to be installed. What would only be written, and not with all that is in the picture, is not
//! worth what it costs everybody to build.
//!
//! Not carried: IPTC, text chunks, XMP beyond JPEG's first segment of it or behind the pixels of a PNG; PNG's `gAMA` and `cHRM`
//! are not looked at. A thumbnail within the EXIF stays as it is (in TIFF it is left out), and so do the sizes, the colour space
//! and further parts of a file that EXIF and XMP tell of.
//!
//! # Colour
//!
//! Models know sRGB. [`Picture::map`] converts pictures with another profile to sRGB in float, without cutting colours off
//! that sRGB does not have, and the result back to the picture's own profile, which is embedded again: what was wide-gamut
//! stays so, and nothing is rounded on the way. Profiles of a matrix and curves (cameras, phones, Adobe RGB, ProPhoto) and of
//! grey are converted; those of tables (printers, some scanners), which cannot be undone exactly, and of HDR are kept but not
//! converted: the model sees the values as they are. A profile that cannot be read or is for another kind of colour (CMYK, which
//! decoding turns into RGB) is ignored, with a [`Warning`].

mod ahead;
mod decode;
mod encode;
mod exif;
mod profile;
mod write;
mod xmp;

pub use ahead::ReadAhead;

use crate::error::{Error, Result};
use crate::file::write_whole;
use image::{DynamicImage, ImageFormat, Limits};
use profile::{Conversion, Profile};
use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Stands for the path of a picture in memory in errors.
const MEMORY: &str = "<memory>";

/// A picture and what its file said beside the pixels: see the [module](self).
#[derive(Clone, Debug)]
pub struct Picture {
    image: DynamicImage,
    profile: Option<Profile>,
    exif: Option<Vec<u8>>,
    xmp: Option<String>,
    warnings: Vec<Warning>,
}

/// What could not be kept of a picture: nothing that stops it, but somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The file's colour profile is not used and not kept.
    #[error("the colour profile is ignored: {0}")]
    ProfileIgnored(String),
    /// The format or the kind of picture written holds no such profile; the colours were converted to sRGB.
    #[error("the colours were converted to sRGB, as the file cannot hold their profile")]
    ProfileConverted,
    /// The format written does not hold the EXIF.
    #[error("the EXIF was left out: {0}")]
    ExifLeftOut(String),
    /// The XMP cannot be carried, or the format written does not hold it.
    #[error("the XMP was left out: {0}")]
    XmpLeftOut(String),
    /// JPEG has no transparency; the picture was put on white.
    #[error("JPEG has no transparency, the picture was put on white")]
    OnWhite,
}

impl Picture {
    /// Reads a file, whose format is told by its content. At most 512 MiB of pixels.
    ///
    /// # Errors
    ///
    /// Those of [`open_within`](Self::open_within).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_within(path, Limits::default())
    }

    /// [`open`](Self::open) with other limits: files that are larger than `max_alloc`, or claim pixels that are, are
    /// refused before memory is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file cannot be read, [`Error::Format`] when it is not a picture, damaged, cut short or of a
    /// kind that cannot be decoded, [`Error::InputTooLarge`] when it exceeds the limits.
    pub fn open_within(path: impl AsRef<Path>, limits: Limits) -> Result<Self> {
        let path = path.as_ref();
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let most = limits.max_alloc.unwrap_or(u64::MAX);
        let file = File::open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(io)?;
        if bytes.len() as u64 > most {
            return Err(Error::InputTooLarge {
                path: path.to_owned(),
                reason: format!("the file is larger than the limit of {most} bytes"),
            });
        }
        decode::decode(&bytes, path, limits)
    }

    /// Reads a file that is in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] and [`Error::InputTooLarge`] as [`open_within`](Self::open_within), with the path `<memory>`.
    pub fn from_bytes(bytes: &[u8], limits: Limits) -> Result<Self> {
        decode::decode(bytes, Path::new(MEMORY), limits)
    }

    /// The pixels, upright, as the picture's profile has them.
    pub fn image(&self) -> &DynamicImage {
        &self.image
    }

    /// The ICC profile, byte for byte; `None` is sRGB.
    pub fn icc_profile(&self) -> Option<&[u8]> {
        self.profile.as_ref().map(Profile::bytes)
    }

    /// The EXIF, from its byte order mark on, byte for byte but for the orientation, which has been applied and says so. Of TIFF,
    /// where it is no block of its own, its tags.
    pub fn exif(&self) -> Option<&[u8]> {
        self.exif.as_deref()
    }

    /// The XMP packet, as it was but for the orientation, which says that it has been applied.
    pub fn xmp(&self) -> Option<&str> {
        self.xmp.as_deref()
    }

    /// What could not be kept when the picture was read.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The picture that `f` makes of this one in sRGB, with the same profile, EXIF and XMP: see [Colour](self#colour).
    ///
    /// `f` is given the kind of picture that the file has, or float where the profile is not sRGB; values may be beyond
    /// `0.0..=1.0` then. The result has the kind that `f` returns, or in the latter case that of the file.
    ///
    /// # Errors
    ///
    /// Those of `f`; [`Error::NonFinitePicture`] when a float picture that has to be converted holds NaN or infinity.
    pub fn map<E: From<Error>>(
        self,
        f: impl FnOnce(&DynamicImage) -> Result<DynamicImage, E>,
    ) -> Result<Self, E> {
        let image = f(self.to_srgb()?.as_ref())?;
        Ok(self.with_srgb(image)?)
    }

    /// [`map`](Self::map) with an `f` that is awaited.
    ///
    /// # Errors
    ///
    /// Those of [`map`](Self::map).
    pub async fn map_async<E: From<Error>>(
        self,
        f: impl AsyncFnOnce(&DynamicImage) -> Result<DynamicImage, E>,
    ) -> Result<Self, E> {
        let image = f(self.to_srgb()?.as_ref()).await?;
        Ok(self.with_srgb(image)?)
    }

    /// The pixels in sRGB, in float where they have to be converted.
    fn to_srgb(&self) -> Result<Cow<'_, DynamicImage>> {
        Ok(match self.conversion() {
            Some(conversion) => Cow::Owned(conversion.to_srgb(&self.image)?),
            None => Cow::Borrowed(&self.image),
        })
    }

    /// The picture with other pixels, made from those of [`to_srgb`](Self::to_srgb).
    fn with_srgb(self, image: DynamicImage) -> Result<Self> {
        let image = match self.conversion() {
            Some(conversion) => conversion.undo(&image, self.image.color())?,
            None => image,
        };
        Ok(Self { image, ..self })
    }

    fn conversion(&self) -> Option<&Conversion> {
        self.profile.as_ref().and_then(Profile::conversion)
    }

    /// Writes a file whose format is told by its extension, whole or not at all, and returns what it does not hold: see
    /// [the table](self#what-each-format-keeps).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file cannot be written, [`Error::Format`] when the extension is not that of a format that can
    /// be written, or the format does not hold pictures of this size.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<Vec<Warning>> {
        let path = path.as_ref();
        let format = ImageFormat::from_path(path)
            .ok()
            .filter(ImageFormat::writing_enabled)
            .ok_or_else(|| Error::Format {
                path: path.to_owned(),
                reason: "can write .png, .jpg, .webp, .tiff and .bmp only".to_owned(),
            })?;
        write_whole(path, |out| encode::encode(self, format, out, path))
    }

    /// The bytes of a file of `format`, and what it does not hold.
    ///
    /// # Errors
    ///
    /// [`Error::Format`] as [`save`](Self::save), with the path `<memory>`.
    pub fn to_bytes(&self, format: ImageFormat) -> Result<(Vec<u8>, Vec<Warning>)> {
        let mut bytes = Cursor::new(Vec::new());
        let warnings = encode::encode(self, format, &mut bytes, Path::new(MEMORY))?;
        Ok((bytes.into_inner(), warnings))
    }
}

impl From<DynamicImage> for Picture {
    /// A picture in sRGB, without EXIF and XMP.
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
