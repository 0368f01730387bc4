//! Converts the `config.json` of a `UNet2DConditionModel` from diffusers to a [`UNetConfig`].
//!
//! A field that changes the computation of the UNet is either read, or must have a value that is
//! implemented here.

use super::fields::{self, Fields, Schema};
use crate::error::Result;
use crate::unet::UNetConfig;
use serde_json::Value;
use std::path::Path;

/// The fields that are not read, with the values that are implemented (as JSON).
pub(super) const FIXED: [(&str, &[&str]); 32] = [
    ("_class_name", &[r#""UNet2DConditionModel""#]),
    ("act_fn", &[r#""silu""#, r#""swish""#]),
    ("addition_embed_type", &["null"]),
    ("attention_type", &[r#""default""#]),
    ("center_input_sample", &["false"]),
    ("class_embed_type", &["null"]),
    ("class_embeddings_concat", &["false"]),
    ("conv_in_kernel", &["3"]),
    ("conv_out_kernel", &["3"]),
    ("cross_attention_norm", &["null"]),
    ("downsample_padding", &["1"]),
    ("dual_cross_attention", &["false"]),
    ("encoder_hid_dim", &["null"]),
    ("encoder_hid_dim_type", &["null"]),
    ("flip_sin_to_cos", &["true"]),
    ("freq_shift", &["0"]),
    ("mid_block_only_cross_attention", &["null", "false"]),
    ("mid_block_scale_factor", &["1"]),
    ("mid_block_type", &[r#""UNetMidBlock2DCrossAttn""#]),
    ("num_class_embeds", &["null"]),
    ("only_cross_attention", &["false"]),
    ("projection_class_embeddings_input_dim", &["null"]),
    ("resnet_out_scale_factor", &["1"]),
    ("resnet_skip_time_act", &["false"]),
    ("resnet_time_scale_shift", &[r#""default""#]),
    ("reverse_transformer_layers_per_block", &["null"]),
    ("time_cond_proj_dim", &["null"]),
    ("time_embedding_act_fn", &["null"]),
    ("time_embedding_type", &[r#""positional""#]),
    ("timestep_post_act", &["null"]),
    ("transformer_layers_per_block", &["1"]),
    ("use_linear_projection", &["true"]),
];

/// Fields that concern training or precision, or details of features that [`FIXED`] rules out.
const IGNORED: [&str; 5] = [
    "addition_embed_type_num_heads",
    "addition_time_embed_dim",
    "dropout",
    "sample_size",
    "upcast_attention",
];

/// The fields that are read.
pub(super) const READ: [&str; 12] = [
    "attention_head_dim",
    "block_out_channels",
    "cross_attention_dim",
    "down_block_types",
    "in_channels",
    "layers_per_block",
    "norm_eps",
    "norm_num_groups",
    "num_attention_heads",
    "out_channels",
    "time_embedding_dim",
    "up_block_types",
];

pub(super) const SCHEMA: Schema = Schema {
    fixed: &FIXED,
    required: Some("use_linear_projection"),
    ignored: &IGNORED,
    read: &READ,
};

/// Reads a config.
///
/// # Errors
///
/// - [`Error::Io`](crate::Error::Io) if the file cannot be read.
/// - [`Error::Format`](crate::Error::Format) if it is not a JSON object.
/// - [`Error::Config`](crate::Error::Config) if a field has the wrong type or a value that is not
///   implemented.
pub(crate) fn parse(path: &Path) -> Result<UNetConfig> {
    from_fields(&fields::parse(path)?, path)
}

/// Converts the fields of a config. `path` names the file in errors.
pub(super) fn from_fields(fields: &Fields, path: &Path) -> Result<UNetConfig> {
    let reader = SCHEMA.check(fields, path)?;
    let block_out_channels = reader.list("block_out_channels", &[320, 640, 1280, 1280])?;
    let stages = block_out_channels.len();
    // In diffusers, `attention_head_dim` is the number of heads despite its name. Files keep it for
    // compatibility.
    let heads = match fields.get("num_attention_heads") {
        None | Some(Value::Null) => "attention_head_dim",
        Some(_) => "num_attention_heads",
    };
    let time_embed_dim = match fields.get("time_embedding_dim") {
        None | Some(Value::Null) => {
            let first = block_out_channels.first();
            first.map_or(0, |width| width.saturating_mul(4))
        }
        Some(_) => reader.number("time_embedding_dim", 0)?,
    };
    Ok(UNetConfig {
        in_channels: reader.number("in_channels", 4)?,
        out_channels: reader.number("out_channels", 4)?,
        layers_per_block: reader.per_stage("layers_per_block", 2, stages)?,
        down_attention: reader.attention(
            "down_block_types",
            ["DownBlock2D", "CrossAttnDownBlock2D"],
            [true, true, true, false],
        )?,
        up_attention: reader.attention(
            "up_block_types",
            ["UpBlock2D", "CrossAttnUpBlock2D"],
            [false, true, true, true],
        )?,
        num_heads: reader.per_stage(heads, 8, stages)?,
        cross_attention_dim: reader.number("cross_attention_dim", 1280)?,
        norm_num_groups: reader.number("norm_num_groups", 32)?,
        norm_eps: reader.real("norm_eps", 1e-5)?,
        time_embed_dim,
        block_out_channels,
    })
}
