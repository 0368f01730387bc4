//! Compares single layers with golden tensors, and tiled with whole pictures.

use super::{Vae, VaeConfig};
use crate::options::progress::unwatched;
use crate::options::tiling::Tiling;
use crate::restore::tiles::{CellTiling, Units, tiled};
use crate::testing::golden::{B, Golden, fixtures};
use crate::unet::conv::{Conv2d, conv3x3};
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use burn::tensor::{Distribution, Int, Tensor};

fn open() -> (Vae<B>, Golden) {
    let (_, vae) = Vae::load_diffusers(fixtures().join("vae_tiny"), &Default::default()).unwrap();
    (vae, Golden::open("vae_tiny/io.safetensors"))
}

/// The inputs are so small that the epsilon of each norm affects the output.
#[test]
fn single_layers_agree_with_diffusers() {
    let (vae, golden) = open();
    let (encoder, decoder) = (&vae.encoder.encoder, &vae.decoder.decoder);
    let first = || golden.tensor::<4>("probe.x_first");
    let last = || golden.tensor::<4>("probe.x_last");
    let norm1 = &encoder.down_blocks[0].resnets[0].norm1;
    golden.check("probe.encoder_resnet_norm1", norm1.forward(first()), 2e-5);
    golden.check(
        "probe.decoder_conv_norm_out",
        decoder.conv_norm_out.forward(first()),
        2e-5,
    );
    golden.check(
        "probe.encoder_conv_norm_out",
        encoder.conv_norm_out.forward(last()),
        2e-5,
    );
    golden.check(
        "probe.encoder_mid_attention",
        encoder.mid_block.attentions[0].forward(last()),
        2e-5,
    );
}

/// Compares the outputs of the encoder's blocks, which show where an error begins. (The test also
/// checks the keys of the attention, because their bias does not affect the output.)
#[test]
fn encoder_blocks_agree_with_diffusers() {
    let (vae, golden) = open();
    let encoder = &vae.encoder.encoder;
    let check = |name: &str, x: &Tensor<B, 4>| {
        golden.check(&format!("small.encoder.{name}"), x.clone(), 2e-5);
    };
    let mut x = encoder.conv_in.forward(golden.tensor("small.image"));
    check("conv_in", &x);
    for (i, block) in encoder.down_blocks.iter().enumerate() {
        x = unwatched(|watch| block.forward(x, watch));
        check(&format!("down_blocks.{i}"), &x);
    }
    let mid = &encoder.mid_block;
    let attention = &mid.attentions[0];
    let before = mid.before_attention(x.clone());
    let keys = attention.to_k.forward(attention.tokens(before.clone()));
    golden.check("small.encoder.mid_block.attentions.0.to_k", keys, 2e-5);
    check("mid_block.attentions.0", &attention.forward(before));
    x = unwatched(|watch| mid.forward(x, watch));
    check("mid_block", &x);
    check("conv_norm_out", &encoder.conv_norm_out.forward(x.clone()));
    let x = encoder
        .conv_out
        .forward(encoder.conv_norm_out.forward_silu(x));
    golden.check("small.encoder", x, 2e-5);
}

#[test]
fn decoder_blocks_agree_with_diffusers() {
    let (vae, golden) = open();
    let decoder = &vae.decoder.decoder;
    let check = |name: &str, x: &Tensor<B, 4>| {
        golden.check(&format!("small.decoder.{name}"), x.clone(), 2e-5);
    };
    let post_quant = vae.decoder.post_quant_conv.as_ref().unwrap();
    let mut x = post_quant.forward(golden.tensor("small.latent_mode"));
    golden.check("small.post_quant_conv", x.clone(), 2e-5);
    x = decoder.conv_in.forward(x);
    check("conv_in", &x);
    let mid = &decoder.mid_block;
    let attention = &mid.attentions[0];
    let before = mid.before_attention(x.clone());
    let keys = attention.to_k.forward(attention.tokens(before.clone()));
    golden.check("small.decoder.mid_block.attentions.0.to_k", keys, 2e-5);
    check("mid_block.attentions.0", &attention.forward(before));
    x = unwatched(|watch| mid.forward(x, watch));
    check("mid_block", &x);
    for (i, block) in decoder.up_blocks.iter().enumerate() {
        x = unwatched(|watch| block.forward(x, watch));
        check(&format!("up_blocks.{i}"), &x);
    }
    check("conv_norm_out", &decoder.conv_norm_out.forward(x));
}

#[test]
fn vae16_has_as_many_parameters_as_its_model_card_states() {
    let vae = VaeConfig::vae16().init::<B>(&Default::default()).unwrap();
    assert_eq!(vae.parameters(), 57_266_643);
    let halves = vae.encoder.parameters() + vae.decoder.parameters();
    assert_eq!(halves, vae.parameters());
}

