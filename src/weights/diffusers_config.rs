//! diffusers' `config.json` of a `UNet2DConditionModel` as a [`UNetConfig`].
//!
//! A field that changes what the UNet computes is either read, or must have the one value that is implemented here:
//! see [`FIXED`]. Fields absent from the file have diffusers' defaults.

use super::{invalid, io};
use crate::error::{Error, Result};
use crate::unet::UNetConfig;
use serde_json::Value;
use std::path::Path;

pub(super) type Fields = serde_json::Map<String, Value>;

/// Fields that must have one of these values (in JSON), or a list of such. All accept what diffusers takes for an absent
/// field, but [`REQUIRED`].
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

/// The fixed field whose default in diffusers is another value.
pub(super) const REQUIRED: &str = "use_linear_projection";

/// Fields that change nothing here: of training, of precision, or details of what [`FIXED`] rules out.
const IGNORED: [&str; 5] = [
    "addition_embed_type_num_heads",
    "addition_time_embed_dim",
    "dropout",
    "sample_size",
    "upcast_attention",
];

/// Fields that are read.
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

/// Reads a file of text.
///
/// # Errors
///
/// - [`Error::Io`] when the file cannot be read.
/// - [`Error::Format`] when it is not UTF-8.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(io(path))?;
    String::from_utf8(bytes).map_err(|error| invalid(path, error.to_string()))
}

/// Reads a config.
///
/// # Errors
///
/// - [`Error::Io`] when the file cannot be read.
/// - [`Error::Format`] when it is not a JSON object.
/// - [`Error::Config`] when a field has a value that is not implemented, or of the wrong kind.
pub(crate) fn parse(path: &Path) -> Result<UNetConfig> {
    let fields: Fields = serde_json::from_str(&read_text(path)?)
        .map_err(|error| invalid(path, format!("is not a JSON object: {error}")))?;
    from_fields(&fields, path)
}

pub(super) fn from_fields(fields: &Fields, path: &Path) -> Result<UNetConfig> {
    let reader = Reader { fields, path };
    reader.check_fixed()?;
    reader.check_unknown()?;
    let block_out_channels = match fields.get("block_out_channels") {
        None => vec![320, 640, 1280, 1280],
        Some(value) => reader.list("block_out_channels", value)?,
    };
    let stages = block_out_channels.len();
    // diffusers' `attention_head_dim` has always been the number of heads, and is kept for the files that have it.
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
        norm_eps: match fields.get("norm_eps") {
            None => 1e-5,
            Some(value) => value
                .as_f64()
                .ok_or_else(|| reader.unsupported("norm_eps", value, "a number"))?,
        },
        time_embed_dim,
        block_out_channels,
    })
}

/// Reads fields, each with its default.
struct Reader<'a> {
    fields: &'a Fields,
    /// For errors.
    path: &'a Path,
}

impl Reader<'_> {
    fn unsupported(&self, field: &'static str, value: &Value, supported: &str) -> Error {
        let path = self.path.display();
        let reason = format!("{value} in {path} is not supported, only {supported}");
        Error::Config { field, reason }
    }

    fn check_fixed(&self) -> Result<()> {
        for (field, supported) in FIXED {
            let fits = |value: &Value| {
                supported.iter().any(|text| match value.as_f64() {
                    // 1 and 1.0 are one value.
                    Some(number) => text.parse() == Ok(number),
                    None => serde_json::from_str(text).is_ok_and(|other: Value| other == *value),
                })
            };
            match self.fields.get(field) {
                None if field == REQUIRED => {
                    return Err(self.unsupported(field, &Value::Bool(false), "true"));
                }
                None => {}
                Some(Value::Array(values)) if values.iter().all(fits) => {}
                Some(value) if fits(value) => {}
                Some(value) => {
                    return Err(self.unsupported(field, value, &supported.join(" or ")));
                }
            }
        }
        Ok(())
    }

    /// A later release of diffusers may know more fields; those switched off change nothing.
    fn check_unknown(&self) -> Result<()> {
        for (name, value) in self.fields {
            let known = name.starts_with('_')
                || FIXED.iter().any(|(field, _)| field == name)
                || IGNORED.contains(&name.as_str())
                || READ.contains(&name.as_str());
            if !known && !matches!(value, Value::Null | Value::Bool(false)) {
                let path = self.path.display();
                let field = "config.json";
                let reason = format!("{path}: the field `{name}` is not known, and is {value}");
                return Err(Error::Config { field, reason });
            }
        }
        Ok(())
    }

    fn to_number(&self, field: &'static str, value: &Value) -> Result<usize> {
        value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| self.unsupported(field, value, "a whole number"))
    }

    fn number(&self, field: &'static str, default: usize) -> Result<usize> {
        let value = self.fields.get(field);
        value.map_or(Ok(default), |value| self.to_number(field, value))
    }

    fn list(&self, field: &'static str, value: &Value) -> Result<Vec<usize>> {
        let Value::Array(values) = value else {
            return Err(self.unsupported(field, value, "a list of whole numbers"));
        };
        let numbers = values.iter().map(|value| self.to_number(field, value));
        numbers.collect()
    }

    /// A number for all stages, or a list.
    fn per_stage(&self, field: &'static str, default: usize, stages: usize) -> Result<Vec<usize>> {
        match self.fields.get(field) {
            Some(value @ Value::Array(_)) => self.list(field, value),
            _ => Ok(vec![self.number(field, default)?; stages]),
        }
    }

    /// Whether each block has attention, by the names of the block `without` and of that with it.
    fn attention(
        &self,
        field: &'static str,
        [without, with]: [&str; 2],
        default: [bool; 4],
    ) -> Result<Vec<bool>> {
        let supported = || format!("a list of {without} and {with}");
        match self.fields.get(field) {
            None => Ok(default.to_vec()),
            Some(Value::Array(kinds)) => kinds
                .iter()
                .map(|kind| match kind.as_str() {
                    Some(kind) if kind == with => Ok(true),
                    Some(kind) if kind == without => Ok(false),
                    _ => Err(self.unsupported(field, kind, &supported())),
                })
                .collect(),
            Some(value) => Err(self.unsupported(field, value, &supported())),
        }
    }
}
