//! The compute backends: burn's, under one roof, each behind the feature of its name.

pub use burn::tensor::backend::Backend;

/// Pure Rust CPU backend with SIMD (feature `flex`).
#[cfg(feature = "flex")]
pub type Flex = burn_flex::Flex;

/// CPU backend on the `ndarray` crate (feature `ndarray`).
#[cfg(feature = "ndarray")]
pub type NdArray<F = f32> = burn_ndarray::NdArray<F>;

/// NVIDIA GPUs (feature `cuda`); `F` is the precision: `f32`, `half::f16` or `half::bf16`.
#[cfg(feature = "cuda")]
pub type Cuda<F = f32> = burn_cuda::Cuda<F>;

/// Any GPU (feature `wgpu`; kernels by `vulkan` or `metal` where enabled); `F` is `f32` or `half::f16`.
#[cfg(feature = "wgpu")]
pub type Wgpu<F = f32> = burn_wgpu::Wgpu<F>;

/// The CPU backend to use when nothing else is asked for: [`Flex`], else [`NdArray`].
#[cfg(feature = "flex")]
pub type Default = Flex;

/// The CPU backend to use when nothing else is asked for: [`NdArray`], as feature `flex` is off.
#[cfg(all(feature = "ndarray", not(feature = "flex")))]
pub type Default = NdArray;
