//! Convolution by im2col: the neighbourhood of each pixel becomes a column, and the weight matrix
//! is multiplied with the columns. The columns are computed for tiles of pixels that fit the cache.
//! For many pixels, the matrix unit has algorithms without im2col: [`Sliding`] and [`Winograd`].

use super::amx::{
    Bias, Columns, ConvolutionOperands, Product, Sliding, TileElement, Tiles, Winograd,
};
use super::element::Element;
use super::matrix::{Matrix, multiply};
use super::memory::written;
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Values of the im2col columns that are computed at a time. They fit the L2 cache of a core
/// together with the weights in use.
const COLUMN_VALUES: usize = 1 << 18;
/// Bounds on the number of pixels in a tile: enough for an efficient product, and few enough to
/// keep the cores evenly busy.
const TILE_PIXELS: Range<usize> = 128..512;
/// Number of pixels from which [`ConvolutionAlgorithm::Sliding`] is worthwhile. It has to sort the
/// weights by the taps of the kernel.
const SLIDING_PIXELS: usize = 1024;
/// Number of pixels from which [`ConvolutionAlgorithm::Winograd`] is worth the transform of the
/// weights.
const WINOGRAD_PIXELS: usize = 256;
/// Number of output channels from which it is worth the transform of the pixels.
const WINOGRAD_OUTPUTS: usize = 96;
/// Number of input channels that fill a step of the matrix unit.
const WINOGRAD_INPUTS: usize = 32;

/// The algorithm of a convolution on the matrix unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConvolutionAlgorithm {
    /// Copies the neighbourhood of each pixel to a column.
    Im2col,
    /// Reads the neighbourhood of a pixel in place, for stride one.
    Sliding,
    /// Minimal filtering, for 3x3 kernels of stride one.
    Winograd,
}

/// The kernel of a convolution with a stride, padded by half its odd kernel size.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvolutionKernel {
    pub(super) n: usize,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// The matrix unit; `None` to use the vector unit.
    tiles: Option<Tiles>,
    algorithm: ConvolutionAlgorithm,
}

/// Adjacent pixels of a row of the output that are in the same tile.
pub(super) struct Run {
    pub(super) picture: usize,
    pub(super) y: usize,
    pub(super) x: usize,
    pub(super) len: usize,
    /// Index of the first pixel in the tile.
    pub(super) start: usize,
}

impl ConvolutionKernel {
    /// Returns the kernel for pictures and weights of type `E`.
    ///
    /// # Panics
    ///
    /// Panics if the shapes of input and weight disagree, or the kernel is not square and odd.
    pub(super) fn new<E: TileElement>(
        [n, c_in, h, w]: [usize; 4],
        [c_out, weight_in, kernel, kernel_w]: [usize; 4],
        stride: usize,
    ) -> Self {
        assert_eq!((weight_in, kernel), (c_in, kernel_w), "shapes disagree");
        assert!(kernel % 2 == 1, "a kernel of {kernel} has no centre");
        let pixels = h.div_ceil(stride) * w.div_ceil(stride);
        let im2col = Self {
            n,
            c_in,
            c_out,
            h,
            w,
            kernel,
            stride,
            tiles: Tiles::if_worthwhile::<E>(c_out, pixels),
            algorithm: ConvolutionAlgorithm::Im2col,
        };
        // In bf16, the transformed pixels and weights would be rounded once more.
        let winograd_is_worthwhile = E::PARTS > 1
            && pixels >= WINOGRAD_PIXELS
            && c_out >= WINOGRAD_OUTPUTS
            && c_in >= WINOGRAD_INPUTS;
        let algorithm = match kernel {
            1 => ConvolutionAlgorithm::Im2col,
            _ if winograd_is_worthwhile && im2col.supports(ConvolutionAlgorithm::Winograd) => {
                ConvolutionAlgorithm::Winograd
            }
            _ if pixels >= SLIDING_PIXELS && im2col.supports(ConvolutionAlgorithm::Sliding) => {
                ConvolutionAlgorithm::Sliding
            }
            _ => ConvolutionAlgorithm::Im2col,
        };
        Self {
            algorithm,
            ..im2col
        }
    }

    fn supports(&self, algorithm: ConvolutionAlgorithm) -> bool {
        match algorithm {
            ConvolutionAlgorithm::Im2col => true,
            ConvolutionAlgorithm::Sliding => self.stride == 1,
            ConvolutionAlgorithm::Winograd => self.stride == 1 && self.kernel == 3,
        }
    }

    #[cfg(test)]
    pub(super) fn with_tiles(self, tiles: Option<Tiles>) -> Self {
        Self { tiles, ..self }
    }

    /// The same convolution with another algorithm, if that supports its shapes.
    #[cfg(test)]
    pub(super) fn with_algorithm(self, algorithm: ConvolutionAlgorithm) -> Option<Self> {
        let supported = self.supports(algorithm);
        supported.then_some(Self { algorithm, ..self })
    }

    pub(super) fn output_shape(&self) -> [usize; 4] {
        [
            self.n,
            self.c_out,
            self.h.div_ceil(self.stride),
            self.w.div_ceil(self.stride),
        ]
    }

    /// Pixels per output channel.
    pub(super) fn plane(&self) -> usize {
        let [.., h, w] = self.output_shape();
        h * w
    }

    /// Returns the length of a column.
    pub(super) fn column(&self) -> usize {
        self.c_in * self.kernel * self.kernel
    }

