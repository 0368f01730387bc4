//! The compute backends. Each is a burn backend behind the feature of the same name, with the
//! model's operations added by [`Backend`].
//!
//! # The first picture on a GPU
//!
//! The first picture takes longer than later ones: its kernels are compiled and, with feature
//! `autotune`, several kernels are timed for each product and convolution.
//! [`GenDrPix::warm_up`](crate::GenDrPix::warm_up) does this work in advance. Pictures of different
//! sizes share the results, so you do not need to pad or resize pictures to common sizes:
//!
//! - **Timings** are stored by shape, with every length rounded up to a power of two. A timing for
//!   one output applies to all outputs whose sides and area are between the same powers of two.
//!   Sides count in cells of 8 pixels, plus the one cell that padding adds. For example, widths of
//!   2041 to 4088 pixels share their timings. (Sources: `ConvAutotuneKey` in burn-cubecl 0.21 and
//!   `MatmulAutotuneKey` in cubek-matmul 0.2, rounded by `anchor` in cubecl-runtime 0.10 at the
//!   default level `balanced`.)
//! - **Compiled kernels** are stored by precision, vector width, address width, workgroup size,
//!   tile sizes and the bounds that are checked. The size of a picture is an argument at run time.
//!   A new size leads to another compilation only if one of these properties changes, for example
//!   because a tile no longer divides a side. (Sources: `KernelId` in cubecl-runtime 0.10,
//!   `TilingBlueprint` in cubek-matmul 0.2, and `backend/cube/`, where no compile-time argument is
//!   a size of the picture.)
//!
//! These statements come from reading the sources. The times were not measured on a GPU.
//!
//! burn stores the timings in a file: in `target` next to the nearest `Cargo.toml` in the working
//! directory or above it, otherwise in the user's cache directory (`~/.cache/cubecl` on Linux). It
//! does not store compiled kernels. Both settings apply to the whole program, so a library must not
//! change them. A program can change them with a file `cubecl.toml` in the working directory or
//! above it:
//!
//! ```toml
//! [autotune]
//! cache = { file = "/var/cache/my-program" }
//! [compilation] # for `cuda` and `vulkan`
//! cache = { file = "/var/cache/my-program" }
//! ```
//!
//! The alternative is a call of `cubecl::config::CubeClRuntimeConfig::set` before a device is first
//! used.

pub(crate) mod activations;
#[cfg(feature = "train")]
mod autodiff;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;
pub(crate) mod operation;
pub(crate) mod pad;
mod picture_operations;
pub(crate) mod plain;
pub(crate) mod precision;

pub use picture_operations::PictureOperations;

use crate::backend::operation::Operation;
use crate::options::padding::{Edge, Padding};
use burn::tensor::{FloatDType, Tensor};

/// A burn backend with the operations of the model.
///
/// Each operation has a default body that is composed of burn's own operations, so any burn backend
/// can be used with two empty implementations:
/// `impl gendr_pix::backend::PictureOperations for MyBackend {}` and
/// `impl gendr_pix::Backend for MyBackend {}`. A backend overrides an operation where a kernel of
/// its own is faster. The kernel and the default body must agree.
///
/// No axis of a tensor has length zero. All tensors of an operation have the precision of the
/// weights, with two exceptions. Norms take their input in f32 or in the precision of the weights,
/// and return the precision of the weights. A sum of two tensors has the wider of their precisions.
pub trait Backend: PictureOperations {
    /// Convolution with an odd kernel, padded by half the kernel on all sides.
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

