//! Parity with PyTorch and diffusers by golden tensors, on each CPU and GPU backend whose feature
//! is on.
//!
//! Shapes, configs and cases come from the files. `GENDR_PIX_FIXTURES` may name another folder of
//! the same layout.

use crate::support::golden::{Golden, Tolerance, assert_close, fixtures};
#[cfg(feature = "latent")]
use burn::tensor::Tensor;
use gendr_pix::shuffle::{pixel_shuffle, pixel_unshuffle};
use gendr_pix::unet::UNet;
use gendr_pix::{
    Backend, Edge, GenDrPix, GenDrPixConfig, OneStep, Padding, Prediction, Restore, Upscale,
    Weights,
};

fn unet_outputs<B: Backend>(tolerance: Tolerance) {
    let device = B::Device::default();
    let (_, unet) = UNet::<B>::load_diffusers(fixtures().join("unet_tiny"), &device).unwrap();
    let golden = Golden::open("unet_tiny/io.safetensors");
    for case in ["main", "odd", "aligned"] {
        let timesteps = golden
            .data(&format!("{case}.timestep"))
            .to_vec::<f32>()
            .unwrap();
        assert!(
            timesteps.iter().all(|t| *t == timesteps[0]),
            "the batch has several timesteps"
        );
        let prompt = golden.tensor(&format!("{case}.encoder_hidden_states"), &device);
        let conditioning = unet.condition(f64::from(timesteps[0]), prompt);
        let sample = golden.tensor(&format!("{case}.sample"), &device);
        let output = unet.forward(sample, &conditioning);
        assert_close(
            case,
            output,
            golden.data(&format!("{case}.output_f64ref")),
            tolerance,
        );
    }
}

fn padcfg_blends<B: Backend>(tolerance: Tolerance) {
    let device = B::Device::default();
    let golden = Golden::open("padcfg.safetensors");
    let (unet_config, unet) =
        UNet::<B>::load_diffusers(fixtures().join("unet_tiny"), &device).unwrap();
    let prompt = |key: &str| golden.tensor::<B, 3>(key, &device).squeeze_dim(0);
    let config = GenDrPixConfig {
        unet: unet_config,
        // The fixture's model is the UNet between the shuffles alone.
        onestep: OneStep {
            prediction: Prediction::Sample,
            ..OneStep::paper(Prediction::Sample)
        },
        ..GenDrPixConfig::sd21()
    };
    let weights = Weights {
        unet,
        positive: prompt("c_pos"),
        negative: prompt("c_neg"),
    };
    let model = GenDrPix::from_parts(config, weights, &device).unwrap();
    for (name, edge) in [("replicate", Edge::Replicate), ("reflect", Edge::Reflect)] {
        let restore = |options: Restore| {
            let x = golden.tensor("x", &device);
            model.restore(x, &options.edge(edge)).unwrap()
        };
        // With a guidance scale of 0, only the negative pass counts; with 1, only the positive
        // pass.
        let mut cases = vec![
            (format!("{name}.y_pos"), 1.0),
            (format!("{name}.y_neg"), 0.0),
        ];
        for w in [1.0, 1.5, 3.0] {
            cases.push((
                format!("{name}.blend_w{}", format!("{w:.1}").replace('.', "_")),
                w,
            ));
        }
        for (key, w) in cases {
            let options = Restore::new().guidance(w).ensemble(vec![Padding::CENTRED]);
            assert_close(&key, restore(options), golden.data(&key), tolerance);
        }
    }
}

fn shuffles<B: Backend>() {
    let device = B::Device::default();
    let golden = Golden::open("shuffle.safetensors");
    for (from, to) in [("image", "unshuffled"), ("ramp", "ramp_unshuffled")] {
        let folded = pixel_unshuffle(golden.tensor::<B, 4>(from, &device), 8);
        assert_close(to, folded.clone(), golden.data(to), Tolerance::EXACT);
        assert_close(
            "round trip",
            pixel_shuffle(folded, 8),
            golden.data(from),
            Tolerance::EXACT,
        );
    }
    let shuffled = pixel_shuffle(golden.tensor::<B, 4>("features", &device), 8);
    assert_close(
        "shuffled",
        shuffled,
        golden.data("shuffled"),
        Tolerance::EXACT,
    );
}

fn attentions<B: Backend>(tolerance: Tolerance) {
    let device = B::Device::default();
    let golden = Golden::open("attention.safetensors");
    let keys = golden.keys();
    let cases: Vec<&str> = keys
        .iter()
        .filter_map(|key| key.strip_suffix(".out"))
        .collect();
    assert!(!cases.is_empty());
    for case in cases {
        let read = |part| golden.tensor::<B, 4>(&format!("{case}.{part}"), &device);
        let [n, heads, tokens, size] = read("q").dims();
        // The file has an axis of heads. The model has the heads side by side in the channels.
        let [q, k, v] = ["q", "k", "v"].map(|part| read(part).swap_dims(1, 2).flatten(2, 3));
        let output = B::multi_head_attention(q, k, v, heads);
        assert_close(
            case,
            output.reshape([n, tokens, heads, size]).swap_dims(1, 2),
            golden.data(&format!("{case}.out")),
            tolerance,
        );
    }
}