    /// Divides the output pixels of all pictures into tiles.
    pub(super) fn tiles(&self) -> Vec<Range<usize>> {
        let pixels = self.n * self.plane();
        let share = pixels.div_ceil(rayon::current_num_threads());
        let tile = (COLUMN_VALUES / self.column())
            .min(share)
            .clamp(TILE_PIXELS.start, TILE_PIXELS.end);
        (0..pixels)
            .step_by(tile)
            .map(|start| start..(start + tile).min(pixels))
            .collect()
    }

    /// Divides a tile into runs.
    pub(super) fn runs(&self, tile: Range<usize>) -> Vec<Run> {
        let [.., width] = self.output_shape();
        let plane = self.plane();
        let mut runs = Vec::new();
        let mut pixel = tile.start;
        while pixel < tile.end {
            let (picture, offset) = (pixel / plane, pixel % plane);
            let x = offset % width;
            let len = (width - x).min(tile.end - pixel);
            runs.push(Run {
                picture,
                y: offset / width,
                x,
                len,
                start: pixel - tile.start,
            });
            pixel += len;
        }
        runs
    }

    /// Computes some rows of the im2col matrix of a tile, `[C * K * K, pixels]`. A row belongs to
    /// an input channel and a tap of the kernel.
    pub(super) fn im2col<E: Element>(
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
            let (channel, tap) = (
                row / (self.kernel * self.kernel),
                row % (self.kernel * self.kernel),
            );
            let (ky, kx) = (tap / self.kernel, tap % self.kernel);
            for run in &runs {
                let values = &mut values[run.start..run.start + run.len];
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

    /// Computes the convolution.
    ///
    /// # Shapes
    ///
    /// - x: `[N, C, H, W]`, weight: `[C', C, K, K]`, bias: `[C']`
    /// - output: [`output_shape`](Self::output_shape)
    pub(super) fn forward<E: TileElement>(&self, x: &[E], weight: &[E], bias: &[E]) -> Vec<E> {
        let write = |output: &mut [MaybeUninit<E>]| {
            let Some(tiles) = self.tiles else {
                let [x, weight, bias] = [x, weight, bias].map(E::values_in_f32);
                let write = |output: &mut [MaybeUninit<f32>]| {
                    self.write_by_vectors(&x, &weight, &bias, output);
                };
                // SAFETY: `write` initialises the whole output.
                return unsafe { E::write_in_f32(output, write) };
            };
            let operands = ConvolutionOperands {
                tiles,
                x,
                shape: [self.n, self.c_in, self.h, self.w],
                weight,
                kernel: self.kernel,
                bias,
            };
            match self.algorithm {
                ConvolutionAlgorithm::Im2col => {
                    let product = Product {
                        tiles,
                        rows: Matrix::rows(weight, self.c_out, self.column()),
                        columns: &Im2colColumns {
                            convolution: self,
                            x,
                        },
                        bias: Bias::Rows(bias),
                    };
                    product.write(output);
                }
                ConvolutionAlgorithm::Sliding => Sliding { operands }.write(output),
                ConvolutionAlgorithm::Winograd => Winograd { operands }.write(output),
            }
        };
        // SAFETY: `write` initialises the whole output.
        unsafe { written(self.n * self.c_out * self.plane(), write) }
    }

    /// Writes the convolution to `output` completely, by f32 arithmetic on the vector unit.
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
                self.im2col(x, 0..self.column(), tile.clone(), columns);
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
        // Each plane is assembled from parts of tiles.
        let planes = output.par_chunks_mut(plane).enumerate();
        planes.for_each(|(i, output)| {
            let (picture, channel) = (i / self.c_out, i % self.c_out);
            for (start, tile, pixels) in parts(&tiles, picture * plane..(picture + 1) * plane) {
                let row = &products[tile][channel * tiles[tile].len()..][pixels];
                let output = &mut output[start..start + row.len()];
                for (y, product) in output.iter_mut().zip(row) {
                    y.write(product + bias[channel]);
                }
            }
        });
    }
}

/// The im2col columns of the pixels of a convolution.
struct Im2colColumns<'a, E> {
    convolution: &'a ConvolutionKernel,
    x: &'a [E],
}

impl<E: TileElement> Columns<E> for Im2colColumns<'_, E> {
    fn pictures(&self) -> usize {
        self.convolution.n
    }

    fn column_count(&self) -> usize {
        self.convolution.plane()
    }

    fn part<'a>(
        &'a self,
        picture: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut Vec<E>,
    ) -> Matrix<'a, E> {
        let plane = self.convolution.plane();
        if self.convolution.kernel == 1 && self.convolution.stride == 1 {
            let picture = &self.x[picture * self.convolution.c_in * plane..];
            return Matrix::rows(picture, self.convolution.c_in, plane).part(rows, columns);
        }
        let pixels = picture * plane + columns.start..picture * plane + columns.end;
        self.convolution
            .im2col(self.x, rows.clone(), pixels, scratch);
        Matrix::rows(scratch, rows.len(), columns.len())
    }
}

/// Returns the parts of tiles that cover `pixels`. Each item is the start of the part in `pixels`,
/// the index of its tile, and its range in the tile.
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

/// Copies `line[start], line[start + stride], ...` to `values`, with zeros outside the line.
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
            let index = start + (i * stride) as isize;
            *value = usize::try_from(index)
                .ok()
                .and_then(|index| line.get(index))
                .copied()
                .unwrap_or_default();
        }
    }
}
