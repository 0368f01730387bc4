//! Tests of loading VAEs from diffusers folders.

use super::*;
use crate::backend::Flex;
use crate::error::Error;
use crate::latent::{GenDr, GenDrAdc, LatentConfig};
use crate::options::restore::Restore;
use crate::testing::checkpoint::*;
use crate::unet::parameters;
use burn::tensor::{Distribution, Tensor};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use tempfile::TempDir;

/// Returns the config fields of the fixture.
fn fields() -> Fields {
    let text = std::fs::read_to_string(fixture("vae_tiny/config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn read(fields: &Fields) -> Result<VaeConfig> {
    from_fields(fields, Path::new("config.json"))
}

fn with(field: &str, value: Value) -> Result<VaeConfig> {
    let mut fields = fields();
    fields.insert(field.to_owned(), value);
    read(&fields)
}

fn field_at_fault<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
    match result {
        Err(Error::Config { field, .. }) => field,
        other => panic!("expected a config error, found {other:?}"),
    }
}

/// Returns a folder with the fixture's VAE in the subfolder `sub`, after renaming its tensors, and
/// the content of its weights file.
fn folder(sub: &str, rename: impl Fn(&str) -> String) -> (TempDir, SafetensorsContent) {
    let folder = TempDir::new().unwrap();
    let mut parts =
        SafetensorsContent::parse(&std::fs::read(fixture("vae_tiny").join(MODEL)).unwrap());
    parts.tensors = parts
        .tensors
        .into_iter()
        .map(|(key, tensor)| (rename(&key), tensor))
        .collect();
    let config = Value::Object(fields()).to_string();
    write(&folder, &format!("{sub}config.json"), config);
    write(&folder, &format!("{sub}{MODEL}"), parts.to_bytes());
    (folder, parts)
}

fn load_vae(folder: &TempDir) -> Result<(VaeConfig, Vae<Flex>)> {
    Vae::load_diffusers(folder.path(), &Default::default())
}

/// Returns the values of all parameters by key.
fn values(vae: &Vae<Flex>) -> BTreeMap<String, Vec<f32>> {
    let halves = parameters::values(&vae.encoder).into_iter();
    halves
        .chain(parameters::values(&vae.decoder))
        .map(|parameter| {
            let data = parameter.to_data().unwrap();
            (parameters::key(&parameter), data.to_vec().unwrap())
        })
        .collect()
}

#[test]
fn the_values_of_a_diffusers_checkpoint_are_unchanged() {
    let (folder, stored) = folder("", str::to_owned);
    let loaded = values(&load_vae(&folder).unwrap().1);
    assert!(loaded.keys().eq(stored.tensors.keys()));
    for (key, values) in loaded {
        assert_eq!(values, stored.values(&key), "{key}");
    }
}

#[test]
fn pipeline_folders_and_old_names_are_accepted() {
    let expected = values(&load_vae(&folder("", str::to_owned).0).unwrap().1);
    let old_names = |key: &str| {
        let names = [
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ];
        let key = key.to_owned();
        names
            .iter()
            .fold(key, |key, (new, old)| key.replace(new, old))
    };
    let (folder, parts) = folder("vae/", old_names);
    assert!(
        parts
            .tensors
            .contains_key("encoder.mid_block.attentions.0.query.weight")
    );
    assert_eq!(values(&load_vae(&folder).unwrap().1), expected);
    // A tensor with the old and one with the new name are ambiguous.
    let mut twice = parts.clone();
    let key = "decoder.mid_block.attentions.0.key.bias";
    let tensor = twice.tensors[key].clone();
    twice.tensors.insert(key.replace("key", "to_k"), tensor);
    write(&folder, &format!("vae/{MODEL}"), twice.to_bytes());
    let reason = format_reason(load_vae(&folder).unwrap_err(), MODEL);
    assert!(reason.contains("would get the same key"), "{reason}");
}

#[test]
fn keys_of_the_whole_vae_are_checked_for_a_decoder() {
    let (folder, mut parts) = folder("", str::to_owned);
    let device = Default::default();
    let (_, decoder) = VaeDecoder::<Flex>::load_diffusers(folder.path(), &device).unwrap();
    assert!(parameters::count(&decoder) > 0);
    let removed = "encoder.conv_in.weight";
    parts.tensors.remove(removed);
    parts.insert("decoder.conv_in.bias", &[3], &[0.0; 3]);
    parts.insert("new", &[1], &[0.0]);
    write(&folder, MODEL, parts.to_bytes());
    for error in [
        load_vae(&folder).unwrap_err(),
        VaeDecoder::<Flex>::load_diffusers(folder.path(), &device).unwrap_err(),
    ] {
        let Error::Keys {
            missing,
            unused,
            misshapen,
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(missing, [removed]);
        assert_eq!(unused, ["new"]);
        assert!(
            misshapen[0].starts_with("decoder.conv_in.bias"),
            "{misshapen:?}"
        );
    }
}

#[test]
fn every_field_read_has_an_effect() {
    let config = read(&fields()).unwrap();
    let expected = VaeConfig {
        scaling_factor: 0.18215,
        ..VaeConfig::nano()
    };
    assert_eq!(config, expected);
    for (field, value) in [
        ("block_out_channels", json!([16, 16, 32, 32])),
        ("latent_channels", json!(4)),
        ("layers_per_block", json!(3)),
        ("norm_num_groups", json!(8)),
        ("scaling_factor", json!(0.2614)),
        ("shift_factor", json!(0.5)),
        ("use_post_quant_conv", json!(false)),
        ("use_quant_conv", json!(false)),
    ] {
        assert!(READ.contains(&field));
        let changed = with(field, value).unwrap();
        assert_ne!(changed, config, "{field}");
        // All fields except these three also change the number of parameters.
        let count = |config: &VaeConfig| {
            config
                .init::<Flex>(&Default::default())
                .unwrap()
                .parameters()
        };
        let same = ["norm_num_groups", "scaling_factor", "shift_factor"].contains(&field);
        assert_eq!(count(&changed) == count(&config), same, "{field}");
    }
}

#[test]
fn defaults_are_those_of_diffusers() {
    let config = read(&Fields::new()).unwrap();
    let expected = VaeConfig {
        latent_channels: 4,
        block_out_channels: vec![64],
        layers_per_block: 1,
        norm_num_groups: 32,
        scaling_factor: 0.18215,
        ..VaeConfig::vae16()
    };
    assert_eq!(config, expected);
}

#[test]
fn features_that_are_not_implemented_are_named() {
    for (field, _) in FIXED {
        assert_eq!(field_at_fault(with(field, json!("other"))), field);
    }
    for (field, value) in [
        ("down_block_types", json!(["DownEncoderBlock2D"])),
        ("up_block_types", json!("UpDecoderBlock2D")),
        ("latent_channels", json!(null)),
        ("use_quant_conv", json!(1)),
        ("shift_factor", json!("none")),
        ("block_out_channels", json!(128)),
    ] {
        assert_eq!(field_at_fault(with(field, value)), field);
    }
    assert_eq!(field_at_fault(with("new_trick", json!(1))), "config.json");
}

#[test]
fn configs_of_absurd_size_are_refused() {
    for (field, value) in [
        ("layers_per_block", json!(1_000_000_000_000_u64)),
        ("latent_channels", json!(1_000_000_000_000_u64)),
        ("norm_num_groups", json!(3)),
        ("scaling_factor", json!(0)),
    ] {
        let (folder, _) = folder("", str::to_owned);
        let mut fields = fields();
        fields.insert(field.to_owned(), value);
        write(&folder, "config.json", Value::Object(fields).to_string());
        let found = field_at_fault(load_vae(&folder));
        let groups = field == "norm_num_groups";
        assert_eq!(found, if groups { "block_out_channels" } else { field });
    }
    let mut many = fields();
    many.insert("block_out_channels".into(), json!(vec![16; 64]));
    many.insert(
        "down_block_types".into(),
        json!(vec!["DownEncoderBlock2D"; 64]),
    );
    many.insert("up_block_types".into(), json!(vec!["UpDecoderBlock2D"; 64]));
    let found = field_at_fault(read(&many).unwrap().validate());
    assert_eq!(found, "block_out_channels");
}

#[test]
fn a_folder_without_a_vae_is_refused() {
    let folder = TempDir::new().unwrap();
    let error = load_vae(&folder).unwrap_err();
    assert!(matches!(error, Error::Io { path, .. } if path.ends_with("config.json")));
}

/// Returns the content of the weights file of `vae`, as diffusers saves it.
fn vae_parts(vae: &Vae<Flex>) -> SafetensorsContent {
    let mut parts = SafetensorsContent {
        metadata: HashMap::new(),
        tensors: BTreeMap::new(),
    };
    let halves = parameters::values(&vae.encoder).into_iter();
    for parameter in halves.chain(parameters::values(&vae.decoder)) {
        let values: Vec<f32> = parameter.to_data().unwrap().to_vec().unwrap();
        parts.insert(&parameters::key(&parameter), &parameter.shape, &values);
    }
    parts
}

#[test]
fn a_pipeline_folder_loads_as_a_gendr() {
    let device = Default::default();
    let model = random_model();
    let config = LatentConfig {
        unet: mini(),
        vae: VaeConfig {
            latent_channels: 4,
            block_out_channels: vec![4, 8],
            layers_per_block: 1,
            norm_num_groups: 2,
            shift_factor: 0.25,
            use_quant_conv: false,
            ..VaeConfig::vae16()
        },
        ..LatentConfig::gendr_sd21()
    };
    let vae = config.vae.init::<Flex>(&device).unwrap();
    let (folder, unet) = diffusers_folder(&model);
    remove(&folder, "config.json");
    remove(&folder, MODEL);
    write(&folder, "unet/config.json", mini_json().to_string());
    write(&folder, &format!("unet/{MODEL}"), unet.to_bytes());
    let json = json!({
        "block_out_channels": [4, 8],
        "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D"],
        "latent_channels": 4,
        "norm_num_groups": 2,
        "scaling_factor": 0.2614,
        "shift_factor": 0.25,
        "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D"],
        "use_quant_conv": false,
    });
    write(&folder, "vae/config.json", json.to_string());
    write(&folder, &format!("vae/{MODEL}"), vae_parts(&vae).to_bytes());

    let loaded = GenDr::<Flex>::load(folder.path(), &device).unwrap();
    assert_eq!(loaded.config(), &config);
    let model = GenDr::from_parts(config, model, vae, &device).unwrap();
    let x = Tensor::<Flex, 4>::random([1, 3, 9, 6], Distribution::Default, &device);
    let restore = |model: &GenDr<Flex>| {
        let options = Restore::new().guidance(2.0);
        model.restore(x.clone(), &options).unwrap().into_data()
    };
    assert_eq!(restore(&loaded), restore(&model));

    // The UNet reads a latent and not cells of pixels, so it is not a GenDR-Adc.
    let error = GenDrAdc::<Flex>::load(folder.path(), &device).unwrap_err();
    assert!(matches!(
        error,
        Error::Config {
            field: "in_channels",
            ..
        }
    ));
    remove(&folder, "prompts.safetensors");
    let error = GenDr::<Flex>::load(folder.path(), &device).unwrap_err();
    assert!(matches!(error, Error::Io { path, .. } if path.ends_with("prompts.safetensors")));
}

#[test]
fn old_names_of_a_vae_are_renamed() {
    let block = "decoder.mid_block.attentions.0";
    for (old, new) in [
        ("query", "to_q"),
        ("key", "to_k"),
        ("value", "to_v"),
        ("proj_attn", "to_out.0"),
        ("group_norm", "group_norm"),
        ("to_out.0", "to_out.0"),
    ] {
        let key = current_key(&format!("{block}.{old}.bias"));
        assert_eq!(key, format!("{block}.{new}.bias"));
    }
    assert_eq!(current_key("x.query.weight"), "x.query.weight");
}
