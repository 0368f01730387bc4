//! A bundle: a whole model in one safetensors file.
//!
//! | tensor                               | shape                           |
//! |--------------------------------------|---------------------------------|
//! | `unet.` and diffusers' key           | as in diffusers                 |
//! | `prompt.positive`, `prompt.negative` | `[tokens, cross_attention_dim]` |
//!
//! | header metadata     | value                         |
//! |---------------------|-------------------------------|
//! | `gendr_pix.version` | version of this format: `1`   |
//! | `gendr_pix.config`  | the model's config, as JSON   |

use super::checkpoint::Checkpoint;
use super::convert::encode;
use super::file::File;
use super::{PROMPTS, Source, Storage, Weights};
use super::{empty_unet, fill_unet, prompts_wanted, read_prompts, unet_wanted, walk};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::unet::UNetConfig;
use burn::tensor::TensorData;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const VERSION_KEY: &str = "gendr_pix.version";
const CONFIG_KEY: &str = "gendr_pix.config";
const VERSION: &str = "1";
/// Before the keys of the UNet's tensors.
const UNET_PREFIX: &str = "unet.";

/// Loads a bundle; `unet_config` finds the UNet's config in the model's.
///
/// # Errors
///
/// - [`Error::Io`] when the file cannot be read.
/// - [`Error::Format`] when it is not a bundle of this version, or a tensor's type cannot be read.
/// - [`Error::Config`] when the UNet's config is not valid.
/// - [`Error::Keys`] when the tensors are not those of the config.
/// - [`Error::NonFiniteWeight`] when a weight is not finite in the backend's precision.
pub(crate) fn load<B: Backend, C: DeserializeOwned>(
    source: Source,
    device: &B::Device,
    unet_config: impl Fn(&C) -> &UNetConfig,
) -> Result<(C, Weights<B>)> {
    let file = File::open(source)?;
    let metadata = |key| {
        let missing = || file.invalid(format!("is not a bundle: its metadata lacks `{key}`"));
        file.metadata.get(key).ok_or_else(missing)
    };
    let version = metadata(VERSION_KEY)?;
    if version != VERSION {
        return Err(file.invalid(format!(
            "is a bundle of format version {version:?}; this release reads {VERSION:?}"
        )));
    }
    let config: C = serde_json::from_str(metadata(CONFIG_KEY)?)
        .map_err(|error| file.invalid(format!("metadata `{CONFIG_KEY}`: {error}")))?;

    let checkpoint = Checkpoint::of_file(file);
    let unet_config = unet_config(&config);
    let unet = empty_unet(unet_config, &checkpoint, device)?;
    let mut wanted = unet_wanted(&unet, UNET_PREFIX);
    wanted.extend(prompts_wanted(unet_config));
    checkpoint.check(&wanted)?;
    let [positive, negative] = read_prompts(&checkpoint, device)?;
    let unet = fill_unet(unet, UNET_PREFIX, &checkpoint)?;
    let weights = Weights {
        unet,
        positive,
        negative,
    };
    Ok((config, weights))
}

/// Saves a bundle, tensor by tensor. A file at `path` is replaced when all is written, and untouched on any error.
///
/// # Errors
///
/// - [`Error::Io`] when the file cannot be written.
/// - [`Error::NonFiniteWeight`] when a weight is not finite, or not in the precision of `storage`.
/// - [`Error::Format`] when the config cannot be written as JSON.
pub(crate) fn save<B: Backend, C: Serialize>(
    path: &Path,
    config: &C,
    weights: &Weights<B>,
    storage: Storage,
) -> Result<()> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let temporary = Temporary::beside(path);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary.0)
        .map_err(io)?;
    let mut out = Out {
        writer: BufWriter::new(file),
        path,
        storage,
    };
    out.bundle(config, weights)?;
    let file = out
        .writer
        .into_inner()
        .map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    drop(file);
    std::fs::rename(&temporary.0, path).map_err(io)
}

/// A file next to the one to be written, removed when dropped unless renamed by then.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}-{count}.tmp", std::process::id()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Gone already after the rename, and there is nobody to tell otherwise.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A bundle being written.
struct Out<'a, W> {
    writer: W,
    /// The file's name in errors.
    path: &'a Path,
    storage: Storage,
}

impl<W: Write> Out<'_, W> {
    fn bundle<B: Backend, C: Serialize>(&mut self, config: &C, weights: &Weights<B>) -> Result<()> {
        let prompts = [&weights.positive, &weights.negative];
        let prompt_shapes = PROMPTS.into_iter().zip(prompts);
        let unet_shapes = walk::shapes(&weights.unet).into_iter();
        let shapes = prompt_shapes
            .map(|(key, prompt)| (key.to_owned(), prompt.dims().to_vec()))
            .chain(unet_shapes.map(|(key, shape)| (format!("{UNET_PREFIX}{key}"), shape)));
        self.header(config, shapes)?;
        for (key, prompt) in PROMPTS.into_iter().zip(prompts) {
            self.tensor(key, prompt.to_data())?;
        }
        walk::values(&weights.unet, |key, data| {
            self.tensor(&format!("{UNET_PREFIX}{key}"), data)
        })
    }

    /// The header for tensors that follow in the order of `shapes`. Its keys are sorted: equal models are equal files.
    fn header<C: Serialize>(
        &mut self,
        config: &C,
        shapes: impl Iterator<Item = (String, Vec<usize>)>,
    ) -> Result<()> {
        let json = |error: serde_json::Error| Error::Format {
            path: self.path.to_owned(),
            reason: format!("the config cannot be written as JSON: {error}"),
        };
        let config = serde_json::to_string(config).map_err(json)?;
        let mut header = serde_json::Map::new();
        header.insert(
            "__metadata__".to_owned(),
            serde_json::json!({ VERSION_KEY: VERSION, CONFIG_KEY: config }),
        );
        let mut start = 0;
        for (key, shape) in shapes {
            let end = start + shape.iter().product::<usize>() * self.storage.size();
            let entry = serde_json::json!({
                "dtype": self.storage.name(),
                "shape": shape,
                "data_offsets": [start, end],
            });
            header.insert(key, entry);
            start = end;
        }
        let mut header = serde_json::to_vec(&header).map_err(json)?;
        // Spaces up to a multiple of eight align the tensors.
        header.resize(header.len().next_multiple_of(8), b' ');
        self.bytes(&(header.len() as u64).to_le_bytes())?;
        self.bytes(&header)
    }

    fn tensor(&mut self, key: &str, data: TensorData) -> Result<()> {
        let bytes = data
            .convert::<f32>()
            .as_slice()
            .ok()
            .and_then(|values| encode(values, self.storage))
            .ok_or_else(|| Error::NonFiniteWeight {
                path: self.path.to_owned(),
                key: key.to_owned(),
            })?;
        self.bytes(&bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|source| Error::Io {
            path: self.path.to_owned(),
            source,
        })
    }
}
