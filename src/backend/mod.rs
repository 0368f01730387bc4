//! The compute backends: burn's, under one roof, each behind the feature of its name.
//!
//! # The first picture on a GPU
//!
//! The first picture takes longer than later ones: its kernels are compiled and, with feature `autotune`, several are timed for
//! each product and convolution. [`GenDrPix::warm_up`](crate::GenDrPix::warm_up) does this work beforehand. Both are shared by
//! pictures of different sizes, so there is no need to bring pictures to common sizes:
//!
//! - **Timings** are kept by shape with every length rounded up to a power of two. What was timed for one output serves all outputs
//!   whose sides and whose area lie between the same powers, in cells of 8 pixels with the one that padding adds: widths of 2041
//!   to 4088 pixels, for example. (Sources: `ConvAutotuneKey` in burn-cubecl 0.21 and `MatmulAutotuneKey` in
//!   cubek-matmul 0.2, rounded by `anchor` in cubecl-runtime 0.10 at the default level `balanced`.)
//! - **Compiled kernels** are kept by precision, vector width, address width, workgroup size, tile sizes and which bounds are checked. The
//!   size of a picture is an argument at run time. A new size compiles a kernel again only if it leads to another of these few
//!   combinations, such as a side that a tile no longer divides. (Sources: `KernelId` in cubecl-runtime 0.10, `TilingBlueprint` in
//!   cubek-matmul 0.2, and `backend/cube/`, where no compile-time argument is a size of the picture.)
//!
//! This is read from the sources; the times were not measured on a GPU.
//!
//! What came of the trials is kept in a file: in `target` beside the next `Cargo.toml` in the working directory or above it,
//! else in the user's cache directory (`~/.cache/cubecl` on Linux). Compiled kernels are not kept. Both can be changed for
//! the whole program, which a library must not do by itself: by a file `cubecl.toml` in the working directory or above it,
//!
//! ```toml
//! [autotune]
//! cache = { file = "/var/cache/my-program" }
//! [compilation] # of `cuda` and `vulkan`
//! cache = { file = "/var/cache/my-program" }
//! ```
//!
//! or by `cubecl::config::CubeClRuntimeConfig::set` before a device is first used.

pub(crate) mod activations;
#[cfg(feature = "train")]
mod autodiff;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;
pub(crate) mod operation;
pub(crate) mod pad;
pub(crate) mod plain;
pub(crate) mod plain_picture;
pub(crate) mod precision;

use crate::backend::operation::Operation;
use crate::options::padding::Edge;
use crate::options::padding::Padding;
use burn::tensor::{FloatDType, Int, Tensor};

/// A burn backend and the model's own operations on it.
///
/// Each operation has a plain body, made of burn's, so that any burn backend can be used:
/// `impl gendr_pix::Backend for MyBackend {}`. Where it pays, a backend has a kernel of its own instead; both must
/// agree. No size of a tensor is zero.
///
/// The tensors of an operation are of one precision, that of the weights, but those that run past a block: norms take them in
/// f32 or in that of the weights, in which their output is; of two that are added the sum has the wider.
pub trait Backend: burn::tensor::backend::Backend {
    /// Convolution of an odd kernel, padded by half of it on all sides.
    ///
    /// # Shapes
    ///
    /// - x: `[N, C, H, W]`
    /// - weight: `[C', C, K, K]`
    /// - bias: `[C']`
    /// - output: `[N, C', ceil(H / stride), ceil(W / stride)]`
    fn convolution(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        bias: Tensor<Self, 1>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        plain::convolution(x, weight, bias, stride)
    }

