//! A folder of diffusers: `config.json`, a model's weights in one file or in shards, and prompt embeddings.
//!
//! | file                                                  | what                                               |
//! |-------------------------------------------------------|----------------------------------------------------|
//! | `config.json`                                         | the model's config                                 |
//! | `diffusion_pytorch_model.safetensors`                 | the weights, or                                    |
//! | `diffusion_pytorch_model.safetensors.index.json`      | the list of their shards, or                       |
//! | `diffusion_pytorch_model.fp16.safetensors`            | the weights in half precision, or                  |
//! | `diffusion_pytorch_model.safetensors.index.fp16.json` | the list of their shards; the first found is taken |
//! | `prompts.safetensors`                                 | `prompt.positive` and `prompt.negative`            |
//!
//! The first four kinds are as diffusers saves them. In the folder of a whole pipeline a UNet's are looked for in `unet/`;
//! `prompts.safetensors`, which diffusers does not know, lies in the folder itself.

use super::checkpoint::Checkpoint;
use super::file::File;
use super::{Source, Weights, invalid};
use super::{diffusers_config, fields};
use super::{empty_unet, prompts_wanted, read_module, read_prompts, wanted};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::unet::{UNet, UNetConfig};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The file of the config.
pub(crate) const CONFIG: &str = "config.json";
/// The file of the prompt embeddings.
const PROMPTS_FILE: &str = "prompts.safetensors";
/// The weights in one file or the index of their shards, best first; the last is how diffusers called the variant's
/// index up to 0.29.
const WEIGHTS: [&str; 5] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.fp16.safetensors.index.json",
];

/// Loads a UNet and the prompt embeddings beside it.
///
/// # Errors
///
/// Those of [`UNet::load_diffusers`], also for the file of the prompt embeddings.
pub(crate) fn load<B: Backend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(UNetConfig, Weights<B>)> {
    let (config, empty, checkpoint) = open(folder, device)?;
    let prompts = Checkpoint::open(Source::File(folder.join(PROMPTS_FILE)))?;
    prompts.check(&prompts_wanted(&config))?;
    let [positive, negative] = read_prompts(&prompts, device)?;
    let weights = Weights {
        unet: read_module(empty, "", &checkpoint.into(), device)?,
        positive,
        negative,
    };
    Ok((config, weights))
}

impl<B: Backend> UNet<B> {
    /// Loads the UNet of a diffusers folder (`config.json` and `diffusion_pytorch_model.safetensors`, in shards or
    /// not, plain or `fp16`), or of the folder `unet` in a pipeline's.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] when a file is absent or cannot be read.
    /// - [`Error::Format`] when a file is not what its name says, the folder has no weights, an index names a file
    ///   outside of the folder, or a tensor's type is not f32, f16 or bf16.
    /// - [`Error::Config`] when the config is not valid or asks for what is not implemented.
    /// - [`Error::Keys`] when the tensors are not those of the config.
    /// - [`Error::NonFiniteWeight`] when a weight is not finite in the backend's precision.
    pub fn load_diffusers(
        folder: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<(UNetConfig, Self)> {
        let (config, empty, checkpoint) = open(folder.as_ref(), device)?;
        Ok((config, read_module(empty, "", &checkpoint.into(), device)?))
    }
}

/// All of a UNet but its weights, and their files, which were found to fit.
fn open<B: Backend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(UNetConfig, UNet<B>, Checkpoint)> {
    let folder = model_folder(folder, "unet");
    let config = diffusers_config::parse(&folder.join(CONFIG))?;
    let checkpoint = open_weights(&folder)?;
    let empty = empty_unet(&config, &checkpoint, device)?;
    checkpoint.check(&wanted(&empty, ""))?;
    Ok((config, empty, checkpoint))
}

/// The folder itself, or the folder `name` in it when only that has a config.
pub(crate) fn model_folder(folder: &Path, name: &str) -> PathBuf {
    let inner = folder.join(name);
    if !folder.join(CONFIG).exists() && inner.join(CONFIG).exists() {
        inner
    } else {
        folder.to_owned()
    }
}

pub(crate) fn open_weights(folder: &Path) -> Result<Checkpoint> {
    for name in WEIGHTS {
        let path = folder.join(name);
        // Any other trouble than absence is told when the file is opened.
        if matches!(path.metadata(), Err(error) if error.kind() == ErrorKind::NotFound) {
            continue;
        }
        return if name.ends_with(".json") {
            open_shards(folder, &path)
        } else {
            Checkpoint::open(Source::File(path))
        };
    }
    let reason = format!("has no weights: none of {}", WEIGHTS.join(", "));
    Err(invalid(folder, reason))
}

/// The index of a model in several files.
#[derive(Deserialize)]
struct Index {
    /// The file of each key.
    weight_map: BTreeMap<String, String>,
}

fn open_shards(folder: &Path, index_path: &Path) -> Result<Checkpoint> {
    let invalid = |reason: String| -> Error { invalid(index_path, reason) };
    let text = fields::read_text(index_path)?;
    let index: Index = serde_json::from_str(&text)
        .map_err(|error| invalid(format!("is not an index of shards: {error}")))?;
    let names: BTreeSet<_> = index.weight_map.values().collect();
    let mut files = BTreeMap::new();
    for name in names {
        if !is_plain_name(name) {
            return Err(invalid(format!(
                "names {name:?}, which is not a file of its folder"
            )));
        }
        files.insert(name, File::open(Source::File(folder.join(name)))?);
    }
    for (key, name) in &index.weight_map {
        if files[name].info(key).is_err() {
            return Err(invalid(format!(
                "places tensor `{key}` in {name:?}, which lacks it"
            )));
        }
    }
    Checkpoint::new(index_path.to_owned(), files.into_values().collect())
}

/// Whether `name` can only mean a file of the folder it is joined to, on any system: an index is not to be trusted.
fn is_plain_name(name: &str) -> bool {
    !name.contains(['/', '\\', ':']) && Path::new(name).file_name() == Some(name.as_ref())
}
