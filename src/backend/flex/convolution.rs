//! Convolution as matrix products over tiles of pixels: each pixel's neighbourhood is gathered into a column, and
//! the weight matrix is multiplied with the columns (im2col, a cache-sized part at a time). The matrix unit needs no columns
//! where there are many pixels: see [`Sliding`] and [`Winograd`].

use super::amx::{Bias, Columns, Product, Sliding, Tiles, Winograd};
use super::element::Element;
use super::matrix::{Matrix, multiply};
use super::memory::written;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Values gathered at a time: what fits a core's own cache beside the weights in use.
const GATHERED: usize = 1 << 18;
/// Bounds on the pixels of a tile: enough that the product pays, no more than keeps the cores evenly busy.
const TILE: Range<usize> = 128..512;
/// Pixels for which the matrix unit's weights may as well be sorted by the kernel's places.
const SLIDING_PIXELS: usize = 1024;
/// Pixels that repay what is made of the weights for fewer products, output channels that repay what is made of the pixels, and
/// input channels that fill a step of the unit.
const WINOGRAD_PIXELS: usize = 256;
const WINOGRAD_OUTPUTS: usize = 96;
const WINOGRAD_INPUTS: usize = 32;

/// How the matrix unit has a pixel's neighbourhood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Gathered into a column.
    Columns,
    /// Where it is.
    Sliding,
    /// Where it is, but made into fewer products.
    Winograd,
}

/// A convolution with a stride, padded by half its odd kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convolution {
    n: usize,
    c_in: usize,
    c_out: usize,
    h: usize,
    w: usize,
    kernel: usize,
    stride: usize,
    /// The CPU's matrix unit, where it is to be used.
    tiles: Option<Tiles>,
    way: Way,
}

/// Neighbouring pixels of one line of the output, part of a tile.
struct Run {
    picture: usize,
    y: usize,
    x: usize,
    len: usize,
    /// Where the run starts in the tile.
    at: usize,
}

impl Convolution {
    /// For pictures and weights of type `E`.
    pub(super) fn new<E: Element>(
        [n, c_in, h, w]: [usize; 4],
        [c_out, weight_in, kernel, kernel_w]: [usize; 4],
        stride: usize,
    ) -> Self {
        assert_eq!((weight_in, kernel), (c_in, kernel_w), "shapes disagree");
        assert!(kernel % 2 == 1, "a kernel of {kernel} has no centre");
        let pixels = h.div_ceil(stride) * w.div_ceil(stride);
        let of = Self {
            n,
            c_in,
            c_out,
            h,
            w,
            kernel,
            stride,
            tiles: Tiles::repaid::<E>(c_out, pixels),
            way: Way::Columns,
        };
        // What is kept in bf16 would be rounded once more.
        let repays_fewer_products = E::PARTS > 1
            && pixels >= WINOGRAD_PIXELS
            && c_out >= WINOGRAD_OUTPUTS
            && c_in >= WINOGRAD_INPUTS;
        let way = match kernel {
            1 => Way::Columns,
            _ if repays_fewer_products && of.can(Way::Winograd) => Way::Winograd,
            _ if pixels >= SLIDING_PIXELS && of.can(Way::Sliding) => Way::Sliding,
            _ => Way::Columns,
        };
        Self { way, ..of }
    }

    fn can(&self, way: Way) -> bool {
        match way {
            Way::Columns => true,
            Way::Sliding => self.stride == 1,
            Way::Winograd => self.stride == 1 && self.kernel == 3,
        }
    }

    #[cfg(test)]
    pub(super) fn with_tiles(self, tiles: Option<Tiles>) -> Self {
        Self { tiles, ..self }
    }

    /// In another way, if there is that for these shapes.
    #[cfg(test)]
    pub(super) fn by(self, way: Way) -> Option<Self> {
        self.can(way).then_some(Self { way, ..self })
    }

    pub(super) fn output_shape(&self) -> [usize; 4] {
        [
            self.n,
            self.c_out,
            self.h.div_ceil(self.stride),
            self.w.div_ceil(self.stride),
        ]
    }

    /// Pixels of an output channel.
    fn plane(&self) -> usize {
        let [.., h, w] = self.output_shape();
        h * w
    }

    /// Length of a column.
    fn column(&self) -> usize {
        self.c_in * self.kernel * self.kernel
    }

    /// The output pixels of all pictures in order, in tiles.
    fn tiles(&self) -> Vec<Range<usize>> {
        let pixels = self.n * self.plane();
        let share = pixels.div_ceil(rayon::current_num_threads());
        let tile = (GATHERED / self.column())
            .min(share)
            .clamp(TILE.start, TILE.end);
        (0..pixels)
            .step_by(tile)
            .map(|start| start..(start + tile).min(pixels))
            .collect()
    }

    fn runs(&self, tile: Range<usize>) -> Vec<Run> {
        let [.., width] = self.output_shape();
        let plane = self.plane();
        let mut runs = Vec::new();
        let mut pixel = tile.start;
        while pixel < tile.end {
            let (picture, inside) = (pixel / plane, pixel % plane);
            let x = inside % width;
            let len = (width - x).min(tile.end - pixel);
            runs.push(Run {
                picture,
                y: inside / width,
                x,
                len,
                at: pixel - tile.start,
            });
            pixel += len;
        }
        runs
    }

