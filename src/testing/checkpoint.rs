//! Checkpoints for unit tests: parsed, changed and written again.

use super::golden::fixtures;
use crate::backend::Flex;
use crate::config::GenDrPixConfig;
use crate::error::{Error, Result};
use crate::unet::UNetConfig;
use crate::weights::{PROMPTS, Storage, Weights, save_bundle};
use burn::tensor::{Distribution, Tensor};
use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) const MODEL: &str = "diffusion_pytorch_model.safetensors";

/// Returns the smallest UNet with every type of layer.
pub(crate) fn mini() -> UNetConfig {
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

/// Returns the `config.json` of [`mini`].
pub(crate) fn mini_json() -> serde_json::Value {
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

/// The content of a safetensors file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SafetensorsContent {
    pub(crate) metadata: HashMap<String, String>,
    pub(crate) tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl SafetensorsContent {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
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

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(key, (dtype, shape, data))| {
            (key, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        safetensors::serialize(views, Some(self.metadata.clone())).unwrap()
    }

    /// Adds a tensor of f32, or replaces it.
    pub(crate) fn insert(&mut self, key: &str, shape: &[usize], values: &[f32]) {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.tensors
            .insert(key.to_owned(), (Dtype::F32, shape.to_vec(), data));
    }

    /// Returns the values of a tensor of f32 or f16.
    pub(crate) fn values(&self, key: &str) -> Vec<f32> {
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

pub(crate) fn fixture(name: &str) -> PathBuf {
    fixtures().join(name)
}

pub(crate) fn write(folder: &TempDir, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

pub(crate) fn remove(folder: &TempDir, name: &str) {
    std::fs::remove_file(folder.path().join(name)).unwrap();
}

/// Returns the reason of an [`Error::Format`] whose path ends with `name`.
#[track_caller]
pub(crate) fn format_reason(error: Error, name: &str) -> String {
    match error {
        Error::Format { path, reason } if path.ends_with(name) => reason,
        other => panic!("expected a format error of {name}, found {other:?}"),
    }
}

/// Returns the config of a model with this UNet.
pub(crate) fn model_config(unet: UNetConfig) -> GenDrPixConfig {
    GenDrPixConfig {
        unet,
        ..GenDrPixConfig::nano()
    }
}

pub(crate) fn random_model() -> Weights<Flex> {
    let device = Default::default();
    let prompt = |tokens| Tensor::random([tokens, 6], Distribution::Default, &device);
    Weights {
        unet: mini().init(&device).unwrap(),
        positive: prompt(3),
        negative: prompt(1),
    }
}

pub(crate) fn save(path: &Path, model: &Weights<Flex>, storage: Storage) -> Result<()> {
    save_bundle(path, &model_config(mini()), model, storage)
}

pub(crate) fn saved(model: &Weights<Flex>, storage: Storage) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    save(&path, model, storage).unwrap();
    std::fs::read(path).unwrap()
}

/// Returns a diffusers folder of [`mini`] with prompts, and the content of its weights file.
pub(crate) fn diffusers_folder(model: &Weights<Flex>) -> (TempDir, SafetensorsContent) {
    let folder = TempDir::new().unwrap();
    let mut weights = SafetensorsContent::parse(&saved(model, Storage::F32));
    let mut prompts = weights.clone();
    prompts
        .tensors
        .retain(|key, _| PROMPTS.contains(&key.as_str()));
    weights.tensors = weights
        .tensors
        .into_iter()
        .filter_map(|(key, tensor)| Some((key.strip_prefix("unet.")?.to_owned(), tensor)))
        .collect();
    write(&folder, "config.json", mini_json().to_string());
    write(&folder, MODEL, weights.to_bytes());
    write(&folder, "prompts.safetensors", prompts.to_bytes());
    (folder, weights)
}
