//! Compares single layers with golden tensors. This reveals errors that the output of the whole
//! UNet hides.

use super::embed::sinusoid;
use super::window::WindowedAttention;
use super::{Attention, Conditioning, UNet};
use crate::backend::Backend;
use crate::backend::precision::Precision;
use crate::options::progress::unwatched;
use crate::testing::golden::{B, Golden, fixtures};
use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;

fn open() -> (UNet<B>, Golden) {
    let (_, unet) =
        UNet::load_diffusers(fixtures().join("unet_tiny"), &Default::default()).unwrap();
    (unet, Golden::open("unet_tiny/io.safetensors"))
}

fn conditioning(unet: &UNet<B>, golden: &Golden) -> Conditioning<B> {
    unet.condition(500.0, golden.tensor("main.encoder_hidden_states"))
}

#[test]
fn time_embedding() {
    let (unet, golden) = open();
    let (_, shape) = golden.values("time.sinusoid_f64ref");
    let [count, dim] = [shape[0], shape[1]];
    let (timesteps, _) = golden.values("time.timesteps");
    let timesteps: Vec<f64> = timesteps.into_iter().map(f64::from).collect();
    assert_eq!(timesteps.len(), count);
    let device = Default::default();
    let sinusoids = timesteps
        .iter()
        .map(|&t| sinusoid::<B>(t, dim, &device))
        .collect();
    golden.check("time.sinusoid_f64ref", Tensor::cat(sinusoids, 0), 1e-4);
    let embeddings = timesteps.iter().map(|&t| unet.time_embedding(t)).collect();
    golden.check("time.embedding", Tensor::cat(embeddings, 0), 2e-5);
}

/// The inputs are so small that the epsilon of each norm affects the output.
#[test]
fn single_layers_agree_with_diffusers() {
    let global = WindowedAttention::in_down_block(Attention::Global, 0);
    let (unet, golden) = open();
    let conditioning = conditioning(&unet, &golden);
    let block = &unet.down_blocks[0];
    let (resnet, transformer) = (&block.resnets[0], &block.attentions[0]);
    let x = || golden.tensor::<4>("probe.x");
    golden.check("probe.resnets_0_norm1", resnet.norm1.forward(x()), 2e-5);
    golden.check(
        "probe.attentions_0_norm",
        transformer.norm.forward(x()),
        2e-5,
    );
    golden.check("probe.conv_norm_out", unet.conv_norm_out.forward(x()), 2e-5);
    let norm1 = &transformer.transformer_blocks[0].norm1;
    golden.check(
        "probe.transformer_norm1",
        norm1.forward(golden.tensor("probe.tokens")),
        2e-5,
    );
    let first = &conditioning.down_blocks[0];
    golden.check(
        "probe.resnets_0",
        resnet.forward(x(), first.biases[0].clone()),
        2e-5,
    );
    golden.check(
        "probe.attentions_0",
        unwatched(|w| transformer.forward(x(), first.prompts[0].clone(), global, w)),
        2e-5,
    );
}

/// Compares the outputs of the blocks, which show where an error begins.
#[test]
fn blocks_agree_with_diffusers() {
    let (unet, golden) = open();
    let conditioning = conditioning(&unet, &golden);
    let mut x = unet.conv_in.forward(golden.tensor("main.sample"));
    golden.check("main.conv_in", x.clone(), 2e-5);
    let mut skips = vec![x.clone()];
    for (i, block) in unet.down_blocks.iter().enumerate() {
        x = unwatched(|w| {
            block.forward(
                x,
                &conditioning.down_blocks[i],
                Attention::Global,
                &mut skips,
                w,
            )
        });
        golden.check(&format!("main.down_blocks.{i}"), x.clone(), 2e-5);
    }
    x = unwatched(|w| {
        unet.mid_block
            .forward(x, &conditioning.mid_block, Attention::Global, w)
    });
    golden.check("main.mid_block", x.clone(), 2e-5);
    for (i, block) in unet.up_blocks.iter().enumerate() {
        x = unwatched(|w| {
            block.forward(
                x,
                &conditioning.up_blocks[i],
                Attention::Global,
                &mut skips,
                w,
            )
        });
        golden.check(&format!("main.up_blocks.{i}"), x.clone(), 2e-5);
    }
    assert!(skips.is_empty());
    golden.check("main.conv_norm_out", unet.conv_norm_out.forward(x), 2e-5);
}

