//! Enlargement without antialias, one area of the output at a time.

use super::assert_not_empty;
#[cfg(any(test, feature = "train"))]
use super::steps;
use crate::options::padding::Edge;
use crate::options::target::Enlargement;
use crate::pixels::planes::Planes;
use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::F32;
use fast_image_resize::{Filter, FilterType, ResizeAlg, ResizeOptions, Resizer};
use rayon::prelude::*;
use std::ops::Range;

/// Half the width of the cubic kernel. The border is padded by this many pixels on each side.
const SUPPORT: usize = 2;
/// Rows that a thread enlarges at a time. They are few enough to stay in its cache, and enough to
/// amortise the setup of the resizer.
const BAND: usize = 64;

/// Enlarges to `width` x `height` without antialias. The source step is `in / out` on each axis.
#[cfg(any(test, feature = "train"))]
pub(crate) fn enlarge(picture: &Planes, width: usize, height: usize) -> Planes {
    resample(picture, width, height, cubic_kernel())
}

/// Like [`enlarge`], with another kernel of at most [`SUPPORT`]. It can also reduce, without
/// antialias.
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

/// Returns the border mode and the source step for a side of `n` pixels that is enlarged to `to`
/// pixels.
///
/// With [`Edge::Wrap`] the step is `n / to`: a seamless picture stays seamless only if the output
/// covers the picture exactly. All other modes replicate the border, as PyTorch does.
pub(crate) fn border_and_step(n: usize, to: usize, step: f64, edge: Edge) -> (Edge, f64) {
    match edge {
        Edge::Wrap => (edge, n as f64 / to as f64),
        _ => (Edge::Replicate, step),
    }
}

/// The cubic kernel of Keys with a = -0.75.
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

/// Returns [`cubic`] as a filter of the resizer.
fn cubic_kernel() -> FilterType {
    FilterType::Custom(
        Filter::new("cubic, a = -0.75", cubic, SUPPORT as f64).expect("finite support"),
    )
}

/// An enlargement without antialias. Any area of the output can be computed on demand.
pub(crate) struct Enlarger {
    /// The planes of the picture, padded by the border.
    planes: Vec<TypedImage<'static, F32>>,
    kernel: FilterType,
    to: Enlargement,
}

impl Enlarger {
    /// Creates an enlargement with the cubic kernel. The border is replicated, or wraps around with
    /// [`Edge::Wrap`].
    pub(crate) fn cubic(picture: &Planes, to: Enlargement, edge: Edge) -> Self {
        Self::new(picture, to, edge, cubic_kernel())
    }

    /// Like [`cubic`](Self::cubic), with linear interpolation, which does not overshoot the values
    /// of the picture.
    pub(crate) fn linear(picture: &Planes, to: Enlargement, edge: Edge) -> Self {
        Self::new(picture, to, edge, FilterType::Bilinear)
    }

    fn new(picture: &Planes, mut to: Enlargement, edge: Edge, kernel: FilterType) -> Self {
        let Enlargement { width, height, .. } = to;
        assert_not_empty(picture, width, height);
        let sources = |n: usize, to: usize, step: f64| -> (Vec<usize>, f64) {
            let (edge, step) = border_and_step(n, to, step, edge);
            // With a given step, the last source position may lie outside of the picture.
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
                .expect("the number of values matches the padded size")
        };
        let channels = 0..picture.channels;
        Self {
            planes: channels.map(|c| padded(picture.plane(c))).collect(),
            kernel,
            to,
        }
    }

    /// Returns the number of planes.
    pub(crate) fn channels(&self) -> usize {
        self.planes.len()
    }

    /// Returns the width and height of the output.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.to.width, self.to.height)
    }

    /// Divides the rows of the output into bands.
    pub(crate) fn bands(&self) -> impl ParallelIterator<Item = Range<usize>> {
        let height = self.to.height;
        let bands = (0..height.div_ceil(BAND)).into_par_iter();
        bands.map(move |i| i * BAND..height.min((i + 1) * BAND))
    }

    /// Computes `rows` and `columns` of one plane of the output, row by row. A value depends on
    /// where the area begins and ends only up to rounding.
    pub(crate) fn area(
        &self,
        channel: usize,
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> TypedImage<'static, F32> {
        /// Moves the first and the last row away from the zeros of the kernel. `fast_image_resize`
        /// skips the source rows that have zero weight in these two rows, even if the rows between
        /// need them.
        const OFFSET: f64 = 1e-9;
        let (across, down) = self.to.steps;
        let along = |range: &Range<usize>, step: f64| {
            let offset = if step == 1.0 { 0.0 } else { OFFSET };
            let start = SUPPORT as f64 + range.start as f64 * step;
            (start + offset, range.len() as f64 * step)
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

    /// Computes `rows` of all planes.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Planes {
        let (width, _) = self.size();
        let areas = (0..self.channels()).map(|c| self.area(c, rows.clone(), 0..width));
        let mut values = Vec::with_capacity(self.channels() * rows.len() * width);
        for area in areas {
            values.extend(area.pixels().iter().map(|pixel| pixel.0));
        }
        Planes::new(self.channels(), width, rows.len(), values)
    }

    /// Computes the whole output.
    #[cfg(any(test, feature = "train"))]
    pub(super) fn whole(&self) -> Planes {
        self.mapped(0..self.to.height, |value| value)
    }

    /// Computes `rows` of all planes on all cores, and applies `map` to each value.
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
