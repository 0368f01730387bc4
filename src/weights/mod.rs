//! Weights on disk: bundles of this crate, and folders of diffusers.
//!
//! A file's header is read once, then its tensors one by one, each converted to the precision of the backend. Loading
//! is strict: a tensor that is missing, left over or of another shape fails it, and so does a value that is not finite.
//!
//! Values are stored as they lie in memory, so machines are taken to be little-endian, as by burn-store.

mod bundle;
pub(crate) mod checkpoint;
pub(crate) mod diffusers;
mod diffusers_config;
pub(crate) mod fields;
mod file;
#[cfg(any(feature = "flex", feature = "ndarray"))]
mod on_backend;
#[cfg(all(test, feature = "flex"))]
mod tests;

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
use checkpoint::{Checkpoint, Wanted};
use safetensors::Dtype;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest channel count taken from a file: far over any model's, and far below where products overflow.
const MAX_CHANNELS: usize = 1 << 24;
/// Keys of the prompt embeddings.
pub(crate) const PROMPTS: [&str; 2] = ["prompt.positive", "prompt.negative"];

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
    /// The type in memory and in a safetensors header.
    fn types(self) -> (DType, Dtype) {
        match self {
            Self::F32 => (DType::F32, Dtype::F32),
            Self::F16 => (DType::F16, Dtype::F16),
            Self::BF16 => (DType::BF16, Dtype::BF16),
        }
    }
}

/// Where a file's bytes are.
pub(crate) enum Source {
    /// A file on disk.
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

/// From the operating system's error to ours of the file at `path`.
fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + Copy {
    |source| {
        let path = path.to_owned();
        Error::Io { path, source }
    }
}

/// The error of a file or folder that cannot be understood.
fn invalid(path: &Path, reason: String) -> Error {
    let path = path.to_owned();
    Error::Format { path, reason }
}

/// A UNet without weights, for the tensors of `checkpoint`.
///
/// # Errors
///
/// [`Error::Config`] when the config is not valid, or so large that building the UNet would fail or not end;
/// [`Error::Precision`] when the device lacks the backend's.
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

/// Checks that a model of these channel counts and layers can be built for the tensors of `checkpoint`.
///
/// # Errors
///
/// [`Error::Config`] when building it would fail or not end.
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
    // Each layer has several tensors; this keeps a false count from filling the memory.
    let tensors = checkpoint.len();
    if layers > tensors {
        let reason = format!("{layers} layers, but the file has {tensors} tensors");
        return fail("layers_per_block", reason);
    }
    Ok(())
}

/// The tensors that a module needs, with `prefix` before each key.
pub(crate) fn wanted<B: Backend>(module: &impl Module<B>, prefix: &str) -> Vec<Wanted> {
    let parameters = parameters::shapes(module).into_iter();
    parameters
        .map(|parameter| Wanted {
            key: format!("{prefix}{}", parameters::key(&parameter)),
            shape: parameter.shape.iter().copied().map(Some).collect(),
        })
        .collect()
}

/// The prompt embeddings that a UNet needs.
fn prompts_wanted(config: &UNetConfig) -> [Wanted; 2] {
    PROMPTS.map(|key| Wanted {
        key: key.to_owned(),
        shape: vec![None, Some(config.cross_attention_dim)],
    })
}

/// The module with its weights, which have `prefix` before each key.
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

/// The prompt embeddings, positive and negative.
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
