//! Runs a network over one tile at a time, so that memory grows with the tile and not with the
//! picture.
//!
//! Neighbouring tiles overlap and fade into each other. Their weights are `sin^2`, rising over a
//! quarter turn across the overlap, and add up to one. The weight is close to zero at the border of
//! a tile, where its convolutions have read zeros instead of the pixels of the neighbour.
//!
//! Group norms and attention see one tile only. A tiled result therefore differs everywhere from
//! that of the whole picture, and more so for smaller tiles. Fading hides the seams, but does not
//! remove this difference.

use crate::backend::Backend;
use crate::backend::pad::{crop, pad};
use crate::options::padding::{Edge, Padding};
use crate::options::progress::{Cancellable, Watch};
use crate::options::tiling::Tiling;
use burn::tensor::{DType, Tensor, TensorData};
use std::f64::consts::FRAC_PI_2;
use std::ops::Range;

/// A [`Tiling`] in cells of a model. A cell has `factor` x `factor` pixels of the picture, which
/// are one pixel of the UNet's input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellTiling {
    side: usize,
    overlap: usize,
    pub(crate) factor: usize,
}

impl CellTiling {
    /// Converts a tiling to cells. Rounds the side down, to at least one cell, and the overlap up.
    pub(crate) fn new(tiling: Tiling, factor: usize) -> Self {
        let side = (tiling.side() / factor).max(1);
        let overlap = tiling.overlap().div_ceil(factor);
        Self {
            side,
            overlap: overlap.min(side - 1),
            factor,
        }
    }

    /// Returns whether a picture of `[H, W] = size` pixels fits in one tile.
    pub(crate) fn fits(self, size: [usize; 2]) -> bool {
        let cells = |pixels: usize| pixels.div_ceil(self.factor);
        size.iter().all(|&pixels| cells(pixels) <= self.side)
    }

    /// Returns the number of tiles of a picture of `[H, W] = size` pixels, and the size of the
    /// largest tile in pixels.
    pub(crate) fn tiles(self, size: [usize; 2]) -> (usize, [usize; 2]) {
        let axes = size.map(|pixels| self.divide(pixels.div_ceil(self.factor)));
        let count = axes.iter().map(Vec::len).product();
        let longest = axes.map(|tiles| tiles.iter().map(Range::len).max().unwrap_or(0));
        (count, longest.map(|cells| cells * self.factor))
    }

    /// Divides an axis of `n` cells into evenly spaced tiles of equal length.
    pub(crate) fn divide(self, n: usize) -> Vec<Range<usize>> {
        let room = n.saturating_sub(self.side);
        let last = room.div_ceil(self.side - self.overlap);
        (0..=last)
            .map(|i| i * room / last.max(1))
            .map(|start| start..(start + self.side).min(n))
            .collect()
    }
}

/// The number of pixels that a cell has along each axis in the input and in the output of a
/// network.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// Applies `run`, which maps pictures to pictures of the same size, to the tiles of `x`. Tiles
/// consist of whole cells. The last tiles are completed by `edge`.
///
/// # Shapes
///
/// - x and output: `[N, 3, H, W]`
pub(crate) fn in_tiles<B: Backend>(
    x: Tensor<B, 4>,
    tiling: Option<CellTiling>,
    edge: Edge,
    watch: Watch,
    run: impl Fn(Tensor<B, 4>, Watch) -> Cancellable<Tensor<B, 4>>,
) -> Cancellable<Tensor<B, 4>> {
    let [_, _, h, w] = x.dims();
    let Some(tiling) = tiling.filter(|tiling| !tiling.fits([h, w])) else {
        return run(x, watch);
    };
    let whole_cells = [h, w].map(|n| n.next_multiple_of(tiling.factor));
    let units = Units {
        input: tiling.factor,
        output: tiling.factor,
    };
    let x = pad(x, Padding::NONE, edge, whole_cells);
    let restored = tiled(x, Some(tiling), units, watch, run)?;
    Ok(crop(restored, Padding::NONE, [h, w]))
}

