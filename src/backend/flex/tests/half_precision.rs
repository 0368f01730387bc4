//! Tests of the kernels in bf16 against the default bodies in f32 with the same inputs.

use super::pixels::CONVOLUTIONS;
use super::tokens::{ATTENTIONS, LINEARS};
use super::*;

/// Random numbers that bf16 represents exactly, in f32.
fn representable<const D: usize>(shape: [usize; D]) -> T<D> {
    random(shape).cast(FloatDType::BF16).cast(FloatDType::F32)
}

fn to_bf16<const D: usize>(x: &T<D>) -> T<D> {
    x.clone().cast(FloatDType::BF16)
}

/// Allows the rounding of each value, and `slack` times the largest value for the rounding of
/// intermediate results.
#[track_caller]
fn assert_near<const D: usize>(found: T<D>, expected: T<D>, slack: f32) {
    let largest = expected.clone().abs().max().into_scalar();
    let bound = expected.clone().abs() / 256.0 + slack * largest;
    let excess = (found.cast(FloatDType::F32) - expected).abs() - bound;
    let excess = excess.max().into_scalar();
    assert!(
        excess <= 0.0,
        "the error exceeds the bound by {excess:e}; the largest value is {largest:e}"
    );
}

#[test]
fn convolution_agrees_with_the_default_body() {
    for (x, weight, stride) in CONVOLUTIONS {
        let kernel = ConvolutionKernel::new::<bf16>(x, weight, stride);
        let (x, weight, bias) = (
            representable(x),
            representable(weight),
            representable([weight[0]]),
        );
        let expected = plain::convolution(x.clone(), weight.clone(), bias.clone(), stride);
        let (x, weight, bias) = (to_bf16(&x), to_bf16(&weight), to_bf16(&bias));
        let (x, weight, bias) = (values::<bf16, _>(x), values(weight), values(bias));
        let [matrix, vectors] = [Tiles::new::<bf16>(), Tiles::vector_unit()];
        let algorithms = [ConvolutionAlgorithm::Im2col, ConvolutionAlgorithm::Sliding];
        for (tiles, algorithm) in [None, matrix, vectors]
            .into_iter()
            .flat_map(|tiles| algorithms.map(|algorithm| (tiles, algorithm)))
        {
            let Some(kernel) = kernel.with_tiles(tiles).with_algorithm(algorithm) else {
                continue;
            };
            let found = kernel.forward::<bf16>(&x, &weight, &bias);
            let found = tensor(found, kernel.output_shape());
            assert_near(found, expected.clone(), 1e-5);
        }
    }
}

#[test]
fn linear_agrees_with_the_default_body() {
    for (x, channels) in LINEARS {
        let [tokens, input] = [x[0] * x[1], x[2]];
        let (x, weight, bias) = (
            representable(x),
            representable([input, channels]),
            representable([channels]),
        );
        let expected = plain::token_linear(x.clone(), weight.clone(), Some(bias.clone()));
        let (x, weight, bias) = (to_bf16(&x), to_bf16(&weight), to_bf16(&bias));
        let (x, weight, bias) = (values::<bf16, _>(x), values(weight), values(bias));
        for tiles in [None, Tiles::new::<bf16>(), Tiles::vector_unit()] {
            let layer = LinearKernel {
                weight: Matrix::rows(&weight[..], input, channels),
                bias: Some(&bias[..]),
            };
            let found = layer.forward(Matrix::rows(&x, tokens, input), tiles);
            assert_near(tensor(found, expected.dims()), expected.clone(), 1e-5);
        }
    }
}

/// The weights of the softmax are also rounded.
#[test]
fn attention_agrees_with_the_default_body() {
    for (query, key, heads) in ATTENTIONS {
        let kernel = AttentionKernel::new::<bf16>(query, key, heads);
        let (query, key, value) = (representable(query), representable(key), representable(key));
        let expected =
            plain::multi_head_attention(query.clone(), key.clone(), value.clone(), heads);
        let inputs = [&query, &key, &value].map(|x| values::<bf16, _>(to_bf16(x)));
        for tiles in [None, Tiles::new::<bf16>(), Tiles::vector_unit()] {
            let found = kernel
                .with_tiles(tiles)
                .forward::<bf16>(&inputs[0], &inputs[1], &inputs[2]);
            assert_near(
                tensor(found, expected.dims()),
                expected.clone(),
                1.0 / 128.0,
            );
        }
    }
}

