//! Tests of reading the `config.json` of diffusers.

use super::super::diffusers_config::*;
use super::super::fields::Fields;
use crate::error::{Error, Result};
use crate::unet::UNetConfig;
use serde_json::{Value, json};
use std::path::Path;

/// Returns the config of stabilityai/stable-diffusion-2-1 with other channel counts.
fn sd21() -> Fields {
    let config = json!({
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": "0.10.0.dev0",
        "act_fn": "silu",
        "attention_head_dim": [5, 10, 20, 20],
        "block_out_channels": [320, 640, 1280, 1280],
        "center_input_sample": false,
        "cross_attention_dim": 1024,
        "down_block_types":
            ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "downsample_padding": 1,
        "dual_cross_attention": false,
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "in_channels": 192,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "num_class_embeds": null,
        "only_cross_attention": false,
        "out_channels": 192,
        "sample_size": 96,
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
        "use_linear_projection": true,
        "upcast_attention": true,
    });
    config.as_object().unwrap().clone()
}

fn with(field: &str, value: Value) -> Result<UNetConfig> {
    let mut fields = sd21();
    fields.insert(field.to_owned(), value);
    from_fields(&fields, Path::new("config.json"))
}

fn wrong_field(result: Result<UNetConfig>) -> &'static str {
    match result {
        Err(Error::Config { field, .. }) => field,
        other => panic!("expected a config error, found {other:?}"),
    }
}

#[test]
fn the_config_of_stable_diffusion_is_read() {
    let config = from_fields(&sd21(), Path::new("config.json")).unwrap();
    assert_eq!(config, UNetConfig::sd21());
}

#[test]
fn every_field_read_has_an_effect() {
    for (field, value) in [
        ("in_channels", json!(64)),
        ("out_channels", json!(64)),
        ("block_out_channels", json!([64, 640, 1280, 1280])),
        ("layers_per_block", json!([1, 2, 2, 2])),
        ("attention_head_dim", json!(4)),
        ("num_attention_heads", json!([1, 1, 1, 1])),
        ("cross_attention_dim", json!(77)),
        ("norm_num_groups", json!(16)),
        ("norm_eps", json!(1e-6)),
        ("time_embedding_dim", json!(64)),
        ("down_block_types", json!(["DownBlock2D"])),
        ("up_block_types", json!(["UpBlock2D"])),
    ] {
        assert!(READ.contains(&field));
        assert_ne!(with(field, value).unwrap(), UNetConfig::sd21(), "{field}");
    }
}

#[test]
fn a_single_number_applies_to_all_stages() {
    assert_eq!(
        with("layers_per_block", json!(3)).unwrap().layers_per_block,
        [3; 4]
    );
    assert_eq!(
        with("attention_head_dim", json!(8)).unwrap().num_heads,
        [8; 4]
    );
    assert_eq!(
        with("num_attention_heads", json!(null)).unwrap().num_heads,
        [5, 10, 20, 20]
    );
}

#[test]
fn defaults_are_those_of_diffusers() {
    let fields = json!({ "use_linear_projection": true });
    let config = from_fields(fields.as_object().unwrap(), Path::new("config.json")).unwrap();
    let expected = UNetConfig {
        in_channels: 4,
        out_channels: 4,
        num_heads: vec![8; 4],
        cross_attention_dim: 1280,
        ..UNetConfig::sd21()
    };
    assert_eq!(config, expected);
}

#[test]
fn features_that_are_not_implemented_are_named() {
    for (field, _) in FIXED {
        assert_eq!(wrong_field(with(field, json!("other"))), field);
    }
    let required = SCHEMA.required.unwrap();
    let mut fields = sd21();
    fields.remove(required);
    assert_eq!(
        wrong_field(from_fields(&fields, Path::new("config.json"))),
        required
    );
    for (field, value) in [
        ("down_block_types", json!(["AttnDownBlock2D"])),
        ("up_block_types", json!("UpBlock2D")),
        ("transformer_layers_per_block", json!([1, 2, 10])),
        ("norm_num_groups", json!(null)),
        ("norm_eps", json!("small")),
        ("in_channels", json!(-1)),
        ("block_out_channels", json!([1.5])),
        ("layers_per_block", json!("two")),
    ] {
        assert_eq!(wrong_field(with(field, value)), field);
    }
}

#[test]
fn other_spellings_of_a_fixed_value_are_accepted() {
    for (field, value) in [
        ("transformer_layers_per_block", json!([1, 1, 1, 1])),
        ("only_cross_attention", json!([false, false, false, false])),
        ("resnet_out_scale_factor", json!(1.0)),
        ("mid_block_only_cross_attention", json!(null)),
    ] {
        assert_eq!(with(field, value).unwrap(), UNetConfig::sd21(), "{field}");
    }
}

#[test]
fn unknown_fields_are_rejected_unless_switched_off() {
    assert!(with("new_trick", json!(null)).is_ok());
    assert!(with("new_trick", json!(false)).is_ok());
    assert!(with("_name_or_path", json!("anything")).is_ok());
    assert_eq!(wrong_field(with("new_trick", json!(true))), "config.json");
}
