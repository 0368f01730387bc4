//! Loads a VAE from a diffusers folder (`AutoencoderKL`). The files have the same names as those of
//! a UNet: see [`diffusers`](crate::weights::diffusers). In a pipeline folder, they are in `vae/`.
//!
//! Old releases of diffusers used other names for the layers of the attention:
//!
//! | the old module ends with   | the current one with    |
//! |----------------------------|-------------------------|
//! | `attentions.0.query`       | `attentions.0.to_q`     |
//! | `attentions.0.key`         | `attentions.0.to_k`     |
//! | `attentions.0.value`       | `attentions.0.to_v`     |
//! | `attentions.0.proj_attn`   | `attentions.0.to_out.0` |

use crate::backend::Backend;
use crate::backend::precision::check_precision;
use crate::backend::precision::float_type;
use crate::error::Result;
use crate::latent::{Vae, VaeConfig, VaeDecoder};
use crate::unet::keys::{Rules, rename};
use crate::weights::checkpoint::Checkpoint;
use crate::weights::diffusers::{CONFIG, model_folder, open_weights};
use crate::weights::fields::{self, Fields, Schema};
use crate::weights::{check_sizes, read_module, tensor_specs};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// The old names in the table above, and their replacements.
const OLD_NAMES: Rules = &[
    ("attentions.0.query", "attentions.0.to_q"),
    ("attentions.0.key", "attentions.0.to_k"),
    ("attentions.0.value", "attentions.0.to_v"),
    ("attentions.0.proj_attn", "attentions.0.to_out.0"),
];

/// The fields that are not read, with the values that are implemented (as JSON).
const FIXED: [(&str, &[&str]); 9] = [
    ("_class_name", &[r#""AutoencoderKL""#]),
    ("act_fn", &[r#""silu""#, r#""swish""#]),
    ("down_block_types", &[r#""DownEncoderBlock2D""#]),
    ("in_channels", &["3"]),
    ("latents_mean", &["null"]),
    ("latents_std", &["null"]),
    ("mid_block_add_attention", &["true"]),
    ("out_channels", &["3"]),
    ("up_block_types", &[r#""UpDecoderBlock2D""#]),
];

/// Fields that concern training or precision.
const IGNORED: [&str; 2] = ["force_upcast", "sample_size"];

/// The fields that are read.
const READ: [&str; 8] = [
    "block_out_channels",
    "latent_channels",
    "layers_per_block",
    "norm_num_groups",
    "scaling_factor",
    "shift_factor",
    "use_post_quant_conv",
    "use_quant_conv",
];

const SCHEMA: Schema = Schema {
    fixed: &FIXED,
    required: None,
    ignored: &IGNORED,
    read: &READ,
};

/// Converts the fields of a config. `path` names the file in errors.
fn from_fields(fields: &Fields, path: &Path) -> Result<VaeConfig> {
    let reader = SCHEMA.check(fields, path)?;
    let block_out_channels = reader.list("block_out_channels", &[64])?;
    let stages = block_out_channels.len();
    for field in ["down_block_types", "up_block_types"] {
        // In diffusers, the default is a list with one entry.
        let (blocks, found) = match fields.get(field) {
            Some(value @ Value::Array(blocks)) => (blocks.len(), value),
            Some(value) => (1, value),
            None => (1, &Value::Null),
        };
        if blocks != stages {
            let supported = format!("a list of {stages} entries");
            return Err(reader.unsupported(field, found, &supported));
        }
    }
    Ok(VaeConfig {
        latent_channels: reader.number("latent_channels", 4)?,
        layers_per_block: reader.number("layers_per_block", 1)?,
        norm_num_groups: reader.number("norm_num_groups", 32)?,
        scaling_factor: reader.real("scaling_factor", 0.18215)?,
        shift_factor: match fields.get("shift_factor") {
            Some(Value::Null) => 0.0,
            _ => reader.real("shift_factor", 0.0)?,
        },
        use_quant_conv: reader.flag("use_quant_conv", true)?,
        use_post_quant_conv: reader.flag("use_post_quant_conv", true)?,
        block_out_channels,
    })
}

/// Creates the VAE without weights, and opens the files of its weights after checking that they
/// match.
fn open<B: Backend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(VaeConfig, Vae<B>, Arc<Checkpoint>)> {
    let folder = model_folder(folder, "vae");
    let path = folder.join(CONFIG);
    let config = from_fields(&fields::parse(&path)?, &path)?;
    let checkpoint = open_weights(&folder)?.renamed(current_key)?;
    let widest = config.block_out_channels.iter().copied().max();
    let channels = [
        ("latent_channels", config.latent_channels),
        ("block_out_channels", widest.unwrap_or(0)),
    ];
    config.validate()?;
    check_precision::<B>(device, float_type::<B>())?;
    let layers = config.stages().saturating_mul(config.layers_per_block);
    check_sizes(&channels, layers, &checkpoint)?;
    let empty = config.init(device)?;
    let mut all = tensor_specs(&empty.encoder, "");
    all.extend(tensor_specs(&empty.decoder, ""));
    checkpoint.check(&all)?;
    Ok((config, empty, Arc::new(checkpoint)))
}

impl<B: Backend> Vae<B> {
    /// Loads the VAE of a diffusers folder, or of the folder `vae` in a pipeline folder. The folder
    /// contains `config.json` and `diffusion_pytorch_model.safetensors`, which may be split into
    /// shards and may be the `fp16` variant. The names that old releases of diffusers gave to
    /// attention layers (`query`, `key`, `value`, `proj_attn`) are accepted.
    ///
    /// # Errors
    ///
    /// The errors of [`UNet::load_diffusers`](crate::unet::UNet::load_diffusers).
    pub fn load_diffusers(
        folder: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<(VaeConfig, Self)> {
        let (config, empty, checkpoint) = open(folder.as_ref(), device)?;
        let vae = Self {
            encoder: read_module(empty.encoder, "", &checkpoint, device)?,
            decoder: read_module(empty.decoder, "", &checkpoint, device)?,
        };
        Ok((config, vae))
    }
}

impl<B: Backend> VaeDecoder<B> {
    /// Loads the decoder of a whole VAE. The tensors of the encoder are checked, but not read.
    ///
    /// # Errors
    ///
    /// The errors of [`Vae::load_diffusers`].
    pub fn load_diffusers(
        folder: impl AsRef<Path>,
        device: &B::Device,
    ) -> Result<(VaeConfig, Self)> {
        let (config, empty, checkpoint) = open(folder.as_ref(), device)?;
        let decoder = read_module(empty.decoder, "", &checkpoint, device)?;
        Ok((config, decoder))
    }
}

/// Returns the key that current releases of diffusers use in place of `key`.
fn current_key(key: &str) -> String {
    rename(key, OLD_NAMES)
}

#[cfg(all(test, feature = "flex"))]
mod tests;
