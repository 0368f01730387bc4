//! ICC profiles: to sRGB for the model, and back.

use crate::error::Result;
use crate::pixels::planes::Planes;
use crate::pixels::{from_planes, to_planes};
use image::{ColorType, DynamicImage};
use moxcms::{
    ColorProfile, DataColorSpace, Layout, ToneReprCurve, TransferCharacteristics, TransformOptions,
};
use rayon::prelude::*;

/// Pixels that one thread converts at a time.
const BLOCK: usize = 1 << 14;

/// A profile that fits its picture.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    bytes: Vec<u8>,
    encoding: Encoding,
}

#[derive(Clone, Debug)]
enum Encoding {
    /// sRGB, as near as different profiles of it are to each other.
    Srgb,
    /// What can be converted to sRGB and back without a loss.
    Convertible(Conversion),
    /// Tables or HDR: can be converted to sRGB, maybe, but not back.
    Other(Box<ColorProfile>),
}

/// From a profile's values to sRGB and back. Encoded sRGB goes on below 0 and above 1, for colours that it does not have.
#[derive(Clone, Debug)]
pub(super) struct Conversion {
    /// From encoded to linear: one of grey, or of red, green and blue.
    curves: Vec<Curve>,
    /// Linear values to linear sRGB and back; the identity for grey.
    matrix: Matrix,
    inverse: Matrix,
}

type Matrix = [[f32; 3]; 3];