/// Compares encoder and decoder with diffusers. The decoder has a wider tolerance because it is the
/// deepest.
#[cfg(feature = "latent")]
fn vae<B: Backend>(tolerance: Tolerance) {
    use gendr_pix::latent::{Gaussian, Vae};
    let decoded = Tolerance {
        max: 2.5 * tolerance.max,
        rel_l2: 2.0 * tolerance.rel_l2,
    };
    let device = B::Device::default();
    let (config, vae) = Vae::<B>::load_diffusers(fixtures().join("vae_tiny"), &device).unwrap();
    let golden = Golden::open("vae_tiny/io.safetensors");
    let check = |key: String, found: Tensor<B, 4>, tolerance| {
        assert_close(&key, found, golden.data(&key), tolerance);
    };
    for case in ["main", "small", "ragged"] {
        let image = || golden.tensor::<B, 4>(&format!("{case}.image"), &device);
        let posterior = vae.encoder.encode(image(), None);
        let moments = Tensor::cat(vec![posterior.mode(), posterior.log_variance()], 1);
        // None of the fixture's variances is clamped.
        check(format!("{case}.moments_f64ref"), moments, tolerance);
        check(format!("{case}.latent_mode"), posterior.mode(), tolerance);
        check(format!("{case}.latent_std"), posterior.std(), tolerance);
        let latent = vae.encoder.to_latent(image(), None);
        check(format!("{case}.latent_scaled"), latent.clone(), tolerance);
        let key = format!("{case}.decoded_f64ref");
        let mode = golden.tensor::<B, 4>(&format!("{case}.latent_mode"), &device);
        check(key.clone(), vae.decoder.decode(mode.clone(), None), decoded);
        let scaled = mode * config.scaling_factor;
        check(key, vae.decoder.to_picture(scaled, None), decoded);
    }
    let posterior = vae
        .encoder
        .encode(golden.tensor("main.image", &device), None);
    let noise = golden.tensor("main.noise", &device);
    check(
        "main.latent_sample".into(),
        posterior.sample(noise),
        tolerance,
    );
    let latents = golden.tensor("free.latents", &device);
    let free = vae.decoder.decode(latents, None);
    check("free.decoded_f64ref".into(), free, decoded);
    let clamped = Gaussian::from_moments(golden.tensor("gaussian.moments", &device));
    check("gaussian.logvar".into(), clamped.log_variance(), tolerance);
    check("gaussian.std".into(), clamped.std(), tolerance);
}

/// Defines the same tests for each backend.
macro_rules! parity {
    ($feature:literal, $module:ident, $backend:ty, $tolerance:expr) => {
        #[cfg(feature = $feature)]
        mod $module {
            use super::*;
            type B = $backend;

            #[test]
            fn unet() {
                unet_outputs::<B>($tolerance);
            }

            #[test]
            fn padcfg() {
                padcfg_blends::<B>($tolerance);
            }

            #[test]
            fn shuffle() {
                shuffles::<B>();
            }

            #[cfg(feature = "latent")]
            #[test]
            fn vae() {
                super::vae::<B>($tolerance);
            }

            #[test]
            fn attention() {
                attentions::<B>($tolerance);
            }
        }
    };
}

parity!("flex", flex, gendr_pix::backend::Flex, Tolerance::F32);
parity!(
    "ndarray",
    ndarray,
    gendr_pix::backend::NdArray,
    Tolerance::F32
);
parity!("wgpu", wgpu, gendr_pix::backend::Wgpu, Tolerance::GPU);

/// Compares the kernels that flex has for this CPU with burn's operations on another backend, at
/// the widths of a real model.
#[cfg(all(feature = "flex", feature = "ndarray", feature = "pretrained"))]
#[test]
fn kernels_agree_with_plain_operations() {
    use gendr_pix::backend::{Flex, NdArray};

    let sample = image::open("assets/sample.jpg").unwrap();
    let sample = sample.crop_imm(40, 40, 48, 56).to_rgb32f().into();
    let options = Upscale::new().ensemble(vec![Padding::CENTRED]);
    let fast = GenDrPix::<Flex>::pretrained(&Default::default()).unwrap();
    let plain = GenDrPix::<NdArray>::pretrained(&Default::default()).unwrap();
    let fast = fast.upscale_with(&sample, &options).unwrap().into_rgb32f();
    let plain = plain.upscale_with(&sample, &options).unwrap();
    let plain = plain.into_rgb32f();
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let error = norm(&mut fast.iter().zip(plain.iter()).map(|(a, b)| a - b));
    let relative = error / norm(&mut plain.iter().copied());
    assert!(relative < 1e-4, "{relative}");
}
