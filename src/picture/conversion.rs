//! Lossless conversion between the values of an ICC profile and sRGB.

use crate::error::Result;
use crate::pixels::planes::Planes;
use crate::pixels::{from_planes, to_planes};
use image::{ColorType, DynamicImage};
use moxcms::{ColorProfile, DataColorSpace, ToneReprCurve, TransferCharacteristics};
use rayon::prelude::*;

/// Pixels that one thread converts at a time.
const BLOCK: usize = 1 << 14;

/// Converts the values of a profile to encoded sRGB and back. Colours outside of the sRGB gamut
/// have encoded values below 0 or above 1.
#[derive(Clone, Debug)]
pub(super) struct Conversion {
    /// Encoded to linear values: one curve for grey, or one each for red, green and blue.
    curves: Vec<Curve>,
    /// Linear values to linear sRGB. The identity for grey.
    matrix: Matrix,
    /// The inverse of `matrix`.
    inverse: Matrix,
}

type Matrix = [[f32; 3]; 3];

impl Conversion {
    /// Returns `None` for an HDR profile, and for a profile that does not consist of curves and a
    /// matrix.
    pub(super) fn new(profile: &ColorProfile) -> Option<Self> {
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

    /// Returns whether no colour changes by more than two 8-bit steps. (sRGB profiles differ from
    /// each other by one or two steps in saturated colours, where the curve of the darkest channel
    /// amplifies the rounding of the matrices.)
    pub(super) fn is_identity(&self) -> bool {
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

    /// Converts `image` to sRGB, as float RGB with or without alpha.
    ///
    /// # Errors
    ///
    /// - [`Error::EmptyPicture`](crate::Error::EmptyPicture) if the width or height is zero.
    /// - [`Error::NonFinitePicture`](crate::Error::NonFinitePicture) if a value is NaN or infinite.
    pub(super) fn to_srgb(&self, image: &DynamicImage) -> Result<DynamicImage> {
        let (rgb, alpha) = to_planes(image)?;
        let mut rgb = rgb.into_rgb();
        self.planes_to_srgb(&mut rgb);
        let color = match alpha {
            Some(_) => ColorType::Rgba32F,
            None => ColorType::Rgb32F,
        };
        Ok(from_planes(&rgb, alpha.as_ref(), color))
    }

    /// Converts `image` from sRGB to the values of the profile, with color type `color`: the
    /// inverse of [`to_srgb`](Self::to_srgb).
    ///
    /// # Errors
    ///
    /// The errors of [`to_srgb`](Self::to_srgb).
    pub(super) fn to_profile(
        &self,
        image: &DynamicImage,
        color: ColorType,
    ) -> Result<DynamicImage> {
        let (rgb, alpha) = to_planes(image)?;
        let mut rgb = rgb.into_rgb();
        map_colors(&mut rgb, |color| {
            let linear = multiply(&self.inverse, color.map(srgb_to_linear));
            [0, 1, 2].map(|c| self.curve(c).encode(linear[c]))
        });
        // The caller may return a picture with another color type than the converted one.
        let alpha = match (color.has_alpha(), alpha) {
            (true, None) => Some(Planes::filled(1, rgb.width, rgb.height, 1.0)),
            (true, alpha) => alpha,
            (false, _) => None,
        };
        Ok(from_planes(&rgb, alpha.as_ref(), color))
    }

    /// Converts planes in place.
    pub(super) fn planes_to_srgb(&self, planes: &mut Planes) {
        map_colors(planes, |color| self.color_to_srgb(color));
    }

    fn color_to_srgb(&self, color: [f32; 3]) -> [f32; 3] {
        let linear = [0, 1, 2].map(|c| self.curve(c).decode(color[c]));
        multiply(&self.matrix, linear).map(linear_to_srgb)
    }

    fn curve(&self, channel: usize) -> &Curve {
        &self.curves[channel % self.curves.len()]
    }
}

/// Applies `f` to each pixel, on all cores. A single plane is grey: `f` gets the value three times,
/// and its first result is used.
fn map_colors(planes: &mut Planes, f: impl Fn([f32; 3]) -> [f32; 3] + Sync) {
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

fn multiply(matrix: &Matrix, color: [f32; 3]) -> [f32; 3] {
    matrix.map(|row| row.iter().zip(color).map(|(a, b)| a * b).sum())
}

/// The sRGB transfer function (IEC 61966-2-1), mirrored below zero.
fn srgb_to_linear(encoded: f32) -> f32 {
    let x = encoded.abs();
    let y = match x {
        ..=0.040_45 => x / 12.92,
        _ => ((x + 0.055) / 1.055).powf(2.4),
    };
    y.copysign(encoded)
}

/// The inverse of [`srgb_to_linear`].
fn linear_to_srgb(linear: f32) -> f32 {
    let y = linear.abs();
    let x = match y {
        ..=0.003_130_8 => 12.92 * y,
        _ => 1.055 * y.powf(1.0 / 2.4) - 0.055,
    };
    x.copysign(linear)
}

/// The curve of a profile, `0.0..=1.0` to `0.0..=1.0`: a non-decreasing table with one entry per
/// 16-bit value and linear interpolation between the entries, so that it can be inverted. Above 1,
/// for highlights in float, the last segment is extrapolated. Below 0 the curve is constant.
#[derive(Clone, Debug)]
struct Curve(Vec<f32>);

impl Curve {
    const LAST: usize = 65_535;

    /// Returns `None` for a curve that cannot be evaluated or is constant.
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

    /// Converts an encoded value to a linear one.
    fn decode(&self, encoded: f32) -> f32 {
        let position = encoded.max(0.0) * Self::LAST as f32;
        let before = (position as usize).min(Self::LAST - 1);
        let [low, high] = [self.0[before], self.0[before + 1]];
        low + (high - low) * (position - before as f32)
    }

    /// Converts a linear value to an encoded one.
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