fn largest(x: Tensor<B, 4>) -> f32 {
    x.abs().max().into_scalar()
}

/// Doubles the size twice and applies a convolution. Each output depends on its neighbours only.
fn local(conv: &Conv2d<B>, x: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, h, w] = x.dims();
    let nearest = InterpolateOptions::new(InterpolateMode::Nearest).with_align_corners(false);
    conv.forward(interpolate(x, [4 * h, 4 * w], nearest))
}

/// A map that depends on neighbours only has the same output in tiles: the blending fades out the
/// zero padding at the borders of the tiles.
#[test]
fn tiles_of_a_local_map_equal_the_whole() {
    let x = Tensor::<B, 4>::random([1, 2, 21, 30], Distribution::Default, &Default::default());
    let units = Units {
        input: 1,
        output: 4,
    };
    let conv = conv3x3([2, 2], 1, &Default::default());
    let whole = local(&conv, x.clone());
    for (side, overlap) in [(8, 4), (12, 7), (16, 4), (29, 8)] {
        let tiling = CellTiling::new(Tiling::new(side, overlap).unwrap(), 1);
        let tiles = unwatched(|watch| {
            tiled(x.clone(), Some(tiling), units, watch, |tile, watch| {
                watch.done()?;
                Ok(local(&conv, tile))
            })
        });
        let error = largest(tiles - whole.clone());
        // The outermost of at least 16 pixels has a weight of sin^2(pi / 2 / 32) = 0.0024.
        assert!(error < 0.003 * largest(whole.clone()), "{side}: {error}");
    }
}

fn rel_l2(found: Tensor<B, 4>, expected: Tensor<B, 4>) -> f32 {
    let norm = |x: Tensor<B, 4>| x.square().sum().sqrt().into_scalar();
    norm(found - expected.clone()) / norm(expected)
}

/// Returns a picture of `side` x `side` whose values rise to the right and downwards.
fn ramp(side: usize) -> Tensor<B, 4> {
    let device = Default::default();
    let line = Tensor::<B, 1, Int>::arange(0..side as i64, &device).float() / side as f32;
    let across = line.clone().reshape([1, 1, 1, side]);
    (across + line.reshape([1, 1, side, 1]) - 1.0).expand([1, 3, side, side])
}

/// A picture with the same statistics everywhere has nearly the same output in tiles, and larger
/// tiles are closer. The remaining difference comes from group norms and attention, which cover one
/// tile only.
#[test]
fn tiles_of_noise_are_close_to_the_whole() {
    let (vae, _) = open();
    let range = Distribution::Uniform(-1.0, 1.0);
    let x = Tensor::<B, 4>::random([1, 3, 256, 256], range, &Default::default());
    let z = vae.encoder.encode(x.clone(), None).mode();
    let y = vae.decoder.decode(z.clone(), None);
    for (side, latent_bound, picture_bound) in [(16, 0.1, 0.25), (24, 0.05, 0.1)] {
        let tiling = Some(Tiling::new(8 * side, 64).unwrap());
        let latent = vae.encoder.encode(x.clone(), tiling).mode();
        let picture = vae.decoder.decode(z.clone(), tiling);
        let [latent, picture] = [rel_l2(latent, z.clone()), rel_l2(picture, y.clone())];
        assert!(latent < latent_bound, "{side}: {latent}");
        assert!(picture < picture_bound, "{side}: {picture}");
    }
}

/// Returns the largest step from one column to the next in the mean over rows and channels, without
/// the border of the picture.
fn largest_step(y: Tensor<B, 4>) -> f32 {
    const BORDER: usize = 32;
    let width = y.dims()[3] - 1;
    let steps = (y.clone().narrow(3, 1, width) - y.narrow(3, 0, width)).abs();
    let steps = steps.narrow(3, BORDER, width - 2 * BORDER);
    steps.mean_dim(2).mean_dim(1).max().into_scalar()
}

/// On a flat picture and on a ramp, the steps between blended tiles are about as large as the
/// largest step in the result for the whole picture (measured: 1.0 and 1.5 times). Steps between
/// tiles without overlap are larger (4.3 and 3.8 times).
#[test]
fn tiles_leave_no_seams() {
    let (vae, _) = open();
    let ramp = ramp(256);
    for (name, x) in [("ramp", ramp.clone()), ("flat", ramp.zeros_like() + 0.3)] {
        let z = vae.encoder.encode(x, None).mode();
        let step = |tiling| largest_step(vae.decoder.decode(z.clone(), tiling));
        let whole = step(None);
        let hard = step(Some(Tiling::new(128, 0).unwrap()));
        for side in [16, 24] {
            let blended = step(Some(Tiling::new(8 * side, 64).unwrap()));
            assert!(blended < 1.6 * whole, "{name}: {blended} of {whole}");
            assert!(hard > 2.0 * blended, "{name}: {hard} against {blended}");
        }
    }
}
