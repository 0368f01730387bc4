//! Enlarges and restores pictures with GenDR-Pix: one-step diffusion super-resolution without a
//! VAE, in pure Rust.
//!
//! A low-quality picture is enlarged by bicubic interpolation. Its cells of 8x8 pixels become
//! channels, which pass once through Stable Diffusion's UNet and become cells again:
//! `x -> pixel unshuffle x8 -> UNet -> pixel shuffle x8 -> y`. The method is from Wang, Zhao, Li
//! and Zhang, "Eliminating VAE for Fast and High-Resolution Generative Detail Restoration" (ICLR
//! 2026, arXiv 2602.10630), called "the paper" in this documentation.
//!
//! ```no_run
//! # #[cfg(all(feature = "flex", feature = "pretrained"))]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use gendr_pix::{GenDrPix, backend};
//!
//! let model = GenDrPix::<backend::Cpu>::pretrained(&Default::default())?;
//! let picture = image::open("small.jpg")?;
//! model.upscale(&picture)?.save("large.png")?;
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "flex", feature = "pretrained")))]
//! # fn main() {}
//! ```
//!
//! # Where to look
//!
//! | to | see |
//! | --- | --- |
//! | choose a backend, save memory, train a model | the [`guide`] |
//! | enlarge a picture | [`GenDrPix::upscale`], [`GenDrPix::upscale_with`] and its options, [`Upscale`] |
//! | enlarge pictures in a browser or another async program | [`GenDrPix::upscale_async`], [`picture::Picture::map_async`] |
//! | show progress, cancel | [`Upscale::on_progress`], [`Upscale::cancel`] |
//! | enlarge many pictures and decode the next one meanwhile | [`GenDrPix::upscale_many`], [`picture::ReadAhead`] |
//! | read and write picture files with their metadata | [`picture`] |
//! | check a GPU, prepare it, release its memory | [`GenDrPix::self_test`], [`GenDrPix::warm_up`], [`GenDrPix::trim`] |
//! | work on tensors | [`GenDrPix::restore`] |
//! | halve the memory with bf16 | [`GenDrPix::in_precision`] |
//! | load other weights | [`GenDrPix::load`], [`GenDrPix::from_bytes`] |
//! | use the paper's full-size model | [`GenDrPixConfig::sd21`] |
//! | use another device | [`backend`] |
//! | use your own burn backend | [`Backend`] |
//! | use the building blocks | [`unet`], [`shuffle`], [`OneStep`], [`Padding`] |
//!
//! # Features
//!
//! Features are additive. All of them can be enabled together.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `flex` (default) | the CPU backend: pure Rust, SIMD |
//! | `pretrained` (default) | the bundled nano weights, in the binary |
//! | `autotune` (default) | GPU backends time several kernels for each operation and use the fastest; no effect without a GPU backend |
//! | `ndarray` | burn's older CPU backend |
//! | `cuda` | NVIDIA GPUs |
//! | `wgpu` | any GPU, through WebGPU's shading language |
//! | `vulkan`, `metal` | `wgpu` with kernels compiled for Vulkan or Metal |
//! | `latent` | the paper's latent baselines, which keep all or half of the VAE |
//! | `train` | training of the bundled model, and the paper's distillation; includes `latent` |
//! | `collective` | the distillation on several devices; includes `train`, and adds about sixty dependencies of burn-collective |

#![warn(missing_debug_implementations, missing_docs)]
// docs.rs shows the feature that each item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend;
mod config;
pub mod error;
mod file;
pub mod guide;
#[cfg(feature = "latent")]
pub mod latent;
mod model;
mod options;
pub mod picture;
mod pixels;
mod restore;
mod simd;
#[cfg(test)]
mod testing;
#[cfg(feature = "train")]
pub mod train;
pub mod unet;
mod upscale;
mod weights;

pub use backend::Backend;
pub use backend::precision::Precision;
pub use config::GenDrPixConfig;
pub use error::{Error, Result};
pub use model::GenDrPix;
pub use model::plan::Plan;
pub use options::Upscale;
pub use options::attention::Attention;
pub use options::color_fix::ColorFix;
pub use options::padding::{Edge, Padding};
pub use options::progress::{Cancel, Phase, Progress};
pub use options::restore::Restore;
pub use options::target::Target;
pub use options::tiling::Tiling;
pub use restore::onestep::{OneStep, Prediction};
pub use restore::shuffle;
pub use weights::{Storage, Weights};