    /// Gradient of [`convolution`](Self::convolution) with respect to its input, given the gradient
    /// of its output. The shapes are those of the input and the output.
    fn convolution_x_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        gradient: Tensor<Self, 4>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        plain::convolution_x_backward(x, weight, gradient, stride)
    }

    /// Gradients of [`convolution`](Self::convolution) with respect to weight and bias, given the
    /// gradient of its output.
    fn convolution_weight_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        gradient: Tensor<Self, 4>,
        stride: usize,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>) {
        plain::convolution_weight_backward(x, weight, gradient, stride)
    }

    /// Concatenation along the channels.
    ///
    /// # Shapes
    ///
    /// - a and b: `[N, A, H, W]` and `[N, B, H, W]`
    /// - output: `[N, A + B, H, W]`
    fn concatenate(a: Tensor<Self, 4>, b: Tensor<Self, 4>) -> Tensor<Self, 4> {
        plain::concatenate(a, b)
    }

    /// Returns the region of `[H', W'] = size` pixels whose first row and column are `top_left`.
    ///
    /// # Shapes
    ///
    /// - x: `[N, C, H, W]`
    /// - output: `[N, C, H', W']`
    fn crop(x: Tensor<Self, 4>, top_left: [usize; 2], size: [usize; 2]) -> Tensor<Self, 4> {
        plain::crop(x, top_left, size)
    }

    /// Adds `part` to a region of `whole`. The region's first row and column are `top_left`.
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

    /// Flattens the pixels of a feature map to tokens.
    ///
    /// # Shapes
    ///
    /// - pixels: `[N, C, H, W]`
    /// - output: `[N, H W, C]`
    fn to_tokens(pixels: Tensor<Self, 4>) -> Tensor<Self, 3> {
        plain::to_tokens(pixels)
    }

    /// Returns `pixels + tokens`, with the tokens rearranged by the inverse of
    /// [`to_tokens`](Self::to_tokens). This is the end of a residual branch.
    ///
    /// # Shapes
    ///
    /// - pixels and output: `[N, C, H, W]`
    /// - tokens: `[N, H W, C]`
    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        plain::add_tokens(pixels, tokens)
    }

    /// Moves each cell of `factor` x `factor` pixels to the channels, as
    /// [`pixel_unshuffle`](crate::restore::shuffle::pixel_unshuffle) does. The sides are multiples
    /// of `factor`.
    ///
    /// # Shapes
    ///
    /// - picture: `[N, C, H, W]`
    /// - output: `[N, C * factor * factor, H / factor, W / factor]`
    fn pixel_unshuffle(picture: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        plain::pixel_unshuffle(picture, factor)
    }

    /// The inverse of [`pixel_unshuffle`](Self::pixel_unshuffle), as
    /// [`pixel_shuffle`](crate::restore::shuffle::pixel_shuffle) does it.
    ///
    /// # Shapes
    ///
    /// - features: `[N, C * factor * factor, H, W]`
    /// - output: `[N, C, H * factor, W * factor]`
    fn pixel_shuffle(features: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        plain::pixel_shuffle(features, factor)
    }

    /// Pads the picture to `[H', W'] = padded` pixels, then applies
    /// [`pixel_unshuffle`](Self::pixel_unshuffle). `padding` is the padding above and to the left.
    /// The remaining padding goes below and to the right. The sides of `padded` are multiples of
    /// `factor`.
    ///
    /// # Shapes
    ///
    /// - picture: `[N, C, H, W]`
    /// - output: `[N, C * factor * factor, H' / factor, W' / factor]`
    fn pad_and_unshuffle(
        picture: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        padded: [usize; 2],
        edge: Edge,
    ) -> Tensor<Self, 4> {
        plain::pad_and_unshuffle(picture, factor, padding, padded, edge)
    }

    /// The inverse of [`pad_and_unshuffle`](Self::pad_and_unshuffle): returns the picture of
    /// `[H, W] = size` pixels without its padding.
    ///
    /// # Shapes
    ///
    /// - features: `[N, C * factor * factor, H' / factor, W' / factor]`
    /// - output: `[N, C, H, W]`
    fn shuffle_and_crop(
        features: Tensor<Self, 4>,
        factor: usize,
        padding: Padding,
        size: [usize; 2],
    ) -> Tensor<Self, 4> {
        plain::shuffle_and_crop(features, factor, padding, size)
    }

    /// Returns `a * weights[0] + b * weights[1]` for two tensors of the same shape.
    fn mix<const D: usize>(
        a: Tensor<Self, D>,
        b: Tensor<Self, D>,
        weights: [f64; 2],
    ) -> Tensor<Self, D> {
        plain::mix(a, b, weights)
    }

    /// Converts a tensor to another precision.
    fn cast<const D: usize>(x: Tensor<Self, D>, dtype: FloatDType) -> Tensor<Self, D> {
        x.cast(dtype)
    }

    /// Returns `a + b` for two tensors of the same shape.
    fn add<const D: usize>(a: Tensor<Self, D>, b: Tensor<Self, D>) -> Tensor<Self, D> {
        Self::mix(a, b, [1.0, 1.0])
    }

    /// Calls `run`. During the call, the backend may keep the memory of dropped tensors for later
    /// tensors. It releases that memory at the end of the call.
    fn reusing_memory<T>(run: impl FnOnce() -> T) -> T {
        run()
    }

    /// Group norm, followed by SiLU if [`GroupNormOptions::silu`] is set.
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

    /// Gradients of [`group_norm`](Self::group_norm) with respect to input, weight and bias, given
    /// the gradient of its output.
    fn group_norm_backward(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        gradient: Tensor<Self, 4>,
        options: GroupNormOptions,
    ) -> (Tensor<Self, 4>, Tensor<Self, 1>, Tensor<Self, 1>) {
        plain::group_norm_backward(x, weight, bias, gradient, options)
    }

    /// Layer norm: `(x - mean) / sqrt(var + epsilon) * weight + bias`, with mean and variance over
    /// the channels of each token.
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

    /// Linear layer on tokens, `x weight + bias`.
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

    /// Multi-head attention, `softmax(query key^T / sqrt(D)) value` for each head. Each head has
    /// `D = C / heads` consecutive channels.
    ///
    /// # Shapes
    ///
    /// - query: `[N, T, C]`
    /// - key, value: `[N, T', C]`, or `[1, T', C]` for the whole batch
    /// - output: `[N, T, C]`
    fn multi_head_attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        heads: usize,
    ) -> Tensor<Self, 3> {
        plain::multi_head_attention(query, key, value, heads)
    }

    /// GEGLU, `value * gelu(gate)` with `[value | gate] = x` and the exact GELU,
    /// `gelu(x) = x * P(X <= x)` for a standard normal `X`.
    ///
    /// # Shapes
    ///
    /// - x: `[N, T, 2 C]`
    /// - output: `[N, T, C]`
    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        plain::geglu(x)
    }

    /// Feed-forward network of a transformer block: a linear layer, [`geglu`](Self::geglu), and
    /// another linear layer.
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

    /// Gradient of [`geglu`](Self::geglu) with respect to its input, given the gradient of its
    /// output.
    fn geglu_backward(x: Tensor<Self, 3>, gradient: Tensor<Self, 3>) -> Tensor<Self, 3> {
        plain::geglu_backward(x, gradient)
    }

    /// Returns an upper bound on the workspace of an operation on a batch of `pictures`, in bytes.
    /// The workspace is the memory in addition to inputs and output. [`Plan`](crate::Plan) uses
    /// this bound.
    fn workspace(operation: Operation, pictures: usize) -> u64 {
        plain::workspace(operation, pictures, size_of::<Self::FloatElem>())
    }
}

