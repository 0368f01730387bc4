//! Enlarges and restores pictures with GenDR-Pix: one-step diffusion super-resolution without a VAE, in pure Rust.
//!
//! A low-quality picture is enlarged by bicubic interpolation, folded into cells of 8x8 pixels, passed once through
//! Stable Diffusion's UNet, and unfolded: `x -> pixel-unshuffle x8 -> UNet -> pixel-shuffle x8 -> y`. The method is that
//! of Wang, Zhao, Li and Zhang, "Eliminating VAE for Fast and High-Resolution Generative Detail Restoration" (ICLR
//! 2026, arXiv 2602.10630), "the paper" in these pages.
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
//! | you want | see |
//! | --- | --- |
//! | to choose a backend, save memory, train a model | the [`guide`] |
//! | to enlarge a picture | [`GenDrPix::upscale`], [`GenDrPix::upscale_with`] and its options, [`Upscale`] |
//! | to await a GPU, in a browser or another async program | [`GenDrPix::upscale_async`], [`picture::Picture::map_async`] |
//! | to show how far it is, to stop it | [`Upscale::on_progress`], [`Upscale::cancel`] |
//! | many pictures, the next decoded meanwhile | [`GenDrPix::upscale_many`], [`picture::ReadAhead`] |
//! | to read and write picture files with all that is in them | [`picture`] |
//! | to know that a GPU computes right, to make it ready, to give its memory back | [`GenDrPix::self_test`], [`GenDrPix::warm_up`], [`GenDrPix::trim`] |
//! | to work on tensors | [`GenDrPix::restore`] |
//! | half of the memory, bf16 | [`GenDrPix::in_precision`] |
//! | to load other weights | [`GenDrPix::load`], [`GenDrPix::from_bytes`] |
//! | the paper's full-size model | [`GenDrPixConfig::sd21`] |
//! | another device | [`backend`] |
//! | a burn backend of your own | [`Backend`] |
//! | the parts | [`unet`], [`shuffle`], [`OneStep`], [`Padding`] |
//!
//! # Features
//!
//! Features only add; all of them together compile.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `flex` (default) | the CPU backend: pure Rust, SIMD |
//! | `pretrained` (default) | the bundled nano weights, in the binary |
//! | `autotune` (default) | GPU backends time their kernels and keep the fastest; nothing without a GPU backend |
//! | `ndarray` | burn's older CPU backend |
//! | `cuda` | NVIDIA GPUs |
//! | `wgpu` | any GPU, by WebGPU's shading language |
//! | `vulkan`, `metal` | `wgpu` with kernels compiled for Vulkan or Metal |
//! | `latent` | the paper's latent baselines, which keep the VAE or half of it |
//! | `train` | the training of the bundled model, and the paper's distillation; brings `latent` along |
//! | `collective` | the distillation on several devices at once; brings `train` along, and some sixty crates of burn-collective's |

#![warn(missing_docs)]
// On docs.rs, whose compiler can, items tell their feature.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod backend;
mod config;
mod error;
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

pub use backend::precision::Precision;
pub use backend::{Backend, GroupNormOptions, PictureOperations};
pub use config::GenDrPixConfig;
pub use error::{Deviation, Error, Result};
pub use model::GenDrPix;
pub use model::plan::Plan;
pub use options::Upscale;
pub use options::attention::Attention;
pub use options::color_fix::ColorFix;
pub use options::padding::{Edge, Padding};
pub use options::progress::{Cancel, Phase, Progress};
pub use options::target::Target;
pub use options::tiling::Tiling;
pub use restore::onestep::{OneStep, Prediction};
pub use restore::shuffle;
pub use weights::{Storage, Weights};
