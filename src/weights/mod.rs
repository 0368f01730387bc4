//! Weights on disk: bundles of this crate, and folders of diffusers.
//!
//! A file's header is read once, then its tensors one by one: mapped, converted to the precision of the backend and
//! let go. Loading is strict: a tensor that is missing, left over or of another shape fails it, and so does a value
//! that is not finite.

mod bundle;
mod checkpoint;
mod convert;
mod diffusers;
mod diffusers_config;
mod file;
mod keys;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use diffusers::load as load_diffusers;

use crate::backend::Backend;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::unet::{UNet, UNetConfig};
use burn::tensor::Tensor;
use checkpoint::{Checkpoint, Wanted};
use std::path::{Path, PathBuf};

/// Largest channel count taken from a file: far over any model's, and far below where products overflow.
const MAX_CHANNELS: usize = 1 << 24;
/// Keys of the prompt embeddings.
const PROMPTS: [&str; 2] = ["prompt.positive", "prompt.negative"];

/// The type that weights are stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Storage {
    /// 32-bit float.
    F32,
    /// 16-bit float: half the size, up to 65,504. The default.
    #[default]
    F16,
    /// 16-bit float with the range of 32 bits and eight significant bits.
    BF16,
}

impl Storage {
    /// Bytes of a value.
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Name in a safetensors header.
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }
}

/// Where a file's bytes are.
pub(crate) enum Source {
    /// A file on disk, to be mapped.
    File(PathBuf),
    /// The file's content.
    Bytes(&'static [u8]),
}

/// All that is learnt of a model.
#[derive(Clone, Debug)]
pub struct Weights<B: Backend> {
    /// The UNet.
    pub unet: UNet<B>,
    /// Embedding of the prompt to follow, `[tokens, cross_attention_dim]`.
    pub positive: Tensor<B, 2>,
    /// Embedding of the prompt to avoid, `[tokens, cross_attention_dim]`.
    pub negative: Tensor<B, 2>,
}

/// Loads a bundle.
///
/// # Errors
///
/// Those of [`bundle::load`].
pub(crate) fn load_bundle<B: Backend>(
    source: Source,
    device: &B::Device,
) -> Result<(GenDrPixConfig, Weights<B>)> {
    bundle::load(source, device, |config: &GenDrPixConfig| &config.unet)
}

/// Saves a bundle.
///
/// # Errors
///
/// Those of [`bundle::save`].
pub(crate) fn save_bundle<B: Backend>(
    path: &Path,
    config: &GenDrPixConfig,
    weights: &Weights<B>,
    storage: Storage,
) -> Result<()> {
    bundle::save(path, config, weights, storage)
}

/// A UNet without weights, for the tensors of `checkpoint`.
///
/// # Errors
///
/// [`Error::Config`] when the config is not valid, or so large that building the UNet would fail or not end.
fn empty_unet<B: Backend>(
    config: &UNetConfig,
    checkpoint: &Checkpoint,
    device: &B::Device,
) -> Result<UNet<B>> {
    let widest = config.block_out_channels.iter().copied().max();
    for (field, value) in [
        ("in_channels", config.in_channels),
        ("out_channels", config.out_channels),
        ("block_out_channels", widest.unwrap_or(0)),
        ("cross_attention_dim", config.cross_attention_dim),
        ("time_embed_dim", config.time_embed_dim),
    ] {
        if value > MAX_CHANNELS {
            return Err(Error::Config {
                field,
                reason: format!("{value} is over the limit of {MAX_CHANNELS}"),
            });
        }
    }
    // Each layer has several tensors; this keeps a false count from filling the memory.
    let layers = config
        .layers_per_block
        .iter()
        .fold(0usize, |sum, &layers| sum.saturating_add(layers));
    if layers > checkpoint.len() {
        return Err(Error::Config {
            field: "layers_per_block",
            reason: format!(
                "{layers} layers, but the file has {} tensors",
                checkpoint.len()
            ),
        });
    }
    config.init(device)
}

/// The tensors that a UNet needs, with `prefix` before each key.
fn unet_wanted<B: Backend>(unet: &UNet<B>, prefix: &str) -> Vec<Wanted> {
    walk::shapes(unet)
        .into_iter()
        .map(|(key, shape)| Wanted {
            key: format!("{prefix}{key}"),
            shape: shape.into_iter().map(Some).collect(),
        })
        .collect()
}

/// The prompt embeddings that a UNet needs.
fn prompts_wanted(config: &UNetConfig) -> impl Iterator<Item = Wanted> {
    let width = config.cross_attention_dim;
    PROMPTS.into_iter().map(move |key| Wanted {
        key: key.to_owned(),
        shape: vec![None, Some(width)],
    })
}

fn fill_unet<B: Backend>(unet: UNet<B>, prefix: &str, checkpoint: &Checkpoint) -> Result<UNet<B>> {
    walk::fill(unet, |key, transposed, dtype| {
        checkpoint.read(&format!("{prefix}{key}"), transposed, dtype)
    })
}

/// The prompt embeddings, positive and negative.
fn read_prompts<B: Backend>(
    checkpoint: &Checkpoint,
    device: &B::Device,
) -> Result<[Tensor<B, 2>; 2]> {
    let read = |key| -> Result<_> {
        let data = checkpoint.read(key, false, walk::float_type::<B>())?;
        Ok(walk::upload(data, device))
    };
    Ok([read(PROMPTS[0])?, read(PROMPTS[1])?])
}