/// Parameters of a group norm other than its weight and bias.
#[derive(Clone, Copy, Debug)]
pub struct GroupNormOptions {
    /// Number of groups. The channels of a group share their mean and variance.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether SiLU, `y * sigmoid(y)`, follows the norm.
    pub silu: bool,
}

/// CPU backend in pure Rust with SIMD (feature `flex`).
#[cfg(feature = "flex")]
pub type Flex = burn_flex::Flex;

/// CPU backend based on the `ndarray` crate (feature `ndarray`).
#[cfg(feature = "ndarray")]
pub type NdArray<F = f32> = burn_ndarray::NdArray<F>;

#[cfg(feature = "ndarray")]
impl PictureOperations for NdArray<f32> {}
#[cfg(feature = "ndarray")]
impl Backend for NdArray<f32> {}
#[cfg(feature = "ndarray")]
impl PictureOperations for NdArray<f64> {}
#[cfg(feature = "ndarray")]
impl Backend for NdArray<f64> {}

/// Backend for NVIDIA GPUs (feature `cuda`). `F` is the precision: `f32`, `half::f16` or
/// `half::bf16`.
///
/// This is the same type as burn's `Cuda` without burn's feature `fusion`. It stays without fusion
/// even if another crate enables that feature.
#[cfg(feature = "cuda")]
pub type Cuda<F = f32> =
    burn_cubecl::CubeBackend<burn_cubecl::cubecl::cuda::CudaRuntime, F, i32, u8>;

/// Backend for any GPU (feature `wgpu`). Kernels are compiled for Vulkan or Metal with feature
/// `vulkan` or `metal`, otherwise for WebGPU. `F` is the precision: `f32` or `half::f16`.
///
/// This is the same type as burn's `Wgpu` without burn's feature `fusion`. It stays without fusion
/// even if another crate enables that feature.
#[cfg(feature = "wgpu")]
pub type Wgpu<F = f32> = burn_cubecl::CubeBackend<burn_wgpu::WgpuRuntime, F, i32, u32>;

/// The default CPU backend: [`Flex`] with feature `flex`, otherwise [`NdArray`].
#[cfg(feature = "flex")]
pub type Cpu = Flex;

/// The default CPU backend: [`NdArray`], because feature `flex` is off.
#[cfg(all(feature = "ndarray", not(feature = "flex")))]
pub type Cpu = NdArray;
