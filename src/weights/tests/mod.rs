//! Tests of loading and saving: content that round-trips, and content that is rejected.

mod bundle;
mod config;
mod fixture;
mod folder;
mod memory;

use super::*;
use crate::backend::Flex;
use crate::testing::checkpoint::*;
use burn::tensor::Distribution;
use half::{bf16, f16};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tempfile::TempDir;

fn load(bytes: Vec<u8>) -> Result<(UNetConfig, Weights<Flex>)> {
    load_from(WeightsSource::Bytes(bytes.into()))
}

fn load_from(source: WeightsSource) -> Result<(UNetConfig, Weights<Flex>)> {
    let (config, weights) = load_bundle(source, &Default::default())?;
    assert_eq!(config, model_config(config.unet.clone()));
    Ok((config.unet, weights))
}

fn load_folder(folder: &TempDir) -> Result<(UNetConfig, Weights<Flex>)> {
    load_diffusers(folder.path(), &Default::default())
}
