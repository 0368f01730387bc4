//! Bundles: a complete model in one safetensors file.
//!
//! | tensor                               | shape                           |
//! |--------------------------------------|---------------------------------|
//! | `unet.` and the key of diffusers     | as in diffusers                 |
//! | `prompt.positive`, `prompt.negative` | `[tokens, cross_attention_dim]` |
//!
//! | header metadata     | value                         |
//! |---------------------|-------------------------------|
//! | `gendr_pix.version` | version of the format: `1`    |
//! | `gendr_pix.config`  | config of the model, as JSON  |

use super::checkpoint::{Checkpoint, is_finite};
use super::safetensors_file::SafetensorsFile;
use super::{PROMPTS, Storage, Weights, WeightsSource, parameters};
use super::{empty_unet, prompt_specs, read_module, read_prompts, tensor_specs};
use crate::backend::Backend;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::file::write_whole;
use burn::module::ParamId;
use burn_store::TensorSnapshot;
use safetensors::tensor::TensorInfo;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const VERSION_KEY: &str = "gendr_pix.version";
const CONFIG_KEY: &str = "gendr_pix.config";
const VERSION: &str = "1";
/// The prefix of the keys of the UNet's tensors.
const UNET_PREFIX: &str = "unet.";

/// Loads a bundle.
///
/// # Errors
///
/// - [`Error::Io`] if the file cannot be read.
/// - [`Error::Format`] if it is not a bundle of this version, or the type of a tensor is not
///   supported.
/// - [`Error::Config`] if the config of the UNet is not valid.
/// - [`Error::Keys`] if the tensors do not match the config.
/// - [`Error::NonFiniteWeight`] if a weight is not finite in the precision of the backend.
pub(crate) fn load<B: Backend>(
    source: WeightsSource,
    device: &B::Device,
) -> Result<(GenDrPixConfig, Weights<B>)> {
    let file = SafetensorsFile::open(source)?;
    let fail = |reason: String| Error::format(&file.name, reason);
    let metadata = |key| {
        let missing = || fail(format!("is not a bundle: its metadata lacks `{key}`"));
        file.metadata(key).ok_or_else(missing)
    };
    let version = metadata(VERSION_KEY)?;
    if version != VERSION {
        return Err(fail(format!(
            "is a bundle of format version {version:?}; this release reads {VERSION:?}"
        )));
    }
    let config: GenDrPixConfig = serde_json::from_str(metadata(CONFIG_KEY)?)
        .map_err(|error| fail(format!("metadata `{CONFIG_KEY}`: {error}")))?;

    let checkpoint = Arc::new(Checkpoint::new(file.name.clone(), vec![file])?);
    let empty = empty_unet(&config.unet, &checkpoint, device)?;
    let mut specs = tensor_specs(&empty, UNET_PREFIX);
    specs.extend(prompt_specs(&config.unet));
    checkpoint.check(&specs)?;
    let [positive, negative] = read_prompts(&checkpoint, device)?;
    let weights = Weights {
        unet: read_module(empty, UNET_PREFIX, &checkpoint, device)?,
        positive,
        negative,
    };
    Ok((config, weights))
}

/// Saves a bundle, tensor by tensor. An existing file at `path` is replaced after everything has
/// been written, and stays untouched on any error.
///
/// # Errors
///
/// - [`Error::Io`] if the file cannot be written.
/// - [`Error::NonFiniteWeight`] if a weight is not finite in the type of `storage`.
/// - [`Error::Format`] if the config cannot be written as JSON, or the backend fails to return a
///   weight.
pub(crate) fn save<B: Backend>(
    path: &Path,
    config: &GenDrPixConfig,
    weights: &Weights<B>,
    storage: Storage,
) -> Result<()> {
    let fail = |reason: String| Error::format(path, reason);
    let tensors = tensors(weights);
    let header = header(config, &tensors, storage)
        .map_err(|error| fail(format!("the config cannot be written as JSON: {error}")))?;
    write_whole(path, |out| {
        out.write_all(&header).map_err(Error::io(path))?;
        for (key, tensor) in tensors {
            let data = tensor
                .to_data()
                .map_err(|error| fail(format!("tensor `{key}`: {error}")))?
                .convert_dtype(storage.types().0);
            if !is_finite(&data) {
                let path = path.to_owned();
                return Err(Error::NonFiniteWeight { path, key });
            }
            out.write_all(data.as_bytes()).map_err(Error::io(path))?;
        }
        Ok(())
    })
}

/// Returns the tensors of a bundle with their keys, in the order of the file.
fn tensors<B: Backend>(weights: &Weights<B>) -> Vec<(String, TensorSnapshot)> {
    let prompts = [&weights.positive, &weights.negative]
        .map(|prompt| TensorSnapshot::from_float(prompt, Vec::new(), Vec::new(), ParamId::new()));
    let prompts = PROMPTS.map(str::to_owned).into_iter().zip(prompts);
    let unet = parameters::values(&weights.unet).into_iter();
    let key = |tensor: &_| format!("{UNET_PREFIX}{}", parameters::key(tensor));
    prompts
        .chain(unet.map(|tensor| (key(&tensor), tensor)))
        .collect()
}

/// Returns the bytes before the tensors: the length of the header, and the header. Its keys are
/// sorted, so that equal models give equal files.
fn header(
    config: &GenDrPixConfig,
    tensors: &[(String, TensorSnapshot)],
    storage: Storage,
) -> serde_json::Result<Vec<u8>> {
    let config = serde_json::to_string(config)?;
    let mut header = serde_json::Map::new();
    header.insert(
        "__metadata__".to_owned(),
        serde_json::json!({ VERSION_KEY: VERSION, CONFIG_KEY: config }),
    );
    let (memory, dtype) = storage.types();
    let mut start = 0;
    for (key, tensor) in tensors {
        let end = start + tensor.shape.num_elements() * memory.size();
        let info = TensorInfo {
            dtype,
            shape: tensor.shape.to_vec(),
            data_offsets: (start, end),
        };
        header.insert(key.clone(), serde_json::to_value(info)?);
        start = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    // Pad with spaces to a multiple of eight bytes to align the tensors.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok([&(header.len() as u64).to_le_bytes(), &header[..]].concat())
}
