//! A model, or a VAE, over one tile at a time: memory grows with the tile, not with the picture.
//!
//! Neighbouring tiles overlap, and in the overlap one fades into the other: their weights, `sin^2` of a quarter turn
//! over its width, add up to one, and are next to nothing at a tile's own border, where its convolutions met zeros
//! instead of the neighbour.
//!
//! A tile is not computed as the same place of the whole is: group norms and the attention take in one tile only. Tiled
//! and whole results differ by that everywhere, more so the smaller the tiles; seams are faded, not absent.

use crate::backend::Backend;
use crate::backend::pad::{crop, pad};
use crate::options::padding::{Edge, Padding};
use crate::options::progress::{Cancellable, Watch};
use crate::options::tiling::Tiling;
use burn::tensor::{DType, Tensor, TensorData};
use std::f64::consts::FRAC_PI_2;
use std::ops::Range;

/// Pixels of input and output for a pixel of the latent.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// `run`, from pictures to pictures of the same size, over the tiles of `x`; tiles begin and end with cells of `factor`
/// pixels, so that the last ones see `edge` beyond the picture.
///
/// # Shapes
///
/// - x and output: `[N, 3, H, W]`
pub(crate) fn in_tiles<B: Backend>(
    x: Tensor<B, 4>,
    tiling: Option<Tiling>,
    factor: usize,
    edge: Edge,
    watch: Watch,
    run: impl Fn(Tensor<B, 4>, Watch) -> Cancellable<Tensor<B, 4>>,
) -> Cancellable<Tensor<B, 4>> {
    let [_, _, h, w] = x.dims();
    if tiling.is_none_or(|tiling| tiling.holds([h, w], factor)) {
        return run(x, watch);
    }
    let cells = [h, w].map(|n| n.next_multiple_of(factor));
    let units = Units {
        input: factor,
        output: factor,
    };
    let whole = tiled(
        pad(x, Padding::NONE, edge, cells),
        tiling,
        units,
        watch,
        run,
    )?;
    Ok(crop(whole, Padding::NONE, [h, w]))
}

/// `run` over the tiles of `x`, blended; over all of `x` at once where it is no larger than a tile or there is no tiling.
///
/// # Shapes
///
/// - x: `[N, C, H, W]`; what is beyond whole units belongs to the last tile
/// - output: `[N, C', H / units.input * units.output, W / units.input * units.output]`, rounded down
pub(crate) fn tiled<B: Backend>(
    x: Tensor<B, 4>,
    tiling: Option<Tiling>,
    units: Units,
    watch: Watch,
    run: impl Fn(Tensor<B, 4>, Watch) -> Cancellable<Tensor<B, 4>>,
) -> Cancellable<Tensor<B, 4>> {
    let [n, _, h, w] = x.dims();
    let Some(tiling) = tiling else {
        return run(x, watch);
    };
    let axes = [h, w].map(|pixels| tiling.cut(pixels / units.input));
    if axes.iter().all(|tiles| tiles.len() == 1) {
        return run(x, watch);
    }
    let [row_weights, column_weights] = axes.each_ref().map(|tiles| weights(tiles, units.output));
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
            let (ys, xs) = (source(row, h, units.input), source(column, w, units.input));
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
    Ok(output.expect("an axis has a tile"))
}

/// The pixels of the input that `tile` is made from, out of `pixels`.
fn source(tile: &Range<usize>, pixels: usize, unit: usize) -> Range<usize> {
    let last = tile.end == pixels / unit;
    tile.start * unit..if last { pixels } else { tile.end * unit }
}

/// Weight of each output pixel of each tile; those of a place add up to one.
pub(crate) fn weights(tiles: &[Range<usize>], unit: usize) -> Vec<Vec<f32>> {
    let fade = |distance: f64, width: usize| match width {
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
                    fade(centre - tile.start as f64, before.unwrap_or(0))
                        * fade(tile.end as f64 - centre, after.unwrap_or(0))
                })
                .collect()
        })
        .collect();
    // Two tiles' weights add up to one by themselves; where three meet they do not.
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
