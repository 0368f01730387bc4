//! A model, or a VAE, over one tile at a time: memory grows with the tile, not with the picture.
//!
//! Neighbouring tiles overlap, and in the overlap one fades into the other: their weights, `sin^2` of a quarter turn
//! over its width, add up to one, and are next to nothing at a tile's own border, where its convolutions met zeros
//! instead of the neighbour.
//!
//! A tile is not computed as the same place of the whole is: group norms and the attention take in one tile only. Tiled
//! and whole results differ by that everywhere, more so the smaller the tiles; seams are faded, not absent.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::padding::{Edge, NONE, crop, pad};
use crate::progress::{Watch, Watched};
use burn::tensor::{DType, Tensor, TensorData};
use std::f64::consts::FRAC_PI_2;
use std::iter;
use std::ops::Range;

/// Size and least overlap of tiles, in cells: 8 pixels of the picture a side, a pixel of the latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    side: usize,
    overlap: usize,
}

impl Default for Tiling {
    /// 64 and 16 cells, as in diffusers: 512 and 128 pixels of the picture.
    fn default() -> Self {
        Self {
            side: 64,
            overlap: 16,
        }
    }
}

impl Tiling {
    /// Tiles of `side` x `side` cells, of which neighbours share `overlap` or more.
    ///
    /// # Errors
    ///
    /// [`Error::Option`] when `side` is zero or `overlap` is not smaller than it.
    pub fn new(side: usize, overlap: usize) -> Result<Self> {
        if overlap >= side {
            return Err(Error::Option {
                option: "tiling",
                reason: format!("an overlap of {overlap} is not smaller than the side {side}"),
            });
        }
        Ok(Self { side, overlap })
    }

    /// Whether one tile holds a picture of `size`, in cells of `factor` pixels.
    pub(crate) fn holds(self, size: [usize; 2], factor: usize) -> bool {
        size.iter().all(|n| n.div_ceil(factor) <= self.side)
    }

    /// Number of tiles of a picture of `size`, and the size of the largest, in pixels.
    pub(crate) fn tiles(self, size: [usize; 2], factor: usize) -> (usize, [usize; 2]) {
        let axes = size.map(|n| self.cut(n.div_ceil(factor)));
        let longest = |tiles: &[Range<usize>]| tiles.iter().map(Range::len).max();
        (
            axes.iter().map(Vec::len).product(),
            axes.each_ref()
                .map(|tiles| longest(tiles).unwrap_or(0) * factor),
        )
    }

    /// The tiles of an axis of `n` pixels: evenly spread, all of one length.
    fn cut(self, n: usize) -> Vec<Range<usize>> {
        let Self { side, overlap } = self;
        let room = n.saturating_sub(side);
        let last = room.div_ceil(side - overlap);
        (0..=last)
            .map(|i| i * room / last.max(1))
            .map(|start| start..(start + side).min(n))
            .collect()
    }
}

/// Rows of a picture that are restored together: a row of tiles, or all.
pub(crate) struct Band {
    pub(crate) rows: Range<usize>,
    /// Weight of each row; those of the bands that share it add up to one.
    pub(crate) weights: Vec<f32>,
}

/// How a picture is cut into bands: by the rows of its tiles, which begin and end with cells of `factor` pixels.
#[derive(Clone, Copy)]
pub(crate) struct Bands {
    pub(crate) tiling: Option<Tiling>,
    pub(crate) factor: usize,
}

impl Bands {
    /// All rows at once.
    #[cfg(feature = "latent")]
    pub(crate) const ONE: Self = Self {
        tiling: None,
        factor: 1,
    };

    /// Those of a picture of `height` pixels.
    pub(crate) fn of(self, height: usize) -> Vec<Band> {
        let Self { tiling, factor } = self;
        let cells = height.div_ceil(factor);
        let tiles = match tiling {
            Some(tiling) => tiling.cut(cells),
            None => iter::once(0..cells).collect(),
        };
        let weights = weights(&tiles, factor);
        let bands = tiles.into_iter().zip(weights);
        bands
            .map(|(tile, mut weights)| {
                let rows = tile.start * factor..height.min(tile.end * factor);
                weights.truncate(rows.len());
                Band { rows, weights }
            })
            .collect()
    }
}

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
    run: impl Fn(Tensor<B, 4>, Watch) -> Watched<Tensor<B, 4>>,
) -> Watched<Tensor<B, 4>> {
    let [_, _, h, w] = x.dims();
    if tiling.is_none_or(|tiling| tiling.holds([h, w], factor)) {
        return run(x, watch);
    }
    let cells = [h, w].map(|n| n.next_multiple_of(factor));
    let units = Units {
        input: factor,
        output: factor,
    };
    let whole = tiled(pad(x, NONE, edge, cells), tiling, units, watch, run)?;
    Ok(crop(whole, NONE, [h, w]))
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
    run: impl Fn(Tensor<B, 4>, Watch) -> Watched<Tensor<B, 4>>,
) -> Watched<Tensor<B, 4>> {
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
fn weights(tiles: &[Range<usize>], unit: usize) -> Vec<Vec<f32>> {
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