    /// Some rows of the columns of a tile's pixels, side by side: there is a row for each input channel and place of
    /// the kernel.
    fn gather<E: Element>(
        &self,
        x: &[E],
        rows: Range<usize>,
        tile: Range<usize>,
        columns: &mut Vec<E>,
    ) {
        let pixels = tile.len();
        let runs = self.runs(tile);
        let half = self.kernel / 2;
        columns.resize(rows.len() * pixels, E::default());
        for (row, values) in rows.zip(columns.chunks_exact_mut(pixels)) {
            let (channel, place) = (
                row / (self.kernel * self.kernel),
                row % (self.kernel * self.kernel),
            );
            let (ky, kx) = (place / self.kernel, place % self.kernel);
            for run in &runs {
                let values = &mut values[run.at..run.at + run.len];
                let y = run.y * self.stride + ky;
                if y < half || y >= self.h + half {
                    values.fill(E::default());
                    continue;
                }
                let line = (run.picture * self.c_in + channel) * self.h + y - half;
                let line = &x[line * self.w..(line + 1) * self.w];
                let start = (run.x * self.stride + kx) as isize - half as isize;
                copy_padded(line, start, self.stride, values);
            }
        }
    }

    /// # Shapes
    ///
    /// - x: `[N, C, H, W]`, weight: `[C', C, K, K]`, bias: `[C']`
    /// - output: [`output_shape`](Self::output_shape)
    pub(super) fn forward<E: Element>(&self, x: &[E], weight: &[E], bias: &[E]) -> Vec<E> {
        let write = |output: &mut [MaybeUninit<E>]| {
            let Some(tiles) = self.tiles else {
                let [x, weight, bias] = [x, weight, bias].map(E::widened);
                let write = |output: &mut [MaybeUninit<f32>]| {
                    self.write_by_vectors(&x, &weight, &bias, output);
                };
                // SAFETY: all of the output is written.
                return unsafe { E::write_in_f32(output, write) };
            };
            let shape = [self.n, self.c_in, self.h, self.w];
            match self.way {
                Way::Columns => {
                    let product = Product {
                        tiles,
                        rows: Matrix::rows(weight, self.c_out, self.column()),
                        columns: &Gathered { of: self, x },
                        bias: Bias::Rows(bias),
                    };
                    product.write(output);
                }
                Way::Sliding => {
                    let sliding = Sliding {
                        tiles,
                        x,
                        shape,
                        weight,
                        kernel: self.kernel,
                        bias,
                    };
                    sliding.write(output);
                }
                Way::Winograd => {
                    let winograd = Winograd {
                        tiles,
                        x,
                        shape,
                        weight,
                        bias,
                    };
                    winograd.write(output);
                }
            }
        };
        // SAFETY: all of the output is written.
        unsafe { written(self.n * self.c_out * self.plane(), write) }
    }

    /// Writes all of `output`.
    fn write_by_vectors(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        output: &mut [MaybeUninit<f32>],
    ) {
        let plane = self.plane();
        let tiles = self.tiles();
        let products: Vec<Vec<f32>> = tiles
            .par_iter()
            .map_init(Vec::new, |columns, tile| {
                self.gather(x, 0..self.column(), tile.clone(), columns);
                let pixels = tile.len();
                let mut product = vec![0.0; self.c_out * pixels];
                multiply(
                    Matrix::rows(weight, self.c_out, self.column()),
                    Matrix::rows(columns, self.column(), pixels),
                    &mut product,
                    false,
                );
                product
            })
            .collect();
        // The tiles' parts make up each plane.
        let planes = output.par_chunks_mut(plane).enumerate();
        planes.for_each(|(i, output)| {
            let (picture, channel) = (i / self.c_out, i % self.c_out);
            for (at, tile, pixels) in parts(&tiles, picture * plane..(picture + 1) * plane) {
                let row = &products[tile][channel * tiles[tile].len()..][pixels];
                let output = &mut output[at..at + row.len()];
                for (y, product) in output.iter_mut().zip(row) {
                    y.write(product + bias[channel]);
                }
            }
        });
    }

