//! ICC profiles of pictures.

use super::conversion::Conversion;
use crate::pixels::{from_planes, to_planes};
use image::DynamicImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

/// An ICC profile that matches the colour model of its picture.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    bytes: Vec<u8>,
    encoding: Encoding,
}

#[derive(Clone, Debug)]
enum Encoding {
    /// sRGB, up to the differences between the sRGB profiles in use.
    Srgb,
    /// Colours that can be converted to sRGB and back without loss.
    Convertible(Conversion),
    /// Lookup tables or HDR. These may be convertible to sRGB, but not back.
    Other(Box<ColorProfile>),
}

impl Profile {
    /// Parses a profile for a colour picture or a grey one.
    ///
    /// # Errors
    ///
    /// The reason why the profile cannot be used with such a picture.
    pub(super) fn new(bytes: Vec<u8>, has_color: bool) -> Result<Self, String> {
        let profile = ColorProfile::new_from_slice(&bytes).map_err(|error| error.to_string())?;
        let (kind, name) = match has_color {
            true => (DataColorSpace::Rgb, "RGB"),
            false => (DataColorSpace::Gray, "grey"),
        };
        if profile.color_space != kind {
            let found = profile.color_space;
            return Err(format!(
                "it is for {found:?} data, but the picture is {name}"
            ));
        }
        let encoding = match Conversion::new(&profile) {
            Some(conversion) if conversion.is_identity() => Encoding::Srgb,
            Some(conversion) => Encoding::Convertible(conversion),
            None => Encoding::Other(Box::new(profile)),
        };
        Ok(Self { bytes, encoding })
    }

    /// Returns the ICC data, byte for byte.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_srgb(&self) -> bool {
        matches!(self.encoding, Encoding::Srgb)
    }

    /// Returns the conversion to sRGB; `None` if the values are sRGB already, or cannot be
    /// converted back.
    pub(super) fn conversion(&self) -> Option<&Conversion> {
        match &self.encoding {
            Encoding::Convertible(conversion) => Some(conversion),
            Encoding::Srgb | Encoding::Other(_) => None,
        }
    }

    /// Converts `image` to sRGB with the same color type, for files that cannot embed the profile.
    /// Returns `None` if the profile does not allow it.
    pub(super) fn convert_to_srgb(&self, image: &DynamicImage) -> Option<DynamicImage> {
        let (mut rgb, alpha) = to_planes(image).ok()?;
        match &self.encoding {
            Encoding::Srgb => return Some(image.clone()),
            Encoding::Convertible(conversion) => conversion.planes_to_srgb(&mut rgb),
            Encoding::Other(profile) => {
                let options = TransformOptions::default();
                let srgb = ColorProfile::new_srgb();
                let transform =
                    profile.create_transform_f32(Layout::Rgb, &srgb, Layout::Rgb, options);
                let pixels: Vec<f32> = (0..rgb.width * rgb.height)
                    .flat_map(|i| [0, 1, 2].map(|c| rgb.plane(c % rgb.channels)[i]))
                    .collect();
                let mut converted = vec![0.0; pixels.len()];
                transform.ok()?.transform(&pixels, &mut converted).ok()?;
                for c in 0..rgb.channels {
                    let values = converted[c..].iter().step_by(3);
                    rgb.plane_mut(c)
                        .iter_mut()
                        .zip(values)
                        .for_each(|(to, &v)| *to = v);
                }
            }
        }
        Some(from_planes(&rgb, alpha.as_ref(), image.color()))
    }
}