/// Applies `run` to the tiles of `x` and blends the results. Applies it to the whole of `x` if
/// there is no tiling, or if `x` fits in one tile.
///
/// # Shapes
///
/// - x: `[N, C, H, W]`; pixels that do not fill a last cell belong to the last tile
/// - output: `[N, C', H / units.input * units.output, W / units.input * units.output]`, rounded
///   down
pub(crate) fn tiled<B: Backend>(
    x: Tensor<B, 4>,
    tiling: Option<CellTiling>,
    units: Units,
    watch: Watch,
    run: impl Fn(Tensor<B, 4>, Watch) -> Cancellable<Tensor<B, 4>>,
) -> Cancellable<Tensor<B, 4>> {
    let [n, _, h, w] = x.dims();
    let Some(tiling) = tiling else {
        return run(x, watch);
    };
    let axes = [h, w].map(|pixels| tiling.divide(pixels / units.input));
    if axes.iter().all(|tiles| tiles.len() == 1) {
        return run(x, watch);
    }
    let [row_weights, column_weights] = axes.each_ref().map(|tiles| fade(tiles, units.output));
    let [rows, columns] = &axes;
    let [height, width] = [h, w].map(|pixels| pixels / units.input * units.output);
    let device = x.device();
    let along = |weights: &[f32], shape: [usize; 4], dtype: DType| {
        let weights = TensorData::new(weights.to_vec(), shape);
        Tensor::<B, 4>::from_data(weights, (&device, dtype))
    };
    let mut parts = watch.parts(rows.len() * columns.len());
    let mut output = None;
    for (row, row_weights) in rows.iter().zip(&row_weights) {
        for (column, column_weights) in columns.iter().zip(&column_weights) {
            let (ys, xs) = (
                input_range(row, h, units.input),
                input_range(column, w, units.input),
            );
            let tile = B::crop(x.clone(), [ys.start, xs.start], [ys.len(), xs.len()]);
            let tile = run(tile, parts.part())?;
            let ([_, channels, tile_h, tile_w], dtype) = (tile.dims(), tile.dtype());
            let tile = tile
                * along(row_weights, [1, 1, tile_h, 1], dtype)
                * along(column_weights, [1, 1, 1, tile_w], dtype);
            let sum = output.take().unwrap_or_else(|| {
                Tensor::zeros([n, channels, height, width], (&device, tile.dtype()))
            });
            let top_left = [row, column].map(|tile| tile.start * units.output);
            output = Some(B::add_at(sum, tile, top_left));
        }
    }
    Ok(output.expect("each axis has at least one tile"))
}

/// Returns the range of input pixels of `tile`, along an axis of `pixels` pixels.
fn input_range(tile: &Range<usize>, pixels: usize, unit: usize) -> Range<usize> {
    let last = tile.end == pixels / unit;
    tile.start * unit..if last { pixels } else { tile.end * unit }
}

/// Returns the blending weight of each output pixel of each tile. The weights of one pixel add up
/// to one.
pub(crate) fn fade(tiles: &[Range<usize>], unit: usize) -> Vec<Vec<f32>> {
    let ramp = |distance: f64, width: usize| match width {
        0 => 1.0,
        _ => (FRAC_PI_2 * (distance / width as f64).min(1.0))
            .sin()
            .powi(2),
    };
    let scaled = |tile: &Range<usize>| tile.start * unit..tile.end * unit;
    let raw: Vec<Vec<f64>> = tiles
        .iter()
        .enumerate()
        .map(|(i, tile)| {
            let tile = scaled(tile);
            let before = i.checked_sub(1).map(|i| scaled(&tiles[i]).end - tile.start);
            let after = tiles.get(i + 1).map(|next| tile.end - scaled(next).start);
            tile.clone()
                .map(|pixel| {
                    let centre = pixel as f64 + 0.5;
                    ramp(centre - tile.start as f64, before.unwrap_or(0))
                        * ramp(tile.end as f64 - centre, after.unwrap_or(0))
                })
                .collect()
        })
        .collect();
    // Where two tiles overlap, the weights add up to one already. Where three tiles overlap, they
    // do not.
    let mut sums = vec![0.0; tiles.last().map_or(0, |tile| tile.end * unit)];
    for (tile, weights) in tiles.iter().zip(&raw) {
        for (sum, weight) in sums[scaled(tile)].iter_mut().zip(weights) {
            *sum += weight;
        }
    }
    let normalised = |(tile, weights): (_, &Vec<f64>)| {
        let pairs = weights.iter().zip(&sums[scaled(tile)]);
        pairs.map(|(weight, sum)| (weight / sum) as f32).collect()
    };
    tiles.iter().zip(&raw).map(normalised).collect()
}
