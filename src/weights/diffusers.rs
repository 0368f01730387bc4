//! diffusers folders: `config.json`, the weights of a model in one file or in shards, and prompt
//! embeddings.
//!
//! | file                                                  | content                                          |
//! |-------------------------------------------------------|--------------------------------------------------|
//! | `config.json`                                         | the config of the model                          |
//! | `diffusion_pytorch_model.safetensors`                 | the weights, or                                  |
//! | `diffusion_pytorch_model.safetensors.index.json`      | the list of their shards, or                     |
//! | `diffusion_pytorch_model.fp16.safetensors`            | the weights in half precision, or                |
//! | `diffusion_pytorch_model.safetensors.index.fp16.json` | the list of their shards; the first match counts |
//! | `prompts.safetensors`                                 | `prompt.positive` and `prompt.negative`          |
//!
//! diffusers saves all of these files except `prompts.safetensors`. In a pipeline folder, the files
//! of the UNet are in `unet/`, and `prompts.safetensors` is in the pipeline folder itself.

use super::checkpoint::Checkpoint;
use super::safetensors_file::SafetensorsFile;
use super::{Weights, WeightsSource, diffusers_config, fields};
use super::{empty_unet, prompt_specs, read_module, read_prompts, tensor_specs};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::unet::{UNet, UNetConfig};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file name of the config.
pub(crate) const CONFIG: &str = "config.json";
/// The file name of the prompt embeddings.
const PROMPTS_FILE: &str = "prompts.safetensors";
/// The file names of the weights or of the index of their shards, in order of preference. The last
/// one is the name of the `fp16` index in diffusers up to 0.29.
const WEIGHTS: [&str; 5] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.fp16.safetensors.index.json",
];

/// Loads a UNet and its prompt embeddings.
///
/// # Errors
///
/// The errors of [`UNet::load_diffusers`], also for the file of the prompt embeddings.
pub(crate) fn load<B: Backend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(UNetConfig, Weights<B>)> {
    let (config, empty, checkpoint) = open(folder, device)?;
    let prompts = Checkpoint::open(WeightsSource::File(folder.join(PROMPTS_FILE)))?;
    prompts.check(&prompt_specs(&config))?;
    let [positive, negative] = read_prompts(&prompts, device)?;
    let weights = Weights {
        unet: read_module(empty, "", &checkpoint.into(), device)?,
        positive,
        negative,
    };
    Ok((config, weights))
}

impl<B: Backend> UNet<B> {
    /// Loads the UNet of a diffusers folder, or of the folder `unet` in a pipeline folder. The
    /// folder contains `config.json` and `diffusion_pytorch_model.safetensors`, which may be split
    /// into shards and may be the `fp16` variant.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] if a file is missing or cannot be read.
    /// - [`Error::Format`] if a file is not in the expected format, the folder contains no weights,
    ///   an index refers to a file outside of the folder, or the type of a tensor is not f32, f16
    ///   or bf16.
    /// - [`Error::Config`] if the config is not valid or requests a feature that is not
    ///   implemented.
    /// - [`Error::Keys`] if the tensors do not match the config.
    /// - [`Error::NonFiniteWeight`] if a weight is not finite in the precision of the backend.
    pub fn load_diffusers(
        folder: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<(UNetConfig, Self)> {
        let (config, empty, checkpoint) = open(folder.as_ref(), device)?;
        Ok((config, read_module(empty, "", &checkpoint.into(), device)?))
    }
}

/// Creates the UNet without weights, and opens the files of its weights after checking that they
/// match.
fn open<B: Backend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(UNetConfig, UNet<B>, Checkpoint)> {
    let folder = model_folder(folder, "unet");
    let config = diffusers_config::parse(&folder.join(CONFIG))?;
    let checkpoint = open_weights(&folder)?;
    let empty = empty_unet(&config, &checkpoint, device)?;
    checkpoint.check(&tensor_specs(&empty, ""))?;
    Ok((config, empty, checkpoint))
}

/// Returns the subfolder `name` if only that contains a config; otherwise `folder` itself.
pub(crate) fn model_folder(folder: &Path, name: &str) -> PathBuf {
    let inner = folder.join(name);
    if !folder.join(CONFIG).exists() && inner.join(CONFIG).exists() {
        inner
    } else {
        folder.to_owned()
    }
}

/// Opens the weights in `folder`: the first file of [`WEIGHTS`] that exists.
pub(crate) fn open_weights(folder: &Path) -> Result<Checkpoint> {
    for name in WEIGHTS {
        let path = folder.join(name);
        // Any error other than a missing file is reported when the file is opened.
        if matches!(path.metadata(), Err(error) if error.kind() == ErrorKind::NotFound) {
            continue;
        }
        return if name.ends_with(".json") {
            open_shards(folder, &path)
        } else {
            Checkpoint::open(WeightsSource::File(path))
        };
    }
    let reason = format!("contains no weights: none of {}", WEIGHTS.join(", "));
    Err(Error::format(folder, reason))
}

/// The index of a model that is split into several files.
#[derive(Deserialize)]
struct Index {
    /// The file of each key.
    weight_map: BTreeMap<String, String>,
}

/// Opens the shards that an index lists.
fn open_shards(folder: &Path, index_path: &Path) -> Result<Checkpoint> {
    let invalid = |reason: String| Error::format(index_path, reason);
    let text = fields::read_text(index_path)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|error| invalid(format!("is not an index of shards: {error}")))?;
    let names: BTreeSet<_> = index.weight_map.values().collect();
    let mut files = BTreeMap::new();
    for name in names {
        if !is_plain_name(name) {
            return Err(invalid(format!(
                "refers to {name:?}, which is not a file of its folder"
            )));
        }
        files.insert(
            name,
            SafetensorsFile::open(WeightsSource::File(folder.join(name)))?,
        );
    }
    for (key, name) in &index.weight_map {
        if files[name].info(key).is_err() {
            return Err(invalid(format!(
                "refers to {name:?} for tensor `{key}`, but that file does not contain it"
            )));
        }
    }
    Checkpoint::new(index_path.to_owned(), files.into_values().collect())
}

/// Returns whether `name` can only refer to a file in the folder it is joined to, on any operating
/// system. An index is not trusted.
fn is_plain_name(name: &str) -> bool {
    !name.contains(['/', '\\', ':']) && Path::new(name).file_name() == Some(name.as_ref())
}