/// The hidden layer is also rounded.
#[test]
fn feed_forward_agrees_with_the_default_body() {
    for (x, hidden) in [
        ([2, 5, 12], 48),
        ([1, 2100, 8], 512),
        ([2, 1050, 130], 1000),
    ] {
        let channels = x[2];
        let scaled = |shape: [usize; 2]| {
            let weight = random(shape) / (shape[0] as f32).sqrt();
            weight.cast(FloatDType::BF16).cast(FloatDType::F32)
        };
        let weights = [scaled([channels, 2 * hidden]), scaled([hidden, channels])];
        let biases = [representable([2 * hidden]), representable([channels])];
        let x = representable(x);
        let expected = plain::feed_forward(x.clone(), weights.clone(), biases.clone());
        let found = Flex::feed_forward(
            to_bf16(&x),
            weights.each_ref().map(to_bf16),
            biases.each_ref().map(to_bf16),
        );
        assert_near(found, expected, 1.0 / 128.0);
        let x = representable([1, 40, 96]);
        assert_near(Flex::geglu(to_bf16(&x)), plain::geglu(x), 1e-6);
    }
}

/// The inputs are in f32, as in the residual sums, and in bf16. The output is in the precision of
/// the weights.
#[test]
fn norms_agree_with_the_default_bodies() {
    let options = GroupNormOptions {
        groups: 4,
        epsilon: 1e-5,
        silu: true,
    };
    let (pixels, weight, bias) = (
        representable([2, 12, 17, 9]),
        representable([12]),
        representable([12]),
    );
    let expected = plain::group_norm(pixels.clone(), weight.clone(), bias.clone(), options);
    let tokens = representable([3, 50, 12]);
    let expected_tokens = plain::token_norm(tokens.clone(), weight.clone(), bias.clone(), 1e-5);
    let (weight, bias) = (to_bf16(&weight), to_bf16(&bias));
    for x in [pixels.clone(), to_bf16(&pixels)] {
        for norm in [Flex::group_norm, plain::group_norm] {
            let found = norm(x.clone(), weight.clone(), bias.clone(), options);
            assert_eq!(found.dtype(), DType::BF16);
            assert_near(found, expected.clone(), 1e-5);
        }
    }
    for x in [tokens.clone(), to_bf16(&tokens)] {
        for norm in [Flex::token_norm, plain::token_norm] {
            let found = norm(x.clone(), weight.clone(), bias.clone(), 1e-5);
            assert_eq!(found.dtype(), DType::BF16);
            assert_near(found, expected_tokens.clone(), 1e-5);
        }
    }
}

/// A sum has the wider precision of its operands.
#[test]
fn sums_agree_with_the_default_bodies() {
    let (a, b) = (representable([2, 3, 5, 7]), representable([2, 3, 5, 7]));
    let weights = [1.5, -0.5];
    let expected = plain::mix(a.clone(), b.clone(), weights);
    let check = |mix: fn(T<4>, T<4>, [f64; 2]) -> T<4>| {
        let in_f32 = mix(a.clone(), to_bf16(&b), weights);
        assert_eq!(in_f32.dtype(), DType::F32);
        assert_close(in_f32, expected.clone());
        assert_close(mix(to_bf16(&a), b.clone(), weights), expected.clone());
        let both = mix(to_bf16(&a), to_bf16(&b), weights);
        assert_eq!(both.dtype(), DType::BF16);
        assert_near(both, expected.clone(), 1.0 / 64.0);
    };
    check(Flex::mix);
    check(plain::mix);
    let tokens = representable([2, 35, 3]);
    let expected = plain::add_tokens(a.clone(), tokens.clone());
    for add in [Flex::add_tokens, plain::add_tokens] {
        assert_close(add(a.clone(), to_bf16(&tokens)), expected.clone());
    }
}

#[test]
fn copies_agree_with_the_default_bodies() {
    let (a, b) = (representable([2, 3, 20, 17]), representable([2, 5, 20, 17]));
    let assert_same = |found: T<4>, expected: T<4>| {
        assert_eq!(found.dtype(), DType::BF16);
        found
            .cast(FloatDType::F32)
            .into_data()
            .assert_eq(&expected.into_data(), true);
    };
    assert_same(
        Flex::concatenate(to_bf16(&a), to_bf16(&b)),
        plain::concatenate(a.clone(), b.clone()),
    );
    assert_same(
        Flex::crop(to_bf16(&a), [3, 1], [9, 16]),
        plain::crop(a.clone(), [3, 1], [9, 16]),
    );
    assert_same(Flex::cast(a.clone(), FloatDType::BF16), a.clone());
    Flex::cast(to_bf16(&a), FloatDType::F32)
        .into_data()
        .assert_eq(&a.to_data(), true);
    let tokens = Flex::to_tokens(to_bf16(&a)).cast(FloatDType::F32);
    assert_eq!(tokens.into_data(), plain::to_tokens(a).into_data());
}