impl Profile {
    /// # Errors
    ///
    /// Why the profile cannot be used with a picture in colour, or in grey.
    pub(super) fn new(bytes: Vec<u8>, has_color: bool) -> Result<Self, String> {
        let profile = ColorProfile::new_from_slice(&bytes).map_err(|error| error.to_string())?;
        let (kind, name) = match has_color {
            true => (DataColorSpace::Rgb, "RGB"),
            false => (DataColorSpace::Gray, "grey"),
        };
        if profile.color_space != kind {
            let found = profile.color_space;
            return Err(format!("it is for {found:?}, and the picture is {name}"));
        }
        let encoding = match Conversion::new(&profile) {
            Some(conversion) if conversion.is_identity() => Encoding::Srgb,
            Some(conversion) => Encoding::Convertible(conversion),
            None => Encoding::Other(Box::new(profile)),
        };
        Ok(Self { bytes, encoding })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_srgb(&self) -> bool {
        matches!(self.encoding, Encoding::Srgb)
    }

    /// How the values become sRGB; `None` when they are that or have to stay as they are.
    pub(super) fn conversion(&self) -> Option<&Conversion> {
        match &self.encoding {
            Encoding::Convertible(conversion) => Some(conversion),
            Encoding::Srgb | Encoding::Other(_) => None,
        }
    }

    /// The picture in sRGB, of the same kind, for files that hold no profile; `None` when that cannot be computed.
    pub(super) fn flatten(&self, image: &DynamicImage) -> Option<DynamicImage> {
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

impl Conversion {
    /// `None` for a profile that is not of curves (and a matrix), or whose values are not of light that a screen shows.
    fn new(profile: &ColorProfile) -> Option<Self> {
        let is_hdr = profile.cicp.as_ref().is_some_and(|cicp| {
            use TransferCharacteristics::{Hlg, Smpte2084};
            matches!(cicp.transfer_characteristics, Smpte2084 | Hlg)
        });
        if is_hdr {
            return None;
        }
        let identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let (curves, matrix, inverse) = if profile.color_space == DataColorSpace::Gray {
            (vec![&profile.gray_trc], identity, identity)
        } else if profile.is_matrix_shaper() {
            let srgb = ColorProfile::new_srgb();
            (
                vec![&profile.red_trc, &profile.green_trc, &profile.blue_trc],
                profile
                    .transform_matrix(&srgb)
                    .v
                    .map(|row| row.map(|v| v as f32)),
                srgb.transform_matrix(profile)
                    .v
                    .map(|row| row.map(|v| v as f32)),
            )
        } else {
            return None;
        };
        let finite = |matrix: &Matrix| matrix.iter().flatten().all(|v| v.is_finite());
        if !(finite(&matrix) && finite(&inverse)) {
            return None;
        }
        let curves: Option<_> = curves
            .into_iter()
            .map(|curve| Curve::new(curve.as_ref()?))
            .collect();
        Some(Self {
            curves: curves?,
            matrix,
            inverse,
        })
    }

    /// Whether no colour moves by more than two steps of 8 bits. (sRGB's profiles are one or two apart in saturated colours,
    /// whose darkest channel stretches what was rounded in their matrices.)
    fn is_identity(&self) -> bool {
        const STEPS: usize = 64;
        let level = |i: usize| i as f32 / STEPS as f32;
        let greys = (0..=STEPS).map(|i| [level(i); 3]);
        let colours = (0..125).map(|i| [i % 5, i / 5 % 5, i / 25].map(|i| level(i * STEPS / 4)));
        greys.chain(colours).all(|colour| {
            let converted = self.color_to_srgb(colour);
            let moved = colour.iter().zip(converted).map(|(a, b)| (a - b).abs());
            moved.fold(0.0, f32::max) < 2.0 / 255.0
        })
    }

    /// The picture in sRGB, float, in colour.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyPicture`](crate::Error::EmptyPicture), [`Error::NonFinitePicture`](crate::Error::NonFinitePicture).
    pub(super) fn to_srgb(&self, image: &DynamicImage) -> Result<DynamicImage> {
        let (rgb, alpha) = to_planes(image)?;
        let mut rgb = in_color(rgb);
        self.planes_to_srgb(&mut rgb);
        let kind = match alpha {
            Some(_) => ColorType::Rgba32F,
            None => ColorType::Rgb32F,
        };
        Ok(from_planes(&rgb, alpha.as_ref(), kind))
    }

    /// The picture `image`, in sRGB, as the profile has it, of the kind `color`: what [`to_srgb`](Self::to_srgb) undoes.
    ///
    /// # Errors
    ///
    /// Those of [`to_srgb`](Self::to_srgb).
    pub(super) fn undo(&self, image: &DynamicImage, color: ColorType) -> Result<DynamicImage> {
        let (rgb, alpha) = to_planes(image)?;
        let mut rgb = in_color(rgb);
        each_color(&mut rgb, |color| {
            let linear = product(&self.inverse, color.map(to_linear));
            [0, 1, 2].map(|c| self.curve(c).encode(linear[c]))
        });
        // A picture of another kind than the one that was converted is the caller's choice.
        let alpha = match (color.has_alpha(), alpha) {
            (true, None) => Some(Planes::filled(1, rgb.width, rgb.height, 1.0)),
            (true, alpha) => alpha,
            (false, _) => None,
        };
        Ok(from_planes(&rgb, alpha.as_ref(), color))
    }

    fn planes_to_srgb(&self, planes: &mut Planes) {
        each_color(planes, |color| self.color_to_srgb(color));
    }

    fn color_to_srgb(&self, color: [f32; 3]) -> [f32; 3] {
        let linear = [0, 1, 2].map(|c| self.curve(c).decode(color[c]));
        product(&self.matrix, linear).map(from_linear)
    }

    fn curve(&self, channel: usize) -> &Curve {
        &self.curves[channel % self.curves.len()]
    }
}

/// Three planes, of grey equal ones.
fn in_color(rgb: Planes) -> Planes {
    match rgb.channels {
        1 => Planes::new(3, rgb.width, rgb.height, rgb.data.repeat(3)),
        _ => rgb,
    }
}

/// Replaces each pixel by what `f` makes of it, on all cores. One plane is grey, of which `f` keeps the first value.
fn each_color(planes: &mut Planes, f: impl Fn([f32; 3]) -> [f32; 3] + Sync) {
    let n = planes.width * planes.height;
    if planes.channels == 1 {
        let values = planes.data.par_iter_mut();
        values.for_each(|value| *value = f([*value; 3])[0]);
        return;
    }
    let (red, rest) = planes.data.split_at_mut(n);
    let (green, blue) = rest.split_at_mut(n);
    let [red, green, blue] = [red, green, blue].map(|plane| plane.par_chunks_mut(BLOCK));
    (red, green, blue)
        .into_par_iter()
        .for_each(|(red, green, blue)| {
            for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                [*r, *g, *b] = f([*r, *g, *b]);
            }
        });
}

fn product(matrix: &Matrix, color: [f32; 3]) -> [f32; 3] {
    matrix.map(|row| row.iter().zip(color).map(|(a, b)| a * b).sum())
}

/// sRGB's curve (IEC 61966-2-1), and its mirror image below zero.
fn to_linear(encoded: f32) -> f32 {
    let x = encoded.abs();
    let y = match x {
        ..=0.040_45 => x / 12.92,
        _ => ((x + 0.055) / 1.055).powf(2.4),
    };
    y.copysign(encoded)
}

/// The inverse of [`to_linear`].
fn from_linear(linear: f32) -> f32 {
    let y = linear.abs();
    let x = match y {
        ..=0.003_130_8 => 12.92 * y,
        _ => 1.055 * y.powf(1.0 / 2.4) - 0.055,
    };
    x.copysign(linear)
}

/// A profile's curve, `0.0..=1.0` to `0.0..=1.0`, as a table that rises, so that it can be undone: linear interpolation of
/// as many values as 16 bits have. Above, for highlights in float, it goes on as it ends; below it is zero.
#[derive(Clone, Debug)]
struct Curve(Vec<f32>);

impl Curve {
    const LAST: usize = 65_535;

    /// `None` for a curve that cannot be computed or does not rise.
    fn new(curve: &ToneReprCurve) -> Option<Self> {
        let curve = curve.make_linear_evaluator().ok()?;
        let mut highest: f32 = 0.0;
        let table: Vec<f32> = (0..=Self::LAST)
            .map(|i| {
                let value = curve.evaluate_value(i as f32 / Self::LAST as f32);
                highest = highest.max(value.clamp(0.0, 1.0));
                value.is_finite().then_some(highest)
            })
            .collect::<Option<_>>()?;
        (table[0] < table[Self::LAST]).then_some(Self(table))
    }

    /// Encoded to linear.
    fn decode(&self, encoded: f32) -> f32 {
        let position = encoded.max(0.0) * Self::LAST as f32;
        let before = (position as usize).min(Self::LAST - 1);
        let [low, high] = [self.0[before], self.0[before + 1]];
        low + (high - low) * (position - before as f32)
    }

    /// Linear to encoded.
    fn encode(&self, linear: f32) -> f32 {
        let after = self.0.partition_point(|&value| value < linear);
        let after = after.clamp(1, Self::LAST);
        let [low, high] = [self.0[after - 1], self.0[after]];
        let between = match high > low {
            true => ((linear - low) / (high - low)).max(0.0),
            false => 1.0,
        };
        ((after - 1) as f32 + between) / Self::LAST as f32
    }
}