    /// The gradient for the input: a convolution too, of the gradient spread to the input's size, with the kernel turned
    /// and its channels exchanged.
    pub(super) fn x_backward(&self, weight: &[f32], gradient: &[f32]) -> Vec<f32> {
        let Self {
            c_in,
            c_out,
            kernel,
            ..
        } = *self;
        let places = kernel * kernel;
        let mut turned = vec![0.0; weight.len()];
        let rows = turned.par_chunks_exact_mut(c_out * places).enumerate();
        rows.for_each(|(input, row)| {
            for (output, values) in row.chunks_exact_mut(places).enumerate() {
                let source = &weight[(output * c_in + input) * places..][..places];
                for (value, source) in values.iter_mut().zip(source.iter().rev()) {
                    *value = *source;
                }
            }
        });
        let spread_shape = [self.n, c_out, self.h, self.w];
        let transposed = Self::new::<f32>(spread_shape, [c_in, c_out, kernel, kernel], 1);
        let no_bias = vec![0.0; c_in];
        if self.stride == 1 {
            return transposed.forward(gradient, &turned, &no_bias);
        }
        let [.., width] = self.output_shape();
        let mut spread = vec![0.0; self.n * c_out * self.h * self.w];
        let planes = spread
            .chunks_exact_mut(self.h * self.w)
            .zip(gradient.chunks_exact(self.plane()));
        for (spread, gradient) in planes {
            for (i, value) in gradient.iter().enumerate() {
                let (y, x) = (i / width * self.stride, i % width * self.stride);
                spread[y * self.w + x] = *value;
            }
        }
        transposed.forward(&spread, &turned, &no_bias)
    }

    /// Gradients for weight and bias: the gradient's rows times the columns, summed over the tiles.
    pub(super) fn weight_backward(&self, x: &[f32], gradient: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let tiles = self.tiles();
        let share = tiles.len().div_ceil(rayon::current_num_threads()).max(1);
        let plane = self.plane();
        let of_share = |tiles: &[Range<usize>]| {
            let mut columns = Vec::new();
            let mut weight = vec![0.0; self.c_out * self.column()];
            let mut bias = vec![0.0; self.c_out];
            for tile in tiles {
                self.gather(x, 0..self.column(), tile.clone(), &mut columns);
                let pixels = tile.len();
                let mut rows = vec![0.0; self.c_out * pixels];
                for (channel, row) in rows.chunks_exact_mut(pixels).enumerate() {
                    for run in self.runs(tile.clone()) {
                        let [.., width] = self.output_shape();
                        let start =
                            (run.picture * self.c_out + channel) * plane + run.y * width + run.x;
                        row[run.at..run.at + run.len]
                            .copy_from_slice(&gradient[start..start + run.len]);
                    }
                    bias[channel] += row.iter().sum::<f32>();
                }
                multiply(
                    Matrix::rows(&rows, self.c_out, pixels),
                    Matrix::rows(&columns, self.column(), pixels).transposed(),
                    &mut weight,
                    true,
                );
            }
            (weight, bias)
        };
        let add = |mut a: Vec<f32>, b: Vec<f32>| {
            a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
            a
        };
        tiles
            .par_chunks(share)
            .map(of_share)
            .collect::<Vec<_>>()
            .into_iter()
            .reduce(|a, b| (add(a.0, b.0), add(a.1, b.1)))
            .expect("a picture has pixels")
    }
}

/// The columns of a convolution's pixels.
struct Gathered<'a, E> {
    of: &'a Convolution,
    x: &'a [E],
}

impl<E: Element> Columns<E> for Gathered<'_, E> {
    fn pictures(&self) -> usize {
        self.of.n
    }

    fn column_count(&self) -> usize {
        self.of.plane()
    }

    fn part<'a>(
        &'a self,
        picture: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut Vec<E>,
    ) -> Matrix<'a, E> {
        let plane = self.of.plane();
        if self.of.kernel == 1 && self.of.stride == 1 {
            let picture = &self.x[picture * self.of.c_in * plane..];
            return Matrix::rows(picture, self.of.c_in, plane).part(rows, columns);
        }
        let pixels = picture * plane + columns.start..picture * plane + columns.end;
        self.of.gather(self.x, rows.clone(), pixels, scratch);
        Matrix::rows(scratch, rows.len(), columns.len())
    }
}

/// The parts of tiles that make up `pixels`: where each starts in `pixels`, its tile, and its range in that tile.
fn parts(
    tiles: &[Range<usize>],
    pixels: Range<usize>,
) -> impl Iterator<Item = (usize, usize, Range<usize>)> {
    let first = tiles.partition_point(|tile| tile.end <= pixels.start);
    let overlapping = tiles[first..]
        .iter()
        .take_while(move |tile| tile.start < pixels.end);
    let start = pixels.start;
    overlapping.enumerate().map(move |(i, tile)| {
        let from = tile.start.max(start);
        let to = tile.end.min(pixels.end);
        (from - start, first + i, from - tile.start..to - tile.start)
    })
}

/// `line[start], line[start + stride], ...`, zero outside the line.
fn copy_padded<E: Element>(line: &[E], start: isize, stride: usize, values: &mut [E]) {
    if stride == 1 {
        let left = (start.min(0).unsigned_abs()).min(values.len());
        let (zeros, rest) = values.split_at_mut(left);
        zeros.fill(E::default());
        let line = &line[(start.max(0) as usize).min(line.len())..];
        let inside = line.len().min(rest.len());
        rest[..inside].copy_from_slice(&line[..inside]);
        rest[inside..].fill(E::default());
    } else {
        for (i, value) in values.iter_mut().enumerate() {
            let at = start + (i * stride) as isize;
            *value = usize::try_from(at)
                .ok()
                .and_then(|at| line.get(at))
                .copied()
                .unwrap_or_default();
        }
    }
}
