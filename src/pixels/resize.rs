//! Bicubic resize of [`Planes`] in `f32`, not clamped, with the kernels and positions of PyTorch's
//! `F.interpolate(mode = "bicubic", align_corners = False)`.
//!
//! The convolution itself is that of `fast_image_resize` (weights in `f64`, no rounding between the passes). PyTorch differs
//! from its presets in three points, all expressed here as kernel, padding and crop box: enlarging uses the cubic
//! kernel with a = -0.75 and a replicated border (the crate drops taps outside), reducing with antialias uses
//! a = -0.5 (as PIL does), and the source step may be `1 / scale` instead of `in / out`.

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::F32;
use fast_image_resize::{Filter, FilterType, ResizeAlg, ResizeOptions, Resizer};
use rayon::prelude::*;
use std::ops::Range;

use crate::options::padding::Edge;
use crate::options::target::Enlargement;
use crate::pixels::planes::Planes;

/// Half the width of the cubic kernel: as many border pixels are replicated on each side.
const SUPPORT: usize = 2;
/// Rows that a thread enlarges at a time: few enough to stay in its cache, many enough that what is computed once for all
/// of them does not count.
const BAND: usize = 64;

/// Enlarges to `width` x `height` without antialias; the source step is `in / out` on each axis.
#[cfg(any(test, feature = "train"))]
pub(crate) fn enlarge(picture: &Planes, width: usize, height: usize) -> Planes {
    resample(picture, width, height, cubic_kernel())
}

/// [`enlarge`] with another kernel, of no more than [`SUPPORT`]. It may reduce as well: without antialias, that is.
#[cfg(any(test, feature = "train"))]
pub(crate) fn resample(
    picture: &Planes,
    width: usize,
    height: usize,
    kernel: FilterType,
) -> Planes {
    let to = Enlargement {
        width,
        height,
        steps: steps(picture, width, height),
    };
    Enlarger::new(picture, to, Edge::Replicate, kernel).whole()
}

/// Reduces to `width` x `height` with antialias, cubic kernel; the source step is `in / out` on each axis.
///
/// An axis that does not shrink gets the kernel at its own width, as in PIL.
#[cfg(any(test, feature = "train"))]
pub(crate) fn reduce(picture: &Planes, width: usize, height: usize) -> Planes {
    reduce_with(picture, width, height, FilterType::CatmullRom)
}

/// [`reduce`] with another kernel, widened by the step in the same way.
#[cfg(any(test, feature = "train"))]
pub(crate) fn reduce_with(
    picture: &Planes,
    width: usize,
    height: usize,
    kernel: FilterType,
) -> Planes {
    let steps = steps(picture, width, height);
    antialias(picture, steps, width, height, kernel)
}

/// Source pixels per pixel of the result, horizontally and vertically.
#[cfg(any(test, feature = "train"))]
fn steps(picture: &Planes, width: usize, height: usize) -> (f64, f64) {
    (
        picture.width as f64 / width as f64,
        picture.height as f64 / height as f64,
    )
}

/// What is beyond a side of `n` pixels that is enlarged to `to`, and its step. A seamless picture stays so only if the result
/// is as many whole steps as the picture. PyTorch mirrors nothing.
pub(crate) fn surroundings(n: usize, to: usize, step: f64, edge: Edge) -> (Edge, f64) {
    match edge {
        Edge::Wrap => (edge, n as f64 / to as f64),
        _ => (Edge::Replicate, step),
    }
}