/// A time embedding folded into the first convolution's bias has the same effect as diffusers'
/// block, which adds the projected embedding to the convolution's output.
#[test]
fn folded_time_agrees_with_unfolded() {
    let (unet, golden) = open();
    let resnet = &unet.down_blocks[0].resnets[0];
    let embedding = golden.tensor::<2>("main.time_embedding");
    let x = golden.tensor::<4>("main.conv_in");

    let h = conv2d(
        silu(resnet.norm1.forward(x.clone())),
        resnet.conv1.weight.val(),
        Some(resnet.conv1.bias.val()),
        ConvOptions::new([1, 1], [1, 1], [1, 1], 1),
    );
    let projection = resnet.time_emb_proj.as_ref().unwrap();
    let time = projection.forward(silu(embedding.clone()));
    let [_, channels] = time.dims();
    let h = h + time.reshape([1, channels, 1, 1]);
    let unfolded = x.clone() + resnet.conv2.forward(silu(resnet.norm2.forward(h)));

    let folded = resnet.forward(x, resnet.fold_time(embedding));
    let largest: f32 = unfolded.clone().abs().max().into_scalar();
    let error: f32 = (folded - unfolded).abs().max().into_scalar();
    assert!(error <= 1e-5 * largest, "{error:e} of {largest:e}");
    golden.check(
        "main.down_blocks.0.resnets.0",
        resnet.forward(
            golden.tensor("main.conv_in"),
            resnet.fold_time(golden.tensor("main.time_embedding")),
        ),
        2e-5,
    );
}

/// The folded keys and values of one prompt have the same effect on a batch as one prompt per
/// entry.
#[test]
fn one_folded_prompt_serves_a_batch() {
    let (unet, golden) = open();
    let prompt = golden.tensor::<3>("main.encoder_hidden_states");
    let sample = golden.tensor::<4>("main.sample");
    let batch = Tensor::cat(vec![sample.clone(), sample], 0);
    let shared = unet.forward(batch.clone(), &unet.condition(500.0, prompt.clone()));
    let each = unet.condition(500.0, prompt.repeat_dim(0, 2));
    let error: f32 = (shared - unet.forward(batch, &each))
        .abs()
        .max()
        .into_scalar();
    assert!(error <= 1e-5, "{error:e}");
}

/// The output in bf16 is nearer to diffusers' output in f64 than that of diffusers in bf16, which
/// is off by 1.5 %.
#[test]
fn bf16_is_close_to_f64() {
    let (unet, golden) = open();
    let conditioning = conditioning(&unet, &golden).in_precision(Precision::Bf16);
    let unet = Precision::Bf16.cast_module(unet);
    let output = unet.forward(golden.tensor("main.sample"), &conditioning);
    let expected = golden.tensor::<4>("main.output_f64ref");
    let norm = |x: Tensor<B, 4>| x.powi_scalar(2).sum().sqrt().into_scalar();
    let error = norm(output - expected.clone()) / norm(expected);
    assert!((1e-4..1.5e-2).contains(&error), "{error:e}");
}

#[test]
fn sd21_has_as_many_parameters_as_in_the_paper() {
    let unet = super::UNetConfig::sd21()
        .init::<B>(&Default::default())
        .unwrap();
    assert_eq!(unet.parameters(), 866_993_792);
}

fn _assert_shared<T: Send + Sync>() {}

#[allow(dead_code, reason = "compiling it is the test")]
fn models_can_be_shared_between_threads<B: Backend>() {
    _assert_shared::<crate::GenDrPix<B>>();
}
