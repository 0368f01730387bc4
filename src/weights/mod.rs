//! Loads and saves weights: bundles of this crate, and diffusers folders.
//!
//! The header of a file is read once. Then the tensors are read one by one, and each is converted
//! to the precision of the backend. Loading is strict: it fails if a tensor is missing, unused or
//! has another shape, or if a value is not finite.
//!
//! Values are stored in the byte order of the machine, which must be little-endian, as burn-store
//! requires.

mod bundle;
pub(crate) mod checkpoint;
pub(crate) mod diffusers;
mod diffusers_config;
pub(crate) mod fields;
mod safetensors_file;
#[cfg(all(test, feature = "flex"))]
mod tests;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod to_backend;

pub(crate) use bundle::{load as load_bundle, save as save_bundle};
pub(crate) use diffusers::load as load_diffusers;

use crate::backend::Backend;
use crate::backend::precision::check_precision;
use crate::backend::precision::float_type;
use crate::error::{Error, Result};
use crate::unet::parameters;
use crate::unet::{UNet, UNetConfig};
use burn::module::Module;
use burn::tensor::{DType, Tensor};
use checkpoint::{Checkpoint, TensorSpec};
use safetensors::Dtype;
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

/// Maximum channel count in a file. It is far above that of any model, and so low that products of
/// two counts cannot overflow.
const MAX_CHANNELS: usize = 1 << 24;
/// Keys of the prompt embeddings.
pub(crate) const PROMPTS: [&str; 2] = ["prompt.positive", "prompt.negative"];

/// The type in which weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Storage {
    /// 32-bit float.
    F32,
    /// 16-bit float: half the size, up to 65,504. The default.
    #[default]
    F16,
    /// 16-bit float with the range of a 32-bit float and eight significant bits.
    BF16,
}

impl Storage {
    /// Returns the type in memory and the type in a safetensors header.
    fn types(self) -> (DType, Dtype) {
        match self {
            Self::F32 => (DType::F32, Dtype::F32),
            Self::F16 => (DType::F16, Dtype::F16),
            Self::BF16 => (DType::BF16, Dtype::BF16),
        }
    }
}

/// The location of a file of weights.
pub(crate) enum WeightsSource {
    /// A file on disk.
    File(PathBuf),
    /// The content of a file.
    Bytes(Cow<'static, [u8]>),
}

/// The trained parameters of a model.
#[derive(Clone, Debug)]
pub struct Weights<B: Backend> {
    /// The UNet.
    pub unet: UNet<B>,
    /// Embedding of the positive prompt, `[tokens, cross_attention_dim]`.
    pub positive: Tensor<B, 2>,
    /// Embedding of the negative prompt, `[tokens, cross_attention_dim]`.
    pub negative: Tensor<B, 2>,
}

/// Creates a UNet without weights, for the tensors of `checkpoint`.
///
/// # Errors
///
/// - [`Error::Config`] if the config is not valid, or so large that building the UNet would fail or
///   never end.
/// - [`Error::Precision`] if the device does not support the precision of the backend.
fn empty_unet<B: Backend>(
    config: &UNetConfig,
    checkpoint: &Checkpoint,
    device: &B::Device,
) -> Result<UNet<B>> {
    let widest = config.block_out_channels.iter().copied().max();
    let channels = [
        ("in_channels", config.in_channels),
        ("out_channels", config.out_channels),
        ("block_out_channels", widest.unwrap_or(0)),
        ("cross_attention_dim", config.cross_attention_dim),
        ("time_embed_dim", config.time_embed_dim),
    ];
    let layers = config.layers_per_block.iter().copied();
    let layers = layers.fold(0, usize::saturating_add);
    check_sizes(&channels, layers, checkpoint)?;
    check_precision::<B>(device, float_type::<B>())?;
    config.init(device)
}

/// Checks that a model with these channel counts and this number of layers can be built for the
/// tensors of `checkpoint`.
///
/// # Errors
///
/// [`Error::Config`] if building it would fail or never end.
pub(crate) fn check_sizes(
    channels: &[(&'static str, usize)],
    layers: usize,
    checkpoint: &Checkpoint,
) -> Result<()> {
    let fail = |field, reason| Err(Error::Config { field, reason });
    for &(field, value) in channels {
        if value > MAX_CHANNELS {
            let reason = format!("{value} is over the limit of {MAX_CHANNELS}");
            return fail(field, reason);
        }
    }
    // Each layer has several tensors. The check prevents a wrong count from exhausting memory.
    let tensors = checkpoint.len();
    if layers > tensors {
        let reason = format!("{layers} layers, but the file has {tensors} tensors");
        return fail("layers_per_block", reason);
    }
    Ok(())
}

/// Returns the tensors that a module needs, with `prefix` before each key.
pub(crate) fn tensor_specs<B: Backend>(module: &impl Module<B>, prefix: &str) -> Vec<TensorSpec> {
    let parameters = parameters::shapes(module).into_iter();
    parameters
        .map(|parameter| TensorSpec {
            key: format!("{prefix}{}", parameters::key(&parameter)),
            shape: parameter.shape.iter().copied().map(Some).collect(),
        })
        .collect()
}

/// Returns the prompt embeddings that a UNet needs.
fn prompt_specs(config: &UNetConfig) -> [TensorSpec; 2] {
    PROMPTS.map(|key| TensorSpec {
        key: key.to_owned(),
        shape: vec![None, Some(config.cross_attention_dim)],
    })
}

/// Loads the weights of a module. Their keys begin with `prefix`.
pub(crate) fn read_module<B: Backend, M: Module<B>>(
    empty: M,
    prefix: &'static str,
    checkpoint: &Arc<Checkpoint>,
    device: &B::Device,
) -> Result<M> {
    let checkpoint = checkpoint.clone();
    parameters::fill(empty, device, move |key| {
        checkpoint.read(&format!("{prefix}{key}"), float_type::<B>())
    })
}

/// Reads the positive and the negative prompt embedding.
fn read_prompts<B: Backend>(
    checkpoint: &Checkpoint,
    device: &B::Device,
) -> Result<[Tensor<B, 2>; 2]> {
    let dtype = float_type::<B>();
    let read = |key| -> Result<_> {
        let data = checkpoint.read(key, dtype)?;
        Ok(Tensor::from_data(data, (device, dtype)))
    };
    Ok([read(PROMPTS[0])?, read(PROMPTS[1])?])
}