    /// Gradient of [`convolution`](Self::convolution) for its input, from the gradient of its output.
    fn convolution_x_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        gradient: Tensor<Self, 4>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        plain::convolution_x_backward(x, weight, gradient, stride)
    }

    /// Gradients of [`convolution`](Self::convolution) for weight and bias, from the gradient of its output.
    fn convolution_weight_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        gradient: Tensor<Self, 4>,
        stride: usize,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>) {
        plain::convolution_weight_backward(x, weight, gradient, stride)
    }

    /// Channels side by side.
    ///
    /// # Shapes
    ///
    /// - a and b: `[N, A, H, W]` and `[N, B, H, W]`
    /// - output: `[N, A + B, H, W]`
    fn concatenate(a: Tensor<Self, 4>, b: Tensor<Self, 4>) -> Tensor<Self, 4> {
        plain::concatenate(a, b)
    }

    /// The part of `[H', W'] = size` whose first row and column are `top_left`.
    ///
    /// # Shapes
    ///
    /// - x: `[N, C, H, W]`
    /// - output: `[N, C, H', W']`
    fn crop(x: Tensor<Self, 4>, top_left: [usize; 2], size: [usize; 2]) -> Tensor<Self, 4> {
        plain::crop(x, top_left, size)
    }

    /// `part` added to `whole`, its first row and column to that of `top_left`.
    ///
    /// # Shapes
    ///
    /// - whole and output: `[N, C, H, W]`
    /// - part: `[N, C, H', W']`
    fn add_at(
        whole: Tensor<Self, 4>,
        part: Tensor<Self, 4>,
        top_left: [usize; 2],
    ) -> Tensor<Self, 4> {
        plain::add_at(whole, part, top_left)
    }

    /// Pixels as tokens.
    ///
    /// # Shapes
    ///
    /// - pixels: `[N, C, H, W]`
    /// - output: `[N, H W, C]`
    fn to_tokens(pixels: Tensor<Self, 4>) -> Tensor<Self, 3> {
        plain::to_tokens(pixels)
    }

    /// `pixels + tokens`, the inverse of [`to_tokens`](Self::to_tokens) at the end of a residual.
    ///
    /// # Shapes
    ///
    /// - pixels and output: `[N, C, H, W]`
    /// - tokens: `[N, H W, C]`
    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        plain::add_tokens(pixels, tokens)
    }

    /// What [`pixel_unshuffle`](crate::restore::shuffle::pixel_unshuffle) does, of checked shapes.
    fn fold_cells(picture: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        plain::fold_cells(picture, factor)
    }

    /// What [`pixel_shuffle`](crate::restore::shuffle::pixel_shuffle) does, of checked shapes.
    fn unfold_cells(features: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        plain::unfold_cells(features, factor)
    }

    /// What [`fold_cells`](Self::fold_cells) does, of the picture with `padding` above and to the left of it, and below and
    /// to the right what fills up the size `[H', W'] = padded`, whole cells.
    ///
    /// # Shapes
    ///
    /// - picture: `[N, C, H, W]`
    /// - output: `[N, C * factor * factor, H' / factor, W' / factor]`
    fn fold_padded(
        picture: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        padded: [usize; 2],
        edge: Edge,
    ) -> Tensor<Self, 4> {
        plain::fold_padded(picture, factor, padding, padded, edge)
    }

    /// The picture of `[H, W] = size` that [`fold_padded`](Self::fold_padded) was given.
    ///
    /// # Shapes
    ///
    /// - features: `[N, C * factor * factor, H' / factor, W' / factor]`
    /// - output: `[N, C, H, W]`
    fn unfold_cropped(
        features: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        size: [usize; 2],
    ) -> Tensor<Self, 4> {
        plain::unfold_cropped(features, factor, padding, size)
    }

    /// `a * weights[0] + b * weights[1]`, of two tensors of one shape.
    fn mix<const D: usize>(
        a: Tensor<Self, D>,
        b: Tensor<Self, D>,
        weights: [f64; 2],
    ) -> Tensor<Self, D> {
        plain::mix(a, b, weights)
    }

    /// A tensor in another precision.
    fn cast<const D: usize>(x: Tensor<Self, D>, dtype: FloatDType) -> Tensor<Self, D> {
        x.cast(dtype)
    }

    /// `a + b`, of two tensors of one shape.
    fn add<const D: usize>(a: Tensor<Self, D>, b: Tensor<Self, D>) -> Tensor<Self, D> {
        Self::mix(a, b, [1.0, 1.0])
    }

    /// Runs `run`, within which the memory of tensors that are done with may be kept for later ones. It is given back at the
    /// end.
    fn reusing_memory<T>(run: impl FnOnce() -> T) -> T {
        run()
    }

    /// Group norm, then what [`GroupNormOptions::silu`] says.
    ///
    /// # Shapes
    ///
    /// - x and output: `[N, C, H, W]`
    /// - weight and bias: `[C]`
    fn group_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        options: GroupNormOptions,
    ) -> Tensor<Self, 4> {
        plain::group_norm(x, weight, bias, options)
    }

    /// Gradients of [`group_norm`](Self::group_norm) for input, weight and bias, from the gradient of its output.
    fn group_norm_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        gradient: Tensor<Self, 4>,
        options: GroupNormOptions,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>, Tensor<Self, 1>) {
        plain::group_norm_backward(x, weight, bias, gradient, options)
    }

    /// Layer norm: `(x - mean) / sqrt(var + epsilon) * weight + bias`, mean and variance over each token's channels.
    ///
    /// # Shapes
    ///
    /// - x and output: `[N, T, C]`
    /// - weight and bias: `[C]`
    fn token_norm(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 3> {
        plain::token_norm(x, weight, bias, epsilon)
    }

    /// Linear map of tokens, `x weight + bias`.
    ///
    /// # Shapes
    ///
    /// - x: `[N, T, C]`
    /// - weight: `[C, C']`
    /// - bias: `[C']`
    /// - output: `[N, T, C']`
    fn token_linear(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 3> {
        plain::token_linear(x, weight, bias)
    }

    /// Attention, `softmax(query key^T / sqrt(D)) value` for each head; the heads lie side by side in the channels, `D`
    /// of them each.
    ///
    /// # Shapes
    ///
    /// - query: `[N, T, C]`
    /// - key, value: `[N, T', C]`, or `[1, T', C]` for all
    /// - output: `[N, T, C]`
    fn multi_head_attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        heads: usize,
    ) -> Tensor<Self, 3> {
        plain::multi_head_attention(query, key, value, heads)
    }

    /// GEGLU, `value * gelu(gate)` with `[value | gate] = x` and the exact GELU, `gelu(x) = x * P(X <= x)` of a standard
    /// normal `X`.
    ///
    /// # Shapes
    ///
    /// - x: `[N, T, 2 C]`
    /// - output: `[N, T, C]`
    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        plain::geglu(x)
    }

    /// A transformer's feed-forward: a linear map, [`geglu`](Self::geglu), another linear map.
    ///
    /// # Shapes
    ///
    /// - x and output: `[N, T, C]`
    /// - weights: `[C, 2 D]` and `[D, C]`
    /// - biases: `[2 D]` and `[C]`
    fn feed_forward(
        x: Tensor<Self, 3>,
        weights: [Tensor<Self, 2>; 2],
        biases: [Tensor<Self, 1>; 2],
    ) -> Tensor<Self, 3> {
        plain::feed_forward(x, weights, biases)
    }

    /// Gradient of [`geglu`](Self::geglu) for its input, from the gradient of its output.
    fn geglu_backward(x: Tensor<Self, 3>, gradient: Tensor<Self, 3>) -> Tensor<Self, 3> {
        plain::geglu_backward(x, gradient)
    }

    /// Whether pictures of 8 bits become tensors, and tensors pictures, on the device, by the operations below: where it is not
    /// the host, bytes move between them instead of floats.
    const PICTURES: bool = false;

    /// A picture of 8 bits, enlarged: each row of the output, and each column, is a weighted sum of four.
    ///
    /// # Shapes
    ///
    /// - bytes: `[H, W, 3] = [size, 3]`, 0 to 255, four to an integer of 32 bits (`[ceil(3 H W / 4)]`), the first the lowest
    /// - sources and weights: `[H', 4]` of rows, `[W', 4]` of columns; 32 bits
    /// - output: `[1, 3, H', W']` in f32, -1..1 but for the overshoot of weights below zero
    fn from_bytes(
        bytes: Tensor<Self, 1, Int>,
        size: [usize; 2],
        sources: [Tensor<Self, 2, Int>; 2],
        weights: [Tensor<Self, 2>; 2],
    ) -> Tensor<Self, 4> {
        plain_picture::from_bytes(bytes, size, sources, weights)
    }

    /// The least and the largest value of each channel of `[1, C, H, W]` in f32, and 1 where one is NaN or infinite, else 0: of
    /// parts of it, as many as suit, `[C, parts, 3]`.
    fn extremes(x: Tensor<Self, 4>) -> Tensor<Self, 3> {
        plain_picture::extremes(x)
    }

    /// `sum + weight * smooth(a - b)` of tensors of one shape, `[1, C, H, W]` in f32: smoothed by `1 2 1` over 4 along both axes,
    /// with gaps of 1, 2, 4 and so on, `level` times.
    fn add_smoothed(
        sum: Tensor<Self, 4>,
        [a, b]: [Tensor<Self, 4>; 2],
        level: usize,
        weight: f64,
        edge: Edge,
    ) -> Tensor<Self, 4> {
        plain_picture::add_smoothed(sum, [a, b], level, weight, edge)
    }

    /// A picture, `[1, 3, H, W]` in f32, as bytes like those that [`from_bytes`](Self::from_bytes) takes: to the nearest level;
    /// what passes -1..1 is cut.
    fn to_bytes(picture: Tensor<Self, 4>) -> Tensor<Self, 1, Int> {
        plain_picture::to_bytes(picture)
    }

    /// Most bytes that an operation over a batch of `pictures` holds beside its inputs and its output: for
    /// [`Plan`](crate::Plan).
    fn workspace(operation: Operation, pictures: usize) -> u64 {
        plain::workspace(operation, pictures, size_of::<Self::FloatElem>())
    }
}