/// Keys' cubic kernel with a = -0.75.
pub(crate) fn cubic(x: f64) -> f64 {
    const A: f64 = -0.75;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// [`cubic`] for the resizer.
fn cubic_kernel() -> FilterType {
    FilterType::Custom(
        Filter::new("cubic, a = -0.75", cubic, SUPPORT as f64).expect("finite support"),
    )
}

/// An enlargement without antialias, any part of which is computed when it is asked for.
pub(crate) struct Enlarger {
    /// The picture's planes with what is beyond them.
    planes: Vec<TypedImage<'static, F32>>,
    kernel: FilterType,
    to: Enlargement,
}

impl Enlarger {
    /// By the cubic kernel; what is beyond the picture is the border repeated, or with [`Edge::Wrap`] the other side.
    pub(crate) fn cubic(picture: &Planes, to: Enlargement, edge: Edge) -> Self {
        Self::new(picture, to, edge, cubic_kernel())
    }

    /// [`cubic`](Self::cubic) with linear interpolation: nothing of the result is beyond the values of the picture.
    pub(crate) fn linear(picture: &Planes, to: Enlargement, edge: Edge) -> Self {
        Self::new(picture, to, edge, FilterType::Bilinear)
    }

    fn new(picture: &Planes, mut to: Enlargement, edge: Edge, kernel: FilterType) -> Self {
        let Enlargement { width, height, .. } = to;
        assert!(
            picture.width > 0 && picture.height > 0 && width > 0 && height > 0,
            "cannot resize {}x{} to {width}x{height}",
            picture.width,
            picture.height
        );
        let sources = |n: usize, to: usize, step: f64| -> (Vec<usize>, f64) {
            let (edge, step) = surroundings(n, to, step, edge);
            // The last source position may lie past the picture when the step was given.
            let end = (step * to as f64).ceil() as usize;
            let padded = SUPPORT + n.max(end) + SUPPORT;
            let position = |i: usize| i as isize - SUPPORT as isize;
            let sources = (0..padded).map(|i| edge.source(position(i), n)).collect();
            (sources, step)
        };
        let (columns, across) = sources(picture.width, width, to.steps.0);
        let (rows, down) = sources(picture.height, height, to.steps.1);
        to.steps = (across, down);
        let padded = |plane: &[f32]| {
            let pixels = rows.iter().flat_map(|y| {
                let row = &plane[y * picture.width..][..picture.width];
                columns.iter().map(|&x| F32::new(row[x]))
            });
            TypedImage::from_pixels(columns.len() as u32, rows.len() as u32, pixels.collect())
                .expect("the padded size is the number of values")
        };
        let channels = 0..picture.channels;
        Self {
            planes: channels.map(|c| padded(picture.plane(c))).collect(),
            kernel,
            to,
        }
    }

    /// Number of planes.
    pub(crate) fn channels(&self) -> usize {
        self.planes.len()
    }

    /// Width and height of the result.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.to.width, self.to.height)
    }

    /// All rows, a few at a time.
    pub(crate) fn bands(&self) -> impl ParallelIterator<Item = Range<usize>> {
        let height = self.to.height;
        let bands = (0..height.div_ceil(BAND)).into_par_iter();
        bands.map(move |i| i * BAND..height.min((i + 1) * BAND))
    }

    /// The values of `rows` and `columns` of a plane of the result, row after row. Where they begin and end does not matter
    /// to a value but for rounding.
    pub(crate) fn area(
        &self,
        channel: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> TypedImage<'static, F32> {
        /// Keeps the first and the last row off the places where kernels are zero: `fast_image_resize` leaves out the source
        /// rows that have no weight in these, although the rows between need them.
        const ASIDE: f64 = 1e-9;
        let (across, down) = self.to.steps;
        let along = |range: &Range<usize>, step: f64| {
            let aside = if step == 1.0 { 0.0 } else { ASIDE };
            let start = SUPPORT as f64 + range.start as f64 * step;
            (start + aside, range.len() as f64 * step)
        };
        let (left, width) = along(&columns, across);
        let (top, height) = along(&rows, down);
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Interpolation(self.kernel))
            .crop(left, top, width, height);
        let mut area = TypedImage::new(columns.len() as u32, rows.len() as u32);
        Resizer::new()
            .resize_typed(&self.planes[channel], &mut area, &options)
            .expect("the crop box lies within the source");
        area
    }

    /// Some rows of all planes.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Planes {
        let (width, _) = self.size();
        let areas = (0..self.channels()).map(|c| self.area(c, rows.clone(), 0..width));
        let mut values = Vec::with_capacity(self.channels() * rows.len() * width);
        for area in areas {
            values.extend(area.pixels().iter().map(|pixel| pixel.0));
        }
        Planes::new(self.channels(), width, rows.len(), values)
    }

    /// The whole result.
    #[cfg(any(test, feature = "train"))]
    fn whole(&self) -> Planes {
        self.mapped(0..self.to.height, |value| value)
    }

    /// Some rows of all planes, on all cores, each value as `map` has it.
    pub(crate) fn mapped(&self, rows: Range<usize>, map: impl Fn(f32) -> f32 + Sync) -> Planes {
        let (width, height) = (self.to.width, rows.len());
        let mut data = vec![0.0; self.channels() * width * height];
        for (channel, plane) in data.chunks_exact_mut(width * height).enumerate() {
            let bands = plane.par_chunks_mut(BAND * width).enumerate();
            bands.for_each(|(i, band)| {
                let start = rows.start + i * BAND;
                let area = self.area(channel, start..start + band.len() / width, 0..width);
                for (value, pixel) in band.iter_mut().zip(area.pixels()) {
                    *value = map(pixel.0);
                }
            });
        }
        Planes::new(self.channels(), width, height, data)
    }
}

