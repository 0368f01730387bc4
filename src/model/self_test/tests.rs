//! Tests with a backend that has one faulty operation at a time.

use super::*;
use crate::backend::Flex;
use crate::backend::GroupNormOptions;
use crate::backend::plain;
use crate::backend::precision::Precision;
use crate::config::GenDrPixConfig;
use crate::unet::UNetConfig;
use std::cell::Cell;

/// burn's `ndarray` backend with the default bodies, one of which is faulty: see [`BROKEN`].
type Faulty = burn_ndarray::NdArray<f32, i32>;

thread_local! {
    /// The faulty operation, and the factor by which its outputs are multiplied.
    static BROKEN: Cell<(&'static str, f32)> = const { Cell::new(("", 1.0)) };
}

/// Returns `output`, multiplied by the factor if the operation is the faulty one.
fn faulty<const D: usize>(operation: &str, output: Tensor<Faulty, D>) -> Tensor<Faulty, D> {
    match BROKEN.get() {
        (broken, factor) if broken == operation => output * factor,
        _ => output,
    }
}

impl crate::backend::PictureOperations for Faulty {}

impl Backend for Faulty {
    fn convolution(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        bias: Tensor<Self, 1>,
        stride: usize,
    ) -> Tensor<Self, 4> {
        let operation = match weight.dims()[3] {
            1 => "convolution 1x1",
            _ => "convolution 3x3",
        };
        faulty(operation, plain::convolution(x, weight, bias, stride))
    }

    fn group_norm(
        x: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        options: GroupNormOptions,
    ) -> Tensor<Self, 4> {
        // Like burn's own group norm in half precision, wrong for large groups only.
        let [_, c, h, w] = x.dims();
        let operation = match c / options.groups * h * w > 1000 {
            true => "large group norm",
            false => "group norm",
        };
        faulty(operation, plain::group_norm(x, weight, bias, options))
    }

    fn token_norm(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 3> {
        faulty("layer norm", plain::token_norm(x, weight, bias, epsilon))
    }

    fn token_linear(
        x: Tensor<Self, 3>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 3> {
        faulty("linear map", plain::token_linear(x, weight, bias))
    }

    fn multi_head_attention(
        query: Tensor<Self, 3>,
        key: Tensor<Self, 3>,
        value: Tensor<Self, 3>,
        heads: usize,
    ) -> Tensor<Self, 3> {
        let output = plain::multi_head_attention(query, key, value, heads);
        faulty("attention", output)
    }

    fn geglu(x: Tensor<Self, 3>) -> Tensor<Self, 3> {
        faulty("feed-forward", plain::geglu(x))
    }

    fn pixel_unshuffle(picture: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        faulty("pixel unshuffle", plain::pixel_unshuffle(picture, factor))
    }

    fn pixel_shuffle(features: Tensor<Self, 4>, factor: usize) -> Tensor<Self, 4> {
        faulty("pixel shuffle", plain::pixel_shuffle(features, factor))
    }

    fn concatenate(a: Tensor<Self, 4>, b: Tensor<Self, 4>) -> Tensor<Self, 4> {
        faulty("concatenation", plain::concatenate(a, b))
    }

    fn add_tokens(pixels: Tensor<Self, 4>, tokens: Tensor<Self, 3>) -> Tensor<Self, 4> {
        faulty("addition of tokens", plain::add_tokens(pixels, tokens))
    }
}

fn model<B: Backend>() -> GenDrPix<B> {
    let config = GenDrPixConfig {
        unet: UNetConfig {
            block_out_channels: vec![16, 24],
            layers_per_block: vec![1, 1],
            down_attention: vec![false, true],
            up_attention: vec![false; 2],
            num_heads: vec![2, 2],
            ..UNetConfig::nano()
        },
        ..GenDrPixConfig::nano()
    };
    GenDrPix::new(config, 3, &Default::default()).unwrap()
}

#[test]
fn faulty_operations_are_named() {
    // A smaller large picture than in production, because burn's `ndarray` is slow.
    let test = || model::<Faulty>().self_test_over([23, 25]);
    assert!(test().is_ok());
    for operation in [
        "convolution 1x1",
        "convolution 3x3",
        "group norm",
        "large group norm",
        "layer norm",
        "linear map",
        "attention",
        "feed-forward",
        "pixel unshuffle",
        "pixel shuffle",
        "concatenation",
        "addition of tokens",
    ] {
        BROKEN.set((operation, 1.01));
        let error = test().unwrap_err();
        let text = error.to_string();
        let Error::SelfTest { deviations } = error else {
            panic!("{text}");
        };
        let first = &deviations[0];
        assert!(first.error > first.tolerance, "{text}");
        let large = operation.strip_prefix("large ");
        let named = first.operation.starts_with(large.unwrap_or(operation));
        assert!(named, "{operation}: {text}");
        assert_eq!(large.is_some(), first.operation.contains("23x25"), "{text}");
    }
    BROKEN.set(("attention", f32::NAN));
    let Err(Error::SelfTest { deviations }) = test() else {
        panic!("NaN must fail the test");
    };
    assert_eq!(deviations[0].error, f64::INFINITY);
}

/// The whole model is compared with the same model on the CPU, unless the tested backend is the
/// CPU's.
#[test]
fn the_whole_model_is_compared() {
    let deviations = model::<Faulty>().self_test().unwrap();
    let whole = deviations.last().unwrap();
    assert_eq!(whole.operation, "the model over 53x37");
    assert!(whole.error > 0.0 && whole.error < 1e-5, "{whole}");
    let deviations = model::<Flex>().self_test().unwrap();
    assert_ne!(deviations.last(), Some(whole));
}

/// The kernels of the CPU have the accuracy of f32, or of two bf16 numbers on a matrix unit.
#[test]
fn kernels_are_accurate() {
    let nano = GenDrPix::<Flex>::new(GenDrPixConfig::nano(), 4, &Default::default()).unwrap();
    for deviation in nano.self_test().unwrap() {
        assert!(deviation.error < 3e-5, "{deviation}");
    }
    let nano = nano.in_precision(Precision::Bf16).unwrap();
    let deviations = nano.self_test().unwrap();
    let in_bf16 = deviations.iter().any(|deviation| deviation.error > 1e-3);
    assert!(in_bf16, "the operations ran in f32");
}
