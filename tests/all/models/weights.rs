//! Weights files through the public interface: what is saved computes the same when loaded, and
//! what is wrong is said.

use crate::support::golden::{Golden, fixtures};
use gendr_pix::backend::Flex;
use gendr_pix::unet::UNetConfig;
use gendr_pix::{Error, GenDrPix, GenDrPixConfig, Storage};
use image::{DynamicImage, Rgb, RgbImage};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::path::Path;
use tempfile::TempDir;

const PROMPTS: &str = "prompts.safetensors";

fn small_model() -> GenDrPix<Flex> {
    let unet = UNetConfig {
        block_out_channels: vec![8, 16],
        layers_per_block: vec![1; 2],
        down_attention: vec![false, true],
        up_attention: vec![true, false],
        num_heads: vec![1, 2],
        norm_num_groups: 4,
        ..UNetConfig::nano()
    };
    let config = GenDrPixConfig {
        unet,
        ..GenDrPixConfig::nano()
    };
    GenDrPix::new(config, 3, &Default::default()).unwrap()
}

fn picture() -> DynamicImage {
    RgbImage::from_fn(12, 9, |x, y| Rgb([20 * x as u8, 25 * y as u8, 7])).into()
}

fn load(path: impl AsRef<Path>) -> gendr_pix::Result<GenDrPix<Flex>> {
    GenDrPix::load(path, &Default::default())
}

/// The fixtures' UNet with prompts of ones.
fn diffusers_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        let from = fixtures().join("unet_tiny").join(name);
        std::fs::copy(from, folder.path().join(name)).unwrap();
    }
    write_prompts(folder.path(), 64);
    folder
}

fn write_prompts(folder: &Path, width: usize) {
    let ones = 1f32.to_le_bytes().repeat(2 * width);
    let view = TensorView::new(Dtype::F32, vec![2, width], &ones).unwrap();
    let prompts = [("prompt.positive", &view), ("prompt.negative", &view)];
    safetensors::serialize_to_file(prompts, None, &folder.join(PROMPTS)).unwrap();
}

#[test]
fn a_saved_model_computes_the_same() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let model = small_model();
    model.save(&path, Storage::F32).unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.config(), model.config());
    let expected = model.upscale(&picture()).unwrap();
    assert_eq!(loaded.upscale(&picture()).unwrap(), expected);
    // From memory, and over the file that was loaded.
    let bytes = std::fs::read(&path).unwrap();
    let loaded = GenDrPix::<Flex>::from_bytes(bytes.clone(), &Default::default()).unwrap();
    assert_eq!(loaded.upscale(&picture()).unwrap(), expected);
    loaded.save(&path, Storage::F32).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn half_precision_is_half_the_size() {
    let folder = TempDir::new().unwrap();
    let model = small_model();
    let size = |storage| {
        let path = folder.path().join("model.safetensors");
        model.save(&path, storage).unwrap();
        load(&path).unwrap();
        path.metadata().unwrap().len() as f64
    };
    let full = size(Storage::F32);
    for half in [Storage::F16, Storage::BF16] {
        assert!((0.5..0.6).contains(&(size(half) / full)));
    }
}

#[test]
fn a_diffusers_folder_is_a_model() {
    let folder = diffusers_folder();
    let model = load(folder.path()).unwrap();
    assert_eq!(model.config().unet.block_out_channels, [32, 64, 64, 64]);
    let path = folder.path().join("bundle.safetensors");
    model.save(&path, Storage::F32).unwrap();
    let keys = Golden::open(path.to_str().unwrap()).keys();
    let mut expected: Vec<_> = Golden::open("unet_tiny/diffusion_pytorch_model.safetensors")
        .keys()
        .into_iter()
        .map(|key| format!("unet.{key}"))
        .chain(["prompt.positive".into(), "prompt.negative".into()])
        .collect();
    expected.sort();
    assert_eq!(keys, expected);
    let expected = model.upscale(&picture()).unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.upscale(&picture()).unwrap(), expected);
}

#[test]
fn what_is_wrong_with_a_folder_is_said() {
    let folder = diffusers_folder();
    write_prompts(folder.path(), 65);
    let error = load(folder.path()).unwrap_err().to_string();
    let reason = "2 with another shape: prompt.positive (expected [1.., 64], found [2, 65])";
    assert!(error.contains(PROMPTS) && error.contains(reason), "{error}");
    std::fs::remove_file(folder.path().join(PROMPTS)).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Io { path, .. } if path.ends_with(PROMPTS)));
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("model.safetensors");
    let fails = |path: &Path| load(path).unwrap_err();
    assert!(matches!(fails(&path), Error::Io { .. }));

    small_model().save(&path, Storage::F16).unwrap();
    let intact = std::fs::read(&path).unwrap();
    for cut in [0, 7, 8, 1000, intact.len() - 1] {
        std::fs::write(&path, &intact[..cut]).unwrap();
        let error = fails(&path);
        assert!(matches!(error, Error::Format { .. }), "{cut}: {error}");
    }
    std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], &intact[8..]].concat()).unwrap();
    assert!(matches!(fails(&path), Error::Format { .. }));
    // A file of weights without a config.
    let error = fails(&fixtures().join("unet_tiny/diffusion_pytorch_model.safetensors"));
    assert!(error.to_string().contains("is not a bundle"), "{error}");
}