#[cfg(any(test, feature = "train"))]
fn antialias(
    picture: &Planes,
    steps: (f64, f64),
    width: usize,
    height: usize,
    kernel: FilterType,
) -> Planes {
    // `step * size` may exceed the source by a rounding error, which the crop box would refuse.
    let right = (steps.0 * width as f64).min(picture.width as f64);
    let bottom = (steps.1 * height as f64).min(picture.height as f64);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(kernel))
        .crop(0.0, 0.0, right, bottom);
    convolve(picture, &options, width, height, |plane| {
        TypedImage::from_pixels(
            picture.width as u32,
            picture.height as u32,
            plane.iter().copied().map(F32::new).collect(),
        )
        .expect("a plane holds width * height values")
    })
}

/// Resizes each plane, turned into an image by `source`.
#[cfg(any(test, feature = "train"))]
fn convolve<'a>(
    picture: &'a Planes,
    options: &ResizeOptions,
    width: usize,
    height: usize,
    source: impl Fn(&'a [f32]) -> TypedImage<'static, F32> + Sync,
) -> Planes {
    assert!(
        picture.width > 0 && picture.height > 0 && width > 0 && height > 0,
        "cannot resize {}x{} to {width}x{height}",
        picture.width,
        picture.height
    );
    let mut data = vec![0.0; picture.channels * width * height];
    let planes = data.par_chunks_mut(width * height).enumerate();
    planes.for_each(|(channel, plane)| {
        let mut target = TypedImage::<F32>::new(width as u32, height as u32);
        Resizer::new()
            .resize_typed(&source(picture.plane(channel)), &mut target, options)
            .expect("the crop box lies within the source");
        for (value, pixel) in plane.iter_mut().zip(target.pixels()) {
            *value = pixel.0;
        }
    });
    Planes::new(picture.channels, width, height, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "flex")]
    use crate::testing::golden::Golden;

    #[cfg(feature = "flex")]
    fn load(golden: &Golden, name: &str) -> Planes {
        let (data, shape) = golden.values(name);
        let [1, channels, height, width] = shape[..] else {
            panic!("{name} has shape {shape:?}");
        };
        Planes::new(channels, width, height, data)
    }

    /// The largest difference, as a fraction of the largest value of `expected`.
    #[cfg(feature = "flex")]
    fn error(actual: &Planes, expected: &Planes) -> f32 {
        assert_eq!(
            (actual.channels, actual.width, actual.height),
            (expected.channels, expected.width, expected.height)
        );
        let peak = expected.data.iter().fold(0f32, |m, v| m.max(v.abs()));
        let difference = actual.data.iter().zip(&expected.data);
        difference.fold(0f32, |m, (a, b)| m.max((a - b).abs())) / peak
    }

    /// Bands begin on any row; of a scale of three, some of these lie right on a source row.
    #[test]
    fn bands_are_parts_of_the_whole() {
        let values = (0..3 * 50 * 31).map(|i| (i * i % 251) as f32 / 251.0);
        let picture = Planes::new(3, 31, 50, values.collect());
        for (width, height) in [(93, 150), (155, 250), (124, 200), (47, 75), (31, 50)] {
            let to = Enlargement {
                width,
                height,
                steps: steps(&picture, width, height),
            };
            for enlarger in [
                Enlarger::cubic(&picture, to, Edge::Replicate),
                Enlarger::linear(&picture, to, Edge::Replicate),
            ] {
                let whole = enlarger.area(1, 0..height, 0..width);
                for start in 0..height - 2 {
                    let rows = start..height.min(start + 5);
                    let area = enlarger.area(1, rows.clone(), 2..width);
                    let lines = area.pixels().chunks_exact(width - 2);
                    for (line, expected) in
                        lines.zip(whole.pixels().chunks_exact(width).skip(start))
                    {
                        let distance = line.iter().zip(&expected[2..]);
                        let distance = distance.map(|(a, b)| (a.0 - b.0).abs());
                        assert!(distance.fold(0.0, f32::max) < 1e-6, "{width}, {rows:?}");
                    }
                }
            }
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn matches_pytorch() {
        let tensors = Golden::open("resize.safetensors");
        let image = load(&tensors, "image");
        let even = load(&tensors, "image_even");

        let down_by = |step, width, height| {
            antialias(&image, (step, step), width, height, FilterType::CatmullRom)
        };
        let by = |scale: f64, width, height| {
            let steps = (scale.recip(), scale.recip());
            let to = Enlargement {
                width,
                height,
                steps,
            };
            Enlarger::cubic(&image, to, Edge::Reflect).whole()
        };
        let mut checked = 0;
        let mut check = |name: &str, resized: &dyn Fn(usize, usize) -> Planes| {
            let expected = load(&tensors, name);
            let error = error(&resized(expected.width, expected.height), &expected);
            // Both sides sum a few products in f32: some units in the last place (6e-8), no more.
            assert!(error < 1e-5, "{name}: {error:e}");
            checked += 1;
        };
        check("up2", &|w, h| enlarge(&image, w, h));
        check("up3", &|w, h| enlarge(&image, w, h));
        check("up4", &|w, h| enlarge(&image, w, h));
        check("up4", &|w, h| by(4.0, w, h));
        check("up1_5_size", &|w, h| enlarge(&image, w, h));
        check("up1_5_scale", &|w, h| by(1.5, w, h));
        check("down1_2_aa_size", &|w, h| reduce(&image, w, h));
        check("down1_4_aa_size", &|w, h| reduce(&image, w, h));
        check("down1_2_aa_scale", &|w, h| down_by(2.0, w, h));
        check("down1_4_aa_scale", &|w, h| down_by(4.0, w, h));
        check("even_down1_2_aa", &|w, h| reduce(&even, w, h));
        check("even_down1_4_aa", &|w, h| reduce(&even, w, h));
        assert_eq!(checked, 12);
    }

    #[test]
    fn one_pixel_stays_its_value() {
        let pixel = Planes::new(3, 1, 1, vec![0.1, 0.5, 1.2]);
        for picture in [enlarge(&pixel, 5, 3), enlarge(&pixel, 4, 4)] {
            for channel in 0..3 {
                for value in picture.plane(channel) {
                    assert!((value - pixel.data[channel]).abs() < 1e-6);
                }
            }
        }
        assert_eq!(reduce(&pixel, 1, 1), pixel);
    }

    /// Bilinear without antialias reads two neighbours a pixel, whatever the step.
    #[test]
    fn resample_does_not_widen_the_kernel() {
        let picture = Planes::new(1, 8, 1, (0..8).map(|x| (x * x) as f32).collect());
        let resample = |width| resample(&picture, width, 1, FilterType::Bilinear).data;
        // Every second position, between two pixels; every fourth, likewise.
        assert_eq!(resample(4), [0.5, 6.5, 20.5, 42.5]);
        assert_eq!(resample(2), [2.5, 30.5]);
        // Enlarged, with the border replicated.
        assert_eq!(resample(16)[..4], [0.0, 0.25, 0.75, 1.75]);
    }

    #[test]
    fn same_size_is_identity() {
        let picture = Planes::new(1, 3, 2, vec![0.0, 0.2, 0.9, -0.3, 1.4, 0.5]);
        assert_eq!(enlarge(&picture, 3, 2), picture);
        assert_eq!(reduce(&picture, 3, 2), picture);
    }

    /// Shifting a seamless picture around and enlarging it can be done in either order.
    #[test]
    fn seamless_pictures_stay_so() {
        let values: Vec<f32> = (0..8 * 6).map(|i| (i * i % 11) as f32).collect();
        let shifted = (0..8 * 6).map(|i| values[(i / 8 + 2) % 6 * 8 + (i % 8 + 2) % 8]);
        let to = Enlargement {
            width: 20,
            height: 15,
            steps: (0.4, 0.4),
        };
        let enlarge = |data| {
            let picture = Planes::new(1, 8, 6, data);
            Enlarger::cubic(&picture, to, Edge::Wrap).whole().data
        };
        let (shifted, plain) = (enlarge(shifted.collect()), enlarge(values.clone()));
        for i in 0..20 * 15 {
            let other = plain[(i / 20 + 5) % 15 * 20 + (i % 20 + 5) % 20];
            assert!((shifted[i] - other).abs() < 1e-4);
        }
    }

    #[test]
    fn one_axis_may_stay() {
        let picture = Planes::filled(3, 8, 5, 0.25);
        let narrow = reduce(&picture, 2, 5);
        assert_eq!((narrow.width, narrow.height), (2, 5));
        assert!(narrow.data.iter().all(|v| (v - 0.25).abs() < 1e-6));
    }
}
