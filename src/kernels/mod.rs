//! The bodies of the [`Backend`](crate::Backend) trait's operations: plain ones for any backend, kernels for some, and
//! the gradients.

#[cfg(feature = "train")]
mod autodiff;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod cube;
#[cfg(feature = "flex")]
mod flex;
pub(crate) mod picture;
pub(crate) mod plain;
