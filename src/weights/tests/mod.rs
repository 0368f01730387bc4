//! Loading and saving as a whole: what is read back, and what is refused.

mod bundle;
mod config;
mod fixture;
mod folder;
mod memory;
#[cfg(feature = "latent")]
mod vae;

use super::*;
use crate::backend::Flex;
use crate::config::GenDrPixConfig;
use burn::tensor::Distribution;
use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};
use tempfile::TempDir;

const MODEL: &str = "diffusion_pytorch_model.safetensors";

/// The smallest UNet with all kinds of layers.
fn mini() -> UNetConfig {
    UNetConfig {
        in_channels: 4,
        out_channels: 4,
        block_out_channels: vec![4, 8],
        layers_per_block: vec![1; 2],
        down_attention: vec![false, true],
        up_attention: vec![true, false],
        num_heads: vec![1, 2],
        cross_attention_dim: 6,
        norm_num_groups: 2,
        norm_eps: 1e-5,
        time_embed_dim: 4,
    }
}

/// A model's config with the UNet's.
fn model_config(unet: UNetConfig) -> GenDrPixConfig {
    GenDrPixConfig {
        unet,
        ..GenDrPixConfig::nano()
    }
}

/// mini's `config.json`.
fn mini_json() -> serde_json::Value {
    serde_json::json!({
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": [4, 8],
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [1, 2],
        "cross_attention_dim": 6,
        "norm_num_groups": 2,
        "time_embedding_dim": 4,
        "use_linear_projection": true,
    })
}

/// A safetensors file taken apart.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    metadata: HashMap<String, String>,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let (_, header) = SafeTensors::read_metadata(bytes).unwrap();
        let tensors = SafeTensors::deserialize(bytes).unwrap();
        Self {
            metadata: header.metadata().clone().unwrap_or_default(),
            tensors: tensors
                .iter()
                .map(|(key, view)| {
                    let (dtype, shape) = (view.dtype(), view.shape().to_vec());
                    (key.to_owned(), (dtype, shape, view.data().to_vec()))
                })
                .collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(key, (dtype, shape, data))| {
            (key, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    fn insert(&mut self, key: &str, shape: &[usize], values: &[f32]) {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors
            .insert(key.to_owned(), (Dtype::F32, shape.to_vec(), data));
    }

    /// The values of a tensor, which is of f32 or f16.
    fn values(&self, key: &str) -> Vec<f32> {
        let (dtype, _, data) = &self.tensors[key];
        match dtype {
            Dtype::F32 => data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&b| f32::from_le_bytes(b))
                .collect(),
            _ => data
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&b| f16::from_le_bytes(b).to_f32())
                .collect(),
        }
    }
}

fn random_model() -> Weights<Flex> {
    let device = Default::default();
    let prompt = |tokens| Tensor::random([tokens, 6], Distribution::Default, &device);
    Weights {
        unet: mini().init(&device).unwrap(),
        positive: prompt(3),
        negative: prompt(1),
    }
}

fn save(path: &Path, model: &Weights<Flex>, storage: Storage) -> Result<()> {
    save_bundle(path, &model_config(mini()), model, storage)
}

fn saved(model: &Weights<Flex>, storage: Storage) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, model, storage).unwrap();
    std::fs::read(path).unwrap()
}

fn load(bytes: Vec<u8>) -> Result<(UNetConfig, Weights<Flex>)> {
    load_from(Source::Bytes(bytes.leak()))
}

fn load_from(source: Source) -> Result<(UNetConfig, Weights<Flex>)> {
    let (config, weights) = load_bundle(source, &Default::default())?;
    assert_eq!(config, model_config(config.unet.clone()));
    Ok((config.unet, weights))
}

fn fixture(name: &str) -> PathBuf {
    let folder = std::env::var_os("GENDR_PIX_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures"),
        PathBuf::from,
    );
    folder.join(name)
}

fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn remove(folder: &TempDir, name: &str) {
    std::fs::remove_file(folder.path().join(name)).unwrap();
}

fn load_folder(folder: &TempDir) -> Result<(UNetConfig, Weights<Flex>)> {
    load_diffusers(folder.path(), &Default::default())
}

/// Reason of an [`Error::Format`] whose path ends with `name`.
#[track_caller]
fn format_reason(error: Error, name: &str) -> String {
    match error {
        Error::Format { path, reason } if path.ends_with(name) => reason,
        other => panic!("expected a format error of {name}, found {other:?}"),
    }
}
