//! The folder of a diffusers `AutoencoderKL`, as that of a UNet: see [`diffusers`](super::diffusers). In the folder of
//! a whole pipeline it is looked for in `vae/`.
//!
//! A VAE saved by an old release of diffusers has other names for the layers of its attention:
//!
//! | old key's module ends with | today's                 |
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

const OLD_VAE_RULES: Rules = &[
    ("attentions.0.query", "attentions.0.to_q"),
    ("attentions.0.key", "attentions.0.to_k"),
    ("attentions.0.value", "attentions.0.to_v"),
    ("attentions.0.proj_attn", "attentions.0.to_out.0"),
];

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

/// Of training and of precision.
const IGNORED: [&str; 2] = ["force_upcast", "sample_size"];

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

fn from_fields(fields: &Fields, path: &Path) -> Result<VaeConfig> {
    let reader = SCHEMA.check(fields, path)?;
    let block_out_channels = reader.list("block_out_channels", &[64])?;
    let stages = block_out_channels.len();
    for field in ["down_block_types", "up_block_types"] {
        // Absent is a list of one in diffusers.
        let (blocks, found) = match fields.get(field) {
            Some(value @ Value::Array(blocks)) => (blocks.len(), value),
            Some(value) => (1, value),
            None => (1, &Value::Null),
        };
        if blocks != stages {
            return Err(reader.unsupported(field, found, &format!("a list of {stages}")));
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

/// All of a VAE but its weights, and their files, which were found to fit.
fn open<B: Backend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(VaeConfig, Vae<B>, Arc<Checkpoint>)> {
    let folder = model_folder(folder, "vae");
    let path = folder.join(CONFIG);
    let config = from_fields(&fields::parse(&path)?, &path)?;
    let checkpoint = open_weights(&folder)?.renamed(of_old_vae)?;
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
    /// Loads the VAE of a diffusers folder (`config.json` and `diffusion_pytorch_model.safetensors`, in shards or not,
    /// plain or `fp16`), or of the folder `vae` in a pipeline's. The names that attention layers had in old releases
    /// of diffusers (`query`, `key`, `value`, `proj_attn`) are taken too.
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
    /// Loads the second half of a whole VAE; the first is checked, but not read.
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

/// Today's key for a key of a VAE of any age.
fn of_old_vae(key: &str) -> String {
    rename(key, OLD_VAE_RULES)
}

#[cfg(all(test, feature = "flex"))]
mod tests;