/// What a group norm is beside its weight and bias.
#[derive(Clone, Copy, Debug)]
pub struct GroupNormOptions {
    /// Groups of channels that share their mean and variance.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether SiLU, `y * sigmoid(y)`, follows.
    pub silu: bool,
}

/// Pure Rust CPU backend with SIMD (feature `flex`).
#[cfg(feature = "flex")]
pub type Flex = burn_flex::Flex;

/// CPU backend on the `ndarray` crate (feature `ndarray`).
#[cfg(feature = "ndarray")]
pub type NdArray<F = f32> = burn_ndarray::NdArray<F>;

#[cfg(feature = "ndarray")]
impl Backend for NdArray<f32> {}
#[cfg(feature = "ndarray")]
impl Backend for NdArray<f64> {}

/// NVIDIA GPUs (feature `cuda`); `F` is the precision: `f32`, `half::f16` or `half::bf16`.
///
/// burn's `Cuda` where its `fusion` is off; ours stays without, whoever switches it on.
#[cfg(feature = "cuda")]
pub type Cuda<F = f32> =
    burn_cubecl::CubeBackend<burn_cubecl::cubecl::cuda::CudaRuntime, F, i32, u8>;

/// Any GPU (feature `wgpu`; kernels by `vulkan` or `metal` where enabled); `F` is `f32` or `half::f16`.
///
/// burn's `Wgpu` where its `fusion` is off; ours stays without, whoever switches it on.
#[cfg(feature = "wgpu")]
pub type Wgpu<F = f32> = burn_cubecl::CubeBackend<burn_wgpu::WgpuRuntime, F, i32, u32>;

/// The default CPU backend: [`Flex`] with feature `flex`, otherwise [`NdArray`].
#[cfg(feature = "flex")]
pub type Cpu = Flex;

/// The default CPU backend: [`NdArray`], because feature `flex` is off.
#[cfg(all(feature = "ndarray", not(feature = "flex")))]
pub type Cpu = NdArray;
